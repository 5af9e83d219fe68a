"""Preprocessing of columns with a large mean and a small spread: shifted before it is rounded."""

from __future__ import annotations

import numpy as np
import pytest

from fastbp import Network, load
from tests import oracle

# Far from what float32 holds: its numbers are 1/16 apart at a million, and 128 at 2^31.
MEAN = 1e6 + 0.3


def problem(hidden, n=50, features=35):
    rng = np.random.default_rng(0)
    X = MEAN + rng.normal(size=(n, features))
    mean = MEAN + 0.01 * rng.normal(size=features)
    scale = rng.uniform(0.5, 1.5, size=features)
    return X, mean, scale, Network((features, *hidden, 1), seed=0)


def with_folding(network, mean, scale):
    folded = Network(network.layer_sizes, init="zeros", input_mean=mean, input_scale=scale)
    for layer in range(len(network.weights)):
        folded.weights[layer][...] = network.weights[layer]
        folded.biases[layer][...] = network.biases[layer]
    return folded


# Sums of 35 products of size 1, and the layers above: roundings of float32, some 40 of them.
ROUNDING = 100 * np.finfo(np.float32).eps

LAYOUTS = {
    "rows": np.ascontiguousarray,
    "columns": np.asfortranarray,
    "strided": lambda X: np.repeat(np.repeat(X, 2, axis=0), 2, axis=1)[::2, ::2],
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("rows", [1, 50])
@pytest.mark.parametrize("hidden", [(3,), (40,)], ids=str)
@pytest.mark.parametrize("kind", ["number", "feature"])
def test_probabilities_of_float64_are_those_of_shifted_data(kind, hidden, rows, layout):
    X, mean, scale, network = problem(hidden, rows)
    if kind == "number":
        mean, scale = MEAN, 1.25
    expected = network.predict_proba((X - mean) * scale)
    found = with_folding(network, mean, scale).predict_proba(LAYOUTS[layout](X))
    np.testing.assert_allclose(found, expected, rtol=0, atol=ROUNDING)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("hidden", [(3,), (40,)], ids=str)
def test_gradients_of_float64_are_those_of_shifted_data(hidden, layout):
    X, mean, scale, network = problem(hidden)
    y = np.arange(50) % 2
    expected = network.gradients((X - mean) * scale, y)
    found = with_folding(network, mean, scale).gradients(LAYOUTS[layout](X), y)
    for pair, exact in zip(found, expected, strict=True):
        for one, other in zip(pair, exact, strict=True):
            np.testing.assert_allclose(one, other, rtol=0, atol=ROUNDING)


@pytest.mark.parametrize("batch_size", [1, 4, 20, None])
@pytest.mark.parametrize(("features", "hidden"), [(35, (3,)), (35, (40,)), (4000, (3,))], ids=str)
def test_training_on_float64_is_that_on_shifted_data(features, hidden, batch_size):
    X, mean, scale, network = problem(hidden, features=features)
    y = (X[:, 0] > mean[0]).astype(float)
    folded = with_folding(network, mean, scale)
    settings = {"batch_size": batch_size, "epochs": 2, "seed": 0, "learning_rate": 1 / features}
    folded.fit(X, y, **settings)
    network.fit((X - mean) * scale, y, **settings)
    for one, other in zip(folded.weights, network.weights, strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=ROUNDING)


def test_integers_that_float32_does_not_hold_are_shifted_first():
    X = 2**31 + np.arange(12).reshape(4, 3)
    network = Network((3, 1), init=0.25)
    found = with_folding(network, 2.0**31, 1.0).predict_proba(X)
    expected = network.predict_proba(X - 2**31)
    np.testing.assert_array_equal(found, expected)


def test_means_are_kept_exactly_and_saved_so(tmp_path):
    _, mean, scale, network = problem((3,))
    folded = with_folding(network, mean, scale)
    folded.save(tmp_path / "model")
    for kept in (folded, load(tmp_path / "model")):
        np.testing.assert_array_equal(kept.input_mean, mean)
        np.testing.assert_array_equal(kept.input_scale, scale)


def test_probabilities_follow_the_oracle():
    X, mean, scale, network = problem((3,))
    exact = oracle.forward(oracle.fold_input(X, mean, scale), network.weights, network.biases)
    found = with_folding(network, mean, scale).predict_proba(X)
    np.testing.assert_allclose(found, exact.A[-1], rtol=0, atol=ROUNDING)
