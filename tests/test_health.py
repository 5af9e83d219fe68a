"""Warnings of what makes training useless: inputs that saturate, relu layers that are dead."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

from fastbp import Network
from fastbp.health import warn_of_dead_layers

rng = np.random.default_rng(0)
X = rng.normal(size=(64, 30)).astype(np.float32)
y = (X[:, 0] > 0).astype(float)


@pytest.mark.parametrize("sizes", [(30, 5, 1), (30, 40, 5, 1)], ids=str)
@pytest.mark.parametrize("activation", ["sigmoid", "tanh"])
def test_inputs_that_saturate_the_first_layer_are_told(activation, sizes):
    network = Network(sizes, activation=activation, seed=0)
    with pytest.warns(UserWarning, match=f"saturate .* {activation} units.* input_scale") as told:
        network.fit(1e4 * X, y, epochs=1)
    assert told[0].filename == __file__


@pytest.mark.parametrize(
    "settings",
    [
        {"activation": "relu"},
        {"activation": "tanh", "input_scale": 1e-4},
        {"activation": "tanh", "init": 0.0},
    ],
    ids=str,
)
def test_inputs_that_saturate_nothing_are_not(settings):
    network = Network((30, 40, 1), seed=0, **settings)
    network.fit(1e4 * X, y, epochs=1, learning_rate=1e-12)


def test_ordinary_inputs_are_not():
    for scale in (1e-3, 1, 4):
        Network((30, 40, 1), activation="tanh", seed=0).fit(scale * X, y, epochs=1)


def test_networks_without_hidden_layers_saturate_only_once_they_are_sure():
    Network((30, 1), seed=0).fit(1e4 * X, y, epochs=1, learning_rate=1e-12)


@pytest.mark.parametrize(
    ("activation", "layer"),
    [("relu", 1), ("relu", 2), (("tanh", "relu"), 2), (("gelu", "relu"), 2)],
    ids=str,
)
def test_a_dead_relu_layer_is_told_after_the_first_epoch(activation, layer):
    network = Network((30, 20, 7, 1), activation=activation, seed=0)
    network.biases[layer - 1][...] = -1e3
    with pytest.warns(UserWarning, match=f"of layer {layer} are 0 .*learning_rate.*'he'") as told:
        network.fit(X, y, epochs=2)
    assert len(told) == 1
    assert told[0].filename == __file__


def test_what_a_layer_sees_is_what_the_one_before_lets_pass():
    network = Network((1, 2, 1, 1), activation="relu", init=0.0)
    network.biases[0][...] = 1, -5
    network.weights[1][...] = -1
    with pytest.warns(UserWarning, match="of layer 2 are 0"):
        warn_of_dead_layers(network, X[:, :1])


def test_a_rate_that_kills_a_layer_is_told():
    network = Network((30, 20, 1), activation="relu", init=0.1)
    with pytest.warns(UserWarning, match="the layer is dead"):
        network.fit(np.abs(X), np.zeros(64), epochs=1, learning_rate=100.0)


def test_living_layers_are_not_told():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for activation in ("relu", "leaky_relu", ("relu", "tanh")):
            sizes = (30, 20, 7, 1) if isinstance(activation, tuple) else (30, 20, 1)
            network = Network(sizes, activation=activation, seed=0)
            network.fit(X, y, epochs=1)
            warn_of_dead_layers(network, X)
        one = Network((30, 20, 1), activation="relu", seed=0)
        one.biases[0][...] = -1e3
        one.biases[0][3] = 1e3  # one unit is enough
        warn_of_dead_layers(one, X)


def test_a_layer_that_lives_for_few_rows_is_not_told():
    one = Network((1, 3, 1), activation="relu", init=0.0)
    one.weights[0][...] = 1.0
    rows = np.full((64, 1), -1.0, np.float32)
    with pytest.warns(UserWarning, match=r"looked at \(64\)"):
        warn_of_dead_layers(one, rows)
    rows[50] = 1.0  # not among those that are looked at first
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warn_of_dead_layers(one, rows)
