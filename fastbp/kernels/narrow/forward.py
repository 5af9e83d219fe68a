"""Inference with a narrow first layer: nothing of training is compiled for it."""

from __future__ import annotations

from numba import float32, float64, int64

from fastbp.kernels import plan as w
from fastbp.kernels.compile.jit import jit, region
from fastbp.kernels.functions.activations import sigmoid
from fastbp.kernels.linalg.row_ir import GROUP, PREFETCHED
from fastbp.kernels.narrow.first_layer import first_layer, fold_all, list_rows
from fastbp.kernels.narrow.layers import RowsOfStep, layers_above
from fastbp.kernels.narrow.scratch import scratch
from fastbp.kernels.plan import layer_word
from fastbp.kernels.simd.vectors import lanes_of, load, pointer, store
from fastbp.kernels.threads.team import next_task, unclaimed

__all__ = ["regions"]


@jit
def _shift_prefetch(own, rows):
    """Where nothing goes back: each group prefetches rows of the next one, the last for the tile's.

    ``own`` is as `_list_rows` leaves it.
    """
    last = rows // GROUP - 1
    for k in range(PREFETCHED if last > 0 else 0):
        next_tile = own.prefetch[k]
        for group in range(last):
            own.prefetch[group * PREFETCHED + k] = own.offsets[(group + 1) * GROUP + k]
        own.prefetch[last * PREFETCHED + k] = next_tile


@jit
def _run(context, worker, dtype):
    """OUT <- Z of the last layer, or its sigmoid, for all rows."""
    plan = pointer(context, int64)
    own = scratch(plan, worker, dtype)
    lanes = lanes_of(dtype)
    team = pointer(plan[w.TEAM], int64)
    out = pointer(plan[w.OUT], dtype)
    outputs = layer_word(plan, plan[w.LAYERS] - 1, w.OUTPUTS)
    n, zero = plan[w.ROWS], int64(0)
    tasks = (n + lanes - 1) // lanes
    phase = fold_all(plan, team, own, dtype) + 1
    task = next_task(team, phase, tasks, False)
    while task >= 0:
        start = task * lanes
        rows = min(lanes, n - start)
        likely = unclaimed(team, phase, tasks)
        list_rows(plan, start, rows, likely * lanes if likely >= 0 else n, own)
        _shift_prefetch(own, rows)
        first_layer(plan, rows, own, dtype)
        z = layers_above(plan, own, RowsOfStep(zero, start, rows, zero), dtype)
        for o in range(outputs):
            if plan[w.SIGMOID_OUT] != 0:
                store(z, o * lanes, sigmoid(load(z, o * lanes, dtype), dtype))
            for i in range(rows):
                out[(start + i) * outputs + o] = z[o * lanes + i]
        task = next_task(team, phase, tasks, True)


@region
def _float32(context: int, worker: int) -> None:
    _run(context, worker, float32)


@region
def _float64(context: int, worker: int) -> None:
    _run(context, worker, float64)


regions = {"float32": _float32, "float64": _float64}
"""The region for each dtype of the network."""
