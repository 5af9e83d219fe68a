"""Training and inference where the first layer is narrow: X is read once.

A row's forward pass needs that row alone. So a tile of rows goes forward, through the small rest
of the network, and back into the gradient while it lies in the cache, and X crosses the memory
bus once for each step, where forward and backward passes over the whole batch read it twice.

A batch is cut into shards by its size alone. A shard is one task: it adds up its share of the
gradient, tile by tile, in a buffer of its own (a narrow layer's, small enough for the level-2
cache); a second phase adds the shards in order and updates the weights. A batch of one tile needs
no shards: its gradient goes straight from registers into the weights.

The layers above the first are in `narrow_layers`; the inner loops are in `narrow_tiles`.

Scratch memory, in elements of ``dtype``, lanes = L and tile = L rows:
    private   192 int64 of row offsets; sums (n1, 64, L); act (units, L); delta (units, L);
              what a shard has besides the gradient of W1; folded (n1, BLOCK)
    shard     gradient of W1 (n1, n0); gradients of b1 and of the parameters above, L partial
              sums each; loss (L); correct (L)
    folded    W1 * scale (n1, n0); W1 * shift added up (chunks, n1); for bytes only
"""

from __future__ import annotations

from collections import namedtuple
from itertools import pairwise

from numba import float32, float64, int64, uint8

from fastbp.kernels import machine
from fastbp.kernels import plan as p
from fastbp.kernels.functions import sigmoid
from fastbp.kernels.jit import jit, region
from fastbp.kernels.narrow_columns import (
    BLOCK,
    ROWS_BY_COLUMNS,
    is_by_columns,
    train_by_columns,
)
from fastbp.kernels.narrow_emit import GROUP, OUTPUTS
from fastbp.kernels.narrow_folding import fold_weights, folds_sums
from fastbp.kernels.narrow_layers import (
    add_shards,
    backward_above,
    clear_sums,
    layers_above,
    output_delta,
    row_number,
    shard_size,
    units,
    update_above,
)
from fastbp.kernels.narrow_tiles import add_outer_products, add_products
from fastbp.kernels.plan import layer_pointer, layer_word
from fastbp.kernels.team import next_task, unclaimed
from fastbp.kernels.vectors import (
    fma,
    lanes_of,
    load,
    load_part,
    moved,
    pointer,
    recast,
    reduce_add,
    splat,
    store,
    store_part,
    zeros,
)

__all__ = [
    "MOST_OUTPUTS",
    "MOST_PARAMETERS_ABOVE",
    "is_by_columns",
    "private_bytes",
    "regions",
    "shard_bytes",
    "tile_rows",
]

MOST_OUTPUTS = 16  # wider first layers are left to the matrix product, which packs X
MOST_PARAMETERS_ABOVE = 2048  # ... and so are networks that are not small above it
_CHUNK = 2048  # columns in one sweep over a tile: their part of W stays in the level-1 cache
_MOST_SHARDS = 16
_ROWS_AHEAD = 2  # of the next tile, see `tile_rows`

_Scratch = namedtuple("_Scratch", ["offsets", "ahead", "sums", "act", "delta", "tally", "folded"])


def shard_count(rows: int) -> int:
    """How many shards a batch is cut into.

    Of 64 rows, so that writing and adding up their gradients is little beside reading the rows
    (a step of 256 took 5% longer with shards of 32); but two from 32 rows on, for two threads.
    """
    return max(1, min(_MOST_SHARDS, max(rows // 64, min(2, rows // 16))))


_shard_count = jit(shard_count)


def tile_rows(row_bytes: int, lanes: int) -> int:
    """Rows of a tile: they take a quarter of the level-2 cache, beside W1 and its gradient.

    At 12,288 float32 and 2 MiB that is 8: forward and back from memory took 4.35 us a row with 8,
    4.76 with 16, 4.45 with 4. On the way back the memory would rest, so the next tile is asked for
    meanwhile: a step of 1024 rows took 2.53 ms with none of its rows, 2.24, 2.19, 2.29 with 1, 2
    and 3, and 2.60 with all 8, more than memory can deliver in that time.
    """
    rows = machine.CACHES.l2 // 4 // row_bytes // GROUP * GROUP
    return min(lanes, max(GROUP, rows))


def private_bytes(layer_sizes: tuple[int, ...], lanes: int, itemsize: int) -> int:
    """Bytes of scratch memory that one thread needs."""
    above = sum((a + 1) * b for a, b in pairwise(layer_sizes[1:]))
    vectors = layer_sizes[1] * (ROWS_BY_COLUMNS + 1) + 2 * sum(layer_sizes[1:]) + above + 2
    return 3 * ROWS_BY_COLUMNS * 8 + (vectors * lanes + layer_sizes[1] * BLOCK) * itemsize


def shard_bytes(layer_sizes: tuple[int, ...], lanes: int, itemsize: int, batch: int) -> int:
    """Bytes of scratch memory that the shards of a batch need together."""
    above = sum((a + 1) * b for a, b in pairwise(layer_sizes[1:]))
    size = layer_sizes[1] * layer_sizes[0] + (layer_sizes[1] + above + 2) * lanes
    return shard_count(batch) * size * itemsize


def folded_bytes(layer_sizes: tuple[int, ...], itemsize: int) -> int:
    """Bytes of shared scratch memory for the weights times the scale of bytes."""
    chunks = -(-layer_sizes[0] // _CHUNK)
    return layer_sizes[1] * (layer_sizes[0] + chunks) * itemsize


@jit
def _scratch(plan, worker, dtype):
    lanes = lanes_of(dtype)
    offsets = pointer(plan[p.PRIVATE] + worker * plan[p.PRIVATE_STEP], int64)
    ahead = moved(offsets, 2 * ROWS_BY_COLUMNS)
    sums = recast(moved(ahead, ROWS_BY_COLUMNS), dtype)
    act = moved(sums, layer_word(plan, 0, p.OUTPUTS) * ROWS_BY_COLUMNS * lanes)
    delta = moved(act, units(plan) * lanes)
    tally = moved(delta, units(plan) * lanes)
    size = shard_size(plan, dtype) - layer_word(plan, 0, p.OUTPUTS) * layer_word(plan, 0, p.INPUTS)
    return _Scratch(offsets, ahead, sums, act, delta, tally, moved(tally, size))


@jit
def _fold_chunk(plan, task, own, dtype):
    """Bring chunk ``task`` of W1 * scale and of the sums of W1 * shift up to date."""
    lanes = lanes_of(dtype)
    n0 = layer_word(plan, 0, p.INPUTS)
    n1 = layer_word(plan, 0, p.OUTPUTS)
    folded = pointer(plan[p.FOLDED], dtype)
    j0 = task * _CHUNK
    for o in range(n1):
        store(own.sums, o * lanes, zeros(dtype))
    fold_weights(plan, j0, min(_CHUNK, n0 - j0), folded, n0, own.sums, dtype)
    for o in range(n1):
        folded[n1 * n0 + task * n1 + o] = reduce_add(load(own.sums, o * lanes, dtype))


@jit
def _fold_all(plan, team, own, dtype):
    """Do so with all chunks, if bytes are preprocessed. Returns the number of the last phase."""
    if not folds_sums(plan):
        return int64(-1)
    chunks = (layer_word(plan, 0, p.INPUTS) + _CHUNK - 1) // _CHUNK
    task = next_task(team, int64(0), chunks, False)
    while task >= 0:
        _fold_chunk(plan, task, own, dtype)
        task = next_task(team, int64(0), chunks, True)
    return int64(0)


@jit
def _first_layer(plan, x, shift, scale, start, rows, own, dtype):
    """own.act[:n1] <- Z of the first layer for rows start ... start + rows <= lanes."""
    lanes = lanes_of(dtype)
    n0 = layer_word(plan, 0, p.INPUTS)
    n1 = layer_word(plan, 0, p.OUTPUTS)
    w = layer_pointer(plan, 0, p.WEIGHT, dtype)
    if folds_sums(plan):
        w = pointer(plan[p.FOLDED], dtype)
    b = layer_pointer(plan, 0, p.BIAS, dtype)
    for i in range(rows):
        own.offsets[i] = row_number(plan, start + i) * plan[p.X_ROW]
    for i in range(n1 * lanes):
        store(own.sums, i * lanes, zeros(dtype))
    for j0 in range(0, n0, _CHUNK):
        count = min(_CHUNK, n0 - j0)
        for i in range(0, rows, GROUP):
            for o in range(0, n1, OUTPUTS):
                add_products(
                    moved(own.sums, (i * n1 + o * GROUP) * lanes), x, moved(own.offsets, i),
                    shift, scale, moved(w, o * n0), n0, j0, count,
                    min(GROUP, rows - i), min(OUTPUTS, n1 - o),
                )  # fmt: skip
    for o in range(n1):
        constant = b[o]
        if folds_sums(plan):
            for task in range((n0 + _CHUNK - 1) // _CHUNK):
                constant += w[n1 * n0 + task * n1 + o]
        store(own.act, o * lanes, zeros(dtype))
        for i in range(rows):
            group = i // GROUP * GROUP
            total = load(own.sums, (group * n1 + o * GROUP + i - group) * lanes, dtype)
            own.act[o * lanes + i] = reduce_add(total) + constant


@jit
def _tile(
    plan,
    x,
    shift,
    scale,
    start,
    rows,
    batch_rows,
    then,
    own,
    shard,
    target,
    keep,
    factor,
    whole,
    dtype,
):
    """Forward and back for one tile: target <- keep * target + factor * its gradient of W1.

    ``then`` is the row that the next tile begins with; there may be no such row. Unless ``whole``,
    the gradient of bytes is left as it is before they are preprocessed.
    """
    lanes = lanes_of(dtype)
    n0 = layer_word(plan, 0, p.INPUTS)
    n1 = layer_word(plan, 0, p.OUTPUTS)
    outputs = layer_word(plan, plan[p.LAYERS] - 1, p.OUTPUTS)
    tally = moved(shard, n1 * n0)
    _first_layer(plan, x, shift, scale, start, rows, own, dtype)
    z = layers_above(plan, own, dtype)
    last = moved(own.delta, (units(plan) - outputs) * lanes)
    output_delta(plan, z, last, start, rows, batch_rows, tally, dtype)
    backward_above(plan, own, moved(tally, 2 * lanes), dtype)
    later = max(min(_ROWS_AHEAD, plan[p.ROWS] - then), 0)
    for i in range(later):
        own.offsets[rows + i] = row_number(plan, then + i) * plan[p.X_ROW]
    folds = whole and folds_sums(plan)
    sums_shift = pointer(plan[p.SHIFT] if folds else int64(0), dtype)
    sums_scale = pointer(plan[p.SCALE] if folds else int64(0), dtype)
    for o in range(n1):
        own.sums[o] = reduce_add(load(own.delta, o * lanes, dtype))
    for o in range(0, n1, OUTPUTS):
        add_outer_products(
            moved(target, o * n0), n0, x, own.offsets, shift, scale, moved(own.delta, o * lanes),
            lanes, int64(0), n0, rows, later if o == 0 else int64(0), min(OUTPUTS, n1 - o),
            dtype(keep), dtype(factor), sums_shift, sums_scale, moved(own.sums, o),
        )  # fmt: skip


@jit
def _update_first(plan, shards, size, count, j0, columns, dtype):
    """Update columns j0 ... j0 + columns of W1 with the sum of the shards."""
    lanes = lanes_of(dtype)
    n0 = layer_word(plan, 0, p.INPUTS)
    n1 = layer_word(plan, 0, p.OUTPUTS)
    folds = folds_sums(plan)
    shift = pointer(plan[p.SHIFT], dtype)
    scale = pointer(plan[p.SCALE], dtype)
    w = layer_pointer(plan, 0, p.WEIGHT, dtype)
    settings = pointer(plan[p.SETTINGS], float64)
    rate = splat(-settings[p.LEARNING_RATE], dtype)
    keep = splat(1.0 - settings[p.LEARNING_RATE] * settings[p.WEIGHT_DECAY], dtype)
    for o in range(n1):
        of_b1 = size - (n1 - o) * lanes
        total = splat(reduce_add(add_shards(shards, size, of_b1, count, dtype)), dtype)
        for j in range(j0, j0 + columns, lanes):
            at = o * n0 + j
            slope = add_shards(shards, size, at, count, dtype)
            rest = min(lanes, j0 + columns - j)
            if folds:
                scales = load_part(scale, j, rest, dtype)
                slope = fma(slope, scales, load_part(shift, j, rest, dtype) * total)
            if rest == lanes:
                store(w, at, fma(rate, slope, keep * load(w, at, dtype)))
            else:
                old = load_part(w, at, rest, dtype)
                store_part(w, at, rest, fma(rate, slope, keep * old))


@jit
def _train(plan, x, shift, scale, worker, dtype):
    """Make steps FIRST ... LAST - 1."""
    lanes = lanes_of(dtype)
    team = pointer(plan[p.TEAM], int64)
    own = _scratch(plan, worker, dtype)
    shards = pointer(plan[p.SHARED], dtype)
    size = shard_size(plan, dtype)
    n0 = layer_word(plan, 0, p.INPUTS)
    settings = pointer(plan[p.SETTINGS], float64)
    rate = settings[p.LEARNING_RATE]
    keep = 1.0 - rate * settings[p.WEIGHT_DECAY]
    if plan[p.BY_COLUMNS] != 0:
        train_by_columns(plan, x, shift, scale, worker, own, shards, dtype)
        return
    phase = _fold_all(plan, team, own, dtype)
    chunks = (n0 + _CHUNK - 1) // _CHUNK
    for step in range(plan[p.FIRST], plan[p.LAST]):
        first = step * plan[p.BATCH]
        rows = min(plan[p.BATCH], plan[p.ROWS] - first)
        if rows <= lanes:
            phase += 1
            task = next_task(team, phase, 1, False)
            while task >= 0:
                w = layer_pointer(plan, 0, p.WEIGHT, dtype)
                clear_sums(plan, shards, dtype)
                _tile(
                    plan, x, shift, scale, first, rows, rows, plan[p.ROWS], own, shards, w, keep,
                    -rate, True, dtype,
                )  # fmt: skip
                update_above(plan, shards, size, 1, dtype)
                if folds_sums(plan):
                    for chunk in range(chunks):
                        _fold_chunk(plan, chunk, own, dtype)
                task = next_task(team, phase, 1, True)
            continue
        count = _shard_count(rows)
        tile = plan[p.TILE]
        each = ((rows + count - 1) // count + tile - 1) // tile * tile
        count = (rows + each - 1) // each
        phase += 1
        task = next_task(team, phase, count, False)
        while task >= 0:
            shard = moved(shards, task * size)
            clear_sums(plan, shard, dtype)
            begin = task * each
            end = min(begin + each, rows)
            for i in range(begin, end, tile):
                height = min(tile, rows - i)
                old = 0.0 if i == begin else 1.0
                then = first + i + tile
                if i + tile >= end:
                    likely = unclaimed(team, phase, count)
                    # With none left, this thread's part of the next step, as like as not.
                    then = first + (likely * each if likely >= 0 else rows + worker * each)
                _tile(
                    plan, x, shift, scale, first + i, height, rows, then, own, shard, shard,
                    old, 1.0, False, dtype,
                )  # fmt: skip
            task = next_task(team, phase, count, True)
        phase += 1
        task = next_task(team, phase, chunks + 1, False)
        while task >= 0:
            if task == chunks:
                update_above(plan, shards, size, count, dtype)
            else:
                j0 = task * _CHUNK
                _update_first(plan, shards, size, count, j0, min(_CHUNK, n0 - j0), dtype)
                if folds_sums(plan):
                    _fold_chunk(plan, task, own, dtype)
            task = next_task(team, phase, chunks + 1, True)


@jit
def _forward(plan, x, shift, scale, worker, dtype):
    """OUT <- Z of the last layer, or its sigmoid, for all rows."""
    lanes = lanes_of(dtype)
    team = pointer(plan[p.TEAM], int64)
    own = _scratch(plan, worker, dtype)
    out = pointer(plan[p.OUT], dtype)
    outputs = layer_word(plan, plan[p.LAYERS] - 1, p.OUTPUTS)
    n = plan[p.ROWS]
    tasks = (n + lanes - 1) // lanes
    phase = _fold_all(plan, team, own, dtype) + 1
    task = next_task(team, phase, tasks, False)
    while task >= 0:
        start = task * lanes
        rows = min(lanes, n - start)
        _first_layer(plan, x, shift, scale, start, rows, own, dtype)
        z = layers_above(plan, own, dtype)
        for o in range(outputs):
            if plan[p.SIGMOID_OUT] != 0:
                store(z, o * lanes, sigmoid(load(z, o * lanes, dtype), dtype))
            for i in range(rows):
                out[(start + i) * outputs + o] = z[o * lanes + i]
        task = next_task(team, phase, tasks, True)


@jit
def _run(context, worker, source, dtype):
    plan = pointer(context, int64)
    x = pointer(plan[p.X], source)
    if plan[p.OPERATION] == p.TRAIN:
        _train(plan, x, None, None, worker, dtype)
    else:
        _forward(plan, x, None, None, worker, dtype)


@jit
def _run_folded(context, worker, source, dtype):
    plan = pointer(context, int64)
    x = pointer(plan[p.X], source)
    shift = pointer(plan[p.SHIFT], dtype)
    scale = pointer(plan[p.SCALE], dtype)
    if plan[p.OPERATION] == p.TRAIN:
        _train(plan, x, shift, scale, worker, dtype)
    else:
        _forward(plan, x, shift, scale, worker, dtype)


@region
def _float32_of_float32(context: int, worker: int) -> None:
    _run(context, worker, float32, float32)


@region
def _float32_of_float32_folded(context: int, worker: int) -> None:
    _run_folded(context, worker, float32, float32)


@region
def _float32_of_float64_folded(context: int, worker: int) -> None:
    _run_folded(context, worker, float64, float32)


@region
def _float32_of_uint8(context: int, worker: int) -> None:
    _run(context, worker, uint8, float32)


@region
def _float64_of_float64(context: int, worker: int) -> None:
    _run(context, worker, float64, float64)


@region
def _float64_of_float64_folded(context: int, worker: int) -> None:
    _run_folded(context, worker, float64, float64)


@region
def _float64_of_float32_folded(context: int, worker: int) -> None:
    _run_folded(context, worker, float32, float64)


@region
def _float64_of_uint8(context: int, worker: int) -> None:
    _run(context, worker, uint8, float64)


regions = {
    ("float32", "float32", False): _float32_of_float32,
    ("float32", "float32", True): _float32_of_float32_folded,
    ("float32", "float64", True): _float32_of_float64_folded,
    ("float32", "uint8", False): _float32_of_uint8,
    ("float32", "uint8", True): _float32_of_uint8,
    ("float64", "float64", False): _float64_of_float64,
    ("float64", "float64", True): _float64_of_float64_folded,
    ("float64", "float32", True): _float64_of_float32_folded,
    ("float64", "uint8", False): _float64_of_uint8,
    ("float64", "uint8", True): _float64_of_uint8,
}
"""The region for (dtype of the network, dtype of X, whether shift and scale are given).

A region is compiled when it is first used. For floats of another type than the network's there is
no region without shift and scale: the caller passes zeros and ones, which leave every value as it
is.
"""
