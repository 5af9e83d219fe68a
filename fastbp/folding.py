"""The preprocessing of the input, (X - mean) * scale, as the kernels see it: X * scale + shift."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["check_folding", "scale_and_shift"]

Array = npt.NDArray[Any]


def check_folding(
    value: npt.ArrayLike, name: str, n_features: int, dtype: np.dtype[Any]
) -> float | Array:
    """A mean or scale as it is kept, a number or one for each feature; or say what is wrong."""
    array = np.asarray(value)
    if array.dtype.kind not in "biuf":
        raise TypeError(f"{name} must hold real numbers, got dtype {array.dtype}")
    _check_shape(array.shape, name, n_features)
    with np.errstate(over="ignore"):
        rounded = np.array(array, dtype=dtype)
    if not np.isfinite(rounded).all():
        raise ValueError(f"{name} must be finite in {dtype}")
    return float(array) if array.ndim == 0 else rounded


def _check_shape(shape: tuple[int, ...], name: str, n_features: int) -> None:
    if shape not in ((), (n_features,)):
        raise ValueError(
            f"{name} must be a number or have one value for each of the {n_features} features,"
            f" got shape {shape}"
        )


def scale_and_shift(
    mean: float | Array, scale: float | Array, n0: int, dtype: np.dtype[Any]
) -> tuple[Array, Array] | None:
    """Scale and shift of each of `n0` features, of `dtype`; None if they would change nothing."""
    if isinstance(mean, int | float) and isinstance(scale, int | float):
        if mean == 0.0 and scale == 1.0:
            return None
        return _of_numbers(float(mean), float(scale), n0, dtype)
    return _make(mean, scale, n0, dtype)


def _make(
    mean: float | Array, scale: float | Array, n0: int, dtype: np.dtype[Any]
) -> tuple[Array, Array]:
    # The arrays, or the number of features, may have been changed since they were checked.
    _check_shape(np.shape(mean), "input_mean", n0)
    _check_shape(np.shape(scale), "input_scale", n0)
    shift = -np.multiply(np.asarray(mean, dtype), np.asarray(scale, dtype), dtype=np.float64)
    each = np.array(np.broadcast_to(scale, n0), dtype)
    with np.errstate(over="ignore"):
        moved = np.array(np.broadcast_to(shift, n0), dtype)
    if not np.isfinite(moved).all():
        raise ValueError(f"input_mean * input_scale must be finite in {dtype}")
    return each, moved


# Kept for numbers: making the arrays takes as long as a prediction for one picture.
_of_numbers = functools.lru_cache(maxsize=8)(_make)
