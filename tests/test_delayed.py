"""Groups of steps that share a pass over W1 (fastbp.kernels.wide.delayed).

The twin is `tests.twins.delayed_steps`.
"""

from __future__ import annotations

import numpy as np
import pytest

from fastbp.engine import layout, method
from fastbp.engine.plan import NetworkPlan
from fastbp.kernels.compile import machine
from tests import rules, twins
from tests.problems import KINDS, make_problem
from tests.training import (
    assert_parameters_follow_the_twin,
    assert_training_follows_the_oracle,
    bits,
    bits_of_training_in_calls,
)

pytestmark = pytest.mark.usefixtures("no_network_is_small")

SIZES = [(40, 20, 1), (131, 65, 17, 3), (70, 130, 1), (33, 17)]


@pytest.fixture
def grouped(monkeypatch):
    """Make groups of a number of steps, whatever the shapes."""

    def set_steps(steps):
        monkeypatch.setattr(method, "wide_group", lambda n0, n1, batch, itemsize: steps)

    return set_steps


# ------------------------------------------------------------------ against the twin


@pytest.mark.parametrize(("dtype", "data_dtype", "fold"), KINDS)
@pytest.mark.parametrize("batch_size", [1, 7, 16])
@pytest.mark.parametrize("steps", [2, 5])
@pytest.mark.parametrize("layer_sizes", SIZES[1:], ids=str)
def test_steps_are_those_of_the_twin(
    layer_sizes, steps, batch_size, dtype, data_dtype, fold, grouped
):
    grouped(steps)
    problem = make_problem(layer_sizes, 47, dtype=dtype, data_dtype=data_dtype, fold=fold)
    together = rules.group_of(problem, batch_size)
    assert rules.method_of(problem, batch_size) == "delayed"
    assert together == min(steps, -(-47 // batch_size))

    def in_groups(now, X, y, batch):
        twins.delayed_steps(now, X, y, batch, together)

    assert_parameters_follow_the_twin(in_groups, problem, batch_size, weight_decay=0.2)


@pytest.mark.parametrize("steps", [3, 11])
def test_a_group_is_nearer_to_its_twin_than_to_single_steps(steps, grouped):
    # Weights so much larger than what a step changes that its rounding is the largest: by single
    # steps it is rounded in each, in a group once.
    grouped(steps)
    problem = make_problem((131, 70, 1), 33, dtype="float32")
    problem.X *= np.float32(1e-3)
    problem.weights[0] *= np.float32(300)
    network = problem.network()
    network.fit(problem.X, problem.y, batch_size=1, epochs=1, learning_rate=0.5, shuffle=False)
    off = []
    for together in (steps, 1):
        now = twins.Training(problem.weights, problem.biases, 0.5)
        twins.delayed_steps(now, problem.X, problem.y, 1, together)
        off.append(np.mean(now.weights[0] != network.weights[0]))
    assert off[0] < off[1]


# ------------------------------------------------------------------ against the oracle


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("batch_size", [1, 3, 4, 7])
@pytest.mark.parametrize("steps", [2, 3, 8, 100])
@pytest.mark.parametrize("layer_sizes", SIZES, ids=str)
def test_groups_with_a_short_last_one_and_a_short_last_step(
    layer_sizes, steps, batch_size, dtype, grouped
):
    grouped(steps)
    problem = make_problem(layer_sizes, 38, dtype=dtype)
    assert_training_follows_the_oracle(problem, batch_size=batch_size, epochs=1)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("rows", [64, 65, 79])  # after a group of three 16s: 16, 17 or 31 rows
@pytest.mark.parametrize("batch_size", [8, 15, 16, 17, 31, 32])
@pytest.mark.parametrize("steps", [2, 3])
def test_products_of_rows_leave_out_whole_vectors_of_a_step(
    steps, batch_size, rows, dtype, grouped
):
    grouped(steps)
    problem = make_problem((70, 40, 1), rows, dtype=dtype)
    assert_training_follows_the_oracle(problem, batch_size=batch_size, epochs=1, weight_decay=0.01)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    "batch_size", [1, 5, 8, 15, 16, pytest.param(17, marks=pytest.mark.machine), 20, 31]
)
def test_products_of_rows_that_are_cut_along_k(batch_size, dtype, grouped, set_num_threads):
    inputs = 8 * rules.tiles(dtype).kc + 5
    assert rules.split_count(34, 34, inputs, dtype) > 0
    problem = make_problem((inputs, 40, 1), 3 * batch_size + batch_size // 2 + 35, dtype=dtype)
    settings = {"batch_size": batch_size, "epochs": 1, "weight_decay": 0.01}
    found = []
    together = 3 if batch_size > 1 else 33
    for steps, threads in [(1, 1), (together, 1), (together, 2)]:
        grouped(steps)
        set_num_threads(threads)
        network = problem.network()
        network.fit(problem.X, problem.y, seed=0, **settings)
        found.append(network)
    single, group, shared = found
    assert bits(group) == bits(shared)
    assert bits(group) != bits(single)
    # Closer than the oracle's bounds, which are too wide to see that a product is missing.
    for one, other in zip(group.weights, single.weights, strict=True):
        bound = inputs * np.finfo(dtype).eps * np.abs(other).max()
        assert np.abs(one - other).max() <= bound
    assert_training_follows_the_oracle(problem, **settings)


@pytest.mark.parametrize("data_dtype", ["float32", "float64", "uint8"])
@pytest.mark.parametrize("fold", ["none", "scalar", "feature"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_input_folding_in_groups(fold, data_dtype, dtype, grouped):
    grouped(5)
    problem = make_problem((48, 40, 1), 38, dtype=dtype, data_dtype=data_dtype, fold=fold)
    assert_training_follows_the_oracle(
        problem, batch_size=3, epochs=2, learning_rate=0.01, weight_decay=0.01
    )


@pytest.mark.machine
@pytest.mark.parametrize("batch_size", [1, 16])
def test_groups_as_the_shapes_ask_for_them(batch_size):
    layer_sizes = (machine.CACHES.l2 // 2000, 150, 20, 1)  # more than half of the cache
    problem = make_problem(layer_sizes, 60, dtype="float64")
    targets = problem.y.astype(float).reshape(60, -1)
    plan = NetworkPlan(problem.network(), problem.X, targets, batch_size=batch_size)
    assert plan.group * batch_size >= 48
    assert_training_follows_the_oracle(problem, batch_size=batch_size, epochs=1, weight_decay=0.01)


@pytest.mark.parametrize("weight_decay", [0.05, 0.5, 1.9])  # keeps 0.975, 0.75, 0.05 of W
@pytest.mark.parametrize("steps", [2, 6])
def test_weight_decay_in_groups(weight_decay, steps, grouped):
    grouped(steps)
    problem = make_problem((70, 40, 3), 40)
    assert_training_follows_the_oracle(
        problem, batch_size=4, epochs=1, learning_rate=0.5, weight_decay=weight_decay
    )


@pytest.mark.parametrize("layer_sizes", SIZES, ids=str)
def test_a_group_differs_from_single_steps_by_rounding_alone(layer_sizes, grouped):
    problem = make_problem(layer_sizes, 60, dtype="float64")
    trained = []
    for steps in (1, 20):
        grouped(steps)
        network = problem.network()
        history = network.fit(problem.X, problem.y, batch_size=3, epochs=3, seed=2)
        trained.append((network, history.loss, history.accuracy))
    (single, loss, accuracy), (group, group_loss, group_accuracy) = trained
    assert bits(single) != bits(group)  # else the groups were not made
    np.testing.assert_allclose(group_loss, loss, rtol=1e-12)
    assert group_accuracy == accuracy


@pytest.mark.parametrize("batch_size", [1, 16])
@pytest.mark.parametrize("layer_sizes", [(700, 130, 3), (1030, 150, 20, 1)], ids=str)
def test_the_same_bits_with_any_number_of_threads(
    layer_sizes, batch_size, grouped, set_num_threads
):
    grouped(64 // batch_size)
    problem = make_problem(layer_sizes, 150, data_dtype="uint8", fold="feature")
    results = []
    for count in (1, 2, 1):
        set_num_threads(count)
        network = problem.network()
        history = network.fit(problem.X, problem.y, batch_size=batch_size, epochs=2, seed=1)
        results.append((bits(network), history.loss, history.accuracy))
    assert results[0] == results[1] == results[2]


@pytest.mark.parametrize("batch_size", [1, 7])
def test_the_same_bits_however_groups_are_divided_among_calls(batch_size, grouped):
    grouped(4)
    problem = make_problem((130, 40, 1), 90, data_dtype="uint8", fold="feature")
    results = {bits_of_training_in_calls(problem, batch_size, groups) for groups in (1, 2, 3, 1000)}
    assert len(results) == 1


@pytest.mark.parametrize(("work", "first_steps"), [(1, 4), (300_000, 16), (10**9, 334)])
def test_fit_makes_whole_groups_in_each_call(grouped, monkeypatch, work, first_steps):
    grouped(4)
    monkeypatch.setattr(layout, "_FIRST_WORK", work)
    problem = make_problem((130, 40, 1), 1000)
    calls = []
    train = NetworkPlan.train

    def spy(plan, order, first, last, *numbers):
        calls.append((first, last))
        train(plan, order, first, last, *numbers)

    monkeypatch.setattr(NetworkPlan, "train", spy)
    problem.network().fit(problem.X, problem.y, batch_size=3, epochs=2, seed=1)
    assert calls[0] == (0, first_steps)
    assert (len(calls) > 2) is (first_steps < 334)
    assert all(first % 4 == 0 for first, _ in calls)
    assert all(last % 4 == 0 or last == 334 for _, last in calls)


@pytest.mark.machine
def test_which_networks_delay_updates():
    n0 = machine.CACHES.l2 // (128 * 4)  # 128 outputs fill the cache
    assert method.wide_group(2 * n0, 128, 1, 4) == 48
    assert method.wide_group(2 * n0, 128, 16, 4) == 3
    assert method.wide_group(2 * n0, 128, 24, 4) == 2
    assert method.wide_group(2 * n0, 128, 25, 4) == 1
    assert method.wide_group(n0 // 2, 128, 16, 4) == 1  # cheap to pass over
    assert method.wide_group(n0 // 2, 128, 4, 4) == 12
    assert method.wide_group(n0 // 9, 128, 1, 4) == 1
    assert method.wide_group(32_768, 1024, 64, 4) == 2
    assert method.wide_group(32_768, 1024, 65, 4) == 1
    assert method.wide_group(1 << 20, 1024, 1, 4) == 4  # 16 MiB of gathered rows
    assert method.wide_group(1 << 20, 5, 1, 4) == 1  # less than the products of rows


@pytest.mark.machine
@pytest.mark.parametrize("itemsize", [4, 8])
def test_groups_of_any_layer_are_whole_vectors(itemsize):
    lanes = machine.tiles(itemsize).lanes
    for n0 in (12_288, 49_152):  # of the latter, 16 MiB are 85 rows of float32
        found = {method.wide_group(n0, n1, 1, itemsize) for n1 in range(100, 2000)}
        assert not [rows for rows in found if rows < 2 or rows % lanes]
