"""NumPy-compatible functions on compiled kernels: validation, broadcasting, ``out=``, dtypes.

Dtypes: float32 and float64 are computed as they are. Everything else becomes what NumPy would
make of it: ``matmul`` follows ``numpy.matmul`` (float16 is computed in float32 and rounded at the
end; integers with integers are left to NumPy, exactly), the element-wise functions follow
``numpy.exp`` (int8 -> float16, int16 -> float32, int32 and int64 -> float64). uint8 operands of a
float product are widened in registers, without a copy. Complex and object arrays are refused.
"""

from fastbp.arrays.elementwise import sigmoid, sigmoid_derivative
from fastbp.arrays.layers import linear, linear_update
from fastbp.arrays.products import matmul

__all__ = ["linear", "linear_update", "matmul", "sigmoid", "sigmoid_derivative"]
