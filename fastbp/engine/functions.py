"""Activations and their slopes on whole matrices, by the code that training calls."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from fastbp.engine.memory import address_of
from fastbp.kernels.compile.calls import struct_format
from fastbp.kernels.functions.activations import ACTIVATION_CODES, STORED_SLOPES
from fastbp.kernels.functions.layers import BACK, FORWARD, regions
from fastbp.kernels.functions.strip import NO_DROPOUT, Strip

__all__ = ["activate", "multiply_by_slope", "stores_slope"]

Array = npt.NDArray[Any]

_FORMAT = struct_format(Strip)


def stores_slope(name: str) -> bool:
    """Whether the slope of an activation follows from the pre-activation alone."""
    return ACTIVATION_CODES[name] in STORED_SLOPES


def activate(z: Array, name: str, slope: Array | None = None) -> None:
    """Z <- g(z), in place; with the slope where `stores_slope` and it is asked for.

    Parameters
    ----------
    z : ndarray of shape (n, m)
        C-contiguous, float32 or float64.
    name : str
        Of the activation, see `fastbp.activations`.
    slope : ndarray like `z`, optional
        Gets g'(z).
    """
    _run(FORWARD, z, name, second=slope)


def multiply_by_slope(
    delta: Array, name: str, activation: Array | None = None, slope: Array | None = None
) -> None:
    """Delta <- delta * g'(z), in place, by one of g(z) and a slope that `activate` has given."""
    _run(BACK, delta, name, other=activation, second=slope)


def _run(
    what: int, c: Array, name: str, *, other: Array | None = None, second: Array | None = None
) -> None:
    rows, columns = c.shape
    if rows == 0:
        return
    strip = Strip(
        code=ACTIVATION_CODES[name],
        c=address_of(c),
        ldc=columns,
        rows=rows,
        columns=columns,
        bias=0,
        other=0 if other is None else address_of(other),
        second=0 if second is None else address_of(second),
        third=0,
        ld=columns,
        dropout=NO_DROPOUT,
        numbers=0,
    )
    words = np.frombuffer(struct.pack(_FORMAT, *_flat(strip)), np.int64)
    regions[c.dtype.name].serial(words.ctypes.data, what)


def _flat(value: Any) -> Iterator[Any]:
    for part in value:
        if isinstance(part, tuple):
            yield from _flat(part)
        else:
            yield part
