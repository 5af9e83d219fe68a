"""The small rest of a network with a narrow first layer, on one tile of rows.

The rows of a tile are the lanes of a vector: these layers compute on one vector for each unit, so
that their few multiply-adds and sigmoids serve all rows of the tile at once. Units of all layers
follow each other in ``own.act`` and ``own.delta``, one vector each, layer 1 first; see `narrow`
for the scratch memory.
"""

from __future__ import annotations

from numba import float64, int64

from fastbp.kernels import plan as p
from fastbp.kernels.functions import sigmoid, softplus
from fastbp.kernels.jit import jit
from fastbp.kernels.plan import layer_pointer, layer_word
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
    "add_shards",
    "backward_above",
    "clear_sums",
    "layers_above",
    "output_delta",
    "row_number",
    "shard_size",
    "units",
    "update_above",
]


@jit
def units(plan):
    """Units of all layers together."""
    total = int64(0)
    for layer in range(plan[p.LAYERS]):
        total += layer_word(plan, layer, p.OUTPUTS)
    return total


@jit
def row_number(plan, i):
    """The row of X and Y that is row i of the epoch."""
    if plan[p.ORDER] != 0:
        return pointer(plan[p.ORDER], int64)[i]
    return i


@jit
def layers_above(plan, own, dtype):
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
def output_delta(plan, z, delta, start, rows, batch_rows, tally, dtype):
    """The delta of the last layer; the tile's log loss and right answers are added to ``tally``."""
    lanes = lanes_of(dtype)
    outputs = layer_word(plan, plan[p.LAYERS] - 1, p.OUTPUTS)
    y = pointer(plan[p.Y], dtype)
    for o in range(outputs):
        for i in range(rows):
            delta[o * lanes + i] = y[row_number(plan, start + i) * outputs + o]
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
def backward_above(plan, own, sums, dtype):
    """From delta of the last layer to delta of the first; the gradients are added to ``sums``.

    ``sums`` holds, for each layer from the last to the first, that of b (outputs) and, above the
    first layer, that of W (outputs, inputs): lanes partial sums each.
    """
    lanes = lanes_of(dtype)
    layer = plan[p.LAYERS] - 1
    at = units(plan)
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
def shard_size(plan, dtype):
    """Elements of a shard's scratch memory."""
    lanes = lanes_of(dtype)
    above = int64(0)
    for layer in range(1, plan[p.LAYERS]):
        above += layer_word(plan, layer, p.OUTPUTS) * (layer_word(plan, layer, p.INPUTS) + 1)
    n1 = layer_word(plan, 0, p.OUTPUTS)
    return n1 * layer_word(plan, 0, p.INPUTS) + (n1 + above + 2) * lanes


@jit
def clear_sums(plan, shard, dtype):
    """Zero all of a shard but its gradient of W1, which the first tile overwrites."""
    n0 = layer_word(plan, 0, p.INPUTS)
    first = layer_word(plan, 0, p.OUTPUTS) * n0
    for i in range(first, shard_size(plan, dtype), lanes_of(dtype)):
        store(shard, i, zeros(dtype))


@jit
def add_shards(shards, size, at, count, dtype):
    """The sum over the shards of the vector at ``at``, in order."""
    total = load(shards, at, dtype)
    for s in range(1, count):
        total += load(shards, s * size + at, dtype)
    return total


@jit
def update_above(plan, shards, size, count, dtype):
    """Update b1 and all parameters above the first layer; add up loss and right answers."""
    lanes = lanes_of(dtype)
    settings = pointer(plan[p.SETTINGS], float64)
    rate = dtype(settings[p.LEARNING_RATE])
    keep = dtype(1.0 - settings[p.LEARNING_RATE] * settings[p.WEIGHT_DECAY])
    at = layer_word(plan, 0, p.OUTPUTS) * layer_word(plan, 0, p.INPUTS)
    settings[p.LOSS] += reduce_add(add_shards(shards, size, at, count, dtype))
    settings[p.CORRECT] += reduce_add(add_shards(shards, size, at + lanes, count, dtype))
    at += 2 * lanes
    layer = plan[p.LAYERS] - 1
    while layer >= 0:
        outputs = layer_word(plan, layer, p.OUTPUTS)
        inputs = layer_word(plan, layer, p.INPUTS)
        w = layer_pointer(plan, layer, p.WEIGHT, dtype)
        b = layer_pointer(plan, layer, p.BIAS, dtype)
        for o in range(outputs):
            b[o] -= rate * reduce_add(add_shards(shards, size, at, count, dtype))
            at += lanes
        if layer > 0:
            for i in range(outputs * inputs):
                slope = reduce_add(add_shards(shards, size, at, count, dtype))
                w[i] = keep * w[i] - rate * slope
                at += lanes
        layer -= 1
