"""What the NumPy-compatible functions have in common: operands, ``out=`` and rounding."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from fastbp.engine.inputs import as_array
from fastbp.engine.products import DIRECT, readable

__all__ = ["as_computed", "check_out", "numeric", "put"]

Array = npt.NDArray[Any]


def numeric(x: npt.ArrayLike, name: str) -> Array:
    """``x`` as an array of real numbers."""
    array = as_array(x, name)
    if array.dtype.kind not in "biuf" or array.dtype.itemsize > 8:
        raise TypeError(f"{name} must hold real numbers up to 64 bits, got dtype {array.dtype}")
    return array


def check_out(out: Any, shape: tuple[int, ...], dtype: np.dtype[Any], function: str) -> None:
    """That ``out`` can hold the function's result, or say what is wrong with it."""
    if not isinstance(out, np.ndarray):
        raise TypeError(f"out must be an ndarray, got {type(out).__name__}")
    if out.shape != shape:
        raise ValueError(f"out of {function} must have shape {shape}, got {out.shape}")
    if not np.can_cast(dtype, out.dtype, "same_kind"):
        raise TypeError(f"{function} gives {dtype}, which cannot be cast to out's {out.dtype}")
    if not out.flags.writeable:
        raise ValueError(f"out of {function} is read-only")


def put(target: Array, values: Array) -> None:
    """Round values into ``target``, where many may become 0."""
    with np.errstate(under="ignore"):
        np.copyto(target, values, casting="same_kind")


def as_computed(x: Array, dtype: np.dtype[Any]) -> Array:
    """An operand that compiled code reads for a product in ``dtype``."""
    if x.dtype not in DIRECT or (x.dtype != dtype and x.dtype != np.uint8):
        x = x.astype(dtype)
    return readable(x)
