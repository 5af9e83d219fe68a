"""Updates by an optimizer that needs a gradient: a region, which calls that of `functions.updates`.

Plain descent without a penalty needs none, and is compiled into its callers. This is compiled only
where something else is asked for.
"""

from __future__ import annotations

from typing import NamedTuple

from numba import float32, float64, int64

from fastbp.kernels import plan as w
from fastbp.kernels.compile.calls import call_region, words_at, words_of
from fastbp.kernels.compile.jit import jit, region
from fastbp.kernels.functions.squares import sum_of_squares
from fastbp.kernels.functions.strip import Strip, no_dropout
from fastbp.kernels.narrow.bytes import (
    factor_of_sums,
    folds_sums,
    scale_of_sums,
    shift_of_sums,
)
from fastbp.kernels.narrow.first_layer import CHUNK
from fastbp.kernels.narrow.layers import units
from fastbp.kernels.plan import layer_pointer, layer_word, numbers_of, step_numbers
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
    store_part,
)

__all__ = [
    "added",
    "count_squares",
    "needs_gradient",
    "optimize_above",
    "optimize_first",
    "regions",
]

_FIRST, _ABOVE = 0, 1


class _Sums(NamedTuple):
    """What the region is told; addresses, unless stated otherwise."""

    plan: int
    step: int  # its number
    sums: int  # _FIRST: the first shard; _ABOVE: the first tally
    size: int  # elements from one to the next
    parts: int  # how many
    memory: int  # _FIRST: the gradient of b1; _ABOVE: room for a vector for each unit
    column: int  # _FIRST: columns column ... column + columns of W1
    columns: int


def count_squares(n0: int) -> int:
    """How many sums of squares there are: of each chunk of columns of W1, and of all above it."""
    return -(-n0 // CHUNK) + 1


@jit
def optimize_first(plan, step, shards, size, count, slopes, j0, columns):
    """Update columns j0 ... j0 + columns of W1 by the sum of the shards, see `update_first`.

    ``slopes`` is the gradient of b1.
    """
    work = _Sums(
        address_of(plan), step, address_of(shards), size, count, address_of(slopes), j0, columns
    )
    call_region(plan[w.OPTIMIZE_REGION], words_of(work), _FIRST)


@jit
def optimize_above(plan, step, tallies, size, count, buffer):
    """Update b1 and all parameters above the first layer by the tallies.

    ``buffer`` has room for a vector for each unit.
    """
    zero = int64(0)
    work = _Sums(
        address_of(plan), step, address_of(tallies), size, count, address_of(buffer), zero, zero
    )
    call_region(plan[w.OPTIMIZE_REGION], words_of(work), _ABOVE)


@jit
def needs_gradient(plan):
    """Whether weights are updated by a gradient in memory, and not straight from registers."""
    return plan[w.UPDATE_REGION] != 0


@jit
def _address(plan, layer, field, at, dtype):
    """The address of element ``at`` of one of a layer's arrays, or 0 if there is no such array."""
    start = layer_word(plan, layer, field)
    return address_of(moved(pointer(start, dtype), at)) if start != 0 else start


@jit
def _add_up_squares(plan, step, layer, at, count, dtype):
    """Add the squares of elements at ... at + count of a W, times SQUARES_SHARE, to SQUARES.

    Columns of a chunk of W1 have a sum of their own, which only the thread that updates them knows.
    """
    n0 = layer_word(plan, 0, w.INPUTS)
    number = at % n0 // CHUNK if layer == 0 else (n0 + CHUNK - 1) // CHUNK
    values = moved(layer_pointer(plan, layer, w.WEIGHT, dtype), at)
    share = step_numbers(plan, step)[w.SQUARES_SHARE]
    pointer(plan[w.SQUARES], float64)[number] += share * sum_of_squares(values, count, dtype)


@jit
def _optimize(plan, step, layer, kind, at, gradient, count, dtype):
    """Update elements at ... at + count of W or b of a layer (``kind``) by their gradient.

    ``gradient`` points to that of element ``at``. Biases are not decayed.
    """
    numbers = numbers_of(plan, step, kind == w.WEIGHT, 1.0)
    first, second = int64(w.BIAS_1), int64(w.BIAS_2)
    if kind == w.WEIGHT:
        first, second = int64(w.WEIGHT_1), int64(w.WEIGHT_2)
        if plan[w.SQUARES] != 0:
            _add_up_squares(plan, step, layer, at, count, dtype)
    strip = Strip(
        plan[w.OPTIMIZER], address_of(gradient), count, int64(1), count, int64(0),
        _address(plan, layer, kind, at, dtype), _address(plan, layer, first, at, dtype),
        _address(plan, layer, second, at, dtype), count, no_dropout(), words_of(numbers),
    )  # fmt: skip
    call_region(plan[w.UPDATE_REGION], words_of(strip), 0)


@jit
def added(shards, size, at, count, dtype):
    """The sum over the shards of the vector at ``at``, in order.

    At the end of a row, its last lanes may be of the next row: of no use, and inside the memory.
    """
    total = load(shards, at, dtype)
    for s in range(1, count):
        total += load(shards, s * size + at, dtype)
    return total


@jit
def _complete_gradient(plan, shards, size, count, slopes, o, j0, columns, dtype):
    """The first shard <- the sum of the shards, in columns j0 ... j0 + columns of row o of W1.

    ``slopes`` is the gradient of b1. That of W1 from bytes is preprocessed here (`narrow.bytes`).
    """
    lanes = lanes_of(dtype)
    n0 = layer_word(plan, 0, w.INPUTS)
    shift, scale = shift_of_sums(plan, dtype), scale_of_sums(plan, dtype)
    factor, slope_of_bias = splat(factor_of_sums(plan, dtype), dtype), splat(slopes[o], dtype)
    for j in range(j0, j0 + columns, lanes):
        at = o * n0 + j
        rest = min(lanes, j0 + columns - j)
        slope = added(shards, size, at, count, dtype) * factor
        if address_of(scale) != 0:
            slope *= load_part(scale, j, rest, dtype)
        if address_of(shift) != 0:
            slope = fma(load_part(shift, j, rest, dtype), slope_of_bias, slope)
        store_part(shards, at, rest, slope)


@jit
def _optimize_first(plan, step, shards, size, count, slopes, j0, columns, dtype):
    n0 = layer_word(plan, 0, w.INPUTS)
    for o in range(layer_word(plan, 0, w.OUTPUTS)):
        at = o * n0 + j0
        if count > 1 or folds_sums(plan):
            _complete_gradient(plan, shards, size, count, slopes, o, j0, columns, dtype)
        _optimize(plan, step, int64(0), int64(w.WEIGHT), at, moved(shards, at), columns, dtype)


@jit
def _optimize_tensor(plan, step, layer, kind, n, tallies, at, size, count, buffer, dtype):
    """Update W or b of a layer, of n elements, by sums at ``at`` of the tallies; where they end."""
    lanes = lanes_of(dtype)
    room = units(plan) * lanes
    for begin in range(0, n, room):
        piece = min(room, n - begin)
        for i in range(piece):
            buffer[i] = reduce_add(added(tallies, size, at, count, dtype))
            at += lanes
        _optimize(plan, step, layer, kind, begin, buffer, piece, dtype)
    return at


@jit
def _optimize_above(plan, step, tallies, size, count, buffer, dtype):
    at = 2 * lanes_of(dtype)
    layer = plan[w.LAYERS] - 1
    while layer >= 0:
        outputs = layer_word(plan, layer, w.OUTPUTS)
        at = _optimize_tensor(
            plan, step, layer, int64(w.BIAS), outputs, tallies, at, size, count, buffer, dtype
        )
        if layer > 0:
            n = outputs * layer_word(plan, layer, w.INPUTS)
            at = _optimize_tensor(
                plan, step, layer, int64(w.WEIGHT), n, tallies, at, size, count, buffer, dtype
            )
        layer -= 1


@jit
def _run(context, what, dtype):
    it = words_at(context, _Sums)
    plan = pointer(it.plan, int64)
    sums, memory = pointer(it.sums, dtype), pointer(it.memory, dtype)
    if what == _FIRST:
        _optimize_first(
            plan, it.step, sums, it.size, it.parts, memory, it.column, it.columns, dtype
        )
    else:
        _optimize_above(plan, it.step, sums, it.size, it.parts, memory, dtype)


@region
def _float32(context: int, what: int) -> None:
    _run(context, what, float32)


@region
def _float64(context: int, what: int) -> None:
    _run(context, what, float64)


regions = {"float32": _float32, "float64": _float64}
"""The region for each dtype of the network."""
