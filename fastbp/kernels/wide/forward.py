"""Inference by networks of any shape: nothing of training is compiled for it."""

from __future__ import annotations

from numba import float32, float64, int64

from fastbp.kernels import plan as w
from fastbp.kernels.compile.jit import jit, region
from fastbp.kernels.plan import layer_word, operand_of_x
from fastbp.kernels.simd.vectors import moved, pointer
from fastbp.kernels.threads.context import workspace
from fastbp.kernels.wide.gather import gather
from fastbp.kernels.wide.layers import forward_layers
from fastbp.kernels.wide.sweep import forward_few

__all__ = ["regions"]


@jit
def _run(context, worker, dtype):
    """OUT <- the last layer, BATCH rows at a time."""
    plan = pointer(context, int64)
    space = workspace(plan, worker, dtype)
    phase = int64(-1)
    out = pointer(plan[w.OUT], dtype)
    outputs = layer_word(plan, plan[w.LAYERS] - 1, w.OUTPUTS)
    linear = plan[w.SIGMOID_OUT] == 0
    for start in range(0, plan[w.ROWS], plan[w.BATCH]):
        rows = min(plan[w.BATCH], plan[w.ROWS] - start)
        last = moved(out, start * outputs)
        x = operand_of_x(plan, start)
        first = int64(0)
        if plan[w.GATHERED] != 0:  # too few rows to pack W1 for, which passes by once
            batch = pointer(plan[w.GATHERED], dtype)
            phase = gather(plan, worker, start, rows, batch, space.team, phase, dtype)
            phase = forward_few(plan, worker, batch, rows, phase, dtype)
            first = int64(1)
        shape = rows, int64(0)
        phase = forward_layers(plan, x, first, shape, last, linear, space, phase, dtype)


@region
def _float32(context: int, worker: int) -> None:
    _run(context, worker, float32)


@region
def _float64(context: int, worker: int) -> None:
    _run(context, worker, float64)


regions = {"float32": _float32, "float64": _float64}
"""The region for each dtype of the network."""
