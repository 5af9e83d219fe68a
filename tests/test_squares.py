"""What a step is told for a penalty on all weights: its own lambda, and sums of their squares."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numba import float32, float64, int64

from fastbp.engine import threads
from fastbp.engine.plan import NetworkPlan
from fastbp.kernels import plan as w
from fastbp.kernels.compile.jit import jit, region
from fastbp.kernels.functions.squares import BLOCK, sum_of_squares
from fastbp.kernels.narrow.first_layer import CHUNK
from fastbp.kernels.simd.vectors import pointer
from fastbp.optimizers import Optimizer
from tests import oracle
from tests.problems import make_problem
from tests.recipes import Training
from tests.tolerance import assert_within

DTYPES = ["float32", "float64"]
each_dtype = pytest.mark.parametrize("dtype", DTYPES)
# Layers, rows, rows of a step, method: one with several chunks of columns, one with several blocks.
CASES = {
    "narrow shards": ((CHUNK + 5, 3, 2, 1), 40, 33),
    "narrow shards, one tile": ((7, 3, 1), 9, 4),
    "dense": ((300, 129, 5), 20, 8),
    "dense, few rows": ((300, 129, 5), 7, 1),
    "small": ((40, 20, 33, 2), 50, 40),
    "small, few rows": ((40, 20, 2), 7, 1),
}
each_case = pytest.mark.parametrize("case", CASES)


@jit
def _sum(context, dtype):
    words = pointer(context, int64)
    found = sum_of_squares(pointer(words[0], dtype), words[1], dtype)
    pointer(words[2], float64)[0] = found


@region
def _sum_float32(context: int, worker: int) -> None:
    _sum(context, float32)


@region
def _sum_float64(context: int, worker: int) -> None:
    _sum(context, float64)


@each_dtype
@pytest.mark.parametrize("count", [0, 1, 15, 16, 17, 64, 65, BLOCK - 1, BLOCK, 3 * BLOCK + 77])
def test_squares_are_added_up(count, dtype):
    values = np.random.default_rng(count).normal(size=count + 1).astype(dtype)
    values[count] = np.nan  # beyond what is to be read
    found = np.zeros(1)
    words = np.array([values.ctypes.data, count, found.ctypes.data])
    {"float32": _sum_float32, "float64": _sum_float64}[dtype].serial(words.ctypes.data, 0)
    exact = float((oracle.float64(values[:count]) ** 2).sum())
    # A lane adds up at most BLOCK / lanes / 2 squares, and the lanes' sums follow.
    longest = BLOCK / 2 + 8
    assert_within(found[0], exact, longest * np.finfo(dtype).eps * exact, "sum")


def training_of(case, dtype, **settings):
    sizes, rows, batch = CASES[case]
    model = oracle.Model("relu", "cross_entropy" if sizes[-1] > 1 else "log_loss")
    problem = make_problem(sizes, rows, dtype=dtype, data_dtype=dtype, fold="none", model=model)
    return Training(problem, batch, 0.05, 0.1, **settings)


@each_dtype
@each_case
@pytest.mark.parametrize("rule", [oracle.SGD, oracle.Rule(momentum=0.9), oracle.Rule("adam")])
def test_the_squares_of_the_weights_before_each_step(case, dtype, rule):
    training = training_of(case, dtype, rule=rule, squares_share=0.5, epochs=2, penalized=True)
    network = training.problem.network()
    plan, numbers = training.plan(network), training.numbers()
    steps = len(numbers) // 2
    assert plan.method.value == case.split(",")[0]
    numbers[:, w.SQUARES_SHARE] = np.arange(1, len(numbers) + 1)
    exact = 0.0
    for number in range(len(numbers)):
        squares = sum(float((oracle.float64(weight) ** 2).sum()) for weight in network.weights)
        exact += (number + 1) * squares
        some = numbers[number : number + 1]
        plan.train(training.order(number // steps), number % steps, number % steps + 1, some)
    longest = BLOCK / 2 + 8 + len(numbers)
    assert_within(plan.squares, exact, longest * np.finfo(dtype).eps * exact, "squares")
    plan.clear_totals()
    assert plan.squares == 0
    assert not plan.totals.any()


@each_dtype
@each_case
def test_training_is_the_same_with_and_without_sums_of_squares(case, dtype):
    plain = training_of(case, dtype, rule=oracle.Rule(momentum=0.9)).run()
    summed = training_of(case, dtype, rule=oracle.Rule(momentum=0.9), squares_share=1.0).run()
    if plain[1].method is summed[1].method:
        for one, other in zip(plain[0].weights, summed[0].weights, strict=True):
            np.testing.assert_array_equal(one, other)
    np.testing.assert_allclose(summed[1].totals, plain[1].totals, rtol=1e3 * np.finfo(dtype).eps)


@each_dtype
@each_case
def test_sums_do_not_depend_on_threads_and_calls(case, dtype):
    def squares(groups):
        training = training_of(case, dtype, rule=oracle.Rule("adam"), squares_share=0.3)
        return training.run(groups)[1].squares

    several = squares(1000)
    assert squares(1) == several
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(threads, "get_num_threads", lambda: 1)
        assert squares(1000) == several


@each_dtype
@each_case
def test_each_step_may_have_its_own_penalty(case, dtype):
    def weights_after(penalty):
        training = training_of(case, dtype, penalized=True)
        network, numbers = training.problem.network(), training.numbers()
        numbers[:, w.PENALTY] = [penalty, *[0.0] * (len(numbers) - 1)]
        training.plan(network).train(training.order(0), 0, 1, numbers[:1])
        return network.weights

    start = training_of(case, dtype).problem.weights
    for before, without, with_one in zip(
        start, weights_after(0.0), weights_after(0.5), strict=True
    ):
        size = np.abs(oracle.float64(before)) + np.abs(oracle.float64(without))
        expected = oracle.float64(without) - 0.05 * 0.5 * oracle.float64(before)
        assert_within(with_one, expected, 4 * np.finfo(dtype).eps * size, "weights")


@each_dtype
@each_case
def test_the_share_of_a_steps_loss(case, dtype):
    def loss_with(share):
        training = training_of(case, dtype)
        plan, numbers = training.plan(training.problem.network()), training.numbers()
        numbers[:, w.LOSS_SHARE] = share
        plan.train(training.order(0), 0, 1, numbers[:1])
        return plan.totals.copy()

    whole, quarter = loss_with(1.0), loss_with(0.25)
    assert whole[0] > 0
    np.testing.assert_array_equal(quarter, [whole[0] / 4, whole[1]])


@pytest.mark.parametrize("sizes", [(6, 3, 2), (6, 20, 2)])
def test_a_cap_on_the_loss_of_a_wrong_answer(sizes):
    problem = make_problem(sizes, 5, dtype="float64", data_dtype="float64", fold="none")
    network = problem.network()
    network.biases[-1][:] = 1000.0
    problem.y[:] = [[0.0, 1.0]]

    def loss_with(cap):
        recipe = Training(problem, 5).recipe()._replace(loss_cap=cap)
        plan = NetworkPlan(network, problem.X, problem.y, batch_size=5, recipe=recipe)
        plan.settings[w.RATE] = 0.0
        plan.train(None, 0, 1)
        return plan.totals[0] / 5

    assert loss_with(math.inf) > 900
    assert loss_with(36.0) == 36.0


def test_the_numbers_of_steps_with_penalties():
    table = Optimizer("adam", weight_decay=0.5).numbers(0, [0.1, 0.1], penalties=[0.25, 0.125])
    np.testing.assert_array_equal(table[:, w.PENALTY], [0.25, 0.125])
    np.testing.assert_array_equal(table[:, w.LOSS_SHARE], [1, 1])
    np.testing.assert_array_equal(table[:, w.KEEP], [1, 1])
    for kind, penalty in (("adam", 0.5), ("momentum", 0.5), ("adamw", 0.0), ("sgd", 0.0)):
        table = Optimizer(kind, weight_decay=0.5).numbers(0, [0.1])
        assert table[0, w.PENALTY] == penalty
