"""The micro-kernel: one register tile of a matrix product, emitted as LLVM instructions.

Contract of ``tile_product(a, a_row, a_column, b, k, c, ldc, alpha, beta, moves, rows, vectors)``:

* computes C <- beta * C + alpha * A B for a tile of C, ``rows`` x ``vectors`` registers wide;
* ``a`` points to the tile's first row in a packed block of A: element (i, p) lies at
  a[i * a_row + p * a_column]; ``b`` points to a packed panel of B: row p begins at b[p * nr],
  nr = nv * lanes, and the kernel reads its first ``vectors`` registers;
* ``c`` points to C's first element; row i begins at c[i * ldc], columns are contiguous. Nothing
  needs more alignment than one element. C must not overlap the panels;
* beta = 0 means that C is not read, so it may hold anything, NaN included;
* ``moves`` have nothing to do with the tile (see `interleave`); those that are due are made in
  the
  turns of the loop, UNROLL steps of k each;
* k >= 0; the sum over k runs in order, one fused multiply-add for each step, in each element, so
  the bits do not depend on the tile that an element fell into.

The accumulators are phi nodes of the loop over k, which LLVM keeps in registers; nothing is left
to its vectoriser. An element of A is broadcast from memory, which AVX-512 does inside the
multiply-add and AVX2 with one load.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic

from fastbp.kernels.compile import machine
from fastbp.kernels.linalg.interleave import Moves, emit_move, pause_of
from fastbp.kernels.simd.ir import (
    bytes_of,
    emit_loop,
    emit_prefetch,
    row_starts,
    rows_from,
    vector_fma,
    vector_load,
    vector_splat,
    vector_store,
)

__all__ = ["UNROLL", "tile_product"]

UNROLL = 4  # steps of k in one turn of the loop; the tile ran as fast with 2 and with 8
_PACE_BITS = 2  # a row of C is prefetched in every fourth turn; every eighth did as well
_TO_LEVEL_1 = 3  # LLVM's degree of locality
_WORD = ir.IntType(64)


class _Tile:
    """Emits the instructions of one tile; the accumulators are a flat list, row by row."""

    def __init__(self, builder: ir.IRBuilder, args: list[ir.Value], rows: int, vectors: int):
        self.builder = builder
        self.a, self.a_row, self.a_column, self.b, self.k, self.c, self.ldc, *others = args
        self.alpha, self.beta, moves = others
        fields = range(len(Moves._fields))
        self.moves = Moves(*(builder.extract_value(moves, i) for i in fields))
        self.rows, self.vectors = rows, vectors
        element = self.a.type.pointee
        itemsize = 4 if isinstance(element, ir.FloatType) else 8
        self.shape = machine.tiles(itemsize)
        self.kind = ir.VectorType(element, self.shape.lanes)

    def loop_over_k(self, start: ir.Value, stop: ir.Value, unroll: int, state: list[Any]) -> list:
        """Emit ``for p in range(start, stop, unroll)`` around ``unroll`` rank-1 updates.

        The state are pointers to rows of A (see `row_starts`) and to one of B, and the sums.
        """

        def body(p: ir.Value, state: list[Any]) -> list[Any]:
            if unroll > 1:
                self.make_what_is_due(self.builder.lshr(p, _WORD(UNROLL.bit_length() - 1)))
            for _ in range(unroll):
                state = self.rank_one_update(state)
            return state

        return emit_loop(self.builder, start, stop, unroll, state, body)

    def make_what_is_due(self, turn: ir.Value) -> None:
        """Emit the request for a row of C and the move of a turn, if one of them may be due.

        One question in most turns: what a core decodes is what it lacks while its other half works
        for somebody else.
        """
        builder = self.builder
        pauses = builder.icmp_unsigned("==", builder.and_(turn, self.pause), self.pause)
        with builder.if_then(pauses):
            self.request_in_turn(turn)
            most = max(self.shape.nv, self.shape.pw // self.shape.lanes)
            emit_move(builder, self.moves, turn, self.kind, most)

    def rank_one_update(self, state: list[Any]) -> list[Any]:
        """Emit sums += A[:, p] B[p, :], and go on to the next p."""
        builder, lanes = self.builder, self.shape.lanes
        count = len(state) - self.rows * self.vectors - 1
        starts, row, sums = state[:count], state[count], state[count + 1 :]
        columns = [
            vector_load(builder, builder.gep(row, [_WORD(v * lanes)]), self.kind)
            for v in range(self.vectors)
        ]
        updated = []
        element = self.kind.element
        addresses = rows_from(builder, starts, self.row_bytes, self.rows, element)
        for i, address in enumerate(addresses):
            factor = vector_splat(builder, builder.load(address), self.kind)
            for v in range(self.vectors):
                acc = sums[i * self.vectors + v]
                updated.append(vector_fma(builder, factor, columns[v], acc))
        starts = [builder.gep(start, [self.column_bytes]) for start in starts]
        return [*starts, builder.gep(row, [_WORD(self.shape.nr)]), *updated]

    def apply_epilogue(self, sums: list[Any]) -> None:
        """Emit C <- beta * C + alpha * sums, with a branch that leaves C unread if beta is 0."""
        builder = self.builder
        alpha = vector_splat(builder, self.alpha, self.kind)
        zero = ir.Constant(self.beta.type, 0.0)
        keep = builder.fcmp_unordered("!=", self.beta, zero)
        with builder.if_else(keep) as (accumulate, overwrite):
            with accumulate:
                beta = vector_splat(builder, self.beta, self.kind)
                for address, value in self.targets(sums):
                    old = builder.fmul(beta, vector_load(builder, address, self.kind))
                    vector_store(builder, vector_fma(builder, alpha, value, old), address)
            with overwrite:
                for address, value in self.targets(sums):
                    vector_store(builder, builder.fmul(alpha, value), address)

    def targets(self, sums: list[Any]) -> Any:
        builder = self.builder
        for i in range(self.rows):
            row = builder.gep(self.c, [builder.mul(self.ldc, _WORD(i))])
            for v in range(self.vectors):
                address = builder.gep(row, [_WORD(v * self.shape.lanes)])
                yield address, sums[i * self.vectors + v]

    def request_row(self, i: ir.Value) -> None:
        """Emit the requests for the lines of row i of C, those in which its vectors end.

        A row that does not begin where a line does begins in one that the tile before it ended in.
        """
        builder = self.builder
        row = builder.gep(self.c, [builder.mul(self.ldc, i)])
        for v in range(self.vectors):
            address = builder.gep(row, [_WORD((v + 1) * self.shape.lanes - 1)])
            emit_prefetch(builder, address, _TO_LEVEL_1)

    def request_in_turn(self, turn: ir.Value) -> None:
        """Emit the requests for one row of C, if that is due in this turn; see `emit`."""
        builder = self.builder
        row = builder.lshr(turn, self.pace_bits)
        on_time = builder.icmp_unsigned("==", builder.and_(turn, self.row_pause), self.row_pause)
        left = builder.icmp_signed("<", row, _WORD(self.rows))
        with builder.if_then(builder.and_(on_time, left)):
            self.request_row(row)

    def emit(self) -> None:
        """Emit the tile: C's lines are prefetched row by row, before the sums are done.

        Prefetched all at once, they would take every place that the level-1 cache has for lines to
        come, and the panels would wait behind them for as long as memory takes: on AMD's Zen 5
        blocks whose C lies in memory ran at 244 GFLOP/s of 256 that way, and at 253 row by row.
        """
        builder = self.builder
        turns = builder.lshr(self.k, _WORD(UNROLL.bit_length() - 1))
        slowly = builder.icmp_signed(">=", turns, _WORD(self.rows << _PACE_BITS))
        self.pace_bits = builder.select(slowly, _WORD(_PACE_BITS), _WORD(0))
        # Turns whose number ends with these bits set are those in which something is due.
        self.row_pause = builder.select(slowly, _WORD((1 << _PACE_BITS) - 1), _WORD(0))
        self.pause = builder.and_(self.row_pause, pause_of(builder, self.moves))
        with builder.if_then(builder.icmp_signed("<", turns, _WORD(self.rows))):
            for i in range(self.rows):
                self.request_row(_WORD(i))
        zero = ir.Constant(self.kind, [0.0] * self.kind.count)
        sums: list[Any] = [zero] * (self.rows * self.vectors)
        itemsize = bytes_of(self.kind.element)
        self.row_bytes = builder.mul(self.a_row, _WORD(itemsize))
        self.column_bytes = builder.mul(self.a_column, _WORD(itemsize))
        starts = row_starts(builder, self.a, self.row_bytes, self.rows)
        state = [*starts, self.b, *sums]
        whole = builder.and_(self.k, _WORD(-UNROLL))
        state = self.loop_over_k(_WORD(0), whole, UNROLL, state)
        state = self.loop_over_k(whole, self.k, 1, state)
        sums = state[len(starts) + 1 :]
        self.apply_epilogue(sums)


@intrinsic
def tile_product(
    typingctx: Any,
    a: Any,
    a_row: Any,
    a_column: Any,
    b: Any,
    k: Any,
    c: Any,
    ldc: Any,
    alpha: Any,
    beta: Any,
    moves: Any,
    rows: Any,
    vectors: Any,
) -> Any:
    """``tile_product(...)``: see the module.

    ``rows`` is a multiple of row_step up to mr, ``vectors`` is 1 ... nv: a switch picks the code.
    """
    shape = machine.tiles(c.dtype.bitwidth // 8)

    def codegen(ctx: Any, builder: Any, sig: Any, args: Any) -> Any:
        *operands, row_count, vector_count = args
        key = builder.add(builder.mul(row_count, _WORD(shape.nv + 1)), vector_count)
        after = builder.append_basic_block("tile.end")
        choose = builder.switch(key, after)
        for tile_rows in range(shape.row_step, shape.mr + 1, shape.row_step):
            for tile_vectors in range(1, shape.nv + 1):
                block = builder.append_basic_block("tile")
                choose.add_case(_WORD(tile_rows * (shape.nv + 1) + tile_vectors), block)
                builder.position_at_end(block)
                _Tile(builder, operands, tile_rows, tile_vectors).emit()
                builder.branch(after)
        builder.position_at_end(after)
        return ctx.get_dummy_value()

    word = types.int64
    signature = types.void(a, word, word, b, word, c, word, c.dtype, c.dtype, moves, word, word)
    return signature, codegen
