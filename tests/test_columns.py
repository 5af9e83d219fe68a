"""Steps with a narrow first layer, cut by columns of W1 (fastbp.kernels.narrow.columns).

The twin is `tests.twins.column_steps`.
"""

from __future__ import annotations

import numpy as np
import pytest

from tests import rules, twins
from tests.problems import KINDS, make_problem, untrained
from tests.test_cut import assert_trains_alike, trained
from tests.training import (
    assert_parameters_follow_the_twin,
    assert_training_follows_the_oracle,
    bits,
)

WIDTH = rules.chunk_width(1024)
SIZES = [(2 * WIDTH, 3, 2, 1), (2 * WIDTH + 1, 1), (3 * WIDTH - 1, 16, 1), (3 * WIDTH + 1, 5, 3)]


def steps(now, X, y, batch):
    twins.column_steps(now, X, y, batch, rules.chunk_width(X.shape[1]))


# ------------------------------------------------------------------ against the twin


@pytest.mark.parametrize(("dtype", "data_dtype", "fold"), KINDS)
@pytest.mark.parametrize("batch", [5, 16, 33])
@pytest.mark.parametrize("layer_sizes", SIZES, ids=str)
def test_steps_are_those_of_the_twin(layer_sizes, batch, dtype, data_dtype, fold):
    problem = make_problem(layer_sizes, 50, dtype=dtype, data_dtype=data_dtype, fold=fold)
    assert rules.method_of(problem, batch) == "narrow columns"
    assert_parameters_follow_the_twin(steps, problem, batch, weight_decay=0.1)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("batch", [8, 16, 64])  # one tile, or several
def test_a_gradient_is_added_up_row_by_row(batch, dtype):
    problem = untrained(2 * WIDTH + 5, 3, batch, dtype)
    assert rules.method_of(problem, batch) == "narrow columns"
    now = twins.Training(problem.weights, problem.biases, 1.0)
    steps(now, problem.X, problem.y, batch)
    backwards = twins.Training(problem.weights, problem.biases, 1.0)
    steps(backwards, problem.X[::-1], problem.y[::-1], batch)
    assert (now.weights[0] != backwards.weights[0]).any()  # the order of the rows shows

    network = problem.network()
    network.fit(problem.X, problem.y, batch_size=batch, epochs=1, learning_rate=1.0, shuffle=False)

    np.testing.assert_array_equal(network.weights[0], now.weights[0])
    np.testing.assert_array_equal(network.biases[0], now.biases[0])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_partial_products_of_chunks_are_added_up_in_order(dtype):
    # Beside `far`, 1 is lost. So Z is 0 or 1, as 1 is added before the last of two large numbers
    # has gone, or after; the columns lie at the edges of chunks, where a wrong cut shows.
    n0, n1, rows = 3 * WIDTH, 2, 16
    far = 2.0 ** (np.finfo(dtype).nmant + 2)
    problem = untrained(n0, n1, rows, dtype)
    problem.X[...] = 0
    problem.X[:, 0] = far
    problem.X[0::2, 2 * WIDTH - 1] = -far  # the end of chunk 1; then 1 at the begin of chunk 2
    problem.X[0::2, 2 * WIDTH] = 1
    problem.X[1::2, WIDTH] = 1  # the begin of chunk 1; then the large one at the end of chunk 2
    problem.X[1::2, n0 - 1] = -far
    problem.weights[0][...] = 1
    now = twins.Training(problem.weights, problem.biases, 0.5)
    z = problem.biases[0] + np.zeros((rows, n1), dtype)
    for j in range(0, n0, WIDTH):
        z += problem.X[:, j : j + WIDTH] @ now.weights[0][:, j : j + WIDTH].T
    assert (z[0::2] == 1).all()
    assert (z[1::2] == 0).all()
    steps(now, problem.X, problem.y, rows)

    network = problem.network()
    network.fit(problem.X, problem.y, batch_size=rows, epochs=1, learning_rate=0.5, shuffle=False)

    near = 8 * np.finfo(dtype).eps  # the sigmoid of 1
    np.testing.assert_allclose(network.biases[0], now.biases[0], rtol=0, atol=near)
    for at in (WIDTH, 2 * WIDTH):
        np.testing.assert_allclose(
            network.weights[0][:, at], now.weights[0][:, at], rtol=0, atol=near
        )


@pytest.mark.parametrize("data_dtype", ["float32", "uint8"])
def test_rows_are_read_where_they_lie(data_dtype):
    problem = make_problem((2 * WIDTH + 9, 3, 1), 40, data_dtype=data_dtype, fold="mean")
    everything = np.zeros((80, 2 * WIDTH + 20), data_dtype)
    everything[::2, 11:] = problem.X
    read_only = problem.X.copy()
    read_only.flags.writeable = False
    found = []
    for X in (problem.X, everything[::2, 11:], everything[::2, 11:][::-1].copy()[::-1], read_only):
        assert rules.method_of(problem, 20) == "narrow columns"
        network = problem.network()
        network.fit(X, problem.y, batch_size=20, epochs=2, learning_rate=0.01, seed=0)
        found.append(bits(network))
    assert found == found[:1] * 4


# ------------------------------------------------------------------ threads


@pytest.mark.parametrize("data_dtype", ["float32", "uint8"])
@pytest.mark.parametrize("batch_size", [1, 2, 3, 4, 5, 16, 17, 40, 130])
@pytest.mark.parametrize(
    "layer_sizes", [(1024 + 17, 3, 2, 1), (12_288, 3, 2, 1), (9000, 6, 1)], ids=str
)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_same_bits_with_any_number_of_threads(
    dtype, layer_sizes, batch_size, data_dtype, monkeypatch
):
    problem = make_problem(layer_sizes, 133, dtype=dtype, data_dtype=data_dtype, fold="mean")
    assert_trains_alike(problem, batch_size, monkeypatch)


@pytest.mark.parametrize("who_comes", [0, 1, 7])
@pytest.mark.parametrize("batch_size", [1, 4, 16, 40, 130])
@pytest.mark.parametrize("fold", ["mean", "feature"])
def test_one_thread_does_the_work_of_those_that_do_not_come(
    fold, batch_size, who_comes, monkeypatch
):
    def run(region, context, workers, **how):
        region.serial(context, who_comes if workers > 1 else 0)

    problem = make_problem((12_288, 3, 2, 1), 133, data_dtype="uint8", fold=fold)
    alone = trained(problem, batch_size, 1, monkeypatch, run)
    assert trained(problem, batch_size, 8, monkeypatch, run) == alone


# ------------------------------------------------------------------ against the oracle


@pytest.mark.parametrize("batch_size", [1, 2, 3, 4, 5, 15, 16, 17, 31, 32, 33, 63, 64, 65, 100])
@pytest.mark.parametrize("layer_sizes", [(1025, 3, 2, 1), (2060, 7, 1), (1600, 1)], ids=str)
def test_any_batch_size_on_inputs_wide_enough_to_be_cut_by_columns(layer_sizes, batch_size):
    problem = make_problem(layer_sizes, 130)
    assert_training_follows_the_oracle(problem, batch_size=batch_size, epochs=1, weight_decay=0.01)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("data_dtype", ["float32", "float64", "uint8"])
@pytest.mark.parametrize("fold", ["none", "scalar", "mean", "feature"])
@pytest.mark.parametrize("batch_size", [1, 2, 3, 6, 30])
def test_input_folding_by_columns(batch_size, fold, data_dtype, dtype):
    layer_sizes = (8 * 768 + 9, 5, 1)  # chunks of more than one block, and a part of a vector
    problem = make_problem(layer_sizes, 41, dtype=dtype, data_dtype=data_dtype, fold=fold)
    assert_training_follows_the_oracle(
        problem, batch_size=batch_size, epochs=1, learning_rate=0.01, weight_decay=0.01
    )
