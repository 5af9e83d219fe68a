"""The matrix product: blocking, and the write-backs that plug into it.

    C <- write-back(beta * C + alpha * A B),      A (m, k), B (k, n), C (m, n) with contiguous rows

The loops are those of Goto and van de Geijn, "Anatomy of High-Performance Matrix Multiplication"
(2008), and of BLIS, with two choices added. The smaller operand is packed once, in a phase that all
threads share; the larger one is packed by the thread that uses it, by errands that it runs while it
multiplies the block before (see `errands`), so that waiting for memory and multiplying overlap:

    for each chunk of C's columns (or rows), and of k, that fits the shared buffer:
        phase: pack the chunk of the smaller operand          one task a block
        phase: for each strip of C, one task:
            for each kc in the chunk:
                for each panel of B, for each row tile of A:
                    micro-kernel, and errands for the strip's next block, private to the thread

A tile of C belongs to one task, and k runs in order: no two threads share an element of C, and the
bits depend on neither the threads nor the blocks. Where k is long and C small the work is cut along
k instead, see `depth`.

A write-back is applied to a strip when its last k is done, while it lies in the cache. With
alpha = -learning rate and beta = 1 - learning rate * weight decay, C is a weight matrix that is
updated in place: its gradient never exists anywhere.
"""

from __future__ import annotations

from collections import namedtuple

from numba import int64

from fastbp.kernels import errands as errand
from fastbp.kernels import machine
from fastbp.kernels.blocks import (
    SHALLOW,
    block_product,
    even_share,
    own_buffers,
    private_bytes,
    round_up,
    swapped,
)
from fastbp.kernels.depth import product_by_depth, shard_count, sum_parts
from fastbp.kernels.jit import jit
from fastbp.kernels.packing import block_of, pack, tile_constant, transposed
from fastbp.kernels.team import claim, first_task, following_task, next_task
from fastbp.kernels.vectors import lanes_of, moved
from fastbp.kernels.writeback import NOTHING, write_back

__all__ = ["Ending", "Workspace", "gemm", "private_bytes", "shared_bytes"]

_STRIPS = 32  # strips of C aimed at, so that a few threads find equal shares

Ending = namedtuple("Ending", ["kind", "bias", "other", "ld_other"])
"""A write-back: one of `writeback`'s kinds, and typed pointers to what it reads."""

Workspace = namedtuple("Workspace", ["team", "shared", "private"])
"""Typed pointers: the team's words, the shared buffer, and this thread's own buffer."""


def shared_bytes(itemsize: int) -> int:
    """Bytes of the buffer that all threads of a product share."""
    shape = machine.tiles(itemsize)
    return (shape.shared + shape.parts) * itemsize


@jit
def _strip_width(shares_b, n, k, by_columns, dtype):
    """Rows or columns of C that are one task: see `_STRIPS`, within what one's own buffer takes."""
    nr = tile_constant(dtype, "nr")
    mr = tile_constant(dtype, "mr")
    lanes = lanes_of(dtype)
    kc = tile_constant(dtype, "kc")
    share = (n + _STRIPS - 1) // _STRIPS
    if shares_b:  # squares of a transposed operand are as high as a vector is long
        step = max(mr, lanes) if by_columns else mr
        widest = tile_constant(dtype, "strip")
        return min(widest // step * step, round_up(share, step))
    widest = tile_constant(dtype, "own") // kc
    if k <= SHALLOW:  # as wide as the block has room for
        widest = widest * kc // k
    pieces = 1
    while pieces * nr < n:
        pieces *= 2
    if pieces <= 8:  # so few that they had better be equal, if narrower than a panel
        return round_up((n + pieces - 1) // pieces, lanes)
    return min(widest // nr * nr, round_up(share, nr))


@jit
def _product(c, ldc, m, n, k, a, b, turned, alpha, beta, ending, space, phase, dtype):
    """The loops at the top of this module; see `gemm`, and `pack` for ``turned``."""
    mr = tile_constant(dtype, "mr")
    nr = tile_constant(dtype, "nr")
    kc = tile_constant(dtype, "kc")
    shared = tile_constant(dtype, "shared")
    shares_b = n <= m
    if shares_b:  # the smaller operand, along the edge of C that it lies on
        few, many, step, group, small, large = n, m, nr, nr, b, a
    else:
        few, many, step, group, small, large = m, n, mr, 4 * mr, a, b
    strip = _strip_width(shares_b, many, k, large.column != 1, dtype)
    strips = (many + strip - 1) // strip
    own = own_buffers(space.private, dtype)
    most = even_share(few, shared // kc // step * step, step)
    for start in range(0, few, most):
        extent = min(most, few - start)
        block_size = round_up(extent, step) * kc
        groups = (extent + group - 1) // group
        depth = even_share(k, shared // block_size * kc, kc)
        for lc in range(0, k, depth):
            deep = min(depth, k - lc)
            blocks = (deep + kc - 1) // kc
            phase += 1
            task = next_task(space.team, phase, blocks * groups, False)
            while task >= 0:
                q = task // groups
                at = (task - q * groups) * group
                p = q * kc
                part = block_of(
                    not shares_b, start + at, min(group, extent - at), lc + p, min(kc, deep - p)
                )
                to = moved(space.shared, q * block_size + at * kc)
                pack(to, not shares_b, small, part, turned, own.there, dtype)
                task = next_task(space.team, phase, blocks * groups, True)
            phase += 1
            ready = False
            task = first_task(space.team, phase, strips)
            while task >= 0:
                upcoming = claim(space.team, phase, strips)
                at = task * strip
                breadth = min(strip, many - at)
                if shares_b:
                    i, rows, j, columns = at, breadth, start, extent
                else:
                    i, rows, j, columns = start, extent, at, breadth
                corner = moved(c, i * ldc + j)
                for q in range(blocks):
                    p = lc + q * kc
                    length = min(kc, lc + deep - p)
                    if not ready:
                        block = block_of(shares_b, at, breadth, p, length)
                        pack(own.here, shares_b, large, block, turned, own.there, dtype)
                    if q + 1 < blocks:
                        then = p + kc
                        block = block_of(shares_b, at, breadth, then, min(kc, lc + deep - then))
                    else:
                        then = max(upcoming, 0) * strip
                        wanted = min(strip, many - then) if upcoming >= 0 else 0
                        block = block_of(shares_b, then, wanted, lc, min(kc, deep))
                    coming = errand.Coming(shares_b, large, block)
                    common = moved(space.shared, q * block_size)
                    keep = beta if p == 0 else dtype(1)
                    if shares_b:
                        left, right, apart = own.here, common, kc
                    else:
                        left, right, apart = common, own.here, length
                    block_product(
                        left, right, apart, length, corner, ldc, rows, columns, alpha, keep,
                        own, coming, dtype,
                    )  # fmt: skip
                    ready = errand.is_direct(coming, dtype)
                    if ready:
                        own = swapped(own)
                if lc + deep == k:
                    write_back(
                        ending.kind, corner, ldc, rows, j, columns, ending.bias,
                        moved(ending.other, i * ending.ld_other + j), ending.ld_other, dtype,
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
    lanes = lanes_of(dtype)
    by_rows = a.column == 1 and b.row == 1 and b.column != 1
    fits = m >= lanes and m * n <= tile_constant(dtype, "parts")
    # Both matrices lie along k. The one that is packed as B has to be transposed on the way: let
    # that be the smaller one, and the larger one be A, so that it can be packed by errands.
    turned = n > m and by_rows and fits and beta == 0
    parts = moved(space.shared, tile_constant(dtype, "shared"))
    target, ld, tall, wide, left, right, last = c, ldc, m, n, a, b, ending
    if turned:
        tall, wide, left, right = n, m, transposed(b), transposed(a)
    shards = int64(0)
    if wide <= tall and beta == 0:
        shards = shard_count(tall, wide, k, dtype)
    if shards > 0:
        phase = product_by_depth(
            tall, wide, k, left, right, turned, alpha, shards, parts, space, phase, dtype
        )
    else:
        if turned:
            target, ld, last = parts, m, Ending(int64(NOTHING), ending.bias, ending.other, ldc)
        phase = _product(
            target, ld, tall, wide, k, left, right, turned, alpha, beta, last, space, phase, dtype
        )
    if shards > 0 or turned:
        phase = sum_parts(c, ldc, m, n, parts, max(shards, 1), turned, ending, space, phase, dtype)
    return phase
