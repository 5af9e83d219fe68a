"""What users hand over as numbers, as arrays: no mask and no missing value is lost on the way."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from fastbp.kernels.linalg.operand import DTYPE_CODES

__all__ = ["CODES", "NAMES", "as_array", "as_input", "check_outputs", "check_width", "quietly"]

Array = npt.NDArray[Any]

CODES = {np.dtype(name): code for name, code in DTYPE_CODES.items()}
"""What compiled code calls the dtypes that it reads; looking up their names takes a microsecond."""

NAMES = {dtype: dtype.name for dtype in CODES}
"""Their names, for the same reason."""

quietly = np.errstate(over="ignore", under="ignore", invalid="ignore", divide="ignore")
"""Decorator: NumPy's arithmetic in a function is silent, whatever ``numpy.seterr`` says.

Underflow and overflow are part of it: a sure answer has a probability that rounds to 0.
"""


def as_array(value: npt.ArrayLike, name: str) -> Array:
    """Like ``numpy.asarray``, but no mask and no missing value is dropped silently.

    Parameters
    ----------
    value : array_like
        A masked array without masked values is taken as the array that it is; nullable columns of
        pandas without missing values become float64.
    name : str
        For messages.

    Raises
    ------
    ValueError
        If values are masked, or missing in nullable columns.
    """
    if type(value) is np.ndarray:
        return value
    if isinstance(value, np.ma.MaskedArray) and np.ma.is_masked(value):
        place = np.argwhere(np.ma.getmaskarray(value))[0]
        raise ValueError(
            f"{name} has masked values, the first {_place(place)}: leave such rows out, or fill"
            f" them in with {name}.filled(value)"
        )
    array = np.asarray(value)
    if array.dtype == object and _is_nullable(value):
        return _without_missing(value, name)
    return array


def _is_nullable(value: Any) -> bool:
    """Whether this is a Series or DataFrame of numbers or bools, whatever NumPy makes of it."""
    if not all(hasattr(value, part) for part in ("dtypes", "isna", "to_numpy")):
        return False
    kinds = np.atleast_1d(np.asarray(value.dtypes, dtype=object))
    return all(getattr(kind, "kind", "O") in "biuf" for kind in kinds)


def _without_missing(value: Any, name: str) -> Array:
    holes = np.argwhere(np.asarray(value.isna()))
    if len(holes):
        raise ValueError(
            f"{name} has missing values, the first {_place(holes[0])}: leave such rows out, or fill"
            f" them in with {name}.fillna(value)"
        )
    return np.asarray(value.to_numpy(dtype=np.float64))


def _place(index: Sequence[int] | Array) -> str:
    words = ("in row", "column")
    return ", ".join(f"{word} {int(i)}" for word, i in zip(words, index, strict=False))


def as_input(
    X: npt.ArrayLike, n_features: int, dtype: np.dtype[Any], *, exact: bool = False
) -> Array:
    """X as an array that the kernels read where it lies; copied only where that cannot be.

    Parameters
    ----------
    X : array_like of shape (n, n_features)
        uint8, float32 and float64 are read as they are, at any strides. Other integers, bool and
        float16 are converted to `dtype`.
    n_features : int
    dtype : dtype
        The network's.
    exact : bool, optional
        Integers that `dtype` may not hold become float64: something is to be subtracted from them.

    Raises
    ------
    TypeError
        If X does not hold real numbers of up to 64 bits.
    ValueError
        If X is not a matrix with `n_features` columns, or has masked or missing values.
    """
    array = as_array(X, "X")
    if array.dtype.kind not in "biuf" or array.dtype.itemsize > 8:
        raise TypeError(f"X must hold real numbers up to 64 bits, got dtype {array.dtype}")
    if array.ndim != 2:
        raise ValueError(
            f"X must have 2 dimensions (samples, features), got an array of shape {array.shape}"
        )
    check_width(array, n_features)
    if array.dtype not in CODES and array.dtype.newbyteorder("=") not in CODES:
        kind = np.result_type(array.dtype, dtype) if exact else dtype
        return np.ascontiguousarray(array, dtype=kind)
    size = array.itemsize
    row, column = array.strides
    whole_strides = row % size == 0 and column % size == 0
    if array.dtype.isnative and array.flags.aligned and whole_strides:
        return array
    return np.array(array, dtype=array.dtype.newbyteorder("="), order="C")


def check_width(X: Array, n_features: int) -> None:
    """That the matrix X has as many columns as there are features."""
    if X.shape[1] != n_features:
        raise ValueError(f"X has {X.shape[1]} features, but the network expects {n_features}")


def check_outputs(y: Array, n_outputs: int, dtype: np.dtype[Any]) -> None:
    """A network may have changed since its targets were checked."""
    if y.shape[1] != n_outputs:
        raise ValueError(f"y has {y.shape[1]} outputs, but the network has {n_outputs}")
    if y.dtype != dtype:
        raise ValueError(f"the network's dtype must stay {y.dtype} while fit runs, got {dtype}")
