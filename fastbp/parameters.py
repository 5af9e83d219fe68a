"""What a network is made of, checked: sizes, dtype, seed, weights and biases."""

from __future__ import annotations

import functools
import operator
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["check_dtype", "check_parameters", "check_seed", "check_sizes"]

Array = npt.NDArray[Any]


def check_sizes(layer_sizes: Sequence[int]) -> tuple[int, ...]:
    """`layer_sizes` as a tuple of two or more positive numbers."""
    if isinstance(layer_sizes, str | bytes) or not isinstance(layer_sizes, Iterable):
        raise TypeError(f"layer_sizes must be a sequence of integers, got {layer_sizes!r}")
    sizes = []
    for size in layer_sizes:
        if isinstance(size, bool | np.bool_):
            raise TypeError(f"layer_sizes must hold integers, got {size!r}")
        try:
            sizes.append(operator.index(size))
        except TypeError:
            raise TypeError(f"layer_sizes must hold integers, got {size!r}") from None
    if len(sizes) < 2:
        raise ValueError(f"layer_sizes must have at least two entries, got {tuple(sizes)}")
    if min(sizes) < 1:
        raise ValueError(f"layer_sizes must be at least 1, got {tuple(sizes)}")
    return tuple(sizes)


def check_dtype(dtype: npt.DTypeLike) -> np.dtype[Any]:
    """float32 or float64, in the machine's byte order."""
    checked = np.dtype(dtype)
    if checked not in (np.dtype(np.float32), np.dtype(np.float64)):
        raise ValueError(f"dtype must be float32 or float64, got {checked}")
    return checked.newbyteorder("=")


def check_seed(seed: int | None) -> int | None:
    """A non-negative number, or None."""
    if seed is None:
        return None
    if isinstance(seed, bool):
        raise TypeError("seed must be an integer or None, got a bool")
    try:
        value = operator.index(seed)
    except TypeError:
        raise TypeError(f"seed must be an integer or None, got {seed!r}") from None
    if value < 0:
        raise ValueError(f"seed must not be negative, got {value}")
    return value


@functools.cache
def _shapes(sizes: tuple[int, ...]) -> tuple[list[tuple[int, ...]], list[tuple[int, ...]]]:
    """Shapes of the weights and of the biases."""
    return [(b, a) for a, b in pairwise(sizes)], [(n,) for n in sizes[1:]]


def check_parameters(
    weights: list[Array], biases: list[Array], sizes: tuple[int, ...], dtype: np.dtype[Any]
) -> None:
    """Parameters may be replaced by the user; compiled code must not meet other shapes."""
    kinds = zip(("weights", "biases"), (weights, biases), _shapes(sizes), strict=True)
    for kind, arrays, shapes in kinds:
        if len(arrays) != len(shapes):
            raise ValueError(f"{kind} must have {len(shapes)} arrays, got {len(arrays)}")
        for layer, (array, shape) in enumerate(zip(arrays, shapes, strict=True)):
            if array.shape != shape or array.dtype != dtype or not array.flags.carray:
                raise ValueError(
                    f"{kind}[{layer}] must be a writable C-contiguous {dtype} array of"
                    f" shape {shape}"
                )
