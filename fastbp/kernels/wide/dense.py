"""A dense layer's three passes, each a matrix product with an epilogue, shared by all threads.

Shapes: x (rows, inputs), weight (outputs, inputs), bias (outputs,), delta (rows, outputs). All but
x have contiguous rows. Each function takes and returns the number of the last phase (see `team`).
"""

from __future__ import annotations

from numba import float64, int64

from fastbp.kernels.compile.jit import jit
from fastbp.kernels.functions.activations import sigmoid
from fastbp.kernels.functions.losses import log_loss
from fastbp.kernels.linalg.epilogue import BIAS, BIAS_SIGMOID, DERIVATIVE, NOTHING, Epilogue
from fastbp.kernels.linalg.macrokernel import whole
from fastbp.kernels.linalg.operand import Product, matrix
from fastbp.kernels.linalg.product import multiply
from fastbp.kernels.simd.vectors import (
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

__all__ = ["backward", "forward", "output_delta", "update"]

_ROWS_OF_TASK = 64  # rows of the output layer that one task turns into delta
_COLUMNS_OF_TASK = 256  # columns of delta that one task sums


@jit
def forward(z, x, weight, bias, rows, outputs, inputs, linear, space, phase, dtype):
    """Forward: z <- sigmoid(x weight^T + bias), or without the sigmoid if ``linear``.

    ``z`` and ``bias`` are pointers, ``x`` an Operand, ``weight`` an address.
    """
    kind = BIAS if linear else BIAS_SIGMOID
    epilogue = Epilogue(int64(kind), bias, z, int64(0))
    product = Product(
        z, outputs, rows, outputs, inputs, x, matrix(weight, int64(1), inputs, dtype),
        dtype(1), dtype(0), epilogue, whole(),
    )  # fmt: skip
    return multiply(product, space, phase, dtype)


@jit
def backward(below, activation, delta, weight, rows, outputs, inputs, space, phase, dtype):
    """Back: below <- (delta weight) * a (1 - a), a = ``activation`` of the layer below."""
    epilogue = Epilogue(int64(DERIVATIVE), activation, activation, inputs)
    product = Product(
        below, inputs, rows, inputs, outputs, matrix(delta, outputs, int64(1), dtype),
        matrix(weight, inputs, int64(1), dtype), dtype(1), dtype(0), epilogue, whole(),
    )  # fmt: skip
    return multiply(product, space, phase, dtype)


@jit
def update(weight, bias, x, delta, shape, rate, keep, space, phase, dtype):
    """Update: weight <- keep weight - rate delta^T x, bias <- bias - rate (column sums of delta).

    ``weight`` and ``bias`` are pointers, ``x`` an Operand, ``delta`` an address; ``shape`` has the
    rows of x, the outputs and the inputs.
    """
    rows, outputs, inputs = shape
    lanes = lanes_of(dtype)
    d = pointer(delta, dtype)
    tasks = (outputs + _COLUMNS_OF_TASK - 1) // _COLUMNS_OF_TASK
    phase += 1
    task = next_task(space.team, phase, tasks, False)
    while task >= 0:
        first = task * _COLUMNS_OF_TASK
        last = min(first + _COLUMNS_OF_TASK, outputs)
        for j in range(first, last, lanes):
            count = min(lanes, last - j)
            total = zeros(dtype)
            for i in range(rows):
                total += load_part(d, i * outputs + j, count, dtype)
            old = load_part(bias, j, count, dtype)
            store_part(bias, j, count, old - splat(rate, dtype) * total)
        task = next_task(space.team, phase, tasks, True)
    epilogue = Epilogue(int64(NOTHING), bias, bias, int64(0))
    product = Product(
        weight, inputs, outputs, inputs, rows, matrix(delta, int64(1), outputs, dtype), x,
        -rate, keep, epilogue, whole(),
    )  # fmt: skip
    return multiply(product, space, phase, dtype)


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
def output_delta(z, delta, y, index, start, rows, outputs, totals, space, phase, dtype):
    """Begin: delta <- (sigmoid(z) - y) / rows; totals[0] += log loss, totals[1] += rows all right.

    An output is right if sigmoid(z) and y are on the same side of 0.5; ``z`` becomes sigmoid(z).
    ``y`` points to the targets (all rows, outputs), of which row i of the batch is row
    index[start + i], or start + i if the address ``index`` is 0. The shared buffer is used.
    """
    lanes = lanes_of(dtype)
    tasks = (rows + _ROWS_OF_TASK - 1) // _ROWS_OF_TASK
    numbers = pointer(index, int64)
    step = 2 + lanes
    phase += 1
    task = next_task(space.team, phase, tasks, False)
    while task >= 0:
        first = task * _ROWS_OF_TASK
        count = min(_ROWS_OF_TASK, rows - first)
        own = moved(delta, first * outputs)
        for i in range(count):
            row = start + first + i
            if index != 0:
                row = numbers[row]
            for o in range(outputs):
                own[i * outputs + o] = y[row * outputs + o]
        _delta_of_rows(
            moved(z, first * outputs), own, count, outputs, 1.0 / rows,
            moved(space.shared, task * step), dtype,
        )  # fmt: skip
        task = next_task(space.team, phase, tasks, True)
    phase += 1
    task = next_task(space.team, phase, 1, False)
    while task >= 0:
        for i in range(tasks):
            totals[0] += space.shared[i * step]
            totals[1] += space.shared[i * step + 1]
        task = next_task(space.team, phase, 1, True)
    return phase
