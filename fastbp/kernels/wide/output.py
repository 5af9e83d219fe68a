"""From Z of the last layer to its delta, for any loss.

Log loss, all rows of which weigh the same, is compiled in; any other is the region's of
`functions.outputs`, which takes rows as the lanes of vectors.
"""

from __future__ import annotations

from numba import float64, int64

from fastbp.kernels import plan as w
from fastbp.kernels.compile.calls import call_region, words_of
from fastbp.kernels.compile.jit import jit
from fastbp.kernels.functions.activations import sigmoid
from fastbp.kernels.functions.losses import log_loss
from fastbp.kernels.functions.outputs import Outputs
from fastbp.kernels.plan import (
    layer_pointer,
    layer_word,
    loss_cap,
    row_number,
    step_numbers,
)
from fastbp.kernels.simd.vectors import (
    address_of,
    lanes_of,
    load,
    load_part,
    moved,
    pointer,
    reduce_add,
    splat,
    store,
    store_part,
    zeros,
)
from fastbp.kernels.threads.team import next_task

__all__ = ["output_delta", "private_bytes"]

_ROWS_OF_TASK = 64  # rows of the output layer that one task turns into delta


def private_bytes(outputs: int, lanes: int, itemsize: int) -> int:
    """Bytes of scratch memory that one thread needs: Z, delta, weights and tally of some rows."""
    return (2 * outputs + 3) * lanes * itemsize


@jit
def _delta_of_rows(z, delta, rows, outputs, share, tally, dtype):
    """In place: z <- sigmoid(z), delta <- (sigmoid(z) - delta) * share; tally <- loss, correct."""
    lanes = lanes_of(dtype)
    loss = zeros(dtype)
    n = rows * outputs
    whole = n // lanes * lanes
    for j in range(0, whole, lanes):
        x = load(z, j, dtype)
        loss += log_loss(x, load(delta, j, dtype), dtype)
        store(z, j, sigmoid(x, dtype))
    total = float64(reduce_add(loss))
    if whole < n:
        rest = n - whole
        x = load_part(z, whole, rest, dtype)
        y = load_part(delta, whole, rest, dtype)
        store_part(z, whole, rest, sigmoid(x, dtype))
        store_part(tally, 2, rest, log_loss(x, y, dtype))
        for j in range(rest):
            total += tally[2 + j]
    right = int64(0)
    for i in range(rows):
        wrong = False
        for o in range(outputs):
            wrong |= (z[i * outputs + o] >= 0.5) != (delta[i * outputs + o] >= 0.5)
        right += not wrong
    scale = splat(share, dtype)
    for j in range(0, n, lanes):
        rest = min(lanes, n - j)
        error = load_part(z, j, rest, dtype) - load_part(delta, j, rest, dtype)
        store_part(delta, j, rest, error * scale)
    tally[0] = dtype(total)
    tally[1] = dtype(right)


@jit
def _delta_by_region(plan, start, z, delta, rows, share, tally, space, dtype):
    """Delta of any loss, of rows ``start`` ... of the epoch; tally <- loss, metric."""
    lanes = lanes_of(dtype)
    outputs = layer_word(plan, plan[w.LAYERS] - 1, w.OUTPUTS)
    y, weights = pointer(plan[w.Y], dtype), pointer(plan[w.ROW_WEIGHTS], dtype)
    own_z = space.private
    own_delta = moved(own_z, outputs * lanes)
    own_weights = moved(own_delta, outputs * lanes)
    sums = moved(own_weights, lanes)
    loss, metric = 0.0, 0.0
    for first in range(0, rows, lanes):
        count = min(lanes, rows - first)
        for i in range(lanes):
            # What is no row is a copy of the last one, and left out of what is written.
            at = first + min(i, count - 1)
            row = row_number(plan, start + at)
            for o in range(outputs):
                own_z[o * lanes + i] = z[at * outputs + o]
                own_delta[o * lanes + i] = y[row * outputs + o]
            if plan[w.ROW_WEIGHTS] != 0:
                own_weights[i] = weights[row]
        told = Outputs(
            plan[w.LOSS_FUNCTION], address_of(own_z), address_of(own_delta), outputs, int64(0),
            count, address_of(own_weights) if plan[w.ROW_WEIGHTS] != 0 else int64(0), share,
            address_of(sums), plan[w.METRIC_SCALE], loss_cap(plan),
        )  # fmt: skip
        call_region(plan[w.OUTPUT_REGION], words_of(told), 0)
        for i in range(count):
            loss += sums[i]
            metric += sums[lanes + i]
            for o in range(outputs):
                delta[(first + i) * outputs + o] = own_delta[o * lanes + i]
    tally[0] = dtype(loss)
    tally[1] = dtype(metric)


@jit
def output_delta(plan, step, rows, space, phase, dtype):
    """Begin: the last layer's DELTA <- slope of the loss at Z, in its ACTIVATION, over all rows.

    LOSS and METRIC are added to. Of log loss Z becomes sigmoid(Z), and an output is right if that
    and y are on the same side of 0.5. The shared buffer is used.
    """
    top = plan[w.LAYERS] - 1
    outputs = layer_word(plan, top, w.OUTPUTS)
    z = layer_pointer(plan, top, w.ACTIVATION, dtype)
    delta = layer_pointer(plan, top, w.DELTA, dtype)
    y = pointer(plan[w.Y], dtype)
    start = step * plan[w.BATCH]
    weighted = plan[w.ROW_WEIGHTS] != 0
    numbers = step_numbers(plan, step)
    share = numbers[w.SHARE] if weighted else 1.0 / rows
    tasks = (rows + _ROWS_OF_TASK - 1) // _ROWS_OF_TASK
    apart = 2 + lanes_of(dtype)
    phase += 1
    task = next_task(space.team, phase, tasks, False)
    while task >= 0:
        first = task * _ROWS_OF_TASK
        count = min(_ROWS_OF_TASK, rows - first)
        own, own_z = moved(delta, first * outputs), moved(z, first * outputs)
        tally = moved(space.shared, task * apart)
        if plan[w.OUTPUT_REGION] != 0:
            _delta_by_region(plan, start + first, own_z, own, count, share, tally, space, dtype)
        else:
            for i in range(count):
                row = row_number(plan, start + first + i)
                for o in range(outputs):
                    own[i * outputs + o] = y[row * outputs + o]
            _delta_of_rows(own_z, own, count, outputs, share, tally, dtype)
        task = next_task(space.team, phase, tasks, True)
    totals = pointer(plan[w.SETTINGS] + 8 * w.LOSS, float64)
    phase += 1
    task = next_task(space.team, phase, 1, False)
    while task >= 0:
        for i in range(tasks):
            totals[0] += numbers[w.LOSS_SHARE] * space.shared[i * apart]
            totals[1] += space.shared[i * apart + 1]
        task = next_task(space.team, phase, 1, True)
    return phase
