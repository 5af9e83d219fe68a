"""NumPy-compatible functions on compiled kernels: validation, broadcasting, ``out=``, dtypes.

Dtypes: float32 and float64 are computed as they are. Everything else becomes what NumPy would
make of it: ``matmul`` follows ``numpy.matmul`` (float16 is computed in float32 and rounded at the
end), the element-wise functions and ``softmax`` follow ``numpy.exp`` (int8 -> float16,
int16 -> float32, int32 and int64 -> float64). uint8 operands of a float product are widened in
registers, without a copy. What has no kernel (integers with integers, long double, complex numbers,
objects) is left to NumPy.
"""

from fastbp.arrays.along_axis import softmax
from fastbp.arrays.elementwise import (
    elu,
    elu_derivative,
    gelu,
    gelu_derivative,
    leaky_relu,
    leaky_relu_derivative,
    relu,
    relu_derivative,
    sigmoid,
    sigmoid_derivative,
    silu,
    silu_derivative,
    softplus,
    softplus_derivative,
    tanh,
    tanh_derivative,
)
from fastbp.arrays.layers import linear, linear_update
from fastbp.arrays.products import matmul

__all__ = [
    "elu",
    "elu_derivative",
    "gelu",
    "gelu_derivative",
    "leaky_relu",
    "leaky_relu_derivative",
    "linear",
    "linear_update",
    "matmul",
    "relu",
    "relu_derivative",
    "sigmoid",
    "sigmoid_derivative",
    "silu",
    "silu_derivative",
    "softmax",
    "softplus",
    "softplus_derivative",
    "tanh",
    "tanh_derivative",
]
