"""The regions that read operands: blocks of them go through here on their way to be packed.

Bytes, floats of the other width, and rows that are shifted and scaled on the way (the folded
preprocessing of the input) are converted as they are packed. There is a region for each type, so
that only those are compiled that are read.
"""

from __future__ import annotations

from typing import NamedTuple

from numba import float32, float64, int64, uint8

from fastbp.kernels.compile.calls import words_at
from fastbp.kernels.compile.jit import jit, region
from fastbp.kernels.linalg.copying import clear, copy_from, panel_from
from fastbp.kernels.linalg.operand import Operand
from fastbp.kernels.simd.folding import folded_element, folding_pointer, load_folded
from fastbp.kernels.simd.vectors import (
    lanes_of,
    moved,
    pointer,
    store,
)

__all__ = ["READ_PANEL", "READ_ROWS", "Reading", "copies", "readers"]

READ_ROWS, READ_PANEL = 0, 1  # what the region's second argument asks for


class Reading(NamedTuple):
    """What is read: rows first ... first + rows, columns column ... column + columns."""

    operand: Operand
    target: int  # where to; rows of elements of the product, `step` of them apart
    step: int
    first: int
    rows: int
    column: int
    columns: int


@jit
def _folded_row(dst, src, shift, scale, j0, count, dtype):
    """dst[:count] = src[:count] * scale[j0:] + shift[j0:], and zeros up to a full vector."""
    lanes = lanes_of(dtype)
    whole = count // lanes * lanes
    for j in range(0, whole, lanes):
        store(dst, j, load_folded(src, j, shift, scale, j0 + j, None, dtype))
    if whole < count:
        rest = load_folded(src, whole, shift, scale, j0 + whole, count - whole, dtype)
        store(dst, whole, rest)


@jit
def _fold_from(src, dst, step, operand, i0, rows, j0, columns, dtype):
    """Rows of an operand with a shift."""
    index = pointer(operand.row_numbers, int64)
    shift = folding_pointer(operand.shift, src, dtype)
    scale = folding_pointer(operand.scale, src, dtype)
    for i in range(rows):
        row = index[i0 + i] if operand.row_numbers != 0 else i0 + i
        target = moved(dst, i * step)
        if operand.column == 1:
            line = moved(src, row * operand.row + j0)
            _folded_row(target, line, shift, scale, j0, columns, dtype)
        else:
            for j in range(columns):
                at = row * operand.row + (j0 + j) * operand.column
                target[j] = folded_element(src, at, shift, scale, j0 + j, dtype)


@jit
def _read_plain(src, it, what, dtype):
    """An operand without a shift."""
    dst = pointer(it.target, dtype)
    if what == READ_PANEL:
        panel_from(src, dst, it.step, it.operand, it.first, it.rows, it.column, it.columns, dtype)
    else:
        copy_from(src, dst, it.step, it.operand, it.first, it.rows, it.column, it.columns, dtype)


@jit
def _plain(context, what, source, dtype):
    it = words_at(context, Reading)
    _read_plain(pointer(it.operand.address, source), it, what, dtype)


@jit
def _any(context, what, source, dtype):
    it = words_at(context, Reading)
    src = pointer(it.operand.address, source)
    if it.operand.shift == 0:
        _read_plain(src, it, what, dtype)
        return
    dst = pointer(it.target, dtype)
    if what == READ_PANEL and it.operand.column != 1 and it.columns < it.step:
        lanes = lanes_of(dtype)
        clear(moved(dst, it.columns // lanes * lanes), it.step, it.rows, dtype)
    _fold_from(src, dst, it.step, it.operand, it.first, it.rows, it.column, it.columns, dtype)


@region
def _copy_float32(context: int, worker: int) -> None:
    _plain(context, worker, float32, float32)


@region
def _copy_float64(context: int, worker: int) -> None:
    _plain(context, worker, float64, float64)


@region
def _float32_of_float32(context: int, worker: int) -> None:
    _any(context, worker, float32, float32)


@region
def _float32_of_float64(context: int, worker: int) -> None:
    _any(context, worker, float64, float32)


@region
def _float32_of_uint8(context: int, worker: int) -> None:
    _any(context, worker, uint8, float32)


@region
def _float64_of_float32(context: int, worker: int) -> None:
    _any(context, worker, float32, float64)


@region
def _float64_of_float64(context: int, worker: int) -> None:
    _any(context, worker, float64, float64)


@region
def _float64_of_uint8(context: int, worker: int) -> None:
    _any(context, worker, uint8, float64)


copies = {"float32": _copy_float32, "float64": _copy_float64}
"""The region for operands of the product's own dtype that are not folded."""

readers = {
    ("float32", "float32"): _float32_of_float32,
    ("float32", "float64"): _float32_of_float64,
    ("float32", "uint8"): _float32_of_uint8,
    ("float64", "float32"): _float64_of_float32,
    ("float64", "float64"): _float64_of_float64,
    ("float64", "uint8"): _float64_of_uint8,
}
"""The region for all others, by dtypes of product and operand; of the product's: if folded."""
