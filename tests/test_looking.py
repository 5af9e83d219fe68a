"""What a network of any activation and loss says of rows: against the oracle."""

from __future__ import annotations

import numpy as np
import pytest

from fastbp import Network
from tests import oracle
from tests.problems import Problem, make_problem
from tests.tolerance import assert_within, gamma

MODELS = [oracle.Model(name, "squared_error") for name in oracle.ACTIVATIONS] + [
    oracle.Model("tanh", loss) for loss in oracle.LOSSES
]
CASES = [("float32", "float32", "none"), ("float64", "uint8", "feature")]


def problem_of(model: oracle.Model, *kind: str, sizes=(33, 20, 5, 3), n: int = 37) -> Problem:
    dtype, data_dtype, fold = kind or ("float32", "float32", "none")
    return make_problem(sizes, n, dtype=dtype, data_dtype=data_dtype, fold=fold, model=model)


@pytest.mark.parametrize("kind", CASES, ids=str)
@pytest.mark.parametrize("model", MODELS, ids=str)
def test_layers_and_gradients_follow_the_oracle(model, kind):
    problem = problem_of(model, *kind)
    network, allowed = problem.network(), problem.bounds()

    Z, A = network.forward(problem.X)
    slopes = network.gradients(problem.X, problem.y)

    exact = problem.forward()
    for layer in range(3):
        assert Z[layer].dtype == A[layer].dtype == problem.dtype
        assert_within(Z[layer], exact.Z[layer], allowed.Z[layer], f"Z[{layer}]")
        assert_within(A[layer], exact.A[layer + 1], allowed.A[layer], f"A[{layer}]")
    expected = oracle.gradients(
        problem.seen, problem.y, problem.weights, problem.biases, model=model
    )
    for layer, (dW, db) in enumerate(slopes):
        assert_within(dW, expected.weights[layer], allowed.weight_gradients[layer], f"dW[{layer}]")
        assert_within(db, expected.biases[layer], allowed.bias_gradients[layer], f"db[{layer}]")


@pytest.mark.parametrize("sizes", [(33, 3, 2), (33, 40, 2)], ids=str)
@pytest.mark.parametrize("kind", CASES, ids=str)
@pytest.mark.parametrize("model", MODELS, ids=str)
def test_predictions_and_losses_follow_the_oracle(model, kind, sizes):
    problem = problem_of(model, *kind, sizes=sizes)
    network, allowed, exact = problem.network(), problem.bounds(), problem.forward()
    if oracle.LOSSES[model.loss].is_classification:
        p = network.predict_proba(problem.X)
        assert_within(p, exact.A[-1], allowed.A[-1], "p")
        with_margin = np.abs(p - 0.5).min() > allowed.A[-1].max()
        if with_margin and model.loss == "log_loss":
            np.testing.assert_array_equal(network.predict(problem.X), exact.A[-1] >= 0.5)
    else:
        values = network.predict(problem.X)
        assert values.dtype == problem.dtype
        assert_within(values, exact.A[-1], allowed.A[-1], "values")
    expected = oracle.loss(problem.seen, problem.y, problem.weights, problem.biases, model=model)
    assert_within(network.loss(problem.X, problem.y), expected, allowed.loss, "loss")


@pytest.mark.parametrize("loss", oracle.LOSSES)
def test_score_is_the_metric_of_the_loss(loss):
    model = oracle.Model("tanh", loss)
    problem = problem_of(model, "float64", "float64", "none", n=200)
    weights = np.random.default_rng(3).integers(0, 3, size=200)

    for given in (None, weights):
        got = problem.network().score(problem.X, problem.y, sample_weight=given)
        assert isinstance(got, float)
        expected = oracle.metric_of(problem.forward().Z[-1], problem.y, loss, given)
        # Accuracies differ by nothing, if no row is at the edge; R^2 by what a and y are off by.
        assert got == pytest.approx(expected, rel=1e6 * np.finfo(float).eps)


@pytest.mark.parametrize("loss", oracle.LOSSES)
def test_weights_of_rows_are_as_good_as_copies_of_rows(loss):
    problem = problem_of(oracle.Model("tanh", loss), "float64", "float64", "none")
    network = problem.network()
    weights = np.random.default_rng(3).integers(0, 4, size=len(problem.X))
    X, y = (np.repeat(array, weights, axis=0) for array in (problem.X, problem.y))

    weighted = network.loss(problem.X, problem.y, sample_weight=weights, weight_decay=0.1)

    assert weighted == pytest.approx(network.loss(X, y, weight_decay=0.1), rel=1e-13)
    pairs = zip(
        network.gradients(problem.X, problem.y, sample_weight=weights), network.gradients(X, y),
        strict=True,
    )  # fmt: skip
    largest = max(np.abs(a).max() for pair in network.gradients(X, y) for a in pair)
    for (dW, db), (copied_dW, copied_db) in pairs:
        # Both are sums of some hundred products, in other orders.
        np.testing.assert_allclose(dW, copied_dW, rtol=0, atol=gamma(1000, "float64") * largest)
        np.testing.assert_allclose(db, copied_db, rtol=0, atol=gamma(1000, "float64") * largest)


def test_weight_decay_adds_weights_to_their_gradients():
    problem = problem_of(oracle.Model("relu", "huber"))
    network = problem.network()
    plain = network.gradients(problem.X, problem.y)
    decayed = network.gradients(problem.X, problem.y, weight_decay=0.25)
    for weight, (dW, db), (decayed_dW, decayed_db) in zip(
        network.weights, plain, decayed, strict=True
    ):
        np.testing.assert_array_equal(decayed_dW, dW + np.float32(0.25) * weight)
        np.testing.assert_array_equal(decayed_db, db)


@pytest.mark.parametrize("fold", ["none", "scalar", "feature"])
@pytest.mark.parametrize("model", MODELS, ids=str)
def test_input_gradient_follows_the_oracle(model, fold):
    problem = problem_of(model, "float64", "float64", fold, sizes=(33, 20, 3), n=9)

    slopes = problem.network().input_gradient(problem.X, problem.y)

    seen = oracle.input_gradient(
        problem.seen, problem.y, problem.weights, problem.biases, model=model
    )
    expected = seen * problem.folding.scale
    # Of the order of 1, through three sums of at most 33 products.
    allowed = gamma(1000, "float64") * max(1.0, np.abs(expected).max())
    assert slopes.dtype == np.float64
    np.testing.assert_allclose(slopes, expected, rtol=0, atol=allowed)


def test_input_gradient_of_bytes_is_in_units_of_bytes():
    problem = problem_of(oracle.Model("tanh", "cross_entropy"), "float64", "uint8", "scalar")
    network = problem.network()
    slopes = network.input_gradient(problem.X, problem.y)
    X, step = problem.X.astype(float), 1e-4
    moved = X + step * slopes / np.abs(slopes).max()
    back = X - step * slopes / np.abs(slopes).max()
    change = len(X) * (network.loss(moved, problem.y) - network.loss(back, problem.y))
    expected = 2 * step * (slopes**2).sum() / np.abs(slopes).max()
    # Central differences: an error of step^2 times third derivatives of 1/74^3, and eps / step.
    assert change == pytest.approx(expected, rel=1e-6)


def test_forward_gives_what_is_asked_for():
    problem = problem_of(oracle.Model("gelu", "cross_entropy"))
    network = problem.network()
    Z, A = network.forward(problem.X, keep="both")
    for kept, layers in (("z", Z), ("a", A)):
        only = network.forward(problem.X, keep=kept)
        for got, want in zip(only, layers, strict=True):
            np.testing.assert_array_equal(got, want)
    with pytest.raises(ValueError, match="keep must be 'z', 'a' or 'both', got 'x'"):
        network.forward(problem.X, keep="x")
    with pytest.raises(ValueError, match="X has no rows"):
        network.forward(problem.X[:0])


def test_layers_are_arrays_of_their_own():
    network = Network((3, 2, 2), activation="identity", loss="squared_error", seed=0)
    Z, A = network.forward(np.ones((4, 3)))
    arrays = [*Z, *A]
    for i, one in enumerate(arrays):
        for other in arrays[i + 1 :]:
            assert not np.may_share_memory(one, other)


@pytest.mark.parametrize("name", oracle.ACTIVATIONS)
def test_statistics_are_those_of_the_layers(name):
    problem = problem_of(oracle.Model(name, "squared_error"))
    Z, A = problem.network().forward(problem.X)
    for stats, z, a in zip(problem.network().activation_stats(problem.X), Z, A, strict=True):
        expected = z.mean(dtype=float), z.std(dtype=float), a.mean(dtype=float), a.std(dtype=float)
        assert stats == expected


# ------------------------------------------------------------------ labels


def test_predictions_are_labels_where_there_are_any():
    problem = problem_of(oracle.Model("tanh", "cross_entropy"))
    network = problem.network()
    numbers = network.predict(problem.X)
    assert numbers.dtype == np.int64
    np.testing.assert_array_equal(numbers, network.predict_proba(problem.X).argmax(axis=1))
    network.classes_ = ["x", "z", "y"]
    labels = network.predict(problem.X)
    assert labels.tolist() == network.classes_[numbers].tolist()
    assert network.score(problem.X, labels) == 1.0
    assert network.loss(problem.X, labels) == network.loss(problem.X, np.eye(3)[numbers])


def test_predictions_of_one_output_are_labels_where_there_are_any():
    problem = make_problem((33, 5, 1))
    network = problem.network()
    numbers = network.predict(problem.X)
    network.classes_ = [-1, 7]
    assert network.predict(problem.X).tolist() == np.where(numbers, 7, -1).tolist()
    assert network.score(problem.X, np.where(numbers, 7, -1)) == 1.0


@pytest.mark.parametrize("loss", ["squared_error", "poisson"])
def test_values_of_one_output_are_a_vector(loss):
    network = Network((3, 1), loss=loss, seed=0)
    assert network.predict(np.ones((4, 3))).shape == (4,)
    assert Network((3, 2), loss=loss).predict(np.ones((4, 3))).shape == (4, 2)
    assert network.predict(np.ones((0, 3))).shape == (0,)


@pytest.mark.parametrize("loss", ["squared_error", "absolute_error", "huber", "poisson"])
def test_regression_has_no_probabilities(loss):
    with pytest.raises(AttributeError, match=f"loss='{loss}' has no probabilities: predict gives"):
        Network((3, 1), loss=loss).predict_proba(np.ones((4, 3)))


def test_labels_that_no_longer_fit_are_refused():
    network = Network((3, 2), loss="cross_entropy", seed=0)
    network.classes_ = ["a", "b"]
    network.layer_sizes = (3, 3)
    network.weights, network.biases = [np.eye(3, dtype=np.float32)], [np.zeros(3, np.float32)]
    with pytest.raises(ValueError, match="classes_ must have 3 labels"):
        network.predict(np.ones((4, 3)))


@pytest.mark.parametrize("call", ["loss", "score", "gradients"])
def test_bad_weights_of_rows_are_refused(call):
    network = Network((3, 1), seed=0)
    with pytest.raises(ValueError, match="sample_weight must be finite and not negative"):
        getattr(network, call)(np.ones((2, 3)), [0, 1], sample_weight=[1, -1])


@pytest.mark.parametrize("call", ["loss", "gradients"])
@pytest.mark.parametrize("weight_decay", [-0.1, np.inf, np.nan])
def test_bad_decay_is_refused(call, weight_decay):
    network = Network((3, 1), seed=0)
    with pytest.raises(ValueError, match="weight_decay must be finite and >= 0"):
        getattr(network, call)(np.ones((2, 3)), [0, 1], weight_decay=weight_decay)


@pytest.mark.parametrize("name", oracle.ACTIVATIONS)
def test_nan_in_X_is_named_for_every_activation(name):
    network = Network((3, 4, 1), activation=name, loss="squared_error", seed=0)
    X = np.ones((5, 3))
    X[2, 1] = np.nan
    with pytest.raises(ValueError, match="X holds nan in row 2, column 1: the output is NaN"):
        network.forward(X)
