"""What happens to a strip of C when its sums are complete, while it lies in the cache.

Contract: C's rows are contiguous and ldc elements apart; columns j0 ... j0 + columns of the whole
product lie at c; ``bias`` is indexed by the column of the whole product; ``other`` points to the
element that belongs to c[0, 0] of a matrix of C's shape, its rows ``ld_other`` apart.
"""

from __future__ import annotations

from collections import namedtuple
from typing import NamedTuple

from numba import float32, float64, int64

from fastbp.kernels.compile.calls import call_region, words_at, words_of
from fastbp.kernels.compile.jit import jit, region
from fastbp.kernels.functions.activations import sigmoid
from fastbp.kernels.functions.strip import Strip, part_of
from fastbp.kernels.linalg.operand import itemsize_of
from fastbp.kernels.simd.vectors import (
    address_of,
    lanes_of,
    load,
    load_part,
    moved,
    pointer,
    splat,
    store,
    store_part,
)

__all__ = [
    "BIAS",
    "BIAS_SIGMOID",
    "CALL",
    "DERIVATIVE",
    "NOTHING",
    "Call",
    "Epilogue",
    "apply_epilogue",
    "regions",
]

NOTHING, BIAS, BIAS_SIGMOID, DERIVATIVE, CALL = 0, 1, 2, 3, 4


class Call(NamedTuple):
    """What CALL finds where ``bias`` points to: a region of functions, and the whole matrix."""

    region: int
    what: int  # what the region is asked to do
    strip: Strip  # of the whole matrix; its c and ldc are of no use


Epilogue = namedtuple("Epilogue", ["kind", "bias", "other", "ld_other"])
"""One of the kinds, and typed pointers to what it reads."""


@jit
def _finish(x, other, kind, dtype):
    """One vector: x is of C, ``other`` the bias or the activation that belongs to it."""
    if kind == BIAS_SIGMOID:
        return sigmoid(x + other, dtype)
    if kind == BIAS:
        return x + other
    return x * (other * (splat(1.0, dtype) - other))


@jit
def _finish_row(row, other, columns, kind, dtype):
    lanes = lanes_of(dtype)
    whole = columns // lanes * lanes
    for j in range(0, whole, lanes):
        store(row, j, _finish(load(row, j, dtype), load(other, j, dtype), kind, dtype))
    if whole < columns:
        rest = columns - whole
        x = load_part(row, whole, rest, dtype)
        y = load_part(other, whole, rest, dtype)
        store_part(row, whole, rest, _finish(x, y, kind, dtype))


class _Strip(NamedTuple):
    """What the region is told: see `apply_epilogue`."""

    kind: int
    c: int
    ldc: int
    rows: int
    column: int
    columns: int
    bias: int
    other: int
    ld_other: int


@jit
def apply_epilogue(kind, c, ldc, rows, j0, columns, bias, other, ld_other, region, dtype):
    """Apply an epilogue to ``rows`` x ``columns`` elements at c, by the region at an address.

    NOTHING        C as it is
    BIAS           C + bias
    BIAS_SIGMOID   sigmoid(C + bias): the forward pass of a layer
    DERIVATIVE     C * a (1 - a), a = other: delta of a sigmoid layer with activation a
    CALL           what a region of functions makes of it: ``bias`` is the address of a `Call`, and
                   ``other`` begins with that of its strip, ``ld_other`` is the strip's ld; it is 0
                   if the region reads and writes nothing beside C but the bias
    """
    if kind != NOTHING:
        strip = _Strip(
            kind, address_of(c), ldc, rows, j0, columns, address_of(bias), address_of(other),
            ld_other,
        )  # fmt: skip
        call_region(region, words_of(strip), 0)


@jit
def _call(it, dtype):
    call = words_at(it.bias, Call)
    itemsize = itemsize_of(dtype)
    row = int64(0)
    if it.ld_other != 0:  # else there are no other matrices, and it does not matter
        row = (it.other - call.strip.other) // (it.ld_other * itemsize)
    strip = part_of(call.strip, it.c, it.ldc, row, it.rows, it.column, it.columns, itemsize)
    call_region(call.region, words_of(strip), call.what)


@jit
def _run(context, dtype):
    it = words_at(context, _Strip)
    if it.kind == CALL:
        _call(it, dtype)
        return
    c, bias, other = pointer(it.c, dtype), pointer(it.bias, dtype), pointer(it.other, dtype)
    for i in range(it.rows):
        from_other = it.kind == DERIVATIVE
        beside = moved(other, i * it.ld_other) if from_other else moved(bias, it.column)
        _finish_row(moved(c, i * it.ldc), beside, it.columns, it.kind, dtype)


@region
def _float32(context: int, worker: int) -> None:
    _run(context, float32)


@region
def _float64(context: int, worker: int) -> None:
    _run(context, float64)


regions = {"float32": _float32, "float64": _float64}
"""The region for each dtype of the product."""
