"""Whole epochs in compiled code, for networks of any depth and width; and the bare product.

The region of this module carries out a plan (see `plan`): TRAIN makes the steps of an epoch
without next_block back to Python, FORWARD evaluates rows, and PRODUCT is one matrix product for the
NumPy-compatible functions (unless it is `thin`). They share one compiled region, since the product
is most of it.
"""

from __future__ import annotations

from numba import float32, float64, int64

from fastbp.kernels import plan as w
from fastbp.kernels.compile.jit import jit, region
from fastbp.kernels.linalg import product
from fastbp.kernels.linalg.gemm import Epilogue, Workspace, gemm
from fastbp.kernels.linalg.operand import matrix
from fastbp.kernels.plan import layer_pointer, layer_word, operand_of_x
from fastbp.kernels.simd.vectors import moved, pointer
from fastbp.kernels.wide.delayed import begin_group, begin_step, end_group, group_of
from fastbp.kernels.wide.dense import backward, forward, output_delta, update
from fastbp.kernels.wide.sweep import gather, row_step, sweep

__all__ = ["regions"]


@jit
def _workspace(plan, worker, dtype):
    private = plan[w.PRIVATE] + worker * plan[w.PRIVATE_STEP]
    return Workspace(
        pointer(plan[w.TEAM], int64), pointer(plan[w.SHARED], dtype), pointer(private, dtype),
        worker, plan[w.WORKERS],
    )  # fmt: skip


@jit
def _product(plan, space, dtype):
    a, b = product.operands(plan)
    factors = pointer(plan[product.FACTORS], float64)
    bias = pointer(plan[product.BIAS], dtype)
    epilogue = Epilogue(plan[product.EPILOGUE], bias, bias, int64(0))
    gemm(
        pointer(plan[product.C], dtype), plan[product.LDC], plan[product.M], plan[product.N],
        plan[product.K], a, b, dtype(factors[0]), dtype(factors[1]), epilogue, space, int64(-1),
        dtype,
    )  # fmt: skip


@jit
def _forward_layers(plan, x, first, rows, last, space, phase, dtype):
    """Forward through layers ``first`` and on: activations of each, the last one's in ``last``."""
    layers = plan[w.LAYERS]
    for layer in range(first, layers):
        outputs = layer_word(plan, layer, w.OUTPUTS)
        inputs = layer_word(plan, layer, w.INPUTS)
        top = layer == layers - 1
        z = last if top else layer_pointer(plan, layer, w.ACTIVATION, dtype)
        if layer > 0:
            x = matrix(layer_word(plan, layer - 1, w.ACTIVATION), inputs, int64(1), dtype)
        linear = top and (plan[w.OPERATION] == w.TRAIN or plan[w.SIGMOID_OUT] == 0)
        phase = forward(
            z, x, layer_word(plan, layer, w.WEIGHT), layer_pointer(plan, layer, w.BIAS, dtype),
            rows, outputs, inputs, linear, space, phase, dtype,
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
    settings = pointer(plan[w.SETTINGS], float64)
    rate = settings[w.LEARNING_RATE]
    keep = 1.0 - rate * settings[w.WEIGHT_DECAY]
    for layer in range(first, plan[w.LAYERS]):
        outputs = layer_word(plan, layer, w.OUTPUTS)
        inputs = layer_word(plan, layer, w.INPUTS)
        if layer > 0:
            x = matrix(layer_word(plan, layer - 1, w.ACTIVATION), inputs, int64(1), dtype)
        phase = update(
            layer_pointer(plan, layer, w.WEIGHT, dtype), layer_pointer(plan, layer, w.BIAS, dtype),
            x, layer_word(plan, layer, w.DELTA), rows, outputs, inputs, dtype(rate), dtype(keep),
            space, phase, dtype,
        )  # fmt: skip
    return phase


@jit
def _rows_of_step(plan, step):
    return min(plan[w.BATCH], plan[w.ROWS] - step * plan[w.BATCH])


@jit
def _train(plan, space, phase, dtype):
    """Steps FIRST ... LAST - 1, each three passes over the layers."""
    top = plan[w.LAYERS] - 1
    for step in range(plan[w.FIRST], plan[w.LAST]):
        start = step * plan[w.BATCH]
        rows = _rows_of_step(plan, step)
        x = operand_of_x(plan, start)
        z = layer_pointer(plan, top, w.ACTIVATION, dtype)
        phase = _forward_layers(plan, x, 0, rows, z, space, phase, dtype)
        phase = _backward_layers(plan, start, rows, space, phase, dtype)
        phase = _update_layers(plan, x, 0, rows, space, phase, dtype)


@jit
def _train_sweeping(plan, worker, space, phase, dtype):
    """The same for batches of few rows: W1 is passed over once for each step, see `sweep`."""
    top = plan[w.LAYERS] - 1
    x = operand_of_x(plan, int64(0))
    z = layer_pointer(plan, top, w.ACTIVATION, dtype)
    here = pointer(plan[w.GATHERED], dtype)
    there = moved(here, plan[w.BATCH] * row_step(plan, dtype))
    rows = int64(0)
    for step in range(plan[w.FIRST], plan[w.LAST]):
        start = step * plan[w.BATCH]
        ahead = _rows_of_step(plan, step)
        phase = gather(plan, worker, start, ahead, there, space.team, phase, dtype)
        phase = sweep(plan, worker, here, rows, there, ahead, top == 0, phase, dtype)
        here, there, rows = there, here, ahead
        phase = _forward_layers(plan, x, 1, rows, z, space, phase, dtype)
        phase = _backward_layers(plan, start, rows, space, phase, dtype)
        phase = _update_layers(plan, x, 1, rows, space, phase, dtype)
    sweep(plan, worker, here, rows, there, int64(0), top == 0, phase, dtype)


@jit
def _train_delayed(plan, space, phase, dtype):
    """The same where several steps share a pass over W1, see `wide.delayed`."""
    top = plan[w.LAYERS] - 1
    x = operand_of_x(plan, int64(0))
    z = layer_pointer(plan, top, w.ACTIVATION, dtype)
    group = group_of(plan, dtype)
    batch = plan[w.BATCH]
    step = plan[w.FIRST]
    while step < plan[w.LAST]:
        end = min(plan[w.LAST], (step // plan[w.GROUP] + 1) * plan[w.GROUP])
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
    operation = plan[w.OPERATION]
    if operation == w.PRODUCT:
        _product(plan, space, dtype)
    elif operation == w.TRAIN:
        if plan[w.GROUP] > 1:
            _train_delayed(plan, space, phase, dtype)
        elif plan[w.GATHERED] != 0:
            _train_sweeping(plan, worker, space, phase, dtype)
        else:
            _train(plan, space, phase, dtype)
    else:
        out = pointer(plan[w.OUT], dtype)
        outputs = layer_word(plan, plan[w.LAYERS] - 1, w.OUTPUTS)
        for start in range(0, plan[w.ROWS], plan[w.BATCH]):
            rows = min(plan[w.BATCH], plan[w.ROWS] - start)
            last = moved(out, start * outputs)
            x = operand_of_x(plan, start)
            first = int64(0)
            if plan[w.GATHERED] != 0:  # too few rows to pack W1 for, which passes by once
                batch = pointer(plan[w.GATHERED], dtype)
                phase = gather(plan, worker, start, rows, batch, space.team, phase, dtype)
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
