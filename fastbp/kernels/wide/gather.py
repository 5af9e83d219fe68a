"""Rows of a batch, copied to a buffer as the network sees them: widened, folded, and dropped."""

from __future__ import annotations

from numba import int64

from fastbp.kernels import plan as w
from fastbp.kernels.compile import machine
from fastbp.kernels.compile.jit import jit
from fastbp.kernels.functions.layers import keep_factor
from fastbp.kernels.linalg.macrokernel import round_up
from fastbp.kernels.linalg.packing import copy_rows
from fastbp.kernels.plan import dropout_key, layer_word, operand_of_x
from fastbp.kernels.simd.random import kept
from fastbp.kernels.simd.vectors import lanes_of, load_part, moved, store_part
from fastbp.kernels.threads.team import claim_near, first_near_task, following_task, next_task

__all__ = ["drop_input", "gather", "gathered_bytes", "row_step"]

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
def drop_input(plan, step, rows, batch, space, phase, dtype):
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
