"""Arrays that begin at a cache line.

NumPy's large arrays begin 16 bytes behind one, so that every vector of the widest kind is cut by
the end of a line. Storing them that way is slow: blocks of products with 12,288-wide results ran at
220 GFLOP/s on AMD's Zen 5, and at 254 where the result begins at a line.
"""

from __future__ import annotations

import ctypes
import math
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["address_of", "empty", "empty_result"]

_LINE = 64
_LARGE = 1 << 14  # elements: a product with so many takes 17 us, of which 0.7 for this are little
_word_at = ctypes.c_size_t.from_address
_HEADER = object.__basicsize__


def address_of(array: npt.NDArray[Any]) -> int:
    """Where the array's first element lies: ``array.ctypes.data`` in a seventh of its time.

    A PyArrayObject begins with CPython's object header and then the pointer to the data, in every
    version of NumPy's C API (``PyArrayObject.data``).
    """
    return _word_at(id(array) + _HEADER).value


def _slow_address(array: npt.NDArray[Any]) -> int:
    return array.ctypes.data


_example = np.empty(1)
if address_of(_example) != _slow_address(_example):  # another interpreter's object header
    address_of = _slow_address


def empty(shape: tuple[int, ...], dtype: np.dtype[Any]) -> npt.NDArray[Any]:
    """Like ``numpy.empty``, but the array begins at a cache line and does not own its memory."""
    size = math.prod(shape) * dtype.itemsize
    memory = np.empty(size + _LINE, np.uint8)
    return np.ndarray(shape, dtype, memory, -address_of(memory) % _LINE)


def empty_result(shape: tuple[int, ...], dtype: np.dtype[Any]) -> npt.NDArray[Any]:
    """Like `empty` if the array is large; where it is small, ``numpy.empty`` is faster."""
    return empty(shape, dtype) if math.prod(shape) >= _LARGE else np.empty(shape, dtype)
