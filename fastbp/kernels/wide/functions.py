"""Which function a layer has, and how it is told to the regions of functions."""

from __future__ import annotations

from collections import namedtuple

from numba import int64

from fastbp.kernels import plan as w
from fastbp.kernels.compile.jit import jit
from fastbp.kernels.functions.activations import IDENTITY, SIGMOID
from fastbp.kernels.functions.strip import Dropout, Strip, no_dropout
from fastbp.kernels.plan import dropout_key, layer_word
from fastbp.kernels.simd.vectors import address_of

__all__ = [
    "LayerFunction",
    "backward_strip",
    "forward_strip",
    "function_of",
    "is_called",
    "output_function",
]

LayerFunction = namedtuple("LayerFunction", ["code", "slope", "region", "dropout"])
"""Of a layer: its activation, where slopes are stored (an address, or 0), the region of functions,
and the dropout of the whole batch's activations."""


@jit
def function_of(plan, layer, step):
    """The function of a layer in a step of the epoch."""
    zero = int64(0)
    threshold = layer_word(plan, layer, w.DROPOUT)
    dropout = no_dropout()
    if threshold != 0:
        key = dropout_key(plan, step, layer + 1)
        units = layer_word(plan, layer, w.OUTPUTS)
        dropout = Dropout(key, threshold, zero, units, int64(1))
    return LayerFunction(
        layer_word(plan, layer, w.FUNCTION), layer_word(plan, layer, w.SLOPE),
        plan[w.LAYER_REGION], dropout,
    )  # fmt: skip


@jit
def output_function(linear):
    """What a network gives: sigmoid(Z) of the last layer, or Z."""
    code = int64(IDENTITY) if linear else int64(SIGMOID)
    return LayerFunction(code, int64(0), int64(0), no_dropout())


@jit
def is_called(function):
    """Whether it is the region's, and not compiled in. What is dropped has stored slopes."""
    common = function.code == IDENTITY or function.code == SIGMOID
    return function.slope != 0 or not common


@jit
def forward_strip(function, z, bias, rows, outputs):
    """All of z (rows, outputs), that is to become the layer's activations; pointers."""
    zero = int64(0)
    return Strip(
        function.code, zero, zero, rows, outputs, address_of(bias), address_of(z), function.slope,
        zero, outputs, function.dropout, zero,
    )  # fmt: skip


@jit
def backward_strip(function, activation, rows, outputs):
    """All of a matrix that is to become the delta of a layer, whose activations are pointed to."""
    zero = int64(0)
    return Strip(
        function.code, zero, zero, rows, outputs, zero, address_of(activation), function.slope,
        zero, outputs, no_dropout(), zero,
    )  # fmt: skip
