"""Forward and backward through whole layers, for looking at Z, A and gradients.

Training makes none of these arrays.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from fastbp.arrays import sigmoid
from fastbp.engine.inputs import check_width, quietly
from fastbp.engine.products import product
from fastbp.finite import holds_nan, nan_error
from fastbp.kernels.linalg import epilogue
from fastbp.parameters import Parameters, arrays_of, folding_of

__all__ = ["ActivationStats", "gradients", "layer_stats", "layers"]

Array = npt.NDArray[Any]


class ActivationStats(NamedTuple):
    """Mean and standard deviation, over rows and units, of a layer's Z and A."""

    z_mean: float
    z_std: float
    a_mean: float
    a_std: float


def layers(parameters: Parameters, X: Array) -> tuple[list[Array], list[Array]]:
    """Z and A of every layer.

    Parameters
    ----------
    parameters : Parameters
    X : ndarray of shape (n, n_0)
        As `fastbp.engine.inputs.as_input` gives it; n >= 1.

    Raises
    ------
    ValueError
        If an output is NaN.
    """
    return _forward(parameters, X, *arrays_of(parameters))


def _forward(
    parameters: Parameters, X: Array, weights: list[Array], biases: list[Array]
) -> tuple[list[Array], list[Array]]:
    check_width(X, weights[0].shape[1])  # the network may have changed since `as_input`
    below, folding = X, folding_of(parameters, X.dtype)
    Z: list[Array] = []
    A: list[Array] = []
    for weight, bias in zip(weights, biases, strict=True):
        z = np.empty((len(X), len(weight)), parameters.dtype)
        product(below, weight.T, z, kind=epilogue.BIAS, bias=bias, folding=folding)
        below, folding = sigmoid(z), None
        Z.append(z)
        A.append(below)
    if holds_nan(A[-1]):
        raise nan_error(parameters, X, A[-1], "X")
    return Z, A


@quietly
def gradients(parameters: Parameters, X: Array, y: Array) -> list[tuple[Array, Array]]:
    """dJ/dW and dJ/db of every layer, layer 1 first; see `Network.gradients`.

    Parameters
    ----------
    parameters : Parameters
    X : ndarray of shape (n, n_0)
        As `fastbp.engine.inputs.as_input` gives it; n >= 1.
    y : ndarray of shape (n, n_L)
        As `fastbp.targets.check_targets` gives it.
    """
    weights, biases = arrays_of(parameters)
    _, A = _forward(parameters, X, weights, biases)
    delta = (A[-1] - y) / parameters.dtype.type(len(X))
    slopes: list[tuple[Array, Array]] = []
    for layer in range(len(weights) - 1, -1, -1):
        weight = weights[layer]
        slope = np.empty(weight.shape, parameters.dtype)
        if layer > 0:
            product(delta.T, A[layer - 1], slope)
        else:  # the folding is done as X is read
            product(delta.T, X, slope, folding_of_b=folding_of(parameters, X.dtype))
        slopes.insert(0, (slope, delta.sum(axis=0)))
        if layer > 0:
            below = np.empty((len(X), weight.shape[1]), parameters.dtype)
            product(delta, weight, below)
            below *= A[layer - 1] * (1 - A[layer - 1])
            delta = below
    return slopes


@quietly
def layer_stats(parameters: Parameters, X: Array) -> list[ActivationStats]:
    """Mean and standard deviation of Z and A in each layer, layer 1 first."""
    wide = np.float64
    return [
        ActivationStats(
            float(z.mean(dtype=wide)),
            float(z.std(dtype=wide)),
            float(a.mean(dtype=wide)),
            float(a.std(dtype=wide)),
        )
        for z, a in zip(*layers(parameters, X), strict=True)
    ]
