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
from fastbp.kernels.plan import layer_pointer, layer_word, operand_of_x
from fastbp.kernels.simd.vectors import address_of, pointer
from fastbp.kernels.threads.context import Phase, workspace
from fastbp.kernels.wide.dense import backward, forward, output_delta, update

__all__ = ["forward_layers", "regions", "rows_of_step", "step_of_layers"]


class _Step(NamedTuple):
    """What the region is told."""

    plan: int
    start: int  # the step's rows of the epoch are start ... start + rows
    rows: int
    first: int  # the layer to begin with
    phase: int
    phase_out: int  # address for the number of the last phase


@jit
def rows_of_step(plan, step):
    """Rows of a step of the epoch: the last one may have fewer."""
    return min(plan[w.BATCH], plan[w.ROWS] - step * plan[w.BATCH])


@jit
def step_of_layers(plan, start, rows, first, worker, phase):
    """Forward, back and update of layers ``first`` and on, by the region."""
    last = words_of(Phase(phase))
    step = _Step(address_of(plan), start, rows, first, phase, last)
    call_region(plan[w.ABOVE_REGION], words_of(step), worker)
    return pointer(last, int64)[0]


@jit
def forward_layers(plan, x, first, rows, last, linear, space, phase, dtype):
    """Forward through layers ``first`` and on: activations of each, the last one's in ``last``.

    That is Z, if ``linear``.
    """
    layers = plan[w.LAYERS]
    for layer in range(first, layers):
        outputs = layer_word(plan, layer, w.OUTPUTS)
        inputs = layer_word(plan, layer, w.INPUTS)
        top = layer == layers - 1
        z = last if top else layer_pointer(plan, layer, w.ACTIVATION, dtype)
        if layer > 0:
            x = matrix(layer_word(plan, layer - 1, w.ACTIVATION), inputs, int64(1), dtype)
        phase = forward(
            z, x, layer_word(plan, layer, w.WEIGHT), layer_pointer(plan, layer, w.BIAS, dtype),
            rows, outputs, inputs, top and linear, space, phase, dtype,
        )  # fmt: skip
    return phase


@jit
def _backward_layers(plan, start, rows, space, phase, dtype):
    """From Z of the last layer to delta of every layer, for rows ``start`` and on."""
    top = plan[w.LAYERS] - 1
    phase = output_delta(
        layer_pointer(plan, top, w.ACTIVATION, dtype), layer_pointer(plan, top, w.DELTA, dtype),
        pointer(plan[w.Y], dtype), plan[w.ORDER], start, rows, layer_word(plan, top, w.OUTPUTS),
        pointer(plan[w.SETTINGS] + 8 * w.LOSS, float64), space, phase, dtype,
    )  # fmt: skip
    for below in range(top):
        layer = top - below
        outputs = layer_word(plan, layer, w.OUTPUTS)
        inputs = layer_word(plan, layer, w.INPUTS)
        phase = backward(
            layer_pointer(plan, layer - 1, w.DELTA, dtype),
            layer_pointer(plan, layer - 1, w.ACTIVATION, dtype),
            layer_word(plan, layer, w.DELTA), layer_word(plan, layer, w.WEIGHT),
            rows, outputs, inputs, space, phase, dtype,
        )  # fmt: skip
    return phase


@jit
def _update_layers(plan, x, first, rows, space, phase, dtype):
    """Update the parameters of layers ``first`` and on."""
    numbers = pointer(plan[w.STEPS], float64)
    rate, keep = numbers[w.RATE], numbers[w.KEEP]
    for layer in range(first, plan[w.LAYERS]):
        outputs = layer_word(plan, layer, w.OUTPUTS)
        inputs = layer_word(plan, layer, w.INPUTS)
        if layer > 0:
            x = matrix(layer_word(plan, layer - 1, w.ACTIVATION), inputs, int64(1), dtype)
        phase = update(
            layer_pointer(plan, layer, w.WEIGHT, dtype), layer_pointer(plan, layer, w.BIAS, dtype),
            x, layer_word(plan, layer, w.DELTA), (rows, outputs, inputs), dtype(rate), dtype(keep),
            space, phase, dtype,
        )  # fmt: skip
    return phase


@jit
def _run(context, worker, dtype):
    it = words_at(context, _Step)
    plan = pointer(it.plan, int64)
    space = workspace(plan, worker, dtype)
    top = plan[w.LAYERS] - 1
    x = operand_of_x(plan, it.start)
    z = layer_pointer(plan, top, w.ACTIVATION, dtype)
    phase = forward_layers(plan, x, it.first, it.rows, z, True, space, it.phase, dtype)
    phase = _backward_layers(plan, it.start, it.rows, space, phase, dtype)
    phase = _update_layers(plan, x, it.first, it.rows, space, phase, dtype)
    pointer(it.phase_out, int64)[0] = phase


@region
def _float32(context: int, worker: int) -> None:
    _run(context, worker, float32)


@region
def _float64(context: int, worker: int) -> None:
    _run(context, worker, float64)


regions = {"float32": _float32, "float64": _float64}
"""The region of one step, for each dtype of the network."""
