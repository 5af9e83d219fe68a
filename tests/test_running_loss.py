"""The running loss of `fit`, of answers from sure and wrong to sure and right."""

from __future__ import annotations

import numpy as np
import pytest

from fastbp import Network
from fastbp.evaluation import log_loss

# log(1 + exp(-abs(z))) in float32: exp to 2 ULP, the series for log to some more, and the sum.
TOLERANCE = {
    "float32": 16 * float(np.finfo(np.float32).eps),
    "float64": 64 * float(np.finfo(np.float64).eps),
}


def running(z, y, dtype, hidden, batch_size):
    """The running loss and accuracy of a network whose output layer gives z for every row."""
    n = len(y)
    network = Network((1, *hidden, 1), init="zeros", dtype=dtype)
    network.biases[-1].fill(z)
    history = network.fit(
        np.zeros((n, 1)), y, epochs=1, batch_size=batch_size, learning_rate=1e-36, shuffle=False
    )
    return history.loss[0], history.accuracy[0]


@pytest.mark.parametrize("batch_size", [1, 5, 21])
@pytest.mark.parametrize("hidden", [(), (3,), (40,)], ids=str)
@pytest.mark.parametrize("target", [0.0, 1.0, 0.75])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_running_loss_keeps_its_relative_accuracy(dtype, target, hidden, batch_size):
    y = np.full(21, target)
    for z in (-60.0, -16.0, -14.0, -1.0, 0.0, 1.0, 14.0, 16.0, 60.0):
        loss, _ = running(z, y, dtype, hidden, batch_size)
        assert loss == pytest.approx(log_loss([z], [target]), rel=TOLERANCE[dtype], abs=0.0)


@pytest.mark.parametrize("hidden", [(), (3,)], ids=str)
def test_running_loss_of_infinite_preactivations_is_zero_where_they_are_right(hidden):
    for z, target in ((np.inf, 1.0), (-np.inf, 0.0)):
        network = Network((2, *hidden, 1), init=1e38)
        if hidden:
            network.biases[-1].fill(np.sign(z) * 1e38)
            network.weights[-1].fill(np.sign(z) * 3e38)
        X = np.sign(z) * np.float32([[3, 3]])
        history = network.fit(X, [target], epochs=1, learning_rate=1e-6)
        assert history.loss == [0.0]
        assert history.accuracy == [1.0]
