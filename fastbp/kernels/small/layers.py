"""A tile of rows through all layers: forward, and back into the gradients of a shard.

Sigmoid and identity are compiled in; other functions are the region's of `functions.layers`.
"""

from __future__ import annotations

from collections import namedtuple

from numba import int64

from fastbp.kernels import plan as w
from fastbp.kernels.compile.calls import call_region, words_of
from fastbp.kernels.compile.jit import jit
from fastbp.kernels.functions.activations import IDENTITY, SIGMOID, sigmoid
from fastbp.kernels.functions.layers import BACK, FORWARD
from fastbp.kernels.functions.strip import Dropout, Strip, no_dropout
from fastbp.kernels.linalg.operand import itemsize_of, tile_constant
from fastbp.kernels.linalg.packing import copy_rows
from fastbp.kernels.plan import dropout_key, layer_pointer, layer_word, operand_of_x
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
    zeros,
)
from fastbp.kernels.small.sizes import block_rows, row_elements
from fastbp.kernels.small.tile import Terms, multiply

__all__ = [
    "RowsOfStep",
    "add_gradients",
    "apply_sigmoid",
    "clear_rows",
    "forward",
    "own",
    "row_step",
    "whole_blocks",
]

_SUM_OF_LANES = 12  # what adding up the lanes of a vector costs, in multiply-adds of vectors

RowsOfStep = namedtuple("RowsOfStep", ["step", "start", "rows"])
"""Rows start ... start + rows of the epoch, all of one step."""

_row_elements = jit(row_elements)


@jit
def row_step(columns, dtype):
    """Elements from one row to the next of a matrix with so many columns."""
    return _row_elements(columns, lanes_of(dtype), itemsize_of(dtype))


@jit
def whole_blocks(rows, dtype):
    """So many rows of a matrix, in whole blocks."""
    block = block_rows(lanes_of(dtype))
    return (rows + block - 1) // block * block


@jit
def own(plan, worker, layer, field, dtype):
    """A layer's activations, delta or slopes, of this thread's rows; layer -1 is the input."""
    word = layer_word(plan, layer, field) if layer >= 0 else plan[w.GATHERED]
    return pointer(word + worker * plan[w.PRIVATE_STEP], dtype)


@jit
def apply_sigmoid(z, rows, columns, step, dtype):
    """Sigmoid in place, of whole vectors."""
    lanes = lanes_of(dtype)
    for i in range(rows):
        for j in range(i * step, i * step + columns, lanes):
            store(z, j, sigmoid(load(z, j, dtype), dtype))


@jit
def _is_inline(plan, layer):
    """Whether a hidden layer's function is compiled in here: where slopes follow from A."""
    function = layer_word(plan, layer, w.FUNCTION)
    plain = function in (SIGMOID, IDENTITY)
    return plain and layer_word(plan, layer, w.SLOPE) == 0


@jit
def _dropout(plan, layer, tile):
    """Which units of a hidden layer are dropped, of the rows of a tile."""
    threshold = layer_word(plan, layer, w.DROPOUT)
    if threshold == 0:
        return no_dropout()
    units = layer_word(plan, layer, w.OUTPUTS)
    row = tile.start - tile.step * plan[w.BATCH]
    return Dropout(dropout_key(plan, tile.step, layer + 1), threshold, row * units, units, int64(1))


@jit
def _call(plan, worker, layer, what, c, tile, dropout, dtype):
    """Have the region of functions do FORWARD or BACK to a tile's rows at ``c``.

    Unless units are dropped, all rows are one to it, if there is nothing between them.
    """
    zero, lanes = int64(0), lanes_of(dtype)
    units = layer_word(plan, layer, w.OUTPUTS)
    step = row_step(units, dtype)
    rows, columns = tile.rows, (units + lanes - 1) // lanes * lanes
    if dropout.threshold == 0 and columns == step:
        rows, columns = int64(1), tile.rows * step
    slopes = zero
    if layer_word(plan, layer, w.SLOPE) != 0:
        slopes = address_of(own(plan, worker, layer, int64(w.SLOPE), dtype))
    strip = Strip(
        layer_word(plan, layer, w.FUNCTION), address_of(c), step, rows, columns, zero,
        address_of(own(plan, worker, layer, int64(w.ACTIVATION), dtype)), slopes, zero, step,
        dropout, zero,
    )  # fmt: skip
    call_region(plan[w.LAYER_REGION], words_of(strip), what)


@jit
def clear_rows(c, first, last, columns, step, dtype):
    """Zeros in rows first ... last - 1, of whole vectors."""
    for i in range(first, last):
        for j in range(i * step, i * step + columns, lanes_of(dtype)):
            store(c, j, zeros(dtype))


@jit
def _whole_tiles(rows, dtype):
    """So many rows, as a product computes them."""
    step = tile_constant(dtype, "row_step")
    return (rows + step - 1) // step * step


@jit
def _gather(plan, worker, tile, dtype):
    """The rows of X as the network sees them, and zeros beyond them."""
    n0, lanes = layer_word(plan, 0, w.INPUTS), lanes_of(dtype)
    rows, step = own(plan, worker, -1, int64(0), dtype), row_step(n0, dtype)
    last = n0 // lanes * lanes  # the rest of its vector is not written if X's columns lie apart
    clear_rows(moved(rows, last), int64(0), tile.rows, n0 - last, step, dtype)
    clear_rows(rows, tile.rows, _whole_tiles(tile.rows, dtype), n0, step, dtype)
    copy_rows(
        rows, step, operand_of_x(plan, tile.start), int64(0), tile.rows, int64(0), n0,
        plan[w.COPY_REGION], dtype,
    )  # fmt: skip


@jit
def _dot_products(z, step, rows, a, weight, bias, dtype):
    """Z of a layer of very few outputs, a dot product for each of a row, and zeros beyond it.

    ``a`` is a pointer to the rows and their distance, ``weight`` one to W, the inputs and outputs.
    """
    lanes = lanes_of(dtype)
    start, a_step = a
    w_start, inputs, outputs = weight
    clear_rows(z, int64(0), _whole_tiles(rows, dtype), outputs, step, dtype)
    for i in range(rows):
        for o in range(outputs):
            line, factors = moved(start, i * a_step), moved(w_start, o * inputs)
            whole = inputs // lanes * lanes
            rest = inputs - whole
            total = load_part(line, whole, rest, dtype) * load_part(factors, whole, rest, dtype)
            for j in range(0, whole, lanes):
                total = fma(load(line, j, dtype), load(factors, j, dtype), total)
            z[i * step + o] = bias[o] + reduce_add(total)


@jit
def _is_thin(inputs, outputs, dtype):
    """Whether dot products are less work than a product whose tiles are mostly empty."""
    lanes = lanes_of(dtype)
    vectors = (outputs + lanes - 1) // lanes
    return outputs * ((inputs + lanes - 1) // lanes + _SUM_OF_LANES) < inputs * vectors


@jit
def forward(plan, worker, tile, dtype):
    """Activations of all hidden layers, and Z of the last one, of a `RowsOfStep`."""
    _gather(plan, worker, tile, dtype)
    for layer in range(plan[w.LAYERS]):
        inputs, outputs = layer_word(plan, layer, w.INPUTS), layer_word(plan, layer, w.OUTPUTS)
        step = row_step(outputs, dtype)
        weight = layer_pointer(plan, layer, w.TRANSPOSED, dtype)
        bias = moved(weight, whole_blocks(inputs, dtype) * step)
        z = own(plan, worker, layer, int64(w.ACTIVATION), dtype)
        below = own(plan, worker, layer - 1, int64(w.ACTIVATION), dtype)
        below_step = row_step(inputs, dtype)
        if _is_thin(inputs, outputs, dtype):
            rows_of_w = layer_pointer(plan, layer, w.WEIGHT, dtype), inputs, outputs
            _dot_products(z, step, tile.rows, (below, below_step), rows_of_w, bias, dtype)
        else:
            terms = Terms(
                below, below_step, int64(1), weight, step, inputs, bias, int64(0), int64(1)
            )
            multiply(terms, z, step, tile.rows, outputs, dtype)
        if layer == plan[w.LAYERS] - 1:
            break
        if not _is_inline(plan, layer):
            dropout = _dropout(plan, layer, tile)
            _call(plan, worker, layer, FORWARD, z, tile, dropout, dtype)
        elif layer_word(plan, layer, w.FUNCTION) == SIGMOID:
            apply_sigmoid(z, tile.rows, outputs, step, dtype)


@jit
def _times_sigmoid_slope(delta, a, rows, columns, step, dtype):
    lanes, one = lanes_of(dtype), splat(1.0, dtype)
    for i in range(rows):
        for j in range(i * step, i * step + columns, lanes):
            value = load(a, j, dtype)
            store(delta, j, load(delta, j, dtype) * (value * (one - value)))


@jit
def _add_columns(sums, delta, rows, columns, step, dtype):
    """Add the columns of delta up to ``sums``: four sums in turn of every column."""
    lanes = lanes_of(dtype)
    for j in range(0, columns, lanes):
        a, b, c, d = load(sums, j, dtype), zeros(dtype), zeros(dtype), zeros(dtype)
        at = j
        for _ in range(rows // 4):
            a += load(delta, at, dtype)
            b += load(delta, at + step, dtype)
            c += load(delta, at + 2 * step, dtype)
            d += load(delta, at + 3 * step, dtype)
            at += 4 * step
        for _ in range(rows % 4):
            a += load(delta, at, dtype)
            at += step
        store(sums, j, (a + b) + (c + d))


@jit
def add_gradients(plan, worker, tile, shard, begins, dtype):
    """Back from delta of the last layer; the gradients are added to SUMS of a shard.

    If it ``begins``, they are what the sums begin with.
    """
    lanes = lanes_of(dtype)
    one, zero = int64(1), int64(0)
    none = pointer(plan[w.PRIVATE] + worker * plan[w.PRIVATE_STEP], dtype)  # zeros
    layer = plan[w.LAYERS] - 1
    while layer >= 0:
        inputs, outputs = layer_word(plan, layer, w.INPUTS), layer_word(plan, layer, w.OUTPUTS)
        step, below_step = row_step(outputs, dtype), row_step(inputs, dtype)
        delta = own(plan, worker, layer, int64(w.DELTA), dtype)
        below = own(plan, worker, layer - 1, int64(w.ACTIVATION), dtype)
        sums = pointer(layer_word(plan, layer, w.SUMS) + shard * plan[w.SHARD_STEP], dtype)
        bias = moved(sums, whole_blocks(outputs, dtype) * below_step)
        if begins:
            for j in range(0, outputs, lanes):
                store(bias, j, zeros(dtype))
        _add_columns(bias, delta, tile.rows, outputs, step, dtype)
        if begins:
            terms = Terms(delta, one, step, below, below_step, tile.rows, none, zero, zero)
        else:
            terms = Terms(delta, one, step, below, below_step, tile.rows, sums, below_step, one)
        multiply(terms, sums, below_step, outputs, inputs, dtype)
        if layer > 0:
            back = own(plan, worker, layer - 1, int64(w.DELTA), dtype)
            weight = layer_pointer(plan, layer, w.COPIED, dtype)
            terms = Terms(delta, step, one, weight, below_step, outputs, none, zero, zero)
            multiply(terms, back, below_step, tile.rows, inputs, dtype)
            if not _is_inline(plan, layer - 1):
                _call(plan, worker, layer - 1, BACK, back, tile, no_dropout(), dtype)
            elif layer_word(plan, layer - 1, w.FUNCTION) == SIGMOID:
                _times_sigmoid_slope(back, below, tile.rows, inputs, below_step, dtype)
        layer -= 1
