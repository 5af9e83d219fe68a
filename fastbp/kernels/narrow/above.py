"""The network above a narrow first layer: a region for each dtype, whatever reads X.

The methods by which the first layer is passed over (`columns`, `delayed`, `shards`) call it by its
address, for a tile of rows and for the update.
"""

from __future__ import annotations

from collections import namedtuple
from typing import NamedTuple

from numba import float32, float64, int64

from fastbp.kernels import plan as w
from fastbp.kernels.compile.calls import call_region, words_at, words_of
from fastbp.kernels.compile.jit import jit, region
from fastbp.kernels.narrow.layers import (
    RowsOfStep,
    backward_above,
    layers_above,
    output_delta,
    units,
)
from fastbp.kernels.narrow.update import update_above
from fastbp.kernels.plan import layer_word
from fastbp.kernels.simd.vectors import address_of, lanes_of, moved, pointer

__all__ = ["ROWS", "ROWS_AND_UPDATE", "UPDATE", "go_above", "regions"]

ROWS = 1  # own.act has Z of the first layer: forward from there, and back to its own.delta
UPDATE = 2  # change b1 and all parameters above by the tallies
ROWS_AND_UPDATE = 3


_Units = namedtuple("_Units", ["act", "delta", "slopes", "judged"])  # see `Scratch`


class _Above(NamedTuple):
    """What the region is told."""

    plan: int
    act: int  # addresses: see `Scratch`
    delta: int
    slopes: int
    judged: int
    step: int
    start: int  # its rows start ... start + rows of the epoch
    rows: int
    lane: int  # the lanes of theirs begin with this one
    tallies: int  # where ROWS adds to; where UPDATE finds so many tallies, `size` elements apart
    size: int
    tally_count: int


@jit
def go_above(plan, own, what, tile, tallies, size, count):
    """Have the region do ROWS, UPDATE or both; ``plan`` and ``tallies`` are pointers.

    ``tile`` has the fields of a `RowsOfStep`; of UPDATE, only its step counts.
    """
    work = _Above(
        address_of(plan), address_of(own.act), address_of(own.delta), address_of(own.slopes),
        address_of(own.judged), tile.step, tile.start, tile.rows, tile.lane, address_of(tallies),
        size, count,
    )  # fmt: skip
    call_region(plan[w.ABOVE_REGION], words_of(work), what)


@jit
def _run(context, what, dtype):
    it = words_at(context, _Above)
    plan = pointer(it.plan, int64)
    tallies = pointer(it.tallies, dtype)
    own = _Units(
        pointer(it.act, dtype), pointer(it.delta, dtype), pointer(it.slopes, dtype),
        pointer(it.judged, dtype),
    )  # fmt: skip
    if what & ROWS:
        lanes = lanes_of(dtype)
        tile = RowsOfStep(it.step, it.start, it.rows, it.lane)
        outputs = layer_word(plan, plan[w.LAYERS] - 1, w.OUTPUTS)
        z = layers_above(plan, own, tile, dtype)
        last = moved(own.delta, (units(plan) - outputs) * lanes)
        output_delta(plan, own, z, last, tile, tallies, dtype)
        backward_above(plan, own, moved(tallies, 2 * lanes), dtype)
    if what & UPDATE:
        update_above(plan, it.step, tallies, it.size, it.tally_count, own.act, dtype)


@region
def _float32(context: int, worker: int) -> None:
    _run(context, worker, float32)


@region
def _float64(context: int, worker: int) -> None:
    _run(context, worker, float64)


regions = {"float32": _float32, "float64": _float64}
"""The region for each dtype of the network."""
