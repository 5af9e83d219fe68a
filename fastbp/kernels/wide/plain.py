"""Plain steps: forward, back and update, each layer a matrix product at a time."""

from __future__ import annotations

from numba import int64

from fastbp.kernels import plan as w
from fastbp.kernels.compile.jit import region
from fastbp.kernels.simd.vectors import pointer
from fastbp.kernels.wide.layers import step_of_layers

__all__ = ["steps"]


@region
def steps(context: int, worker: int) -> None:
    """Steps FIRST ... LAST - 1, each three passes over the layers. It knows no dtype."""
    plan = pointer(context, int64)
    phase = int64(-1)
    for step in range(plan[w.FIRST], plan[w.LAST]):
        phase = step_of_layers(plan, step, int64(0), worker, phase)
