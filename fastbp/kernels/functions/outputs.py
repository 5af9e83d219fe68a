"""From Z of the last layer to its delta, loss and metric, for any loss: a region.

Called by address with an `Outputs`: the rows of a tile are the lanes of vectors, one vector for
each output, as in `narrow.layers`.

``delta`` holds the targets, and gets (slope of the loss) * weight * share. ``tally`` gets two
vectors: weight * loss and weight * metric of each row, summed over the outputs. The metric is

* of log loss: whether all outputs are on the same side of 1/2 as their targets;
* of cross entropy: whether the largest output is that of the largest target, the first of equals;
* of the others: the sum of (a - y)^2 times the output's ``scale``, from which R^2 is computed.

Lanes outside lane ... lane + rows are no rows: they come to 0. Losses are finite for every finite
z, unless they are too large for their type; NaN in z gives NaN, infinity gives NaN or infinity, but
where the loss is finite for it. The two of probabilities count for ``cap`` at the most, as where
probabilities are kept away from 0 in the loss; slopes do not know it. ``z`` is written over.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import float32, float64, int64

from fastbp.kernels.compile.calls import words_at
from fastbp.kernels.compile.jit import jit, region
from fastbp.kernels.functions import losses as f
from fastbp.kernels.functions.activations import sigmoid
from fastbp.kernels.simd.exp import exp_of_negative
from fastbp.kernels.simd.log import log1p
from fastbp.kernels.simd.numbers import constant
from fastbp.kernels.simd.vectors import (
    fma,
    lanes_of,
    load,
    maximum,
    minimum,
    pointer,
    select_less,
    splat,
    store,
    zeros,
)

__all__ = ["Outputs", "regions"]


# Farther apart than any two outputs need to be told: from -infinity, 0 times it would be NaN.
_lowest = constant(-float(np.finfo(np.float32).max), -float(np.finfo(np.float64).max))


class Outputs(NamedTuple):
    """What the region is told; addresses, unless stated otherwise."""

    code: int  # one of losses.LOSS_CODES
    z: int
    delta: int
    outputs: int  # how many
    lane: int  # the first row's lane
    rows: int
    weights: int  # a weight for each lane, or 0: all weigh 1
    share: float  # 1 / (sum of the weights of the step)
    tally: int
    scale: int  # a number for each output, or 0: all are 1
    cap: float  # no output's log loss, or row's cross entropy, counts for more


@jit
def _capped(loss, it, dtype):
    """The loss, or the cap where that is less; NaN stays NaN."""
    return minimum(splat(it.cap, dtype), loss)


@jit
def _outputs_apart(it, dtype):
    """Losses in which outputs have nothing to do with each other: of a row, loss and metric."""
    lanes = lanes_of(dtype)
    z, delta = pointer(it.z, dtype), pointer(it.delta, dtype)
    zero, one, half = zeros(dtype), splat(1.0, dtype), splat(0.5, dtype)
    loss, metric, right = zero, zero, one
    for o in range(it.outputs):
        x, y = load(z, o * lanes, dtype), load(delta, o * lanes, dtype)
        error = x - y
        slope = error
        if it.code == f.LOG_LOSS:
            loss += _capped(f.log_loss(x, y, dtype), it, dtype)
            p = sigmoid(x, dtype)
            slope = p - y
            wrong = select_less(p, half, zero, one) - select_less(y, half, zero, one)
            right *= one - wrong * wrong
        else:
            if it.code == f.POISSON:
                a = f.poisson_mean(x, dtype)
                loss += f.poisson(x, y, a, dtype)
                slope = a - y
                error = slope
            elif it.code == f.ABSOLUTE_ERROR:
                loss += f.absolute_error(error, dtype)
                slope = f.absolute_error_slope(error, dtype)
            elif it.code == f.HUBER:
                loss += f.huber(error, dtype)
                slope = f.huber_slope(error, dtype)
            else:
                loss += f.squared_error(error, dtype)
            scaled = error
            if it.scale != 0:
                scaled = error * splat(pointer(it.scale, dtype)[o], dtype)
            metric = fma(scaled, error, metric)
        store(delta, o * lanes, slope)
    if it.code == f.LOG_LOSS:
        metric = right
    return loss, metric


@jit
def _softmax(it, dtype):
    """Cross entropy with softmax: log(sum of exp(z)) minus the mean of z under the targets."""
    lanes = lanes_of(dtype)
    z, delta = pointer(it.z, dtype), pointer(it.delta, dtype)
    zero, one = zeros(dtype), splat(1.0, dtype)
    most = load(z, 0, dtype)
    top = load(delta, 0, dtype)
    first, wanted = zero, zero  # which output is the largest, and which target
    for o in range(1, it.outputs):
        x, y = load(z, o * lanes, dtype), load(delta, o * lanes, dtype)
        number = splat(float64(o), dtype)
        first = select_less(most, x, number, first)
        wanted = select_less(top, y, number, wanted)
        most, top = maximum(x, most), maximum(y, top)
    # The largest output's exp is 1: the others are added up by themselves, so that an answer that
    # is sure and right keeps its tiny loss.
    others, mean, mass = zero, zero, zero
    for o in range(it.outputs):
        y = load(delta, o * lanes, dtype)
        x = maximum(_lowest(dtype), load(z, o * lanes, dtype) - most)
        e = exp_of_negative(x, dtype)
        distance = first - splat(float64(o), dtype)
        others += select_less(zero, distance * distance, e, zero)
        mean = fma(y, x, mean)
        mass += y
        store(z, o * lanes, e)
    inverse = one / (one + others)
    for o in range(it.outputs):
        a = load(z, o * lanes, dtype) * inverse
        store(delta, o * lanes, fma(a, mass, zero - load(delta, o * lanes, dtype)))
    distance = first - wanted
    right = select_less(zero, distance * distance, zero, one)
    return _capped(fma(mass, log1p(others, dtype), zero - mean), it, dtype), right


@jit
def _run(context, dtype):
    it = words_at(context, Outputs)
    lanes = lanes_of(dtype)
    delta, tally = pointer(it.delta, dtype), pointer(it.tally, dtype)
    if it.code == f.CROSS_ENTROPY:
        loss, metric = _softmax(it, dtype)
    else:
        loss, metric = _outputs_apart(it, dtype)
    weight = splat(1.0, dtype)
    if it.weights != 0:
        weight = load(pointer(it.weights, dtype), 0, dtype)
    store(tally, 0, loss * weight)
    store(tally, lanes, metric * weight)
    _clear_outside(tally, int64(2), it, dtype)
    share = weight * splat(it.share, dtype)
    for o in range(it.outputs):
        store(delta, o * lanes, load(delta, o * lanes, dtype) * share)
    _clear_outside(delta, it.outputs, it, dtype)


@jit
def _clear_outside(vectors, count, it, dtype):
    """Zero the lanes that are no rows, whatever has become of them."""
    lanes = lanes_of(dtype)
    for k in range(count):
        for i in range(it.lane):
            vectors[k * lanes + i] = dtype(0)
        for i in range(it.lane + it.rows, lanes):
            vectors[k * lanes + i] = dtype(0)


@region
def _float32(context: int, worker: int) -> None:
    _run(context, float32)


@region
def _float64(context: int, worker: int) -> None:
    _run(context, float64)


regions = {"float32": _float32, "float64": _float64}
"""The region for each dtype of the network."""
