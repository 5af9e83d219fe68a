"""A product with a long k and a small result, cut along k.

Threads that share the packed panels of one operand have to wait for each other, and to read half
of the panels from another core's cache. Where k is long and C is small, as when a batch goes
forward through a wide layer, the work is cut along k instead: each task multiplies a stretch of k
by itself, and packs what it needs of both operands.

    phase: for each split of k, one task:
        for each kc in the split:                         all of B's rows kc are packed
            for each strip of A's rows:                   packed by moves
                micro-kernels: part of the split <- part of the split + A B
    phase: C <- epilogue of the sum of the partials, in order

While the last strip of a kc is multiplied, B's next rows are packed into a second buffer.

The number of splits follows from the shapes alone, and so do the bits. Threads begin in different
places of k, always the same: a step's update leaves W's and X's columns with the thread that goes
forward from them in the next one. Between cores without a common cache a step of 12288-128-64-1 on
64 rows took 1.05 ms that way and 1.36 otherwise, on 16 rows 0.37 and 0.46; between others 1 %
longer. The twin is `tests.twins.split_k_product`.
"""

from __future__ import annotations

from typing import NamedTuple

from numba import float32, float64, int64

from fastbp.kernels.compile.calls import call_region, words_at, words_of
from fastbp.kernels.compile.jit import jit, region
from fastbp.kernels.linalg.epilogue import Epilogue, apply_epilogue
from fastbp.kernels.linalg.interleave import NextBlock
from fastbp.kernels.linalg.macrokernel import (
    BlockTriangle,
    BlockWork,
    columns_of_triangle,
    even_share,
    is_packed,
    own_buffers,
    panel_rows,
    swapped,
)
from fastbp.kernels.linalg.operand import Operand, matrix, tile_constant
from fastbp.kernels.linalg.packing import block_of, copy_rows, pack_a, pack_b, pitch_of
from fastbp.kernels.simd.vectors import (
    address_of,
    lanes_of,
    load_part,
    moved,
    pointer,
    store_part,
)
from fastbp.kernels.threads.context import Header, Phase, header_of, workspace
from fastbp.kernels.threads.team import (
    claim_near,
    first_near_task,
    following_task,
    is_abandoned,
    next_task,
)

__all__ = ["regions", "split", "split_count"]

_DEPTH = 256
"""The deepest blocks. Steps of 12288-128 on 64 rows of float32 took 2 % longer with 512."""

_LEAST_SPLITS = 8  # fewer would leave threads without work, and one operand is soon packed


@jit
def _block_depth(n, dtype):
    """How deep blocks are, so that the buffer has room for two of B's n columns; 0 if it has not.

    One is packed while the other is used.
    """
    nr = tile_constant(dtype, "nr")
    depth = tile_constant(dtype, "kc")
    wide = (n + nr - 1) // nr * nr
    while 2 * wide * depth > tile_constant(dtype, "b_chunk"):
        depth //= 2
    return depth if depth >= _DEPTH // 2 else int64(0)


@jit
def _blocks_of_split(k, splits, kc):
    blocks = (k + kc - 1) // kc
    return (blocks + splits - 1) // splits


@jit
def split_count(m, n, k, dtype):
    """How many splits the product of A (m, k) and B (k, n) is cut into; 0 if it is not cut."""
    kc = _block_depth(n, dtype)
    if kc == 0:
        return int64(0)
    blocks = (k + kc - 1) // kc
    room = tile_constant(dtype, "partials") // (m * n)
    splits = min(tile_constant(dtype, "splits"), blocks, room)
    if splits < _LEAST_SPLITS:
        return int64(0)
    each = _blocks_of_split(k, splits, kc)
    return (blocks + each - 1) // each


@jit
def _split_product(it, m, n, turned, space, phase, dtype):
    """The partials of a `_Split`, (m, n) each and m * n elements apart: see the module.

    ``turned`` as in `pack_b`, of both operands. Of a part, what is `BlockTriangle`.
    """
    k, a, b, splits, triangle = it.k, it.a, it.b, it.splits, it.triangle
    alpha = dtype(it.alpha)
    kc = _block_depth(n, dtype)
    pitch = min(pitch_of(a, k, dtype), kc)
    step = panel_rows(pitch, dtype)
    strip = even_share(m, tile_constant(dtype, "strip") // step * step, step)
    strips = (m + strip - 1) // strip
    deep = _blocks_of_split(k, splits, kc) * kc
    own = own_buffers(space.private, dtype)
    panels, panels_then = own.b_chunk, moved(own.b_chunk, tile_constant(dtype, "b_chunk") // 2)
    ready = ready_b = False
    phase += 1
    home = space.worker * splits // space.workers % splits
    task = first_near_task(space.team, phase, splits, home)
    while task >= 0:
        upcoming = claim_near(space.team, phase, splits, home)
        begin = task * deep
        end = min(begin + deep, k)
        turns = (end - begin + kc - 1) // kc * strips
        for turn in range(turns):
            if is_abandoned(space.team):
                break
            q = turn // strips
            i = (turn - q * strips) * strip
            p = begin + q * kc
            rows = min(strip, m - i)
            length = min(kc, end - p)
            if i == 0 and not ready_b:
                block = block_of(False, int64(0), n, p, length)
                pack_b(panels, b, block, turned, own.transpose_rows, space.copy, dtype)
            if not ready:
                block = block_of(True, i, rows, p, length)
                pack_a(own.a_block, pitch, a, block, space.copy, dtype)
            if turn + 1 < turns:
                q = (turn + 1) // strips
                i_then = (turn + 1 - q * strips) * strip
                then = begin + q * kc
                rows_then = min(strip, m - i_then)
            else:
                i_then = int64(0)
                then = max(upcoming, 0) * deep
                rows_then = min(strip, m) if upcoming >= 0 else 0
            last = end if turn + 1 < turns else min(then + deep, k)
            block = block_of(True, i_then, rows_then, then, min(kc, last - then))
            next_block = NextBlock(
                int64(True), pitch, a, int64(False), block, address_of(own.a_next)
            )
            columns_then = n if i_then == 0 and rows_then > 0 else 0
            block = block_of(False, int64(0), columns_then, then, min(kc, last - then))
            after = NextBlock(int64(False), pitch, b, int64(turned), block, address_of(panels_then))
            part = moved(space.shared, task * m * n + i * n)
            keep = dtype(0) if p == begin else dtype(1)
            work = BlockWork(
                address_of(own.a_block), pitch, address_of(panels), length, address_of(part), n,
                rows, n, BlockTriangle(triangle.step, triangle.skip + i), alpha, keep,
                address_of(space.private), space.copy, next_block, after,
            )  # fmt: skip
            call_region(space.block, words_of(work), 0)
            ready = is_packed(next_block, dtype)
            if ready:
                own = swapped(own)
            ready_b = is_packed(after, dtype)
            if ready_b and columns_then > 0:
                panels, panels_then = panels_then, panels
        task = following_task(space.team, phase, splits, upcoming)
    return phase


@jit
def _add_partials(target, step, partials, splits, apart, row_step, rows, columns, dtype):
    """In ``target``: the partials added up in order; rows are ``step`` and ``row_step`` apart."""
    lanes = lanes_of(dtype)
    for i in range(rows):
        for j in range(0, columns, lanes):
            count = min(lanes, columns - j)
            total = load_part(partials, i * row_step + j, count, dtype)
            for s in range(1, splits):
                total += load_part(partials, s * apart + i * row_step + j, count, dtype)
            store_part(target, i * step + j, count, total)


@jit
def _sum_partials(c, it, turned, epilogue, space, phase, dtype):
    """C (m, n) <- epilogue of the sum of the partials, which are (n, m) if ``turned``.

    Unless ``turned``, what is not `BlockTriangle` of C is undefined afterwards.
    """
    ldc, m, n, splits = it.ldc, it.m, it.n, max(it.splits, 1)
    zero = int64(0)
    height = lanes_of(dtype)
    tasks = (m + height - 1) // height
    partials = space.shared
    sums = matrix(address_of(partials), int64(1), m, dtype)
    phase += 1
    task = next_task(space.team, phase, tasks, False)
    while task >= 0:
        i = task * height
        rows = min(height, m - i)
        strip = moved(c, i * ldc)
        columns = n
        if turned:  # the rows of C are columns of the partials
            own = moved(partials, i)
            if splits > 1:
                _add_partials(own, m, own, splits, m * n, m, n, rows, dtype)
            copy_rows(strip, ldc, sums, i, rows, zero, n, space.copy, dtype)
        else:
            columns = columns_of_triangle(it.triangle, i + rows - 1, n, dtype)
            part = moved(partials, i * n)
            _add_partials(strip, ldc, part, splits, m * n, n, rows, columns, dtype)
        apply_epilogue(
            epilogue.kind, strip, ldc, rows, zero, columns, epilogue.bias,
            moved(epilogue.other, i * epilogue.ld_other), epilogue.ld_other, space.epilogue, dtype,
        )  # fmt: skip
        task = next_task(space.team, phase, tasks, True)
    return phase


class _Split(NamedTuple):
    """What the region is told."""

    header: Header
    c: int
    ldc: int
    m: int
    n: int
    k: int
    a: Operand  # of C, or of its transpose if `turned`
    b: Operand
    turned: int
    splits: int  # 0: the sum is there already, one partial of it
    triangle: BlockTriangle
    alpha: float
    epilogue: int
    bias: int
    other: int
    ld_other: int
    phase: int
    phase_out: int


@jit
def split(it, turned, splits, space, phase):
    """Carry out a `Product`, cut along k into ``splits``, by the region.

    If ``turned``, A and B are the operands of C's transpose; with no splits that lies in the shared
    buffer already.
    """
    last = words_of(Phase(phase))
    work = _Split(
        header_of(space), address_of(it.c), it.ldc, it.m, it.n, it.k, it.a, it.b, turned, splits,
        it.triangle, it.alpha, it.epilogue.kind, address_of(it.epilogue.bias),
        address_of(it.epilogue.other), it.epilogue.ld_other, phase, last,
    )  # fmt: skip
    call_region(space.split, words_of(work), space.worker)
    return pointer(last, int64)[0]


@jit
def _run(context, worker, dtype):
    it = words_at(context, _Split)
    space = workspace(pointer(context, int64), worker, dtype)
    turned = it.turned != 0
    phase = it.phase
    if it.splits > 0:
        tall, wide = it.m, it.n
        if turned:
            tall, wide = it.n, it.m
        phase = _split_product(it, tall, wide, turned, space, phase, dtype)
    epilogue = Epilogue(it.epilogue, pointer(it.bias, dtype), pointer(it.other, dtype), it.ld_other)
    phase = _sum_partials(pointer(it.c, dtype), it, turned, epilogue, space, phase, dtype)
    pointer(it.phase_out, int64)[0] = phase


@region
def _float32(context: int, worker: int) -> None:
    _run(context, worker, float32)


@region
def _float64(context: int, worker: int) -> None:
    _run(context, worker, float64)


regions = {"float32": _float32, "float64": _float64}
"""The region for each dtype of the product."""
