"""Outputs that are NaN or infinite: what is refused, whom the message blames, what is right."""

from __future__ import annotations

import numpy as np
import pytest

from fastbp import Network, sigmoid

SIZES = [(30, 1), (30, 3, 2), (30, 40, 2)]
X = np.random.default_rng(0).normal(size=(7, 30)).astype(np.float32)


def calls(network, data):
    """Every evaluation of a network, by name."""
    y = np.zeros((len(data), network.layer_sizes[-1]))
    return {
        "predict": lambda: network.predict(data),
        "predict_proba": lambda: network.predict_proba(data),
        "loss": lambda: network.loss(data, y),
        "score": lambda: network.score(data, y),
        "gradients": lambda: network.gradients(data, y),
        "activation_stats": lambda: network.activation_stats(data),
    }


NAMES = list(calls(Network((1, 1)), np.zeros((1, 1))))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("sizes", SIZES, ids=str)
def test_nan_in_x_is_refused_by_row_and_column(sizes, name):
    bad = X.copy()
    bad[4, 11] = np.nan
    with pytest.raises(ValueError, match="X holds nan in row 4, column 11: the output is NaN"):
        calls(Network(sizes, seed=0), bad)[name]()


@pytest.mark.parametrize("name", NAMES)
def test_nan_in_one_row_alone_is_refused(name):
    with pytest.raises(ValueError, match="X holds nan in row 0, column 2"):
        calls(Network((3, 1), seed=0), [[0.0, 1.0, np.nan]])[name]()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("sizes", SIZES, ids=str)
def test_weights_that_are_nan_are_refused(sizes, name):
    network = Network(sizes, seed=0)
    network.weights[-1].fill(np.nan)
    with pytest.raises(ValueError, match=r"weights\[\d\] of the network holds nan at \[0, 0\]"):
        calls(network, X)[name]()


def test_infinities_that_cancel_by_overflow_are_told_from_bad_data():
    network = Network((2, 1), init=1e38)
    with pytest.raises(ValueError, match="row 1 of X with the weights overflow float32"):
        network.predict(np.float32([[1, 1], [1e10, -1e10]]))


@pytest.mark.parametrize("sizes", [(2, 1), (2, 1, 1), (2, 40, 1)], ids=str)
def test_preactivations_that_overflow_are_as_sure_as_they_look(sizes):
    network = Network(sizes, init=1e38)
    for bias in network.biases[1:]:
        bias.fill(-1e37)  # so that a first layer that says no is heard above it
    sure = np.float32([[3, 3], [-3, -3]])
    assert network.predict(sure).tolist() == [1, 0]
    assert network.loss(sure, [1, 0]) == 0
    assert network.score(sure, [1, 0]) == 1.0
    assert network.score(sure, [0, 1]) == 0.0


def test_infinite_preactivations_on_the_wrong_side_cost_an_infinite_loss():
    network = Network((2, 1), init=1e38)
    sure = np.float32([[3, 3], [-3, -3]])
    assert network.loss(sure, [1, 0]) == 0.0
    assert network.loss(sure, [0, 1]) == np.inf


@pytest.mark.parametrize("hidden", [(), (3,), (40,)], ids=str)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_predict_score_and_training_agree_with_the_probabilities_near_one_half(dtype, hidden):
    # Pre-activations around 0, of which those just below round to a probability of 0.5.
    eps = np.finfo(dtype).eps
    z = np.concatenate([np.linspace(-2, 2, 81) * eps, [-1e-9, 1e-9]]).astype(dtype)
    network = Network((1, *hidden, 1), init="zeros", dtype=dtype)
    found, right, trained = [], [], []
    for value in z:
        network.biases[-1].fill(value)
        found.append(network.predict([[0.0]])[0] == (network.predict_proba([[0.0]])[0, 0] >= 0.5))
        label = network.predict([[0.0]])
        right.append(network.score([[0.0]], label))
        history = network.fit([[0.0]], label, epochs=1, batch_size=1, learning_rate=1e-30)
        trained.append(history.accuracy[0])
    assert all(found)
    assert right == [1.0] * len(z)
    assert trained == [1.0] * len(z)
    assert (z[sigmoid(z) >= 0.5] < 0).any()
