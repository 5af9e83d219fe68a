"""Activation functions and their slopes, on vectors of float32 or float64.

A slope follows from the activation, or, where that does not tell (gelu, silu), from x.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from fastbp.kernels.compile.jit import jit
from fastbp.kernels.simd.exp import exp_of_negative, expm1_of_negative, times_exp
from fastbp.kernels.simd.log import divide, divisor, log1p_parts
from fastbp.kernels.simd.normal import tail_slope, tail_times
from fastbp.kernels.simd.numbers import constant, copy_sign, polynomial
from fastbp.kernels.simd.vectors import (
    absolute,
    fma,
    maximum,
    minimum,
    select_less,
    splat,
    zeros,
)

__all__ = [
    "ACTIVATION_CODES",
    "ELU",
    "GELU",
    "IDENTITY",
    "LEAKY_RELU",
    "LEAKY_SLOPE",
    "MOST_ULP",
    "RELU",
    "RISE_FROM",
    "SIGMOID",
    "SILU",
    "SOFTPLUS",
    "STORED_SLOPES",
    "TANH",
    "elu",
    "elu_derivative",
    "elu_slope",
    "gelu",
    "gelu_derivative",
    "gelu_slope",
    "leaky_relu",
    "leaky_relu_derivative",
    "leaky_relu_slope",
    "relu",
    "relu_derivative",
    "relu_slope",
    "sigmoid",
    "sigmoid_derivative",
    "sigmoid_slope",
    "silu",
    "silu_derivative",
    "silu_slope",
    "softplus",
    "softplus_derivative",
    "softplus_slope",
    "tanh",
    "tanh_derivative",
    "tanh_slope",
]

IDENTITY, SIGMOID, TANH, RELU, LEAKY_RELU, ELU, SOFTPLUS, GELU, SILU = range(9)
ACTIVATION_CODES = {
    "identity": IDENTITY,
    "sigmoid": SIGMOID,
    "tanh": TANH,
    "relu": RELU,
    "leaky_relu": LEAKY_RELU,
    "elu": ELU,
    "softplus": SOFTPLUS,
    "gelu": GELU,
    "silu": SILU,
}
STORED_SLOPES = frozenset({GELU, SILU})
"""Those whose slope does not follow from the activation."""

LEAKY_SLOPE = 0.01  # of leaky relu, below 0

MOST_ULP = {
    "identity": 0.0,
    "sigmoid": 2.0,
    "tanh": 2.5,
    "relu": 0.0,
    "leaky_relu": 1.0,
    "elu": 1.25,
    "softplus": 1.75,
    "gelu": 5.0,
    "silu": 2.0,
    "sigmoid_slope": 1.5,
    "tanh_slope": 1.5,
    "relu_slope": 0.0,
    "leaky_relu_slope": 0.5,
    "elu_slope": 0.5,
    "softplus_slope": 1.25,
    "gelu_slope": 5.0,
    "silu_slope": 5.5,
    "sigmoid_derivative": 5.0,
    "tanh_derivative": 5.0,
    "relu_derivative": 0.0,
    "leaky_relu_derivative": 0.5,
    "elu_derivative": 1.25,
    "softplus_derivative": 2.0,
    "gelu_derivative": 5.0,
    "silu_derivative": 5.5,
}
"""How far a result may be from the true value for the argument that is given: the activation for
slopes, x for all others; on CPUs with fused multiply-add. The slopes of gelu and silu cross 0, so
theirs are ULP of the larger of slope and factor, Phi(x) or sigmoid(x). The tests check samples of
both types, ``benchmarks/activation_ulp.py`` all float32 there are."""

RISE_FROM = {
    "identity": -math.inf,
    "sigmoid": -math.inf,
    "tanh": -math.inf,
    "relu": -math.inf,
    "leaky_relu": -math.inf,
    "elu": -math.inf,
    "softplus": -math.inf,
    "gelu": 0.0,
    "silu": 0.0,
}
"""From where on a larger x never gives a smaller result. Gelu and silu rise from their minima, at
-0.75 and -1.28, on, but so slowly at first that neighbours may be in the wrong order, by an ULP or
two of the results."""


_farthest = constant(110.0, 760.0)  # from where x exp(-x) is 0


def _log_cosh_series(terms: int) -> Sequence[float]:
    """Coefficients of log(cosh(x / 2)) in powers of x^2, from the first: tanh' = 1 - tanh^2."""
    tanh: list[float] = []
    for k in range(terms):
        tanh.append(((k == 0) - sum(tanh[i] * tanh[k - 1 - i] for i in range(k))) / (2 * k + 1))
    return [a / (2 * k + 2) / 4 ** (k + 1) for k, a in enumerate(tanh)]


_log_cosh_over_square = polynomial(_log_cosh_series(5), _log_cosh_series(11))
_ln2_high = constant(float(np.float32(math.log(2))), math.log(2))
_ln2_low = constant(math.log(2) - float(np.float32(math.log(2))), 2.3190468138462996e-17)


@jit
def _over_sum(above, a, b, dtype):
    """The quotient above / (a + b) for |a| >= |b|, as if rounded once."""
    quotient, residue, inverse = divide(above, divisor(a, b, dtype), dtype)
    return fma(residue, inverse, quotient)


@jit
def sigmoid(x, dtype):
    """1 / (1 + exp(-x)), from e = exp(-|x|) on either side: exact 0.5 at 0, NaN stays.

    1 / (1 + e) or e / (1 + e), as if rounded once.
    """
    e = exp_of_negative(zeros(dtype) - absolute(x), dtype)
    one = splat(1.0, dtype)
    return _over_sum(select_less(x, zeros(dtype), e, one), one, e, dtype)


@jit
def sigmoid_derivative(x, dtype):
    """sigmoid(x) (1 - sigmoid(x)) as e / (1 + e)^2, e = exp(-|x|): no cancellation for large x."""
    e = exp_of_negative(zeros(dtype) - absolute(x), dtype)
    d = splat(1.0, dtype) + e
    return e / (d * d)


@jit
def sigmoid_slope(a, dtype):
    """The slope a (1 - a) from a = sigmoid(x)."""
    return a * (splat(1.0, dtype) - a)


@jit
def tanh(x, dtype):
    """-t / (2 + t), t = exp(-2 |x|) - 1, with the sign of x."""
    far = absolute(x)
    t = expm1_of_negative(zeros(dtype) - (far + far), dtype)
    return copy_sign(_over_sum(zeros(dtype) - t, splat(2.0, dtype), t, dtype), x)


@jit
def tanh_slope(a, dtype):
    """The slope 1 - a^2 from a = tanh(x)."""
    return (splat(1.0, dtype) - a) * (splat(1.0, dtype) + a)


@jit
def tanh_derivative(x, dtype):
    """4 e / (1 + e)^2, e = exp(-2 |x|): the slope from x, without cancellation for large x."""
    return splat(4.0, dtype) * sigmoid_derivative(x + x, dtype)


@jit
def relu(x, dtype):
    """max(x, 0)."""
    return maximum(zeros(dtype), x)


@jit
def relu_slope(a, dtype):
    """1 where a > 0, else 0: also at 0."""
    zero = zeros(dtype)
    return select_less(zero, a, splat(1.0, dtype), maximum(zero, a))


@jit
def leaky_relu(x, dtype):
    """The value x, below 0 times LEAKY_SLOPE."""
    return select_less(x, zeros(dtype), x * splat(LEAKY_SLOPE, dtype), x)


@jit
def leaky_relu_slope(a, dtype):
    """1 where a > 0, else LEAKY_SLOPE."""
    zero = zeros(dtype)
    rest = maximum(zero, a) + splat(LEAKY_SLOPE, dtype)  # NaN stays
    return select_less(zero, a, splat(1.0, dtype), rest)


@jit
def elu(x, dtype):
    """The value x, below 0 exp(x) - 1."""
    zero = zeros(dtype)
    return select_less(x, zero, expm1_of_negative(zero - absolute(x), dtype), x)


@jit
def elu_slope(a, dtype):
    """1 where a > 0, else a + 1."""
    one = splat(1.0, dtype)
    return select_less(zeros(dtype), a, one, a + one)


@jit
def elu_derivative(x, dtype):
    """The slope from x: 1 where x > 0, else exp(x)."""
    zero = zeros(dtype)
    return select_less(zero, x, splat(1.0, dtype), exp_of_negative(zero - absolute(x), dtype))


@jit
def softplus(x, dtype):
    """log(1 + exp(x)) as max(x, 0) + log(1 + exp(-|x|)), the sum of parts rounded last.

    For |x| < 1/2 as log 2 + (x / 2 + log(cosh(x / 2))): there the two terms above change in
    opposite directions, and of some neighbours the sum would fall.
    """
    zero = zeros(dtype)
    far = absolute(x)
    first, second = log1p_parts(exp_of_negative(zero - far, dtype), dtype)
    linear = maximum(zero, x)
    more, less = maximum(first, linear), minimum(first, linear)
    total = more + less
    total += ((more - total) + less) + second
    square = x * x
    near = fma(square, _log_cosh_over_square(square), splat(0.5, dtype) * x)
    near = _ln2_high(dtype) + (_ln2_low(dtype) + near)
    total = select_less(far, splat(0.5, dtype), near, total)
    return select_less(_farthest(dtype), x, x, total)


@jit
def softplus_slope(a, dtype):
    """The slope 1 - exp(-a) from a = softplus(x)."""
    zero = zeros(dtype)
    return zero - expm1_of_negative(zero - a, dtype)


@jit
def softplus_derivative(x, dtype):
    """The slope from x: sigmoid(x)."""
    return sigmoid(x, dtype)


@jit
def silu(x, dtype):
    """The product x sigmoid(x): with t = |x| and e = exp(-t), t / (1 + e) or -t / (1 + e) e.

    The factor e comes last, as it may be subnormal where the product is not.
    """
    zero = zeros(dtype)
    t = minimum(_farthest(dtype), absolute(x))
    share = _over_sum(t, splat(1.0, dtype), exp_of_negative(zero - t, dtype), dtype)
    above = select_less(_farthest(dtype), x, x, share)
    return select_less(x, zero, zero - times_exp(share, zero - t, dtype), above)


@jit
def silu_slope(x, dtype):
    """The slope s + x s (1 - s), s = sigmoid(x).

    With t = |x| and e = exp(-t), that of -t is e (1 + e - t) / (1 + e)^2; the two of t and -t
    make 1.
    """
    zero, one = zeros(dtype), splat(1.0, dtype)
    t = minimum(_farthest(dtype), absolute(x))
    d = one + exp_of_negative(zero - t, dtype)
    low = times_exp((d - t) / (d * d), zero - t, dtype)
    return select_less(x, zero, low, one - low)


@jit
def gelu(x, dtype):
    """The product x Phi(x) = max(x, 0) - t Phi(-t), t = |x|: Phi of the normal distribution."""
    return maximum(zeros(dtype), x) - tail_times(x, dtype)


@jit
def gelu_slope(x, dtype):
    """The slope Phi(x) + x phi(x): those of t and -t make 1."""
    low = tail_slope(x, dtype)
    return select_less(x, zeros(dtype), low, splat(1.0, dtype) - low)


relu_derivative = relu_slope
leaky_relu_derivative = leaky_relu_slope
gelu_derivative = gelu_slope
silu_derivative = silu_slope
