"""What a step with a narrow first layer adds up, and the update that it makes of it.

The tally of a step, or of a shard of its rows, is a list of vectors whose lanes add up to one
number each: the log loss, the right answers and, for each layer from the last to the first, the
gradients of b (outputs) and, above the first layer, of W (outputs, inputs). That of W1 is too
large for lanes of its own; in a shard it lies before the tally.
"""

from __future__ import annotations

from numba import float64, int64

from fastbp.kernels import plan as w
from fastbp.kernels.compile.jit import jit
from fastbp.kernels.narrow.bytes import factor_of_sums, scale_of_sums, shift_of_sums
from fastbp.kernels.narrow.rows import Change, add_gradient
from fastbp.kernels.plan import layer_pointer, layer_word
from fastbp.kernels.simd.vectors import (
    address_of,
    fma,
    lanes_of,
    load,
    load_part,
    pointer,
    reduce_add,
    splat,
    store,
    store_part,
    zeros,
)

__all__ = [
    "bias_steps",
    "change_weights",
    "clear_tally",
    "keep_and_factor",
    "tally_size",
    "update_above",
    "update_first",
]


@jit
def tally_size(plan, dtype):
    """Elements of a tally."""
    above = int64(0)
    for layer in range(1, plan[w.LAYERS]):
        above += layer_word(plan, layer, w.OUTPUTS) * (layer_word(plan, layer, w.INPUTS) + 1)
    return (layer_word(plan, 0, w.OUTPUTS) + above + 2) * lanes_of(dtype)


@jit
def clear_tally(plan, tally, dtype):
    """Zero a tally."""
    for i in range(0, tally_size(plan, dtype), lanes_of(dtype)):
        store(tally, i, zeros(dtype))


@jit
def keep_and_factor(plan, dtype):
    """W <- keep * W + factor * dW."""
    numbers = pointer(plan[w.STEPS], float64)
    return dtype(numbers[w.KEEP]), dtype(-numbers[w.RATE])


@jit
def _added(shards, size, at, count, dtype):
    """The sum over the shards of the vector at ``at``, in order.

    At the end of a row, its last lanes may be of the next row: of no use, and inside the memory.
    """
    total = load(shards, at, dtype)
    for s in range(1, count):
        total += load(shards, s * size + at, dtype)
    return total


@jit
def bias_steps(plan, tallies, size, count, steps, dtype):
    """steps[o] <- what is to be added to b1[o], from ``count`` tallies, ``size`` elements apart."""
    _, factor = keep_and_factor(plan, dtype)
    lanes = lanes_of(dtype)
    n1 = layer_word(plan, 0, w.OUTPUTS)
    first = tally_size(plan, dtype) - n1 * lanes
    for o in range(n1):
        steps[o] = factor * reduce_add(_added(tallies, size, first + o * lanes, count, dtype))


@jit
def update_first(plan, shards, size, count, steps, j0, columns, dtype):
    """Update columns j0 ... j0 + columns of W1 with the sum of the shards.

    ``steps`` is of `bias_steps`: the gradient of bytes is left as it is before preprocessing, which
    is done here (`narrow.bytes`). The bits are those of `add_outer_products`.
    """
    lanes = lanes_of(dtype)
    n0 = layer_word(plan, 0, w.INPUTS)
    n1 = layer_word(plan, 0, w.OUTPUTS)
    shift, scale = shift_of_sums(plan, dtype), scale_of_sums(plan, dtype)
    weight = layer_pointer(plan, 0, w.WEIGHT, dtype)
    keep, factor = keep_and_factor(plan, dtype)
    keeps, factors = splat(keep, dtype), splat(factor * factor_of_sums(plan, dtype), dtype)
    for o in range(n1):
        step = splat(steps[o], dtype)
        for j in range(j0, j0 + columns, lanes):
            at = o * n0 + j
            slope = _added(shards, size, at, count, dtype)
            added = zeros(dtype)
            rest = min(lanes, j0 + columns - j)
            if address_of(scale) != 0:
                slope *= load_part(scale, j, rest, dtype)
            if address_of(shift) != 0:
                added = load_part(shift, j, rest, dtype) * step
            if rest == lanes:
                store(weight, at, fma(factors, slope, fma(keeps, load(weight, at, dtype), added)))
            else:
                old = load_part(weight, at, rest, dtype)
                store_part(weight, at, rest, fma(factors, slope, fma(keeps, old, added)))


@jit
def change_weights(plan, target, tile, j0, count, keep, factor, of_weights, totals, dtype):
    """`add_outer_products` for all rows of W1, or of its gradient.

    If the target is W1, bytes are preprocessed by the way: ``totals`` as there.
    """
    sums_shift = sums_scale = pointer(int64(0), dtype)
    if of_weights:
        sums_shift, sums_scale = shift_of_sums(plan, dtype), scale_of_sums(plan, dtype)
        factor *= factor_of_sums(plan, dtype)
    change = Change(keep, factor, sums_shift, sums_scale, totals)
    add_gradient(plan, target, tile, change, j0, count)


@jit
def update_above(plan, tallies, size, count, dtype):
    """Update b1 and all parameters above the first layer; add up loss and right answers."""
    lanes = lanes_of(dtype)
    settings = pointer(plan[w.SETTINGS], float64)
    keep, factor = keep_and_factor(plan, dtype)
    rate = -factor
    at = int64(0)
    settings[w.LOSS] += reduce_add(_added(tallies, size, at, count, dtype))
    settings[w.METRIC] += reduce_add(_added(tallies, size, at + lanes, count, dtype))
    at += 2 * lanes
    layer = plan[w.LAYERS] - 1
    while layer >= 0:
        outputs = layer_word(plan, layer, w.OUTPUTS)
        inputs = layer_word(plan, layer, w.INPUTS)
        weight = layer_pointer(plan, layer, w.WEIGHT, dtype)
        b = layer_pointer(plan, layer, w.BIAS, dtype)
        for o in range(outputs):
            b[o] -= rate * reduce_add(_added(tallies, size, at, count, dtype))
            at += lanes
        if layer > 0:
            for i in range(outputs * inputs):
                slope = reduce_add(_added(tallies, size, at, count, dtype))
                weight[i] = keep * weight[i] - rate * slope
                at += lanes
        layer -= 1
