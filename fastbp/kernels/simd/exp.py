"""exp and its like, on vectors of float32 or float64, for the arguments that activations need.

Range reduction after Cody and Waite: x = k ln 2 + r with |r| <= ln(2) / 2, ln 2 split in two so
that r is exact to the last bit or so; a polynomial in r (the Taylor series: on so short an interval
one more term costs less than the coefficients of a minimax fit are worth); and 2^k put together
from bits, in two factors so that results in the subnormal range are rounded only once.

Errors are told in ULP, for CPUs with fused multiply-add; NaN stays NaN everywhere.
"""

from __future__ import annotations

import math

import numpy as np

from fastbp.kernels.compile.jit import jit
from fastbp.kernels.simd.numbers import constant, polynomial, rounded, two_to
from fastbp.kernels.simd.vectors import fma, maximum, minimum, splat

__all__ = ["exp", "exp_of_negative", "expm1_of_negative", "times_exp"]

_LOG2_E = 1.0 / math.log(2.0)
# ln 2 in two parts: the first has zeros in its last bits, so that k times it is exact.
_minus_ln2_high = constant(-0.693145751953125, -6.93147180369123816490e-01)
_minus_ln2_low = constant(-1.428606765330187e-06, -1.90821492927058770002e-10)
_series = polynomial(
    [1 / math.factorial(i) for i in range(2, 8)], [1 / math.factorial(i) for i in range(2, 14)]
)
# Beyond these exp is 0, or too large; and exp(x) - 1 is -1.
_lowest = constant(-104.0, -746.0)
_highest = constant(89.0, 710.0)
_deepest = constant(-26.0, -52.0)
_largest = constant(float(np.finfo(np.float32).max), float(np.finfo(np.float64).max))


@jit
def _reduced(x, dtype):
    """Both k and exp(r) - 1 of x = k ln 2 + r."""
    k = rounded(x, splat(_LOG2_E, dtype))
    r = fma(k, _minus_ln2_low(dtype), fma(k, _minus_ln2_high(dtype), x))
    return k, fma(r * r, _series(r), r)


@jit
def _scaled(x, k, dtype):
    """The product x 2^k for integral k, in two steps, each by a power of two that is normal."""
    half = rounded(k, splat(0.5, dtype))
    return (x * two_to(half)) * two_to(k - half)


@jit
def exp_of_negative(x, dtype):
    """exp(x) for x <= 0, within 1 ULP; 0 from about -104 (float32) or -746 (float64) downwards."""
    k, p = _reduced(maximum(_lowest(dtype), x), dtype)
    return _scaled(splat(1.0, dtype) + p, k, dtype)


@jit
def exp(x, dtype):
    """exp(x) of any x, within 1 ULP: at most the largest finite value."""
    k, p = _reduced(minimum(_highest(dtype), maximum(_lowest(dtype), x)), dtype)
    return minimum(_largest(dtype), _scaled(splat(1.0, dtype) + p, k, dtype))


@jit
def times_exp(y, x, dtype):
    """The product y exp(x) for x <= 0, within 1.5 ULP, also where exp(x) is subnormal.

    Not below -125 (float32) or -800 (float64), where 2^k could not be put together any more.
    """
    k, p = _reduced(x, dtype)
    return _scaled(fma(y, p, y), k, dtype)


@jit
def expm1_of_negative(x, dtype):
    """exp(x) - 1 for x <= 0, within 1 ULP, without cancellation near 0."""
    k, p = _reduced(maximum(_deepest(dtype), x), dtype)
    scale = two_to(k)
    return fma(scale, p, scale - splat(1.0, dtype))
