"""Activations and losses in NumPy, forward and slope."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["ACTIVATIONS", "LOSSES", "Activation", "FloatArray", "Loss", "metric_of_rows"]

FloatArray = NDArray[np.floating[Any]]


# ------------------------------------------------------------------ activations
#
# `apply` replaces Z by the activation. `slope` multiplies the delta of the layer by g'(Z), which it
# finds from the activation, or from Z where that does not tell; either has done its last service,
# and may be overwritten.


def _sigmoid(z: FloatArray) -> None:
    """1 / (1 + exp(-z)); exp may overflow to infinity, which gives the right 0."""
    np.negative(z, out=z)
    np.exp(z, out=z)
    z += 1
    np.reciprocal(z, out=z)


def _sigmoid_slope(delta: FloatArray, a: FloatArray) -> None:
    """1 - a, times a."""
    delta *= a
    np.subtract(1, a, out=a)
    delta *= a


def _tanh_slope(delta: FloatArray, a: FloatArray) -> None:
    """1 - a^2."""
    np.multiply(a, a, out=a)
    np.subtract(1, a, out=a)
    delta *= a


def _relu_slope(delta: FloatArray, a: FloatArray) -> None:
    """1 where a > 0, else 0."""
    delta *= a > 0


def _leaky_relu_slope(delta: FloatArray, a: FloatArray) -> None:
    """1 where a > 0, else 0.01."""
    np.multiply(delta, 0.01, out=delta, where=a <= 0)


def _elu(z: FloatArray) -> None:
    """The value z, below 0 exp(z) - 1."""
    np.expm1(z, out=z, where=z < 0)


def _elu_slope(delta: FloatArray, a: FloatArray) -> None:
    """1 where a > 0, else exp(z) = a + 1."""
    np.minimum(a, 0, out=a)
    a += 1
    delta *= a


def _softplus(z: FloatArray) -> None:
    """log(1 + exp(z))."""
    np.logaddexp(0, z, out=z)


def _softplus_slope(delta: FloatArray, a: FloatArray) -> None:
    """sigmoid(z) = 1 - exp(-a)."""
    np.negative(a, out=a)
    np.expm1(a, out=a)
    np.negative(a, out=a)
    delta *= a


def _share_below(z: FloatArray) -> FloatArray:
    """The standard normal distribution function; NumPy has no erf, so this takes its time."""
    erfc = np.frompyfunc(math.erfc, 1, 1)
    return np.asarray(0.5 * erfc(z * -math.sqrt(0.5)).astype(z.dtype))


def _gelu(z: FloatArray) -> None:
    z *= _share_below(z)


def _gelu_slope(delta: FloatArray, z: FloatArray) -> None:
    """Phi(z) + z phi(z)."""
    delta *= _share_below(z) + z * np.exp(-0.5 * z * z) / math.sqrt(2 * math.pi)


def _silu(z: FloatArray) -> None:
    s = z.copy()
    _sigmoid(s)
    z *= s


def _silu_slope(delta: FloatArray, z: FloatArray) -> None:
    """With s = sigmoid(z): s (1 + z (1 - s))."""
    s = z.copy()
    _sigmoid(s)
    delta *= s * (1 + z * (1 - s))


class Activation(NamedTuple):
    """What replaces Z, and what multiplies a delta by the slope."""

    apply: Callable[[FloatArray], Any]
    slope: Callable[[FloatArray, FloatArray], Any]
    slope_needs_z: bool = False


ACTIVATIONS: dict[str, Activation] = {
    "identity": Activation(lambda z: None, lambda delta, a: None),
    "sigmoid": Activation(_sigmoid, _sigmoid_slope),
    "tanh": Activation(lambda z: np.tanh(z, out=z), _tanh_slope),
    "relu": Activation(lambda z: np.maximum(z, 0, out=z), _relu_slope),
    "leaky_relu": Activation(lambda z: np.multiply(z, 0.01, out=z, where=z < 0), _leaky_relu_slope),
    "elu": Activation(_elu, _elu_slope),
    "softplus": Activation(_softplus, _softplus_slope),
    "gelu": Activation(_gelu, _gelu_slope, slope_needs_z=True),
    "silu": Activation(_silu, _silu_slope, slope_needs_z=True),
}


# ------------------------------------------------------------------ losses


def _softmax(z: FloatArray) -> None:
    z -= z.max(axis=1, keepdims=True)
    np.exp(z, out=z)
    z /= z.sum(axis=1, keepdims=True)


def _log_loss(z: FloatArray, y: FloatArray) -> FloatArray:
    """In its softplus form, which is finite for any z."""
    return np.asarray(np.logaddexp(0, z) - y * z)


def _cross_entropy(z: FloatArray, y: FloatArray) -> FloatArray:
    far = z - z.max(axis=1, keepdims=True)
    return np.asarray(y * (np.log(np.exp(far).sum(axis=1, keepdims=True)) - far))


def _huber(z: FloatArray, y: FloatArray) -> FloatArray:
    far = np.abs(z - y)
    near = np.minimum(far, 1)
    return np.asarray(near * (far - 0.5 * near))


def _poisson(z: FloatArray, y: FloatArray) -> FloatArray:
    """Half the deviance; y log y is 0 at 0."""
    log_y = np.log(np.where(y > 0, y, 1))
    return np.asarray(np.exp(z) - y * z + y * log_y - y)


class Loss(NamedTuple):
    """The output layer's activation, and the loss of each output of each row."""

    output: Callable[[FloatArray], Any]  # replaces Z by the output layer's activation
    terms: Callable[[FloatArray, FloatArray], FloatArray]  # of each output of each row, from Z


LOSSES: dict[str, Loss] = {
    "log_loss": Loss(_sigmoid, _log_loss),
    "cross_entropy": Loss(_softmax, _cross_entropy),
    "squared_error": Loss(lambda z: None, lambda z, y: np.asarray(np.square(z - y) / 2)),
    "absolute_error": Loss(lambda z: None, lambda z, y: np.asarray(np.abs(z - y))),
    "huber": Loss(lambda z: None, _huber),
    "poisson": Loss(lambda z: np.exp(z, out=z), _poisson),
}


def metric_of_rows(loss: str, z: FloatArray, y: FloatArray) -> FloatArray | None:
    """1 for each row that is right, else 0; None for losses of regression."""
    if loss == "log_loss":
        return np.asarray(np.all((z >= 0) == (y >= 0.5), axis=1), float)
    if loss == "cross_entropy":
        return np.asarray(z.argmax(axis=1) == y.argmax(axis=1), float)
    return None
