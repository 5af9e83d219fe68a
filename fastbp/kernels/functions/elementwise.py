"""One function applied to every element of a contiguous array, the work cut into blocks.

Context words: [0] team, [1] function code, [2] source address, [3] destination address (may be
the source), [4] number of elements.
"""

from __future__ import annotations

from numba import float32, float64, int64

from fastbp.kernels.compile.jit import jit, region
from fastbp.kernels.functions.activations import sigmoid, sigmoid_derivative
from fastbp.kernels.simd.vectors import lanes_of, load, load_part, pointer, store, store_part
from fastbp.kernels.threads.team import next_task

__all__ = ["SIGMOID", "SIGMOID_DERIVATIVE", "WORDS", "regions"]

SIGMOID, SIGMOID_DERIVATIVE = 0, 1
WORDS = 5
BLOCK = 16384  # elements of a task: 64 KiB of float32 in and out, a part of the level-2 cache


@jit
def _apply(code, x, dtype):
    if code == SIGMOID:
        return sigmoid(x, dtype)
    return sigmoid_derivative(x, dtype)


@jit
def _run(context, dtype):
    words = pointer(context, int64)
    team = pointer(words[0], int64)
    code = words[1]
    src = pointer(words[2], dtype)
    dst = pointer(words[3], dtype)
    n = words[4]
    lanes = lanes_of(dtype)
    tasks = (n + BLOCK - 1) // BLOCK
    task = next_task(team, 0, tasks, False)
    while task >= 0:
        last = min(n, (task + 1) * BLOCK)
        whole = task * BLOCK + (last - task * BLOCK) // lanes * lanes
        for i in range(task * BLOCK, whole, lanes):
            store(dst, i, _apply(code, load(src, i, dtype), dtype))
        if whole < last:
            rest = last - whole
            store_part(dst, whole, rest, _apply(code, load_part(src, whole, rest, dtype), dtype))
        task = next_task(team, 0, tasks, True)


@region
def _float32(context: int, worker: int) -> None:
    _run(context, float32)


@region
def _float64(context: int, worker: int) -> None:
    _run(context, float64)


regions = {"float32": _float32, "float64": _float64}
