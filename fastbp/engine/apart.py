"""Arrays that training changes in place lie apart from each other and from the data."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, NoReturn

import numpy as np
import numpy.typing as npt
from numpy.lib.array_utils import byte_bounds

from fastbp.engine.memory import address_of
from fastbp.parameters import name_of

__all__ = ["check_apart"]

Array = npt.NDArray[Any]


def check_apart(arrays: Sequence[Array], addresses: Sequence[int], X: Array, y: Array) -> None:
    """That `fit` changes nothing but one parameter where it changes one, or say what is wrong.

    Parameters
    ----------
    arrays : list of ndarray
        As `check_parameters` gives them, `in_place`.
    addresses : list of int
        Where they lie.
    X, y : ndarray
        What is trained on.
    """
    layers = len(arrays) // 2
    spans = [(start, start + arrays[i].nbytes, i) for i, start in enumerate(addresses)]
    spans.sort()
    for (_, end, i), (following, _, j) in pairwise(spans):
        if end > following:
            first, second = sorted((i, j))
            _refuse_shared(name_of(first, layers), name_of(second, layers))
    for data, data_name in ((X, "X"), (y, "y")):
        low, high = _span(data)
        for start, end, i in spans:
            if start < high and low < end and np.shares_memory(arrays[i], data):
                _refuse_shared(name_of(i, layers), data_name)


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
