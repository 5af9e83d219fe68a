"""Steps with a narrow first layer in shards of rows (fastbp.kernels.narrow.shards).

The twin is `tests.twins.shard_steps`.
"""

from __future__ import annotations

import numpy as np
import pytest

from fastbp.kernels.narrow.shards import CHUNK
from tests import rules, twins
from tests.problems import KINDS, make_problem, untrained
from tests.test_cut import assert_trains_alike
from tests.training import (
    assert_parameters_follow_the_twin,
    assert_training_follows_the_oracle,
    bits,
)

pytestmark = pytest.mark.usefixtures("no_network_is_small")


def steps_of(problem):
    def steps(now, X, y, batch):
        twins.shard_steps(now, X, y, batch, lambda rows: rules.rows_of_shard(rows, problem))

    return steps


def shards_of(rows, problem):
    return -(-rows // rules.rows_of_shard(rows, problem))


# ------------------------------------------------------------------ against the twin


@pytest.mark.parametrize(("dtype", "data_dtype", "fold"), KINDS)
@pytest.mark.parametrize("batch", [1, 16, 17, 33, 256, 300])
@pytest.mark.parametrize("layer_sizes", [(1, 1), (33, 3, 2, 1), (65, 16, 1)], ids=str)
def test_steps_are_those_of_the_twin(layer_sizes, batch, dtype, data_dtype, fold):
    problem = make_problem(layer_sizes, batch + 3, dtype=dtype, data_dtype=data_dtype, fold=fold)
    assert rules.method_of(problem, batch) == "narrow shards"
    assert_parameters_follow_the_twin(steps_of(problem), problem, batch, weight_decay=0.1)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("columns", [1, 67, CHUNK + 1])
@pytest.mark.parametrize("batch", [16, 64, 512])
def test_gradients_of_shards_are_added_up_in_order(batch, columns, dtype):
    if columns >= 1024 and batch < 512:  # these are cut by columns
        batch = 1024
    problem = untrained(columns, 3, batch, dtype)
    assert rules.method_of(problem, batch) == "narrow shards"
    now = twins.Training(problem.weights, problem.biases, 1.0)
    steps_of(problem)(now, problem.X, problem.y, batch)
    if shards_of(batch, problem) > 1 and columns > 1:
        uncut = twins.Training(problem.weights, problem.biases, 1.0)
        twins.shard_steps(uncut, problem.X, problem.y, batch, lambda rows: rows)
        assert (now.weights[0] != uncut.weights[0]).any()  # the cuts show

    network = problem.network()
    network.fit(problem.X, problem.y, batch_size=batch, epochs=1, learning_rate=1.0, shuffle=False)

    np.testing.assert_array_equal(network.weights[0], now.weights[0])
    np.testing.assert_array_equal(network.biases[0], now.biases[0])


def test_batches_of_every_number_of_shards_are_tried():
    tried = (16, 17, 33, 255, 256, 512, 2100)
    assert {1, 2, 4} <= {shards_of(rows, make_problem((35, 3, 1), rows)) for rows in tried}


@pytest.mark.parametrize("data_dtype", ["float32", "uint8"])
def test_rows_are_read_where_they_lie(data_dtype):
    problem = make_problem((35, 3, 1), 90, data_dtype=data_dtype, fold="mean")
    everything = np.zeros((180, 50), data_dtype)
    everything[::2, 11:46] = problem.X
    read_only = problem.X.copy()
    read_only.flags.writeable = False
    found = []
    for X in (problem.X, everything[::2, 11:46], read_only):
        network = problem.network()
        network.fit(X, problem.y, batch_size=40, epochs=2, learning_rate=0.1, seed=0)
        found.append(bits(network))
    assert found == found[:1] * 3


# ------------------------------------------------------------------ threads


@pytest.mark.parametrize("data_dtype", ["float32", "uint8"])
@pytest.mark.parametrize("batch_size", [1, 2, 3, 4, 5, 16, 17, 40, 130])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_same_bits_with_any_number_of_threads(dtype, batch_size, data_dtype, monkeypatch):
    problem = make_problem((130, 3, 1), 133, dtype=dtype, data_dtype=data_dtype, fold="mean")
    assert rules.method_of(problem, batch_size) == "narrow shards"
    assert_trains_alike(problem, batch_size, monkeypatch)


@pytest.mark.parametrize("rows", [255, 600])
def test_the_same_bits_whoever_takes_a_shard(rows, monkeypatch):
    problem = make_problem((33, 3, 2, 1), rows, data_dtype="uint8", fold="mean")
    assert shards_of(rows, problem) > 1
    assert_trains_alike(problem, rows, monkeypatch)


# ------------------------------------------------------------------ against the oracle


@pytest.mark.machine
@pytest.mark.parametrize("rows", [255, 256, 511, 513, 1025, 1151, 1152, 2100])
@pytest.mark.parametrize("fold", ["mean", "feature"])
def test_batches_of_many_shards(rows, fold):
    problem = make_problem((35, 3, 2, 1), rows, data_dtype="uint8", fold=fold)
    assert_training_follows_the_oracle(problem, batch_size=None, epochs=2, weight_decay=0.01)
