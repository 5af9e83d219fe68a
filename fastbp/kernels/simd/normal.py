"""The tail of the normal distribution, on vectors of float32 or float64.

With t >= 0, the probability of less than -t is Phi(-t) = erfc(t / sqrt(2)) / 2, which is
G(t) exp(-t^2 / 2). G falls slowly, from 1/2, as 1 / (t sqrt(2 pi)) in the end: G(t) (t + a) is a
polynomial in v = (t - a) / (t + a), after Shepherd and Laframboise, "Chebyshev approximation of
(1 + 2x) exp(x^2) erfc x in 0 <= x < infinity", Mathematics of Computation 36 (1981). Coefficients
are those of Chebyshev interpolations in 40 digits, with relative errors of 1.2e-9 and 3.7e-17.
"""

from __future__ import annotations

import math

from fastbp.kernels.compile.jit import jit
from fastbp.kernels.simd.exp import times_exp
from fastbp.kernels.simd.log import divide, divisor
from fastbp.kernels.simd.numbers import constant, polynomial
from fastbp.kernels.simd.vectors import absolute, fma, maximum, minimum, splat, zeros

__all__ = ["tail_slope", "tail_times"]

_SINGLE = [
    0.7290836907139794, -0.5093319888345391, 0.2300176766741665, -0.04726276192117602,
    -0.01046228896653126, 0.006969920150912792, 0.0010241573243785498, -0.0010344765508861836,
    -0.0002447093207917761, 0.00013332395420363602, 5.5491871716794676e-05,
]  # fmt: skip
_DOUBLE = [
    0.7552851304157515, -0.6078966419718917, 0.3871374007422191, -0.1865218579596938,
    0.06039657489068796, -0.007540188965608264, -0.0034796923620208924, 0.0016308184421763136,
    0.0001333442518716509, -0.00023109482118101652, -1.9078547665539693e-06,
    3.514419791394192e-05, 7.149674034716206e-07, -5.918952885516133e-06, -6.250594640608763e-07,
    1.019938768118178e-06, 2.6361014617832634e-07, -1.5444329754008877e-07,
    -7.636221205575767e-08, 1.4712485024685244e-08, 1.395008368052857e-08,
    3.0469175279772776e-11, -9.824453179690978e-10,
]  # fmt: skip
_series = polynomial(_SINGLE, _DOUBLE)
_middle = constant(3.0, 4.0)  # a
_farthest = constant(15.0, 39.5)  # where Phi(-t) and t Phi(-t) are 0
_INVERSE_ROOT = 1 / math.sqrt(2 * math.pi)


@jit
def _times_density(y, t, dtype):
    """The product y exp(-t^2 / 2), the square's rounding error taken into account."""
    zero, half = zeros(dtype), splat(0.5, dtype)
    square = t * t
    lost = fma(t, t, zero - square)
    return times_exp(fma(y, zero - half * lost, y), zero - half * square, dtype)


@jit
def _distance_and_share(x, dtype):
    """The size t of x, as far as it matters, and G(t)."""
    t, a = minimum(_farthest(dtype), absolute(x)), _middle(dtype)
    by = divisor(maximum(a, t), minimum(a, t), dtype)
    share, residue, inverse = divide(_series((t - a) * by[2]), by, dtype)
    return t, fma(residue, inverse, share)


@jit
def tail_times(x, dtype):
    """The product t Phi(-t), t = |x|."""
    t, share = _distance_and_share(x, dtype)
    return _times_density(t * share, t, dtype)


@jit
def tail_slope(x, dtype):
    """The sum Phi(-t) - t phi(t), t = |x|, with the density phi: the slope of x Phi(x) at -t."""
    t, share = _distance_and_share(x, dtype)
    return _times_density(fma(splat(-_INVERSE_ROOT, dtype), t, share), t, dtype)
