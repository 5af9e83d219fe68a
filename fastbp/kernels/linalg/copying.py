"""Copying rows of a matrix in memory: gathered, transposed or converted on the way.

Contiguous rows are copied by vectors; contiguous columns are transposed in registers, lanes x lanes
at a time; anything else goes one by one. ``src`` points to the operand's elements, of any type.
Operands with a shift are for `reader`.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import int64
from numba.core import types
from numba.extending import intrinsic

from fastbp.kernels.compile.jit import jit
from fastbp.kernels.simd.ir import convert, vector_load, vector_store
from fastbp.kernels.simd.vectors import (
    lanes_of,
    load,
    load_part,
    moved,
    pointer,
    store,
    vector_of,
    zeros,
)

__all__ = ["clear", "copy_from", "panel_from", "transpose"]


@intrinsic
def transpose(typingctx: Any, src: Any, src_step: Any, dst: Any, dst_step: Any, dtype: Any) -> Any:
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
def _copy_row(dst, src, count, dtype):
    """dst[:count] = src[:count]; dst is written up to a full vector, with zeros."""
    lanes = lanes_of(dtype)
    whole = count // lanes * lanes
    for j in range(0, whole, lanes):
        store(dst, j, load(src, j, dtype))
    if whole < count:
        store(dst, whole, load_part(src, whole, count - whole, dtype))


@jit
def _copy_elements(dst, dst_row, src, operand, i0, rows, j0, columns, dtype):
    """The general case, element by element: dst[i, j] = operand[i0 + i, j0 + j]."""
    index = pointer(operand.row_numbers, int64)
    for i in range(rows):
        row = index[i0 + i] if operand.row_numbers != 0 else i0 + i
        for j in range(columns):
            dst[i * dst_row + j] = dtype(src[row * operand.row + (j0 + j) * operand.column])


@jit
def copy_from(src, dst, step, operand, i0, rows, k0, k, dtype):
    """`packing.copy_rows` of elements of one type."""
    lanes = lanes_of(dtype)
    if operand.column == 1:
        index = pointer(operand.row_numbers, int64)
        for i in range(rows):
            row = index[i0 + i] if operand.row_numbers != 0 else i0 + i
            _copy_row(moved(dst, i * step), moved(src, row * operand.row + k0), k, dtype)
    elif operand.row == 1 and operand.row_numbers == 0:
        whole_rows = rows // lanes * lanes
        whole_k = k // lanes * lanes
        for i in range(0, whole_rows, lanes):
            for p in range(0, whole_k, lanes):
                block = moved(src, (i0 + i) + (k0 + p) * operand.column)
                transpose(block, operand.column, moved(dst, i * step + p), step, dtype)
        _copy_elements(
            moved(dst, whole_k), step, src, operand, i0, whole_rows, k0 + whole_k, k - whole_k,
            dtype,
        )  # fmt: skip
        _copy_elements(
            moved(dst, whole_rows * step), step, src, operand, i0 + whole_rows, rows - whole_rows,
            k0, k, dtype,
        )  # fmt: skip
    else:
        _copy_elements(dst, step, src, operand, i0, rows, k0, k, dtype)


@jit
def panel_from(src, dst, nr, operand, k0, k, j0, columns, dtype):
    """One panel of `packing`'s, of elements of one type: rows of nr elements, zeros at the edge."""
    lanes = lanes_of(dtype)
    if operand.column == 1:
        index = pointer(operand.row_numbers, int64)
        for p in range(k):
            row = index[k0 + p] if operand.row_numbers != 0 else k0 + p
            _copy_row(moved(dst, p * nr), moved(src, row * operand.row + j0), columns, dtype)
    elif operand.row == 1 and operand.row_numbers == 0:
        whole_k = k // lanes * lanes
        whole_columns = columns // lanes * lanes
        for j in range(0, whole_columns, lanes):
            for p in range(0, whole_k, lanes):
                block = moved(src, (k0 + p) + (j0 + j) * operand.column)
                transpose(block, operand.column, moved(dst, p * nr + j), nr, dtype)
        if whole_columns < columns:
            clear(moved(dst, whole_columns), nr, k, dtype)
        _copy_elements(
            moved(dst, whole_k * nr), nr, src, operand, k0 + whole_k, k - whole_k, j0,
            whole_columns, dtype,
        )  # fmt: skip
        _copy_elements(
            moved(dst, whole_columns), nr, src, operand, k0, k, j0 + whole_columns,
            columns - whole_columns, dtype,
        )  # fmt: skip
    else:
        if columns < nr:
            clear(moved(dst, columns // lanes * lanes), nr, k, dtype)
        _copy_elements(dst, nr, src, operand, k0, k, j0, columns, dtype)


@jit
def clear(dst, step, rows, dtype):
    """Zero one vector at the head of each row, so that the edge of a panel adds nothing."""
    for i in range(rows):
        store(dst, i * step, zeros(dtype))
