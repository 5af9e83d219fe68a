"""Packing: copies blocks of the operands into the order in which the micro-kernel reads them.

A packed panel of B holds, for each p, up to nr elements of row p, nr apart; panels follow each
other at nr * k. A packed block of A keeps its rows: row i begins at i * pitch and holds its k
elements in turn. If A's columns are contiguous the block is packed by columns instead, said by
pitch = 0: in panels like B's, with the pw elements of column p for each p. On the way the elements
are converted to the type of the product, gathered (rows of a shuffled batch), and shifted and
scaled (the folded preprocessing of the input), all in registers.

An operand's elements may have any strides. Contiguous rows are copied by vectors; contiguous
columns are transposed in registers, lanes x lanes at a time; anything else goes one by one.
"""

from __future__ import annotations

from typing import NamedTuple

from numba import int64

from fastbp.kernels.compile.calls import call_region, words_of
from fastbp.kernels.compile.jit import jit
from fastbp.kernels.linalg.operand import matrix, tile_constant, transposed
from fastbp.kernels.linalg.reader import READ_PANEL, READ_ROWS, Reading
from fastbp.kernels.simd.vectors import address_of, lanes_of, moved

__all__ = [
    "Block",
    "block_of",
    "copy_rows",
    "is_along_k",
    "is_by_columns",
    "pack_a",
    "pack_b",
    "pack_columns",
    "panel_columns",
    "pitch_of",
    "row_of",
]


class Block(NamedTuple):
    """A block of an operand: rows row ... row + rows, columns column ... column + columns."""

    row: int
    rows: int
    column: int
    columns: int


@jit
def copy_rows(dst, step, operand, i0, rows, k0, k, copy, dtype):
    """Copy rows i0 ... i0 + rows, columns k0 ... k0 + k of the operand to rows ``step`` apart.

    A row is written up to a whole vector, with zeros, if the operand's rows are contiguous; else
    only its elements. Rows are written in order. ``copy`` is the address of the region of `reader`
    for operands that have none of their own.
    """
    region = operand.reader if operand.reader != 0 else copy
    call_region(
        region, words_of(Reading(operand, address_of(dst), step, i0, rows, k0, k)), READ_ROWS
    )


@jit
def block_of(is_a, at, extent, k0, k):
    """The block of A's rows, or of B's columns, ``at`` ... ``at + extent`` and of k0 ... k0 + k."""
    if is_a:
        return Block(at, extent, k0, k)
    return Block(k0, k, at, extent)


@jit
def is_by_columns(operand):
    """Whether blocks of A are packed by columns."""
    contiguous = operand.row == 1 and operand.column != 1
    return contiguous and operand.row_numbers == 0 and operand.shift == 0


@jit
def pitch_of(operand, k, dtype):
    """The pitch of packed blocks of A, at most kc of its k columns at a time; 0 is by columns."""
    lanes = lanes_of(dtype)
    if is_by_columns(operand):
        return int64(0)
    return min(tile_constant(dtype, "kc"), (k + lanes - 1) // lanes * lanes)


@jit
def row_of(a, i, pitch, k, dtype):
    """Row i, the first of a tile, in a packed block of A that is k deep."""
    pw = tile_constant(dtype, "pw")
    if pitch == 0:
        return moved(a, i // pw * pw * k + i % pw)
    return moved(a, i * pitch)


@jit
def panel_columns(columns, dtype):
    """Columns of B that one panel holds, nr at most: alike in all panels, but for whole vectors."""
    nr = tile_constant(dtype, "nr")
    lanes = lanes_of(dtype)
    columns = max(columns, 1)
    panels = (columns + nr - 1) // nr
    return ((columns + panels - 1) // panels + lanes - 1) // lanes * lanes


@jit
def _pack_panels(dst, nr, most, operand, k0, k, j0, columns, copy, dtype):
    """Pack rows k0 ... k0 + k, columns j0 ... j0 + columns of the operand as panels.

    A panel has rows of nr elements, the first ``most`` of which hold columns. The rest of the last
    vector that the columns begin is zeroed.
    """
    region = operand.reader if operand.reader != 0 else copy
    for j in range(0, columns, most):
        to = moved(dst, j // most * nr * k)
        at = j0 + j
        width = min(most, columns - j)
        reading = Reading(operand, address_of(to), nr, k0, k, at, width)
        call_region(region, words_of(reading), READ_PANEL)


@jit
def pack_a(dst, pitch, operand, block, copy, dtype):
    """Pack a block of A: block.rows * pitch elements, or whole panels."""
    if pitch != 0:
        copy_rows(
            dst, pitch, operand, block.row, block.rows, block.column, block.columns, copy, dtype
        )
    else:
        pw = tile_constant(dtype, "pw")
        _pack_panels(
            dst, pw, pw, transposed(operand), block.column, block.columns, block.row, block.rows,
            copy, dtype,
        )  # fmt: skip


@jit
def is_along_k(operand, turned):
    """Whether B's elements follow each other along k, so that packing has to transpose them.

    ``turned`` as in `pack_b`.
    """
    plain = operand.row_numbers == 0 and operand.shift == 0
    return operand.row == 1 and operand.column != 1 and (plain or turned)


@jit
def pack_columns(dst, operand, block, first, top, deep, turned, spare, copy, dtype):
    """Pack a vector's lanes of columns, ``first`` and on, of a block of B that `is_along_k`.

    Of the block's rows those from ``top`` to ``top + deep``. ``dst`` is where the block goes;
    ``first`` is a multiple of the lanes; the rest as in `pack_b`.
    """
    kc = tile_constant(dtype, "kc")
    nr = tile_constant(dtype, "nr")
    most = panel_columns(block.columns, dtype)
    columns = min(lanes_of(dtype), block.columns - first)
    source, row, column = operand, block.row + top, block.column + first
    if operand.row_numbers != 0 or operand.shift != 0:
        copy_rows(spare, kc, transposed(operand), column, columns, row, deep, copy, dtype)
        source = matrix(address_of(spare), int64(1), kc, dtype)
        row = column = int64(0)
    to = moved(dst, first // most * nr * block.rows + first % most + top * nr)
    _pack_panels(to, nr, most, source, row, deep, column, columns, copy, dtype)


@jit
def pack_b(dst, operand, block, turned, spare, copy, dtype):
    """Pack a block of B in whole panels.

    ``turned`` says that the operand was `transposed`, and that its matrix has contiguous rows if it
    is gathered or folded; ``spare`` takes lanes * kc elements, for such rows.
    """
    if is_along_k(operand, turned):
        for first in range(0, block.columns, lanes_of(dtype)):
            pack_columns(
                dst, operand, block, first, int64(0), block.rows, turned, spare, copy, dtype
            )
    else:
        nr = tile_constant(dtype, "nr")
        most = panel_columns(block.columns, dtype)
        _pack_panels(
            dst,
            nr,
            most,
            operand,
            block.row,
            block.rows,
            block.column,
            block.columns,
            copy,
            dtype,
        )
