"""The logistic function and its derivative, on vectors of float32 or float64.

One exponential serves both: exp(-|x|), which cannot overflow.
"""

from __future__ import annotations

from fastbp.kernels.compile.jit import jit
from fastbp.kernels.simd.exp import exp_of_negative
from fastbp.kernels.simd.vectors import absolute, fma, select_less, splat, zeros

__all__ = ["sigmoid", "sigmoid_derivative"]


@jit
def sigmoid(x, dtype):
    """1 / (1 + exp(-x)), from e = exp(-|x|) on either side: exact 0.5 at 0, NaN stays.

    1 / (1 + e) or e / (1 + e), the rounding of 1 + e and of the quotient put right by one Newton
    step: with the plain quotient, neighbouring x were now and then in the wrong order.
    """
    e = exp_of_negative(zeros(dtype) - absolute(x), dtype)
    one = splat(1.0, dtype)
    zero = zeros(dtype)
    above = select_less(x, zero, e, one)
    below = one + e
    lost = (one - below) + e  # exactly what rounding took from 1 + e (Dekker's fast two-sum)
    inverse = one / below
    quotient = above * inverse
    residue = fma(zero - quotient, lost, fma(zero - quotient, below, above))
    return fma(residue, inverse, quotient)


@jit
def sigmoid_derivative(x, dtype):
    """sigmoid(x) (1 - sigmoid(x)) as e / (1 + e)^2, e = exp(-|x|): no cancellation for large x."""
    e = exp_of_negative(zeros(dtype) - absolute(x), dtype)
    d = splat(1.0, dtype) + e
    return e / (d * d)
