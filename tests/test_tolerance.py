"""The error bounds themselves: wide enough for plain arithmetic, too narrow for wrong formulas."""

from __future__ import annotations

import numpy as np
import pytest

from tests import oracle
from tests.problems import NARROW, WIDE, make_problem
from tests.test_matmul import hides_a_product, random_integers
from tests.tolerance import assert_within

STEPS = 20
SETTINGS = {"learning_rate": 0.5, "weight_decay": 0.01}


def plain_training(problem, batches, *, old_weights=True):
    """Train in the problem's dtype as anyone would write it; optionally with a classic mistake."""
    dtype = problem.dtype.type
    rate, decay = dtype(SETTINGS["learning_rate"]), dtype(SETTINGS["weight_decay"])
    seen = (problem.X.astype(dtype) - dtype(problem.folding.mean)) * dtype(problem.folding.scale)
    weights = [w.copy() for w in problem.weights]
    biases = [b.copy() for b in problem.biases]
    one = dtype(1)
    for batch in batches:
        A = [seen[batch]]
        for weight, bias in zip(weights, biases, strict=True):
            A.append(one / (one + np.exp(-(A[-1] @ weight.T + bias))))
        delta = (A[-1] - problem.y[batch]) / dtype(len(batch))
        for layer in reversed(range(len(weights))):
            old = weights[layer]
            weights[layer] = (one - rate * decay) * old - rate * (delta.T @ A[layer])
            biases[layer] = biases[layer] - rate * delta.sum(axis=0)
            used = old if old_weights else weights[layer]
            delta = (delta @ used) * A[layer] * (one - A[layer])
    return weights, biases


@pytest.fixture(params=["float32", "float64"])
def dtype(request):
    return request.param


@pytest.mark.parametrize("fold", ["none", "scalar"])
@pytest.mark.parametrize("layer_sizes", NARROW + WIDE, ids=str)
def test_plain_training_stays_within_the_bounds(layer_sizes, fold, dtype):
    problem = make_problem(layer_sizes, dtype=dtype, fold=fold)
    batches = [np.arange(start, start + 16) % 37 for start in range(STEPS)]

    weights, biases = plain_training(problem, batches)

    exact = problem.trained(batches, **SETTINGS)
    allowed = problem.training_bounds(batches, **SETTINGS)
    for layer in range(len(weights)):
        assert_within(weights[layer], exact.weights[layer], allowed.weights[layer], "W")
        assert_within(biases[layer], exact.biases[layer], allowed.biases[layer], "b")


@pytest.mark.parametrize("layer_sizes", [s for s in NARROW + WIDE if len(s) > 2], ids=str)
def test_deltas_from_new_weights_leave_the_bounds(layer_sizes, dtype):
    problem = make_problem(layer_sizes, dtype=dtype)
    batches = [np.arange(start, start + 16) % 37 for start in range(STEPS)]

    weights, _ = plain_training(problem, batches, old_weights=False)

    exact = problem.trained(batches, **SETTINGS)
    allowed = problem.training_bounds(batches, **SETTINGS)
    with pytest.raises(AssertionError, match="too far"):
        assert_within(weights[0], exact.weights[0], allowed.weights[0], "W")


@pytest.mark.parametrize("layer_sizes", NARROW + WIDE, ids=str)
def test_leaving_out_one_row_leaves_the_bounds(layer_sizes, dtype):
    problem = make_problem(layer_sizes, dtype=dtype, fold="scalar")
    short = oracle.gradients(problem.seen[:-1], problem.y[:-1], problem.weights, problem.biases)
    full = oracle.gradients(problem.seen, problem.y, problem.weights, problem.biases)
    for layer, allowed in enumerate(problem.bounds().weight_gradients):
        with pytest.raises(AssertionError, match="too far"):
            assert_within(short.weights[layer] * 36 / 37, full.weights[layer], allowed, "dW")


def test_nan_is_never_within_a_bound():
    with pytest.raises(AssertionError, match="too far"):
        assert_within([np.nan], [0.0], 1.0, "x")


def test_where_nothing_is_allowed_the_entry_that_differs_is_named():
    with pytest.raises(AssertionError, match=r"1 of 3 entries are too far; at \(1,\) got"):
        assert_within([1.0, 20.0, 0.0], [1.0, 2.0, 0.0], 0, "x")


@pytest.mark.parametrize("terms", [4096, 1_000_003, 3_000_000])
def test_a_long_sum_of_integers_is_exact_and_misses_any_of_its_products(terms):
    assert hides_a_product(terms, "float32")
    a, b = (random_integers(1, terms, terms, "float32", seed) for seed in (1, 2))
    exact = float(a.astype(float)[0] @ b.astype(float)[0])
    one_by_one = np.cumsum(a * b, dtype=np.float32)[-1]  # the order with the largest error
    assert one_by_one == exact
    assert (a * b != 0).all()


def test_shapes_must_be_equal():
    with pytest.raises(AssertionError, match="shape"):
        assert_within(np.zeros((3, 1)), np.zeros(3), 1.0, "x")
