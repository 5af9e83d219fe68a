"""Steps on batches of few rows with a narrow first layer, cut by columns of W1.

The rows fit the threads' caches, so nothing is gained by cutting them into shards (see `narrow`),
and no gradient needs to be added up: each task has columns of its own. It updates them with the
last batch and multiplies them with the next one while they lie in the level-1 cache, so W1 is
passed over once for each step. The same thread takes the same columns in every step (`near_task`):
they stay in the caches of its core, and so do its columns of the batch. The small rest of the
network is computed by whichever thread comes last with its products.
"""

from __future__ import annotations

from numba import float64, int64

from fastbp.kernels import machine
from fastbp.kernels import plan as p
from fastbp.kernels.jit import jit
from fastbp.kernels.narrow_emit import GROUP, OUTPUTS
from fastbp.kernels.narrow_folding import fold_weights, folds_sums
from fastbp.kernels.narrow_layers import (
    backward_above,
    clear_sums,
    layers_above,
    output_delta,
    row_number,
    units,
    update_above,
)
from fastbp.kernels.narrow_tiles import add_outer_products, add_products
from fastbp.kernels.narrow_weights import sweep_row
from fastbp.kernels.plan import layer_pointer, layer_word
from fastbp.kernels.team import MOST_SHARES, close, is_last, left_task, near_task
from fastbp.kernels.vectors import (
    lanes_of,
    load,
    moved,
    pointer,
    reduce_add,
    splat,
    store,
    zeros,
)

__all__ = ["BLOCK", "ROWS_BY_COLUMNS", "is_by_columns", "train_by_columns"]

_LEAST_COLUMNS = 1024  # a shard's memory then has room for the partial products
ROWS_BY_COLUMNS = 32  # room for the rows of a batch; there are fewer
BLOCK = 768  # columns that are updated and multiplied at a time, in the level-1 cache


def is_by_columns(n0: int, rows: int, row_bytes: int) -> bool:
    """Whether batches are worked on by columns of W1: few rows, each long enough to be cut.

    The rows of two batches must leave room in two cores' level-2 caches. And two shards, whose rows
    are read from end to end, are better from 32 rows on: of 12,288 bytes, 24 rows took 18 us by
    columns and 24 in a shard, 32 rows 22 and 21 in two, 48 rows 34 and 27.
    """
    fits = rows * row_bytes <= machine.CACHES.l2 * 3 // 4
    return n0 >= _LEAST_COLUMNS and rows < ROWS_BY_COLUMNS and fits


@jit
def _multiply(plan, x, shift, scale, rows, own, j0, count, dtype):
    """own.sums += rows of the batch ahead times rows of W1, in columns j0 ... alone."""
    lanes = lanes_of(dtype)
    n0 = layer_word(plan, 0, p.INPUTS)
    n1 = layer_word(plan, 0, p.OUTPUTS)
    w = layer_pointer(plan, 0, p.WEIGHT, dtype)
    ldw = n0
    if folds_sums(plan):
        w = moved(own.folded, -j0)
        ldw = int64(BLOCK)
        fold_weights(plan, j0, count, w, ldw, own.act, dtype)
    for i in range(0, rows, GROUP):
        for o in range(0, n1, OUTPUTS):
            add_products(
                moved(own.sums, (i * n1 + o * GROUP) * lanes), x, moved(own.ahead, i), shift,
                scale, moved(w, o * ldw), ldw, j0, count, min(GROUP, rows - i),
                min(OUTPUTS, n1 - o),
            )  # fmt: skip


@jit
def _keep_and_factor(plan, dtype):
    """W1 <- keep * W1 + factor * dW1."""
    settings = pointer(plan[p.SETTINGS], float64)
    rate = settings[p.LEARNING_RATE]
    return dtype(1.0 - rate * settings[p.WEIGHT_DECAY]), dtype(-rate)


@jit
def _sweep_rows(plan, x, shift, scale, last_rows, later, rows, own, delta, j0, count, dtype):
    """Columns j0 ... of W1: changed by the last batch, then times the one ahead."""
    keep, factor = _keep_and_factor(plan, dtype)
    n0 = layer_word(plan, 0, p.INPUTS)
    n1 = layer_word(plan, 0, p.OUTPUTS)
    w = layer_pointer(plan, 0, p.WEIGHT, dtype)
    totals = moved(delta, n1 * ROWS_BY_COLUMNS)
    sums_shift = pointer(plan[p.SHIFT] if folds_sums(plan) else int64(0), dtype)
    sums_scale = pointer(plan[p.SCALE] if folds_sums(plan) else int64(0), dtype)
    for j in range(j0, j0 + count, BLOCK):
        columns = min(BLOCK, j0 + count - j)
        if last_rows > 0:
            for o in range(0, n1, OUTPUTS):
                add_outer_products(
                    moved(w, o * n0), n0, x, own.offsets, shift, scale,
                    moved(delta, o * ROWS_BY_COLUMNS), int64(ROWS_BY_COLUMNS), j,
                    columns, last_rows, later if o == 0 else int64(0), min(OUTPUTS, n1 - o),
                    keep, factor, sums_shift, sums_scale, moved(totals, o),
                )  # fmt: skip
        if rows > 0:
            _multiply(plan, x, shift, scale, rows, own, j, columns, dtype)


@jit
def _sweep_row(plan, x, updates, later, own, delta, j0, count, dtype):
    """The same for batches of one row, which are preprocessed as they are read."""
    keep, factor = _keep_and_factor(plan, dtype)
    n0 = layer_word(plan, 0, p.INPUTS)
    n1 = layer_word(plan, 0, p.OUTPUTS)
    w = layer_pointer(plan, 0, p.WEIGHT, dtype)
    ahead = own.ahead[0]
    then = own.offsets[1 if updates else 0] if later > 0 else ahead
    for o in range(0, n1, OUTPUTS):
        sweep_row(
            moved(own.sums, o * GROUP * lanes_of(dtype)), x, own.offsets[0], ahead, then,
            pointer(plan[p.SHIFT], dtype), pointer(plan[p.SCALE], dtype), moved(w, o * n0), n0,
            moved(delta, o * ROWS_BY_COLUMNS), int64(ROWS_BY_COLUMNS), j0, count,
            min(OUTPUTS, n1 - o), updates, keep, factor,
        )  # fmt: skip


@jit
def _sweep(plan, x, shift, scale, last_rows, later, rows, own, delta, j0, count, partial, dtype):
    """Update columns j0 ... of W1 with the last batch, and multiply them with the one ahead.

    partial[o, i] <- row i of the batch ahead times row o of W1, in these columns alone.
    """
    lanes = lanes_of(dtype)
    n1 = layer_word(plan, 0, p.OUTPUTS)
    for o in range(n1):
        store(own.act, o * lanes, zeros(dtype))
    for i in range((rows + GROUP - 1) // GROUP * GROUP * n1):
        store(own.sums, i * lanes, zeros(dtype))
    if plan[p.BATCH] == 1:
        _sweep_row(plan, x, last_rows > 0, later, own, delta, j0, count, dtype)
    else:
        _sweep_rows(plan, x, shift, scale, last_rows, later, rows, own, delta, j0, count, dtype)
    for o in range(n1):
        constant = reduce_add(load(own.act, o * lanes, dtype))
        for i in range(rows):
            group = i // GROUP * GROUP
            total = load(own.sums, (group * n1 + o * GROUP + i - group) * lanes, dtype)
            partial[o * ROWS_BY_COLUMNS + i] = reduce_add(total) + constant
        for i in range(rows, (rows + lanes - 1) // lanes * lanes):
            partial[o * ROWS_BY_COLUMNS + i] = dtype(0)


@jit
def _middle(plan, first, rows, own, chunks, partial, delta, dtype):
    """From the partial products to delta of the first layer; updates all parameters but W1.

    delta[o, i] is followed by its sums over the rows.
    """
    lanes = lanes_of(dtype)
    n1 = layer_word(plan, 0, p.OUTPUTS)
    top = plan[p.LAYERS] - 1
    b = layer_pointer(plan, 0, p.BIAS, dtype)
    # Laid out as in a shard, but in memory of this thread's own.
    shard = moved(own.tally, -n1 * layer_word(plan, 0, p.INPUTS))
    last = moved(own.delta, (units(plan) - layer_word(plan, top, p.OUTPUTS)) * lanes)
    totals = moved(delta, n1 * ROWS_BY_COLUMNS)
    clear_sums(plan, shard, dtype)
    for o in range(n1):
        totals[o] = dtype(0)
    for t in range(0, rows, lanes):
        height = min(lanes, rows - t)
        for o in range(n1):
            z = splat(b[o], dtype)
            for c in range(chunks):
                z += load(partial, (c * n1 + o) * ROWS_BY_COLUMNS + t, dtype)
            store(own.act, o * lanes, z)
        z_top = layers_above(plan, own, dtype)
        output_delta(plan, z_top, last, first + t, height, rows, own.tally, dtype)
        backward_above(plan, own, moved(own.tally, 2 * lanes), dtype)
        for o in range(n1):
            slope = load(own.delta, o * lanes, dtype)
            store(delta, o * ROWS_BY_COLUMNS + t, slope)
            totals[o] += reduce_add(slope)
    update_above(plan, shard, int64(0), 1, dtype)


@jit
def _look_ahead(plan, step, last_rows, own):
    """Row offsets of the last batch, the one ahead and the next; rows ahead, rows to ask for."""
    for i in range(last_rows):
        own.offsets[i] = own.ahead[i]
    first = step * plan[p.BATCH]
    rows = int64(0)
    if step < plan[p.LAST]:
        rows = min(plan[p.BATCH], plan[p.ROWS] - first)
    for i in range(rows):
        own.ahead[i] = row_number(plan, first + i) * plan[p.X_ROW]
    then = first + rows
    later = max(min(plan[p.AHEAD], plan[p.BATCH], plan[p.ROWS] - then), 0)
    for i in range(later):
        own.offsets[last_rows + i] = row_number(plan, then + i) * plan[p.X_ROW]
    return rows, later


@jit
def train_by_columns(plan, x, shift, scale, worker, own, spare, dtype):
    """Make steps FIRST ... LAST - 1, of fewer than ROWS_BY_COLUMNS rows each.

    ``spare`` is the memory of one shard: the partial products and delta lie where its gradient of
    W1 would.
    """
    n0 = layer_word(plan, 0, p.INPUTS)
    n1 = layer_word(plan, 0, p.OUTPUTS)
    team = pointer(plan[p.TEAM], int64)
    # Chunks of whole vectors, so wide that the shares of all workers have some.
    width = max(512, (n0 + MOST_SHARES * 16 - 1) // (MOST_SHARES * 16) * 16)
    chunks = (n0 + width - 1) // width
    shares = min(plan[p.WORKERS], chunks)
    delta = moved(spare, chunks * ROWS_BY_COLUMNS * n1)
    phase = int64(0)
    last_rows = int64(0)
    for step in range(plan[p.FIRST], plan[p.LAST] + 1):
        rows, later = _look_ahead(plan, step, last_rows, own)
        done = int64(0)
        while True:
            task = near_task(team, phase, chunks, shares, worker)
            if task < 0:
                if done > 0 and is_last(team, done, chunks):
                    if rows > 0:
                        first = step * plan[p.BATCH]
                        _middle(plan, first, rows, own, chunks, spare, delta, dtype)
                    close(team, phase)
                    break
                done = int64(0)
                task = left_task(team, phase, chunks, shares, worker)
                if task < 0:
                    break
            j0 = task * width
            _sweep(
                plan, x, shift, scale, last_rows, later, rows, own, delta, j0,
                min(width, n0 - j0), moved(spare, task * ROWS_BY_COLUMNS * n1), dtype,
            )  # fmt: skip
            done += 1
        last_rows = rows
        phase += 1
