"""exp and log(1 + x), on vectors of float32 or float64, for the arguments that activations need.

Range reduction after Cody and Waite: x = k ln 2 + r with |r| <= ln(2) / 2, ln 2 split in two so
that r is exact to the last bit or so; a polynomial in r (the Taylor series: on so short an interval
one more term costs less than the coefficients of a minimax fit are worth); and 2^k put together
from bits, in two factors so that results in the subnormal range are rounded only once.
"""

from __future__ import annotations

import math

from numba.core import types
from numba.extending import overload

from fastbp.kernels.compile.jit import jit
from fastbp.kernels.simd.vectors import (
    bits_shift_left,
    fma,
    maximum,
    minimum,
    select_less,
    splat,
    zeros,
)

__all__ = ["exp", "exp_of_negative", "log1p_of_fraction", "log_of_sum"]

_LOG2_E = 1.0 / math.log(2.0)
# ln 2 in two parts: the first has zeros in its last bits, so that k times it is exact.
_LN2_HIGH_32, _LN2_LOW_32 = 0.693145751953125, 1.428606765330187e-06
_LN2_HIGH_64, _LN2_LOW_64 = 6.93147180369123816490e-01, 1.90821492927058770002e-10
_TAYLOR = tuple(1.0 / math.factorial(i) for i in range(14))
# Adding 1.5 * 2^(mantissa bits) rounds to an integer and leaves it in the low bits; with the
# exponent's bias added, a shift to the exponent's place makes 2^k of it.
_ROUND_32, _ROUND_64 = 1.5 * 2.0**23, 1.5 * 2.0**52


def _scale(x, k, dtype):
    raise RuntimeError("only for compiled code")


@overload(_scale)
def _scale_overload(x, k, dtype):
    """The product x 2^k for integral k, in two steps, each by a power of two that is normal."""
    rounder, bias, places = (
        (_ROUND_32, 127.0, 23) if dtype.instance_type is types.float32 else (_ROUND_64, 1023.0, 52)
    )

    def scale(x, k, dtype):
        magic = splat(rounder, dtype)
        half = fma(k, splat(0.5, dtype), magic) - magic
        biased = splat(rounder + bias, dtype)
        first = bits_shift_left(half + biased, places)
        second = bits_shift_left((k - half) + biased, places)
        return (x * first) * second

    return scale


@jit
def _reduced(x, lowest, log2_e, rounder, ln2_high, ln2_low, dtype):
    """Both k and r of x = k ln 2 + r, x held at ``lowest`` from below; NaN passes through."""
    x = maximum(splat(lowest, dtype), x)
    magic = splat(rounder, dtype)
    k = fma(x, splat(log2_e, dtype), magic) - magic
    r = fma(k, splat(-ln2_high, dtype), x)
    return k, fma(k, splat(-ln2_low, dtype), r)


def exp_of_negative(x, dtype):
    """exp(x) for x <= 0, a vector; 0 from about -104 (float32) or -746 (float64) downwards."""
    raise RuntimeError("only for compiled code")


@overload(exp_of_negative)
def _exp_overload(x, dtype):
    if dtype.instance_type is types.float32:
        lowest, rounder, high, low, degree = -104.0, _ROUND_32, _LN2_HIGH_32, _LN2_LOW_32, 7
    else:
        lowest, rounder, high, low, degree = -746.0, _ROUND_64, _LN2_HIGH_64, _LN2_LOW_64, 13

    def exp(x, dtype):
        k, r = _reduced(x, lowest, _LOG2_E, rounder, high, low, dtype)
        q = splat(_TAYLOR[degree], dtype)
        for i in range(degree - 1, 1, -1):
            q = fma(q, r, splat(_TAYLOR[i], dtype))
        one = splat(1.0, dtype)
        return _scale(one + fma(r * r, q, r), k, dtype)

    return exp


def log1p_of_fraction(x, dtype):
    """log(1 + x) for 0 <= x <= 1, as 2 artanh(u), u = x / (2 + x) <= 1/3, by its series in u^2."""
    raise RuntimeError("only for compiled code")


@overload(log1p_of_fraction)
def _log1p_overload(x, dtype):
    terms = 8 if dtype.instance_type is types.float32 else 17  # (1/9)^terms is below eps

    def log1p(x, dtype):
        u = x / (splat(2.0, dtype) + x)
        square = u * u
        s = splat(1.0 / (2 * terms - 1), dtype)
        for i in range(terms - 2, -1, -1):
            s = fma(s, square, splat(1.0 / (2 * i + 1), dtype))
        return (u + u) * s

    return log1p


def exp(x, dtype):
    """exp(x) of any x, a vector: at most the largest finite value, so that sums tell NaN apart."""
    raise RuntimeError("only for compiled code")


@overload(exp)
def _full_exp_overload(x, dtype):
    highest = 88.72 if dtype.instance_type is types.float32 else 709.78

    def exp(x, dtype):
        held = minimum(splat(highest, dtype), x)
        e = exp_of_negative(select_less(zeros(dtype), held, zeros(dtype) - held, held), dtype)
        return select_less(zeros(dtype), held, splat(1.0, dtype) / e, e)

    return exp


@jit
def log_of_sum(x, dtype):
    """log(x) for x >= 1, up to 2^31 or so: a placeholder, halving x."""
    one, half, zero = splat(1.0, dtype), splat(0.5, dtype), zeros(dtype)
    two = splat(2.0, dtype)
    count = zero
    for _ in range(32):
        far = select_less(two, x, one, zero)
        x = select_less(two, x, x * half, x)
        count += far
    return fma(count, splat(math.log(2.0), dtype), log1p_of_fraction(x - one, dtype))
