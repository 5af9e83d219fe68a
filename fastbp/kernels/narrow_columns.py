"""A step on a batch of few rows with a narrow first layer, cut by columns of W1.

The rows fit the threads' caches, so nothing is gained by cutting them into shards (see `narrow`),
and no gradient needs to be added up: each task multiplies, and later updates, its own columns.
"""

from __future__ import annotations

from numba import float64, int64

from fastbp.kernels import plan as p
from fastbp.kernels.jit import jit
from fastbp.kernels.narrow_layers import (
    backward_above,
    clear_sums,
    layers_above,
    output_delta,
    row_number,
    units,
    update_above,
)
from fastbp.kernels.narrow_tiles import GROUP, OUTPUTS, add_outer_products, add_products
from fastbp.kernels.plan import layer_pointer, layer_word
from fastbp.kernels.team import next_task
from fastbp.kernels.vectors import lanes_of, load, moved, pointer, reduce_add, store, zeros

__all__ = ["MOST_ROWS_BY_COLUMNS", "is_by_columns", "step_by_columns"]

_LEAST_COLUMNS = 1024  # a shard's memory then has room for the partial products
# Of the next batch, asked for while the weights are updated and memory would rest: a step of 16
# took 55.7 us with none, 51.5 with 2 or 4, 50.3 with 8.
_ROWS_AHEAD = 8
_FEWEST_ROWS = 8  # of 4 rows a step took as long with two threads as with one
MOST_ROWS_BY_COLUMNS = 32  # twice as many took 1.5 times as long as in shards


def is_by_columns(n0: int, rows: int) -> bool:
    """Whether a batch is worked on by columns of W1: few rows, each long enough to be cut."""
    return n0 >= _LEAST_COLUMNS and _FEWEST_ROWS <= rows <= MOST_ROWS_BY_COLUMNS


@jit
def _columns_forward(plan, x, shift, scale, first, rows, own, j0, count, partial, dtype):
    """partial[i, o] <- row i of the batch times row o of W1, in columns j0 ... alone."""
    lanes = lanes_of(dtype)
    n0 = layer_word(plan, 0, p.INPUTS)
    n1 = layer_word(plan, 0, p.OUTPUTS)
    w = layer_pointer(plan, 0, p.WEIGHT, dtype)
    for t in range(0, rows, lanes):
        height = min(lanes, rows - t)
        for i in range(n1 * lanes):
            store(own.sums, i * lanes, zeros(dtype))
        for i in range(0, height, GROUP):
            for o in range(0, n1, OUTPUTS):
                add_products(
                    moved(own.sums, (i * n1 + o * GROUP) * lanes), x, moved(own.offsets, t + i),
                    shift, scale, moved(w, o * n0), n0, j0, count,
                    min(GROUP, height - i), min(OUTPUTS, n1 - o),
                )  # fmt: skip
        for i in range(height):
            group = i // GROUP * GROUP
            for o in range(n1):
                total = load(own.sums, (group * n1 + o * GROUP + i - group) * lanes, dtype)
                partial[(t + i) * n1 + o] = reduce_add(total)


@jit
def _columns_middle(plan, first, rows, own, chunks, partial, delta, spare, dtype):
    """From the partial products to delta of the first layer; updates all parameters but W1."""
    lanes = lanes_of(dtype)
    n1 = layer_word(plan, 0, p.OUTPUTS)
    top = plan[p.LAYERS] - 1
    b = layer_pointer(plan, 0, p.BIAS, dtype)
    tally = moved(spare, n1 * layer_word(plan, 0, p.INPUTS))
    last = moved(own.delta, (units(plan) - layer_word(plan, top, p.OUTPUTS)) * lanes)
    clear_sums(plan, spare, dtype)
    for t in range(0, rows, lanes):
        height = min(lanes, rows - t)
        for o in range(n1):
            store(own.act, o * lanes, zeros(dtype))
            for i in range(height):
                z = b[o]
                for c in range(chunks):
                    z += partial[(c * MOST_ROWS_BY_COLUMNS + t + i) * n1 + o]
                own.act[o * lanes + i] = z
        z_top = layers_above(plan, own, dtype)
        output_delta(plan, z_top, last, first + t, height, rows, tally, dtype)
        backward_above(plan, own, moved(tally, 2 * lanes), dtype)
        for o in range(n1):
            for i in range(height):
                delta[o * MOST_ROWS_BY_COLUMNS + t + i] = own.delta[o * lanes + i]
    update_above(plan, spare, int64(0), 1, dtype)


@jit
def step_by_columns(plan, x, shift, scale, first, rows, own, spare, phase, dtype):
    """A step on rows ``first`` ... of the epoch. Returns the number of the last phase.

    ``spare`` is the memory of one shard: the partial products and delta lie where its gradient of
    W1 would.
    """
    n0 = layer_word(plan, 0, p.INPUTS)
    n1 = layer_word(plan, 0, p.OUTPUTS)
    team = pointer(plan[p.TEAM], int64)
    settings = pointer(plan[p.SETTINGS], float64)
    rate = settings[p.LEARNING_RATE]
    keep = 1.0 - rate * settings[p.WEIGHT_DECAY]
    w = layer_pointer(plan, 0, p.WEIGHT, dtype)
    width = max(512, (n0 + 8 * 16 - 1) // (8 * 16) * 16)  # eight chunks of whole vectors at most
    chunks = (n0 + width - 1) // width
    delta = moved(spare, chunks * MOST_ROWS_BY_COLUMNS * n1)
    later = max(min(_ROWS_AHEAD, MOST_ROWS_BY_COLUMNS - rows, plan[p.ROWS] - first - rows), 0)
    for i in range(rows + later):
        own.offsets[i] = row_number(plan, first + i) * plan[p.X_ROW]
    phase += 1
    task = next_task(team, phase, chunks, False)
    while task >= 0:
        j0 = task * width
        _columns_forward(
            plan, x, shift, scale, first, rows, own, j0, min(width, n0 - j0),
            moved(spare, task * MOST_ROWS_BY_COLUMNS * n1), dtype,
        )  # fmt: skip
        task = next_task(team, phase, chunks, True)
    phase += 1
    task = next_task(team, phase, 1, False)
    while task >= 0:
        _columns_middle(plan, first, rows, own, chunks, spare, delta, spare, dtype)
        task = next_task(team, phase, 1, True)
    phase += 1
    task = next_task(team, phase, chunks, False)
    while task >= 0:
        j0 = task * width
        for o in range(0, n1, OUTPUTS):
            add_outer_products(
                moved(w, o * n0), n0, x, own.offsets, shift, scale,
                moved(delta, o * MOST_ROWS_BY_COLUMNS), int64(MOST_ROWS_BY_COLUMNS), j0,
                min(width, n0 - j0), rows, later if o == 0 else int64(0), min(OUTPUTS, n1 - o),
                dtype(keep), dtype(-rate),
            )  # fmt: skip
        task = next_task(team, phase, chunks, True)
    return phase
