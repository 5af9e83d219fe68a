"""Losses on vectors of float32 or float64, from pre-activations: finite for every finite one."""

from __future__ import annotations

from fastbp.kernels.compile.jit import jit
from fastbp.kernels.simd.exp import exp_of_negative, log1p_of_fraction
from fastbp.kernels.simd.vectors import absolute, select_less, splat, zeros

__all__ = ["log_loss"]


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
