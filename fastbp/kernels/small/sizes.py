"""Sizes of what a small network keeps in scratch memory, and where it lies there.

Every matrix has rows of whole vectors, `row_elements` apart, and room for whole blocks of rows.
What is beyond its edges is never used for what is within, but computed with: it is zero, or follows
from zeros. Of all threads:

    TRANSPOSED   of each layer W (inputs, outputs), as the forward pass reads it, and then b
    COPIED       of each layer but the first W (outputs, inputs), as the way back reads it
    SUMS         of each shard: loss and metric, a vector each; of each layer the gradients of W
                 (outputs, inputs) and of b

Of each thread:

    vectors of zeros, as many as a tile of registers is wide; Z and delta of as many rows as a
    vector has lanes, and `JUDGED` vectors, for the loss; `block_rows` rows of W
    GATHERED     TILE rows of X, as the network sees them
    ACTIVATION, DELTA, SLOPE    TILE rows of each layer
"""

from __future__ import annotations

import functools
from typing import NamedTuple

from fastbp.kernels import plan as w
from fastbp.kernels.compile import machine
from fastbp.kernels.compile.jit import jit

__all__ = [
    "JUDGED",
    "Places",
    "block_rows",
    "count_blocks",
    "places",
    "row_elements",
    "shard_count",
    "tile_rows",
]

JUDGED = 3  # weights, loss and metric of rows
_LEAST_BLOCK = 8
_CONFLICT = 512
_MOST_ROWS, _LEAST_ROWS = 128, 16  # of a tile
_MOST_SHARDS = 16
_LINE = 64


@jit
def block_rows(lanes):
    """Rows of W that are updated and transposed together: whole vectors, and tiles of registers."""
    return max(lanes, _LEAST_BLOCK)


def row_elements(columns: int, lanes: int, itemsize: int) -> int:
    """Elements from one row to the next of a matrix with so many columns.

    Rows a multiple of 512 bytes apart would fall into few sets of the level-1 cache.
    """
    block = max(lanes, _LEAST_BLOCK)
    whole = (columns + block - 1) // block * block
    if whole * itemsize % _CONFLICT == 0:
        whole += block
    return whole


def count_blocks(layer_sizes: tuple[int, ...], lanes: int) -> int:
    """How many blocks of rows all W are cut into."""
    block = max(lanes, _LEAST_BLOCK)
    return sum(-(-n // block) for n in layer_sizes[1:])


def shard_count(rows: int, cores: int) -> int:
    """How many shards a batch is cut into on a machine with so many cores."""
    if cores <= 2:
        return max(1, min(2, rows // 16), min(4, rows // 256))
    return max(1, min(2, rows // 16), min(_MOST_SHARDS, rows // 32))


def _whole(rows: int, step: int) -> int:
    return -(-rows // step) * step


def tile_rows(layer_sizes: tuple[int, ...], batch: int, itemsize: int) -> int:
    """Rows that go forward and back together: their activations take a quarter of level 2."""
    step = machine.tiles(itemsize).mr
    of_row = 2 * sum(layer_sizes) * itemsize
    fitting = machine.CACHES.l2 // 4 // of_row // step * step
    most = max(min(_MOST_ROWS // step * step, fitting), _whole(_LEAST_ROWS, step))
    return min(most, _whole(batch, step))


def _own_elements(layer_sizes: tuple[int, ...], lanes: int, itemsize: int) -> int:
    """Elements of a thread's memory before its rows of X."""
    block = max(lanes, _LEAST_BLOCK)
    vectors = machine.tiles(itemsize).nv + 2 * _whole(layer_sizes[-1], block) + JUDGED
    return vectors * lanes + block * row_elements(max(layer_sizes[:-1]), lanes, itemsize)


class Places(NamedTuple):
    """Where everything lies, in bytes."""

    shared: int  # of all threads
    private: int  # of each thread
    shard: int  # from one shard's sums to the next's
    in_shared: tuple[tuple[int, int], ...]  # a word of the plan, and an offset
    in_private: tuple[tuple[int, int], ...]


class _Cursor:
    """Hands out places one after another, each at the beginning of a cache line."""

    def __init__(self) -> None:
        self.end = 0
        self.words: list[tuple[int, int]] = []

    def take(self, nbytes: int, word: int | None = None) -> None:
        if word is not None:
            self.words.append((word, self.end))
        self.end += _whole(nbytes, _LINE)


@functools.lru_cache(maxsize=256)
def places(
    layer_sizes: tuple[int, ...],
    slopes: tuple[bool, ...],
    tile: int,
    shards: int,
    itemsize: int,
) -> Places:
    """Where everything lies for so many rows of a tile, and shards; 0 where nothing is trained.

    ``slopes`` tells of which layers slopes are stored.
    """
    tiles = machine.tiles(itemsize)
    lanes = tiles.lanes
    block = max(lanes, _LEAST_BLOCK)
    steps = [row_elements(n, lanes, itemsize) for n in layer_sizes]
    rows = [_whole(n, block) for n in layer_sizes]
    shared, private, sums = _Cursor(), _Cursor(), _Cursor()
    sums.take(2 * lanes * itemsize)
    private.take(_own_elements(layer_sizes, lanes, itemsize) * itemsize)
    tile = _whole(tile, block)  # whole vectors of rows
    private.take(tile * steps[0] * itemsize, w.GATHERED)
    for layer in range(len(layer_sizes) - 1):
        at = w.LAYER + layer * w.LAYER_WORDS
        weights = rows[layer + 1] * steps[layer] * itemsize
        shared.take((rows[layer] + 1) * steps[layer + 1] * itemsize, at + w.TRANSPOSED)
        if layer > 0 and shards > 0:
            shared.take(weights, at + w.COPIED)
        if shards > 0:
            sums.take(weights + steps[layer + 1] * itemsize, at + w.SUMS)
        of_rows = tile * steps[layer + 1] * itemsize
        private.take(of_rows, at + w.ACTIVATION)
        if shards > 0:
            private.take(of_rows, at + w.DELTA)
            if layer < len(slopes) and slopes[layer]:
                private.take(of_rows, at + w.SLOPE)
    base = shared.end
    shared.words += [(word, base + offset) for word, offset in sums.words]
    shared.words.append((w.SHARDS, base))
    shared.take(shards * sums.end)
    return Places(shared.end, private.end, sums.end, tuple(shared.words), tuple(private.words))
