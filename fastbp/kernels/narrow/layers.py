"""The small rest of a network with a narrow first layer, on one tile of rows.

The rows of a tile are the lanes of a vector: these layers compute on one vector for each unit, so
that their few multiply-adds and sigmoids serve all rows of the tile at once. Units of all layers
follow each other in ``own.act`` and ``own.delta``, one vector each, layer 1 first; see
`narrow.scratch`.
"""

from __future__ import annotations

from numba import int64

from fastbp.kernels import plan as w
from fastbp.kernels.compile.jit import jit
from fastbp.kernels.functions.activations import sigmoid
from fastbp.kernels.functions.losses import log_loss
from fastbp.kernels.plan import layer_pointer, layer_word
from fastbp.kernels.simd.vectors import (
    fma,
    lanes_of,
    load,
    moved,
    pointer,
    select_less,
    splat,
    store,
    zeros,
)

__all__ = [
    "backward_above",
    "clear_outside",
    "layers_above",
    "output_delta",
    "row_number",
    "units",
]


@jit
def units(plan):
    """Units of all layers together."""
    total = int64(0)
    for layer in range(plan[w.LAYERS]):
        total += layer_word(plan, layer, w.OUTPUTS)
    return total


@jit
def row_number(plan, i):
    """The row of X and Y that is row i of the epoch."""
    if plan[w.ORDER] != 0:
        return pointer(plan[w.ORDER], int64)[i]
    return i


@jit
def layers_above(plan, own, dtype):
    """Forward from Z of the first layer in own.act: activations there, Z of the last layer."""
    lanes = lanes_of(dtype)
    below = own.act
    for layer in range(1, plan[w.LAYERS]):
        inputs = layer_word(plan, layer, w.INPUTS)
        outputs = layer_word(plan, layer, w.OUTPUTS)
        weight = layer_pointer(plan, layer, w.WEIGHT, dtype)
        b = layer_pointer(plan, layer, w.BIAS, dtype)
        above = moved(below, inputs * lanes)
        for i in range(inputs):
            store(below, i * lanes, sigmoid(load(below, i * lanes, dtype), dtype))
        for o in range(outputs):
            z = splat(b[o], dtype)
            for i in range(inputs):
                z = fma(splat(weight[o * inputs + i], dtype), load(below, i * lanes, dtype), z)
            store(above, o * lanes, z)
        below = above
    return below


@jit
def clear_outside(vector, at, lane, rows, dtype):
    """Zero the lanes of a vector in memory that have no row: all but ``rows`` from ``lane`` on."""
    for i in range(lanes_of(dtype)):
        if i < lane or i >= lane + rows:
            vector[at + i] = dtype(0)


@jit
def _add_to(tally, at, value, lane, rows, dtype):
    before = load(tally, at, dtype)
    store(tally, at, value)
    clear_outside(tally, at, lane, rows, dtype)
    store(tally, at, before + load(tally, at, dtype))


@jit
def output_delta(plan, z, delta, start, rows, lane, batch_rows, tally, dtype):
    """The delta of the last layer; the tile's log loss and right answers are added to ``tally``.

    The tile's rows have the lanes from ``lane`` on; the others are zero in ``delta``.
    """
    lanes = lanes_of(dtype)
    outputs = layer_word(plan, plan[w.LAYERS] - 1, w.OUTPUTS)
    y = pointer(plan[w.Y], dtype)
    for o in range(outputs):
        store(delta, o * lanes, zeros(dtype))
        for i in range(rows):
            delta[o * lanes + lane + i] = y[row_number(plan, start + i) * outputs + o]
    one = splat(1.0, dtype)
    half = splat(0.5, dtype)
    zero = zeros(dtype)
    weight = splat(1.0 / batch_rows, dtype)  # of a row in the mean
    loss = zero
    right = one
    for o in range(outputs):
        target = load(delta, o * lanes, dtype)
        x = load(z, o * lanes, dtype)
        loss += log_loss(x, target, dtype)
        probability = sigmoid(x, dtype)
        answer = select_less(probability, half, zero, one)
        truth = select_less(target, half, zero, one)
        right *= one - (answer - truth) * (answer - truth)
        store(delta, o * lanes, (probability - target) * weight)
        clear_outside(delta, o * lanes, lane, rows, dtype)
    _add_to(tally, int64(0), loss, lane, rows, dtype)
    _add_to(tally, lanes, right, lane, rows, dtype)


@jit
def backward_above(plan, own, sums, dtype):
    """From delta of the last layer to delta of the first; the gradients are added to ``sums``.

    ``sums`` holds, for each layer from the last to the first, that of b (outputs) and, above the
    first layer, that of W (outputs, inputs): lanes partial sums each.
    """
    lanes = lanes_of(dtype)
    layer = plan[w.LAYERS] - 1
    at = units(plan)
    while layer >= 0:
        outputs = layer_word(plan, layer, w.OUTPUTS)
        inputs = layer_word(plan, layer, w.INPUTS)
        weight = layer_pointer(plan, layer, w.WEIGHT, dtype)
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
                    back = fma(splat(weight[o * inputs + i], dtype), d, back)
                    k = (o * inputs + i) * lanes
                    store(sums, k, fma(d, a, load(sums, k, dtype)))
                store(below, i * lanes, back * (a * (splat(1.0, dtype) - a)))
            sums = moved(sums, outputs * inputs * lanes)
        layer -= 1
