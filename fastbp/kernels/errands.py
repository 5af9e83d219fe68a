"""Errands: packing the next block while the micro-kernel multiplies the present one.

Packing a block in one go keeps the multiply-add units waiting twice: for the block's lines to come
from memory, and for the stores to drain, behind which every later store queues. So the packing is
written down as a list of errands, of which the micro-kernel runs one in each turn of its loop over
k: it moves one vector from the matrix to its place in the block, widening and folding it on the
way, and asks for the line that an errand `LEAD` turns later will read.

Errands move whole vectors of contiguous rows. For other blocks they only fetch lines, so that the
packing that follows finds them near; see `is_direct`.
"""

from __future__ import annotations

from collections import namedtuple
from typing import Any

from llvmlite import ir
from numba import int64, uint8

from fastbp.kernels.emit import convert, emit_prefetch, vector_fma, vector_load, vector_store
from fastbp.kernels.jit import jit
from fastbp.kernels.packing import UINT8, Block, code_of, item_bytes, tile_constant, transposed
from fastbp.kernels.vectors import address_of, fma, lanes_of, load, pointer, store

__all__ = [
    "LEAD",
    "WORDS",
    "Coming",
    "Errands",
    "emit_errand",
    "is_direct",
    "list_bytes",
    "run",
    "write",
]

WORDS = 3  # of an errand: address to read, address to write, bytes from shift and scale to its own
LEAD = 24
"""Errands between asking for a line and reading it: some 350 ns of a deep tile. With 12 to 40 the
training products ran alike; with 96 and more that of (128, 1024) by (1024, 12288) lost a fifth:
rows 3 * 2^14 bytes apart share so few sets of the caches that lines are gone before their turn."""

_TO_LEVEL_2 = 2  # LLVM's degree of locality
_LINE = 64
_WORD = ir.IntType(64)

Coming = namedtuple("Coming", ["is_a", "operand", "block"])
"""The block that is packed next, a block of A or else of B; it has no rows if there is none."""

Errands = namedtuple("Errands", ["table", "folded", "shift", "scale"])
"""What the micro-kernel needs to run errands: the list from the next one on; whether they turn
bytes into (byte * scale + shift); the addresses of shift and scale, for column 0."""


def list_bytes(most: int, turns: int) -> int:
    """Bytes of a list of ``most`` errands, and of the idle ones behind them."""
    return 8 * WORDS * (most + turns + LEAD)


def emit_errand(builder: ir.IRBuilder, errands: Any, turn: ir.Value, kind: ir.VectorType) -> None:
    """Emit errand number ``turn`` of the list, for blocks of ``kind`` vectors."""
    entry = builder.gep(errands.table, [builder.mul(turn, _WORD(WORDS))])
    element = kind.element.as_pointer()

    def word(number: int) -> ir.Value:
        return builder.load(builder.gep(entry, [_WORD(number)]))

    source = word(0)
    target = builder.inttoptr(word(1), element)
    with builder.if_else(errands.folded) as (fold, copy):
        with fold:
            raw = ir.VectorType(ir.IntType(8), kind.count)
            pixels = vector_load(builder, builder.inttoptr(source, raw.element.as_pointer()), raw)
            offset = word(2)
            shift, scale = (
                vector_load(builder, builder.inttoptr(builder.add(base, offset), element), kind)
                for base in (errands.shift, errands.scale)
            )
            folded = vector_fma(builder, convert(builder, pixels, kind), scale, shift)
            vector_store(builder, folded, target)
        with copy:
            vector_store(
                builder, vector_load(builder, builder.inttoptr(source, element), kind), target
            )
    emit_prefetch(builder, builder.inttoptr(word(WORDS * LEAD), element), _TO_LEVEL_2)


@jit
def is_direct(coming, dtype):
    """Whether errands do all of the packing of a block."""
    operand = coming.operand
    same = operand.dtype == code_of(dtype) and operand.shift == 0
    pixels = operand.dtype == UINT8 and operand.shift != 0
    whole = coming.block.columns % lanes_of(dtype) == 0
    return operand.column == 1 and whole and (same or pixels)


@jit
def write(table, most, idle, there, dump, coming, dtype):
    """Write the errands of a block that goes to ``there``; return how many, at most ``most``.

    ``dump`` is the address of a vector that nobody reads: errands that only fetch a line write it
    there, and the ``idle`` ones that end the list only rewrite it. Nothing is read beyond the lines
    of the block.
    """
    operand = coming.operand
    block = coming.block
    lanes = lanes_of(dtype)
    nbytes = tile_constant(dtype, "itemsize")
    itemsize = item_bytes(operand)
    index = pointer(operand.index, int64)
    count = int64(0)
    if is_direct(coming, dtype):
        step = tile_constant(dtype, "kc") if coming.is_a else tile_constant(dtype, "nr")
        width = block.columns if coming.is_a else step
        to = address_of(there)
        for j in range(0, block.columns, width):
            vectors = min(width, block.columns - j) // lanes
            for i in range(block.rows):
                row = index[block.row + i] if operand.index != 0 else block.row + i
                begin = operand.address + (row * operand.row + block.column + j) * itemsize
                offset = (block.column + j) * nbytes
                for v in range(vectors):
                    table[WORDS * count] = begin + v * lanes * itemsize
                    table[WORDS * count + 1] = to + v * lanes * nbytes
                    table[WORDS * count + 2] = offset + v * lanes * nbytes
                    count += 1
                to += step * nbytes
    else:  # the lines, along whichever dimension is contiguous
        across = operand.column != 1
        if across:
            operand = transposed(operand)
            block = Block(block.column, block.columns, block.row, block.rows)
        if operand.column == 1:
            for i in range(block.rows):
                row = index[block.row + i] if operand.index != 0 else block.row + i
                begin = operand.address + (row * operand.row + block.column) * itemsize
                line = begin & -_LINE
                while line < begin + block.columns * itemsize and count < most:
                    table[WORDS * count] = line
                    table[WORDS * count + 1] = dump
                    count += 1
                    line += _LINE
    for n in range(count, count + idle):
        table[WORDS * n] = table[WORDS * n + 1] = dump
        table[WORDS * n + 2] = 0
    return count


@jit
def run(table, first, last, errands, dtype):
    """Run errands ``first`` ... ``last`` of a list, outside the micro-kernel."""
    for n in range(first, last):
        source, target = table[WORDS * n], pointer(table[WORDS * n + 1], dtype)
        if errands.folded:
            at = table[WORDS * n + 2]
            pixels = load(pointer(source, uint8), 0, dtype)
            scale = load(pointer(errands.scale + at, dtype), 0, dtype)
            shift = load(pointer(errands.shift + at, dtype), 0, dtype)
            store(target, 0, fma(pixels, scale, shift))
        else:
            store(target, 0, load(pointer(source, dtype), 0, dtype))
