"""Some rows through all layers of a small network: a region, which compiles beside `steps`."""

from __future__ import annotations

from typing import NamedTuple

from numba import float32, float64, int64

from fastbp.kernels import plan as w
from fastbp.kernels.compile.calls import call_region, words_at, words_of
from fastbp.kernels.compile.jit import jit, region
from fastbp.kernels.simd.vectors import address_of, pointer
from fastbp.kernels.small.layers import RowsOfStep, add_gradients, forward
from fastbp.kernels.small.output import output_delta, write_outputs

__all__ = ["go_through", "regions"]


class _Rows(NamedTuple):
    """What the region is told."""

    plan: int
    step: int
    start: int  # its rows start ... start + rows of the epoch
    rows: int
    shard: int
    begins: int  # whether these are the shard's first rows
    judged: int  # memory for Z and delta in lanes, see `sizes`


@jit
def go_through(plan, worker, tile, shard, begins, judged):
    """Have the region add the gradients of a `RowsOfStep` to a shard's, or write to OUT."""
    told = _Rows(
        address_of(plan), tile.step, tile.start, tile.rows, shard, int64(begins),
        address_of(judged),
    )  # fmt: skip
    call_region(plan[w.ABOVE_REGION], words_of(told), worker)


@jit
def _run(context, worker, dtype):
    it = words_at(context, _Rows)
    plan = pointer(it.plan, int64)
    tile = RowsOfStep(it.step, it.start, it.rows)
    forward(plan, worker, tile, dtype)
    if plan[w.OPERATION] == w.FORWARD:
        write_outputs(plan, worker, tile, dtype)
        return
    totals = pointer(plan[w.SHARDS] + it.shard * plan[w.SHARD_STEP], dtype)
    output_delta(plan, worker, tile, totals, pointer(it.judged, dtype), dtype)
    add_gradients(plan, worker, tile, it.shard, it.begins != 0, dtype)


@region
def _float32(context: int, worker: int) -> None:
    _run(context, worker, float32)


@region
def _float64(context: int, worker: int) -> None:
    _run(context, worker, float64)


regions = {"float32": _float32, "float64": _float64}
"""The region for each dtype of the network."""
