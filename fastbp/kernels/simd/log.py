"""Logarithms on vectors of float32 or float64, and quotients by sums, rounded only once."""

from __future__ import annotations

import numpy as np

from fastbp.kernels.compile.jit import jit
from fastbp.kernels.simd.numbers import constant, exponent_of, mantissa_of, polynomial
from fastbp.kernels.simd.vectors import fma, maximum, minimum, select_less, splat, zeros

__all__ = ["divide", "divisor", "log", "log1p", "log1p_of_fraction", "log1p_parts"]

# log(1 + x) = 2 artanh(u), u = x / (2 + x) <= 1/3: (1/9)^terms is below eps.
_TERMS = [1 / (2 * i + 1) for i in range(17)]
_series = polynomial(_TERMS[:8], _TERMS)
# The same without its first term, in powers of (2 u)^2.
_REST = [term / 4**i for i, term in enumerate(_TERMS)]
_rest = polynomial(_REST[1:8], _REST[1:])
_ln2_high = constant(0.693145751953125, 6.93147180369123816490e-01)
_ln2_low = constant(1.428606765330187e-06, 1.90821492927058770002e-10)
_largest = constant(float(np.finfo(np.float32).max), float(np.finfo(np.float64).max))


@jit
def divisor(a, b, dtype):
    """The sum a + b, |a| >= |b|, to divide by: it, what rounding took from it, and its inverse."""
    below = a + b
    lost = (a - below) + b  # exactly (Dekker's fast two-sum)
    return below, lost, splat(1.0, dtype) / below


@jit
def divide(above, by, dtype):
    """Divide by divisor(a, b): the quotient, its residue, and the divisor's inverse.

    One Newton step, fma(residue, inverse, quotient), puts the quotient right. Without that the
    values of neighbouring x are now and then in the wrong order.
    """
    below, lost, inverse = by
    quotient = above * inverse
    minus = zeros(dtype) - quotient
    return quotient, fma(minus, lost, fma(minus, below, above)), inverse


@jit
def log1p_of_fraction(x, dtype):
    """log(1 + x) for 0 <= x <= 1, within 3 ULP: 2 artanh(u), u = x / (2 + x), by its series."""
    u = x / (splat(2.0, dtype) + x)
    return (u + u) * _series(u * u)


@jit
def log1p_parts(x, dtype):
    """log(1 + x), for x from -0.3 to 1, as a sum of two, of which the second is small."""
    first, residue, inverse = divide(x + x, divisor(splat(2.0, dtype), x, dtype), dtype)
    return first, fma(residue, inverse, first * ((first * first) * _rest(first * first)))


@jit
def _log_of(x, rest, dtype):
    """log(x) + rest, for small rest: x = 2^k m, m from sqrt(1/2) to sqrt(2)."""
    k = exponent_of(x)
    high, low = log1p_parts(mantissa_of(x) - splat(1.0, dtype), dtype)
    whole = k * _ln2_high(dtype)
    top = whole + high
    return top + (((whole - top) + high) + (fma(k, _ln2_low(dtype), low) + rest))


@jit
def log(x, dtype):
    """log(x), within 1 ULP, for finite x > 0 that are not subnormal; others give any number."""
    return _log_of(x, zeros(dtype), dtype)


@jit
def log1p(x, dtype):
    """log(1 + x) for x >= 0, within 1 ULP; NaN stays."""
    one = splat(1.0, dtype)
    more, less = maximum(one, x), minimum(one, x)
    y = one + x
    lost = less - (y - more)  # exactly what rounding took
    return select_less(_largest(dtype), x, x, _log_of(y, lost / y, dtype))
