"""Products of matrices in the cache, none of them packed: a tile of registers at a time.

C[i, j] = first[i, j] + sum of S[i, p] B[p, j] over p in order, one fused multiply-add each. Rows
of B are contiguous, elements of S, which are broadcast, lie at any distances. So the three passes
of a layer are the same code: S is the rows of the batch and B is W^T; or delta and W; or delta^T
and the rows.
"""

from __future__ import annotations

from collections import namedtuple
from typing import Any

from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic

from fastbp.kernels.compile import machine
from fastbp.kernels.compile.jit import jit
from fastbp.kernels.linalg.operand import tile_constant
from fastbp.kernels.simd.ir import (
    emit_loop,
    vector_fma,
    vector_load,
    vector_splat,
    vector_store,
)
from fastbp.kernels.simd.vectors import lanes_of, moved

__all__ = ["Terms", "multiply"]

_WORD = ir.IntType(64)

Terms = namedtuple(
    "Terms", ["s", "s_row", "s_column", "b", "b_row", "k", "first", "first_row", "first_step"]
)
"""What is multiplied, and what the sums begin with: typed pointers, and distances in elements.
``first_step`` is 1, or 0 if the same vectors serve all columns."""


class _Tile:
    """Emits one tile; the sums are a flat list, row by row."""

    def __init__(self, builder: ir.IRBuilder, args: list[Any], rows: int, vectors: int) -> None:
        self.builder = builder
        terms, self.c, self.c_row = args
        self.terms = Terms(*(builder.extract_value(terms, i) for i in range(len(Terms._fields))))
        element = self.c.type.pointee
        itemsize = 4 if isinstance(element, ir.FloatType) else 8
        self.kind = ir.VectorType(element, machine.tiles(itemsize).lanes)
        self.rows, self.vectors = rows, vectors

    def vectors_of(self, start: ir.Value, row: ir.Value, i: int) -> list[ir.Value]:
        """Addresses of row i's vectors."""
        builder = self.builder
        line = builder.gep(start, [builder.mul(row, _WORD(i))])
        lanes = self.kind.count
        return [builder.gep(line, [_WORD(v * lanes)]) for v in range(self.vectors)]

    def add_products(self, p: ir.Value, sums: list[Any]) -> list[Any]:
        """Emit sums += S[:, p] B[p, :]."""
        builder, terms = self.builder, self.terms
        line = builder.gep(terms.b, [builder.mul(p, terms.b_row)])
        lanes = self.kind.count
        columns = [
            vector_load(builder, builder.gep(line, [_WORD(v * lanes)]), self.kind)
            for v in range(self.vectors)
        ]
        scalars = builder.gep(terms.s, [builder.mul(p, terms.s_column)])
        updated = []
        for i in range(self.rows):
            address = builder.gep(scalars, [builder.mul(terms.s_row, _WORD(i))])
            factor = vector_splat(builder, builder.load(address), self.kind)
            for v in range(self.vectors):
                updated.append(vector_fma(builder, factor, columns[v], sums[i * self.vectors + v]))
        return updated

    def emit(self) -> None:
        """Emit the tile."""
        builder, terms = self.builder, self.terms
        sums = [
            vector_load(builder, address, self.kind)
            for i in range(self.rows)
            for address in self.vectors_of(terms.first, terms.first_row, i)
        ]
        sums = emit_loop(builder, _WORD(0), terms.k, 1, sums, self.add_products)
        for i in range(self.rows):
            for v, address in enumerate(self.vectors_of(self.c, self.c_row, i)):
                vector_store(builder, sums[i * self.vectors + v], address)


@intrinsic
def _tile(typingctx: Any, terms: Any, c: Any, c_row: Any, rows: Any, vectors: Any) -> Any:
    """``_tile(terms, c, c_row, rows, vectors)``: a tile of C, of so many rows and vectors.

    ``rows`` is a multiple of row_step up to mr, ``vectors`` is 1 ... nv: a switch picks the code.
    """
    shape = machine.tiles(c.dtype.bitwidth // 8)

    def codegen(ctx: Any, builder: Any, sig: Any, args: Any) -> Any:
        *told, row_count, vector_count = args
        key = builder.add(builder.mul(row_count, _WORD(shape.nv + 1)), vector_count)
        after = builder.append_basic_block("tile.end")
        choose = builder.switch(key, after)
        for rows in range(shape.row_step, shape.mr + 1, shape.row_step):
            for vectors in range(1, shape.nv + 1):
                block = builder.append_basic_block("tile")
                choose.add_case(_WORD(rows * (shape.nv + 1) + vectors), block)
                builder.position_at_end(block)
                _Tile(builder, told, rows, vectors).emit()
                builder.branch(after)
        builder.position_at_end(after)
        return ctx.get_dummy_value()

    word = types.int64
    return types.void(terms, c, word, word, word), codegen


@jit
def multiply(terms, c, c_row, m, n, dtype):
    """C (m, n) <- the sums of `Terms`; both are computed beyond m and n, to the end of a tile.

    Columns are cut into strips of equal width, as wide as a tile may be.
    """
    lanes, nv = lanes_of(dtype), tile_constant(dtype, "nv")
    mr, row_step = tile_constant(dtype, "mr"), tile_constant(dtype, "row_step")
    vectors = (n + lanes - 1) // lanes
    strips = (vectors + nv - 1) // nv
    for strip in range(strips):
        begin = strip * vectors // strips
        width = (strip + 1) * vectors // strips - begin
        j = begin * lanes
        b, start = moved(terms.b, j), moved(terms.first, j * terms.first_step)
        for i in range(0, m, mr):
            rows = min(mr, (m - i + row_step - 1) // row_step * row_step)
            part = Terms(
                moved(terms.s, i * terms.s_row), terms.s_row, terms.s_column, b, terms.b_row,
                terms.k, moved(start, i * terms.first_row), terms.first_row, terms.first_step,
            )  # fmt: skip
            _tile(part, moved(c, i * c_row + j), c_row, rows, width)
