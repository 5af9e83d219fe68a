"""A dense layer's three passes, each a matrix product with an epilogue, shared by all threads.

Shapes: x (rows, inputs), weight (outputs, inputs), bias (outputs,), delta (rows, outputs). All but
x have contiguous rows. Each function takes and returns the number of the last phase (see `team`).
Updates by other optimizers than plain descent are in `optimize`.
"""

from __future__ import annotations

from numba import int64

from fastbp.kernels import plan as w
from fastbp.kernels.compile.calls import words_of
from fastbp.kernels.compile.jit import jit
from fastbp.kernels.functions.activations import SIGMOID
from fastbp.kernels.functions.layers import BACK, FORWARD
from fastbp.kernels.linalg.epilogue import (
    BIAS,
    BIAS_SIGMOID,
    CALL,
    DERIVATIVE,
    NOTHING,
    Call,
    Epilogue,
)
from fastbp.kernels.linalg.macrokernel import whole
from fastbp.kernels.linalg.operand import Product, matrix
from fastbp.kernels.linalg.product import multiply
from fastbp.kernels.plan import layer_word
from fastbp.kernels.simd.vectors import lanes_of, load_part, pointer, splat, store_part, zeros
from fastbp.kernels.threads.team import next_task
from fastbp.kernels.wide.functions import backward_strip, forward_strip, is_called

__all__ = [
    "COLUMNS_OF_TASK",
    "backward",
    "column_sums",
    "forward",
    "forward_call",
    "input_of",
    "update",
]

COLUMNS_OF_TASK = 256  # columns of delta that one task sums


@jit
def input_of(plan, layer, x, dtype):
    """What a layer multiplies, as an Operand: ``x``, or the activations below."""
    if layer > 0:
        inputs = layer_word(plan, layer, w.INPUTS)
        return matrix(layer_word(plan, layer - 1, w.ACTIVATION), inputs, int64(1), dtype)
    return x


@jit
def forward_call(function, z, bias, rows, outputs):
    """The kind of epilogue that makes z (rows, outputs) the activations; the Call, if it is one."""
    kind = int64(BIAS_SIGMOID) if function.code == SIGMOID else int64(BIAS)
    if is_called(function):
        kind = int64(CALL)
    strip = forward_strip(function, z, bias, rows, outputs)
    return kind, Call(function.region, int64(FORWARD), strip)


@jit
def forward(z, x, weight, bias, shape, function, space, phase, dtype):
    """Forward: z <- g(x weight^T + bias), g being the `LayerFunction`.

    ``z`` and ``bias`` are pointers, ``x`` an Operand, ``weight`` an address; ``shape`` has the rows
    of x, the outputs and the inputs.
    """
    rows, outputs, inputs = shape
    kind, call = forward_call(function, z, bias, rows, outputs)
    told = pointer(words_of(call), dtype) if kind == CALL else bias
    product = Product(
        z, outputs, rows, outputs, inputs, x, matrix(weight, int64(1), inputs, dtype),
        dtype(1), dtype(0), Epilogue(kind, told, z, outputs), whole(),
    )  # fmt: skip
    return multiply(product, space, phase, dtype)


@jit
def backward(below, activation, delta, weight, shape, function, space, phase, dtype):
    """Back: below <- (delta weight) * g'(z), g and ``activation`` being those of the layer below.

    ``below`` and ``activation`` are pointers, ``delta`` and ``weight`` addresses; ``shape`` as of
    `forward`.
    """
    rows, outputs, inputs = shape
    kind, told = int64(NOTHING), activation
    if is_called(function):
        strip = backward_strip(function, activation, rows, inputs)
        kind = int64(CALL)
        told = pointer(words_of(Call(function.region, int64(BACK), strip)), dtype)
    elif function.code == SIGMOID:
        kind = int64(DERIVATIVE)
    product = Product(
        below, inputs, rows, inputs, outputs, matrix(delta, outputs, int64(1), dtype),
        matrix(weight, inputs, int64(1), dtype), dtype(1), dtype(0),
        Epilogue(kind, told, activation, inputs), whole(),
    )  # fmt: skip
    return multiply(product, space, phase, dtype)


@jit
def column_sums(delta, rows, outputs, j, count, dtype):
    """The sums of ``count`` columns of delta from column j on, at most a vector."""
    total = zeros(dtype)
    for i in range(rows):
        total += load_part(delta, i * outputs + j, count, dtype)
    return total


@jit
def update(weight, bias, x, delta, shape, rate, keep, space, phase, dtype):
    """Update: weight <- keep weight - rate delta^T x, bias <- bias - rate (column sums of delta).

    ``weight`` and ``bias`` are pointers, ``x`` an Operand, ``delta`` an address; ``shape`` has the
    rows of x, the outputs and the inputs.
    """
    rows, outputs, inputs = shape
    lanes = lanes_of(dtype)
    d = pointer(delta, dtype)
    tasks = (outputs + COLUMNS_OF_TASK - 1) // COLUMNS_OF_TASK
    phase += 1
    task = next_task(space.team, phase, tasks, False)
    while task >= 0:
        first = task * COLUMNS_OF_TASK
        last = min(first + COLUMNS_OF_TASK, outputs)
        for j in range(first, last, lanes):
            count = min(lanes, last - j)
            total = column_sums(d, rows, outputs, j, count, dtype)
            old = load_part(bias, j, count, dtype)
            store_part(bias, j, count, old - splat(rate, dtype) * total)
        task = next_task(space.team, phase, tasks, True)
    epilogue = Epilogue(int64(NOTHING), bias, bias, int64(0))
    product = Product(
        weight, inputs, outputs, inputs, rows, matrix(delta, int64(1), outputs, dtype), x,
        -rate, keep, epilogue, whole(),
    )  # fmt: skip
    return multiply(product, space, phase, dtype)
