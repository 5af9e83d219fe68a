"""Whole epochs in compiled code, for networks of any depth and width; and the bare product.

The region of this module carries out a plan (see `plan`): TRAIN makes the steps of an epoch
without coming back to Python, FORWARD evaluates rows, and PRODUCT is one matrix product for the
NumPy-compatible functions (unless it is `thin`). They share one compiled region, since the product
is most of it.
"""

from __future__ import annotations

from numba import float32, float64, int64

from fastbp.kernels import plan as p
from fastbp.kernels.compile.jit import jit, region
from fastbp.kernels.linalg import product
from fastbp.kernels.linalg.gemm import Ending, Workspace, gemm
from fastbp.kernels.linalg.packing import matrix
from fastbp.kernels.plan import layer_pointer, layer_word, operand_of_x
from fastbp.kernels.simd.vectors import moved, pointer
from fastbp.kernels.wide.delayed import begin_group, begin_step, end_group, group_of
from fastbp.kernels.wide.dense import backward, forward, output_delta, update
from fastbp.kernels.wide.sweep import row_step, stage, sweep

__all__ = ["regions"]


@jit
def _workspace(plan, worker, dtype):
    private = plan[p.PRIVATE] + worker * plan[p.PRIVATE_STEP]
    return Workspace(
        pointer(plan[p.TEAM], int64), pointer(plan[p.SHARED], dtype), pointer(private, dtype),
        worker, plan[p.WORKERS],
    )  # fmt: skip


@jit
def _product(plan, space, dtype):
    a, b = product.operands(plan)
    factors = pointer(plan[product.FACTORS], float64)
    bias = pointer(plan[product.BIAS], dtype)
    ending = Ending(plan[product.ENDING], bias, bias, int64(0))
    gemm(
        pointer(plan[product.C], dtype), plan[product.LDC], plan[product.M], plan[product.N],
        plan[product.K], a, b, dtype(factors[0]), dtype(factors[1]), ending, space, int64(-1),
        dtype,
    )  # fmt: skip


@jit
def _forward_layers(plan, x, first, rows, last, space, phase, dtype):
    """Forward through layers ``first`` and on: activations of each, the last one's in ``last``."""
    layers = plan[p.LAYERS]
    for layer in range(first, layers):
        outputs = layer_word(plan, layer, p.OUTPUTS)
        inputs = layer_word(plan, layer, p.INPUTS)
        top = layer == layers - 1
        z = last if top else layer_pointer(plan, layer, p.ACTIVATION, dtype)
        if layer > 0:
            x = matrix(layer_word(plan, layer - 1, p.ACTIVATION), inputs, int64(1), dtype)
        linear = top and (plan[p.OPERATION] == p.TRAIN or plan[p.SIGMOID_OUT] == 0)
        phase = forward(
            z, x, layer_word(plan, layer, p.WEIGHT), layer_pointer(plan, layer, p.BIAS, dtype),
            rows, outputs, inputs, linear, space, phase, dtype,
        )  # fmt: skip
    return phase


@jit
def _backward_layers(plan, start, rows, space, phase, dtype):
    """From Z of the last layer to delta of every layer, for rows ``start`` and on."""
    top = plan[p.LAYERS] - 1
    phase = output_delta(
        layer_pointer(plan, top, p.ACTIVATION, dtype), layer_pointer(plan, top, p.DELTA, dtype),
        pointer(plan[p.Y], dtype), plan[p.ORDER], start, rows, layer_word(plan, top, p.OUTPUTS),
        pointer(plan[p.SETTINGS] + 8 * p.LOSS, float64), space, phase, dtype,
    )  # fmt: skip
    for below in range(top):
        layer = top - below
        outputs = layer_word(plan, layer, p.OUTPUTS)
        inputs = layer_word(plan, layer, p.INPUTS)
        phase = backward(
            layer_pointer(plan, layer - 1, p.DELTA, dtype),
            layer_pointer(plan, layer - 1, p.ACTIVATION, dtype),
            layer_word(plan, layer, p.DELTA), layer_word(plan, layer, p.WEIGHT),
            rows, outputs, inputs, space, phase, dtype,
        )  # fmt: skip
    return phase


@jit
def _update_layers(plan, x, first, rows, space, phase, dtype):
    """Update the parameters of layers ``first`` and on."""
    settings = pointer(plan[p.SETTINGS], float64)
    rate = settings[p.LEARNING_RATE]
    keep = 1.0 - rate * settings[p.WEIGHT_DECAY]
    for layer in range(first, plan[p.LAYERS]):
        outputs = layer_word(plan, layer, p.OUTPUTS)
        inputs = layer_word(plan, layer, p.INPUTS)
        if layer > 0:
            x = matrix(layer_word(plan, layer - 1, p.ACTIVATION), inputs, int64(1), dtype)
        phase = update(
            layer_pointer(plan, layer, p.WEIGHT, dtype), layer_pointer(plan, layer, p.BIAS, dtype),
            x, layer_word(plan, layer, p.DELTA), rows, outputs, inputs, dtype(rate), dtype(keep),
            space, phase, dtype,
        )  # fmt: skip
    return phase


@jit
def _rows_of_step(plan, step):
    return min(plan[p.BATCH], plan[p.ROWS] - step * plan[p.BATCH])


@jit
def _train(plan, space, phase, dtype):
    """Steps FIRST ... LAST - 1, each three passes over the layers."""
    top = plan[p.LAYERS] - 1
    for step in range(plan[p.FIRST], plan[p.LAST]):
        start = step * plan[p.BATCH]
        rows = _rows_of_step(plan, step)
        x = operand_of_x(plan, start)
        z = layer_pointer(plan, top, p.ACTIVATION, dtype)
        phase = _forward_layers(plan, x, 0, rows, z, space, phase, dtype)
        phase = _backward_layers(plan, start, rows, space, phase, dtype)
        phase = _update_layers(plan, x, 0, rows, space, phase, dtype)


@jit
def _train_sweeping(plan, worker, space, phase, dtype):
    """The same for batches of few rows: W1 is passed over once for each step, see `sweep`."""
    top = plan[p.LAYERS] - 1
    x = operand_of_x(plan, int64(0))
    z = layer_pointer(plan, top, p.ACTIVATION, dtype)
    here = pointer(plan[p.STAGED], dtype)
    there = moved(here, plan[p.BATCH] * row_step(plan, dtype))
    rows = int64(0)
    for step in range(plan[p.FIRST], plan[p.LAST]):
        start = step * plan[p.BATCH]
        ahead = _rows_of_step(plan, step)
        phase = stage(plan, worker, start, ahead, there, space.team, phase, dtype)
        phase = sweep(plan, worker, here, rows, there, ahead, top == 0, phase, dtype)
        here, there, rows = there, here, ahead
        phase = _forward_layers(plan, x, 1, rows, z, space, phase, dtype)
        phase = _backward_layers(plan, start, rows, space, phase, dtype)
        phase = _update_layers(plan, x, 1, rows, space, phase, dtype)
    sweep(plan, worker, here, rows, there, int64(0), top == 0, phase, dtype)


@jit
def _train_deferring(plan, space, phase, dtype):
    """The same where several steps share a pass over W1, see `wide.delayed`."""
    top = plan[p.LAYERS] - 1
    x = operand_of_x(plan, int64(0))
    z = layer_pointer(plan, top, p.ACTIVATION, dtype)
    group = group_of(plan, dtype)
    batch = plan[p.BATCH]
    step = plan[p.FIRST]
    while step < plan[p.LAST]:
        end = min(plan[p.LAST], (step // plan[p.GROUP] + 1) * plan[p.GROUP])
        start = step * batch
        total = (end - 1 - step) * batch + _rows_of_step(plan, end - 1)
        phase = begin_group(plan, group, start, total, space, phase, dtype)
        last_rows = int64(0)
        for at in range(0, total, batch):
            rows = min(batch, total - at)
            phase = begin_step(plan, group, at, last_rows, rows, space, phase, dtype)
            phase = _forward_layers(plan, x, 1, rows, z, space, phase, dtype)
            phase = _backward_layers(plan, start + at, rows, space, phase, dtype)
            phase = _update_layers(plan, x, 1, rows, space, phase, dtype)
            last_rows = rows
        phase = end_group(plan, group, total, last_rows, space, phase, dtype)
        step = end


@jit
def _run(context, worker, dtype):
    plan = pointer(context, int64)
    space = _workspace(plan, worker, dtype)
    phase = int64(-1)
    operation = plan[p.OPERATION]
    if operation == p.PRODUCT:
        _product(plan, space, dtype)
    elif operation == p.TRAIN:
        if plan[p.GROUP] > 1:
            _train_deferring(plan, space, phase, dtype)
        elif plan[p.STAGED] != 0:
            _train_sweeping(plan, worker, space, phase, dtype)
        else:
            _train(plan, space, phase, dtype)
    else:
        out = pointer(plan[p.OUT], dtype)
        outputs = layer_word(plan, plan[p.LAYERS] - 1, p.OUTPUTS)
        for start in range(0, plan[p.ROWS], plan[p.BATCH]):
            rows = min(plan[p.BATCH], plan[p.ROWS] - start)
            last = moved(out, start * outputs)
            x = operand_of_x(plan, start)
            first = int64(0)
            if plan[p.STAGED] != 0:  # too few rows to pack W1 for, which passes by once
                batch = pointer(plan[p.STAGED], dtype)
                phase = stage(plan, worker, start, rows, batch, space.team, phase, dtype)
                phase = sweep(plan, worker, batch, int64(0), batch, rows, False, phase, dtype)
                first = int64(1)
            phase = _forward_layers(plan, x, first, rows, last, space, phase, dtype)


@region
def _float32(context: int, worker: int) -> None:
    _run(context, worker, float32)


@region
def _float64(context: int, worker: int) -> None:
    _run(context, worker, float64)


regions = {"float32": _float32, "float64": _float64}
"""The region for each dtype of the network or product; compiled when it is first used."""
