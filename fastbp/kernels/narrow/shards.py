"""Training with a narrow first layer by shards of rows, and inference; see `narrow.region`.

A batch is cut into shards by its size, and by how many cores the machine has. A shard is one task:
it adds up its share of the gradient, tile by tile, in a buffer of its own (a narrow layer's, small
enough for the level-2 cache); a second phase adds the shards in order and updates the weights.
Threads begin with the tasks that they had in the step before. A batch of one tile needs no shards:
its gradient goes straight from registers into the weights. The twin is `tests.twins.shard_steps`.
"""

from __future__ import annotations

from numba import float64, int64

from fastbp.kernels import plan as w
from fastbp.kernels.compile.jit import jit
from fastbp.kernels.compile.machine import CORES
from fastbp.kernels.functions.activations import sigmoid
from fastbp.kernels.linalg.operand import DTYPE_CODES
from fastbp.kernels.linalg.row_ir import GROUP, OUTPUTS, PREFETCHED
from fastbp.kernels.linalg.row_products import add_products
from fastbp.kernels.narrow.bytes import (
    factor_of_sums,
    fold_weights,
    folded_weights,
    folds_sums,
)
from fastbp.kernels.narrow.layers import (
    backward_above,
    layers_above,
    output_delta,
    row_number,
    units,
)
from fastbp.kernels.narrow.prefetch import list_prefetch
from fastbp.kernels.narrow.update import (
    bias_steps,
    change_weights,
    clear_tally,
    tally_size,
    update_above,
    update_first,
)
from fastbp.kernels.narrow.weights import multiply_row
from fastbp.kernels.plan import layer_pointer, layer_word
from fastbp.kernels.simd.vectors import (
    address_of,
    lanes_of,
    load,
    moved,
    pointer,
    reduce_add,
    store,
    zeros,
)
from fastbp.kernels.threads.team import (
    claim_near,
    first_near_task,
    following_task,
    next_task,
    unclaimed,
    unclaimed_near,
)

__all__ = ["CHUNK", "forward", "shard_count", "train_in_shards"]

_BYTES = DTYPE_CODES["uint8"]
CHUNK = 2048  # columns in one sweep over a tile: their part of W stays in the level-1 cache
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
def _fold_chunk(plan, task, own, dtype):
    """Bring chunk ``task`` of `folded_weights` and of the sums of W1 * shift up to date."""
    lanes = lanes_of(dtype)
    n0 = layer_word(plan, 0, w.INPUTS)
    n1 = layer_word(plan, 0, w.OUTPUTS)
    folded = pointer(plan[w.FOLDED], dtype)
    j0 = task * CHUNK
    fold_weights(plan, j0, min(CHUNK, n0 - j0), own.sums, dtype)
    for o in range(n1):
        folded[n1 * n0 + task * n1 + o] = reduce_add(load(own.sums, o * lanes, dtype))


@jit
def _by_pixels(plan):
    """Whether rows of bytes are so few that each is preprocessed as it is read, not the weights."""
    return folds_sums(plan) and plan[w.OPERATION] == w.FORWARD and plan[w.ROWS] < GROUP


@jit
def _fold_all(plan, team, own, dtype):
    """Do so with all chunks, if bytes are preprocessed. Returns the number of the last phase."""
    if not folds_sums(plan) or _by_pixels(plan):
        return int64(-1)
    chunks = (layer_word(plan, 0, w.INPUTS) + CHUNK - 1) // CHUNK
    task = next_task(team, int64(0), chunks, False)
    while task >= 0:
        _fold_chunk(plan, task, own, dtype)
        task = next_task(team, int64(0), chunks, True)
    return int64(0)


@jit
def _list_rows(plan, start, rows, then, own):
    """List the rows of a tile and, of those from row ``then`` on, the ones to prefetch."""
    for i in range(rows):
        own.offsets[i] = row_number(plan, start + i) * plan[w.X_ROW]
    count = max(min(plan[w.PREFETCH], plan[w.TILE], plan[w.ROWS] - then), 0)
    again = plan[w.TILE] == GROUP
    return list_prefetch(plan, own, then, count, own.offsets, rows, rows, again)


@jit
def _shift_prefetch(own, rows):
    """Where nothing goes back: each group prefetches rows of the next one, the last for the tile's.

    ``own`` is as `_list_rows` leaves it.
    """
    last = rows // GROUP - 1
    for k in range(PREFETCHED if last > 0 else 0):
        next_tile = own.prefetch[k]
        for group in range(last):
            own.prefetch[group * PREFETCHED + k] = own.offsets[(group + 1) * GROUP + k]
        own.prefetch[last * PREFETCHED + k] = next_tile


@jit
def _first_layer(plan, x, shift, scale, rows, own, dtype):
    """own.act[:n1] <- Z of the first layer for the ``rows`` <= lanes that own.offsets lists."""
    lanes = lanes_of(dtype)
    n0 = layer_word(plan, 0, w.INPUTS)
    n1 = layer_word(plan, 0, w.OUTPUTS)
    weight = layer_pointer(plan, 0, w.WEIGHT, dtype)
    factor = dtype(1)
    by_pixels = _by_pixels(plan)
    if folds_sums(plan) and not by_pixels:
        weight = folded_weights(plan, dtype)
        factor = factor_of_sums(plan, dtype)
    b = layer_pointer(plan, 0, w.BIAS, dtype)
    for i in range(n1 * max(lanes, GROUP)):
        store(own.sums, i * lanes, zeros(dtype))
    if by_pixels:
        for i in range(rows):
            for o in range(0, n1, OUTPUTS):
                multiply_row(
                    moved(own.sums, (o * GROUP + i) * lanes), x, own.offsets[i],
                    pointer(plan[w.SHIFT], dtype), pointer(plan[w.SCALE], dtype),
                    moved(weight, o * n0), n0, int64(0), n0, min(OUTPUTS, n1 - o),
                )  # fmt: skip
    chunks = int64(0) if by_pixels else (n0 + CHUNK - 1) // CHUNK
    groups = (rows + GROUP - 1) // GROUP
    for turn in range(chunks * groups):
        if plan[w.X_DTYPE] == _BYTES:
            chunk, group = turn // groups, turn % groups
        else:  # of many bytes each, which memory delivers sooner from end to end
            group, chunk = turn // chunks, turn % chunks
        i, j0 = group * GROUP, chunk * CHUNK
        for o in range(0, n1, OUTPUTS):
            add_products(
                moved(own.sums, (i * n1 + o * GROUP) * lanes), x, moved(own.offsets, i),
                shift, scale, moved(weight, o * n0), n0, j0, min(CHUNK, n0 - j0),
                min(GROUP, rows - i), min(OUTPUTS, n1 - o),
                moved(own.prefetch, group * PREFETCHED) if o == 0 else moved(own.offsets, i),
            )  # fmt: skip
    for o in range(n1):
        constant = b[o]
        if folds_sums(plan) and not by_pixels:
            for task in range((n0 + CHUNK - 1) // CHUNK):
                constant += pointer(plan[w.FOLDED], dtype)[n1 * n0 + task * n1 + o]
        store(own.act, o * lanes, zeros(dtype))
        for i in range(rows):
            group = i // GROUP * GROUP
            total = load(own.sums, (group * n1 + o * GROUP + i - group) * lanes, dtype)
            own.act[o * lanes + i] = reduce_add(total) * factor + constant


@jit
def _tile(
    plan, x, shift, scale, start, rows, batch_rows, then, own, shard, target, keep, factor, dtype
):
    """Forward and back for one tile: target <- keep * target + factor * its gradient of W1.

    ``then`` is the row that the next tile begins with; there may be no such row. ``target`` is
    the shard or W1; in a shard, the gradient of bytes is left as it is before preprocessing.
    """
    lanes = lanes_of(dtype)
    n0 = layer_word(plan, 0, w.INPUTS)
    n1 = layer_word(plan, 0, w.OUTPUTS)
    outputs = layer_word(plan, plan[w.LAYERS] - 1, w.OUTPUTS)
    later = _list_rows(plan, start, rows, then, own)
    _first_layer(plan, x, shift, scale, rows, own, dtype)
    z = layers_above(plan, own, dtype)
    last = moved(own.delta, (units(plan) - outputs) * lanes)
    tally = moved(shard, n1 * n0)
    output_delta(plan, z, last, start, rows, int64(0), batch_rows, tally, dtype)
    backward_above(plan, own, moved(tally, 2 * lanes), dtype)
    of_weights = address_of(target) != address_of(shard)
    if of_weights:
        bias_steps(plan, tally, int64(0), 1, own.totals, dtype)
    change_weights(
        plan, target, x, own.offsets, shift, scale, own.delta, lanes, int64(0), n0, rows, later,
        dtype(keep), dtype(factor), of_weights, own.totals, dtype,
    )  # fmt: skip


@jit
def train_in_shards(plan, x, shift, scale, worker, own, dtype):
    """Make steps FIRST ... LAST - 1."""
    lanes = lanes_of(dtype)
    team = pointer(plan[w.TEAM], int64)
    shards = pointer(plan[w.SHARED], dtype)
    n0 = layer_word(plan, 0, w.INPUTS)
    n1 = layer_word(plan, 0, w.OUTPUTS)
    size = n1 * n0 + tally_size(plan, dtype)
    settings = pointer(plan[w.SETTINGS], float64)
    rate = settings[w.LEARNING_RATE]
    keep = 1.0 - rate * settings[w.WEIGHT_DECAY]
    phase = _fold_all(plan, team, own, dtype)
    chunks = (n0 + CHUNK - 1) // CHUNK
    for step in range(plan[w.FIRST], plan[w.LAST]):
        first = step * plan[w.BATCH]
        rows = min(plan[w.BATCH], plan[w.ROWS] - first)
        if rows <= lanes:
            phase += 1
            task = next_task(team, phase, 1, False)
            while task >= 0:
                weight = layer_pointer(plan, 0, w.WEIGHT, dtype)
                clear_tally(plan, moved(shards, n1 * n0), dtype)
                _tile(
                    plan, x, shift, scale, first, rows, rows, plan[w.ROWS], own, shards, weight,
                    keep, -rate, dtype,
                )  # fmt: skip
                update_above(plan, moved(shards, n1 * n0), size, 1, dtype)
                if folds_sums(plan):
                    for chunk in range(chunks):
                        _fold_chunk(plan, chunk, own, dtype)
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
                _tile(
                    plan, x, shift, scale, first + i, height, rows, then, own, shard, shard,
                    old, 1.0, dtype,
                )  # fmt: skip
            task = following_task(team, phase, count, claim_near(team, phase, count, home))
        phase += 1
        home = worker * (chunks + 1) // plan[w.WORKERS] % (chunks + 1)
        task = first_near_task(team, phase, chunks + 1, home)
        while task >= 0:
            if task == chunks:
                update_above(plan, moved(shards, n1 * n0), size, count, dtype)
            else:
                j0 = task * CHUNK
                tallies = moved(shards, n1 * n0)
                bias_steps(plan, tallies, size, count, own.totals, dtype)
                columns = min(CHUNK, n0 - j0)
                update_first(plan, shards, size, count, own.totals, j0, columns, dtype)
                if folds_sums(plan):
                    _fold_chunk(plan, task, own, dtype)
            upcoming = claim_near(team, phase, chunks + 1, home)
            task = following_task(team, phase, chunks + 1, upcoming)


@jit
def forward(plan, x, shift, scale, own, dtype):
    """OUT <- Z of the last layer, or its sigmoid, for all rows."""
    lanes = lanes_of(dtype)
    team = pointer(plan[w.TEAM], int64)
    out = pointer(plan[w.OUT], dtype)
    outputs = layer_word(plan, plan[w.LAYERS] - 1, w.OUTPUTS)
    n = plan[w.ROWS]
    tasks = (n + lanes - 1) // lanes
    phase = _fold_all(plan, team, own, dtype) + 1
    task = next_task(team, phase, tasks, False)
    while task >= 0:
        start = task * lanes
        rows = min(lanes, n - start)
        likely = unclaimed(team, phase, tasks)
        _list_rows(plan, start, rows, likely * lanes if likely >= 0 else n, own)
        _shift_prefetch(own, rows)
        _first_layer(plan, x, shift, scale, rows, own, dtype)
        z = layers_above(plan, own, dtype)
        for o in range(outputs):
            if plan[w.SIGMOID_OUT] != 0:
                store(z, o * lanes, sigmoid(load(z, o * lanes, dtype), dtype))
            for i in range(rows):
                out[(start + i) * outputs + o] = z[o * lanes + i]
        task = next_task(team, phase, tasks, True)
