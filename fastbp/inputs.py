"""What users hand over as numbers, as arrays: no mask and no missing value is lost on the way."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["as_array", "quietly"]

Array = npt.NDArray[Any]

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
