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
    e = _small(x)
    return np.where(x < 0, e, 1) / (1 + e)


def _silu_slope(x: Array) -> Array:
    s = _sigmoid(x)
    return s * (1 + x * _sigmoid(-x))


def density(x: Array) -> Array:
    """phi(x), from a square in two parts: rounded as one it would be off by x^2 / 2 roundings."""
    x = np.clip(x, -1000, 1000)  # where it is 0 and the square finite
    high = x.astype(np.float32).astype(x.dtype)
    rest = np.exp(-(x - high) * (x + high) / 2)
    return np.exp(-high * high / 2) * rest / np.sqrt(2 * np.arctan(x.dtype.type(1)) * 4)


def normal(x: Array) -> Array:
    """Phi(x): below -2 by Laplace's continued fraction, nearer to 0 by a series (Abramowitz and
    Stegun 26.2.14 and 26.2.11), as far as each is needed."""
    t = np.abs(x)
    near, far = t[t < 2], np.minimum(t[t >= 2], 1000)
    tail = np.full_like(t, np.nan)
    if near.size:
        term, total, k = near, near, 0
        while (term > total * np.finfo(t.dtype).eps / 4).any() and k < 60:
            k += 1
            term = term * near * near / (2 * k + 1)
            total = total + term
        tail[t < 2] = 0.5 - density(near) * total
    if far.size:
        fraction = far
        for k in range(int(800 / far.min() ** 2) + 20, 0, -1):  # most near 2
            fraction = far + k / fraction
        tail[t >= 2] = density(far) / fraction
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
    "silu_slope": _silu_slope,
    "sigmoid_derivative": lambda x: _small(x) / (1 + _small(x)) ** 2,
    "tanh_derivative": lambda x: 4 * _small(2 * x) / (1 + _small(2 * x)) ** 2,
    "elu_derivative": lambda x: np.where(x > 0, 1, np.exp(np.minimum(x, 0))),
}
_FROM_ACTIVATION: dict[str, Callable[[Array], Array]] = {
    "sigmoid_slope": lambda a: a * (1 - a),
    "tanh_slope": lambda a: (1 - a) * (1 + a),
    "relu_slope": lambda a: np.where(a > 0, a.dtype.type(1), a.dtype.type(0)),
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
