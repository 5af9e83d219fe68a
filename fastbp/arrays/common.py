"""What the NumPy-compatible functions have in common: operands, ``out=`` and rounding."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from fastbp.engine.inputs import as_array
from fastbp.engine.products import DIRECT, readable

__all__ = [
    "Casting",
    "Order",
    "Out",
    "as_computed",
    "broadcasts",
    "check_out",
    "has_override",
    "numeric",
    "put",
    "single_out",
    "wrapper",
]

Array = npt.NDArray[Any]
Casting = Literal["no", "equiv", "safe", "same_kind", "unsafe"]
Order = Literal["K", "A", "C", "F"]
Out = Array | tuple[Array | None] | None


def numeric(x: npt.ArrayLike, name: str) -> Array:
    """``x`` as an array of real numbers."""
    array = as_array(x, name)
    if array.dtype.kind not in "biuf" or array.dtype.itemsize > 8:
        raise TypeError(f"{name} must hold real numbers up to 64 bits, got dtype {array.dtype}")
    return array


def single_out(out: Any) -> Array | None:
    """The array that ``out`` is, or holds as a tuple of one, as NumPy takes it."""
    if type(out) is tuple:
        if len(out) != 1:
            raise ValueError(f"The 'out' tuple must have exactly one entry, got {len(out)}")
        (out,) = out
    if out is not None and not isinstance(out, np.ndarray):
        raise TypeError(f"out must be an ndarray, got {type(out).__name__}")
    return out


def broadcasts(shape: tuple[int, ...], target: tuple[int, ...]) -> bool:
    """Whether an array of ``shape`` can be written to one of another, as NumPy repeats it."""
    pairs = zip(shape[::-1], target[::-1], strict=False)
    return len(shape) <= len(target) and all(one in (1, two) for one, two in pairs)


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


def has_override(*operands: Any) -> bool:
    """Whether one of them has arithmetic of its own (``__array_ufunc__``).

    Raises
    ------
    TypeError
        If one of them wants none, as NumPy's functions do.
    """
    found = False
    for operand in operands:
        if type(operand) is np.ndarray or operand is None:
            continue
        override = getattr(type(operand), "__array_ufunc__", np.ndarray.__array_ufunc__)
        if override is None:
            kind = type(operand).__name__
            raise TypeError(f"operand {kind!r} does not support ufuncs (__array_ufunc__=None)")
        found = found or override is not np.ndarray.__array_ufunc__
    return found


def wrapper(operands: Sequence[Any]) -> Callable[[Array], Any] | None:
    """What makes of a result what the operands are, if one of them is of a class of its own.

    That of the highest ``__array_priority__``, as NumPy has it; the first of equals.
    """
    subclasses = [x for x in operands if isinstance(x, np.ndarray) and type(x) is not np.ndarray]
    if not subclasses:
        return None
    first = max(subclasses, key=lambda x: getattr(x, "__array_priority__", 0.0))
    return first.__array_wrap__


def put(target: Array, values: Array, where: Any = True) -> None:
    """Round values into ``target``, where many may become 0; whether that may be is checked."""
    with np.errstate(under="ignore"):
        np.copyto(target, values, casting="unsafe", where=where)


def as_computed(x: Array, dtype: np.dtype[Any]) -> Array:
    """An operand that compiled code reads for a product in ``dtype``."""
    if x.dtype not in DIRECT or (x.dtype != dtype and x.dtype != np.uint8):
        x = x.astype(dtype)
    return readable(x)
