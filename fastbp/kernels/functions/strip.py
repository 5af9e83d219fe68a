"""A strip of a matrix, as the regions of functions are told of it, and what it is part of.

A function works on rows x columns elements at ``c``, in place, while they lie in the cache. What it
reads and writes beside them lies in other matrices of the same shape, with rows ``ld`` apart:
``other``, ``second`` and ``third`` point to the element that belongs to c[0, 0], or are 0. ``bias``
has an element for each column. All are addresses of the type of the network.
"""

from __future__ import annotations

from typing import NamedTuple

from numba import int64

from fastbp.kernels.compile.jit import jit

__all__ = ["NO_DROPOUT", "Dropout", "Strip", "no_dropout", "part_of"]


class Dropout(NamedTuple):
    """Which elements are dropped: those whose 32 random bits are below ``threshold``.

    The bits of element (i, j) follow from ``key`` and number + i * row + j * column, see
    `simd.random`.
    """

    key: int
    threshold: int
    number: int
    row: int
    column: int


class Strip(NamedTuple):
    """See the module. ``code`` is that of the function."""

    code: int
    c: int
    ldc: int
    rows: int
    columns: int
    bias: int
    other: int
    second: int
    third: int
    ld: int
    dropout: Dropout
    numbers: int  # address of float64, see `functions.optimizers`


NO_DROPOUT = Dropout(0, 0, 0, 0, 0)


@jit
def no_dropout():
    """Nothing is dropped."""
    zero = int64(0)
    return Dropout(zero, zero, zero, zero, zero)


@jit
def _moved(address, elements, itemsize):
    return address + elements * itemsize if address != 0 else address


@jit
def part_of(whole, c, ldc, row, rows, column, columns, itemsize):
    """Rows ``row`` ... and columns ``column`` ... of a strip; what is to be done to them lies at c.

    ``c`` is an address.
    """
    at = row * whole.ld + column
    drop = whole.dropout
    return Strip(
        whole.code, c, ldc, rows, columns, _moved(whole.bias, column, itemsize),
        _moved(whole.other, at, itemsize), _moved(whole.second, at, itemsize),
        _moved(whole.third, at, itemsize), whole.ld,
        Dropout(
            drop.key, drop.threshold, drop.number + row * drop.row + column * drop.column, drop.row,
            drop.column,
        ),
        whole.numbers,
    )  # fmt: skip
