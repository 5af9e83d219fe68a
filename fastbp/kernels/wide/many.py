"""Steps of several networks together, whose first layers are stacked: one product for all.

The networks have the same shape, the same rows in the same order and the same batches; all else may
differ: activations, loss, targets, weights of rows, rates, penalties, dropout. Their first layers
lie under each other, as one W1 of (models * n1, n0), so that the rows of a step are read, widened
and packed once for all, forward and back. A step:

    phase: Z of all first layers <- X W1^T
    phase: a task for each network, of one thread:
        its part of Z to its activations; up, back, and the update of what is above, by its own plan
        its part of delta to that of all
    for some columns of W1 at a time:
        phase: their gradient <- delta^T X, each strip of which updates the networks that it is of

A network's plan is one for dense steps of one thread (`wide.layers`). What lies between its first
layer and its last may be cut in another way for many threads than for one, and the products of the
first layers are those of a larger matrix: each network gets what it gets alone, to rounding.

The words of the stack are those of a plan with one layer, whose A and delta are those of all
networks, and behind them, see `MODELS`, the address of each network's plan. Each thread has the
teams and the shared memory of the networks whose tasks it takes, one after the other, in its own
private memory from OWN_AT on.
"""

from __future__ import annotations

from typing import NamedTuple

from numba import float32, float64, int64

from fastbp.kernels import plan as w
from fastbp.kernels.compile.calls import call_region, words_at, words_of
from fastbp.kernels.compile.jit import jit, region
from fastbp.kernels.functions.strip import Strip, no_dropout, part_of
from fastbp.kernels.linalg.epilogue import CALL, NOTHING, Epilogue, apply_epilogue
from fastbp.kernels.linalg.macrokernel import whole
from fastbp.kernels.linalg.operand import Product, itemsize_of, matrix
from fastbp.kernels.linalg.product import multiply
from fastbp.kernels.plan import (
    layer_pointer,
    layer_word,
    numbers_of,
    operand_of_x,
    plan_words,
)
from fastbp.kernels.simd.vectors import (
    address_of,
    lanes_of,
    load_part,
    moved,
    pointer,
    store_part,
)
from fastbp.kernels.threads.context import workspace
from fastbp.kernels.threads.team import TEAM_WORDS, next_task
from fastbp.kernels.wide.dense import forward_call
from fastbp.kernels.wide.functions import function_of
from fastbp.kernels.wide.layers import rows_of_step, step_of_layers
from fastbp.kernels.wide.optimize import strip_of_weights, update_biases, update_by_strips

__all__ = [
    "MODELS",
    "MODEL_PLANS",
    "OWN_AT",
    "UPDATE_MODELS",
    "many_words",
    "own_bytes",
    "regions",
    "updates",
]

_AFTER = plan_words(1)
MODELS = _AFTER  # how many networks there are
OWN_AT = _AFTER + 1  # bytes of private memory before what networks have in turn
UPDATE_MODELS = _AFTER + 2  # address of the region `updates`
MODEL_PLANS = _AFTER + 3  # from here on: addresses of the networks' plans


def many_words(models: int) -> int:
    """How many int64 words the plan of so many networks has."""
    return MODEL_PLANS + models


def own_bytes(shared: int) -> int:
    """Bytes that each thread needs from OWN_AT on, for networks with so much shared memory."""
    return 8 * TEAM_WORDS + shared


@jit
def _model(plan, m):
    """The plan of network m."""
    return pointer(plan[MODEL_PLANS + m], int64)


@jit
def _copy(to, ld_to, source, ld_source, rows, columns, dtype):
    lanes = lanes_of(dtype)
    for i in range(rows):
        for j in range(0, columns, lanes):
            count = min(lanes, columns - j)
            store_part(to, i * ld_to + j, count, load_part(source, i * ld_source + j, count, dtype))


# ------------------------------------------------------------------ a network's part of a step


@jit
def _activate(model, step, rows, space, dtype):
    """From the products in layer 0's ACTIVATION to its activations."""
    n1 = layer_word(model, 0, w.OUTPUTS)
    a = layer_pointer(model, 0, w.ACTIVATION, dtype)
    bias = layer_pointer(model, 0, w.BIAS, dtype)
    kind, call = forward_call(function_of(model, int64(0), step), a, bias, rows, n1)
    told = pointer(words_of(call), dtype) if kind == CALL else bias
    apply_epilogue(
        kind, a, n1, rows, int64(0), n1, told, a, n1, space.epilogue, dtype
    )  # fmt: skip


@jit
def _go_above(plan, m, step, rows, worker, dtype):
    """Network m, from its part of Z to its part of delta; what is above W1 is updated, and b1."""
    model, zero = _model(plan, m), int64(0)
    own = plan[w.PRIVATE] + worker * plan[w.PRIVATE_STEP]
    team = pointer(own + plan[OWN_AT], int64)
    for i in range(TEAM_WORDS):
        team[i] = 0
    model[w.TEAM], model[w.SHARED] = address_of(team), address_of(team) + 8 * TEAM_WORDS
    model[w.PRIVATE] = own
    space = workspace(model, zero, dtype)
    n1, outputs = layer_word(model, 0, w.OUTPUTS), layer_word(plan, 0, w.OUTPUTS)
    z = moved(layer_pointer(plan, 0, w.ACTIVATION, dtype), m * n1)
    _copy(layer_pointer(model, 0, w.ACTIVATION, dtype), n1, z, outputs, rows, n1, dtype)
    _activate(model, step, rows, space, dtype)
    phase = step_of_layers(model, step, int64(1), zero, int64(-1))
    update_biases(model, zero, rows, step, space, phase, dtype)
    delta = moved(layer_pointer(plan, 0, w.DELTA, dtype), m * n1)
    _copy(delta, outputs, layer_pointer(model, 0, w.DELTA, dtype), n1, rows, n1, dtype)


# ------------------------------------------------------------------ the first layers


class _Update(NamedTuple):
    """What the region `updates` finds as the numbers of its strip."""

    plan: int
    step: int


@jit
def _update_models(context, dtype):
    """Update the weights that a strip of gradients belongs to, network by network."""
    strip = words_at(context, Strip)
    told = words_at(strip.numbers, _Update)
    plan, itemsize, zero = pointer(told.plan, int64), itemsize_of(dtype), int64(0)
    n0 = strip.ld
    at = (strip.other - layer_word(plan, 0, w.WEIGHT)) // itemsize
    row, column = at // n0, at % n0
    done = zero
    while done < strip.rows:
        model = _model(plan, zero)
        n1 = layer_word(model, 0, w.OUTPUTS)
        m, first = (row + done) // n1, (row + done) % n1
        model = _model(plan, m)
        rows = min(n1 - first, strip.rows - done)
        numbers = words_of(numbers_of(model, told.step, True, 1.0))
        part = part_of(
            strip_of_weights(model, zero, numbers), strip.c + done * strip.ldc * itemsize,
            strip.ldc, first, rows, column, strip.columns, itemsize,
        )  # fmt: skip
        call_region(model[w.UPDATE_REGION], words_of(part), 0)
        done += rows


@jit
def _forward(plan, x, rows, space, phase, dtype):
    """Z of all first layers <- X W1^T."""
    outputs, n0 = layer_word(plan, 0, w.OUTPUTS), layer_word(plan, 0, w.INPUTS)
    z = layer_pointer(plan, 0, w.ACTIVATION, dtype)
    weight = matrix(layer_word(plan, 0, w.WEIGHT), int64(1), n0, dtype)
    product = Product(
        z, outputs, rows, outputs, n0, x, weight, dtype(1), dtype(0),
        Epilogue(int64(NOTHING), z, z, int64(0)), whole(),
    )  # fmt: skip
    return multiply(product, space, phase, dtype)


@jit
def _update_first(plan, x, step, rows, space, phase, dtype):
    """W1 of all networks, by the region `updates`."""
    zero = int64(0)
    outputs, n0 = layer_word(plan, 0, w.OUTPUTS), layer_word(plan, 0, w.INPUTS)
    told = words_of(_Update(address_of(plan), step))
    weights = Strip(
        zero, zero, zero, outputs, n0, zero, layer_word(plan, 0, w.WEIGHT), zero, zero, n0,
        no_dropout(), told,
    )  # fmt: skip
    delta = matrix(layer_word(plan, 0, w.DELTA), int64(1), outputs, dtype)
    return update_by_strips(plan, plan[UPDATE_MODELS], weights, delta, x, rows, space, phase, dtype)


@jit
def _run(context, worker, dtype):
    """Make steps FIRST ... LAST - 1."""
    plan = pointer(context, int64)
    space = workspace(plan, worker, dtype)
    phase = int64(-1)
    for step in range(plan[w.FIRST], plan[w.LAST]):
        rows = rows_of_step(plan, step)
        x = operand_of_x(plan, step * plan[w.BATCH])
        phase = _forward(plan, x, rows, space, phase, dtype)
        phase += 1
        task = next_task(space.team, phase, plan[MODELS], False)
        while task >= 0:
            _go_above(plan, task, step, rows, worker, dtype)
            task = next_task(space.team, phase, plan[MODELS], True)
        phase = _update_first(plan, x, step, rows, space, phase, dtype)


@region
def _float32(context: int, worker: int) -> None:
    _run(context, worker, float32)


@region
def _float64(context: int, worker: int) -> None:
    _run(context, worker, float64)


@region
def _update_float32(context: int, worker: int) -> None:
    _update_models(context, float32)


@region
def _update_float64(context: int, worker: int) -> None:
    _update_models(context, float64)


regions = {"float32": _float32, "float64": _float64}
"""The region for each dtype of the networks."""

updates = {"float32": _update_float32, "float64": _update_float64}
"""The region that updates first layers, by strips of their gradients."""
