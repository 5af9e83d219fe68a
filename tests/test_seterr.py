"""`numpy.seterr(all="raise")` does not turn harmless underflow or overflow into errors."""

from __future__ import annotations

import numpy as np
import pytest

import fastbp
from fastbp import Network
from fastbp.kernels.functions.elementwise import CODES

rng = np.random.default_rng(0)
X = rng.normal(size=(40, 20))
y = (X[:, 0] > 0).astype(np.float64)


def sure(hidden, dtype):
    """A network whose pre-activations are far out."""
    network = Network((20, *hidden, 1), seed=0, dtype=dtype)
    for weight in network.weights:
        weight *= 2000
    return network


CALLS = {
    "loss": lambda network: network.loss(X, y, weight_decay=1e-300),
    "score": lambda network: network.score(X, y),
    "predict": lambda network: network.predict(X),
    "predict_proba": lambda network: network.predict_proba(X),
    "gradients": lambda network: network.gradients(X, y),
    "activation_stats": lambda network: network.activation_stats(X),
    "fit": lambda network: network.fit(X, y, epochs=1, validation_data=(X, y)),
    "tiny targets": lambda network: network.loss(X, 1e-320 * y),
}


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize("hidden", [(), (3,), (40,)], ids=str)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_networks_do_not_raise(dtype, hidden, name):
    network = sure(hidden, dtype)
    with np.errstate(all="raise"):
        CALLS[name](network)


@pytest.mark.parametrize("init", [("normal", 1e-44), ("normal", 1e-320), 1e-44, 1e-320])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_tiny_initial_weights_do_not_raise(dtype, init):
    with np.errstate(all="raise"):
        network = Network((20, 3, 1), init=init, dtype=dtype, seed=0, input_scale=1e-320)
    assert np.isfinite(network.weights[0]).all()


def test_tiny_weights_of_a_callable_do_not_raise():
    with np.errstate(all="raise"):
        Network((20, 1), init=lambda shape, rng: np.full(shape, 1e-320))


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "int8", "int64"])
@pytest.mark.parametrize("name", [*CODES, "softmax"])
def test_functions_do_not_raise(name, dtype):
    function = getattr(fastbp, name)
    x = np.array([-100, -20, -15, 0, 15, 20, 100], dtype)
    with np.errstate(all="raise"):
        function(x)
        function(x, out=np.empty(7, np.float16 if dtype in ("float16", "int8") else "float64"))


def test_callbacks_keep_the_user_s_own_settings():
    class Look:
        def on_epoch_end(self, epoch, network, history):
            self.found = np.geterr()

    look = Look()
    with np.errstate(over="raise", under="raise"):
        Network((20, 1), seed=0).fit(X, y, epochs=1, callbacks=[look], validation_data=(X, y))
    assert (look.found["over"], look.found["under"]) == ("raise", "raise")


def test_products_of_float16_do_not_raise():
    tiny = np.full((3, 3), 1e-4, np.float16)
    with np.errstate(all="raise"):
        fastbp.matmul(tiny, tiny)
        fastbp.matmul(tiny, tiny, out=np.empty((3, 3), np.float16))
        fastbp.linear(tiny, tiny, activation="sigmoid")
        fastbp.linear(tiny, tiny, out=np.empty((3, 3), np.float16))
