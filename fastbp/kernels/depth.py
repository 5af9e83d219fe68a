"""A product with a long k and a small result, cut along k.

Threads that share the packed panels of one operand have to wait for each other, and to read half
of the panels from another core's cache. Where k is long and C is small, as when a batch goes
forward through a wide layer, the work is cut along k instead: each task multiplies a stretch of k
by itself, and packs what it needs of both operands.

    phase: for each shard of k, one task:
        for each kc in the shard:
            pack all of B's rows kc                       private to the thread
            for each strip of A's rows:                   packed by errands
                micro-kernels: part of the shard <- part of the shard + A B
    phase: C <- write-back of the sum of the parts, in order

The number of shards follows from the shapes alone, and so do the bits.
"""

from __future__ import annotations

from numba import int64

from fastbp.kernels import errands as errand
from fastbp.kernels.blocks import block_product, even_share, own_buffers, panel_rows, swapped
from fastbp.kernels.jit import jit
from fastbp.kernels.packing import (
    block_of,
    copy_rows,
    matrix,
    pack_a,
    pack_b,
    pitch_of,
    tile_constant,
)
from fastbp.kernels.team import claim, first_task, following_task, next_task
from fastbp.kernels.vectors import address_of, lanes_of, load_part, moved, store_part
from fastbp.kernels.writeback import write_back

__all__ = ["product_by_depth", "shard_count", "sum_parts"]

_MOST_SHARDS = 16
_LEAST_SHARDS = 8  # fewer would leave threads without work, and one operand is soon packed


@jit
def _blocks_of_shard(k, shards, dtype):
    kc = tile_constant(dtype, "kc")
    blocks = (k + kc - 1) // kc
    return (blocks + shards - 1) // shards


@jit
def shard_count(m, n, k, dtype):
    """How many shards the product of A (m, k) and B (k, n) is cut into; 0 if it is not cut."""
    kc = tile_constant(dtype, "kc")
    nr = tile_constant(dtype, "nr")
    blocks = (k + kc - 1) // kc
    shards = min(_MOST_SHARDS, blocks, tile_constant(dtype, "parts") // (m * n))
    if shards < _LEAST_SHARDS or (n + nr - 1) // nr * nr * kc > tile_constant(dtype, "near"):
        return int64(0)
    each = _blocks_of_shard(k, shards, dtype)
    return (blocks + each - 1) // each


@jit
def product_by_depth(m, n, k, a, b, turned, alpha, shards, parts, space, phase, dtype):
    """The parts of alpha A B, (m, n) each and m * n elements apart: see the module.

    ``turned`` as in `pack_b`, of both operands.
    """
    kc = tile_constant(dtype, "kc")
    pitch = pitch_of(a, k, dtype)
    step = panel_rows(pitch, dtype)
    strip = even_share(m, tile_constant(dtype, "strip") // step * step, step)
    strips = (m + strip - 1) // strip
    deep = _blocks_of_shard(k, shards, dtype) * kc
    own = own_buffers(space.private, dtype)
    ready = False
    phase += 1
    task = first_task(space.team, phase, shards)
    while task >= 0:
        upcoming = claim(space.team, phase, shards)
        begin = task * deep
        end = min(begin + deep, k)
        turns = (end - begin + kc - 1) // kc * strips
        for turn in range(turns):
            q = turn // strips
            i = (turn - q * strips) * strip
            p = begin + q * kc
            rows = min(strip, m - i)
            length = min(kc, end - p)
            if i == 0:
                everything = block_of(False, int64(0), n, p, length)
                pack_b(own.near, b, everything, turned, own.there, dtype)  # `there` is free
            if not ready:
                first = block_of(True, i, rows, p, length)
                pack_a(own.here, pitch, a, first, dtype)
            if turn + 1 < turns:
                q = (turn + 1) // strips
                i_then = (turn + 1 - q * strips) * strip
                then = begin + q * kc
                wanted = min(strip, m - i_then)
            else:
                i_then = int64(0)
                then = max(upcoming, 0) * deep
                wanted = min(strip, m) if upcoming >= 0 else 0
            last = end if turn + 1 < turns else min(then + deep, k)
            coming = errand.Coming(
                True, pitch, a, block_of(True, i_then, wanted, then, min(kc, last - then))
            )
            part = moved(parts, task * m * n + i * n)
            keep = dtype(0) if p == begin else dtype(1)
            block_product(
                own.here, pitch, own.near, length, part, n, rows, n, alpha, keep, own, coming,
                dtype,
            )  # fmt: skip
            ready = errand.is_direct(coming, dtype)
            if ready:
                own = swapped(own)
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
def sum_parts(c, ldc, m, n, parts, shards, turned, ending, space, phase, dtype):
    """C (m, n) <- write-back of the sum of the parts, which are (n, m) if ``turned``."""
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
        if turned:  # the rows of C are columns of the parts
            own = moved(parts, i)
            if shards > 1:
                _add_parts(own, m, own, shards, m * n, m, n, rows, dtype)
            copy_rows(strip, ldc, sums, i, rows, zero, n, dtype)
        else:
            _add_parts(strip, ldc, moved(parts, i * n), shards, m * n, n, rows, n, dtype)
        write_back(
            ending.kind, strip, ldc, rows, zero, n, ending.bias,
            moved(ending.other, i * ending.ld_other), ending.ld_other, dtype,
        )  # fmt: skip
        task = next_task(space.team, phase, tasks, True)
    return phase
