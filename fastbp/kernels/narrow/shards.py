"""Training with a narrow first layer by shards of rows; see `narrow`.

A batch is cut into shards by its size, and by how many cores the machine has. A shard is one task:
it adds up its share of the gradient, tile by tile, in a buffer of its own (a narrow layer's, small
enough for the level-2 cache); a second phase adds the shards in order and updates the weights.
Threads begin with the tasks that they had in the step before. A batch of one tile needs no shards:
its gradient goes straight from registers into the weights, unless an optimizer needs it. The twin
is `tests.twins.shard_steps`.
"""

from __future__ import annotations

from numba import float32, float64, int64

from fastbp.kernels import plan as w
from fastbp.kernels.compile.jit import jit, region
from fastbp.kernels.compile.machine import CORES
from fastbp.kernels.narrow.above import ROWS, UPDATE, go_above
from fastbp.kernels.narrow.bytes import folds_sums
from fastbp.kernels.narrow.first_layer import CHUNK, first_layer, fold_all, fold_chunk, list_rows
from fastbp.kernels.narrow.layers import RowsOfStep
from fastbp.kernels.narrow.optimize import needs_gradient
from fastbp.kernels.narrow.rows import TileBack
from fastbp.kernels.narrow.scratch import scratch
from fastbp.kernels.narrow.update import (
    bias_steps,
    change_weights,
    clear_tally,
    keep_and_factor,
    tally_size,
    update_first,
)
from fastbp.kernels.plan import layer_pointer, layer_word
from fastbp.kernels.simd.vectors import address_of, lanes_of, moved, pointer
from fastbp.kernels.threads.team import (
    claim_near,
    first_near_task,
    following_task,
    next_task,
    unclaimed_near,
)

__all__ = ["regions", "shard_count"]

_MOST_SHARDS = 16


def shard_count(rows: int, cores: int) -> int:
    """How many shards a batch is cut into on a machine with so many cores.

    Of 64 rows, so that writing and adding up their gradients is little beside reading the rows
    (a step of 256 took 5% longer with shards of 32), and of 128 where that leaves eight threads
    some (a step of 1024 rows of bytes took 3% to 5% longer with 64); but two from 32 rows on, for
    two threads. Two cores have four at most: a step of 1024 rows of bytes took 1% longer with
    eight, and 4% while the cores had no cache in common, as half of what is added up comes from
    the other's.
    """
    if cores <= 2:
        return max(1, min(2, rows // 16), min(4, rows // 128))
    return max(1, min(2, rows // 16), min(8, rows // 64), min(_MOST_SHARDS, rows // 128))


_shard_count = jit(shard_count)


@jit
def _tile(plan, worker, tile, then, shard, target, keep, factor, dtype):
    """Forward and back for a `RowsOfStep`: target <- keep * target + factor * its gradient of W1.

    ``then`` is the row that the next tile begins with; there may be no such row. ``target`` is
    the shard or W1; in a shard, the gradient of bytes is left as it is before preprocessing.
    """
    own = scratch(plan, worker, dtype)
    lanes = lanes_of(dtype)
    n0 = layer_word(plan, 0, w.INPUTS)
    n1 = layer_word(plan, 0, w.OUTPUTS)
    later = list_rows(plan, tile.start, tile.rows, then, own)
    first_layer(plan, tile.rows, own, dtype)
    tally = moved(shard, n1 * n0)
    go_above(plan, own, int64(ROWS), tile, tally, int64(0), int64(1))
    of_weights = address_of(target) != address_of(shard)
    if of_weights:
        bias_steps(plan, tile.step, tally, int64(0), 1, own.totals, dtype)
    back = TileBack(own.offsets, tile.rows, later, own.delta, lanes)
    change_weights(plan, target, back, int64(0), n0, keep, factor, of_weights, own.totals, dtype)


@jit
def _run(context, worker, dtype):
    """Make steps FIRST ... LAST - 1."""
    plan = pointer(context, int64)
    own = scratch(plan, worker, dtype)
    lanes = lanes_of(dtype)
    zero = int64(0)
    team = pointer(plan[w.TEAM], int64)
    shards = pointer(plan[w.SHARED], dtype)
    n0 = layer_word(plan, 0, w.INPUTS)
    n1 = layer_word(plan, 0, w.OUTPUTS)
    size = n1 * n0 + tally_size(plan, dtype)
    phase = fold_all(plan, team, own, dtype)
    chunks = (n0 + CHUNK - 1) // CHUNK
    for step in range(plan[w.FIRST], plan[w.LAST]):
        first = step * plan[w.BATCH]
        rows = min(plan[w.BATCH], plan[w.ROWS] - first)
        whole = RowsOfStep(step, first, rows, zero)
        if rows <= lanes and not needs_gradient(plan):
            keep, factor = keep_and_factor(plan, step, dtype)
            phase += 1
            task = next_task(team, phase, 1, False)
            while task >= 0:
                weight = layer_pointer(plan, 0, w.WEIGHT, dtype)
                clear_tally(plan, moved(shards, n1 * n0), dtype)
                _tile(plan, worker, whole, plan[w.ROWS], shards, weight, keep, factor, dtype)
                tally = moved(shards, n1 * n0)
                go_above(plan, own, int64(UPDATE), whole, tally, size, int64(1))
                if folds_sums(plan):
                    for chunk in range(chunks):
                        fold_chunk(plan, chunk, own, dtype)
                task = next_task(team, phase, 1, True)
            continue
        count = _shard_count(rows, CORES)
        tile = plan[w.TILE]
        each = ((rows + count - 1) // count + tile - 1) // tile * tile
        count = (rows + each - 1) // each
        phase += 1
        home = worker * count // plan[w.WORKERS] % count
        task = first_near_task(team, phase, count, home)
        while task >= 0:
            shard = moved(shards, task * size)
            clear_tally(plan, moved(shard, n1 * n0), dtype)
            begin = task * each
            end = min(begin + each, rows)
            for i in range(begin, end, tile):
                height = min(tile, rows - i)
                old = 0.0 if i == begin else 1.0
                then = first + i + tile
                if i + tile >= end:
                    likely = unclaimed_near(team, phase, count, home)
                    # With none left, this thread's part of the next step, as like as not.
                    then = first + (likely * each if likely >= 0 else rows + home * each)
                part = RowsOfStep(step, first + i, height, zero)
                _tile(plan, worker, part, then, shard, shard, dtype(old), dtype(1), dtype)
            task = following_task(team, phase, count, claim_near(team, phase, count, home))
        phase += 1
        home = worker * (chunks + 1) // plan[w.WORKERS] % (chunks + 1)
        task = first_near_task(team, phase, chunks + 1, home)
        while task >= 0:
            if task == chunks:
                go_above(plan, own, int64(UPDATE), whole, moved(shards, n1 * n0), size, count)
            else:
                j0 = task * CHUNK
                tallies = moved(shards, n1 * n0)
                bias_steps(plan, step, tallies, size, count, own.totals, dtype)
                columns = min(CHUNK, n0 - j0)
                update_first(plan, step, shards, size, count, own.totals, j0, columns, dtype)
                if folds_sums(plan):
                    fold_chunk(plan, task, own, dtype)
            upcoming = claim_near(team, phase, chunks + 1, home)
            task = following_task(team, phase, chunks + 1, upcoming)


@region
def _float32(context: int, worker: int) -> None:
    _run(context, worker, float32)


@region
def _float64(context: int, worker: int) -> None:
    _run(context, worker, float64)


regions = {"float32": _float32, "float64": _float64}
"""The region for each dtype of the network."""
