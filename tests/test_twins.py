"""The twins themselves: in float64 they agree with the oracle, and their cuts show in the bits."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

import numpy as np
import pytest

from tests import oracle, twins
from tests.problems import make_problem
from tests.test_matmul import assert_product, random_matrix
from tests.tolerance import assert_within

# What is hard to see through, and the tests that set it beside its twin.
HARD = {
    "linalg.interleave": "test_interleave.py",
    "linalg.split_k": "test_split_k.py",
    "linalg.thin": "test_thin.py",
    "narrow.columns": "test_columns.py",
    "narrow.delayed": "test_narrow_delayed.py",
    "narrow.shards": "test_shards.py",
    "small.steps": "test_small.py",
    "wide.delayed": "test_delayed.py",
}
SHAPES = [(1, 1, 1), (7, 5, 40), (20, 3, 1), (33, 17, 101)]
SETTINGS = {"learning_rate": 0.5, "weight_decay": 0.1}

PRODUCTS = {
    "in order": twins.product_in_order,
    "split-K": lambda a, b: twins.split_k_product(a, b, splits=3, block=8),
    "interleaved": lambda a, b: twins.interleaved_product(
        a, b, mr=4, nr=6, width=5, kc=16, strip=8
    ),
    "thin, outer sums": lambda a, b: twins.thin_outer_sums(a, b, deep=24),
    "thin, dot products": lambda a, b: twins.thin_dots(a, b, deep=24, lanes=8),
}

STEPS = {
    "delayed": lambda now, X, y, batch: twins.delayed_steps(now, X, y, batch, group=3),
    "single": lambda now, X, y, batch: twins.delayed_steps(now, X, y, batch, group=1),
    "columns": lambda now, X, y, batch: twins.column_steps(now, X, y, batch, chunk=10),
    "shards": lambda now, X, y, batch: twins.shard_steps(now, X, y, batch, lambda rows: 4),
}


@pytest.mark.parametrize("kernel", HARD)
def test_a_hard_kernel_names_its_twin_and_has_tests_beside_it(kernel):
    description = importlib.import_module(f"fastbp.kernels.{kernel}").__doc__
    tests = Path(__file__).with_name(HARD[kernel]).read_text()
    named = re.findall(r"`tests\.twins\.(\w+)`", description)
    assert named
    for name in named:
        assert callable(getattr(twins, name))
        assert f"twins.{name}(" in tests


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("product", PRODUCTS)
def test_twins_multiply(product, shape):
    m, n, k = shape
    a, b = random_matrix(m, k, "float64", seed=1), random_matrix(k, n, "float64", seed=2)
    assert_product(PRODUCTS[product](a, b), a, b)


@pytest.mark.parametrize("batch", [1, 4, 5, 11, 40])
@pytest.mark.parametrize("layer_sizes", [(33, 5), (33, 4, 3, 2), (9, 1, 1)], ids=str)
@pytest.mark.parametrize("steps", STEPS)
def test_twins_make_the_oracles_steps(steps, layer_sizes, batch):
    problem = make_problem(layer_sizes, 22, dtype="float64")
    now = twins.Training(problem.weights, problem.biases, **SETTINGS)
    STEPS[steps](now, problem.X, problem.y, batch)
    batches = [np.arange(i, min(i + batch, 22)) for i in range(0, 22, batch)]
    exact = problem.trained(batches, **SETTINGS)
    allowed = problem.training_bounds(batches, **SETTINGS)
    for layer in range(len(layer_sizes) - 1):
        assert_within(now.weights[layer], exact.weights[layer], allowed.weights[layer], "W")
        assert_within(now.biases[layer], exact.biases[layer], allowed.biases[layer], "b")


@pytest.mark.parametrize("steps", STEPS)
def test_without_rows_nothing_is_trained(steps):
    problem = make_problem((7, 3, 1), 5, dtype="float64")
    now = twins.Training(problem.weights, problem.biases, **SETTINGS)
    STEPS[steps](now, problem.X[:0], problem.y[:0], 4)
    before = problem.weights + problem.biases
    for array, expected in zip(now.weights + now.biases, before, strict=True):
        np.testing.assert_array_equal(array, expected)


def test_cuts_show_where_sums_round():
    # 2^53 + 1 is no float64: 1 is lost beside 2^53 in its stretch, and kept in one of its own.
    a = np.array([[2.0**53, 1.0, 1.0, 0.0]])
    b = np.ones((4, 1))
    assert twins.split_k_product(a, b, splits=1, block=4) == 2.0**53
    assert twins.split_k_product(a, b, splits=4, block=1) == 2.0**53
    assert twins.split_k_product(a[:, ::-1], b, splits=1, block=4) == 2.0**53 + 2
    assert twins.thin_dots(a, b, deep=4, lanes=2) == 2.0**53
    assert twins.thin_dots(a[:, [0, 1, 3, 2]], b, deep=4, lanes=2) == 2.0**53 + 2


def test_panels_hold_rows_one_after_the_other():
    block = np.arange(1, 11).reshape(2, 5)
    packed = twins.packed_panels(block, width=3, nr=4)
    assert packed.tolist() == [1, 2, 3, 0, 6, 7, 8, 0, 4, 5, 0, 0, 9, 10, 0, 0]
    assert twins.packed_rows(block, 6).tolist() == [1, 2, 3, 4, 5, 0, 6, 7, 8, 9, 10, 0]


def test_deltas_of_a_part_of_a_batch_are_those_of_the_oracle():
    problem = make_problem((6, 4, 3), 8, dtype="float64")
    slopes = oracle.gradients(problem.X, problem.y, problem.weights, problem.biases)
    now = twins.Training(problem.weights, problem.biases, **SETTINGS)
    z = oracle.linear(problem.X, problem.weights[0], problem.biases[0])
    total = 0.0
    for part in (slice(0, 3), slice(3, 8)):
        delta, _ = now.delta_of_first_layer(z[part], problem.y[part], 8)
        total = total + delta.sum(axis=0)
    np.testing.assert_allclose(total, slopes.biases[0], rtol=1e-13)
