"""What a step with a narrow first layer adds up, and the update that it makes of it.

The tally of a step, or of a shard of its rows, is a list of vectors whose lanes add up to one
number each: the loss, the metric and, for each layer from the last to the first, the
gradients of b (outputs) and, above the first layer, of W (outputs, inputs). That of W1 is too
large for lanes of its own; in a shard it lies before the tally.

Plain descent changes parameters by these sums as they are read. Other optimizers are given them as
arrays, see `narrow.optimize`: that of W1 is completed where it lies.
"""

from __future__ import annotations

from numba import float64, int64

from fastbp.kernels import plan as w
from fastbp.kernels.compile.jit import jit
from fastbp.kernels.narrow.bytes import factor_of_sums, scale_of_sums, shift_of_sums
from fastbp.kernels.narrow.optimize import (
    added,
    needs_gradient,
    optimize_above,
    optimize_first,
)
from fastbp.kernels.narrow.rows import Change, add_gradient
from fastbp.kernels.plan import layer_pointer, layer_word, step_numbers
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
def keep_and_factor(plan, step, dtype):
    """W <- keep * W + factor * dW, in plain descent."""
    numbers = step_numbers(plan, step)
    return dtype(numbers[w.KEEP]), dtype(-numbers[w.RATE])


@jit
def bias_steps(plan, step, tallies, size, count, steps, dtype):
    """steps[o] <- what is to be added to b1[o], from ``count`` tallies, ``size`` elements apart.

    Where W1 is updated by its gradient, steps[o] is that of b1[o].
    """
    _, factor = keep_and_factor(plan, step, dtype)
    if needs_gradient(plan):
        factor = dtype(1)
    lanes = lanes_of(dtype)
    n1 = layer_word(plan, 0, w.OUTPUTS)
    first = tally_size(plan, dtype) - n1 * lanes
    for o in range(n1):
        steps[o] = factor * reduce_add(added(tallies, size, first + o * lanes, count, dtype))


@jit
def update_first(plan, step, shards, size, count, steps, j0, columns, dtype):
    """Update columns j0 ... j0 + columns of W1 with the sum of the shards.

    ``steps`` is of `bias_steps`: the gradient of bytes is left as it is before preprocessing, which
    is done here (`narrow.bytes`). The bits are those of `add_outer_products`.
    """
    if needs_gradient(plan):
        optimize_first(plan, step, shards, size, count, steps, j0, columns)
        return
    lanes = lanes_of(dtype)
    n0 = layer_word(plan, 0, w.INPUTS)
    n1 = layer_word(plan, 0, w.OUTPUTS)
    shift, scale = shift_of_sums(plan, dtype), scale_of_sums(plan, dtype)
    weight = layer_pointer(plan, 0, w.WEIGHT, dtype)
    keep, factor = keep_and_factor(plan, step, dtype)
    keeps, factors = splat(keep, dtype), splat(factor * factor_of_sums(plan, dtype), dtype)
    for o in range(n1):
        step_of_bias = splat(steps[o], dtype)
        for j in range(j0, j0 + columns, lanes):
            at = o * n0 + j
            slope = added(shards, size, at, count, dtype)
            shifted = zeros(dtype)
            rest = min(lanes, j0 + columns - j)
            if address_of(scale) != 0:
                slope *= load_part(scale, j, rest, dtype)
            if address_of(shift) != 0:
                shifted = load_part(shift, j, rest, dtype) * step_of_bias
            if rest == lanes:
                store(weight, at, fma(factors, slope, fma(keeps, load(weight, at, dtype), shifted)))
            else:
                old = load_part(weight, at, rest, dtype)
                store_part(weight, at, rest, fma(factors, slope, fma(keeps, old, shifted)))


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
def update_above(plan, step, tallies, size, count, buffer, dtype):
    """Update b1 and all parameters above the first layer; add up loss and metric.

    ``buffer`` has room for a vector for each unit.
    """
    lanes = lanes_of(dtype)
    settings = pointer(plan[w.SETTINGS], float64)
    keep, factor = keep_and_factor(plan, step, dtype)
    rate = -factor
    at = int64(0)
    share = step_numbers(plan, step)[w.LOSS_SHARE]
    settings[w.LOSS] += share * reduce_add(added(tallies, size, at, count, dtype))
    settings[w.METRIC] += reduce_add(added(tallies, size, at + lanes, count, dtype))
    at += 2 * lanes
    if needs_gradient(plan):
        optimize_above(plan, step, tallies, size, count, buffer)
        return
    layer = plan[w.LAYERS] - 1
    while layer >= 0:
        outputs = layer_word(plan, layer, w.OUTPUTS)
        inputs = layer_word(plan, layer, w.INPUTS)
        weight = layer_pointer(plan, layer, w.WEIGHT, dtype)
        b = layer_pointer(plan, layer, w.BIAS, dtype)
        for o in range(outputs):
            b[o] -= rate * reduce_add(added(tallies, size, at, count, dtype))
            at += lanes
        if layer > 0:
            for i in range(outputs * inputs):
                slope = reduce_add(added(tallies, size, at, count, dtype))
                weight[i] = keep * weight[i] - rate * slope
                at += lanes
        layer -= 1
