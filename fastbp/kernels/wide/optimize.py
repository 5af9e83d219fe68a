"""The update of layers by any optimizer, a region: UPDATE_REGION on strips of their gradients.

A gradient is as large as the weights, and what an optimizer keeps of them is once or twice as
large. So a gradient is computed for some columns of W at a time, at most GRADIENT_WIDTH, and each
strip of it is used as the epilogue of its product, while it lies in a cache: what passes by are W
and what is kept of it.

If SQUARES are asked for, those of all W are added up before anything is updated, by blocks.

Only where gradients are clipped by the norm of all of them (CLIP_NORM), they exist whole: of each
layer W's and then b's, one layer after another.
"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import NamedTuple

from numba import float32, float64, int64

from fastbp.kernels import plan as w
from fastbp.kernels.compile.calls import call_region, words_at, words_of
from fastbp.kernels.compile.jit import jit, region
from fastbp.kernels.functions.squares import sum_of_squares
from fastbp.kernels.functions.strip import Strip, no_dropout, part_of
from fastbp.kernels.linalg.epilogue import CALL, NOTHING, Call, Epilogue
from fastbp.kernels.linalg.macrokernel import even_share, whole
from fastbp.kernels.linalg.operand import Operand, Product, from_column, itemsize_of, matrix
from fastbp.kernels.linalg.product import multiply
from fastbp.kernels.plan import layer_pointer, layer_word, numbers_of, step_numbers
from fastbp.kernels.simd.vectors import (
    address_of,
    lanes_of,
    moved,
    pointer,
    recast,
    store_part,
)
from fastbp.kernels.threads.context import Phase, workspace
from fastbp.kernels.threads.team import next_task
from fastbp.kernels.wide.dense import COLUMNS_OF_TASK, column_sums, input_of

__all__ = [
    "count_squares",
    "optimize_layers",
    "regions",
    "strip_of_biases",
    "strip_of_weights",
    "update_biases",
    "update_by_strips",
]

_MOST_SUMS = 1024  # of squares, of a layer
_LEAST_SQUARES = 4096  # that are added up at a time
_BLOCK = 16_384  # weights that are updated at a time, where the gradient lies ready
_BLOCK_OF_SQUARES = 32_768  # weights whose squares one thread adds up at a time


def count_squares(sizes: tuple[int, ...]) -> int:
    """How many sums of squares there are."""
    return sum(-(-a * b // _BLOCK_OF_SQUARES) for a, b in pairwise(sizes))


@jit
def strip_of_weights(plan, layer, numbers):
    """All of a layer's W, and what is kept of it; the gradient is to be told."""
    zero = int64(0)
    outputs, inputs = layer_word(plan, layer, w.OUTPUTS), layer_word(plan, layer, w.INPUTS)
    return Strip(
        plan[w.OPTIMIZER], zero, zero, outputs, inputs, zero, layer_word(plan, layer, w.WEIGHT),
        layer_word(plan, layer, w.WEIGHT_1), layer_word(plan, layer, w.WEIGHT_2), inputs,
        no_dropout(), numbers,
    )  # fmt: skip


@jit
def strip_of_biases(plan, layer, numbers):
    """A layer's b likewise, as one row."""
    zero = int64(0)
    outputs = layer_word(plan, layer, w.OUTPUTS)
    return Strip(
        plan[w.OPTIMIZER], zero, zero, int64(1), outputs, zero, layer_word(plan, layer, w.BIAS),
        layer_word(plan, layer, w.BIAS_1), layer_word(plan, layer, w.BIAS_2), outputs,
        no_dropout(), numbers,
    )  # fmt: skip


@jit
def _sum_delta(target, plan, layer, rows, first, last, dtype):
    """The gradient of biases ``first`` ... ``last`` - 1."""
    lanes = lanes_of(dtype)
    outputs = layer_word(plan, layer, w.OUTPUTS)
    delta = layer_pointer(plan, layer, w.DELTA, dtype)
    for j in range(first, last, lanes):
        count = min(lanes, last - j)
        store_part(target, j - first, count, column_sums(delta, rows, outputs, j, count, dtype))


@jit
def update_biases(plan, layer, rows, step, space, phase, dtype):
    """Update a layer's b, by the column sums of its delta."""
    outputs = layer_word(plan, layer, w.OUTPUTS)
    gradient, zero = space.private, int64(0)
    biases = strip_of_biases(plan, layer, words_of(numbers_of(plan, step, False, 1.0)))
    tasks = (outputs + COLUMNS_OF_TASK - 1) // COLUMNS_OF_TASK
    phase += 1
    task = next_task(space.team, phase, tasks, False)
    while task >= 0:
        first = task * COLUMNS_OF_TASK
        last = min(first + COLUMNS_OF_TASK, outputs)
        _sum_delta(gradient, plan, layer, rows, first, last, dtype)
        part = part_of(
            biases, address_of(gradient), zero, zero, int64(1), first, last - first,
            itemsize_of(dtype),
        )  # fmt: skip
        call_region(plan[w.UPDATE_REGION], words_of(part), 0)
        task = next_task(space.team, phase, tasks, True)
    return phase


@jit
def update_by_strips(plan, region, weights, delta, x, rows, space, phase, dtype):
    """Have a region update W by its gradient, which is computed for some columns at a time.

    ``weights`` is the Strip that is all of W, ``delta`` the Operand delta^T, ``x`` the layer's
    input, an Operand too.
    """
    zero, lanes = int64(0), lanes_of(dtype)
    outputs, inputs = weights.rows, weights.columns
    gradient = pointer(plan[w.GRADIENT], dtype)
    width = even_share(inputs, plan[w.GRADIENT_WIDTH], lanes)
    # Rows a multiple of 4 KiB apart would fall into the same few sets of the level-1 cache.
    ld = width + lanes
    for j in range(0, inputs, width):
        count = min(width, inputs - j)
        part = part_of(weights, zero, zero, zero, outputs, j, count, itemsize_of(dtype))
        call = words_of(Call(region, zero, part))
        epilogue = Epilogue(int64(CALL), pointer(call, dtype), pointer(part.other, dtype), inputs)
        product = Product(
            gradient, ld, outputs, count, rows, delta, from_column(x, j, dtype),
            dtype(1), dtype(0), epilogue, whole(),
        )  # fmt: skip
        phase = multiply(product, space, phase, dtype)
    return phase


@jit
def _update_in_parts(plan, layer, x, rows, step, space, phase, dtype):
    """Update a layer's W and b, some columns of W at a time; ``x`` is its input, an Operand."""
    outputs = layer_word(plan, layer, w.OUTPUTS)
    phase = update_biases(plan, layer, rows, step, space, phase, dtype)
    delta = matrix(layer_word(plan, layer, w.DELTA), int64(1), outputs, dtype)
    weights = strip_of_weights(plan, layer, words_of(numbers_of(plan, step, True, 1.0)))
    return update_by_strips(
        plan, plan[w.UPDATE_REGION], weights, delta, x, rows, space, phase, dtype
    )


@jit
def _weight_count(plan, layer):
    return layer_word(plan, layer, w.OUTPUTS) * layer_word(plan, layer, w.INPUTS)


@jit
def _blocks_of_squares(plan, layer):
    return (_weight_count(plan, layer) + _BLOCK_OF_SQUARES - 1) // _BLOCK_OF_SQUARES


@jit
def _add_up_squares(plan, step, space, phase, dtype):
    """Add the squares of all W, times SQUARES_SHARE, to SQUARES: a sum for each block."""
    share = step_numbers(plan, step)[w.SQUARES_SHARE]
    sums = pointer(plan[w.SQUARES], float64)
    tasks = int64(0)
    for layer in range(plan[w.LAYERS]):
        tasks += _blocks_of_squares(plan, layer)
    phase += 1
    task = next_task(space.team, phase, tasks, False)
    while task >= 0:
        layer, block = int64(0), task
        while block >= _blocks_of_squares(plan, layer):
            block -= _blocks_of_squares(plan, layer)
            layer += 1
        begin = block * _BLOCK_OF_SQUARES
        count = min(int64(_BLOCK_OF_SQUARES), _weight_count(plan, layer) - begin)
        values = moved(layer_pointer(plan, layer, w.WEIGHT, dtype), begin)
        sums[task] += share * sum_of_squares(values, count, dtype)
        task = next_task(space.team, phase, tasks, True)
    return phase


# ------------------------------------------------------------------ clipping


@jit
def _sum_of_squares(gradient, weight, penalty, begin, end, dtype):
    """The sum of (gradient + penalty * weight)^2, in float64: four sums in turn."""
    a = b = c = d = 0.0
    i = begin
    while i + 4 <= end:
        a += _square(gradient, weight, penalty, i)
        b += _square(gradient, weight, penalty, i + 1)
        c += _square(gradient, weight, penalty, i + 2)
        d += _square(gradient, weight, penalty, i + 3)
        i += 4
    while i < end:
        a += _square(gradient, weight, penalty, i)
        i += 1
    return (a + b) + (c + d)


@jit
def _square(gradient, weight, penalty, i):
    value = float64(gradient[i]) + penalty * float64(weight[i])
    return value * value


@jit
def _gradients(plan, x, rows, space, phase, dtype):
    """All gradients, to GRADIENT."""
    gradient = pointer(plan[w.GRADIENT], dtype)
    for layer in range(plan[w.LAYERS]):
        outputs, inputs = layer_word(plan, layer, w.OUTPUTS), layer_word(plan, layer, w.INPUTS)
        delta = matrix(layer_word(plan, layer, w.DELTA), int64(1), outputs, dtype)
        epilogue = Epilogue(int64(NOTHING), gradient, gradient, int64(0))
        product = Product(
            gradient, inputs, outputs, inputs, rows, delta, input_of(plan, layer, x, dtype),
            dtype(1), dtype(0), epilogue, whole(),
        )  # fmt: skip
        phase = multiply(product, space, phase, dtype)
        biases = moved(gradient, outputs * inputs)
        tasks = (outputs + COLUMNS_OF_TASK - 1) // COLUMNS_OF_TASK
        phase += 1
        task = next_task(space.team, phase, tasks, False)
        while task >= 0:
            first = task * COLUMNS_OF_TASK
            last = min(first + COLUMNS_OF_TASK, outputs)
            _sum_delta(moved(biases, first), plan, layer, rows, first, last, dtype)
            task = next_task(space.team, phase, tasks, True)
        gradient = moved(biases, outputs)
    return phase


@jit
def _add_squares(plan, layer, step, gradient, space, phase, dtype):
    """Add a layer's part to the square of the norm, the first word of the shared buffer."""
    outputs, inputs = layer_word(plan, layer, w.OUTPUTS), layer_word(plan, layer, w.INPUTS)
    count = outputs * inputs
    weight = layer_pointer(plan, layer, w.WEIGHT, dtype)
    penalty = step_numbers(plan, step)[w.PENALTY]
    total = recast(space.shared, float64)
    length = max((count + _MOST_SUMS - 1) // _MOST_SUMS, _LEAST_SQUARES)
    tasks = (count + length - 1) // length
    phase += 1
    task = next_task(space.team, phase, tasks, False)
    while task >= 0:
        begin = task * length
        total[1 + task] = _sum_of_squares(
            gradient, weight, penalty, begin, min(begin + length, count), dtype
        )
        task = next_task(space.team, phase, tasks, True)
    phase += 1
    task = next_task(space.team, phase, 1, False)
    while task >= 0:
        if layer == 0:
            total[0] = 0.0
        for i in range(tasks):
            total[0] += total[1 + i]
        total[0] += _sum_of_squares(gradient, gradient, 0.0, count, count + outputs, dtype)
        task = next_task(space.team, phase, 1, True)
    return phase


@jit
def _update_clipped(plan, x, rows, step, space, phase, dtype):
    """Update all layers by gradients whose norm, the penalty in it, is CLIP_NORM at the most."""
    phase = _gradients(plan, x, rows, space, phase, dtype)
    gradient = pointer(plan[w.GRADIENT], dtype)
    for layer in range(plan[w.LAYERS]):
        phase = _add_squares(plan, layer, step, gradient, space, phase, dtype)
        outputs, inputs = layer_word(plan, layer, w.OUTPUTS), layer_word(plan, layer, w.INPUTS)
        gradient = moved(gradient, outputs * (inputs + 1))
    # Who comes so late that the buffer holds something else already, finds no task any more.
    norm = math.sqrt(recast(space.shared, float64)[0])
    most = pointer(plan[w.SETTINGS], float64)[w.CLIP_NORM]
    factor = most / norm if norm > most else 1.0
    of_weights = words_of(numbers_of(plan, step, True, factor))
    of_biases = words_of(numbers_of(plan, step, False, factor))
    zero, one = int64(0), int64(1)
    gradient = pointer(plan[w.GRADIENT], dtype)
    for layer in range(plan[w.LAYERS]):
        outputs, inputs = layer_word(plan, layer, w.OUTPUTS), layer_word(plan, layer, w.INPUTS)
        count = outputs * inputs
        blocks = (count + _BLOCK - 1) // _BLOCK
        phase += 1
        task = next_task(space.team, phase, blocks + 1, False)
        while task >= 0:
            strip, first, last = strip_of_biases(plan, layer, of_biases), zero, outputs
            source = moved(gradient, count)
            if task < blocks:
                strip = strip_of_weights(plan, layer, of_weights)  # whose rows follow each other
                first, last = task * _BLOCK, min((task + 1) * _BLOCK, count)
                source = moved(gradient, first)
            part = part_of(
                strip, address_of(source), zero, zero, one, first, last - first, itemsize_of(dtype)
            )
            call_region(plan[w.UPDATE_REGION], words_of(part), 0)
            task = next_task(space.team, phase, blocks + 1, True)
        gradient = moved(gradient, outputs * (inputs + 1))
    return phase


# ------------------------------------------------------------------ the region


class _Layers(NamedTuple):
    """What the region is told."""

    plan: int
    x: Operand
    first: int  # the layer to begin with
    rows: int
    step: int
    phase: int
    phase_out: int  # address for the number of the last phase


@jit
def optimize_layers(plan, x, first, shape, worker, phase):
    """Update layers ``first`` and on, by the region; ``shape`` has the rows and the step."""
    rows, step = shape
    last = words_of(Phase(phase))
    told = _Layers(address_of(plan), x, first, rows, step, phase, last)
    call_region(plan[w.OPTIMIZE_REGION], words_of(told), worker)
    return pointer(last, int64)[0]


@jit
def _run(context, worker, dtype):
    it = words_at(context, _Layers)
    plan = pointer(it.plan, int64)
    space = workspace(plan, worker, dtype)
    rows, step, phase = it.rows, it.step, it.phase
    if plan[w.SQUARES] != 0:
        phase = _add_up_squares(plan, step, space, phase, dtype)
    if plan[w.GRADIENT_WIDTH] == 0:
        phase = _update_clipped(plan, it.x, rows, step, space, phase, dtype)
    else:
        for layer in range(it.first, plan[w.LAYERS]):
            x = input_of(plan, layer, it.x, dtype)
            phase = _update_in_parts(plan, layer, x, rows, step, space, phase, dtype)
    pointer(it.phase_out, int64)[0] = phase


@region
def _float32(context: int, worker: int) -> None:
    _run(context, worker, float32)


@region
def _float64(context: int, worker: int) -> None:
    _run(context, worker, float64)


regions = {"float32": _float32, "float64": _float64}
"""The region for each dtype of the network."""
