"""A layer's activation, its slope and its dropout, on a strip of Z or of delta: a region.

Called by address with a `Strip`, for any function but those that callers have compiled in. Which
function it is, is asked once for a strip.

FORWARD   c <- g(c + bias), times dropout; ``second`` <- the slope, times dropout: of functions
          whose slope does not follow from the activation, and where units are dropped, if there is
          a ``second``
BACK      c <- c * slope: ``second`` if there is one, else what follows from the activations in
          ``other``
"""

from __future__ import annotations

from numba import float32, float64

from fastbp.kernels.compile.calls import words_at
from fastbp.kernels.compile.jit import jit, region
from fastbp.kernels.functions import activations as f
from fastbp.kernels.functions.strip import Strip
from fastbp.kernels.simd.random import kept
from fastbp.kernels.simd.vectors import (
    lanes_of,
    load,
    load_part,
    moved,
    pointer,
    splat,
    store,
    store_part,
)

__all__ = ["BACK", "FORWARD", "keep_factor", "regions"]

FORWARD, BACK = 0, 1


@jit
def keep_factor(threshold):
    """What is kept is multiplied by 1 / (1 - p), p = threshold / 2^32."""
    return 1.0 / (1.0 - threshold * 2.0**-32)


def _forward_of(function):
    """A loop over a strip: c <- g(c + bias)."""

    @jit
    def rows(it, dtype):
        lanes = lanes_of(dtype)
        whole = it.columns // lanes * lanes
        bias = pointer(it.bias, dtype)
        for i in range(it.rows):
            c = moved(pointer(it.c, dtype), i * it.ldc)
            for j in range(0, whole, lanes):
                x = load(c, j, dtype)
                if it.bias != 0:
                    x += load(bias, j, dtype)
                store(c, j, function(x, dtype))
            if whole < it.columns:
                rest = it.columns - whole
                x = load_part(c, whole, rest, dtype)
                if it.bias != 0:
                    x += load_part(bias, whole, rest, dtype)
                store_part(c, whole, rest, function(x, dtype))

    return rows


def _forward_with_slope(function, slope):
    """The same with ``second`` <- the slope, which follows from x."""

    @jit
    def rows(it, dtype):
        lanes = lanes_of(dtype)
        bias = pointer(it.bias, dtype)
        for i in range(it.rows):
            c = moved(pointer(it.c, dtype), i * it.ldc)
            second = moved(pointer(it.second, dtype), i * it.ld)
            for j in range(0, it.columns, lanes):
                count = min(lanes, it.columns - j)
                x = load_part(c, j, count, dtype)
                if it.bias != 0:
                    x += load_part(bias, j, count, dtype)
                store_part(c, j, count, function(x, dtype))
                if it.second != 0:
                    store_part(second, j, count, slope(x, dtype))

    return rows


def _slopes_of(slope):
    """A loop: target <- target * slope of the activations."""

    @jit
    def rows(target, ldt, activation, lda, it, dtype):
        lanes = lanes_of(dtype)
        whole = it.columns // lanes * lanes
        for i in range(it.rows):
            t, a = moved(target, i * ldt), moved(activation, i * lda)
            for j in range(0, whole, lanes):
                store(t, j, load(t, j, dtype) * slope(load(a, j, dtype), dtype))
            if whole < it.columns:
                rest = it.columns - whole
                s = slope(load_part(a, whole, rest, dtype), dtype)
                store_part(t, whole, rest, load_part(t, whole, rest, dtype) * s)

    return rows


_sigmoid_rows = _forward_of(f.sigmoid)
_tanh_rows = _forward_of(f.tanh)
_relu_rows = _forward_of(f.relu)
_leaky_relu_rows = _forward_of(f.leaky_relu)
_elu_rows = _forward_of(f.elu)
_softplus_rows = _forward_of(f.softplus)
_gelu_rows = _forward_with_slope(f.gelu, f.gelu_slope)
_silu_rows = _forward_with_slope(f.silu, f.silu_slope)

_sigmoid_slopes = _slopes_of(f.sigmoid_slope)
_tanh_slopes = _slopes_of(f.tanh_slope)
_relu_slopes = _slopes_of(f.relu_slope)
_leaky_relu_slopes = _slopes_of(f.leaky_relu_slope)
_elu_slopes = _slopes_of(f.elu_slope)
_softplus_slopes = _slopes_of(f.softplus_slope)


@jit
def _itself(x, dtype):
    return x


_identity_rows = _forward_of(_itself)


@jit
def _give_activation(it, dtype):
    code = it.code
    if code == f.SIGMOID:
        _sigmoid_rows(it, dtype)
    elif code == f.TANH:
        _tanh_rows(it, dtype)
    elif code == f.RELU:
        _relu_rows(it, dtype)
    elif code == f.LEAKY_RELU:
        _leaky_relu_rows(it, dtype)
    elif code == f.ELU:
        _elu_rows(it, dtype)
    elif code == f.SOFTPLUS:
        _softplus_rows(it, dtype)
    elif code == f.GELU:
        _gelu_rows(it, dtype)
    elif code == f.SILU:
        _silu_rows(it, dtype)
    else:
        _identity_rows(it, dtype)


@jit
def _multiply_by_slopes(code, target, ldt, activation, lda, it, dtype):
    if code == f.SIGMOID:
        _sigmoid_slopes(target, ldt, activation, lda, it, dtype)
    elif code == f.TANH:
        _tanh_slopes(target, ldt, activation, lda, it, dtype)
    elif code == f.RELU:
        _relu_slopes(target, ldt, activation, lda, it, dtype)
    elif code == f.LEAKY_RELU:
        _leaky_relu_slopes(target, ldt, activation, lda, it, dtype)
    elif code == f.ELU:
        _elu_slopes(target, ldt, activation, lda, it, dtype)
    elif code == f.SOFTPLUS:
        _softplus_slopes(target, ldt, activation, lda, it, dtype)


@jit
def _drop(it, dtype):
    """Activations and their slopes times dropout."""
    lanes = lanes_of(dtype)
    drop = it.dropout
    factor = keep_factor(drop.threshold)
    for i in range(it.rows):
        c = moved(pointer(it.c, dtype), i * it.ldc)
        slope = moved(pointer(it.second, dtype), i * it.ld)
        for j in range(0, it.columns, lanes):
            count = min(lanes, it.columns - j)
            number = drop.number + i * drop.row + j * drop.column
            mask = kept(drop.key, number, drop.column, drop.threshold, factor, dtype)
            store_part(c, j, count, load_part(c, j, count, dtype) * mask)
            store_part(slope, j, count, load_part(slope, j, count, dtype) * mask)


@jit
def _fill_ones(it, dtype):
    lanes = lanes_of(dtype)
    for i in range(it.rows):
        slope = moved(pointer(it.second, dtype), i * it.ld)
        for j in range(0, it.columns, lanes):
            store_part(slope, j, min(lanes, it.columns - j), splat(1.0, dtype))


@jit
def _multiply(it, dtype):
    lanes = lanes_of(dtype)
    for i in range(it.rows):
        c = moved(pointer(it.c, dtype), i * it.ldc)
        slope = moved(pointer(it.second, dtype), i * it.ld)
        for j in range(0, it.columns, lanes):
            count = min(lanes, it.columns - j)
            value = load_part(c, j, count, dtype) * load_part(slope, j, count, dtype)
            store_part(c, j, count, value)


@jit
def _run(context, what, dtype):
    it = words_at(context, Strip)
    c, second = pointer(it.c, dtype), pointer(it.second, dtype)
    if what == FORWARD:
        _give_activation(it, dtype)
        if it.dropout.threshold != 0:
            if it.code != f.GELU and it.code != f.SILU:
                _fill_ones(it, dtype)
                _multiply_by_slopes(it.code, second, it.ld, c, it.ldc, it, dtype)
            _drop(it, dtype)
    elif it.second != 0:
        _multiply(it, dtype)
    else:
        _multiply_by_slopes(it.code, c, it.ldc, pointer(it.other, dtype), it.ld, it, dtype)


@region
def _float32(context: int, what: int) -> None:
    _run(context, what, float32)


@region
def _float64(context: int, what: int) -> None:
    _run(context, what, float64)


regions = {"float32": _float32, "float64": _float64}
"""The region for each dtype of the network."""
