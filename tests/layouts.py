"""The same matrix, laid out in memory in every way that a caller may bring it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

Matrix = npt.NDArray[Any]


def _every_other(x: Matrix) -> Matrix:
    buffer = np.zeros((2 * x.shape[0], 3 * x.shape[1]), x.dtype)
    buffer[::2, ::3] = x
    return buffer[::2, ::3]


def _padded(x: Matrix) -> Matrix:
    buffer = np.zeros((x.shape[0], x.shape[1] + 5), x.dtype)
    buffer[:, 2:-3] = x
    return buffer[:, 2:-3]


def _padded_fortran(x: Matrix) -> Matrix:
    return _padded(x.T.copy()).T


def _read_only(x: Matrix) -> Matrix:
    x = x.copy()
    x.flags.writeable = False
    return x


def _unaligned(x: Matrix) -> Matrix:
    """Return rows that begin at an odd address (aligned all the same if elements are bytes)."""
    buffer = np.zeros(x.nbytes + 1, np.uint8)[1:].view(x.dtype).reshape(x.shape)
    buffer[...] = x
    return buffer


def _field(x: Matrix) -> Matrix:
    """Return strides that are no multiple of the element: a field of packed records."""
    records = np.zeros(x.shape, np.dtype([("flag", "u1"), ("value", x.dtype)]))
    records["value"] = x
    return records["value"]


LAYOUTS: dict[str, Callable[[Matrix], Matrix]] = {
    "C": np.ascontiguousarray,
    "fortran": np.asfortranarray,
    "strided": _every_other,
    "padded rows": _padded,
    "padded columns": _padded_fortran,
    "reversed rows": lambda x: x[::-1].copy()[::-1],
    "reversed columns": lambda x: x[:, ::-1].copy()[:, ::-1],
    "reversed fortran": lambda x: np.asfortranarray(x[::-1, ::-1])[::-1, ::-1],
    "read-only": _read_only,
    "byte-swapped": lambda x: x.astype(x.dtype.newbyteorder()),
    "unaligned": _unaligned,
    "field of a record": _field,
}
