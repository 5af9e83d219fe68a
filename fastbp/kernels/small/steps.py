"""Training and outputs of small networks, in shards of rows; see `small`.

A step has two phases, of the shards and of blocks of the parameters, whose sums are the same
whoever takes which. The twin is `tests.twins.shard_steps`.
"""

from __future__ import annotations

from numba import float32, float64, int64

from fastbp.kernels import plan as w
from fastbp.kernels.compile.jit import jit, region
from fastbp.kernels.compile.machine import CORES
from fastbp.kernels.linalg.operand import tile_constant
from fastbp.kernels.plan import layer_word
from fastbp.kernels.simd.vectors import lanes_of, moved, pointer, store, zeros
from fastbp.kernels.small.layers import RowsOfStep, whole_blocks
from fastbp.kernels.small.rows import go_through
from fastbp.kernels.small.sizes import JUDGED, shard_count
from fastbp.kernels.small.update import (
    add_squares,
    add_totals,
    block_count,
    find_block,
    publish,
    update,
)
from fastbp.kernels.threads.team import claim_near, first_near_task, following_task, next_task

__all__ = ["regions"]

_shard_count = jit(shard_count)


@jit
def _own_memory(plan, worker, dtype):
    """Where Z and delta of rows in lanes go, and rows of W; behind zeros, which are written."""
    lanes, nv = lanes_of(dtype), tile_constant(dtype, "nv")
    none = pointer(plan[w.PRIVATE] + worker * plan[w.PRIVATE_STEP], dtype)
    for v in range(nv):
        store(none, v * lanes, zeros(dtype))
    judged = moved(none, nv * lanes)
    outputs = whole_blocks(layer_word(plan, plan[w.LAYERS] - 1, w.OUTPUTS), dtype)
    return judged, moved(judged, (2 * outputs + JUDGED) * lanes)


@jit
def _publish_all(plan, team, spare, dtype):
    """Phase 0: all parameters, to where the layers read them from."""
    blocks = block_count(plan, dtype)
    task = next_task(team, int64(0), blocks, False)
    while task >= 0:
        layer, first, rows = find_block(plan, task, dtype)
        publish(plan, layer, first, rows, spare, dtype)
        task = next_task(team, int64(0), blocks, True)


@jit
def _outputs(plan, worker, team, judged):
    """OUT, tile by tile."""
    tile = plan[w.TILE]
    tasks = (plan[w.ROWS] + tile - 1) // tile
    task = next_task(team, int64(1), tasks, False)
    while task >= 0:
        start = task * tile
        rows = RowsOfStep(int64(0), start, min(tile, plan[w.ROWS] - start))
        go_through(plan, worker, rows, int64(0), int64(0), judged)
        task = next_task(team, int64(1), tasks, True)


@jit
def _add_shard(plan, worker, whole, shard, each, judged, dtype):
    """One shard of ``each`` rows of a step, tile by tile, all but the last of one size."""
    lanes, mr = lanes_of(dtype), tile_constant(dtype, "mr")
    totals = pointer(plan[w.SHARDS] + shard * plan[w.SHARD_STEP], dtype)
    store(totals, 0, zeros(dtype))
    store(totals, lanes, zeros(dtype))
    tiles = (each + plan[w.TILE] - 1) // plan[w.TILE]
    size = ((each + tiles - 1) // tiles + mr - 1) // mr * mr
    begin = shard * each
    end = min(begin + each, whole.rows)
    for i in range(begin, end, size):
        tile = RowsOfStep(whole.step, whole.start + i, min(size, end - i))
        go_through(plan, worker, tile, shard, i == begin, judged)


@jit
def _run(context, worker, dtype):
    """Make steps FIRST ... LAST - 1, or write OUT."""
    plan = pointer(context, int64)
    team = pointer(plan[w.TEAM], int64)
    judged, spare = _own_memory(plan, worker, dtype)
    _publish_all(plan, team, spare, dtype)
    if plan[w.OPERATION] == w.FORWARD:
        _outputs(plan, worker, team, judged)
        return
    phase, step_rows = int64(0), tile_constant(dtype, "row_step")
    blocks = block_count(plan, dtype)
    for step in range(plan[w.FIRST], plan[w.LAST]):
        start = step * plan[w.BATCH]
        rows = min(plan[w.BATCH], plan[w.ROWS] - start)
        whole = RowsOfStep(step, start, rows)
        count = _shard_count(rows, CORES)
        each = ((rows + count - 1) // count + step_rows - 1) // step_rows * step_rows
        count = (rows + each - 1) // each
        phase += 1
        home = worker * count // plan[w.WORKERS] % count
        task = first_near_task(team, phase, count, home)
        while task >= 0:
            _add_shard(plan, worker, whole, task, each, judged, dtype)
            task = following_task(team, phase, count, claim_near(team, phase, count, home))
        phase += 1
        home = worker * blocks // plan[w.WORKERS] % blocks
        task = first_near_task(team, phase, blocks, home)
        while task >= 0:
            layer, first, height = find_block(plan, task, dtype)
            add_squares(plan, step, task, layer, first, height, dtype)
            update(plan, step, layer, first, height, count, dtype)
            publish(plan, layer, first, height, spare, dtype)
            if task == 0:
                add_totals(plan, step, count, dtype)
            task = following_task(team, phase, blocks, claim_near(team, phase, blocks, home))


@region
def _float32(context: int, worker: int) -> None:
    _run(context, worker, float32)


@region
def _float64(context: int, worker: int) -> None:
    _run(context, worker, float64)


regions = {"float32": _float32, "float64": _float64}
"""The region for each dtype of the network."""
