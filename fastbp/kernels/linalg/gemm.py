"""The matrix product: blocking, and the epilogues that plug into it.

    C <- epilogue(beta * C + alpha * A B),      A (m, k), B (k, n), C (m, n) with contiguous rows

The loops are those of Goto and van de Geijn, "Anatomy of High-Performance Matrix Multiplication"
(2008), and of BLIS, with one choice added: the larger operand is packed by moves that a thread
runs while it multiplies the block before (see `interleave`), so that waiting for memory and
multiplying overlap:

    phase: for each task, a rectangle of C:
        for each chunk of the task's columns (or rows), and of k, that fits the buffer of B's chunk:
            pack the chunk of the smaller operand
            for each strip of the task's rows (or columns):
                for each kc in the chunk:
                    for each panel of B, for each row tile of A:
                        micro-kernel, and moves for the next block of the larger operand, or the
                    lines of the next chunk of the smaller one

Threads share nothing but C's rectangles, see `_cut`: to read half of a chunk that another thread
packed, from that thread's cache, takes as long as to pack it, and both would wait for each other
before and after. A tile of C belongs to one task, and k runs in order in pieces of kc: the bits
depend on neither the threads nor the blocks. Where k is long and C small the work is cut along k
instead, see `split_k`.

An epilogue is applied to a strip when its last k is done, while it lies in the cache. With
alpha = -learning rate and beta = 1 - learning rate * weight decay, C is a weight matrix that is
updated in place: its gradient never exists anywhere.
"""

from __future__ import annotations

from collections import namedtuple

from numba import int64

from fastbp.kernels.compile import machine
from fastbp.kernels.compile.calls import call_region, words_of
from fastbp.kernels.compile.jit import jit
from fastbp.kernels.linalg.epilogue import NOTHING, Epilogue, apply_epilogue
from fastbp.kernels.linalg.interleave import NextBlock
from fastbp.kernels.linalg.macrokernel import (
    SHALLOW,
    BlockWork,
    even_share,
    is_packed,
    own_buffers,
    panel_rows,
    private_bytes,
    round_up,
    swapped,
    whole,
)
from fastbp.kernels.linalg.operand import Product, code_of, tile_constant, transposed
from fastbp.kernels.linalg.packing import block_of, pack_a, pack_b, pitch_of
from fastbp.kernels.linalg.split_k import split, split_count
from fastbp.kernels.simd.vectors import address_of, lanes_of, moved, pointer
from fastbp.kernels.threads.team import claim_near, first_near_task, following_task, is_abandoned

__all__ = ["WITHOUT_SPLIT", "gemm", "private_bytes", "shared_bytes"]

WITHOUT_SPLIT = -2

_PACKING = 8
"""What packing an element costs in multiply-adds, about: 4 cycles for a vector. On Zen 5 it took
0.07 ns an element from the near caches, which is that, and 0.2 from memory."""

_BORDER = 2048
"""What a line of C that two threads write costs in multiply-adds: it goes from one's cache to the
other's. On Zen 4 squares of 80 and 96 lost 900 where the two have a level-3 cache in common, and
3900 where not. Where A is packed too, C is larger, and ends of rows are little of it."""

_LONG = 8
"""How many times n, C's columns, k is at the least, where C is computed as its transpose to be cut
along k. On Zen 4 (NN, k = 12288) 128 x 256 took 8.4 ms instead of 9.0 in float64, 4.0 instead of
4.2 in float32; between cores without a common level-3 cache 8.5 instead of 10.4, and 64 x 256 4.6
instead of 6.0. But 32 x 2048 with k = 4096 took 9 ms instead of 7."""

_SMALL = 16
"""Such a C times this has room where the partials are: (100, 100000) by (100000, 1000) in float32
lost
4 %."""


def shared_bytes(itemsize: int) -> int:
    """Bytes of the buffer that all threads of a product share."""
    return machine.tiles(itemsize).partials * itemsize


@jit
def _piece(n, pieces, step):
    """The size of one of ``pieces`` of n, in whole steps."""
    return round_up((n + pieces - 1) // pieces, step)


@jit
def _is_near(a, m, n, k, dtype):
    """Whether A's rows can be read where they lie: A and B are small, and B alone is packed."""
    room = tile_constant(dtype, "b_chunk")
    panels = round_up(n, tile_constant(dtype, "nr"))  # the last one takes as much room as any
    contiguous = a.column == 1 and a.row > 0 and a.dtype == code_of(dtype)
    plain = a.row_numbers == 0 and a.shift == 0
    whole = m % tile_constant(dtype, "row_step") == 0
    return (
        contiguous and plain and whole
        and k <= tile_constant(dtype, "kc") and m * k <= room and panels * k <= room
    )  # fmt: skip


@jit
def _cut(m, n, k, workers, packs_a, dtype):
    """Cut C into rectangles, one for each worker or fewer: the rows and columns of one.

    The cheapest for the one with most to do: its multiply-adds, what it packs for itself, and, in
    small products, the lines of C in which its rows end and the next rectangle's begin.
    """
    mr = tile_constant(dtype, "mr")
    nr = tile_constant(dtype, "nr")
    packing_of_a = _PACKING if packs_a else 0
    rows, columns, least = m, n, (m + _PACKING) * (n + packing_of_a) * k
    for down in range(1, workers + 1):
        tall = min(_piece(m, down, mr), m)
        wide = min(_piece(n, workers // down, nr), n)
        cost = (tall + _PACKING) * (wide + packing_of_a) * k
        if wide < n and not packs_a:
            cost += tall * _BORDER
        if cost < least:
            rows, columns, least = tall, wide, cost
    return rows, columns


@jit
def _strip_width(shares_b, n, k, pitch, dtype):
    """Rows or columns of C whose operand is packed as one block: what the buffer has room for."""
    nr = tile_constant(dtype, "nr")
    kc = tile_constant(dtype, "kc")
    if shares_b:
        step = panel_rows(pitch, dtype)
        return even_share(n, tile_constant(dtype, "strip") // step * step, step)
    widest = tile_constant(dtype, "a_block") // kc
    if k <= SHALLOW:  # as wide as the block has room for
        widest = widest * kc // k
    pieces = 1
    while pieces * nr < n:
        pieces *= 2
    if pieces <= 8:  # so few that they had better be equal, if narrower than a panel
        return round_up((n + pieces - 1) // pieces, lanes_of(dtype))
    return even_share(n, widest // nr * nr, nr)


Part = namedtuple("Part", ["row", "rows", "column", "columns"])
"""A rectangle of C."""


@jit
def _next_strip(at, many, lc, deep, depth, k, more):
    """Where the block begins that comes after a strip, and where its chunk of k ends.

    That is the strip ``at``, or the first one of the next chunk of k, or of the smaller operand if
    there are ``more``; or ``many`` if there is none.
    """
    if at < many:
        return at, lc, lc + deep
    if lc + deep < k:
        return int64(0), lc + deep, min(lc + deep + depth, k)
    return int64(0) if more else many, int64(0), min(depth, k)


@jit
def _next_chunk(more_strips, start, extent, few, most, lc, deep, depth, k, q, kc):
    """Block q of the chunk of the smaller operand that is packed after the present one.

    The rows (or columns) and the stretch of k, as a Part; empty unless this is the last strip.
    """
    zero = int64(0)
    at, p, end = start, lc + deep, min(lc + deep + depth, k)
    if p >= k:
        at, extent, p, end = start + most, min(most, few - start - most), zero, min(depth, k)
    p += q * kc
    if more_strips or p >= end or extent <= 0:
        return Part(zero, zero, zero, zero)
    return Part(at, extent, p, min(kc, end - p))


@jit
def _part_product(it, part, turned, own, space, dtype):
    """What one thread does of `_product`: the loops at the top of this module."""
    k, a, b, epilogue = it.k, it.a, it.b, it.epilogue
    kc = tile_constant(dtype, "kc")
    room = tile_constant(dtype, "b_chunk")
    pitch = pitch_of(a, k, dtype)
    deepest = min(kc, k) if pitch == 0 else pitch
    shares_b = part.columns <= part.rows
    if shares_b:  # the smaller operand, along the edge of the rectangle that it lies on
        few, many, small, large = part.columns, part.rows, b, a
        step, deepest = tile_constant(dtype, "nr"), min(kc, k)
        few_from, many_from = part.column, part.row
    else:
        few, many, small, large = part.rows, part.columns, a, b
        step = panel_rows(pitch, dtype)
        few_from, many_from = part.row, part.column
    strip = _strip_width(shares_b, many, k, pitch, dtype)
    most = even_share(few, room // deepest // step * step, step)
    ready = False
    for start in range(0, few, most):
        extent = min(most, few - start)
        block_size = round_up(extent, step) * deepest
        depth = even_share(k, room // block_size * kc, kc)
        for lc in range(0, k, depth):
            deep = min(depth, k - lc)
            blocks = (deep + kc - 1) // kc
            for q in range(blocks):
                p = lc + q * kc
                block = block_of(not shares_b, few_from + start, extent, p, min(kc, lc + deep - p))
                to = moved(own.b_chunk, q * block_size)
                if shares_b:
                    pack_b(to, small, block, turned, own.transpose_rows, space.copy, dtype)
                else:
                    pack_a(to, pitch, small, block, space.copy, dtype)
            for at in range(0, many, strip):
                if is_abandoned(space.team):
                    return
                breadth = min(strip, many - at)
                if shares_b:
                    i, rows, j, columns = part.row + at, breadth, part.column + start, extent
                else:
                    i, rows, j, columns = part.row + start, extent, part.column + at, breadth
                corner = moved(it.c, i * it.ldc + j)
                for q in range(blocks):
                    p = lc + q * kc
                    length = min(kc, lc + deep - p)
                    if not ready:
                        block = block_of(shares_b, many_from + at, breadth, p, length)
                        if shares_b:
                            pack_a(own.a_block, pitch, large, block, space.copy, dtype)
                        else:
                            pack_b(
                                own.a_block, large, block, turned, own.transpose_rows, space.copy,
                                dtype,
                            )  # fmt: skip
                    then, p_then, end = at, p + kc, lc + deep
                    if q + 1 == blocks:
                        then, p_then, end = _next_strip(
                            at + strip, many, lc, deep, depth, k, start + most < few
                        )
                    breadth_then = max(min(strip, many - then), 0)
                    block = block_of(
                        shares_b, many_from + then, breadth_then, p_then, min(kc, end - p_then)
                    )
                    next_block = NextBlock(
                        int64(shares_b), pitch, large, int64(turned), block, address_of(own.a_next)
                    )
                    part_then = _next_chunk(
                        at + strip < many, start, extent, few, most, lc, deep, depth, k, q, kc
                    )
                    block = block_of(
                        not shares_b, few_from + part_then.row, part_then.rows, part_then.column,
                        part_then.columns,
                    )  # fmt: skip
                    after = NextBlock(
                        int64(not shares_b), pitch, small, int64(turned), block, int64(0)
                    )
                    common = moved(own.b_chunk, q * block_size)
                    keep = it.beta if p == 0 else dtype(1)
                    left, right = (own.a_block, common) if shares_b else (common, own.a_block)
                    work = BlockWork(
                        address_of(left), pitch, address_of(right), length, address_of(corner),
                        it.ldc, rows, columns, whole(), it.alpha, keep, address_of(space.private),
                        space.copy, next_block, after,
                    )  # fmt: skip
                    call_region(space.block, words_of(work), 0)
                    ready = is_packed(next_block, dtype)
                    if ready:
                        own = swapped(own)
                if lc + deep == k:
                    apply_epilogue(
                        epilogue.kind, corner, it.ldc, rows, j, columns, epilogue.bias,
                        moved(epilogue.other, i * epilogue.ld_other + j), epilogue.ld_other,
                        space.epilogue, dtype,
                    )  # fmt: skip


@jit
def _near_product(it, part, turned, own, space, dtype):
    """The same where A `_is_near`: nothing is worth overlapping."""
    k, a, b, epilogue = it.k, it.a, it.b, it.epilogue
    i, j = part.row, part.column
    block = block_of(False, j, part.columns, int64(0), k)
    pack_b(own.b_chunk, b, block, turned, own.transpose_rows, space.copy, dtype)
    block = block_of(False, j, int64(0), int64(0), k)
    nothing = NextBlock(int64(0), int64(0), b, int64(turned), block, address_of(own.a_next))
    corner = moved(it.c, i * it.ldc + j)
    rows = moved(pointer(a.address, dtype), i * a.row)
    work = BlockWork(
        address_of(rows), a.row, address_of(own.b_chunk), k, address_of(corner), it.ldc, part.rows,
        part.columns, whole(), it.alpha, it.beta, address_of(space.private), space.copy, nothing,
        nothing,
    )  # fmt: skip
    call_region(space.block, words_of(work), 0)
    apply_epilogue(
        epilogue.kind, corner, it.ldc, part.rows, j, part.columns, epilogue.bias,
        moved(epilogue.other, i * epilogue.ld_other + j), epilogue.ld_other, space.epilogue,
        dtype,
    )  # fmt: skip


@jit
def _product(it, turned, space, phase, dtype):
    """The phase at the top of this module; see `gemm`, and `pack_b` for ``turned``."""
    m, n = it.m, it.n
    is_near = _is_near(it.a, m, n, it.k, dtype)
    rows, columns = _cut(m, n, it.k, space.workers, not is_near, dtype)
    across = (n + columns - 1) // columns
    tasks = (m + rows - 1) // rows * across
    own = own_buffers(space.private, dtype)
    phase += 1
    home = space.worker * tasks // space.workers % tasks
    task = first_near_task(space.team, phase, tasks, home)
    while task >= 0:
        i = task // across * rows
        j = task % across * columns
        part = Part(i, min(rows, m - i), j, min(columns, n - j))
        if is_near:
            _near_product(it, part, turned, own, space, dtype)
        else:
            _part_product(it, part, turned, own, space, dtype)
        upcoming = claim_near(space.team, phase, tasks, home)
        task = following_task(space.team, phase, tasks, upcoming)
    return phase


@jit
def _is_turned(a, b, m, n, k, dtype):
    """Whether the transpose of a small C that is wider than tall is computed, from B^T and A^T.

    Where both matrices lie along k, the one that is packed as B has to be transposed on the way:
    let that be the smaller one, and the larger one be A, so that it can be packed by moves.
    Others gain if that lets the work be cut along k, and k is long beside n.
    """
    if m < lanes_of(dtype) or m * n > tile_constant(dtype, "partials"):
        return False
    if a.column == 1 and b.row == 1 and b.column != 1:
        return True
    plain = a.row_numbers == 0 and a.shift == 0 and b.row_numbers == 0 and b.shift == 0
    small = m * n <= tile_constant(dtype, "partials") // _SMALL
    return plain and small and k >= _LONG * n and split_count(n, m, k, dtype) > 0


@jit
def gemm(it, space, phase, dtype):
    """Carry out a `Product`, shared by the threads of a region.

    Parameters
    ----------
    it : Product
        m, n and k at least 1.
    space : Workspace
    phase : int64
        The number of the phase that came before.

    Returns
    -------
    phase : int64
        The number of the last phase that was used; or WITHOUT_SPLIT, with nothing done, if the
        region of `split_k` is needed and there is none.
    """
    m, n, k, a, b = it.m, it.n, it.k, it.a, it.b
    tall, wide, left, right = m, n, a, b
    splits = int64(0)
    if it.triangle.step != 0:
        splits = split_count(m, n, k, dtype)
    needed = it.triangle if splits > 0 else whole()
    turned = splits == 0 and n > m and it.beta == 0 and _is_turned(a, b, m, n, k, dtype)
    if turned:
        tall, wide, left, right = n, m, transposed(b), transposed(a)
    if splits == 0 and wide <= tall and it.beta == 0:
        splits = split_count(tall, wide, k, dtype)
    if (splits > 0 or turned) and space.split == 0:
        return int64(WITHOUT_SPLIT)
    if splits == 0:
        target, ld, last = it.c, it.ldc, it.epilogue
        if turned:
            target, ld = space.shared, m
            last = Epilogue(int64(NOTHING), last.bias, last.other, it.ldc)
        plain = Product(target, ld, tall, wide, k, left, right, it.alpha, it.beta, last, whole())
        phase = _product(plain, turned, space, phase, dtype)
    if splits > 0 or turned:
        parts = Product(it.c, it.ldc, m, n, k, left, right, it.alpha, it.beta, it.epilogue, needed)
        phase = split(parts, turned, splits, space, phase)
    return phase
