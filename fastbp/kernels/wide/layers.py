"""The layers of a network, one after another: the region of one step, for any method.

A step of the layers from ``first`` on is three passes over them. Plain steps (`plain`) begin with
the first layer; where a method passes over W1 in a way of its own (`sweep`, `delayed`), with the
second. The products are those of `linalg.product`, called by address.
"""

from __future__ import annotations

from typing import NamedTuple

from numba import float32, float64, int64

from fastbp.kernels import plan as w
from fastbp.kernels.compile.calls import call_region, words_at, words_of
from fastbp.kernels.compile.jit import jit, region
from fastbp.kernels.linalg.operand import matrix
from fastbp.kernels.plan import layer_pointer, layer_word, operand_of_x, step_numbers
from fastbp.kernels.simd.vectors import address_of, pointer
from fastbp.kernels.threads.context import Phase, workspace
from fastbp.kernels.wide.dense import backward, forward, input_of, update
from fastbp.kernels.wide.functions import function_of, output_function
from fastbp.kernels.wide.gather import gather_dropped, row_step
from fastbp.kernels.wide.optimize import optimize_layers
from fastbp.kernels.wide.output import output_delta

__all__ = ["forward_layers", "regions", "rows_of_step", "step_of_layers"]


class _Step(NamedTuple):
    """What the region is told."""

    plan: int
    step: int  # of the epoch
    first: int  # the layer to begin with
    phase: int
    phase_out: int  # address for the number of the last phase


@jit
def rows_of_step(plan, step):
    """Rows of a step of the epoch: the last one may have fewer."""
    return min(plan[w.BATCH], plan[w.ROWS] - step * plan[w.BATCH])


@jit
def step_of_layers(plan, step, first, worker, phase):
    """Forward, back and update of layers ``first`` and on, by the region."""
    last = words_of(Phase(phase))
    told = _Step(address_of(plan), step, first, phase, last)
    call_region(plan[w.ABOVE_REGION], words_of(told), worker)
    return pointer(last, int64)[0]


@jit
def _shape_of(plan, layer, rows):
    """Rows, outputs and inputs of a layer's products."""
    return rows, layer_word(plan, layer, w.OUTPUTS), layer_word(plan, layer, w.INPUTS)


@jit
def forward_layers(plan, x, first, shape, last, linear, space, phase, dtype):
    """Forward through layers ``first`` and on: activations of each, the last one's in ``last``.

    That is Z, if ``linear``, else sigmoid(Z). ``shape`` has the rows and the step, for dropout.
    """
    rows, step = shape
    layers = plan[w.LAYERS]
    for layer in range(first, layers):
        z, function = last, output_function(linear)
        if layer < layers - 1:
            z = layer_pointer(plan, layer, w.ACTIVATION, dtype)
            function = function_of(plan, layer, step)
        phase = forward(
            z, input_of(plan, layer, x, dtype), layer_word(plan, layer, w.WEIGHT),
            layer_pointer(plan, layer, w.BIAS, dtype), _shape_of(plan, layer, rows), function,
            space, phase, dtype,
        )  # fmt: skip
    return phase


@jit
def _backward_layers(plan, step, rows, space, phase, dtype):
    """From Z of the last layer to delta of every layer."""
    phase = output_delta(plan, step, rows, space, phase, dtype)
    top = plan[w.LAYERS] - 1
    for below in range(top):
        layer = top - below
        phase = backward(
            layer_pointer(plan, layer - 1, w.DELTA, dtype),
            layer_pointer(plan, layer - 1, w.ACTIVATION, dtype),
            layer_word(plan, layer, w.DELTA), layer_word(plan, layer, w.WEIGHT),
            _shape_of(plan, layer, rows), function_of(plan, layer - 1, step), space, phase, dtype,
        )  # fmt: skip
    return phase


@jit
def _update_layers(plan, x, first, shape, space, phase, dtype):
    """Update the parameters of layers ``first`` and on; ``shape`` has the rows and the step."""
    rows, step = shape
    if plan[w.OPTIMIZE_REGION] != 0:
        return optimize_layers(plan, x, first, shape, space.worker, phase)
    numbers = step_numbers(plan, step)
    rate, keep = numbers[w.RATE], numbers[w.KEEP]
    for layer in range(first, plan[w.LAYERS]):
        phase = update(
            layer_pointer(plan, layer, w.WEIGHT, dtype), layer_pointer(plan, layer, w.BIAS, dtype),
            input_of(plan, layer, x, dtype), layer_word(plan, layer, w.DELTA),
            _shape_of(plan, layer, rows), dtype(rate), dtype(keep), space, phase, dtype,
        )  # fmt: skip
    return phase


@jit
def _run(context, worker, dtype):
    it = words_at(context, _Step)
    plan = pointer(it.plan, int64)
    space = workspace(plan, worker, dtype)
    step, phase = it.step, it.phase
    rows = rows_of_step(plan, step)
    x = operand_of_x(plan, step * plan[w.BATCH])
    if plan[w.DROP_REGION] != 0:
        phase = gather_dropped(plan, step, rows, worker, phase)
        x = matrix(plan[w.GATHERED], row_step(plan, dtype), int64(1), dtype)
    z = layer_pointer(plan, plan[w.LAYERS] - 1, w.ACTIVATION, dtype)
    phase = forward_layers(plan, x, it.first, (rows, step), z, True, space, phase, dtype)
    phase = _backward_layers(plan, step, rows, space, phase, dtype)
    phase = _update_layers(plan, x, it.first, (rows, step), space, phase, dtype)
    pointer(it.phase_out, int64)[0] = phase


@region
def _float32(context: int, worker: int) -> None:
    _run(context, worker, float32)


@region
def _float64(context: int, worker: int) -> None:
    _run(context, worker, float64)


regions = {"float32": _float32, "float64": _float64}
"""The region of one step, for each dtype of the network."""
