"""Products of packed blocks: the inner loops of the matrix product, and a thread's own buffer."""

from __future__ import annotations

from collections import namedtuple

from numba import int64

from fastbp.kernels import errands as errand
from fastbp.kernels import machine
from fastbp.kernels.jit import jit
from fastbp.kernels.microkernel import UNROLL, tile_product
from fastbp.kernels.packing import panel_columns, row_of, tile_constant
from fastbp.kernels.vectors import (
    fma,
    lanes_of,
    load,
    load_part,
    moved,
    recast,
    splat,
    store_part,
)

__all__ = [
    "SHALLOW",
    "block_product",
    "even_share",
    "own_buffers",
    "panel_rows",
    "private_bytes",
    "round_up",
    "swapped",
]

SHALLOW = 96  # k, up to which C's rows rather than B's panels are what is worth keeping near

Own = namedtuple("Own", ["here", "there", "near", "spare", "list"])
"""A thread's own buffer: the block of the larger operand that it multiplies, the one that it packs
meanwhile, the smaller operand's chunk, a tile of C, and the list of errands."""


def private_bytes(itemsize: int) -> int:
    """Bytes of the buffer that each thread needs: see `Own`."""
    shape = machine.tiles(itemsize)
    elements = 2 * shape.own + shape.near + shape.mr * shape.nr
    return elements * itemsize + errand.list_bytes(shape.own // shape.lanes)


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
def _ragged_tile(
    a, a_row, a_column, b, k, c, ldc, rows, columns, alpha, beta, errands, spare, dtype
):
    """A tile whose edge is not whole vectors or row steps: by way of a whole one in ``spare``."""
    lanes = lanes_of(dtype)
    nr = tile_constant(dtype, "nr")
    vectors = (columns + lanes - 1) // lanes
    whole_rows = round_up(rows, tile_constant(dtype, "row_step"))
    tile_product(
        a, a_row, a_column, b, k, spare, nr, dtype(1), dtype(0), errands, whole_rows, vectors
    )
    factor = splat(alpha, dtype)
    keep = splat(beta, dtype)
    for i in range(rows):
        for j in range(0, columns, lanes):
            count = min(lanes, columns - j)
            x = load(spare, i * nr + j, dtype)
            if beta != 0:  # rounded as the micro-kernel does: the bits do not tell the tile
                x = fma(factor, x, keep * load_part(c, i * ldc + j, count, dtype))
            else:
                x = factor * x
            store_part(c, i * ldc + j, count, x)


@jit
def own_buffers(private, dtype):
    """The parts of a thread's own buffer, which ``private`` points to."""
    size = tile_constant(dtype, "own")
    there = moved(private, size)
    near = moved(there, size)
    spare = moved(near, tile_constant(dtype, "near"))
    rows = recast(moved(spare, tile_constant(dtype, "mr") * tile_constant(dtype, "nr")), int64)
    return Own(private, there, near, spare, rows)


@jit
def block_product(a, pitch, b, k, c, ldc, rows, columns, alpha, beta, own, coming, dtype):
    """C <- beta C + alpha A B for a packed block of A and packed panels of B, all k deep.

    Deep blocks go down C panel by panel, so that a panel of B stays near. In shallow ones C itself
    is most of what is moved: they go along its rows.

    Meanwhile the block ``coming`` is packed into own.there, if errands can do that (see `errands`).
    """
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
    errands = errand.write(own.list, own.there, tall * wide * turns, coming, dtype)
    for t in range(tall * wide):
        if shallow:
            i = t // wide
            j = t % wide
        else:
            i = t % tall
            j = t // tall
        panel = moved(b, j * nr * k)
        i *= mr
        j *= most
        width = min(most, columns - j)
        height = min(mr, rows - i)
        row = row_of(a, i, pitch, k, dtype)
        tile = moved(c, i * ldc + j)
        if width % lanes == 0 and height % step == 0:
            tile_product(
                row, a_row, a_column, panel, k, tile, ldc, alpha, beta, errands, height,
                width // lanes,
            )  # fmt: skip
        else:
            _ragged_tile(
                row, a_row, a_column, panel, k, tile, ldc, height, width, alpha, beta, errands,
                own.spare, dtype,
            )  # fmt: skip
        errands = errand.after_tile(errands, turns)
    errand.run(errands, dtype)


@jit
def swapped(own):
    """The same buffer, after the block packed meanwhile has become the one to multiply."""
    return Own(own.there, own.here, own.near, own.spare, own.list)
