"""The matrix product: blocking, and the write-backs that plug into it.

    C <- write-back(beta * C + alpha * A B),      A (m, k), B (k, n), C (m, n) with contiguous rows

The loops are those of Goto and van de Geijn, "Anatomy of High-Performance Matrix Multiplication"
(2008), and of BLIS, with one choice added. The smaller operand is packed once, in a phase that all
threads share; the larger one is packed by the task that uses it, just before, so that each
element of it is touched once and is still in the cache when it is multiplied:

    for each chunk of C's columns (or rows), and of k, that fits the shared buffer:
        phase: pack the chunk of the smaller operand          one task a block
        phase: for each strip of C, one task:
            for each kc in the chunk:
                pack the strip's block of the larger operand  private to the thread
                for each panel of B, for each row tile of A:  micro-kernel

A tile of C belongs to one task, and k runs in order: no two threads share an element of C, and the
bits depend on neither the threads nor the blocks.

A write-back is applied to a strip when its last k is done, while it lies in the cache. With
alpha = -learning rate and beta = 1 - learning rate * weight decay, C is a weight matrix that is
updated in place: its gradient never exists anywhere.
"""

from __future__ import annotations

from collections import namedtuple

from numba import int64

from fastbp.kernels import machine
from fastbp.kernels.jit import jit
from fastbp.kernels.microkernel import TURNS, UNROLL, tile_product
from fastbp.kernels.packing import lines_of, pack_a, pack_b, tile_constant
from fastbp.kernels.team import claim, first_task, following_task, next_task
from fastbp.kernels.vectors import (
    address_of,
    fma,
    lanes_of,
    load,
    load_part,
    moved,
    recast,
    splat,
    store_part,
)
from fastbp.kernels.writeback import write_back

__all__ = ["Ending", "Workspace", "gemm", "private_bytes", "shared_bytes"]

_LINES = 4096  # cache lines of the next block that are asked for while one is multiplied
_SHALLOW = 96  # k, up to which C's rows rather than B's panels are what is worth keeping near
_STRIPS = 32  # strips of C aimed at, so that a few threads find equal shares

Ending = namedtuple("Ending", ["kind", "bias", "other", "ld_other"])
"""A write-back: one of `writeback`'s kinds, and typed pointers to what it reads."""

Workspace = namedtuple("Workspace", ["team", "shared", "private"])
"""Typed pointers: the team's words, the shared buffer, and this thread's own buffer."""

_Own = namedtuple("_Own", ["block", "spare", "lines"])


def shared_bytes(itemsize: int) -> int:
    """Bytes of the buffer that all threads of a product share."""
    return machine.tiles(itemsize).shared * itemsize


def private_bytes(itemsize: int) -> int:
    """Bytes of the buffer that each thread needs: a packed block, a tile of C, lines to fetch."""
    shape = machine.tiles(itemsize)
    block = max(shape.mc, shape.strip) * shape.kc
    return (block + shape.mr * shape.nr) * itemsize + (_LINES + TURNS) * 8


@jit
def _round_up(n, step):
    return (n + step - 1) // step * step


@jit
def _even_share(n, most, step):
    """Cut n into as few pieces as ``most`` allows; the size of one, a multiple of ``step``."""
    pieces = (n + most - 1) // most
    return _round_up((n + pieces - 1) // pieces, step)


@jit
def _ragged_tile(a, b, k, c, ldc, rows, columns, alpha, beta, ahead, spare, dtype):
    """A tile whose edge is not whole vectors or row steps: by way of a whole one in ``spare``."""
    lanes = lanes_of(dtype)
    nr = tile_constant(dtype, "nr")
    vectors = (columns + lanes - 1) // lanes
    whole_rows = _round_up(rows, tile_constant(dtype, "row_step"))
    tile_product(a, b, k, spare, nr, alpha, dtype(0), ahead, whole_rows, vectors)
    keep = splat(beta, dtype)
    for i in range(rows):
        for j in range(0, columns, lanes):
            count = min(lanes, columns - j)
            x = load(spare, i * nr + j, dtype)
            if beta != 0:
                x = fma(keep, load_part(c, i * ldc + j, count, dtype), x)
            store_part(c, i * ldc + j, count, x)


@jit
def _own_buffers(space, dtype):
    """The parts of a thread's own buffer: see `private_bytes`."""
    kc = tile_constant(dtype, "kc")
    most = max(tile_constant(dtype, "mc"), tile_constant(dtype, "strip"))
    spare = moved(space.private, most * kc)
    lines = moved(spare, tile_constant(dtype, "mr") * tile_constant(dtype, "nr"))
    return _Own(space.private, spare, recast(lines, int64))


@jit
def _block_product(a, b, depth, k, c, ldc, rows, columns, alpha, beta, own, lines, dtype):
    """C <- beta C + alpha A B for a packed block of A and packed panels of B, ``depth`` apart.

    Deep blocks go down C panel by panel, so that a panel of B stays in the level-1 cache. In
    shallow ones C itself is most of what is moved: they go along its rows.

    Meanwhile the first ``lines`` cache lines in ``own.lines`` are asked for.
    """
    mr = tile_constant(dtype, "mr")
    nr = tile_constant(dtype, "nr")
    kc = tile_constant(dtype, "kc")
    lanes = lanes_of(dtype)
    step = tile_constant(dtype, "row_step")
    here = address_of(own.block)
    for n in range(TURNS):
        own.lines[lines + n] = here  # for the turns that have nothing to ask for
    asked = int64(0)
    tall = (rows + mr - 1) // mr
    wide = (columns + nr - 1) // nr
    shallow = k <= _SHALLOW
    for t in range(tall * wide):
        if shallow:
            i = t // wide * mr
            j = t % wide * nr
        else:
            i = t % tall * mr
            j = t // tall * nr
        width = min(nr, columns - j)
        height = min(mr, rows - i)
        panel = moved(b, j * depth)
        block = moved(a, i * kc)
        tile = moved(c, i * ldc + j)
        ahead = moved(own.lines, asked)
        asked = min(asked + k // UNROLL, lines)
        if width % lanes == 0 and height % step == 0:
            tile_product(block, panel, k, tile, ldc, alpha, beta, ahead, height, width // lanes)
        else:
            _ragged_tile(
                block, panel, k, tile, ldc, height, width, alpha, beta, ahead, own.spare, dtype
            )


@jit
def _product_sharing_b(c, ldc, m, n, k, a, b, alpha, beta, ending, space, phase, dtype):
    """B, the smaller operand, is packed for all; a task packs the rows of A that it multiplies."""
    mr = tile_constant(dtype, "mr")
    nr = tile_constant(dtype, "nr")
    kc = tile_constant(dtype, "kc")
    mc = tile_constant(dtype, "mc")
    shared = tile_constant(dtype, "shared")
    nc = _even_share(n, tile_constant(dtype, "nc"), nr)
    strip = min(mc, _round_up((m + _STRIPS - 1) // _STRIPS, mr))
    own = _own_buffers(space, dtype)
    for jc in range(0, n, nc):
        columns = min(nc, n - jc)
        panels = (columns + nr - 1) // nr
        block_size = panels * nr * kc
        depth = _even_share(k, shared // block_size * kc, kc)
        for lc in range(0, k, depth):
            deep = min(depth, k - lc)
            blocks = (deep + kc - 1) // kc
            phase += 1
            task = next_task(space.team, phase, blocks * panels, False)
            while task >= 0:
                q = task // panels
                j = (task - q * panels) * nr
                pack_b(
                    moved(space.shared, q * block_size + j * kc), b,
                    lc + q * kc, min(kc, deep - q * kc), jc + j, min(nr, columns - j), dtype,
                )  # fmt: skip
                task = next_task(space.team, phase, blocks * panels, True)
            strips = (m + strip - 1) // strip
            phase += 1
            task = first_task(space.team, phase, strips)
            while task >= 0:
                upcoming = claim(space.team, phase, strips)
                i = task * strip
                rows = min(strip, m - i)
                corner = moved(c, i * ldc + jc)
                for q in range(blocks):
                    p = lc + q * kc
                    length = min(kc, deep - q * kc)
                    pack_a(own.block, a, i, rows, p, length, dtype)
                    if q + 1 < blocks:
                        lines = lines_of(
                            own.lines, _LINES, a, i, rows, p + kc, min(kc, deep - (q + 1) * kc)
                        )
                    else:
                        then = upcoming * strip
                        lines = lines_of(
                            own.lines, _LINES, a, then, min(strip, m - then), lc, min(kc, deep)
                        )
                    _block_product(
                        own.block, moved(space.shared, q * block_size), kc, length, corner, ldc,
                        rows, columns, alpha, beta if p == 0 else dtype(1), own, lines, dtype,
                    )  # fmt: skip
                if lc + deep == k:
                    write_back(
                        ending.kind, corner, ldc, rows, jc, columns, ending.bias,
                        moved(ending.other, i * ending.ld_other + jc), ending.ld_other, dtype,
                    )  # fmt: skip
                task = following_task(space.team, phase, strips, upcoming)
    return phase


@jit
def _product_sharing_a(c, ldc, m, n, k, a, b, alpha, beta, ending, space, phase, dtype):
    """A, the smaller operand, is packed for all; a task packs the columns of B it multiplies."""
    mr = tile_constant(dtype, "mr")
    nr = tile_constant(dtype, "nr")
    kc = tile_constant(dtype, "kc")
    shared = tile_constant(dtype, "shared")
    widest = tile_constant(dtype, "strip")
    if k <= _SHALLOW:  # as wide as the block has room for
        widest = widest * kc // k // nr * nr
    strip = min(widest, _round_up((n + _STRIPS - 1) // _STRIPS, nr))
    pieces = 1
    while pieces * nr < n:
        pieces *= 2
    if pieces <= 8:  # so few that they had better be equal, if narrower than a panel
        strip = _round_up((n + pieces - 1) // pieces, lanes_of(dtype))
    own = _own_buffers(space, dtype)
    most = _even_share(m, shared // kc // mr * mr, mr)
    for ic in range(0, m, most):
        rows = min(most, m - ic)
        block_size = _round_up(rows, mr) * kc
        depth = _even_share(k, shared // block_size * kc, kc)
        groups = (rows + 4 * mr - 1) // (4 * mr)
        for lc in range(0, k, depth):
            deep = min(depth, k - lc)
            blocks = (deep + kc - 1) // kc
            phase += 1
            task = next_task(space.team, phase, blocks * groups, False)
            while task >= 0:
                q = task // groups
                i = (task - q * groups) * 4 * mr
                pack_a(
                    moved(space.shared, q * block_size + i * kc), a,
                    ic + i, min(4 * mr, rows - i), lc + q * kc, min(kc, deep - q * kc), dtype,
                )  # fmt: skip
                task = next_task(space.team, phase, blocks * groups, True)
            strips = (n + strip - 1) // strip
            phase += 1
            task = first_task(space.team, phase, strips)
            while task >= 0:
                upcoming = claim(space.team, phase, strips)
                j = task * strip
                columns = min(strip, n - j)
                corner = moved(c, ic * ldc + j)
                for q in range(blocks):
                    p = lc + q * kc
                    length = min(kc, deep - q * kc)
                    for jr in range(0, columns, nr):
                        pack_b(
                            moved(own.block, jr * length), b, p, length, j + jr,
                            min(nr, columns - jr), dtype,
                        )  # fmt: skip
                    if q + 1 < blocks:
                        then = min(kc, deep - (q + 1) * kc)
                        lines = lines_of(own.lines, _LINES, b, p + kc, then, j, columns)
                    elif upcoming >= 0:
                        then = upcoming * strip
                        lines = lines_of(
                            own.lines, _LINES, b, lc, min(kc, deep), then, min(strip, n - then)
                        )
                    else:
                        lines = 0
                    _block_product(
                        moved(space.shared, q * block_size), own.block, length, length, corner, ldc,
                        rows, columns, alpha, beta if p == 0 else dtype(1), own, lines, dtype,
                    )  # fmt: skip
                if lc + deep == k:
                    write_back(
                        ending.kind, corner, ldc, rows, j, columns, ending.bias,
                        moved(ending.other, ic * ending.ld_other + j), ending.ld_other, dtype,
                    )  # fmt: skip
                task = following_task(space.team, phase, strips, upcoming)
    return phase


@jit
def gemm(c, ldc, m, n, k, a, b, alpha, beta, ending, space, phase, dtype):
    """C <- write-back(beta C + alpha A B), shared by the threads of a region.

    Parameters
    ----------
    c : pointer to ``dtype``
        C, (m, n); its rows are contiguous and ``ldc`` elements apart. It must not overlap A or B.
    m, n, k : int64
        All at least 1.
    a, b : Operand
        A (m, k) and B (k, n).
    alpha, beta : dtype
        beta = 0 means that C is not read.
    ending : Ending
    space : Workspace
    phase : int64
        The number of the phase that came before.

    Returns
    -------
    phase : int64
        The number of the last phase that was used.
    """
    if n <= m:
        return _product_sharing_b(c, ldc, m, n, k, a, b, alpha, beta, ending, space, phase, dtype)
    return _product_sharing_a(c, ldc, m, n, k, a, b, alpha, beta, ending, space, phase, dtype)
