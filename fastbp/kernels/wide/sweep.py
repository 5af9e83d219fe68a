"""Small batches and a wide first layer: one sweep over W1 for each step.

With few rows a step is bound by reading and writing W1. So the update of one step and the forward
pass of the next are made together: a task takes a few rows of W1, a chunk of columns at a time,
updates them with the last batch and multiplies them with the next one while they lie in the
level-1 cache. W1 crosses the memory bus once in each direction for each step, nothing is packed,
and dW is never stored.

The batch itself is small: its rows are gathered, widened and folded into a buffer beforehand,
one for the last batch and one for the next, which stay in the level-2 cache during the sweep.
"""

from __future__ import annotations

from collections import namedtuple

from numba import float32, float64, int64

from fastbp.kernels import plan as w
from fastbp.kernels.compile.calls import call_region, words_of
from fastbp.kernels.compile.jit import jit, region
from fastbp.kernels.functions.activations import SIGMOID, sigmoid
from fastbp.kernels.functions.layers import FORWARD
from fastbp.kernels.functions.strip import Dropout, Strip, part_of
from fastbp.kernels.linalg.operand import itemsize_of
from fastbp.kernels.linalg.row_ir import GROUP, OUTPUTS
from fastbp.kernels.linalg.row_products import add_outer_products, add_products
from fastbp.kernels.plan import layer_pointer, layer_word, numbers_of, step_numbers
from fastbp.kernels.simd.vectors import (
    address_of,
    lanes_of,
    load,
    moved,
    pointer,
    reduce_add,
    store,
    zeros,
)
from fastbp.kernels.threads.team import next_task
from fastbp.kernels.wide.functions import function_of, is_called
from fastbp.kernels.wide.gather import gather, row_step
from fastbp.kernels.wide.layers import rows_of_step, step_of_layers
from fastbp.kernels.wide.optimize import strip_of_biases, strip_of_weights

__all__ = ["MOST_ROWS", "forward_few", "private_bytes", "regions"]

MOST_ROWS = 16  # of a batch: with more, its two buffers leave the level-2 cache
_OUTPUTS_OF_TASK = 8  # rows of W1
_CHUNK = 512  # columns: MOST_ROWS rows of a batch take 32 KiB of float32

_Scratch = namedtuple("_Scratch", ["offsets", "sums", "delta", "z", "slopes", "gradient"])


def private_bytes(lanes: int, itemsize: int) -> int:
    """Bytes of scratch memory that one thread needs: see `_scratch`."""
    units = MOST_ROWS * _OUTPUTS_OF_TASK
    return MOST_ROWS * 8 + (units * (lanes + 3) + _OUTPUTS_OF_TASK * _CHUNK) * itemsize


@jit
def _scratch(plan, worker, dtype):
    private = plan[w.PRIVATE] + worker * plan[w.PRIVATE_STEP]
    units = MOST_ROWS * _OUTPUTS_OF_TASK
    sums = pointer(private + MOST_ROWS * 8, dtype)
    delta = moved(sums, units * lanes_of(dtype))
    z = moved(delta, units)
    slopes = moved(z, units)
    offsets = pointer(private, int64)
    for i in range(MOST_ROWS):
        offsets[i] = i * row_step(plan, dtype)
    return _Scratch(offsets, sums, delta, z, slopes, moved(slopes, units))


@jit
def _update_chunk(plan, batch, rows, o, outputs, j0, count, own, step, dtype):
    """Columns j0 ... of rows o ... of W1, changed by the batch of a step."""
    numbers = step_numbers(plan, step)
    factor, keep = dtype(-numbers[w.RATE]), dtype(numbers[w.KEEP])
    n0 = layer_word(plan, 0, w.INPUTS)
    target, ldt = moved(layer_pointer(plan, 0, w.WEIGHT, dtype), o * n0), n0
    called = plan[w.UPDATE_REGION] != 0
    if called:  # the gradient, instead of the weights
        target, ldt, factor, keep = moved(own.gradient, -j0), int64(_CHUNK), dtype(1), dtype(0)
    none = pointer(int64(0), dtype)  # the rows are preprocessed already
    for u in range(0, outputs, OUTPUTS):
        add_outer_products(
            moved(target, u * ldt), ldt, batch, own.offsets, None, None,
            moved(own.delta, u * MOST_ROWS), int64(MOST_ROWS), j0, count, rows,
            None, min(OUTPUTS, outputs - u), keep, factor, none, none, none,
        )  # fmt: skip
    if called:
        weights = strip_of_weights(plan, int64(0), words_of(numbers_of(plan, step, True, 1.0)))
        part = part_of(
            weights, address_of(own.gradient), int64(_CHUNK), o, outputs, j0, count,
            itemsize_of(dtype),
        )  # fmt: skip
        call_region(plan[w.UPDATE_REGION], words_of(part), 0)


@jit
def _forward_chunk(plan, batch, rows, o, outputs, j0, count, own, dtype):
    """The same columns times a batch: added to own.sums."""
    lanes = lanes_of(dtype)
    n0 = layer_word(plan, 0, w.INPUTS)
    weight = layer_pointer(plan, 0, w.WEIGHT, dtype)
    for i in range(0, rows, GROUP):
        for u in range(0, outputs, OUTPUTS):
            add_products(
                moved(own.sums, (u * MOST_ROWS + i * OUTPUTS) * lanes), batch,
                moved(own.offsets, i), None, None, moved(weight, (o + u) * n0), n0, j0, count,
                min(GROUP, rows - i), min(OUTPUTS, outputs - u), moved(own.offsets, i),
            )  # fmt: skip


@jit
def _clear_sums(own, dtype):
    for i in range(MOST_ROWS * _OUTPUTS_OF_TASK):
        store(own.sums, i * lanes_of(dtype), zeros(dtype))


@jit
def _take_delta(plan, rows, o, outputs, own, step, dtype):
    """Transpose delta of outputs o ... into own.delta, and change their biases."""
    n1 = layer_word(plan, 0, w.OUTPUTS)
    b = layer_pointer(plan, 0, w.BIAS, dtype)
    d = layer_pointer(plan, 0, w.DELTA, dtype)
    rate = dtype(step_numbers(plan, step)[w.RATE])
    called = plan[w.UPDATE_REGION] != 0
    for u in range(outputs):
        total = dtype(0)
        for i in range(rows):
            own.delta[u * MOST_ROWS + i] = d[i * n1 + o + u]
            total += d[i * n1 + o + u]
        if called:
            own.z[u] = total
        else:
            b[o + u] -= rate * total
    if called:
        zero = int64(0)
        biases = strip_of_biases(plan, zero, words_of(numbers_of(plan, step, False, 1.0)))
        part = part_of(
            biases, address_of(own.z), zero, zero, int64(1), o, outputs, itemsize_of(dtype)
        )
        call_region(plan[w.UPDATE_REGION], words_of(part), 0)


@jit
def _apply_function(own, rows, o, outputs, n1, function, dtype):
    """own.z <- the activations of outputs o ..., own.slopes <- their slopes, if they are stored.

    Both hold MOST_ROWS rows of each output.
    """
    lanes = lanes_of(dtype)
    if is_called(function):
        zero, one, drop = int64(0), int64(1), function.dropout
        slopes = address_of(own.slopes) if function.slope != 0 else zero
        strip = Strip(
            function.code, address_of(own.z), int64(MOST_ROWS), outputs, rows, zero, zero, slopes,
            zero, int64(MOST_ROWS), Dropout(drop.key, drop.threshold, o, one, n1), zero,
        )  # fmt: skip
        call_region(function.region, words_of(strip), FORWARD)
    elif function.code == SIGMOID:
        for i in range(0, outputs * MOST_ROWS, lanes):
            store(own.z, i, sigmoid(load(own.z, i, dtype), dtype))


@jit
def _give_activation(plan, own, rows, o, outputs, function, dtype):
    """From the sums of products to the activations of outputs o ..."""
    lanes = lanes_of(dtype)
    n1 = layer_word(plan, 0, w.OUTPUTS)
    b = layer_pointer(plan, 0, w.BIAS, dtype)
    a = layer_pointer(plan, 0, w.ACTIVATION, dtype)
    for i in range(0, outputs * MOST_ROWS, lanes):
        store(own.z, i, zeros(dtype))
    for u in range(outputs):
        for i in range(rows):
            group = i // GROUP * GROUP
            first = u // OUTPUTS * OUTPUTS
            at = first * MOST_ROWS + group * OUTPUTS + (u - first) * GROUP + i - group
            own.z[u * MOST_ROWS + i] = reduce_add(load(own.sums, at * lanes, dtype)) + b[o + u]
    _apply_function(own, rows, o, outputs, n1, function, dtype)
    for u in range(outputs):
        for i in range(rows):
            a[i * n1 + o + u] = own.z[u * MOST_ROWS + i]
    if function.slope != 0:
        slope = pointer(function.slope, dtype)
        for u in range(outputs):
            for i in range(rows):
                slope[i * n1 + o + u] = own.slopes[u * MOST_ROWS + i]


@jit
def forward_few(plan, worker, batch, rows, phase, dtype):
    """A1 <- the forward pass of a batch that `gather` has left, in one pass over W1."""
    team = pointer(plan[w.TEAM], int64)
    n0 = layer_word(plan, 0, w.INPUTS)
    n1 = layer_word(plan, 0, w.OUTPUTS)
    own = _scratch(plan, worker, dtype)
    function = function_of(plan, 0, int64(0))
    tasks = (n1 + _OUTPUTS_OF_TASK - 1) // _OUTPUTS_OF_TASK
    phase += 1
    task = next_task(team, phase, tasks, False)
    while task >= 0:
        o = task * _OUTPUTS_OF_TASK
        outputs = min(_OUTPUTS_OF_TASK, n1 - o)
        _clear_sums(own, dtype)
        for j0 in range(0, n0, _CHUNK):
            count = min(_CHUNK, n0 - j0)
            _forward_chunk(plan, batch, rows, o, outputs, j0, count, own, dtype)
        _give_activation(plan, own, rows, o, outputs, function, dtype)
        task = next_task(team, phase, tasks, True)
    return phase


@jit
def _sweep(plan, worker, batch, rows, next_batch, next_rows, step, phase, dtype):
    """W1 <- W1 changed by a batch; A1 <- its forward pass of the next batch, that of a step.

    Both batches are as `gather` leaves them; either may have no rows, and is left out then. delta
    of the first is in layer 0's DELTA, the activations go to its ACTIVATION.
    """
    team = pointer(plan[w.TEAM], int64)
    n0 = layer_word(plan, 0, w.INPUTS)
    n1 = layer_word(plan, 0, w.OUTPUTS)
    function = function_of(plan, 0, step)
    own = _scratch(plan, worker, dtype)
    tasks = (n1 + _OUTPUTS_OF_TASK - 1) // _OUTPUTS_OF_TASK
    phase += 1
    task = next_task(team, phase, tasks, False)
    while task >= 0:
        o = task * _OUTPUTS_OF_TASK
        outputs = min(_OUTPUTS_OF_TASK, n1 - o)
        if rows > 0:
            _take_delta(plan, rows, o, outputs, own, step - 1, dtype)
        _clear_sums(own, dtype)
        for j0 in range(0, n0, _CHUNK):
            count = min(_CHUNK, n0 - j0)
            if rows > 0:
                _update_chunk(plan, batch, rows, o, outputs, j0, count, own, step - 1, dtype)
            _forward_chunk(plan, next_batch, next_rows, o, outputs, j0, count, own, dtype)
        if next_rows > 0:
            _give_activation(plan, own, next_rows, o, outputs, function, dtype)
        task = next_task(team, phase, tasks, True)
    return phase


@jit
def _run(context, worker, dtype):
    """Steps FIRST ... LAST - 1, each with one pass over W1."""
    plan = pointer(context, int64)
    team = pointer(plan[w.TEAM], int64)
    batch = pointer(plan[w.GATHERED], dtype)
    next_batch = moved(batch, plan[w.BATCH] * row_step(plan, dtype))
    phase = int64(-1)
    rows = int64(0)
    for step in range(plan[w.FIRST], plan[w.LAST]):
        start = step * plan[w.BATCH]
        next_rows = rows_of_step(plan, step)
        phase = gather(plan, worker, start, next_rows, next_batch, team, phase, dtype)
        phase = _sweep(plan, worker, batch, rows, next_batch, next_rows, step, phase, dtype)
        batch, next_batch, rows = next_batch, batch, next_rows
        phase = step_of_layers(plan, step, int64(1), worker, phase)
    _sweep(plan, worker, batch, rows, next_batch, int64(0), plan[w.LAST], phase, dtype)


@region
def _float32(context: int, worker: int) -> None:
    _run(context, worker, float32)


@region
def _float64(context: int, worker: int) -> None:
    _run(context, worker, float64)


regions = {"float32": _float32, "float64": _float64}
"""The region for each dtype of the network."""
