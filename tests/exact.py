"""Activations in a wider type than that of the results: of float32 in float64, by the oracle, and
of float64 in long double. What they lack is a thousandth of an ULP.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from tests import oracle

Array = npt.NDArray[Any]

WIDER = {"float32": np.float64, "float64": np.longdouble}
HAS_LONG_DOUBLE = np.finfo(np.longdouble).eps < np.finfo(np.float64).eps / 1000


def _small(x: Array) -> Array:
    return np.exp(-np.abs(x))


def _sigmoid(x: Array) -> Array:
    return np.where(x < 0, _small(x), 1) / (1 + _small(x))


def density(x: Array) -> Array:
    """phi(x), from a square in two parts: rounded as one it would be off by x^2 / 2 roundings."""
    x = np.clip(x, -1000, 1000)  # where it is 0 and the square finite
    high = x.astype(np.float32).astype(x.dtype)
    rest = np.exp(-(x - high) * (x + high) / 2)
    return np.exp(-high * high / 2) * rest / np.sqrt(2 * np.arctan(x.dtype.type(1)) * 4)


def normal(x: Array) -> Array:
    """Phi(x): below -2 by Laplace's continued fraction, nearer to 0 by a series (Abramowitz and
    Stegun 26.2.14 and 26.2.11)."""
    t = np.abs(x)
    near = np.minimum(t, 2)
    term = near.copy()
    total = near.copy()
    for k in range(1, 60):
        term = term * near * near / (2 * k + 1)
        total = total + term
    far = np.maximum(t, 2)
    fraction = far.copy()
    for k in range(200, 0, -1):
        fraction = far + k / fraction
    tail = np.where(t < 2, 0.5 - density(near) * total, density(far) / fraction)
    return np.where(x < 0, tail, 1 - tail)


_LONG: dict[str, Callable[[Array], Array]] = {
    "identity": lambda x: x,
    "sigmoid": _sigmoid,
    "tanh": np.tanh,
    "relu": lambda x: np.maximum(x, 0),
    "leaky_relu": lambda x: np.where(x > 0, x, x / 100),
    "elu": lambda x: np.where(x > 0, x, np.expm1(np.minimum(x, 0))),
    "softplus": lambda x: np.maximum(x, 0) + np.log1p(_small(x)),
    "gelu": lambda x: x * normal(x),
    "silu": lambda x: x * _sigmoid(x),
    "gelu_slope": lambda x: normal(x) + x * density(x),
    "silu_slope": lambda x: _sigmoid(x) * (1 + x * _sigmoid(-x)),
}
_FROM_ACTIVATION: dict[str, Callable[[Array], Array]] = {
    "sigmoid_slope": lambda a: a * (1 - a),
    "tanh_slope": lambda a: (1 - a) * (1 + a),
    "relu_slope": lambda a: np.where(a > 0, 1, 0 * a),
    "leaky_relu_slope": lambda a: np.where(a > 0, a.dtype.type(1), a.dtype.type(1) / 100),
    "elu_slope": lambda a: np.where(a > 0, 1, a + 1),
    "softplus_slope": lambda a: -np.expm1(-a),
}


def exact(name: str, x: Array) -> Array:
    """A function of `functions.activations`, of float32 or float64, in a wider type."""
    x = x.astype(WIDER[str(x.dtype)])
    with np.errstate(all="ignore"):  # infinite x, and results that are too small
        if name in _FROM_ACTIVATION:
            return _FROM_ACTIVATION[name](x)
        if x.dtype == np.longdouble:
            return _LONG[name](x)
        function = oracle.ACTIVATIONS[name.removesuffix("_slope")]
        return function.slope(x) if name.endswith("_slope") else function.value(x)


def ulp_of(name: str, x: Array, value: Array) -> Array:
    """The unit in which the error of ``value`` counts, see ``MOST_ULP``."""
    size = np.abs(value)
    if name in ("gelu_slope", "silu_slope"):  # they cross 0: the larger of their two terms counts
        with np.errstate(all="ignore"):  # 0 / 0, which is passed over
            share = np.abs(exact(name.removesuffix("_slope"), x) / x)
        size = np.fmax(size, share)
    return np.spacing(size.astype(x.dtype)).astype(value.dtype)
