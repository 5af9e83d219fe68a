"""What a network is made of, checked: sizes, dtype, seed, weights and biases."""

from __future__ import annotations

import functools
import operator
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any, NoReturn

import numpy as np
import numpy.typing as npt
from numpy.lib.array_utils import byte_bounds

from fastbp.engine.memory import address_of

__all__ = ["check_apart", "check_dtype", "check_parameters", "check_seed", "check_sizes"]

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
def _shapes(sizes: tuple[int, ...]) -> list[tuple[int, ...]]:
    """Shapes of the weights and then of the biases."""
    weights: list[tuple[int, ...]] = [(b, a) for a, b in pairwise(sizes)]
    return weights + [(n,) for n in sizes[1:]]


def check_parameters(
    weights: Sequence[Array],
    biases: Sequence[Array],
    sizes: tuple[int, ...],
    dtype: np.dtype[Any],
    *,
    in_place: bool = False,
) -> list[Array]:
    """The weights and then the biases, as compiled code reads them; or say what is wrong.

    Users may put other arrays into a network at any time, and freeze, resize or turn those that
    are there. What is returned is what was checked, whatever becomes of the lists meanwhile.

    Parameters
    ----------
    weights, biases : list of ndarray
    sizes : tuple of int
        What their shapes follow from.
    dtype : dtype
        float32 or float64.
    in_place : bool, default False
        Whether compiled code is to change the arrays. Otherwise those that it cannot read where
        they lie, as they are not contiguous, say, are copied.

    Raises
    ------
    TypeError
        If one of them is no NumPy array, or a masked one.
    ValueError
        If their number, a shape or a dtype is wrong, or, `in_place`, one of them is read-only, not
        C-contiguous, not aligned or not in the machine's byte order.
    """
    layers = len(sizes) - 1
    if not (isinstance(weights, list) and isinstance(biases, list)):
        weights, biases = _listed(weights, "weights"), _listed(biases, "biases")
    arrays = [*weights, *biases]
    if len(weights) != layers or len(arrays) != 2 * layers:
        raise ValueError(
            f"weights and biases must have {layers} arrays each, got {len(weights)} and"
            f" {len(biases)}"
        )
    for i, (array, shape) in enumerate(zip(arrays, _shapes(sizes), strict=True)):
        if (
            type(array) is not np.ndarray
            or array.shape != shape
            or array.dtype != dtype
            or not array.flags.carray
        ):
            arrays[i] = _usable(array, _name(i, layers), shape, dtype, in_place)
    return arrays


def _listed(arrays: Any, kind: str) -> list[Any]:
    if not isinstance(arrays, Iterable):
        raise TypeError(f"{kind} must be a list of arrays, got {type(arrays).__name__}")
    return [*arrays]


def _name(i: int, layers: int) -> str:
    """What users call the array that `check_parameters` has at ``i``."""
    return f"weights[{i}]" if i < layers else f"biases[{i - layers}]"


def _usable(
    array: Any, name: str, shape: tuple[int, ...], dtype: np.dtype[Any], in_place: bool
) -> Array:
    """``array``, or a copy if compiled code could not read it where it lies; or what is wrong."""
    if not isinstance(array, np.ndarray) or isinstance(array, np.ma.MaskedArray):
        raise TypeError(f"{name} must be a numpy.ndarray, got {type(array).__name__}")
    if array.shape != shape or array.dtype.newbyteorder("=") != dtype:
        raise ValueError(
            f"{name} must be a {dtype} array of shape {shape},"
            f" got {array.dtype} of shape {array.shape}"
        )
    flags = array.flags
    faults = [
        fault
        for fault, found in (
            ("C-contiguous", not flags.c_contiguous),
            ("aligned", not flags.aligned),
            ("in the machine's byte order", array.dtype != dtype),
            ("writable", in_place and not flags.writeable),
        )
        if found
    ]
    if not faults:
        return array
    if in_place:
        raise ValueError(
            f"{name} is not {' or '.join(faults)}, and fit changes it in place: assign a copy,"
            f" such as numpy.array(network.{name}, numpy.{dtype}, order='C')"
        )
    return np.array(array, dtype, order="C")


def check_apart(arrays: Sequence[Array], X: Array, y: Array) -> None:
    """That `fit` changes nothing but one parameter where it changes one, or say what is wrong.

    Parameters
    ----------
    arrays : list of ndarray
        As `check_parameters` gives them, `in_place`.
    X, y : ndarray
        What is trained on.
    """
    layers = len(arrays) // 2
    spans = [(*_span(array), i) for i, array in enumerate(arrays)]
    spans.sort()
    for (_, end, i), (following, _, j) in pairwise(spans):
        if end > following:
            first, second = sorted((i, j))
            _refuse_shared(_name(first, layers), _name(second, layers))
    for data, data_name in ((X, "X"), (y, "y")):
        low, high = _span(data)
        for start, end, i in spans:
            if start < high and low < end and np.shares_memory(arrays[i], data):
                _refuse_shared(_name(i, layers), data_name)


def _span(array: Array) -> tuple[int, int]:
    """Where the array's memory begins and ends, in a sixth of the time of ``byte_bounds``."""
    if array.flags.c_contiguous:
        start = address_of(array)
        return start, start + array.nbytes
    return byte_bounds(array)


def _refuse_shared(name: str, other: str) -> NoReturn:
    raise ValueError(
        f"{name} shares memory with {other}, and fit changes it in place: assign a copy, such as"
        f" network.{name}.copy()"
    )
