"""Training that meets NaN, infinity or overflow: where it stops, what it says, what it leaves."""

from __future__ import annotations

import functools
import inspect
import pickle

import numpy as np
import pytest

import fastbp
from fastbp import DivergenceError, Network, guard, training
from fastbp.engine import method
from fastbp.engine.plan import NetworkPlan
from fastbp.optimizers import Optimizer
from fastbp.settings import check_settings
from fastbp.state import TrainingState
from fastbp.steps import Steps
from tests.training import bits

NARROW, WIDE = (30, 3, 1), (30, 40, 1)
FIT = {
    name: parameter.default
    for name, parameter in inspect.signature(Network.fit).parameters.items()
    if name in inspect.getfullargspec(check_settings).kwonlyargs
}  # the settings that `fit` has by itself
LARGE = (3000, 120, 1)  # more than a megabyte: not copied for a short training on few rows


def data(sizes, n=24, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, sizes[0])).astype(np.float32)
    return X, (X[:, 0] > 0).astype(np.float32)


def trained(sizes, X, y, **settings):
    network = Network(sizes, seed=1)
    network.fit(X, y, shuffle=False, **settings)
    return network


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("batch_size", [1, 4, 10, None])
@pytest.mark.parametrize("sizes", [NARROW, WIDE, (30, 1), LARGE], ids=str)
def test_data_that_are_not_finite_are_named_by_row_and_column(sizes, batch_size, value):
    X, y = data(sizes)
    X[17, 5] = value
    with pytest.raises(ValueError, match="row 17, column 5") as caught:
        Network(sizes, seed=0).fit(X, y, batch_size=batch_size, epochs=3, seed=0)
    assert not isinstance(caught.value, DivergenceError)


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("batch_size", [1, 4])
@pytest.mark.parametrize("sizes", [NARROW, WIDE], ids=str)
def test_weights_are_those_before_the_step_that_met_bad_data(sizes, batch_size, value):
    X, y = data(sizes)
    X[16, 5] = value
    network = Network(sizes, seed=1)
    with pytest.raises(ValueError, match=f"epoch 1, step {16 // batch_size + 1}"):
        network.fit(X, y, batch_size=batch_size, epochs=2, shuffle=False)
    before = trained(sizes, X[:16], y[:16], batch_size=batch_size, epochs=1)
    for weight, expected in zip(network.weights, before.weights, strict=True):
        np.testing.assert_allclose(weight, expected, rtol=0, atol=1e-5)


def test_rows_are_numbered_as_in_the_data_when_they_are_shuffled():
    X, y = data(NARROW)
    X[3, 29] = np.nan
    with pytest.raises(ValueError, match="row 3, column 29"):
        Network(NARROW, seed=0).fit(X, y, batch_size=4, seed=5)


def test_data_beyond_the_range_of_the_network_are_to_blame():
    X, y = data(NARROW)
    X = X.astype(np.float64)
    X[9, 2] = 1e39
    with pytest.raises(ValueError, match="1e\\+39 in row 9, column 2, which overflows float32"):
        Network(NARROW, seed=0).fit(X, y)


@pytest.mark.parametrize("batch_size", [1, 4, None])
@pytest.mark.parametrize("sizes", [NARROW, WIDE, (30, 1), LARGE], ids=str)
def test_a_learning_rate_that_makes_weights_overflow_is_named(sizes, batch_size):
    X, y = data(sizes)
    network = Network(sizes, seed=0)
    with pytest.raises(DivergenceError, match="learning_rate than 3e\\+38") as caught:
        network.fit(10 * X, y, batch_size=batch_size, epochs=3, learning_rate=3e38, seed=0)
    assert caught.value.epoch >= 1
    assert f"epoch {caught.value.epoch}, step {caught.value.step}" in str(caught.value)
    assert all(np.isfinite(array).all() for array in network.weights + network.biases)


def test_divergence_is_a_value_error_at_the_top_of_the_package():
    assert issubclass(fastbp.DivergenceError, ValueError)


def test_weights_that_overflow_in_the_last_step_are_noticed():
    X = np.full((1, 2), 1e20, np.float32)
    network = Network((2, 1), init=0.0)
    with pytest.raises(DivergenceError, match="epoch 1, step 1"):
        network.fit(X, [1], epochs=1, learning_rate=1e20)
    np.testing.assert_array_equal(network.weights[0], np.zeros((1, 2)))


def test_weights_that_are_nan_before_training_are_to_blame():
    X, y = data(NARROW)
    network = Network(NARROW, seed=0)
    network.weights[1][0, 2] = np.nan
    with pytest.raises(ValueError, match=r"weights\[1\] of the network holds nan at \[0, 2\]"):
        network.fit(X, y)


def test_a_callback_s_change_of_the_weights_is_kept_when_training_fails_later():
    class Change:
        def on_epoch_end(self, epoch, network, history):
            network.weights[0].fill(0.5)
            network.biases[1].fill(np.inf if epoch == 2 else 0.0)

    X, y = data(NARROW)
    network = Network(NARROW, seed=0)
    with pytest.raises(ValueError, match=r"biases\[1\] of the network holds inf"):
        network.fit(X, 1 - y, epochs=5, callbacks=[Change()])
    np.testing.assert_array_equal(network.weights[0], np.full((3, 30), 0.5, np.float32))


def test_validation_data_that_are_not_finite_are_named():
    X, y = data(NARROW)
    bad = X.copy()
    bad[4, 7] = np.nan
    with pytest.raises(ValueError, match="validation X holds nan in row 4, column 7"):
        Network(NARROW, seed=0).fit(X, y, epochs=1, validation_data=(bad, y))


@pytest.mark.parametrize("batch_size", [1, 4, 24])
@pytest.mark.parametrize("sizes", [NARROW, WIDE, (3000, 3, 1)], ids=str)
def test_steps_of_several_epochs_are_made_again_to_the_bit(sizes, batch_size):
    X, y = data(sizes)
    network, other = Network(sizes, seed=1), Network(sizes, seed=1)
    plan = NetworkPlan(network, X, y[:, None], batch_size=batch_size)
    plan.settings[:2] = 0.5, 1 - 0.5 * 0.01
    optimizer = Optimizer(weight_decay=0.01)
    state = TrainingState.begin(optimizer, 7, sizes, "float32")
    settings = check_settings(
        **{**FIT, "batch_size": batch_size, "learning_rate": 0.5, "weight_decay": 0.01}
    )
    steps = Steps(24, settings, state)
    watch = guard.Guard(
        network, X, y[:, None], plan, steps=steps, state=state, recipe_of=optimizer.to_recipe
    )
    watch.begin()
    for epoch in range(3):
        plan.totals[:] = 0.0
        steps.make(plan, epoch, 0, 24 // batch_size)
    network.weights[0][0, 0] = np.nan  # by whomever

    watch.look(2, 24 // batch_size, last=True)

    history = other.fit(
        X, y, batch_size=batch_size, epochs=3, learning_rate=0.5, weight_decay=0.01, seed=7
    )
    assert bits(network) == bits(other)
    assert plan.totals[0] / 24 == history.loss[-1]
    assert watch.plan is plan


@pytest.mark.parametrize("batch_size", [1, 2])
@pytest.mark.parametrize("sizes", [(9000, 3, 1), (9000, 40, 1)], ids=str)
def test_products_of_rows_that_overflow_are_left_to_plain_steps(sizes, batch_size, monkeypatch):
    monkeypatch.setattr(method, "wide_group", lambda n0, n1, batch, itemsize: 4)
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, 24).astype(np.float32)
    X = (3e17 * (2 * y[:, None] - 1 + 0.1 * rng.normal(size=(24, 9000)))).astype(np.float32)
    networks = [Network(sizes, init=("normal", 1e-20), seed=0) for _ in range(2)]
    for network, delays in zip(networks, (True, False), strict=True):
        make = functools.partial(NetworkPlan, delays=delays)
        monkeypatch.setattr(training, "NetworkPlan", make)
        network.fit(X, y, batch_size=batch_size, epochs=2, learning_rate=2e-38, seed=0)

    assert NetworkPlan(networks[0], X, y[:, None], batch_size=batch_size).group > 1
    with np.errstate(over="ignore"):
        assert not np.isfinite(X[:1] @ X[1:2].T).any()
    assert all(np.isfinite(weight).all() for weight in networks[0].weights)
    assert bits(networks[0]) == bits(networks[1])


def test_a_divergence_error_survives_pickling():
    error = pickle.loads(pickle.dumps(DivergenceError("too fast", 3, 5)))
    assert (str(error), error.epoch, error.step) == ("too fast", 3, 5)
