"""Errands: packing the next block while the micro-kernel multiplies the present one.

Packing a block in one go keeps the multiply-add units waiting twice: for the block's lines to come
from memory, and for the stores to drain, behind which every later store queues. So the packing is
written down as a list of errands, which the micro-kernel runs in turns of its loop over k. An
errand moves a few adjacent vectors from the matrix to their place in the block, widening and
folding them on the way, and asks for the lines that the errand `_LEAD` places later will read. They
go along the matrix's rows, across the panels of a block of B: memory is read best in long pieces.

Errands move whole vectors of contiguous rows. For other blocks they only fetch lines, so that the
packing that follows finds them near; see `is_direct`.
"""

from __future__ import annotations

from collections import namedtuple
from collections.abc import Callable

from llvmlite import ir
from numba import int64, uint8

from fastbp.kernels.emit import convert, emit_prefetch, vector_fma, vector_load, vector_store
from fastbp.kernels.jit import jit
from fastbp.kernels.packing import UINT8, Block, code_of, item_bytes, tile_constant, transposed
from fastbp.kernels.vectors import address_of, fma, lanes_of, load, moved, pointer, store

__all__ = [
    "Coming",
    "Errands",
    "after_tile",
    "emit_errand",
    "is_direct",
    "list_bytes",
    "run",
    "write",
]

_WORDS = 4  # of an errand: address to read, address to write, vectors, bytes to its shift and scale
_LEAD = 6
"""Errands between asking for lines and reading them. Products ran alike with 3 to 24 on a Xeon, and
1 to 14 % slower with 3 or 12 on Zen 4."""

_MOST_PACE_BITS = 3
"""An errand in 8 turns at the least. Lines wait in the cache for _LEAD errands, and rows 3 * 2^14
bytes apart share so few of its sets that they must not wait long: with 64 the product of
(1024, 1024) by (1024, 12288) took 1 to 3 % more time."""

_TO_LEVEL_1 = 3
"""LLVM's degree of locality of the lines asked for. On AVX-512 Xeons level 2 is as good; on AMD's
Zen 4 its prefetch instruction is so slow that the product of (128, 1024) by (1024, 12288) ran at
0.61 of the peak with it, 0.73 with none, and 0.80 with lines asked for into level 1."""

_LINE = 64
_WORD = ir.IntType(64)

Coming = namedtuple("Coming", ["is_a", "operand", "block"])
"""The block that is packed next, a block of A or else of B; it has no rows if there is none."""

Errands = namedtuple("Errands", ["table", "count", "pace_bits", "folded", "shift", "scale"])
"""The list from the next errand on, and how many are left; the logarithm of the turns from one to
the next; whether they turn bytes into (byte * scale + shift), and the addresses of shift and scale
for column 0."""


def list_bytes(most: int) -> int:
    """Bytes of a list of ``most`` errands, and of the idle ones behind them."""
    return 8 * _WORDS * (most + _LEAD)


def emit_errand(
    builder: ir.IRBuilder, errands: Errands, turn: ir.Value, kind: ir.VectorType, most: int
) -> None:
    """Emit the errand of a turn, if one is due: it moves up to ``most`` vectors of ``kind``."""
    number = builder.lshr(turn, errands.pace_bits)
    on_time = builder.icmp_signed("==", builder.shl(number, errands.pace_bits), turn)
    left = builder.icmp_signed("<", number, errands.count)
    with builder.if_then(builder.and_(on_time, left)):
        entry = builder.gep(errands.table, [builder.mul(number, _WORD(_WORDS))])
        _emit_moves(builder, errands, entry, kind, most)


def _emit_moves(
    builder: ir.IRBuilder, errands: Errands, entry: ir.Value, kind: ir.VectorType, most: int
) -> None:
    """Emit the moves of the errand at ``entry``, and the requests for the lines of a later one."""
    element = kind.element.as_pointer()
    raw = ir.VectorType(ir.IntType(8), kind.count)
    nbytes = kind.count * (4 if isinstance(kind.element, ir.FloatType) else 8)

    def word(number: int) -> ir.Value:
        return builder.load(builder.gep(entry, [_WORD(number)]))

    def at(base: ir.Value, offset: int, to: ir.Type) -> ir.Value:
        return builder.inttoptr(builder.add(base, _WORD(offset)), to)

    source, target, vectors, ahead = word(0), word(1), word(2), word(_WORDS * _LEAD)

    def copy(v: int) -> None:
        moved = vector_load(builder, at(source, v * nbytes, element), kind)
        vector_store(builder, moved, at(target, v * nbytes, element))
        emit_prefetch(builder, at(ahead, v * nbytes, element), _TO_LEVEL_1)

    def fold(v: int) -> None:
        pixels = vector_load(builder, at(source, v * kind.count, raw.element.as_pointer()), raw)
        offset = word(3)
        shift, scale = (
            vector_load(builder, at(builder.add(base, offset), v * nbytes, element), kind)
            for base in (errands.shift, errands.scale)
        )
        folded = vector_fma(builder, convert(builder, pixels, kind), scale, shift)
        vector_store(builder, folded, at(target, v * nbytes, element))
        if v == 0:  # one or two lines hold the pixels of an errand, and the next one asks again
            emit_prefetch(builder, at(ahead, 0, element), _TO_LEVEL_1)

    def chain(move: Callable[[int], None], v: int) -> None:
        move(v)
        if v + 1 < most:
            with builder.if_then(builder.icmp_signed(">", vectors, _WORD(v + 1))):
                chain(move, v + 1)

    with builder.if_else(errands.folded) as (pixels, values):
        with pixels:
            chain(fold, 0)
        with values:
            chain(copy, 0)


@jit
def is_direct(coming, dtype):
    """Whether errands do all of the packing of a block."""
    operand = coming.operand
    same = operand.dtype == code_of(dtype) and operand.shift == 0
    pixels = operand.dtype == UINT8 and operand.shift != 0
    whole = coming.block.columns % lanes_of(dtype) == 0
    return operand.column == 1 and whole and (same or pixels)


@jit
def _write_line(table, count, begin, to, offset, vectors, step, dtype):
    """Write the errands of a line of ``vectors``, ``step`` bytes each; return the new count."""
    nv = tile_constant(dtype, "nv")
    each = lanes_of(dtype) * tile_constant(dtype, "itemsize")
    for v in range(0, vectors, nv):
        table[_WORDS * count] = begin + v * step
        table[_WORDS * count + 1] = to + v * each
        table[_WORDS * count + 2] = min(nv, vectors - v)
        table[_WORDS * count + 3] = offset + v * each
        count += 1
    return count


@jit
def write(table, there, dump, turns, coming, dtype):
    """Write the errands of a block that goes to ``there``, to be made in ``turns`` turns.

    ``dump`` is the address of nv vectors that nobody reads: errands that only fetch lines write
    them there. Nothing is read beyond the lines of the block.
    """
    operand = coming.operand
    block = coming.block
    lanes = lanes_of(dtype)
    nbytes = tile_constant(dtype, "itemsize")
    most = tile_constant(dtype, "own") // lanes
    itemsize = item_bytes(operand)
    index = pointer(operand.index, int64)
    direct = is_direct(coming, dtype)
    count = int64(0)
    if direct:
        step = tile_constant(dtype, "kc") if coming.is_a else tile_constant(dtype, "nr")
        width = block.columns if coming.is_a else step
        apart = block.rows * step * nbytes  # from a panel to the next; a block of A has but one
        for i in range(block.rows):
            row = index[block.row + i] if operand.index != 0 else block.row + i
            begin = operand.address + (row * operand.row + block.column) * itemsize
            to = address_of(there) + i * step * nbytes
            for j in range(0, block.columns, width):
                vectors = min(width, block.columns - j) // lanes
                offset = (block.column + j) * nbytes
                count = _write_line(
                    table, count, begin + j * itemsize, to, offset, vectors, lanes * itemsize, dtype
                )
                to += apart
    else:  # the lines, along whichever dimension is contiguous
        across = operand.column != 1
        if across:
            operand = transposed(operand)
            block = Block(block.column, block.columns, block.row, block.rows)
        if operand.column == 1:
            step = tile_constant(dtype, "nv") * lanes * nbytes
            for i in range(block.rows):
                row = index[block.row + i] if operand.index != 0 else block.row + i
                begin = operand.address + (row * operand.row + block.column) * itemsize
                line = begin & -_LINE
                end = (begin + block.columns * itemsize + _LINE - 1) & -_LINE
                while line < end and count < most:
                    table[_WORDS * count] = line
                    table[_WORDS * count + 1] = dump
                    table[_WORDS * count + 2] = min(step, end - line) // (lanes * nbytes)
                    count += 1
                    line += step
    for n in range(count, count + _LEAD):
        table[_WORDS * n] = dump
    pace_bits = int64(0)
    while pace_bits < _MOST_PACE_BITS and count << (pace_bits + 1) <= turns:
        pace_bits += 1
    folded = direct and operand.shift != 0
    return Errands(table, count, pace_bits, folded, operand.shift, operand.scale)


@jit
def after_tile(errands, turns):
    """What is left of the errands after a tile of ``turns`` turns."""
    made = min((turns + (int64(1) << errands.pace_bits) - 1) >> errands.pace_bits, errands.count)
    return Errands(
        moved(errands.table, made * _WORDS), errands.count - made, errands.pace_bits,
        errands.folded, errands.shift, errands.scale,
    )  # fmt: skip


@jit
def run(errands, dtype):
    """Make the errands that are left over, outside the micro-kernel."""
    lanes = lanes_of(dtype)
    for n in range(errands.count):
        entry = moved(errands.table, n * _WORDS)
        source, target = entry[0], pointer(entry[1], dtype)
        for j in range(0, entry[2] * lanes, lanes):
            if errands.folded:
                pixels = load(pointer(source, uint8), j, dtype)
                scale = load(pointer(errands.scale + entry[3], dtype), j, dtype)
                shift = load(pointer(errands.shift + entry[3], dtype), j, dtype)
                store(target, j, fma(pixels, scale, shift))
            else:
                store(target, j, load(pointer(source, dtype), j, dtype))
