"""Training and inference where the first layer is narrow: X is read once.

A row's forward pass needs that row alone. So a tile of rows goes forward, through the small rest
of the network, and back into the gradient while it lies in the cache, and X crosses the memory
bus once for each step, where forward and backward passes over the whole batch read it twice.

A batch is cut into shards by its size alone. A shard is one task: it adds up its share of the
gradient, tile by tile, in a buffer of its own (a narrow layer's, small enough for the level-2
cache); a second phase adds the shards in order and updates the weights. A batch of one tile needs
no shards: its gradient goes straight from registers into the weights.

In a tile, the rows are the lanes of a vector: the layers above the first compute on one vector
for each unit, so that their few multiply-adds and sigmoids serve all rows of the tile at once.

Scratch memory, in elements of ``dtype``, lanes = L and tile = L rows:
    private   L int64 of row offsets; sums (n1, L, L); act (units, L); delta (units, L)
    shard     gradient of W1 (n1, n0); gradients of b1 and of the parameters above, L partial
              sums each; loss (L); correct (L)
"""

from __future__ import annotations

from collections import namedtuple
from itertools import pairwise

from numba import float32, float64, int64, uint8

from fastbp.kernels import machine
from fastbp.kernels import plan as p
from fastbp.kernels.functions import sigmoid, softplus
from fastbp.kernels.jit import jit, region
from fastbp.kernels.narrow_tiles import GROUP, OUTPUTS, add_outer_products, add_products
from fastbp.kernels.plan import layer_pointer, layer_word
from fastbp.kernels.team import next_task
from fastbp.kernels.vectors import (
    fma,
    lanes_of,
    load,
    load_part,
    moved,
    pointer,
    reduce_add,
    select_less,
    splat,
    store,
    store_part,
    zeros,
)

__all__ = [
    "MOST_OUTPUTS",
    "MOST_PARAMETERS_ABOVE",
    "private_bytes",
    "regions",
    "shard_bytes",
    "tile_rows",
]

MOST_OUTPUTS = 16  # wider first layers are left to the matrix product, which packs X
MOST_PARAMETERS_ABOVE = 2048  # ... and so are networks that are not small above it
_CHUNK = 2048  # columns in one sweep over a tile: their part of W stays in the level-1 cache
_ROWS_OF_SHARD = 32
_MOST_SHARDS = 16

_Scratch = namedtuple("_Scratch", ["offsets", "sums", "act", "delta"])


def tile_rows(row_bytes: int, lanes: int) -> int:
    """Rows of a tile: they take a quarter of the level-2 cache, beside W1 and its gradient.

    At 12,288 float32 and 2 MiB that is 8: forward and back from memory took 4.35 us a row with 8,
    4.76 with 16, 4.45 with 4. Prefetching the next tile on the way back made it slower.
    """
    rows = machine.CACHES.l2 // 4 // row_bytes // GROUP * GROUP
    return min(lanes, max(GROUP, rows))


def private_bytes(layer_sizes: tuple[int, ...], lanes: int, itemsize: int) -> int:
    """Bytes of scratch memory that one thread needs."""
    units = sum(layer_sizes[1:])
    return lanes * 8 + (layer_sizes[1] * lanes * lanes + 2 * units * lanes) * itemsize


def shard_bytes(layer_sizes: tuple[int, ...], lanes: int, itemsize: int, batch: int) -> int:
    """Bytes of scratch memory that the shards of a batch need together."""
    above = sum((a + 1) * b for a, b in pairwise(layer_sizes[1:]))
    size = layer_sizes[1] * layer_sizes[0] + (layer_sizes[1] + above + 2) * lanes
    return min(_MOST_SHARDS, max(1, batch // _ROWS_OF_SHARD)) * size * itemsize


@jit
def _scratch(plan, worker, dtype):
    lanes = lanes_of(dtype)
    address = plan[p.PRIVATE] + worker * plan[p.PRIVATE_STEP]
    sums = pointer(address + lanes * 8, dtype)
    act = moved(sums, layer_word(plan, 0, p.OUTPUTS) * lanes * lanes)
    return _Scratch(pointer(address, int64), sums, act, moved(act, _units(plan) * lanes))


@jit
def _units(plan):
    units = int64(0)
    for layer in range(plan[p.LAYERS]):
        units += layer_word(plan, layer, p.OUTPUTS)
    return units


@jit
def _shard_size(plan, dtype):
    lanes = lanes_of(dtype)
    above = int64(0)
    for layer in range(1, plan[p.LAYERS]):
        above += layer_word(plan, layer, p.OUTPUTS) * (layer_word(plan, layer, p.INPUTS) + 1)
    n1 = layer_word(plan, 0, p.OUTPUTS)
    return n1 * layer_word(plan, 0, p.INPUTS) + (n1 + above + 2) * lanes


@jit
def _row_number(plan, i):
    if plan[p.ORDER] != 0:
        return pointer(plan[p.ORDER], int64)[i]
    return i


@jit
def _first_layer(plan, x, shift, scale, start, rows, own, dtype):
    """own.act[:n1] <- Z of the first layer for rows start ... start + rows <= lanes."""
    lanes = lanes_of(dtype)
    n0 = layer_word(plan, 0, p.INPUTS)
    n1 = layer_word(plan, 0, p.OUTPUTS)
    w = layer_pointer(plan, 0, p.WEIGHT, dtype)
    b = layer_pointer(plan, 0, p.BIAS, dtype)
    for i in range(rows):
        own.offsets[i] = _row_number(plan, start + i) * plan[p.X_ROW]
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
        store(own.act, o * lanes, zeros(dtype))
        for i in range(rows):
            group = i // GROUP * GROUP
            total = load(own.sums, (group * n1 + o * GROUP + i - group) * lanes, dtype)
            own.act[o * lanes + i] = reduce_add(total) + b[o]


@jit
def _layers_above(plan, own, dtype):
    """Forward from Z of the first layer in own.act: activations there, Z of the last layer."""
    lanes = lanes_of(dtype)
    below = own.act
    for layer in range(1, plan[p.LAYERS]):
        inputs = layer_word(plan, layer, p.INPUTS)
        outputs = layer_word(plan, layer, p.OUTPUTS)
        w = layer_pointer(plan, layer, p.WEIGHT, dtype)
        b = layer_pointer(plan, layer, p.BIAS, dtype)
        above = moved(below, inputs * lanes)
        for i in range(inputs):
            store(below, i * lanes, sigmoid(load(below, i * lanes, dtype), dtype))
        for o in range(outputs):
            z = splat(b[o], dtype)
            for i in range(inputs):
                z = fma(splat(w[o * inputs + i], dtype), load(below, i * lanes, dtype), z)
            store(above, o * lanes, z)
        below = above
    return below


@jit
def _output_delta(plan, z, delta, start, rows, batch_rows, tally, dtype):
    """The delta of the last layer; the tile's log loss and right answers are added to ``tally``."""
    lanes = lanes_of(dtype)
    outputs = layer_word(plan, plan[p.LAYERS] - 1, p.OUTPUTS)
    y = pointer(plan[p.Y], dtype)
    for o in range(outputs):
        for i in range(rows):
            delta[o * lanes + i] = y[_row_number(plan, start + i) * outputs + o]
    one = splat(1.0, dtype)
    zero = zeros(dtype)
    share = splat(1.0 / batch_rows, dtype)
    loss = zero
    right = one
    for o in range(outputs):
        target = load_part(delta, o * lanes, rows, dtype)
        x = load(z, o * lanes, dtype)
        loss += softplus(x, dtype) - target * x
        answer = select_less(x, zero, zero, one)
        truth = select_less(target, splat(0.5, dtype), zero, one)
        right *= one - (answer - truth) * (answer - truth)
        store(delta, o * lanes, zero)
        store_part(delta, o * lanes, rows, (sigmoid(x, dtype) - target) * share)
    correct = moved(tally, lanes)
    store_part(tally, 0, rows, load(tally, 0, dtype) + loss)
    store_part(correct, 0, rows, load(correct, 0, dtype) + right)


@jit
def _backward_above(plan, own, sums, dtype):
    """From delta of the last layer to delta of the first; the gradients are added to ``sums``.

    ``sums`` holds, for each layer from the last to the first, that of b (outputs) and, above the
    first layer, that of W (outputs, inputs): lanes partial sums each.
    """
    lanes = lanes_of(dtype)
    units = _units(plan)
    layer = plan[p.LAYERS] - 1
    at = units
    while layer >= 0:
        outputs = layer_word(plan, layer, p.OUTPUTS)
        inputs = layer_word(plan, layer, p.INPUTS)
        w = layer_pointer(plan, layer, p.WEIGHT, dtype)
        at -= outputs
        delta = moved(own.delta, at * lanes)
        for o in range(outputs):
            store(sums, o * lanes, load(sums, o * lanes, dtype) + load(delta, o * lanes, dtype))
        sums = moved(sums, outputs * lanes)
        if layer > 0:
            act = moved(own.act, (at - inputs) * lanes)
            below = moved(own.delta, (at - inputs) * lanes)
            for i in range(inputs):
                a = load(act, i * lanes, dtype)
                back = zeros(dtype)
                for o in range(outputs):
                    d = load(delta, o * lanes, dtype)
                    back = fma(splat(w[o * inputs + i], dtype), d, back)
                    k = (o * inputs + i) * lanes
                    store(sums, k, fma(d, a, load(sums, k, dtype)))
                store(below, i * lanes, back * (a * (splat(1.0, dtype) - a)))
            sums = moved(sums, outputs * inputs * lanes)
        layer -= 1


@jit
def _tile(plan, x, shift, scale, start, rows, batch_rows, own, shard, target, keep, factor, dtype):
    """Forward and back for one tile: target <- keep * target + factor * its gradient of W1."""
    lanes = lanes_of(dtype)
    n0 = layer_word(plan, 0, p.INPUTS)
    n1 = layer_word(plan, 0, p.OUTPUTS)
    outputs = layer_word(plan, plan[p.LAYERS] - 1, p.OUTPUTS)
    tally = moved(shard, n1 * n0)
    _first_layer(plan, x, shift, scale, start, rows, own, dtype)
    z = _layers_above(plan, own, dtype)
    last = moved(own.delta, (_units(plan) - outputs) * lanes)
    _output_delta(plan, z, last, start, rows, batch_rows, tally, dtype)
    _backward_above(plan, own, moved(tally, 2 * lanes), dtype)
    for o in range(0, n1, OUTPUTS):
        add_outer_products(
            moved(target, o * n0), n0, x, own.offsets, shift, scale, moved(own.delta, o * lanes),
            lanes, int64(0), n0, rows, min(OUTPUTS, n1 - o), dtype(keep), dtype(factor),
        )  # fmt: skip


@jit
def _clear_sums(plan, shard, dtype):
    """Zero all of a shard but its gradient of W1, which the first tile overwrites."""
    n0 = layer_word(plan, 0, p.INPUTS)
    first = layer_word(plan, 0, p.OUTPUTS) * n0
    for i in range(first, _shard_size(plan, dtype), lanes_of(dtype)):
        store(shard, i, zeros(dtype))


@jit
def _add_shards(shards, size, at, count, dtype):
    """The sum over the shards of the vector at ``at``, in order."""
    total = load(shards, at, dtype)
    for s in range(1, count):
        total += load(shards, s * size + at, dtype)
    return total


@jit
def _update_above(plan, shards, size, count, dtype):
    """Update b1 and all parameters above the first layer; add up loss and right answers."""
    lanes = lanes_of(dtype)
    settings = pointer(plan[p.SETTINGS], float64)
    rate = dtype(settings[p.LEARNING_RATE])
    keep = dtype(1.0 - settings[p.LEARNING_RATE] * settings[p.WEIGHT_DECAY])
    at = layer_word(plan, 0, p.OUTPUTS) * layer_word(plan, 0, p.INPUTS)
    settings[p.LOSS] += reduce_add(_add_shards(shards, size, at, count, dtype))
    settings[p.CORRECT] += reduce_add(_add_shards(shards, size, at + lanes, count, dtype))
    at += 2 * lanes
    layer = plan[p.LAYERS] - 1
    while layer >= 0:
        outputs = layer_word(plan, layer, p.OUTPUTS)
        inputs = layer_word(plan, layer, p.INPUTS)
        w = layer_pointer(plan, layer, p.WEIGHT, dtype)
        b = layer_pointer(plan, layer, p.BIAS, dtype)
        for o in range(outputs):
            b[o] -= rate * reduce_add(_add_shards(shards, size, at, count, dtype))
            at += lanes
        if layer > 0:
            for i in range(outputs * inputs):
                slope = reduce_add(_add_shards(shards, size, at, count, dtype))
                w[i] = keep * w[i] - rate * slope
                at += lanes
        layer -= 1


@jit
def _update_first(plan, shards, size, count, j0, columns, dtype):
    """Update columns j0 ... j0 + columns of W1 with the sum of the shards."""
    lanes = lanes_of(dtype)
    n0 = layer_word(plan, 0, p.INPUTS)
    w = layer_pointer(plan, 0, p.WEIGHT, dtype)
    settings = pointer(plan[p.SETTINGS], float64)
    rate = splat(-settings[p.LEARNING_RATE], dtype)
    keep = splat(1.0 - settings[p.LEARNING_RATE] * settings[p.WEIGHT_DECAY], dtype)
    for o in range(layer_word(plan, 0, p.OUTPUTS)):
        for j in range(j0, j0 + columns, lanes):
            at = o * n0 + j
            slope = _add_shards(shards, size, at, count, dtype)
            rest = min(lanes, j0 + columns - j)
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
    size = _shard_size(plan, dtype)
    n0 = layer_word(plan, 0, p.INPUTS)
    settings = pointer(plan[p.SETTINGS], float64)
    rate = settings[p.LEARNING_RATE]
    keep = 1.0 - rate * settings[p.WEIGHT_DECAY]
    phase = int64(-1)
    for step in range(plan[p.FIRST], plan[p.LAST]):
        first = step * plan[p.BATCH]
        rows = min(plan[p.BATCH], plan[p.ROWS] - first)
        if rows <= lanes:
            phase += 1
            task = next_task(team, phase, 1, False)
            while task >= 0:
                w = layer_pointer(plan, 0, p.WEIGHT, dtype)
                _clear_sums(plan, shards, dtype)
                _tile(
                    plan, x, shift, scale, first, rows, rows, own, shards, w, keep, -rate, dtype,
                )  # fmt: skip
                _update_above(plan, shards, size, 1, dtype)
                task = next_task(team, phase, 1, True)
            continue
        count = min(_MOST_SHARDS, max(1, rows // _ROWS_OF_SHARD))
        tile = plan[p.TILE]
        each = ((rows + count - 1) // count + tile - 1) // tile * tile
        count = (rows + each - 1) // each
        phase += 1
        task = next_task(team, phase, count, False)
        while task >= 0:
            shard = moved(shards, task * size)
            _clear_sums(plan, shard, dtype)
            begin = task * each
            for i in range(begin, min(begin + each, rows), tile):
                height = min(tile, rows - i)
                old = 0.0 if i == begin else 1.0
                _tile(
                    plan, x, shift, scale, first + i, height, rows, own, shard, shard,
                    old, 1.0, dtype,
                )  # fmt: skip
            task = next_task(team, phase, count, True)
        chunks = (n0 + _CHUNK - 1) // _CHUNK
        phase += 1
        task = next_task(team, phase, chunks + 1, False)
        while task >= 0:
            if task == chunks:
                _update_above(plan, shards, size, count, dtype)
            else:
                j0 = task * _CHUNK
                _update_first(plan, shards, size, count, j0, min(_CHUNK, n0 - j0), dtype)
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
    task = next_task(team, 0, tasks, False)
    while task >= 0:
        start = task * lanes
        rows = min(lanes, n - start)
        _first_layer(plan, x, shift, scale, start, rows, own, dtype)
        z = _layers_above(plan, own, dtype)
        for o in range(outputs):
            if plan[p.SIGMOID_OUT] != 0:
                store(z, o * lanes, sigmoid(load(z, o * lanes, dtype), dtype))
            for i in range(rows):
                out[(start + i) * outputs + o] = z[o * lanes + i]
        task = next_task(team, 0, tasks, True)


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
def _float32_of_uint8_folded(context: int, worker: int) -> None:
    _run_folded(context, worker, uint8, float32)


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
def _float64_of_uint8_folded(context: int, worker: int) -> None:
    _run_folded(context, worker, uint8, float64)


regions = {
    ("float32", "float32", False): _float32_of_float32,
    ("float32", "float32", True): _float32_of_float32_folded,
    ("float32", "float64", True): _float32_of_float64_folded,
    ("float32", "uint8", True): _float32_of_uint8_folded,
    ("float64", "float64", False): _float64_of_float64,
    ("float64", "float64", True): _float64_of_float64_folded,
    ("float64", "float32", True): _float64_of_float32_folded,
    ("float64", "uint8", True): _float64_of_uint8_folded,
}
"""The region for (dtype of the network, dtype of X, whether shift and scale are given).

A region is compiled when it is first used. Where X's dtype is not the network's there is no
region without shift and scale: the caller passes zeros and ones, which leave every value as it is.
"""
