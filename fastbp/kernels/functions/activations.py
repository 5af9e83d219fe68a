"""Activation functions and their slopes, on vectors of float32 or float64.

A slope follows from the activation, or, where that does not tell (gelu, silu), from x.
"""

from __future__ import annotations

from fastbp.kernels.compile.jit import jit
from fastbp.kernels.simd.exp import exp_of_negative, log1p_of_fraction
from fastbp.kernels.simd.vectors import absolute, fma, maximum, select_less, splat, zeros

__all__ = [
    "ACTIVATION_CODES",
    "ELU",
    "GELU",
    "IDENTITY",
    "LEAKY_RELU",
    "LEAKY_SLOPE",
    "RELU",
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


@jit
def sigmoid_slope(a, dtype):
    """The slope a (1 - a) from a = sigmoid(x)."""
    return a * (splat(1.0, dtype) - a)


@jit
def tanh(x, dtype):
    """(1 - e) / (1 + e), e = exp(-2 |x|), with the sign of x."""
    zero, one = zeros(dtype), splat(1.0, dtype)
    far = absolute(x)
    e = exp_of_negative(zero - (far + far), dtype)
    a = (one - e) / (one + e)
    return select_less(x, zero, zero - a, a)


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
    return select_less(zeros(dtype), a, splat(1.0, dtype), zeros(dtype))


@jit
def leaky_relu(x, dtype):
    """The value x, below 0 times LEAKY_SLOPE."""
    return select_less(x, zeros(dtype), x * splat(LEAKY_SLOPE, dtype), x)


@jit
def leaky_relu_slope(a, dtype):
    """1 where a > 0, else LEAKY_SLOPE."""
    return select_less(zeros(dtype), a, splat(1.0, dtype), splat(LEAKY_SLOPE, dtype))


@jit
def elu(x, dtype):
    """The value x, below 0 exp(x) - 1."""
    zero = zeros(dtype)
    e = exp_of_negative(zero - absolute(x), dtype) - splat(1.0, dtype)
    return select_less(x, zero, e, x)


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
    """log(1 + exp(x)) as max(x, 0) + log(1 + exp(-|x|))."""
    zero = zeros(dtype)
    e = exp_of_negative(zero - absolute(x), dtype)
    return maximum(zero, x) + log1p_of_fraction(e, dtype)


@jit
def softplus_slope(a, dtype):
    """The slope 1 - exp(-a) from a = softplus(x)."""
    return splat(1.0, dtype) - exp_of_negative(zeros(dtype) - a, dtype)


@jit
def softplus_derivative(x, dtype):
    """The slope from x: sigmoid(x)."""
    return sigmoid(x, dtype)


@jit
def silu(x, dtype):
    """The product x sigmoid(x)."""
    return x * sigmoid(x, dtype)


@jit
def silu_slope(x, dtype):
    """The slope s + x s (1 - s), s = sigmoid(x)."""
    s = sigmoid(x, dtype)
    return fma(x * s, splat(1.0, dtype) - s, s)


@jit
def gelu(x, dtype):
    """A placeholder: to come with erf."""
    return silu(x, dtype)


@jit
def gelu_slope(x, dtype):
    """A placeholder: to come with erf."""
    return silu_slope(x, dtype)


relu_derivative = relu_slope
leaky_relu_derivative = leaky_relu_slope
gelu_derivative = gelu_slope
silu_derivative = silu_slope
