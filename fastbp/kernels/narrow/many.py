"""Steps of several networks together, whose first layers are narrow: X is read once for all.

The networks have the same shape, the same rows in the same order and the same batches; all else may
differ: weights, targets, weights of rows, rates, penalties, dropout. Their first layers lie under
each other, as one W1 of (models * n1, n0). What is above the first layer knows nothing of the other
networks: it is done for one after the other, by the plan that each would be trained by alone.

A step is cut into the shards of `narrow.shards`, and each network's tiles, tallies and updates are
those of its own plan; sums over rows and over columns have the same order. So each network gets the
bits that it gets alone. But a stack of first layers and its gradient do not fit in a cache as one
does. So a shard goes through in blocks of rows, several tiles each, and a block by chunks of
columns: W1 and its gradient are passed over once for a block, and a chunk's part of them stays in a
near cache for all of its rows.

The words of the stack are those of a plan with one layer, and behind them, see `MODELS`, how it is
cut, and the address of each network's plan. Private memory is a network's, as `narrow.scratch` has
it, and behind it, from BLOCK_AT on:

    offsets           (2, block) int64: where rows begin, of a block and those prefetched after it
    sums              (block / GROUP, models * n1, GROUP, L)
    z, delta          (models * n1, block) each

Shared memory has, for each shard, the gradient of W1 (models * n1, n0) and then a tally for each
network. The twin of each network's steps is `tests.twins.shard_steps`.
"""

from __future__ import annotations

from collections import namedtuple
from itertools import pairwise

from numba import float32, float64, int64

from fastbp.kernels import plan as w
from fastbp.kernels.compile import machine
from fastbp.kernels.compile.jit import jit, region
from fastbp.kernels.compile.machine import CORES
from fastbp.kernels.linalg.operand import item_bytes
from fastbp.kernels.linalg.row_ir import GROUP
from fastbp.kernels.narrow.above import ROWS, UPDATE, go_above
from fastbp.kernels.narrow.first_layer import CHUNK
from fastbp.kernels.narrow.layers import RowsOfStep
from fastbp.kernels.narrow.optimize import needs_gradient
from fastbp.kernels.narrow.rows import PRODUCTS, TileBack, multiply_rows
from fastbp.kernels.narrow.scratch import private_bytes, scratch
from fastbp.kernels.narrow.shards import shard_count
from fastbp.kernels.narrow.update import (
    bias_steps,
    change_weights,
    clear_tally,
    tally_size,
    update_first,
)
from fastbp.kernels.plan import (
    layer_pointer,
    layer_word,
    operand_of_x,
    plan_words,
    row_number,
)
from fastbp.kernels.simd.vectors import (
    lanes_of,
    load,
    moved,
    pointer,
    recast,
    reduce_add,
    store,
    zeros,
)
from fastbp.kernels.threads.team import (
    claim_near,
    first_near_task,
    following_task,
    next_task,
)

__all__ = [
    "BLOCK",
    "BLOCK_AT",
    "MODELS",
    "MODEL_PLANS",
    "block_bytes",
    "many_words",
    "regions",
    "stack_bytes",
]

_AFTER = plan_words(1)
MODELS = _AFTER  # how many networks there are
BLOCK = _AFTER + 1  # rows of a block, a multiple of a tile
BLOCK_AT = _AFTER + 2  # bytes of private memory before that of a block
MODEL_PLANS = _AFTER + 3  # from here on: addresses of the networks' plans

_BYTES = 2048
"""Bytes of a row of X that a block passes over at a time: W1 or its gradient for so many floats, of
16 outputs, stay in a level-1 cache. Four times as many took 5 % longer on Zen 4; of bytes, a
quarter as many 6 %."""
_AHEAD = 2 * GROUP  # rows of the next block that are prefetched on the way back


def many_words(models: int) -> int:
    """How many int64 words the plan of so many networks has."""
    return MODEL_PLANS + models


def block_bytes(
    layer_sizes: tuple[int, ...], lanes: int, itemsize: int, kept: int, models: int, block: int
) -> tuple[int, int]:
    """Bytes of private memory before that of a block, and of both."""
    alone = -(-private_bytes(layer_sizes, lanes, itemsize, kept) // 64) * 64
    outputs = models * layer_sizes[1]
    groups = -(-block // GROUP)
    elements = groups * outputs * GROUP * lanes + 2 * outputs * block
    return alone, alone + 2 * 8 * block + itemsize * elements


def stack_bytes(
    layer_sizes: tuple[int, ...], lanes: int, itemsize: int, batch: int, models: int
) -> int:
    """Bytes of memory that the shards of a batch need together."""
    above = sum((a + 1) * b for a, b in pairwise(layer_sizes[1:]))
    size = layer_sizes[1] * layer_sizes[0] + (layer_sizes[1] + above + 2) * lanes
    return shard_count(batch, machine.CORES) * models * size * itemsize


_shard_count = jit(shard_count)

_Block = namedtuple("_Block", ["offsets", "sums", "z", "delta"])

_Part = namedtuple("_Part", ["step", "first", "begin", "rows", "then", "ahead"])
"""Rows first + begin ... of the epoch, ``rows`` of them, of step ``step`` that begins with row
``first``; rows ``then`` ... of the epoch, ``ahead`` of them, are prefetched."""


@jit
def _block_of(plan, worker, dtype):
    """The private memory of a block, as pointers."""
    block, outputs = plan[BLOCK], layer_word(plan, 0, w.OUTPUTS)
    start = plan[w.PRIVATE] + worker * plan[w.PRIVATE_STEP] + plan[BLOCK_AT]
    offsets = pointer(start, int64)
    sums = recast(moved(offsets, 2 * block), dtype)
    z = moved(sums, (block + GROUP - 1) // GROUP * outputs * GROUP * lanes_of(dtype))
    return _Block(offsets, sums, z, moved(z, outputs * block))


@jit
def _model(plan, m):
    """The plan of network m."""
    return pointer(plan[MODEL_PLANS + m], int64)


@jit
def _columns(plan):
    """How many columns of a block are passed over at a time."""
    return _BYTES // item_bytes(operand_of_x(plan, int64(0)))


@jit
def _list_rows(plan, part, own):
    """List the rows of a block and, behind them, those to prefetch: how many these are."""
    for i in range(part.rows):
        own.offsets[i] = row_number(plan, part.first + part.begin + i) * plan[w.X_ROW]
    for i in range(part.ahead):
        own.offsets[part.rows + i] = row_number(plan, part.then + i) * plan[w.X_ROW]


@jit
def _forward(plan, part, own, dtype):
    """own.z <- the products of a block's rows with W1, (outputs, block)."""
    lanes = lanes_of(dtype)
    n0, outputs = layer_word(plan, 0, w.INPUTS), layer_word(plan, 0, w.OUTPUTS)
    weight = layer_pointer(plan, 0, w.WEIGHT, dtype)
    groups = (part.rows + GROUP - 1) // GROUP
    of_group = outputs * GROUP * lanes
    for i in range(0, groups * of_group, lanes):
        store(own.sums, i, zeros(dtype))
    columns = _columns(plan)
    for j0 in range(0, n0, columns):
        for group in range(groups):
            offsets = moved(own.offsets, group * GROUP)
            multiply_rows(
                plan, int64(PRODUCTS), offsets, min(GROUP, part.rows - group * GROUP), offsets,
                weight, moved(own.sums, group * of_group), own.sums, j0,
                min(columns, n0 - j0),
            )  # fmt: skip
    for i in range(part.rows):
        sums = moved(own.sums, i // GROUP * of_group + i % GROUP * lanes)
        for o in range(outputs):
            own.z[o * plan[BLOCK] + i] = reduce_add(load(sums, o * GROUP * lanes, dtype))


@jit
def _above(plan, part, own, worker, tallies, height, dtype):
    """own.delta <- the deltas of the first layers, (outputs, block); what is above adds up.

    Every network's rows go up and back in its own tiles, ``height`` rows each.
    """
    lanes, block = lanes_of(dtype), plan[BLOCK]
    for m in range(plan[MODELS]):
        model = _model(plan, m)
        n1 = layer_word(model, 0, w.OUTPUTS)
        b = layer_pointer(model, 0, w.BIAS, dtype)
        tally = moved(tallies, m * tally_size(model, dtype))
        units = scratch(model, worker, dtype)
        for i in range(0, part.rows, height):
            rows = min(height, part.rows - i)
            for o in range(n1):
                store(units.act, o * lanes, zeros(dtype))
                z = moved(own.z, (m * n1 + o) * block + i)
                for r in range(rows):
                    units.act[o * lanes + r] = z[r] + b[o]
            tile = RowsOfStep(part.step, part.first + part.begin + i, rows, int64(0))
            go_above(model, units, int64(ROWS), tile, tally, int64(0), int64(1))
            for o in range(n1):
                delta = moved(own.delta, (m * n1 + o) * block + i)
                for r in range(rows):
                    delta[r] = units.delta[o * lanes + r]


@jit
def _back(plan, part, own, shard, dtype):
    """Add a block's gradient of W1 to the shard's; its first one is written there."""
    n0 = layer_word(plan, 0, w.INPUTS)
    old = dtype(0.0 if part.begin == 0 else 1.0)
    back = TileBack(own.offsets, part.rows, part.ahead, own.delta, plan[BLOCK])
    columns = _columns(plan)
    for j0 in range(0, n0, columns):
        count = min(columns, n0 - j0)
        change_weights(plan, shard, back, j0, count, old, dtype(1), False, own.z, dtype)


@jit
def _go_through(plan, worker, step, shard, begin, end, dtype):
    """Rows begin ... end of a step, forward and back: their gradients and tallies to ``shard``."""
    n0, outputs = layer_word(plan, 0, w.INPUTS), layer_word(plan, 0, w.OUTPUTS)
    model = _model(plan, int64(0))
    first = step * plan[w.BATCH]
    rows = min(plan[w.BATCH], plan[w.ROWS] - first)
    height = _tile_of(plan, model, rows, dtype)
    own = _block_of(plan, worker, dtype)
    tallies = moved(shard, outputs * n0)
    for m in range(plan[MODELS]):
        clear_tally(model, moved(tallies, m * tally_size(model, dtype)), dtype)
    for i in range(begin, end, plan[BLOCK]):
        count = min(plan[BLOCK], end - i)
        then = first + i + count
        ahead = min(_AHEAD, end - i - count)
        if ahead == 0:  # this thread's part of the next step, as like as not
            then = min(first + rows + begin, plan[w.ROWS])
            ahead = min(_AHEAD, plan[w.ROWS] - then)
        part = _Part(step, first, i, count, then, ahead)
        _list_rows(plan, part, own)
        _forward(plan, part, own, dtype)
        _above(plan, part, own, worker, tallies, height, dtype)
        back = _Part(step, first, i - begin, count, then, ahead)
        _back(plan, back, own, shard, dtype)


@jit
def _tile_of(plan, model, rows, dtype):
    """Rows of a network's tile in a step of ``rows`` rows, as `narrow.shards` cuts them."""
    if rows <= lanes_of(dtype) and not needs_gradient(model):
        return rows
    return plan[w.TILE]


@jit
def _update(plan, worker, step, shards, size, count, task, dtype):
    """Task ``task`` of an update: of all networks, chunks of W1's columns and what is above it."""
    n0 = layer_word(plan, 0, w.INPUTS)
    tasks = (n0 + CHUNK - 1) // CHUNK + 1
    m, chunk = task // tasks, task % tasks
    model = _model(plan, m)
    own = scratch(model, worker, dtype)
    n1 = layer_word(model, 0, w.OUTPUTS)
    first = layer_word(plan, 0, w.OUTPUTS) * n0 + m * tally_size(model, dtype)
    tallies = moved(shards, first)
    if chunk == tasks - 1:
        zero = int64(0)
        go_above(
            model, own, int64(UPDATE), RowsOfStep(step, zero, zero, zero), tallies, size, count
        )
        return
    j0 = chunk * CHUNK
    bias_steps(model, step, tallies, size, count, own.totals, dtype)
    gradients = moved(shards, m * n1 * n0)
    update_first(
        model, step, gradients, size, count, own.totals, j0, min(CHUNK, n0 - j0), dtype
    )  # fmt: skip


@jit
def _run(context, worker, dtype):
    """Make steps FIRST ... LAST - 1."""
    plan = pointer(context, int64)
    team = pointer(plan[w.TEAM], int64)
    shards = pointer(plan[w.SHARED], dtype)
    model = _model(plan, int64(0))
    n0 = layer_word(plan, 0, w.INPUTS)
    size = layer_word(plan, 0, w.OUTPUTS) * n0 + plan[MODELS] * tally_size(model, dtype)
    updates = ((n0 + CHUNK - 1) // CHUNK + 1) * plan[MODELS]
    phase = int64(-1)
    for step in range(plan[w.FIRST], plan[w.LAST]):
        rows = min(plan[w.BATCH], plan[w.ROWS] - step * plan[w.BATCH])
        tile = _tile_of(plan, model, rows, dtype)
        count = _shard_count(rows, CORES)
        each = ((rows + count - 1) // count + tile - 1) // tile * tile
        count = (rows + each - 1) // each
        phase += 1
        home = worker * count // plan[w.WORKERS] % count
        task = first_near_task(team, phase, count, home)
        while task >= 0:
            shard = moved(shards, task * size)
            _go_through(
                plan, worker, step, shard, task * each, min(task * each + each, rows), dtype
            )  # fmt: skip
            task = following_task(team, phase, count, claim_near(team, phase, count, home))
        phase += 1
        task = next_task(team, phase, updates, False)
        while task >= 0:
            _update(plan, worker, step, shards, size, count, task, dtype)
            task = next_task(team, phase, updates, True)


@region
def _float32(context: int, worker: int) -> None:
    _run(context, worker, float32)


@region
def _float64(context: int, worker: int) -> None:
    _run(context, worker, float64)


regions = {"float32": _float32, "float64": _float64}
"""The region for each dtype of the networks."""
