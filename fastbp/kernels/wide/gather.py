"""Rows of a batch, copied to a buffer as the network sees them: widened and folded.

Where values of the input are dropped, they are so in the buffer: by a region, as that is rare.
"""

from __future__ import annotations

from typing import NamedTuple

from numba import float32, float64, int64

from fastbp.kernels import plan as w
from fastbp.kernels.compile import machine
from fastbp.kernels.compile.calls import call_region, words_at, words_of
from fastbp.kernels.compile.jit import jit, region
from fastbp.kernels.functions.layers import keep_factor
from fastbp.kernels.linalg.macrokernel import round_up
from fastbp.kernels.linalg.packing import copy_rows
from fastbp.kernels.plan import dropout_key, layer_word, operand_of_x
from fastbp.kernels.simd.random import kept
from fastbp.kernels.simd.vectors import (
    address_of,
    lanes_of,
    load_part,
    moved,
    pointer,
    store_part,
)
from fastbp.kernels.threads.context import Phase, workspace
from fastbp.kernels.threads.team import claim_near, first_near_task, following_task, next_task

__all__ = ["gather", "gather_dropped", "gathered_bytes", "regions", "row_step"]

_PADDING = 4  # vectors
_LEAST_PIECE = 256  # columns of a batch that is gathered


def gathered_bytes(n0: int, itemsize: int, rows: int) -> int:
    """Bytes of shared scratch memory for ``rows`` gathered rows."""
    lanes = machine.tiles(itemsize).lanes
    return rows * (n0 + (1 + _PADDING) * lanes) * itemsize


@jit
def row_step(plan, dtype):
    """Elements from one row of a gathered batch to the next: whole vectors, and some more.

    Rows a multiple of 4 KiB apart (12,288 float32 are) would all fall into the same few sets of
    the level-1 cache, and push each other out.
    """
    lanes = lanes_of(dtype)
    return (layer_word(plan, 0, w.INPUTS) + lanes - 1) // lanes * lanes + _PADDING * lanes


@jit
def gather(plan, worker, start, rows, batch, team, phase, dtype):
    """Write rows ``start`` and on of the epoch to ``batch``, as the network sees them.

    Each thread takes a piece of the columns, about that which it multiplies where products are cut
    along k: where cores have no cache in common, steps of 16 rows of 12288-128-64-1 took 0.68 ms,
    and 0.74 row by row; where they have one, 0.61 and 0.60. What is written is the same.
    """
    lanes = lanes_of(dtype)
    n0 = layer_word(plan, 0, w.INPUTS)
    step = row_step(plan, dtype)
    x = operand_of_x(plan, start)
    workers = plan[w.WORKERS]
    width = max(_LEAST_PIECE, round_up((n0 + workers - 1) // workers, lanes))
    pieces = (n0 + width - 1) // width
    home = worker * pieces // workers % pieces
    phase += 1
    task = first_near_task(team, phase, pieces, home)
    while task >= 0:
        k0 = task * width
        copy_rows(
            moved(batch, k0), step, x, int64(0), rows, k0, min(width, n0 - k0),
            plan[w.COPY_REGION], dtype,
        )  # fmt: skip
        upcoming = claim_near(team, phase, pieces, home)
        task = following_task(team, phase, pieces, upcoming)
    return phase


@jit
def _drop(plan, step, rows, batch, space, phase, dtype):
    """Multiply the values of gathered rows by dropout, INPUT_DROPOUT."""
    lanes = lanes_of(dtype)
    n0 = layer_word(plan, 0, w.INPUTS)
    key = dropout_key(plan, step, int64(0))
    threshold = plan[w.INPUT_DROPOUT]
    factor = keep_factor(threshold)
    phase += 1
    task = next_task(space.team, phase, rows, False)
    while task >= 0:
        row = moved(batch, task * row_step(plan, dtype))
        for j in range(0, n0, lanes):
            count = min(lanes, n0 - j)
            mask = kept(key, task * n0 + j, int64(1), threshold, factor, dtype)
            store_part(row, j, count, load_part(row, j, count, dtype) * mask)
        task = next_task(space.team, phase, rows, True)
    return phase


class _Batch(NamedTuple):
    """What the region is told."""

    plan: int
    step: int
    rows: int
    phase: int
    phase_out: int  # address for the number of the last phase


@jit
def gather_dropped(plan, step, rows, worker, phase):
    """Gather the rows of a step in GATHERED, and drop some of their values, by the region."""
    last = words_of(Phase(phase))
    told = _Batch(address_of(plan), step, rows, phase, last)
    call_region(plan[w.DROP_REGION], words_of(told), worker)
    return pointer(last, int64)[0]


@jit
def _run(context, worker, dtype):
    it = words_at(context, _Batch)
    plan = pointer(it.plan, int64)
    space = workspace(plan, worker, dtype)
    batch = pointer(plan[w.GATHERED], dtype)
    start, rows = it.step * plan[w.BATCH], it.rows
    phase = gather(plan, worker, start, rows, batch, space.team, it.phase, dtype)
    pointer(it.phase_out, int64)[0] = _drop(plan, it.step, rows, batch, space, phase, dtype)


@region
def _float32(context: int, worker: int) -> None:
    _run(context, worker, float32)


@region
def _float64(context: int, worker: int) -> None:
    _run(context, worker, float64)


regions = {"float32": _float32, "float64": _float64}
"""The region for each dtype of the network."""
