"""Moves: packing the next block while the micro-kernel multiplies the present one.

Packing a block in one go keeps the multiply-add units waiting twice: for the block's lines to come
from memory, and for the stores to drain, behind which every later store queues. So the block's
rows, as they lie in memory, are written down as a list of moves, which the micro-kernel runs in
turns of its loop over k. A move moves a row to its place in the block, widening and folding it
on the way, and prefetches the lines that a move some places later will read.

Moves move whole vectors of contiguous rows: of A or B, or of A's transpose. For other blocks they
only fetch lines, so that the packing that follows finds them near; see `is_direct`, and
`macrokernel` for blocks of B that have to be transposed. The twin of a product so made is
`tests.twins.interleaved_product`.
"""

from __future__ import annotations

from collections import namedtuple
from typing import NamedTuple

from llvmlite import ir
from numba import int64, uint8

from fastbp.kernels.compile.jit import jit
from fastbp.kernels.linalg.operand import (
    UINT8,
    Operand,
    code_of,
    item_bytes,
    tile_constant,
    transposed,
)
from fastbp.kernels.linalg.packing import Block, panel_columns
from fastbp.kernels.simd.ir import (
    convert,
    emit_loop,
    emit_prefetch,
    vector_fma,
    vector_load,
    vector_store,
)
from fastbp.kernels.simd.vectors import fma, lanes_of, load, moved, pointer, store

__all__ = [
    "Moves",
    "NextBlock",
    "after_tile",
    "emit_move",
    "is_direct",
    "list_bytes",
    "pause_of",
    "requests",
    "run",
    "write",
]

_COPY, _FOLD, _FETCH = 0, 1, 2

_LEAD = 3
"""Moves between asking for lines and reading them, for most rows: 2 to 6 were alike on AMD's Zen
5, and 12 took 2 to 3 % longer with bytes that are folded, and with A's long rows."""

_LEAD_OF_ROWS_OF_B = 12
"""The same for floats of B that may come from memory, a dozen lines of each row: the product of
(128, 1024) by (1024, 12288) ran at 0.86 of the peak instead of 0.80 with 3, 0.84 with 6 or 16."""

_LONGEST = 12
"""Vectors of a row of A that are one move, if the row can be halved until it has no more: rows of
24 lines, moved whole, held up the product of (1024, 12288) by (12288, 128) by 4 % on Zen 5."""

_MOST_PACE_BITS = 5
"""A move in 32 turns at the least. Lines wait in the cache for some moves, and rows 3 * 2^14
bytes apart share so few of its sets that they must not wait long."""

_TO_LEVEL_1 = 3
"""LLVM's degree of locality of the lines prefetched. On AVX-512 Xeons level 2 is as good; on AMD's
Zen 4 its prefetch instruction is so slow that the product of (128, 1024) by (1024, 12288) ran at
0.61 of the peak with it, 0.73 with none, and 0.80 with lines prefetched into level 1."""

_LINE = 64
_WORD = ir.IntType(64)


class NextBlock(NamedTuple):
    """A block that is packed next, to the address ``target``.

    Of A (see `packing` for its pitch) or else of B (see `pack_b` for turned). It has no rows or
    columns if there is none. If the target is 0, its lines are only prefetched.
    """

    is_a: int
    pitch: int
    operand: Operand
    turned: int
    block: Block
    target: int


Moves = namedtuple(
    "Moves",
    ["list", "count", "lead", "pace_bits", "kind", "vectors", "width", "target", "step", "apart",
     "shift", "scale"],
)  # fmt: skip
"""The addresses of the rows from the next move on, and how many are left; how many moves ahead
lines are prefetched; the logarithm of the turns from one move to the next; copy, fold or fetch;
vectors (or lines to fetch) of a row; vectors of a piece of it; the address that the next row goes
to; the distances in bytes from there to the row after it, and to the row's next piece; the
addresses of the shift and the scale of a row."""


def list_bytes(most: int) -> int:
    """Bytes of a list of ``most`` moves, and of those that are prefetched behind them."""
    return 8 * (most + _LEAD_OF_ROWS_OF_B)


def pause_of(builder: ir.IRBuilder, moves: Moves) -> ir.Value:
    """Emit the bits with which the numbers of all turns end that have a move."""
    return builder.sub(builder.shl(_WORD(1), moves.pace_bits), _WORD(1))


def emit_move(
    builder: ir.IRBuilder, moves: Moves, turn: ir.Value, kind: ir.VectorType, most: int
) -> None:
    """Emit the move of a turn, if one is due: pieces have up to ``most`` vectors of ``kind``."""
    number = builder.lshr(turn, moves.pace_bits)
    next_turn = builder.add(turn, _WORD(1))
    due = builder.icmp_signed("!=", builder.lshr(next_turn, moves.pace_bits), number)
    left = builder.icmp_signed("<", number, moves.count)
    with builder.if_then(builder.and_(due, left)):
        row = builder.load(builder.gep(moves.list, [number]))
        later = builder.load(builder.gep(moves.list, [builder.add(number, moves.lead)]))
        target = builder.add(moves.target, builder.mul(number, moves.step))
        fetches = builder.icmp_signed("==", moves.kind, _WORD(_FETCH))
        folds = builder.icmp_signed("==", moves.kind, _WORD(_FOLD))
        with builder.if_else(fetches) as (only_lines, values):
            with only_lines:
                _emit_requests(builder, moves, row)
            with values, builder.if_else(folds) as (pixels, floats):
                with pixels:
                    _emit_row(builder, moves, row, later, target, kind, most, True)
                with floats:
                    _emit_row(builder, moves, row, later, target, kind, most, False)


def _emit_requests(builder: ir.IRBuilder, moves: Moves, row: ir.Value) -> None:
    """Emit the requests for all lines of a row."""
    end = builder.add(row, builder.mul(moves.vectors, _WORD(_LINE)))
    byte = ir.IntType(8).as_pointer()

    def body(address: ir.Value, carried: list[ir.Value]) -> list[ir.Value]:
        emit_prefetch(builder, builder.inttoptr(address, byte), _TO_LEVEL_1)
        return carried

    emit_loop(builder, row, end, _LINE, [], body)


def _emit_row(
    builder: ir.IRBuilder,
    moves: Moves,
    row: ir.Value,
    later: ir.Value,
    target: ir.Value,
    kind: ir.VectorType,
    most: int,
    folds: bool,
) -> None:
    """Emit the moves of a row to ``target``, and the requests for the lines of a later one."""
    element = kind.element.as_pointer()
    raw = ir.VectorType(ir.IntType(8), kind.count) if folds else kind
    target_bytes = kind.count * (4 if isinstance(kind.element, ir.FloatType) else 8)
    source_bytes = kind.count if folds else target_bytes

    def at(base: ir.Value, offset: ir.Value | int, to: ir.Type) -> ir.Value:
        moved = builder.add(base, _WORD(offset) if isinstance(offset, int) else offset)
        return builder.inttoptr(moved, to)

    def move(v: int, first: ir.Value, target: ir.Value) -> None:
        source = builder.add(builder.mul(first, _WORD(source_bytes)), _WORD(v * source_bytes))
        value = vector_load(builder, at(row, source, raw.element.as_pointer()), raw)
        if folds:
            place = builder.add(builder.mul(first, _WORD(target_bytes)), _WORD(v * target_bytes))
            shift, scale = (
                vector_load(builder, at(base, place, element), kind)
                for base in (moves.shift, moves.scale)
            )
            value = vector_fma(builder, convert(builder, value, kind), scale, shift)
        vector_store(builder, value, at(target, v * target_bytes, element))
        if v == 0 or not folds:  # a line or two hold the pixels of a piece
            emit_prefetch(builder, at(later, source, element), _TO_LEVEL_1)

    def chain(v: int, first: ir.Value, target: ir.Value, vectors: ir.Value) -> None:
        move(v, first, target)
        if v + 1 < most:
            with builder.if_then(builder.icmp_signed(">", vectors, _WORD(v + 1))):
                chain(v + 1, first, target, vectors)

    def piece(_: ir.Value, carried: list[ir.Value]) -> list[ir.Value]:
        first, target = carried
        left = builder.sub(moves.vectors, first)
        whole = builder.icmp_signed("<", moves.width, left)
        chain(0, first, target, builder.select(whole, moves.width, left))
        return [builder.add(first, moves.width), builder.add(target, moves.apart)]

    pieces = builder.udiv(
        builder.add(moves.vectors, builder.sub(moves.width, _WORD(1))), moves.width
    )
    emit_loop(builder, _WORD(0), pieces, 1, [_WORD(0), target], piece)


@jit
def is_direct(next_block, dtype):
    """Whether moves do all of the packing of a block."""
    operand = next_block.operand
    block = next_block.block
    lanes = lanes_of(dtype)
    if next_block.target == 0:
        return False
    same = operand.dtype == code_of(dtype) and operand.shift == 0
    if next_block.is_a and next_block.pitch == 0:
        return same and operand.row == 1 and block.rows % lanes == 0
    pixels = operand.dtype == UINT8 and operand.shift != 0
    return operand.column == 1 and block.columns % lanes == 0 and (same or pixels)


@jit
def _list_rows(rows, operand, block, cuts, lead):
    """Write the addresses of the block's rows, each cut into ``cuts``; return how many.

    The last one is written again for those that are prefetched behind it.
    """
    index = pointer(operand.row_numbers, int64)
    itemsize = item_bytes(operand)
    share = block.columns // cuts * itemsize
    address = int64(0)
    count = int64(0)
    for i in range(block.rows):
        row = index[block.row + i] if operand.row_numbers != 0 else block.row + i
        address = operand.address + (row * operand.row + block.column) * itemsize
        for _ in range(cuts):
            rows[count] = address
            address += share
            count += 1
    for i in range(count, count + lead):
        rows[i] = address - share
    return count


@jit
def _pace_bits(count, turns):
    """The logarithm of the turns from one move to the next, if ``count`` share ``turns``."""
    bits = int64(0)
    while bits < _MOST_PACE_BITS and count << (bits + 1) <= turns:
        bits += 1
    return bits


@jit
def requests(rows, turns, operand, block, dtype):
    """Write moves that prefetch the lines of a block, as many as the list holds.

    The lines are prefetched along whichever dimension is contiguous; if neither is, none.
    """
    zero = int64(0)
    if operand.column != 1:
        operand = transposed(operand)
        block = Block(block.column, block.columns, block.row, block.rows)
    listed = tile_constant(dtype, "a_block") // lanes_of(dtype) if operand.column == 1 else zero
    block = Block(block.row, min(block.rows, listed), block.column, block.columns)
    lines = (block.columns * item_bytes(operand) + 2 * (_LINE - 1)) // _LINE
    count = _list_rows(rows, operand, block, int64(1), zero)
    return Moves(
        rows, count, zero, _pace_bits(count, turns), int64(_FETCH), lines, int64(1), zero, zero,
        zero, zero, zero,
    )  # fmt: skip


@jit
def write(rows, turns, next_block, dtype):
    """Write the moves of a block, to be made in ``turns`` turns.

    Nothing is read beyond the lines of the block.
    """
    if not is_direct(next_block, dtype):
        return requests(rows, turns, next_block.operand, next_block.block, dtype)
    operand = next_block.operand
    block = next_block.block
    lanes = lanes_of(dtype)
    nbytes = tile_constant(dtype, "itemsize")
    step = tile_constant(dtype, "nr")
    apart = block.rows * step
    width = panel_columns(block.columns, dtype) // lanes
    shift = scale = int64(0)
    kind = int64(_COPY)
    if next_block.is_a:
        step = next_block.pitch
        width = tile_constant(dtype, "nv")
        apart = width * lanes
        if next_block.pitch == 0:
            operand = transposed(operand)
            block = Block(block.column, block.columns, block.row, block.rows)
            step = tile_constant(dtype, "pw")
            width = step // lanes
            apart = block.rows * step
    vectors = block.columns // lanes
    if operand.shift != 0:
        kind = int64(_FOLD)
        shift = operand.shift + block.column * nbytes
        scale = operand.scale + block.column * nbytes
    cuts = int64(1)
    if next_block.is_a and kind == _COPY and step == block.columns:
        while vectors > _LONGEST and vectors % 2 == 0:
            cuts *= 2
            vectors //= 2
            step //= 2
    lead = int64(_LEAD if next_block.is_a or kind == _FOLD else _LEAD_OF_ROWS_OF_B)
    count = _list_rows(rows, operand, block, cuts, lead)
    return Moves(
        rows, count, lead, _pace_bits(count, turns), kind, vectors, width,
        next_block.target, step * nbytes, apart * nbytes, shift, scale,
    )  # fmt: skip


@jit
def after_tile(moves, turns):
    """What is left of the moves after a tile of ``turns`` turns."""
    made = min(turns >> moves.pace_bits, moves.count)
    return Moves(
        moved(moves.list, made), moves.count - made, moves.lead, moves.pace_bits,
        moves.kind, moves.vectors, moves.width, moves.target + made * moves.step,
        moves.step, moves.apart, moves.shift, moves.scale,
    )  # fmt: skip


@jit
def run(moves, dtype):
    """Make the moves that are left over, outside the micro-kernel."""
    lanes = lanes_of(dtype)
    itemsize = tile_constant(dtype, "itemsize")
    if moves.kind == _FETCH:
        return
    for n in range(moves.count):
        row = moves.list[n]
        target = moves.target + n * moves.step
        for v in range(moves.vectors):
            piece = v // moves.width
            to = target + piece * moves.apart + (v - piece * moves.width) * lanes * itemsize
            if moves.kind == _FOLD:
                pixels = load(pointer(row, uint8), v * lanes, dtype)
                scale = load(pointer(moves.scale, dtype), v * lanes, dtype)
                shift = load(pointer(moves.shift, dtype), v * lanes, dtype)
                store(pointer(to, dtype), 0, fma(pixels, scale, shift))
            else:
                store(pointer(to, dtype), 0, load(pointer(row, dtype), v * lanes, dtype))
