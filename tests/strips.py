"""Regions of functions, called by address with words that Python writes."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from fastbp.kernels.compile.calls import struct_format
from fastbp.kernels.functions import layers
from fastbp.kernels.functions.activations import ACTIVATION_CODES
from fastbp.kernels.functions.strip import NO_DROPOUT, Dropout, Strip

Array = npt.NDArray[Any]


def _flat(value: Any) -> Iterator[Any]:
    if isinstance(value, tuple):
        for part in value:
            yield from _flat(part)
    else:
        yield value


def words_of(job: Any) -> npt.NDArray[np.int64]:
    """A named tuple as the words that compiled code reads."""

    packed = struct.pack(f"={struct_format(type(job))}", *_flat(job))
    return np.frombuffer(packed, np.int64).copy()


def address(array: Array | None) -> int:
    return 0 if array is None else array.ctypes.data


def words_of_strip(c: Array, **told: Any) -> npt.NDArray[np.int64]:
    """What the region is told of the matrix c; ``told`` are fields of `Strip`."""
    rows, columns = c.shape
    strip = Strip(
        **dict.fromkeys(("code", "bias", "other", "second", "third", "ld", "numbers"), 0),
        c=address(c),
        ldc=c.strides[0] // c.itemsize,
        rows=rows,
        columns=columns,
        dropout=NO_DROPOUT,
    )
    return words_of(strip._replace(**told))


def _run(what: int, c: Array, **told: Any) -> None:
    words = words_of_strip(c, **told)
    layers.regions[str(c.dtype)].serial(address(words), what)


def forward(
    name: str,
    c: Array,
    bias: Array | None = None,
    second: Array | None = None,
    dropout: Dropout = NO_DROPOUT,
) -> None:
    """c <- g(c + bias), and ``second`` <- the slope; both times dropout."""
    ld = 0 if second is None else second.strides[0] // second.itemsize
    _run(
        layers.FORWARD,
        c,
        code=ACTIVATION_CODES[name],
        bias=address(bias),
        second=address(second),
        ld=ld,
        dropout=dropout,
    )


def back(name: str, c: Array, activation: Array | None = None, slope: Array | None = None) -> None:
    """c <- c * slope: the one that is given, or the one that follows from the activation."""
    beside = slope if activation is None else activation
    assert beside is not None
    _run(
        layers.BACK,
        c,
        code=ACTIVATION_CODES[name],
        other=address(activation),
        second=address(slope),
        ld=beside.strides[0] // beside.itemsize,
    )


def values(name: str, x: Array) -> Array:
    """A function of each element of a vector."""
    c = x[None].copy()
    forward(name, c)
    return c[0]


def slopes(name: str, x: Array) -> Array:
    """The slope at each x, of functions whose slope is stored."""
    c = x[None].copy()
    second = np.empty_like(c)
    forward(name, c, second=second)
    return second[0]


def slopes_from(name: str, activation: Array) -> Array:
    """The slope that follows from each activation."""
    c = np.ones_like(activation[None])
    back(name, c, activation=activation[None])
    return c[0]
