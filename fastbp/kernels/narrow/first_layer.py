"""A tile of rows through a narrow first layer, all columns: for shards and for inference."""

from __future__ import annotations

from numba import int64

from fastbp.kernels import plan as w
from fastbp.kernels.compile.jit import jit
from fastbp.kernels.linalg.operand import DTYPE_CODES
from fastbp.kernels.linalg.row_ir import GROUP, PREFETCHED
from fastbp.kernels.narrow.bytes import factor_of_sums, fold_weights, folded_weights, folds_sums
from fastbp.kernels.narrow.prefetch import list_prefetch
from fastbp.kernels.narrow.rows import PRODUCTS, ROW_OF_BYTES, multiply_rows
from fastbp.kernels.plan import layer_pointer, layer_word, row_number
from fastbp.kernels.simd.vectors import lanes_of, load, moved, pointer, reduce_add, store, zeros
from fastbp.kernels.threads.team import next_task

__all__ = ["CHUNK", "first_layer", "fold_all", "fold_chunk", "list_rows"]

_BYTES = DTYPE_CODES["uint8"]
CHUNK = 2048  # columns in one sweep over a tile: their part of W stays in the level-1 cache


@jit
def fold_chunk(plan, task, own, dtype):
    """Bring chunk ``task`` of `folded_weights` and of the sums of W1 * shift up to date."""
    lanes = lanes_of(dtype)
    n0 = layer_word(plan, 0, w.INPUTS)
    n1 = layer_word(plan, 0, w.OUTPUTS)
    folded = pointer(plan[w.FOLDED], dtype)
    j0 = task * CHUNK
    fold_weights(plan, j0, min(CHUNK, n0 - j0), own.sums, dtype)
    for o in range(n1):
        folded[n1 * n0 + task * n1 + o] = reduce_add(load(own.sums, o * lanes, dtype))


@jit
def by_pixels(plan):
    """Whether rows of bytes are so few that each is preprocessed as it is read, not the weights."""
    return folds_sums(plan) and plan[w.OPERATION] == w.FORWARD and plan[w.ROWS] < GROUP


@jit
def fold_all(plan, team, own, dtype):
    """Do so with all chunks, if bytes are preprocessed. Returns the number of the last phase."""
    if not folds_sums(plan) or by_pixels(plan):
        return int64(-1)
    chunks = (layer_word(plan, 0, w.INPUTS) + CHUNK - 1) // CHUNK
    task = next_task(team, int64(0), chunks, False)
    while task >= 0:
        fold_chunk(plan, task, own, dtype)
        task = next_task(team, int64(0), chunks, True)
    return int64(0)


@jit
def list_rows(plan, start, rows, then, own):
    """List the rows of a tile and, of those from row ``then`` on, the ones to prefetch."""
    for i in range(rows):
        own.offsets[i] = row_number(plan, start + i) * plan[w.X_ROW]
    count = max(min(plan[w.PREFETCH], plan[w.TILE], plan[w.ROWS] - then), 0)
    again = plan[w.TILE] == GROUP
    return list_prefetch(plan, own, then, count, own.offsets, rows, rows, again)


@jit
def first_layer(plan, rows, own, dtype):
    """own.act[:n1] <- Z of the first layer for the ``rows`` <= lanes that own.offsets lists."""
    lanes = lanes_of(dtype)
    n0 = layer_word(plan, 0, w.INPUTS)
    n1 = layer_word(plan, 0, w.OUTPUTS)
    weight = layer_pointer(plan, 0, w.WEIGHT, dtype)
    factor = dtype(1)
    pixels = by_pixels(plan)
    if folds_sums(plan) and not pixels:
        weight = folded_weights(plan, dtype)
        factor = factor_of_sums(plan, dtype)
    b = layer_pointer(plan, 0, w.BIAS, dtype)
    for i in range(n1 * max(lanes, GROUP)):
        store(own.sums, i * lanes, zeros(dtype))
    if pixels:
        for i in range(rows):
            multiply_rows(
                plan, int64(ROW_OF_BYTES), moved(own.offsets, i), int64(1), own.offsets, weight,
                moved(own.sums, i * lanes), own.sums, int64(0), n0,
            )  # fmt: skip
    chunks = int64(0) if pixels else (n0 + CHUNK - 1) // CHUNK
    groups = (rows + GROUP - 1) // GROUP
    for turn in range(chunks * groups):
        if plan[w.X_DTYPE] == _BYTES:
            chunk, group = turn // groups, turn % groups
        else:  # of many bytes each, which memory delivers sooner from end to end
            group, chunk = turn // chunks, turn % chunks
        i, j0 = group * GROUP, chunk * CHUNK
        multiply_rows(
            plan, int64(PRODUCTS), moved(own.offsets, i), min(GROUP, rows - i),
            moved(own.prefetch, group * PREFETCHED), weight, moved(own.sums, i * n1 * lanes),
            own.sums, j0, min(CHUNK, n0 - j0),
        )  # fmt: skip
    for o in range(n1):
        constant = b[o]
        if folds_sums(plan) and not pixels:
            for task in range((n0 + CHUNK - 1) // CHUNK):
                constant += pointer(plan[w.FOLDED], dtype)[n1 * n0 + task * n1 + o]
        store(own.act, o * lanes, zeros(dtype))
        for i in range(rows):
            group = i // GROUP * GROUP
            total = load(own.sums, (group * n1 + o * GROUP + i - group) * lanes, dtype)
            own.act[o * lanes + i] = reduce_add(total) * factor + constant
