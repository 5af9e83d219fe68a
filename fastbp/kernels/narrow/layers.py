"""The small rest of a network with a narrow first layer, on one tile of rows.

The rows of a tile are the lanes of a vector: these layers compute on one vector for each unit, so
that their few multiply-adds and sigmoids serve all rows of the tile at once. Units of all layers
follow each other in ``own.act`` and ``own.delta``, one vector each, layer 1 first; see
`narrow.scratch`. The sigmoid and log loss are compiled into these functions; others are regions of
their own, `functions.layers` and `functions.outputs`, that are called for a layer of a tile. The
latter is called wherever rows have weights, too.
"""

from __future__ import annotations

from collections import namedtuple

from numba import int64

from fastbp.kernels import plan as w
from fastbp.kernels.compile.calls import call_region, words_of
from fastbp.kernels.compile.jit import jit
from fastbp.kernels.functions.activations import IDENTITY, SIGMOID, sigmoid
from fastbp.kernels.functions.layers import BACK, FORWARD
from fastbp.kernels.functions.losses import log_loss
from fastbp.kernels.functions.outputs import Outputs
from fastbp.kernels.functions.strip import Dropout, Strip, no_dropout
from fastbp.kernels.plan import (
    dropout_key,
    layer_pointer,
    layer_word,
    loss_cap,
    row_number,
    step_numbers,
)
from fastbp.kernels.simd.vectors import (
    address_of,
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
    "RowsOfStep",
    "backward_above",
    "clear_outside",
    "layers_above",
    "output_delta",
    "units",
]

RowsOfStep = namedtuple("RowsOfStep", ["step", "start", "rows", "lane"])
"""Rows start ... start + rows of the epoch, all of one step; the lane that the first one has."""


@jit
def units(plan):
    """Units of all layers together."""
    total = int64(0)
    for layer in range(plan[w.LAYERS]):
        total += layer_word(plan, layer, w.OUTPUTS)
    return total


@jit
def _is_inline(plan, layer):
    """Whether a hidden layer's function is compiled in here: where slopes follow from A."""
    function = layer_word(plan, layer, w.FUNCTION)
    plain = function in (SIGMOID, IDENTITY)
    return plain and layer_word(plan, layer, w.SLOPE) == 0


@jit
def _strip(plan, layer, vectors, other, slopes, dropout, dtype):
    """A hidden layer's vectors for `functions.layers`: a row is a unit, a column a lane."""
    lanes = lanes_of(dtype)
    stored = address_of(slopes) if layer_word(plan, layer, w.SLOPE) != 0 else int64(0)
    return Strip(
        layer_word(plan, layer, w.FUNCTION), address_of(vectors), lanes,
        layer_word(plan, layer, w.OUTPUTS), lanes, int64(0), address_of(other), stored, int64(0),
        lanes, dropout, int64(0),
    )  # fmt: skip


@jit
def _dropout(plan, layer, tile):
    """Which units of a hidden layer are dropped, of the rows in the lanes of a tile."""
    threshold = layer_word(plan, layer, w.DROPOUT)
    if threshold == 0:
        return no_dropout()
    key = dropout_key(plan, tile.step, layer + 1)
    outputs = layer_word(plan, layer, w.OUTPUTS)
    # The row of the batch that lane 0 has, or would have.
    row = tile.start - tile.step * plan[w.BATCH] - tile.lane
    return Dropout(key, threshold, row * outputs, int64(1), outputs)


@jit
def _activate(plan, layer, tile, act, slopes, dtype):
    """Z of a hidden layer to A, in place."""
    lanes = lanes_of(dtype)
    if not _is_inline(plan, layer):
        strip = _strip(plan, layer, act, act, slopes, _dropout(plan, layer, tile), dtype)
        call_region(plan[w.LAYER_REGION], words_of(strip), FORWARD)
    elif layer_word(plan, layer, w.FUNCTION) == SIGMOID:
        for i in range(layer_word(plan, layer, w.OUTPUTS)):
            store(act, i * lanes, sigmoid(load(act, i * lanes, dtype), dtype))


@jit
def layers_above(plan, own, tile, dtype):
    """Forward from Z of the first layer in own.act: activations there, Z of the last layer.

    ``tile`` is a `RowsOfStep`, which dropout goes by.
    """
    lanes = lanes_of(dtype)
    slopes = own.slopes
    below = own.act
    for layer in range(1, plan[w.LAYERS]):
        inputs = layer_word(plan, layer, w.INPUTS)
        outputs = layer_word(plan, layer, w.OUTPUTS)
        weight = layer_pointer(plan, layer, w.WEIGHT, dtype)
        b = layer_pointer(plan, layer, w.BIAS, dtype)
        above = moved(below, inputs * lanes)
        _activate(plan, layer - 1, tile, below, slopes, dtype)
        for o in range(outputs):
            z = splat(b[o], dtype)
            for i in range(inputs):
                z = fma(splat(weight[o * inputs + i], dtype), load(below, i * lanes, dtype), z)
            store(above, o * lanes, z)
        below = above
        slopes = moved(slopes, inputs * lanes)
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
def _list_weights(plan, tile, weights, dtype):
    """The weights of a tile's rows in their lanes, 0 in the others."""
    store(weights, 0, zeros(dtype))
    given = pointer(plan[w.ROW_WEIGHTS], dtype)
    for i in range(tile.rows):
        weights[tile.lane + i] = given[row_number(plan, tile.start + i)]


@jit
def _log_loss_delta(z, delta, outputs, tile, share, tally, dtype):
    """`output_delta` for log loss, where all rows weigh the same: from the targets in ``delta``."""
    lanes = lanes_of(dtype)
    one = splat(1.0, dtype)
    half = splat(0.5, dtype)
    zero = zeros(dtype)
    weight = splat(share, dtype)  # of a row in the mean
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
        clear_outside(delta, o * lanes, tile.lane, tile.rows, dtype)
    _add_to(tally, int64(0), loss, tile.lane, tile.rows, dtype)
    _add_to(tally, lanes, right, tile.lane, tile.rows, dtype)


@jit
def output_delta(plan, own, z, delta, tile, tally, dtype):
    """The delta of the last layer; the tile's loss and metric are added to ``tally``.

    ``tile`` is a `RowsOfStep`. Its rows have the lanes from tile.lane on; the others are zero in
    ``delta``.
    """
    lanes = lanes_of(dtype)
    outputs = layer_word(plan, plan[w.LAYERS] - 1, w.OUTPUTS)
    y = pointer(plan[w.Y], dtype)
    for o in range(outputs):
        store(delta, o * lanes, zeros(dtype))
        for i in range(tile.rows):
            row = row_number(plan, tile.start + i)
            delta[o * lanes + tile.lane + i] = y[row * outputs + o]
    share = 1.0 / min(plan[w.BATCH], plan[w.ROWS] - tile.step * plan[w.BATCH])
    weights = int64(0)
    if plan[w.ROW_WEIGHTS] != 0:
        _list_weights(plan, tile, own.judged, dtype)
        weights = address_of(own.judged)
        share = step_numbers(plan, tile.step)[w.SHARE]
    elif plan[w.OUTPUT_REGION] == 0:
        _log_loss_delta(z, delta, outputs, tile, share, tally, dtype)
        return
    found = moved(own.judged, lanes)
    work = Outputs(
        plan[w.LOSS_FUNCTION], address_of(z), address_of(delta), outputs, tile.lane, tile.rows,
        weights, share, address_of(found), plan[w.METRIC_SCALE], loss_cap(plan),
    )  # fmt: skip
    call_region(plan[w.OUTPUT_REGION], words_of(work), 0)
    for at in range(0, 2 * lanes, lanes):
        store(tally, at, load(tally, at, dtype) + load(found, at, dtype))


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
            inline = _is_inline(plan, layer - 1)
            is_sigmoid = inline and layer_word(plan, layer - 1, w.FUNCTION) == SIGMOID
            for i in range(inputs):
                a = load(act, i * lanes, dtype)
                back = zeros(dtype)
                for o in range(outputs):
                    d = load(delta, o * lanes, dtype)
                    back = fma(splat(weight[o * inputs + i], dtype), d, back)
                    k = (o * inputs + i) * lanes
                    store(sums, k, fma(d, a, load(sums, k, dtype)))
                if is_sigmoid:
                    back = back * (a * (splat(1.0, dtype) - a))
                store(below, i * lanes, back)
            if not inline:
                slopes = moved(own.slopes, (at - inputs) * lanes)
                strip = _strip(plan, layer - 1, below, act, slopes, no_dropout(), dtype)
                call_region(plan[w.LAYER_REGION], words_of(strip), BACK)
            sums = moved(sums, outputs * inputs * lanes)
        layer -= 1
