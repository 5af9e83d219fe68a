"""Arrays that begin at a cache line.

NumPy's large arrays begin 16 bytes behind one, so that every vector of the widest kind is cut by
the end of a line. Storing them that way is slow: blocks of products with 12,288-wide results ran at
220 GFLOP/s on AMD's Zen 5, and at 254 where the result begins at a line.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["empty", "empty_result"]

_LINE = 64
_LARGE = 1 << 14  # elements: a product with so many takes 20 us, of which 2 are little


def empty(shape: tuple[int, ...], dtype: np.dtype[Any]) -> npt.NDArray[Any]:
    """Like ``numpy.empty``, but the array begins at a cache line and does not own its memory."""
    size = math.prod(shape) * dtype.itemsize
    memory = np.empty(size + _LINE, np.uint8)
    start = -memory.ctypes.data % _LINE
    return memory[start : start + size].view(dtype).reshape(shape)


def empty_result(shape: tuple[int, ...], dtype: np.dtype[Any]) -> npt.NDArray[Any]:
    """Like `empty` if the array is large; where it is small, ``numpy.empty`` is faster."""
    return empty(shape, dtype) if math.prod(shape) >= _LARGE else np.empty(shape, dtype)
