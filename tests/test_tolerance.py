"""The error bounds themselves: wide enough for plain arithmetic, too narrow for wrong formulas."""

from __future__ import annotations

import dataclasses

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


MODELS = [oracle.Model(name, loss) for name, loss in zip(
    oracle.ACTIVATIONS, [*oracle.LOSSES, *oracle.LOSSES], strict=False
)]  # fmt: skip
RULES = [
    oracle.SGD,
    oracle.Rule(momentum=0.9),
    oracle.Rule(momentum=0.9, nesterov=True),
    oracle.Rule("adam"),
    oracle.Rule("adamw"),
]


def assert_all_within(trained, exact, allowed):
    for kind in ("weights", "biases"):
        three = (getattr(one, kind) for one in (trained, exact, allowed))
        for now, right, bound in zip(*three, strict=True):
            assert_within(now, right, bound, kind)


def assert_leaves_the_bounds(problem, batches, other, **settings):
    """Assert that parameters that came about in another way are told from the right ones."""
    exact = problem.trained(batches, **settings)
    allowed = problem.training_bounds(batches, **settings)
    with pytest.raises(AssertionError, match="too far"):
        assert_all_within(other, exact, allowed)


@pytest.mark.parametrize("model", MODELS, ids=str)
def test_another_function_leaves_the_bounds(model, dtype):
    problem = make_problem((33, 3, 2), dtype=dtype, model=model)
    batches = [np.arange(start, start + 16) % 37 for start in range(4)]
    settings = {**SETTINGS, "learning_rate": 0.1}
    for other in MODELS:
        if "cross_entropy" in (model.loss, other.loss) and model.loss != other.loss:
            continue  # its targets are others
        if other != model:
            wrong = dataclasses.replace(problem, model=other).trained(batches, **settings)
            assert_leaves_the_bounds(problem, batches, wrong, **settings)


@pytest.mark.parametrize("rule", RULES, ids=str)
def test_another_rule_leaves_the_bounds(rule, dtype):
    problem = make_problem((33, 3, 2, 1), dtype=dtype, model=oracle.Model("tanh"))
    batches = [np.arange(start, start + 16) % 37 for start in range(4)]
    settings = {"learning_rate": 0.01, "weight_decay": 0.1}
    for other in [*RULES, oracle.Rule("adam", beta_1=0.89), oracle.Rule("adam", beta_2=0.99)]:
        if other != rule:
            wrong = problem.trained(batches, rule=other, **settings)
            if {other.optimizer, rule.optimizer} == {"adam", "adamw"}:
                wrong.biases[0][...] = np.inf  # which are not decayed: no difference
            assert_leaves_the_bounds(problem, batches, wrong, rule=rule, **settings)


@pytest.mark.parametrize("left_out", ["sample_weight", "dropout", "seed"])
def test_weights_and_dropout_left_out_leave_the_bounds(left_out, dtype):
    problem = make_problem((33, 3, 2, 1), dtype=dtype)
    batches = [np.arange(start, start + 16) % 37 for start in range(4)]
    settings = {
        **SETTINGS,
        "sample_weight": np.random.default_rng(0).uniform(0.5, 1.5, size=37),
        "dropout": (0.0, 0.3, 0.3),
        "seed": 7,
    }
    wrong = problem.trained(batches, **{k: v for k, v in settings.items() if k != left_out})
    assert_leaves_the_bounds(problem, batches, wrong, **settings)


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
