"""A product with a long k and a small result, cut along k.

Threads that share the packed panels of one operand have to wait for each other, and to read half
of the panels from another core's cache. Where k is long and C is small, as when a batch goes
forward through a wide layer, the work is cut along k instead: each task multiplies a stretch of k
by itself, and packs what it needs of both operands.

    phase: for each shard of k, one task:
        for each kc in the shard:                         all of B's rows kc are packed
            for each strip of A's rows:                   packed by errands
                micro-kernels: part of the shard <- part of the shard + A B
    phase: C <- write-back of the sum of the parts, in order

While the last strip of a kc is multiplied, B's next rows are packed into a second buffer.

The number of shards follows from the shapes alone, and so do the bits. Threads begin in different
places of k, always the same: a step's update leaves W's and X's columns with the thread that goes
forward from them in the next one. Between cores without a common cache a step of 12288-128-64-1 on
64 rows took 1.05 ms that way and 1.36 otherwise, on 16 rows 0.37 and 0.46; between others 1 %
longer.
"""

from __future__ import annotations

from numba import int64

from fastbp.kernels.compile.jit import jit
from fastbp.kernels.linalg import interleave as errand
from fastbp.kernels.linalg.epilogue import write_back
from fastbp.kernels.linalg.macrokernel import (
    Wanted,
    block_product,
    even_share,
    is_packed,
    own_buffers,
    panel_rows,
    swapped,
    wanted_columns,
)
from fastbp.kernels.linalg.packing import (
    block_of,
    copy_rows,
    matrix,
    pack_a,
    pack_b,
    pitch_of,
    tile_constant,
)
from fastbp.kernels.simd.vectors import address_of, lanes_of, load_part, moved, store_part
from fastbp.kernels.threads.team import (
    claim_near,
    first_near_task,
    following_task,
    is_abandoned,
    next_task,
)

__all__ = ["product_by_depth", "shard_count", "sum_parts"]

_DEPTH = 256
"""The deepest blocks. Steps of 12288-128 on 64 rows of float32 took 2 % longer with 512."""

_LEAST_SHARDS = 8  # fewer would leave threads without work, and one operand is soon packed


@jit
def _block_depth(n, dtype):
    """How deep blocks are, so that the buffer has room for two of B's n columns; 0 if it has not.

    One is packed while the other is used.
    """
    nr = tile_constant(dtype, "nr")
    depth = tile_constant(dtype, "kc")
    wide = (n + nr - 1) // nr * nr
    while 2 * wide * depth > tile_constant(dtype, "near"):
        depth //= 2
    return depth if depth >= _DEPTH // 2 else int64(0)


@jit
def _blocks_of_shard(k, shards, kc):
    blocks = (k + kc - 1) // kc
    return (blocks + shards - 1) // shards


@jit
def shard_count(m, n, k, dtype):
    """How many shards the product of A (m, k) and B (k, n) is cut into; 0 if it is not cut."""
    kc = _block_depth(n, dtype)
    if kc == 0:
        return int64(0)
    blocks = (k + kc - 1) // kc
    shards = min(tile_constant(dtype, "shards"), blocks, tile_constant(dtype, "parts") // (m * n))
    if shards < _LEAST_SHARDS:
        return int64(0)
    each = _blocks_of_shard(k, shards, kc)
    return (blocks + each - 1) // each


@jit
def product_by_depth(m, n, k, a, b, turned, wanted, alpha, shards, parts, space, phase, dtype):
    """The parts of alpha A B, (m, n) each and m * n elements apart: see the module.

    ``turned`` as in `pack_b`, of both operands. Of a part, what is `Wanted`.
    """
    kc = _block_depth(n, dtype)
    pitch = min(pitch_of(a, k, dtype), kc)
    step = panel_rows(pitch, dtype)
    strip = even_share(m, tile_constant(dtype, "strip") // step * step, step)
    strips = (m + strip - 1) // strip
    deep = _blocks_of_shard(k, shards, kc) * kc
    own = own_buffers(space.private, dtype)
    panels, panels_then = own.near, moved(own.near, tile_constant(dtype, "near") // 2)
    ready = ready_b = False
    phase += 1
    home = space.worker * shards // space.workers % shards
    task = first_near_task(space.team, phase, shards, home)
    while task >= 0:
        upcoming = claim_near(space.team, phase, shards, home)
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
                pack_b(panels, b, block, turned, own.way, dtype)
            if not ready:
                block = block_of(True, i, rows, p, length)
                pack_a(own.here, pitch, a, block, dtype)
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
            coming = errand.Coming(True, pitch, a, False, block, own.there)
            columns_then = n if i_then == 0 and rows_then > 0 else 0
            block = block_of(False, int64(0), columns_then, then, min(kc, last - then))
            after = errand.Coming(False, pitch, b, turned, block, panels_then)
            part = moved(parts, task * m * n + i * n)
            keep = dtype(0) if p == begin else dtype(1)
            block_product(
                own.here, pitch, panels, length, part, n, rows, n,
                Wanted(wanted.step, wanted.skip + i), alpha, keep, own, coming, after, dtype,
            )  # fmt: skip
            ready = is_packed(coming, dtype)
            if ready:
                own = swapped(own)
            ready_b = is_packed(after, dtype)
            if ready_b and columns_then > 0:
                panels, panels_then = panels_then, panels
        task = following_task(space.team, phase, shards, upcoming)
    return phase


@jit
def _add_parts(target, step, parts, shards, apart, row_step, rows, columns, dtype):
    """In ``target``: the sum of the parts, in order; rows are ``step`` and ``row_step`` apart."""
    lanes = lanes_of(dtype)
    for i in range(rows):
        for j in range(0, columns, lanes):
            count = min(lanes, columns - j)
            total = load_part(parts, i * row_step + j, count, dtype)
            for s in range(1, shards):
                total += load_part(parts, s * apart + i * row_step + j, count, dtype)
            store_part(target, i * step + j, count, total)


@jit
def sum_parts(c, ldc, m, n, wanted, parts, shards, turned, ending, space, phase, dtype):
    """C (m, n) <- write-back of the sum of the parts, which are (n, m) if ``turned``.

    Unless ``turned``, what is not `Wanted` of C is undefined afterwards.
    """
    zero = int64(0)
    height = lanes_of(dtype)
    tasks = (m + height - 1) // height
    sums = matrix(address_of(parts), int64(1), m, dtype)
    phase += 1
    task = next_task(space.team, phase, tasks, False)
    while task >= 0:
        i = task * height
        rows = min(height, m - i)
        strip = moved(c, i * ldc)
        columns = n
        if turned:  # the rows of C are columns of the parts
            own = moved(parts, i)
            if shards > 1:
                _add_parts(own, m, own, shards, m * n, m, n, rows, dtype)
            copy_rows(strip, ldc, sums, i, rows, zero, n, dtype)
        else:
            columns = wanted_columns(wanted, i + rows - 1, n, dtype)
            _add_parts(strip, ldc, moved(parts, i * n), shards, m * n, n, rows, columns, dtype)
        write_back(
            ending.kind, strip, ldc, rows, zero, columns, ending.bias,
            moved(ending.other, i * ending.ld_other), ending.ld_other, dtype,
        )  # fmt: skip
        task = next_task(space.team, phase, tasks, True)
    return phase
