"""A layer's activation, its slope and its dropout, on a strip of Z or of delta: a region.

Called by address with a `Strip`, for any function but those that callers have compiled in. Which
function it is, is asked once for a strip.

FORWARD   c <- g(c + bias), times dropout; ``second``, if there is one, <- the slope, times dropout:
          of functions whose slope does not follow from the activation, and where units are dropped
BACK      c <- c * slope: ``second`` if there is one, else what follows from the activations in
          ``other``
"""

from __future__ import annotations

from typing import Any, NamedTuple

from numba import float32, float64, int64

from fastbp.kernels.compile.calls import words_at
from fastbp.kernels.compile.jit import jit, region
from fastbp.kernels.functions import activations as f
from fastbp.kernels.functions.loops import slopes_by_code, values_by_code
from fastbp.kernels.functions.strip import Strip
from fastbp.kernels.simd.random import kept
from fastbp.kernels.simd.vectors import (
    address_of,
    lanes_of,
    load,
    load_part,
    moved,
    pointer,
    room,
    splat,
    store,
    store_part,
    zeros,
)

__all__ = ["BACK", "FORWARD", "keep_factor", "regions"]

FORWARD, BACK = 0, 1
_STORED = -1  # in the place of a function's code: the slope is given


@jit
def keep_factor(threshold):
    """What is kept is multiplied by 1 / (1 - p), p = threshold / 2^32."""
    return 1.0 / (1.0 - threshold * 2.0**-32)


@jit
def _itself(x, dtype):
    return x


@jit
def _one(a, dtype):
    return splat(1.0, dtype)


_give_values = values_by_code(
    {
        f.IDENTITY: (_itself, None),
        f.SIGMOID: (f.sigmoid, None),
        f.TANH: (f.tanh, None),
        f.RELU: (f.relu, None),
        f.LEAKY_RELU: (f.leaky_relu, None),
        f.ELU: (f.elu, None),
        f.SOFTPLUS: (f.softplus, None),
        f.GELU: (f.gelu, f.gelu_slope),
        f.SILU: (f.silu, f.silu_slope),
    }
)
_give_slopes = slopes_by_code(
    {
        f.IDENTITY: _one,
        f.SIGMOID: f.sigmoid_slope,
        f.TANH: f.tanh_slope,
        f.RELU: f.relu_slope,
        f.LEAKY_RELU: f.leaky_relu_slope,
        f.ELU: f.elu_slope,
        f.SOFTPLUS: f.softplus_slope,
        _STORED: None,
    }
)


class _Spare(NamedTuple):
    """Vectors on the stack: the end of a row, what belongs to it, and constants."""

    end: Any
    beside: Any
    zeros: Any
    ones: Any


@jit
def _spare(at, dtype):
    lanes = lanes_of(dtype)
    store(at, 2 * lanes, zeros(dtype))
    store(at, 3 * lanes, splat(1.0, dtype))
    return _Spare(at, moved(at, lanes), moved(at, 2 * lanes), moved(at, 3 * lanes))


@jit
def _finish(code, c, bias, step, second, count, spare, dtype):
    """Whole vectors of a row of c, and of ``second`` unless that is 0."""
    _give_values(code, c, bias, step, second, count, dtype)
    if address_of(second) != 0:  # those of gelu and silu are there already
        _give_slopes(code, second, spare.ones, int64(0), c, count, dtype)


@jit
def _forward(it, spare, dtype):
    lanes = lanes_of(dtype)
    whole = it.columns // lanes * lanes
    rest = it.columns - whole
    none = pointer(0, dtype)
    for i in range(it.rows):
        c, bias, step = moved(pointer(it.c, dtype), i * it.ldc), spare.zeros, int64(0)
        second, beside = none, none
        if it.bias != 0:
            bias, step = pointer(it.bias, dtype), int64(1)
        if it.second != 0:
            second, beside = moved(pointer(it.second, dtype), i * it.ld), spare.beside
        _finish(it.code, c, bias, step, second, whole, spare, dtype)
        if rest > 0:
            x = load_part(c, whole, rest, dtype) + load_part(bias, whole * step, rest, dtype)
            store(spare.end, 0, x)
            _finish(it.code, spare.end, spare.zeros, int64(0), beside, lanes, spare, dtype)
            store_part(c, whole, rest, load(spare.end, 0, dtype))
            if it.second != 0:
                store_part(second, whole, rest, load(beside, 0, dtype))


@jit
def _drop(it, dtype):
    """Activations, and slopes if there are any, times dropout."""
    lanes = lanes_of(dtype)
    drop = it.dropout
    factor = keep_factor(drop.threshold)
    for i in range(it.rows):
        c = moved(pointer(it.c, dtype), i * it.ldc)
        slope = moved(pointer(it.second, dtype), i * it.ld)
        for j in range(0, it.columns, lanes):
            count = it.columns - j
            number = drop.number + i * drop.row + j * drop.column
            mask = kept(drop.key, number, drop.column, drop.threshold, factor, dtype)
            store_part(c, j, count, load_part(c, j, count, dtype) * mask)
            if it.second != 0:
                store_part(slope, j, count, load_part(slope, j, count, dtype) * mask)


@jit
def _back(it, spare, dtype):
    lanes = lanes_of(dtype)
    whole = it.columns // lanes * lanes
    rest = it.columns - whole
    code, given = it.code, it.other
    if it.second != 0:
        code, given = _STORED, it.second
    for i in range(it.rows):
        c = moved(pointer(it.c, dtype), i * it.ldc)
        a = moved(pointer(given, dtype), i * it.ld)
        _give_slopes(code, c, c, int64(1), a, whole, dtype)
        if rest > 0:
            store(spare.end, 0, load_part(c, whole, rest, dtype))
            store(spare.beside, 0, load_part(a, whole, rest, dtype))
            _give_slopes(code, spare.end, spare.end, int64(1), spare.beside, lanes, dtype)
            store_part(c, whole, rest, load(spare.end, 0, dtype))


@jit
def _run(context, what, dtype):
    it = words_at(context, Strip)
    spare = _spare(room(4, dtype), dtype)
    if what == FORWARD:
        _forward(it, spare, dtype)
        if it.dropout.threshold != 0:
            _drop(it, dtype)
    elif it.second != 0 or it.code != f.IDENTITY:
        _back(it, spare, dtype)


@region
def _float32(context: int, what: int) -> None:
    _run(context, what, float32)


@region
def _float64(context: int, what: int) -> None:
    _run(context, what, float64)


regions = {"float32": _float32, "float64": _float64}
"""The region for each dtype of the network."""
