"""Products of packed blocks: the inner loops of the matrix product, and a thread's own buffer."""

from __future__ import annotations

from collections import namedtuple
from typing import NamedTuple

from numba import float32, float64, int64

from fastbp.kernels.compile import machine
from fastbp.kernels.compile.calls import words_at
from fastbp.kernels.compile.jit import jit, region
from fastbp.kernels.linalg import interleave
from fastbp.kernels.linalg.interleave import NextBlock
from fastbp.kernels.linalg.microkernel import UNROLL, tile_product
from fastbp.kernels.linalg.operand import tile_constant
from fastbp.kernels.linalg.packing import block_of, is_along_k, pack_columns, panel_columns, row_of
from fastbp.kernels.simd.vectors import (
    fma,
    lanes_of,
    load,
    load_part,
    moved,
    pointer,
    recast,
    splat,
    store,
    store_part,
    zeros,
)

__all__ = [
    "SHALLOW",
    "BlockTriangle",
    "BlockWork",
    "columns_of_triangle",
    "even_share",
    "is_packed",
    "own_buffers",
    "panel_rows",
    "private_bytes",
    "regions",
    "round_up",
    "swapped",
    "whole",
]

_PIECE = 256
"""Rows of a piece: those of 16 columns of float32 and 512 rows would fill a level-1 cache of 32 KiB
before they are packed."""


class BlockTriangle(NamedTuple):
    """Of row i of C the columns before (i + skip) // step * step are needed; all if step is 0."""

    step: int
    skip: int


SHALLOW = 96  # k, up to which C's rows rather than B's panels are what is worth keeping near

Own = namedtuple("Own", ["a_block", "a_next", "b_chunk", "c_tile", "transpose_rows", "moves"])
"""A thread's own buffer: the block of the larger operand that it multiplies, the one that it packs
meanwhile, the smaller operand's chunk, a tile of C, rows on their way to be transposed, and the
list of moves."""


def private_bytes(itemsize: int) -> int:
    """Bytes of the buffer that each thread needs: see `Own`."""
    shape = machine.tiles(itemsize)
    elements = 2 * shape.a_block + shape.b_chunk + shape.mr * shape.nr + shape.lanes * shape.kc
    return elements * itemsize + interleave.list_bytes(shape.a_block // shape.lanes)


@jit
def round_up(n, step):
    """The least multiple of ``step`` that is not below n."""
    return (n + step - 1) // step * step


@jit
def panel_rows(pitch, dtype):
    """Rows of A that belong together when it is packed: a tile, or a panel if by columns."""
    return tile_constant(dtype, "pw") if pitch == 0 else tile_constant(dtype, "mr")


@jit
def even_share(n, most, step):
    """Cut n into as few pieces as ``most`` allows; the size of one, a multiple of ``step``.

    ``most`` is a multiple of ``step`` too, or the pieces might be larger.
    """
    pieces = (n + most - 1) // most
    return round_up((n + pieces - 1) // pieces, step)


@jit
def _put_ragged(c, ldc, tile, rows, columns, alpha, beta, dtype):
    """C <- beta C + alpha tile, for a part of a tile."""
    lanes = lanes_of(dtype)
    nr = tile_constant(dtype, "nr")
    factor = splat(alpha, dtype)
    keep = splat(beta, dtype)
    for i in range(rows):
        for j in range(0, columns, lanes):
            count = min(lanes, columns - j)
            x = load(tile, i * nr + j, dtype)
            if beta != 0:  # rounded as the micro-kernel does: the bits do not tell the tile
                x = fma(factor, x, keep * load_part(c, i * ldc + j, count, dtype))
            else:
                x = factor * x
            store_part(c, i * ldc + j, count, x)


@jit
def own_buffers(private, dtype):
    """The parts of a thread's own buffer, which ``private`` points to."""
    size = tile_constant(dtype, "a_block")
    a_next = moved(private, size)
    b_chunk = moved(a_next, size)
    c_tile = moved(b_chunk, tile_constant(dtype, "b_chunk"))
    transpose_rows = moved(c_tile, tile_constant(dtype, "mr") * tile_constant(dtype, "nr"))
    moves = recast(moved(transpose_rows, lanes_of(dtype) * tile_constant(dtype, "kc")), int64)
    return Own(private, a_next, b_chunk, c_tile, transpose_rows, moves)


@jit
def _tiles_of(next_block, after, tiles):
    """In how many of the ``tiles`` ``next_block`` is packed; ``after`` is in the others."""
    first = next_block.block.rows * next_block.block.columns
    second = after.block.rows * after.block.columns
    if second <= 0 or tiles < 2:
        return tiles
    return min(max(tiles * first // (first + second), 1), tiles - 1)


@jit
def _is_by_pieces(next_block, dtype):
    """Whether a block is packed by `_pack_until`, after tiles."""
    only_fetched = next_block.target == 0
    if next_block.is_a or only_fetched or interleave.is_direct(next_block, dtype):
        return False
    return is_along_k(next_block.operand, next_block.turned)


@jit
def is_packed(next_block, dtype):
    """Whether the region packs a block, and does not only prefetch its lines."""
    return interleave.is_direct(next_block, dtype) or _is_by_pieces(next_block, dtype)


@jit
def _pieces_across(block):
    """Into how many pieces the rows of a block are cut that is packed by pieces."""
    return max((block.rows + _PIECE - 1) // _PIECE, 1)


@jit
def _pieces_until(next_block, tile, tiles, dtype):
    """Pieces of a block that are to be packed when ``tile`` of ``tiles`` are done."""
    if next_block.block.rows <= 0:
        return int64(0)
    lanes = lanes_of(dtype)
    pieces = (next_block.block.columns + lanes - 1) // lanes * _pieces_across(next_block.block)
    return pieces * tile // tiles


@jit
def _pieces(block, begin, end, dtype):
    """The least block of B that holds pieces ``begin`` ... ``end`` of a block."""
    lanes = lanes_of(dtype)
    across = _pieces_across(block)
    first, last = begin // across, (end - 1) // across
    column = first * lanes
    columns = min((last + 1) * lanes, block.columns) - column if end > begin else int64(0)
    row, rows = int64(0), block.rows
    if first == last:
        row = begin % across * _PIECE
        rows = min(((end - 1) % across + 1) * _PIECE, rows) - row
    return block_of(False, block.column + column, columns, block.row + row, rows)


@jit
def _pack_until(next_block, packed, upto, spare, copy, dtype):
    """Pack pieces ``packed`` ... ``upto`` of a block; returns the latter."""
    block = next_block.block
    across = _pieces_across(block)
    for piece in range(packed, upto):
        top = piece % across * _PIECE
        pack_columns(
            pointer(next_block.target, dtype), next_block.operand, block,
            piece // across * lanes_of(dtype), top, min(_PIECE, block.rows - top),
            next_block.turned, spare, copy, dtype,
        )  # fmt: skip
    return upto


@jit
def whole():
    """All of C."""
    return BlockTriangle(int64(0), int64(0))


@jit
def columns_of_triangle(triangle, row, columns, dtype):
    """How many of C's first columns are computed for a tile that ends with a row."""
    if triangle.step == 0:
        return columns
    before = (row + triangle.skip) // triangle.step * triangle.step
    return min(round_up(before, lanes_of(dtype)), columns)


@jit
def swapped(own):
    """The same buffer, after the block packed meanwhile has become the one to multiply."""
    return Own(own.a_next, own.a_block, own.b_chunk, own.c_tile, own.transpose_rows, own.moves)


class BlockWork(NamedTuple):
    """What the region is told: C <- beta C + alpha A B, A a packed block, B packed panels, k deep.

    Addresses of A, B, C and the thread's own buffer, see `Own`. Of C (rows, columns) what is in the
    triangle is computed, and a little more. Meanwhile two blocks are packed, if `is_packed`.
    """

    a: int
    pitch: int
    b: int
    k: int
    c: int
    ldc: int
    rows: int
    columns: int
    triangle: BlockTriangle
    alpha: float
    beta: float
    private: int
    copy: int  # the region of `reader` for operands of the product's type
    next_block: NextBlock
    after: NextBlock


@jit
def _block_product(context, dtype):
    """Carry out a `BlockWork`.

    Deep blocks go down C panel by panel, so that a panel of B stays near. In shallow ones C itself
    is most of what is moved: they go along its rows.

    Meanwhile the block ``next_block`` and then the block ``after`` are packed, if `is_packed` says
    so: by moves in the micro-kernel, or, where vectors have to be transposed, some columns after
    each tile, in which their lines have been prefetched.
    """
    it = words_at(context, BlockWork)
    pitch, k, rows, columns = it.pitch, it.k, it.rows, it.columns
    a, b, c = pointer(it.a, dtype), pointer(it.b, dtype), pointer(it.c, dtype)
    alpha, beta = dtype(it.alpha), dtype(it.beta)
    own = own_buffers(pointer(it.private, dtype), dtype)
    mr = tile_constant(dtype, "mr")
    lanes = lanes_of(dtype)
    step = tile_constant(dtype, "row_step")
    tall = (rows + mr - 1) // mr
    nr = tile_constant(dtype, "nr")
    most = panel_columns(columns, dtype)
    wide = (columns + most - 1) // most
    shallow = k <= SHALLOW
    turns = k // UNROLL
    a_row, a_column = pitch, int64(1)
    if pitch == 0:
        a_row, a_column = int64(1), tile_constant(dtype, "pw")
    if pitch != 0:  # rows that only fill the last tile up: numbers that are fast to multiply
        for i in range(rows, round_up(rows, step)):
            for p in range(0, k, lanes):
                store(a, i * pitch + p, zeros(dtype))
    work, first, end = it.next_block, int64(0), _tiles_of(it.next_block, it.after, tall * wide)
    for _ in range(2):
        by_pieces = _is_by_pieces(work, dtype)
        moves = interleave.write(own.moves, (end - first) * turns, work, dtype)
        packed = int64(0)
        for t in range(first, end):
            if shallow:
                i = t // wide
                j = t % wide
            else:
                i = t % tall
                j = t // tall
            panel = moved(b, j * nr * k)
            i *= mr
            j *= most
            height = min(mr, rows - i)
            width = min(most, columns_of_triangle(it.triangle, i + height - 1, columns, dtype) - j)
            if width <= 0:
                continue
            if by_pieces:
                upto = _pieces_until(work, t + 1 - first, end - first, dtype)
                block = _pieces(work.block, packed, upto, dtype)
                moves = interleave.requests(own.moves, turns, work.operand, block, dtype)
            row = row_of(a, i, pitch, k, dtype)
            tile = moved(c, i * it.ldc + j)
            # A tile whose edge is not whole vectors or row steps goes by way of a whole one.
            ragged = width % lanes != 0 or height % step != 0
            out, ld_out, factor, keep = tile, it.ldc, alpha, beta
            if ragged:
                out, ld_out, factor, keep = own.c_tile, nr, dtype(1), dtype(0)
            tile_product(
                row, a_row, a_column, panel, k, out, ld_out, factor, keep, moves,
                round_up(height, step), (width + lanes - 1) // lanes,
            )  # fmt: skip
            if ragged:
                _put_ragged(tile, it.ldc, own.c_tile, height, width, alpha, beta, dtype)
            if by_pieces:
                packed = _pack_until(work, packed, upto, own.transpose_rows, it.copy, dtype)
            else:
                moves = interleave.after_tile(moves, turns)
        if by_pieces:
            _pack_until(
                work,
                packed,
                _pieces_until(work, int64(1), int64(1), dtype),
                own.transpose_rows,
                it.copy,
                dtype,
            )
        else:
            interleave.run(moves, dtype)
        work, first, end = it.after, end, tall * wide


@region
def _float32(context: int, worker: int) -> None:
    _block_product(context, float32)


@region
def _float64(context: int, worker: int) -> None:
    _block_product(context, float64)


regions = {"float32": _float32, "float64": _float64}
"""The region that multiplies a block, for each dtype; called by the loops of `gemm`."""
