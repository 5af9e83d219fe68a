"""The preprocessing of the input, (X - mean) * scale, as the kernels see it: X * scale + shift.

Shift and scale are of the network's dtype, but float64 where X is: a column of large mean and small
spread is to be shifted before it is rounded.
"""

from __future__ import annotations

import functools
import warnings
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["check_folding", "dtype_of_folding", "scale_and_shift", "warn_of_pixels"]

Array = npt.NDArray[Any]

_ROWS_OF_SAMPLE = 16
_LARGE_BYTE = 31  # counts and categories may well be bytes; pixels go up to 255


def check_folding(
    value: npt.ArrayLike, name: str, n_features: int, dtype: np.dtype[Any]
) -> float | Array:
    """A mean or scale as it is kept, a number or one for each feature; or say what is wrong.

    An array is kept in the network's dtype if that holds it exactly, else in float64.
    """
    number: Any = value
    if isinstance(number, float) and abs(number) <= 1:  # of most networks; finite in any dtype
        return float(number)
    array = np.asarray(value)
    if array.dtype.kind not in "biuf":
        raise TypeError(f"{name} must hold real numbers, got dtype {array.dtype}")
    _check_shape(array.shape, name, n_features)
    exact = np.array(array, dtype=np.float64)
    with np.errstate(over="ignore", under="ignore"):
        rounded = exact.astype(dtype)
    if not np.isfinite(rounded).all():
        raise ValueError(f"{name} must be finite in {dtype}")
    if array.ndim == 0:
        return float(array)
    return rounded if np.array_equal(rounded, exact) else exact


def _check_shape(shape: tuple[int, ...], name: str, n_features: int) -> None:
    if shape not in ((), (n_features,)):
        raise ValueError(
            f"{name} must be a number or have one value for each of the {n_features} features,"
            f" got shape {shape}"
        )


def scale_and_shift(
    mean: float | Array,
    scale: float | Array,
    n0: int,
    dtype: np.dtype[Any],
    data_dtype: np.dtype[Any],
) -> tuple[Array, Array] | None:
    """Scale and shift of each of `n0` features of X; None if they would change nothing.

    Parameters
    ----------
    mean, scale : float or ndarray of shape (n0,)
        As `check_folding` gives them.
    n0 : int
    dtype, data_dtype : dtype
        Of the network and of X.

    Returns
    -------
    tuple of two ndarrays of shape (n0,), or None
        Of the dtype that `dtype_of_folding` tells.

    Raises
    ------
    ValueError
        If a shift overflows the network's dtype.
    """
    if isinstance(mean, int | float) and isinstance(scale, int | float):
        if mean == 0.0 and scale == 1.0:
            return None
        return _of_numbers(float(mean), float(scale), n0, dtype, data_dtype)
    return _make(mean, scale, n0, dtype, data_dtype)


def dtype_of_folding(dtype: np.dtype[Any], data_dtype: np.dtype[Any]) -> np.dtype[Any]:
    """What X of `data_dtype` is shifted and scaled in by a network of `dtype`."""
    return data_dtype if data_dtype == np.float64 else dtype


def _make(
    mean: float | Array,
    scale: float | Array,
    n0: int,
    dtype: np.dtype[Any],
    data_dtype: np.dtype[Any],
) -> tuple[Array, Array]:
    # The arrays, or the number of features, may have been changed since they were checked.
    _check_shape(np.shape(mean), "input_mean", n0)
    _check_shape(np.shape(scale), "input_scale", n0)
    kind = dtype_of_folding(dtype, data_dtype)
    with np.errstate(over="ignore", under="ignore"):
        each = np.array(np.broadcast_to(scale, n0), kind)
        shift = -np.multiply(mean, each, dtype=np.float64)
        moved = shift.astype(kind)
        rounded = moved if kind == dtype else shift.astype(dtype)
    if not np.isfinite(rounded).all():
        raise ValueError(f"input_mean * input_scale must be finite in {dtype}")
    return each, moved


# Kept for numbers: making the arrays takes as long as a prediction for one picture.
_of_numbers = functools.lru_cache(maxsize=8)(_make)


def warn_of_pixels(X: Array, scale: float | Array, *, stacklevel: int) -> bool:
    """Say so if X are bytes as large as pixels are, and nothing makes them smaller: whether."""
    if X.dtype != np.uint8 or not isinstance(scale, int | float) or scale != 1:
        return False
    largest = int(X[:: -(-len(X) // _ROWS_OF_SAMPLE)].max())
    if largest <= _LARGE_BYTE:
        return False
    warnings.warn(
        f"X holds bytes up to {largest}, and the network's input_scale is 1: a layer that saturates"
        " hardly learns from them, and others diverge; for pixels give the network"
        " input_scale=1/255 (and input_mean)",
        UserWarning,
        stacklevel=stacklevel + 1,
    )
    return True
