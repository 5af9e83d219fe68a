"""Forward and backward through whole layers, for looking at Z, A and gradients.

Training makes none of these arrays.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from fastbp.arrays import sigmoid
from fastbp.engine.functions import activate, multiply_by_slope, stores_slope
from fastbp.engine.inputs import check_width, quietly
from fastbp.engine.products import product
from fastbp.evaluation import output_of, output_slope
from fastbp.finite import holds_nan, nan_error
from fastbp.kernels.linalg import epilogue
from fastbp.parameters import Parameters, arrays_of, folding_of

__all__ = ["ActivationStats", "gradients", "input_gradient", "layer_stats", "layers"]

Array = npt.NDArray[Any]


class ActivationStats(NamedTuple):
    """Mean and standard deviation, over rows and units, of a layer's Z and A."""

    z_mean: float
    z_std: float
    a_mean: float
    a_std: float


class _Passed(NamedTuple):
    """What a way forward has left for the way back."""

    weights: list[Array]
    Z: list[Array]
    A: list[Array]
    slopes: list[Array | None]  # of hidden layers, where they do not follow from A


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
    passed = _forward(parameters, X)
    return passed.Z, passed.A


def _forward(parameters: Parameters, X: Array, *, slopes: bool = False) -> _Passed:
    weights, biases = arrays_of(parameters)
    check_width(X, weights[0].shape[1])  # the network may have changed since `as_input`
    below, folding = X, folding_of(parameters, X.dtype)
    passed = _Passed(weights, [], [], [])
    names = parameters.layer_activations
    for layer, (weight, bias) in enumerate(zip(weights, biases, strict=True)):
        z = np.empty((len(X), len(weight)), parameters.dtype)
        product(below, weight.T, z, kind=epilogue.BIAS, bias=bias, folding=folding)
        passed.Z.append(z)
        if layer < len(names):
            below, folding = _hidden(z, names[layer], passed.slopes, kept=slopes), None
        else:
            below = output_of(z, parameters.loss_function)
        passed.A.append(below)
    if holds_nan(passed.A[-1]):
        raise nan_error(parameters, X, passed.A[-1], "X")
    return passed


def _hidden(z: Array, name: str, slopes: list[Array | None], *, kept: bool) -> Array:
    """A hidden layer's activation; its slope, if it is to be stored, goes to ``slopes``."""
    slope = np.empty_like(z) if kept and stores_slope(name) else None
    slopes.append(slope)
    if name == "sigmoid":  # needs no region of its own
        return np.asarray(sigmoid(z))
    a = z.copy()
    activate(a, name, slope)
    return a


@quietly
def _below(parameters: Parameters, passed: _Passed, delta: Array, layer: int) -> Array:
    """From delta of layer ``layer``, counted from 0, to that of the one below it, or of X."""
    below = np.empty((len(delta), passed.weights[layer].shape[1]), parameters.dtype)
    product(delta, passed.weights[layer], below)
    if layer == 0:
        return below
    name, a = parameters.layer_activations[layer - 1], passed.A[layer - 1]
    if name == "sigmoid":
        below *= a * (1 - a)
    else:
        multiply_by_slope(below, name, a, passed.slopes[layer - 1])
    return below


@quietly
def gradients(
    parameters: Parameters,
    X: Array,
    y: Array,
    weights: Array | None = None,
    weight_decay: float = 0.0,
) -> list[tuple[Array, Array]]:
    """dJ/dW and dJ/db of every layer, layer 1 first; see `Network.gradients`.

    Parameters
    ----------
    parameters : Parameters
    X : ndarray of shape (n, n_0)
        As `fastbp.engine.inputs.as_input` gives it; n >= 1.
    y : ndarray of shape (n, n_L)
        As `fastbp.targets.as_targets` gives it.
    weights : ndarray of shape (n,), optional
        Of rows, as `fastbp.targets.as_weights` gives them.
    weight_decay : float, default 0.0
    """
    passed = _forward(parameters, X, slopes=True)
    delta = output_slope(passed.Z[-1], y, parameters.loss_function)
    if weights is None:
        delta /= parameters.dtype.type(len(X))
    else:
        delta *= (weights / weights.sum()).astype(parameters.dtype)[:, None]
    slopes: list[tuple[Array, Array]] = []
    for layer in range(len(passed.weights) - 1, -1, -1):
        weight = passed.weights[layer]
        slope = np.empty(weight.shape, parameters.dtype)
        if layer > 0:
            product(delta.T, passed.A[layer - 1], slope)
        else:  # the folding is done as X is read
            product(delta.T, X, slope, folding_of_b=folding_of(parameters, X.dtype))
        if weight_decay:
            slope += parameters.dtype.type(weight_decay) * weight
        slopes.insert(0, (slope, delta.sum(axis=0)))
        if layer > 0:
            delta = _below(parameters, passed, delta, layer)
    return slopes


@quietly
def input_gradient(parameters: Parameters, X: Array, y: Array) -> Array:
    """The gradient of each row's own loss with respect to X; see `Network.input_gradient`."""
    passed = _forward(parameters, X, slopes=True)
    delta = output_slope(passed.Z[-1], y, parameters.loss_function)
    for layer in range(len(passed.weights) - 1, -1, -1):
        delta = _below(parameters, passed, delta, layer)
    np.multiply(delta, parameters.input_scale, out=delta, casting="same_kind")
    return delta


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
