"""One function applied to every element of a contiguous array, the work cut into blocks.

Context words: [0] team, [1] function code, [2] source address, [3] destination address (may be
the source), [4] number of elements, [5] ... room for a vector: the last elements of an array, which
may be no whole vector, are copied there, so that each function is compiled once.
"""

from __future__ import annotations

from numba import float32, float64, int64

from fastbp.kernels.compile.jit import jit, region
from fastbp.kernels.functions import activations as f
from fastbp.kernels.functions.loops import results_by_code
from fastbp.kernels.simd.vectors import (
    lanes_of,
    load,
    load_part,
    moved,
    pointer,
    store,
    store_part,
)
from fastbp.kernels.threads.team import next_task

__all__ = ["CODES", "WORDS", "regions"]

_FUNCTIONS = {
    "sigmoid": f.sigmoid,
    "sigmoid_derivative": f.sigmoid_derivative,
    "tanh": f.tanh,
    "tanh_derivative": f.tanh_derivative,
    "relu": f.relu,
    "relu_derivative": f.relu_derivative,
    "leaky_relu": f.leaky_relu,
    "leaky_relu_derivative": f.leaky_relu_derivative,
    "elu": f.elu,
    "elu_derivative": f.elu_derivative,
    "softplus": f.softplus,
    "gelu": f.gelu,
    "gelu_derivative": f.gelu_derivative,
    "silu": f.silu,
    "silu_derivative": f.silu_derivative,
}
CODES = {name: code for code, name in enumerate(_FUNCTIONS)}
CODES["softplus_derivative"] = CODES["sigmoid"]  # which it is
WORDS = 5 + 8  # of a vector of up to 512 bits
BLOCK = 16384  # elements of a task: 64 KiB of float32 in and out, a part of the level-2 cache

_apply = results_by_code(dict(enumerate(_FUNCTIONS.values())))


@jit
def _run(context, dtype):
    words = pointer(context, int64)
    team = pointer(words[0], int64)
    code = words[1]
    src = pointer(words[2], dtype)
    dst = pointer(words[3], dtype)
    n = words[4]
    room = pointer(context + 8 * 5, dtype)
    lanes = lanes_of(dtype)
    tasks = (n + BLOCK - 1) // BLOCK
    task = next_task(team, 0, tasks, False)
    while task >= 0:
        first = task * BLOCK
        count = min(n - first, BLOCK)
        whole = count // lanes * lanes
        rest = count - whole
        if rest > 0:
            store(room, 0, load_part(src, first + whole, rest, dtype))
        a, b = moved(src, first), moved(dst, first)
        for _ in range(2 if rest > 0 else 1):
            _apply(code, a, b, whole, dtype)
            a, b, whole = room, room, lanes
        if rest > 0:
            store_part(dst, first + count - rest, rest, load(room, 0, dtype))
        task = next_task(team, 0, tasks, True)


@region
def _float32(context: int, worker: int) -> None:
    _run(context, float32)


@region
def _float64(context: int, worker: int) -> None:
    _run(context, float64)


regions = {"float32": _float32, "float64": _float64}
