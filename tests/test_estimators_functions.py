"""Activations, dropout and adamw of the estimators, against the plain mathematics."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("sklearn")

from scipy import sparse
from sklearn.base import clone

from fastbp import MLPClassifier, MLPRegressor, Network
from fastbp.activations import ACTIVATIONS
from fastbp.estimators.initial import random_layers
from tests import oracle

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

BATCH, EPOCHS, RATE, SEED = 20, 3, 0.01, 2
TOLERANCE = 1e-12  # some thousand rounding errors of numbers up to 1
SIZES = (7, 9, 6, 2)


def _data():
    rng = np.random.default_rng(6)
    X = rng.standard_normal((60, SIZES[0]))
    return X, X[:, :2] + 0.3 * X[:, 2:4] ** 2


def _model(**parameters):
    settings = {
        "hidden_layer_sizes": SIZES[1:-1], "max_iter": EPOCHS, "batch_size": BATCH, "alpha": 0.0,
        "random_state": SEED, "shuffle": False, "learning_rate_init": RATE, "solver": "sgd",
    }  # fmt: skip
    return MLPRegressor(**{**settings, **parameters})


def _start(activation):
    return random_layers(SIZES, activation, np.dtype(np.float64), np.random.RandomState(SEED))


def _oracle(X, y, activation="relu", **settings):
    names = tuple("sigmoid" if name == "logistic" else name for name in np.atleast_1d(activation))
    batches = np.arange(len(X)).reshape(-1, BATCH).tolist() * EPOCHS
    return oracle.train(
        X, y, *_start(activation), batches, learning_rate=RATE,
        rule=oracle.Rule("sgd", 0.9, nesterov=True),
        model=oracle.Model(names[0] if isinstance(activation, str) else names, "squared_error"),
        **settings,
    )  # fmt: skip


def _assert_close(model, expected):
    for coef, weight in zip(model.coefs_, expected.weights, strict=True):
        np.testing.assert_allclose(coef.T, weight, rtol=TOLERANCE, atol=TOLERANCE)
    for intercept, bias in zip(model.intercepts_, expected.biases, strict=True):
        np.testing.assert_allclose(intercept, bias, rtol=TOLERANCE, atol=TOLERANCE)


# ------------------------------------------------------------------ activations


@pytest.mark.parametrize("activation", [*ACTIVATIONS, "logistic"])
def test_a_training_with_each_activation(activation):
    X, y = _data()
    _assert_close(_model(activation=activation).fit(X, y), _oracle(X, y, activation))


@pytest.mark.parametrize("as_given", [tuple, list, np.array])
@pytest.mark.parametrize("names", [("gelu", "logistic"), ("tanh", "leaky_relu")])
def test_a_training_with_an_activation_for_each_layer(names, as_given):
    X, y = _data()
    model = _model(activation=as_given(names)).fit(X, y)
    _assert_close(model, _oracle(X, y, names))
    model.predict(X[:3])
    clone(model).fit(X, y)


@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
def test_one_name_is_the_same_as_that_name_for_each_layer(solver):
    X, y = _data()
    for name in ("logistic", "relu"):
        one = _model(activation=name, solver=solver).fit(X, y)
        each = _model(activation=(name, name), solver=solver).fit(X, y)
        np.testing.assert_array_equal(one.coefs_[0], each.coefs_[0])


@pytest.mark.parametrize(
    ("names", "factors"),  # of the output layer that of the last hidden one
    [(("logistic", "relu"), (2, 6, 6)), (["tanh", "sigmoid"], (6, 2, 2)), ("sigmoid", (2, 2, 2))],
)
def test_each_layer_is_drawn_for_its_activation(names, factors):
    rng = np.random.RandomState(0)
    sizes = (100, 80, 60, 40)
    weights, biases = random_layers(sizes, names, np.dtype(np.float64), rng)
    for i, factor in enumerate(factors):
        bound = np.sqrt(factor / (sizes[i] + sizes[i + 1]))
        assert 0.99 * bound < np.abs(weights[i]).max() <= bound
        assert 0.8 * bound < np.abs(biases[i]).max() <= bound


@pytest.mark.parametrize(
    ("activation", "message"),
    [
        ("mish", "The 'activation' parameter of MLPRegressor must be"),
        (("relu", "mish"), "activation must be one of"),
        (("relu",), "activation has 1 names, but the network has 2 hidden layers"),
        (3, "The 'activation' parameter of MLPRegressor must be"),
    ],
)
def test_unknown_activations_are_refused_before_anything_changes(activation, message):
    model = _model(activation=activation)
    with pytest.raises(ValueError, match=message):
        model.fit(*_data())
    assert not hasattr(model, "n_features_in_")


# ------------------------------------------------------------------ dropout


@pytest.mark.parametrize("dropout", [0.4, (0.2, 0.0, 0.5), [0.0, 0.3, 0.0]])
def test_dropout(dropout):
    X, y = _data()
    model = _model(dropout=dropout).fit(X, y)
    shares = (0.0, dropout, dropout) if isinstance(dropout, float) else dropout
    _assert_close(model, _oracle(X, y, dropout=shares, seed=model._optimizer.dropout_seed))


def test_dropout_is_that_of_a_network():
    X, y = _data()
    labels = (y[:, 0] > 0).astype(int)
    model = MLPClassifier(
        (40,), solver="sgd", alpha=0.0, batch_size=BATCH, shuffle=False, max_iter=EPOCHS,
        dropout=(0.1, 0.5), learning_rate_init=0.1, random_state=0,
    ).fit(X, labels)  # fmt: skip
    seed = model._optimizer.dropout_seed
    network = Network((7, 40, 1), activation="relu", dtype="float64")
    network.weights, network.biases = random_layers(
        (7, 40, 1), "relu", np.dtype(np.float64), np.random.RandomState(0)
    )
    network.fit(
        X, labels, batch_size=BATCH, epochs=EPOCHS, learning_rate=0.1, momentum=0.9, nesterov=True,
        dropout=(0.1, 0.5), shuffle=False, seed=seed,
    )  # fmt: skip
    np.testing.assert_allclose(model.coefs_[0].T, network.weights[0], rtol=1e-12, atol=1e-14)


def test_dropout_leaves_what_else_is_drawn_as_it_is():
    X, y = _data()
    drops = _model(dropout=0.3, shuffle=True, learning_rate_init=1e-300).fit(X, y)
    plain = _model(shuffle=True, learning_rate_init=1e-300).fit(X, y)
    np.testing.assert_array_equal(drops.coefs_[0], plain.coefs_[0])  # both as they were drawn
    assert drops.loss_ != plain.loss_


def test_sparse_rows_are_dropped_out_of_as_dense_ones():
    X, y = _data()
    X[X < 0.5] = 0
    dense = _model(dropout=(0.2, 0.3, 0.3)).fit(X, y)
    other = _model(dropout=(0.2, 0.3, 0.3)).fit(sparse.csr_array(X), y)
    np.testing.assert_allclose(other.coefs_[0], dense.coefs_[0], rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"dropout": 1.0}, "The 'dropout' parameter of MLPRegressor must be"),
        ({"dropout": -0.1}, "The 'dropout' parameter of MLPRegressor must be"),
        ({"dropout": (0.1, 0.2)}, "dropout has 2 shares, but there are the input and 2 hidden"),
        ({"dropout": (0.1, 0.2, 1.5)}, r"dropout\[2\] must be less than 1, got 1.5"),
        ({"dropout": 0.1, "solver": "lbfgs"}, "dropout needs a stochastic solver"),
    ],
)
def test_dropout_that_cannot_be_is_refused_before_anything_changes(parameters, message):
    model = _model(**parameters)
    with pytest.raises(ValueError, match=message):
        model.fit(*_data())
    assert not hasattr(model, "n_features_in_")


# ------------------------------------------------------------------ adamw


def test_adamw_shrinks_the_weights_beside_the_gradient():
    X, y = _data()
    alpha, epsilon, b1, b2 = 3.0, 0.01, 0.8, 0.9  # no gradient is so small that it is all rounding
    model = _model(solver="adamw", alpha=alpha, epsilon=epsilon, beta_1=b1, beta_2=b2).fit(X, y)

    weights, biases = _start("relu")
    arrays = [*weights, *biases]
    m, v = ([np.zeros_like(array) for array in arrays] for _ in range(2))
    steps = [slice(start, start + BATCH) for start in range(0, len(X), BATCH)] * EPOCHS
    for t, some in enumerate(steps, 1):
        found = oracle.gradients(
            X[some], y[some], weights, biases, model=oracle.Model("relu", "squared_error")
        )
        rate = RATE * np.sqrt(1 - b2**t) / (1 - b1**t)
        for i, (array, g) in enumerate(zip(arrays, [*found.weights, *found.biases], strict=True)):
            m[i] = b1 * m[i] + (1 - b1) * g
            v[i] = b2 * v[i] + (1 - b2) * g**2
            if array.ndim == 2:
                array *= 1 - RATE * alpha
            array -= rate * m[i] / (np.sqrt(v[i]) + epsilon)
    _assert_close(model, oracle.Step(weights, biases, 0.0, 0.0))


def test_alpha_is_not_in_the_loss_of_adamw():
    X, y = _data()
    model = _model(solver="adamw", alpha=3.0, max_iter=1, batch_size=len(X)).fit(X, y)
    loss = oracle.loss(X, y, *_start("relu"), model=oracle.Model("relu", "squared_error"))
    assert model.loss_ == pytest.approx(loss / SIZES[-1], rel=1e-12)


def test_adamw_without_alpha_is_adam():
    X, y = _data()
    one, other = (_model(solver=solver, shuffle=True).fit(X, y) for solver in ("adam", "adamw"))
    np.testing.assert_array_equal(one.coefs_[0], other.coefs_[0])
    assert one.loss_curve_ == other.loss_curve_


def test_adamw_may_train_by_parts_of_the_data():
    X, y = _data()
    model = _model(solver="adamw", alpha=3.0)
    for _ in range(EPOCHS):
        model.partial_fit(X, y)
    np.testing.assert_array_equal(
        model.coefs_[0], _model(solver="adamw", alpha=3.0).fit(X, y).coefs_[0]
    )


def test_a_decay_that_turns_the_weights_around_is_refused():
    with pytest.raises(ValueError, match="learning_rate_init \\* alpha must be less than 1"):
        _model(solver="adamw", alpha=1 / RATE).fit(*_data())
