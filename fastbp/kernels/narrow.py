"""Training and inference where the first layer is narrow: X is read once.

A row's forward pass needs that row alone. So a tile of rows goes forward, through the small rest
of the network, and back into the gradient while it lies in the cache, and X crosses the memory
bus once for each step, where forward and backward passes over the whole batch read it twice.

Large batches are worked on in shards of rows (`narrow_shards`), small ones by columns of W1
(`narrow_columns`). The layers above the first are in `narrow_layers`; the inner loops, emitted as
LLVM instructions, in `narrow_tiles` and `narrow_weights`; how bytes are preprocessed is told in
`narrow_folding`. This module has the scratch memory and the regions.

Scratch memory, in elements of ``dtype``, lanes = L and tile = L rows:
    private   192 int64 of row offsets; sums (n1, 64, L); act (units, L); delta (units, L);
              what a shard has besides the gradient of W1; folded (n1, BLOCK)
    shard     gradient of W1 (n1, n0); gradients of b1 and of the parameters above, L partial
              sums each; loss (L); correct (L)
    folded    W1 * scale (n1, n0); W1 * shift added up (chunks, n1); for bytes only
"""

from __future__ import annotations

from collections import namedtuple
from itertools import pairwise

from numba import float32, float64, int64, uint8

from fastbp.kernels import plan as p
from fastbp.kernels.jit import jit, region
from fastbp.kernels.narrow_columns import BLOCK, ROWS_BY_COLUMNS, is_by_columns, train_by_columns
from fastbp.kernels.narrow_layers import shard_size, units
from fastbp.kernels.narrow_shards import (
    CHUNK,
    forward,
    rows_ahead,
    shard_count,
    tile_rows,
    train_in_shards,
)
from fastbp.kernels.plan import layer_word
from fastbp.kernels.vectors import lanes_of, moved, pointer, recast

__all__ = [
    "MOST_OUTPUTS",
    "MOST_PARAMETERS_ABOVE",
    "folded_bytes",
    "is_by_columns",
    "private_bytes",
    "regions",
    "rows_ahead",
    "shard_bytes",
    "tile_rows",
]

MOST_OUTPUTS = 16  # wider first layers are left to the matrix product, which packs X
MOST_PARAMETERS_ABOVE = 2048  # ... and so are networks that are not small above it

_Scratch = namedtuple("_Scratch", ["offsets", "ahead", "sums", "act", "delta", "tally", "folded"])


def private_bytes(layer_sizes: tuple[int, ...], lanes: int, itemsize: int) -> int:
    """Bytes of scratch memory that one thread needs."""
    above = sum((a + 1) * b for a, b in pairwise(layer_sizes[1:]))
    vectors = layer_sizes[1] * (ROWS_BY_COLUMNS + 1) + 2 * sum(layer_sizes[1:]) + above + 2
    return 3 * ROWS_BY_COLUMNS * 8 + (vectors * lanes + layer_sizes[1] * BLOCK) * itemsize


def shard_bytes(layer_sizes: tuple[int, ...], lanes: int, itemsize: int, batch: int) -> int:
    """Bytes of scratch memory that the shards of a batch need together."""
    above = sum((a + 1) * b for a, b in pairwise(layer_sizes[1:]))
    size = layer_sizes[1] * layer_sizes[0] + (layer_sizes[1] + above + 2) * lanes
    return shard_count(batch) * size * itemsize


def folded_bytes(layer_sizes: tuple[int, ...], itemsize: int) -> int:
    """Bytes of shared scratch memory for the weights times the scale of bytes."""
    chunks = -(-layer_sizes[0] // CHUNK)
    return layer_sizes[1] * (layer_sizes[0] + chunks) * itemsize


@jit
def _scratch(plan, worker, dtype):
    lanes = lanes_of(dtype)
    offsets = pointer(plan[p.PRIVATE] + worker * plan[p.PRIVATE_STEP], int64)
    ahead = moved(offsets, 2 * ROWS_BY_COLUMNS)
    sums = recast(moved(ahead, ROWS_BY_COLUMNS), dtype)
    act = moved(sums, layer_word(plan, 0, p.OUTPUTS) * ROWS_BY_COLUMNS * lanes)
    delta = moved(act, units(plan) * lanes)
    tally = moved(delta, units(plan) * lanes)
    size = shard_size(plan, dtype) - layer_word(plan, 0, p.OUTPUTS) * layer_word(plan, 0, p.INPUTS)
    return _Scratch(offsets, ahead, sums, act, delta, tally, moved(tally, size))


@jit
def _train(plan, x, shift, scale, worker, dtype):
    own = _scratch(plan, worker, dtype)
    if plan[p.BY_COLUMNS] != 0:
        shared = pointer(plan[p.SHARED], dtype)
        train_by_columns(plan, x, shift, scale, worker, own, shared, dtype)
    else:
        train_in_shards(plan, x, shift, scale, worker, own, dtype)


@jit
def _run(context, worker, source, dtype):
    plan = pointer(context, int64)
    x = pointer(plan[p.X], source)
    if plan[p.OPERATION] == p.TRAIN:
        _train(plan, x, None, None, worker, dtype)
    else:
        forward(plan, x, None, None, _scratch(plan, worker, dtype), dtype)


@jit
def _run_folded(context, worker, source, dtype):
    plan = pointer(context, int64)
    x = pointer(plan[p.X], source)
    shift = pointer(plan[p.SHIFT], dtype)
    scale = pointer(plan[p.SCALE], dtype)
    if plan[p.OPERATION] == p.TRAIN:
        _train(plan, x, shift, scale, worker, dtype)
    else:
        forward(plan, x, shift, scale, _scratch(plan, worker, dtype), dtype)


@region
def _float32_of_float32(context: int, worker: int) -> None:
    _run(context, worker, float32, float32)


@region
def _float32_of_float32_folded(context: int, worker: int) -> None:
    _run_folded(context, worker, float32, float32)


@region
def _float32_of_float64_folded(context: int, worker: int) -> None:
    _run_folded(context, worker, float64, float32)


@region
def _float32_of_uint8(context: int, worker: int) -> None:
    _run(context, worker, uint8, float32)


@region
def _float64_of_float64(context: int, worker: int) -> None:
    _run(context, worker, float64, float64)


@region
def _float64_of_float64_folded(context: int, worker: int) -> None:
    _run_folded(context, worker, float64, float64)


@region
def _float64_of_float32_folded(context: int, worker: int) -> None:
    _run_folded(context, worker, float32, float64)


@region
def _float64_of_uint8(context: int, worker: int) -> None:
    _run(context, worker, uint8, float64)


regions = {
    ("float32", "float32", False): _float32_of_float32,
    ("float32", "float32", True): _float32_of_float32_folded,
    ("float32", "float64", True): _float32_of_float64_folded,
    ("float32", "uint8", False): _float32_of_uint8,
    ("float32", "uint8", True): _float32_of_uint8,
    ("float64", "float64", False): _float64_of_float64,
    ("float64", "float64", True): _float64_of_float64_folded,
    ("float64", "float32", True): _float64_of_float32_folded,
    ("float64", "uint8", False): _float64_of_uint8,
    ("float64", "uint8", True): _float64_of_uint8,
}
"""The region for (dtype of the network, dtype of X, whether shift and scale are given).

A region is compiled when it is first used. For floats of another type than the network's there is
no region without shift and scale: the caller passes zeros and ones, which leave every value as it
is.
"""
