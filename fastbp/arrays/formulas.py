"""The functions of `fastbp.arrays.elementwise` in NumPy's own, for what no kernel is compiled for.

That is long double, complex numbers where the function is analytic, objects, and arrays of other
packages, whose own arithmetic NumPy's functions ask for.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from fastbp.engine.inputs import quietly

__all__ = ["ANALYTIC", "FORMULAS", "softmax"]

_SLOPE = 0.01  # of leaky relu, below 0


def _fading(x: Any) -> tuple[Any, Any]:
    """Where x is below 0, and exp(-abs(x)), or exp(-x) or exp(x) of complex x, whichever fades."""
    below = np.real(x) < 0
    return below, np.exp(np.where(below, x, -x))


def _chosen(x: Any, above: Any, below: Any) -> Any:
    """``above`` where x > 0, else ``below``; NaN stays."""
    return np.where(x > 0, above, np.where(x == x, below, x))


def _sigmoid(x: Any) -> Any:
    below, e = _fading(x)
    return np.where(below, e, 1) / (1 + e)


def _sigmoid_derivative(x: Any) -> Any:
    _, e = _fading(x)
    return e / ((1 + e) * (1 + e))


def _softplus(x: Any) -> Any:
    _, e = _fading(x)
    return np.maximum(x, 0) + np.log1p(e)


def _silu_derivative(x: Any) -> Any:
    s = _sigmoid(x)
    return s + x * s * _sigmoid(-x)


def _erfc(x: Any) -> Any:
    """1 - erf(x) for x >= 0, to the precision of long double.

    Up to 2.5 by the series of erf, whose terms are all positive, exp(-x^2) 2 / sqrt(pi) times the
    sum of 2^n x^(2n+1) / (2n+1)!!; above by the continued fraction, both of Abramowitz and Stegun,
    7.1.6 and 7.1.14.
    """
    root = np.sqrt(np.longdouble("3.14159265358979323846264338327950288"))
    near = np.minimum(x, 2.5)
    term = total = near
    for n in range(1, 100):
        term = term * (2 * near * near / (2 * n + 1))
        total = total + term
    far = np.maximum(x, 2.5)
    fraction = far
    for n in range(400, 0, -1):
        fraction = far + n / (2 * fraction)
    square = x * x
    return np.where(
        x < 2.5, 1 - 2 * total * np.exp(-square) / root, np.exp(-square) / (fraction * root)
    )


def _normal(x: Any) -> tuple[Any, Any]:
    """The standard normal distribution function, and its density."""
    two = np.longdouble(2)
    tail = _erfc(np.abs(x) / np.sqrt(two)) / 2
    pi = np.longdouble("3.14159265358979323846264338327950288")
    return np.where(x < 0, tail, 1 - tail), np.exp(-x * x / 2) / np.sqrt(two * pi)


def _gelu(x: Any) -> Any:
    return np.where(x > -np.inf, x * _normal(x)[0], np.where(x == x, 0, x))


def _gelu_derivative(x: Any) -> Any:
    part, density = _normal(x)
    return part + np.where(np.isinf(x), 0, x * density)


FORMULAS: dict[str, Callable[[Any], Any]] = {
    "sigmoid": _sigmoid,
    "sigmoid_derivative": _sigmoid_derivative,
    "tanh": np.tanh,
    "tanh_derivative": lambda x: 4 * _sigmoid_derivative(2 * x),
    "relu": lambda x: np.maximum(x, 0),
    "relu_derivative": lambda x: _chosen(x, 1, 0),
    "leaky_relu": lambda x: _chosen(x, x, _SLOPE * x),
    "leaky_relu_derivative": lambda x: _chosen(x, 1, _SLOPE),
    "elu": lambda x: _chosen(x, x, np.expm1(np.minimum(x, 0))),
    "elu_derivative": lambda x: _chosen(x, 1, np.exp(np.minimum(x, 0))),
    "softplus": _softplus,
    "softplus_derivative": _sigmoid,
    "gelu": _gelu,
    "gelu_derivative": _gelu_derivative,
    "silu": lambda x: x * _sigmoid(x),
    "silu_derivative": _silu_derivative,
}
"""By the name of the function."""

ANALYTIC = frozenset(
    {"sigmoid", "sigmoid_derivative", "tanh", "tanh_derivative", "softplus_derivative", "silu",
     "silu_derivative"}
)  # fmt: skip
"""Those that complex numbers have."""


@quietly
def softmax(x: Any, axis: int) -> Any:
    """Softmax along an axis."""
    e = np.exp(x - np.max(x, axis=axis, keepdims=True))
    return e / np.sum(e, axis=axis, keepdims=True)
