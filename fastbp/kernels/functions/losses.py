"""Losses on vectors of float32 or float64, from pre-activations: finite for every finite one."""

from __future__ import annotations

import numpy as np

from fastbp.kernels.compile.jit import jit
from fastbp.kernels.simd.exp import exp, exp_of_negative
from fastbp.kernels.simd.log import log, log1p_of_fraction
from fastbp.kernels.simd.numbers import constant
from fastbp.kernels.simd.vectors import absolute, minimum, select_less, splat, zeros

__all__ = [
    "ABSOLUTE_ERROR",
    "CROSS_ENTROPY",
    "HUBER",
    "LOG_LOSS",
    "LOSS_CODES",
    "POISSON",
    "SQUARED_ERROR",
    "absolute_error",
    "absolute_error_slope",
    "huber",
    "huber_slope",
    "log_loss",
    "poisson",
    "poisson_mean",
    "squared_error",
]

LOG_LOSS, CROSS_ENTROPY, SQUARED_ERROR, ABSOLUTE_ERROR, HUBER, POISSON = range(6)
LOSS_CODES = {
    "log_loss": LOG_LOSS,
    "cross_entropy": CROSS_ENTROPY,
    "squared_error": SQUARED_ERROR,
    "absolute_error": ABSOLUTE_ERROR,
    "huber": HUBER,
    "poisson": POISSON,
}

_largest = constant(float(np.finfo(np.float32).max), float(np.finfo(np.float64).max))
_highest = constant(89.0, 710.0)  # exp of it is too large


@jit
def log_loss(x, y, dtype):
    """-(1 - y) log(1 - p) - y log p, p = sigmoid(x), as |x| |y - [x >= 0]| + log(1 + exp(-|x|)).

    Nothing cancels: an answer that is sure and right keeps its tiny loss, as max(x, 0) - y x does
    not beside log(1 + exp(-|x|)). For infinite x it is 0 if y agrees, else infinite; NaN stays.
    """
    zero, one = zeros(dtype), splat(1.0, dtype)
    far = absolute(x)
    distance = absolute(y - select_less(x, zero, zero, one))
    wrong = select_less(zero, distance, far * distance, zero)
    return wrong + log1p_of_fraction(exp_of_negative(zero - far, dtype), dtype)


@jit
def squared_error(error, dtype):
    """Half the square of a - y."""
    return splat(0.5, dtype) * error * error


@jit
def absolute_error(error, dtype):
    """The size of a - y."""
    return absolute(error)


@jit
def absolute_error_slope(error, dtype):
    """The sign of a - y: 0 where they are equal; NaN stays."""
    zero, one = zeros(dtype), splat(1.0, dtype)
    return select_less(error, zero, zero - one, select_less(zero, error, one, error))


@jit
def huber(error, dtype):
    """Half the square of a - y up to 1, beyond it |a - y| - 1/2."""
    one, half = splat(1.0, dtype), splat(0.5, dtype)
    far = absolute(error)
    near = minimum(one, far)
    return near * (far - half * near)


@jit
def huber_slope(error, dtype):
    """The error a - y, held between -1 and 1; NaN stays."""
    one, zero = splat(1.0, dtype), zeros(dtype)
    far = absolute(error)
    near = minimum(one, far)
    return select_less(error, zero, zero - near, near)


@jit
def poisson_mean(x, dtype):
    """The output exp(x): the largest finite value if it is too large, infinite for infinite x."""
    return select_less(_largest(dtype), x, x, exp(x, dtype))


@jit
def poisson(x, y, a, dtype):
    """Half the deviance a - y - y (x - log y), a = exp(x): 0 at its smallest, a where y is 0."""
    zero = zeros(dtype)
    far = minimum(_highest(dtype), x) - log(y, dtype)  # no farther than a, which is held
    return (a - y) - select_less(zero, y, y * far, zero)
