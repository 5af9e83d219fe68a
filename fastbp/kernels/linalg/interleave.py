"""Errands: packing the next block while the micro-kernel multiplies the present one.

Packing a block in one go keeps the multiply-add units waiting twice: for the block's lines to come
from memory, and for the stores to drain, behind which every later store queues. So the block's
rows, as they lie in memory, are written down as a list of errands, which the micro-kernel runs in
turns of its loop over k. An errand moves a row to its place in the block, widening and folding it
on the way, and asks for the lines that an errand some places later will read.

Errands move whole vectors of contiguous rows: of A or B, or of A's transpose. For other blocks they
only fetch lines, so that the packing that follows finds them near; see `is_direct`, and
`blocks.block_product` for blocks of B that have to be transposed.
"""

from __future__ import annotations

from collections import namedtuple

from llvmlite import ir
from numba import int64, uint8

from fastbp.kernels.compile.jit import jit
from fastbp.kernels.linalg.packing import (
    UINT8,
    Block,
    code_of,
    item_bytes,
    panel_columns,
    tile_constant,
    transposed,
)
from fastbp.kernels.simd.ir import (
    convert,
    emit_loop,
    emit_prefetch,
    vector_fma,
    vector_load,
    vector_store,
)
from fastbp.kernels.simd.vectors import address_of, fma, lanes_of, load, moved, pointer, store

__all__ = [
    "Coming",
    "Errands",
    "after_tile",
    "emit_errand",
    "is_direct",
    "list_bytes",
    "requests",
    "run",
    "write",
]

_COPY, _FOLD, _FETCH = 0, 1, 2

_LEAD = 3
"""Errands between asking for lines and reading them, for most rows: 2 to 6 were alike on AMD's Zen
5, and 12 took 2 to 3 % longer with bytes that are folded, and with A's long rows."""

_LEAD_OF_ROWS_OF_B = 12
"""The same for floats of B that may come from memory, a dozen lines of each row: the product of
(128, 1024) by (1024, 12288) ran at 0.86 of the peak instead of 0.80 with 3, 0.84 with 6 or 16."""

_LONGEST = 12
"""Vectors of a row of A that are one errand, if the row can be halved until it has no more: rows of
24 lines, moved whole, held up the product of (1024, 12288) by (12288, 128) by 4 % on Zen 5."""

_MOST_PACE_BITS = 5
"""An errand in 32 turns at the least. Lines wait in the cache for some errands, and rows 3 * 2^14
bytes apart share so few of its sets that they must not wait long."""

_TO_LEVEL_1 = 3
"""LLVM's degree of locality of the lines asked for. On AVX-512 Xeons level 2 is as good; on AMD's
Zen 4 its prefetch instruction is so slow that the product of (128, 1024) by (1024, 12288) ran at
0.61 of the peak with it, 0.73 with none, and 0.80 with lines asked for into level 1."""

_LINE = 64
_WORD = ir.IntType(64)

Coming = namedtuple("Coming", ["is_a", "pitch", "operand", "turned", "block", "target"])
"""A block that is packed next, into ``target``: of A (see `packing` for its pitch) or else of B
(see `pack_b` for turned). It has no rows or columns if there is none. If the target is null, its
lines are only asked for."""

Errands = namedtuple(
    "Errands",
    ["list", "count", "lead", "pace_bits", "kind", "vectors", "width", "target", "step", "apart",
     "shift", "scale"],
)  # fmt: skip
"""The addresses of the rows from the next errand on, and how many are left; how many errands ahead
lines are asked for; the logarithm of the turns from one errand to the next; copy, fold or fetch;
vectors (or lines to fetch) of a row; vectors of a piece of it; the address that the next row goes
to; the distances in bytes from there to the row after it, and to the row's next piece; the
addresses of the shift and the scale of a row."""


def list_bytes(most: int) -> int:
    """Bytes of a list of ``most`` errands, and of those that are asked for behind them."""
    return 8 * (most + _LEAD_OF_ROWS_OF_B)


def emit_errand(
    builder: ir.IRBuilder, errands: Errands, turn: ir.Value, kind: ir.VectorType, most: int
) -> None:
    """Emit the errand of a turn, if one is due: pieces have up to ``most`` vectors of ``kind``."""
    number = builder.lshr(turn, errands.pace_bits)
    next_turn = builder.add(turn, _WORD(1))
    due = builder.icmp_signed("!=", builder.lshr(next_turn, errands.pace_bits), number)
    left = builder.icmp_signed("<", number, errands.count)
    with builder.if_then(builder.and_(due, left)):
        row = builder.load(builder.gep(errands.list, [number]))
        later = builder.load(builder.gep(errands.list, [builder.add(number, errands.lead)]))
        target = builder.add(errands.target, builder.mul(number, errands.step))
        fetches = builder.icmp_signed("==", errands.kind, _WORD(_FETCH))
        folds = builder.icmp_signed("==", errands.kind, _WORD(_FOLD))
        with builder.if_else(fetches) as (only_lines, values):
            with only_lines:
                _emit_requests(builder, errands, row)
            with values, builder.if_else(folds) as (pixels, floats):
                with pixels:
                    _emit_moves(builder, errands, row, later, target, kind, most, True)
                with floats:
                    _emit_moves(builder, errands, row, later, target, kind, most, False)


def _emit_requests(builder: ir.IRBuilder, errands: Errands, row: ir.Value) -> None:
    """Emit the requests for all lines of a row."""
    end = builder.add(row, builder.mul(errands.vectors, _WORD(_LINE)))
    byte = ir.IntType(8).as_pointer()

    def body(address: ir.Value, carried: list[ir.Value]) -> list[ir.Value]:
        emit_prefetch(builder, builder.inttoptr(address, byte), _TO_LEVEL_1)
        return carried

    emit_loop(builder, row, end, _LINE, [], body)


def _emit_moves(
    builder: ir.IRBuilder,
    errands: Errands,
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
                for base in (errands.shift, errands.scale)
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
        left = builder.sub(errands.vectors, first)
        whole = builder.icmp_signed("<", errands.width, left)
        chain(0, first, target, builder.select(whole, errands.width, left))
        return [builder.add(first, errands.width), builder.add(target, errands.apart)]

    pieces = builder.udiv(
        builder.add(errands.vectors, builder.sub(errands.width, _WORD(1))), errands.width
    )
    emit_loop(builder, _WORD(0), pieces, 1, [_WORD(0), target], piece)


@jit
def is_direct(coming, dtype):
    """Whether errands do all of the packing of a block."""
    operand = coming.operand
    block = coming.block
    lanes = lanes_of(dtype)
    if address_of(coming.target) == 0:
        return False
    same = operand.dtype == code_of(dtype) and operand.shift == 0
    if coming.is_a and coming.pitch == 0:
        return same and operand.row == 1 and block.rows % lanes == 0
    pixels = operand.dtype == UINT8 and operand.shift != 0
    return operand.column == 1 and block.columns % lanes == 0 and (same or pixels)


@jit
def _list_rows(rows, operand, block, cuts, lead):
    """Write the addresses of the block's rows, each cut into ``cuts``; return how many.

    The last one is written again for those that are asked for behind it.
    """
    index = pointer(operand.index, int64)
    itemsize = item_bytes(operand)
    share = block.columns // cuts * itemsize
    address = int64(0)
    count = int64(0)
    for i in range(block.rows):
        row = index[block.row + i] if operand.index != 0 else block.row + i
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
    """The logarithm of the turns from one errand to the next, if ``count`` share ``turns``."""
    bits = int64(0)
    while bits < _MOST_PACE_BITS and count << (bits + 1) <= turns:
        bits += 1
    return bits


@jit
def requests(rows, turns, operand, block, dtype):
    """Write errands that ask for the lines of a block, as many as the list holds.

    The lines are asked for along whichever dimension is contiguous; if neither is, none.
    """
    zero = int64(0)
    if operand.column != 1:
        operand = transposed(operand)
        block = Block(block.column, block.columns, block.row, block.rows)
    listed = tile_constant(dtype, "own") // lanes_of(dtype) if operand.column == 1 else zero
    block = Block(block.row, min(block.rows, listed), block.column, block.columns)
    lines = (block.columns * item_bytes(operand) + 2 * (_LINE - 1)) // _LINE
    count = _list_rows(rows, operand, block, int64(1), zero)
    return Errands(
        rows, count, zero, _pace_bits(count, turns), int64(_FETCH), lines, int64(1), zero, zero,
        zero, zero, zero,
    )  # fmt: skip


@jit
def write(rows, turns, coming, dtype):
    """Write the errands of a block, to be made in ``turns`` turns.

    Nothing is read beyond the lines of the block.
    """
    if not is_direct(coming, dtype):
        return requests(rows, turns, coming.operand, coming.block, dtype)
    operand = coming.operand
    block = coming.block
    lanes = lanes_of(dtype)
    nbytes = tile_constant(dtype, "itemsize")
    step = tile_constant(dtype, "nr")
    apart = block.rows * step
    width = panel_columns(block.columns, dtype) // lanes
    shift = scale = int64(0)
    kind = int64(_COPY)
    if coming.is_a:
        step = coming.pitch
        width = tile_constant(dtype, "nv")
        apart = width * lanes
        if coming.pitch == 0:
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
    if coming.is_a and kind == _COPY and step == block.columns:
        while vectors > _LONGEST and vectors % 2 == 0:
            cuts *= 2
            vectors //= 2
            step //= 2
    lead = int64(_LEAD if coming.is_a or kind == _FOLD else _LEAD_OF_ROWS_OF_B)
    count = _list_rows(rows, operand, block, cuts, lead)
    return Errands(
        rows, count, lead, _pace_bits(count, turns), kind, vectors, width,
        address_of(coming.target), step * nbytes, apart * nbytes, shift, scale,
    )  # fmt: skip


@jit
def after_tile(errands, turns):
    """What is left of the errands after a tile of ``turns`` turns."""
    made = min(turns >> errands.pace_bits, errands.count)
    return Errands(
        moved(errands.list, made), errands.count - made, errands.lead, errands.pace_bits,
        errands.kind, errands.vectors, errands.width, errands.target + made * errands.step,
        errands.step, errands.apart, errands.shift, errands.scale,
    )  # fmt: skip


@jit
def run(errands, dtype):
    """Make the errands that are left over, outside the micro-kernel."""
    lanes = lanes_of(dtype)
    itemsize = tile_constant(dtype, "itemsize")
    if errands.kind == _FETCH:
        return
    for n in range(errands.count):
        row = errands.list[n]
        target = errands.target + n * errands.step
        for v in range(errands.vectors):
            piece = v // errands.width
            to = target + piece * errands.apart + (v - piece * errands.width) * lanes * itemsize
            if errands.kind == _FOLD:
                pixels = load(pointer(row, uint8), v * lanes, dtype)
                scale = load(pointer(errands.scale, dtype), v * lanes, dtype)
                shift = load(pointer(errands.shift, dtype), v * lanes, dtype)
                store(pointer(to, dtype), 0, fma(pixels, scale, shift))
            else:
                store(pointer(to, dtype), 0, load(pointer(row, dtype), v * lanes, dtype))
