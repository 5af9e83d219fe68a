"""Softmax of each row of a matrix, from the largest element on.

Context words: [0] team, [1] source address, [2] destination address (may be the source), [3] rows,
[4] columns, [5] ... a vector: 1 in the lanes of a row's last elements that are no whole vector.
"""

from __future__ import annotations

import math

from numba import float32, float64, int64

from fastbp.kernels.compile.jit import jit, region
from fastbp.kernels.simd.exp import exp_of_negative
from fastbp.kernels.simd.vectors import (
    lanes_of,
    load,
    load_part,
    maximum,
    moved,
    pointer,
    reduce_add,
    reduce_maximum,
    select_less,
    splat,
    store,
    store_part,
    zeros,
)
from fastbp.kernels.threads.team import next_task

__all__ = ["WORDS", "regions"]

WORDS = 5 + 8  # of a vector of up to 512 bits
BLOCK = 16384  # elements of a task, about


@jit
def _row(src, dst, columns, inside, dtype):
    """Softmax of one row; lanes outside ``inside`` count as -inf, of which exp is 0.

    A row with NaN or inf, or with nothing but -inf, becomes NaN: all of it has no sense.
    """
    lanes = lanes_of(dtype)
    zero, lowest = zeros(dtype), splat(-math.inf, dtype)
    whole = columns // lanes * lanes
    rest = columns - whole
    most = lowest
    for j in range(0, whole, lanes):
        most = maximum(load(src, j, dtype), most)
    last = lowest
    if rest > 0:
        last = select_less(zero, inside, load_part(src, whole, rest, dtype), lowest)
        most = maximum(last, most)
    top = splat(reduce_maximum(most), dtype)
    total = zero
    for j in range(0, whole, lanes):
        e = exp_of_negative(load(src, j, dtype) - top, dtype)
        store(dst, j, e)
        total += e
    e = zero
    if rest > 0:
        e = exp_of_negative(last - top, dtype)
        total += e
    inverse = splat(1.0, dtype) / splat(reduce_add(total), dtype)
    for j in range(0, whole, lanes):
        store(dst, j, load(dst, j, dtype) * inverse)
    if rest > 0:
        store_part(dst, whole, rest, e * inverse)


@jit
def _run(context, dtype):
    words = pointer(context, int64)
    team = pointer(words[0], int64)
    src, dst = pointer(words[1], dtype), pointer(words[2], dtype)
    rows, columns = words[3], words[4]
    inside = load(pointer(context + 8 * 5, dtype), 0, dtype)
    step = max(int64(1), BLOCK // columns)
    tasks = (rows + step - 1) // step
    task = next_task(team, 0, tasks, False)
    while task >= 0:
        for i in range(task * step, min(rows, (task + 1) * step)):
            _row(moved(src, i * columns), moved(dst, i * columns), columns, inside, dtype)
        task = next_task(team, 0, tasks, True)


@region
def _float32(context: int, worker: int) -> None:
    _run(context, float32)


@region
def _float64(context: int, worker: int) -> None:
    _run(context, float64)


regions = {"float32": _float32, "float64": _float64}
