"""The second phase of a step: blocks of the parameters, changed by the sum of the shards.

A block is some rows of W and their b. It is also written to where the layers read it from:
TRANSPOSED and COPIED.
"""

from __future__ import annotations

from numba import float64, int64

from fastbp.kernels import plan as w
from fastbp.kernels.compile.calls import call_region, words_of
from fastbp.kernels.compile.jit import jit
from fastbp.kernels.functions.squares import sum_of_squares
from fastbp.kernels.functions.strip import Strip, no_dropout
from fastbp.kernels.linalg.copying import transpose
from fastbp.kernels.plan import layer_pointer, layer_word, numbers_of, step_numbers
from fastbp.kernels.simd.vectors import (
    address_of,
    fma,
    lanes_of,
    load,
    load_part,
    moved,
    pointer,
    reduce_add,
    splat,
    store,
    store_part,
)
from fastbp.kernels.small.layers import clear_rows, row_step, whole_blocks
from fastbp.kernels.small.sizes import block_rows

__all__ = ["add_squares", "add_totals", "block_count", "find_block", "publish", "update"]


@jit
def block_count(plan, dtype):
    """Blocks of all layers."""
    block, count = block_rows(lanes_of(dtype)), int64(0)
    for layer in range(plan[w.LAYERS]):
        count += (layer_word(plan, layer, w.OUTPUTS) + block - 1) // block
    return count


@jit
def find_block(plan, number, dtype):
    """The layer of a block, its first row of W and how many they are."""
    block, layer = block_rows(lanes_of(dtype)), int64(0)
    outputs = layer_word(plan, layer, w.OUTPUTS)
    while number * block >= outputs:
        number -= (outputs + block - 1) // block
        layer += 1
        outputs = layer_word(plan, layer, w.OUTPUTS)
    return layer, number * block, min(block, outputs - number * block)


@jit
def publish(plan, layer, first, rows, spare, dtype):
    """Write a block to TRANSPOSED, and to COPIED or, if there is none, to ``spare``."""
    lanes = lanes_of(dtype)
    inputs, outputs = layer_word(plan, layer, w.INPUTS), layer_word(plan, layer, w.OUTPUTS)
    step, turned_step = row_step(inputs, dtype), row_step(outputs, dtype)
    weight = moved(layer_pointer(plan, layer, w.WEIGHT, dtype), first * inputs)
    copy = spare
    if layer_word(plan, layer, w.COPIED) != 0:
        copy = moved(layer_pointer(plan, layer, w.COPIED, dtype), first * step)
    for i in range(rows):
        for k in range(0, inputs, lanes):
            store(copy, i * step + k, load_part(weight, i * inputs + k, inputs - k, dtype))
    clear_rows(copy, rows, (rows + lanes - 1) // lanes * lanes, inputs, step, dtype)
    turned = moved(layer_pointer(plan, layer, w.TRANSPOSED, dtype), first)
    for j in range(0, rows, lanes):
        for k in range(0, inputs, lanes):
            transpose(
                moved(copy, j * step + k), step, moved(turned, k * turned_step + j), turned_step,
                dtype,
            )  # fmt: skip
    bias = moved(layer_pointer(plan, layer, w.BIAS, dtype), first)
    turned = moved(turned, whole_blocks(inputs, dtype) * turned_step)
    for j in range(0, rows, lanes):
        store(turned, j, load_part(bias, j, rows - j, dtype))


@jit
def _add_shards(plan, sums, rows, columns, step, shards, dtype):
    """The first shard <- the sum of all, in order, of a rectangle of vectors."""
    lanes, apart = lanes_of(dtype), plan[w.SHARD_STEP]
    for i in range(rows):
        for j in range(i * step, i * step + columns, lanes):
            total = load(sums, j, dtype)
            for shard in range(1, shards):
                other = pointer(address_of(sums) + shard * apart, dtype)
                total += load(other, j, dtype)
            store(sums, j, total)


@jit
def _address(plan, layer, field, at, dtype):
    """The address of element ``at`` of one of a layer's arrays, or 0 if there is no such array."""
    start = layer_word(plan, layer, field)
    return address_of(moved(pointer(start, dtype), at)) if start != 0 else start


@jit
def _change(plan, step, layer, kind, sums, shape, at, dtype):
    """Change rows of W, or of b as one row (``kind``), by their gradient.

    ``at`` is their first element; ``shape`` has rows, columns and the distance of the gradient's
    rows.
    """
    lanes = lanes_of(dtype)
    rows, columns, ld = shape
    is_weight = kind == w.WEIGHT
    if plan[w.UPDATE_REGION] != 0:
        first = int64(w.WEIGHT_1) if is_weight else int64(w.BIAS_1)
        second = int64(w.WEIGHT_2) if is_weight else int64(w.BIAS_2)
        strip = Strip(
            plan[w.OPTIMIZER], address_of(sums), ld, rows, columns, int64(0),
            _address(plan, layer, kind, at, dtype), _address(plan, layer, first, at, dtype),
            _address(plan, layer, second, at, dtype), columns, no_dropout(),
            words_of(numbers_of(plan, step, is_weight, 1.0)),
        )  # fmt: skip
        call_region(plan[w.UPDATE_REGION], words_of(strip), 0)
        return
    numbers = step_numbers(plan, step)
    keep = splat(numbers[w.KEEP] if is_weight else 1.0, dtype)
    factor = splat(-numbers[w.RATE], dtype)
    weight = moved(layer_pointer(plan, layer, kind, dtype), at)
    for i in range(rows):
        for j in range(0, columns, lanes):
            old = load_part(weight, i * columns + j, columns - j, dtype)
            new = fma(factor, load(sums, i * ld + j, dtype), keep * old)
            store_part(weight, i * columns + j, columns - j, new)


@jit
def add_squares(plan, step, number, layer, first, rows, dtype):
    """Add the squares of a block of W, times SQUARES_SHARE, to its sum, if they are asked for."""
    if plan[w.SQUARES] != 0:
        inputs = layer_word(plan, layer, w.INPUTS)
        weight = moved(layer_pointer(plan, layer, w.WEIGHT, dtype), first * inputs)
        share = step_numbers(plan, step)[w.SQUARES_SHARE]
        found = share * sum_of_squares(weight, rows * inputs, dtype)
        pointer(plan[w.SQUARES], float64)[number] += found


@jit
def update(plan, step, layer, first, rows, shards, dtype):
    """Change a block of W and b by the sum of so many shards."""
    inputs, outputs = layer_word(plan, layer, w.INPUTS), layer_word(plan, layer, w.OUTPUTS)
    ld = row_step(inputs, dtype)
    sums = layer_pointer(plan, layer, w.SUMS, dtype)
    bias = moved(sums, whole_blocks(outputs, dtype) * ld + first)
    sums = moved(sums, first * ld)
    one = int64(1)
    if shards > 1:
        _add_shards(plan, sums, rows, inputs, ld, shards, dtype)
        _add_shards(plan, bias, one, rows, ld, shards, dtype)
    _change(plan, step, layer, int64(w.WEIGHT), sums, (rows, inputs, ld), first * inputs, dtype)
    _change(plan, step, layer, int64(w.BIAS), bias, (one, rows, ld), first, dtype)


@jit
def add_totals(plan, step, shards, dtype):
    """Add the loss and the metric of all shards to those in SETTINGS."""
    lanes = lanes_of(dtype)
    settings = pointer(plan[w.SETTINGS], float64)
    share = step_numbers(plan, step)[w.LOSS_SHARE]
    for shard in range(shards):
        totals = pointer(plan[w.SHARDS] + shard * plan[w.SHARD_STEP], dtype)
        settings[w.LOSS] += share * reduce_add(load(totals, 0, dtype))
        settings[w.METRIC] += reduce_add(load(totals, lanes, dtype))
