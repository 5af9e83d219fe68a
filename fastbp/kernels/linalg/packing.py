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

from collections import namedtuple
from typing import Any

from llvmlite import ir
from numba import float32, float64, int64, uint8
from numba.core import types
from numba.extending import intrinsic

from fastbp.kernels.compile.jit import jit
from fastbp.kernels.linalg.operand import (
    FLOAT32,
    UINT8,
    matrix,
    tile_constant,
    transposed,
)
from fastbp.kernels.simd.ir import convert, vector_load, vector_store
from fastbp.kernels.simd.vectors import (
    address_of,
    folded_element,
    folding_pointer,
    lanes_of,
    load,
    load_folded,
    load_part,
    moved,
    pointer,
    store,
    vector_of,
    zeros,
)

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

Block = namedtuple("Block", ["row", "rows", "column", "columns"])
"""A block of an operand: rows row ... row + rows, columns column ... column + columns."""


@intrinsic
def _transpose(typingctx: Any, src: Any, src_step: Any, dst: Any, dst_step: Any, dtype: Any) -> Any:
    """Write the transpose of a lanes x lanes block: dst[i, p] = src[p, i], rows ``*_step`` apart.

    The 2 x 2 blocks of side s change places for s = 1, 2, 4 ...: lanes / 2 * log2(lanes) pairs of
    two-operand shuffles, each one instruction.
    """
    target = vector_of(dtype.instance_type)

    def codegen(ctx: Any, builder: Any, sig: Any, args: Any) -> Any:
        source, source_step, destination, destination_step, _ = args
        lanes = target.lanes
        word = ir.IntType(64)
        raw = ir.VectorType(ctx.get_value_type(src.dtype), lanes)
        rows = []
        for p in range(lanes):
            address = builder.gep(source, [builder.mul(source_step, word(p))])
            loaded = vector_load(builder, address, raw)
            rows.append(convert(builder, loaded, ctx.get_value_type(target)))
        side = 1
        while side < lanes:
            low = [i if i & side == 0 else lanes + i - side for i in range(lanes)]
            high = [i + side if i & side == 0 else lanes + i for i in range(lanes)]
            kind = ir.VectorType(ir.IntType(32), lanes)
            for i in range(lanes):
                if i & side == 0:
                    a, b = rows[i], rows[i + side]
                    rows[i] = builder.shuffle_vector(a, b, ir.Constant(kind, low))
                    rows[i + side] = builder.shuffle_vector(a, b, ir.Constant(kind, high))
            side *= 2
        for i in range(lanes):
            address = builder.gep(destination, [builder.mul(destination_step, word(i))])
            vector_store(builder, rows[i], address)
        return ctx.get_dummy_value()

    return types.void(src, types.int64, dst, types.int64, dtype), codegen


@jit
def _copy_row(dst, src, shift, scale, folded, j0, count, dtype):
    """dst[:count] = src[:count], columns j0 and on; shifted and scaled if ``folded``.

    dst is written up to a full vector, with zeros.
    """
    lanes = lanes_of(dtype)
    whole = count // lanes * lanes
    if folded:
        for j in range(0, whole, lanes):
            store(dst, j, load_folded(src, j, shift, scale, j0 + j, None, dtype))
        if whole < count:
            rest = load_folded(src, whole, shift, scale, j0 + whole, count - whole, dtype)
            store(dst, whole, rest)
    else:
        for j in range(0, whole, lanes):
            store(dst, j, load(src, j, dtype))
        if whole < count:
            store(dst, whole, load_part(src, whole, count - whole, dtype))


@jit
def _copy_elements(dst, dst_row, dst_column, src, operand, i0, rows, j0, columns, dtype):
    """The general case, element by element: dst[i, j] = operand[i0 + i, j0 + j]."""
    index = pointer(operand.index, int64)
    shift = folding_pointer(operand.shift, src, dtype)
    scale = folding_pointer(operand.scale, src, dtype)
    for i in range(rows):
        row = index[i0 + i] if operand.index != 0 else i0 + i
        for j in range(columns):
            at = row * operand.row + (j0 + j) * operand.column
            if operand.shift != 0:
                x = folded_element(src, at, shift, scale, j0 + j, dtype)
            else:
                x = dtype(src[at])
            dst[i * dst_row + j * dst_column] = x


@jit
def _copy_rows(dst, step, src, operand, i0, rows, k0, k, dtype):
    lanes = lanes_of(dtype)
    folded = operand.shift != 0
    if operand.column == 1:
        index = pointer(operand.index, int64)
        shift = folding_pointer(operand.shift, src, dtype)
        scale = folding_pointer(operand.scale, src, dtype)
        for i in range(rows):
            row = index[i0 + i] if operand.index != 0 else i0 + i
            line = moved(src, row * operand.row + k0)
            _copy_row(moved(dst, i * step), line, shift, scale, folded, k0, k, dtype)
    elif operand.row == 1 and operand.index == 0 and not folded:
        whole_rows = rows // lanes * lanes
        whole_k = k // lanes * lanes
        for i in range(0, whole_rows, lanes):
            for p in range(0, whole_k, lanes):
                block = moved(src, (i0 + i) + (k0 + p) * operand.column)
                _transpose(block, operand.column, moved(dst, i * step + p), step, dtype)
        _copy_elements(
            moved(dst, whole_k), step, 1, src, operand, i0, whole_rows, k0 + whole_k,
            k - whole_k, dtype,
        )  # fmt: skip
        _copy_elements(
            moved(dst, whole_rows * step), step, 1, src, operand, i0 + whole_rows,
            rows - whole_rows, k0, k, dtype,
        )  # fmt: skip
    else:
        _copy_elements(dst, step, 1, src, operand, i0, rows, k0, k, dtype)


@jit
def _pack_b(dst, nr, src, operand, k0, k, j0, columns, dtype):
    lanes = lanes_of(dtype)
    folded = operand.shift != 0
    if operand.column == 1:
        index = pointer(operand.index, int64)
        shift = folding_pointer(operand.shift, src, dtype)
        scale = folding_pointer(operand.scale, src, dtype)
        for p in range(k):
            row = index[k0 + p] if operand.index != 0 else k0 + p
            line = moved(src, row * operand.row + j0)
            _copy_row(moved(dst, p * nr), line, shift, scale, folded, j0, columns, dtype)
    elif operand.row == 1 and operand.index == 0 and not folded:
        whole_k = k // lanes * lanes
        whole_columns = columns // lanes * lanes
        for j in range(0, whole_columns, lanes):
            for p in range(0, whole_k, lanes):
                block = moved(src, (k0 + p) + (j0 + j) * operand.column)
                _transpose(block, operand.column, moved(dst, p * nr + j), nr, dtype)
        if whole_columns < columns:
            _clear(moved(dst, whole_columns), nr, k, dtype)
        _copy_elements(
            moved(dst, whole_k * nr), nr, 1, src, operand, k0 + whole_k, k - whole_k, j0,
            whole_columns, dtype,
        )  # fmt: skip
        _copy_elements(
            moved(dst, whole_columns), nr, 1, src, operand, k0, k, j0 + whole_columns,
            columns - whole_columns, dtype,
        )  # fmt: skip
    else:
        if columns < nr:
            _clear(moved(dst, columns // lanes * lanes), nr, k, dtype)
        _copy_elements(dst, nr, 1, src, operand, k0, k, j0, columns, dtype)


@jit
def _clear(dst, step, rows, dtype):
    """Zero one vector at the head of each row, so that the edge of a panel adds nothing."""
    for i in range(rows):
        store(dst, i * step, zeros(dtype))


@jit
def copy_rows(dst, step, operand, i0, rows, k0, k, dtype):
    """Copy rows i0 ... i0 + rows, columns k0 ... k0 + k of the operand to rows ``step`` apart.

    A row is written up to a whole vector, with zeros; rows are written in order.
    """
    if operand.dtype == UINT8:
        _copy_rows(dst, step, pointer(operand.address, uint8), operand, i0, rows, k0, k, dtype)
    elif operand.dtype == FLOAT32:
        _copy_rows(dst, step, pointer(operand.address, float32), operand, i0, rows, k0, k, dtype)
    else:
        _copy_rows(dst, step, pointer(operand.address, float64), operand, i0, rows, k0, k, dtype)


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
    return contiguous and operand.index == 0 and operand.shift == 0


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
def _pack_panels(dst, nr, most, operand, k0, k, j0, columns, dtype):
    """Pack rows k0 ... k0 + k, columns j0 ... j0 + columns of the operand as panels.

    A panel has rows of nr elements, the first ``most`` of which hold columns. The rest of the last
    vector that the columns begin is zeroed.
    """
    for j in range(0, columns, most):
        to = moved(dst, j // most * nr * k)
        at = j0 + j
        width = min(most, columns - j)
        if operand.dtype == UINT8:
            _pack_b(to, nr, pointer(operand.address, uint8), operand, k0, k, at, width, dtype)
        elif operand.dtype == FLOAT32:
            _pack_b(to, nr, pointer(operand.address, float32), operand, k0, k, at, width, dtype)
        else:
            _pack_b(to, nr, pointer(operand.address, float64), operand, k0, k, at, width, dtype)


@jit
def pack_a(dst, pitch, operand, block, dtype):
    """Pack a block of A: block.rows * pitch elements, or whole panels."""
    if pitch != 0:
        copy_rows(dst, pitch, operand, block.row, block.rows, block.column, block.columns, dtype)
    else:
        pw = tile_constant(dtype, "pw")
        _pack_panels(
            dst, pw, pw, transposed(operand), block.column, block.columns, block.row, block.rows,
            dtype,
        )  # fmt: skip


@jit
def is_along_k(operand, turned):
    """Whether B's elements follow each other along k, so that packing has to transpose them.

    ``turned`` as in `pack_b`.
    """
    plain = operand.index == 0 and operand.shift == 0
    return operand.row == 1 and operand.column != 1 and (plain or turned)


@jit
def pack_columns(dst, operand, block, first, top, deep, turned, spare, dtype):
    """Pack a vector's lanes of columns, ``first`` and on, of a block of B that `is_along_k`.

    Of the block's rows those from ``top`` to ``top + deep``. ``dst`` is where the block goes;
    ``first`` is a multiple of the lanes; the rest as in `pack_b`.
    """
    kc = tile_constant(dtype, "kc")
    nr = tile_constant(dtype, "nr")
    most = panel_columns(block.columns, dtype)
    columns = min(lanes_of(dtype), block.columns - first)
    source, row, column = operand, block.row + top, block.column + first
    if operand.index != 0 or operand.shift != 0:
        copy_rows(spare, kc, transposed(operand), column, columns, row, deep, dtype)
        source = matrix(address_of(spare), int64(1), kc, dtype)
        row = column = int64(0)
    to = moved(dst, first // most * nr * block.rows + first % most + top * nr)
    _pack_panels(to, nr, most, source, row, deep, column, columns, dtype)


@jit
def pack_b(dst, operand, block, turned, spare, dtype):
    """Pack a block of B in whole panels.

    ``turned`` says that the operand was `transposed`, and that its matrix has contiguous rows if it
    is gathered or folded; ``spare`` takes lanes * kc elements, for such rows.
    """
    if is_along_k(operand, turned):
        for first in range(0, block.columns, lanes_of(dtype)):
            pack_columns(dst, operand, block, first, int64(0), block.rows, turned, spare, dtype)
    else:
        nr = tile_constant(dtype, "nr")
        most = panel_columns(block.columns, dtype)
        _pack_panels(
            dst, nr, most, operand, block.row, block.rows, block.column, block.columns, dtype
        )
