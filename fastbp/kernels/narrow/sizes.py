"""Training and inference where the first layer is narrow: X is read once.

A row's forward pass needs that row alone. So a tile of rows goes forward, through the small rest
of the network, and back into the gradient while it lies in the cache, and X crosses the memory
bus once for each step, where forward and backward passes over the whole batch read it twice.

Steps are cut by columns of W1 (`narrow.columns`; `narrow.delayed` where rows are very few), or,
where columns are few, in shards of rows (`narrow.shards`); inference is in `narrow.forward`. The
layers above the first are in `narrow.layers`, the region of them in `narrow.above`, what a step
adds up and the update in `narrow.update`; the inner loops, emitted as LLVM instructions, in
`row_products` and `narrow.weights`, and called by way of `narrow.rows`; how bytes are preprocessed
is told in `narrow.bytes`. This module says how much memory all threads share.

Shared memory, in elements of ``dtype``, lanes = L and tile <= L rows:
    columns   gradient of W1 (n1, n0); partial products (4, chunks, n1, L) of the last tiles, or
              (n1, GROUP) and PAIRS of the last groups; for bytes, W1 * shift added up (chunks, 16)
    shards    gradient of W1 (n1, n0) and a tally, for each shard
    folded    W1 * scale (n1, n0), if the scale is not one number; W1 * shift added up
              (chunks, n1); for bytes only
"""

from __future__ import annotations

from itertools import pairwise

from fastbp.kernels.compile import machine
from fastbp.kernels.linalg.row_ir import GROUP
from fastbp.kernels.narrow.exchange import columns_elements, columns_shares
from fastbp.kernels.narrow.first_layer import CHUNK
from fastbp.kernels.narrow.scratch import private_bytes
from fastbp.kernels.narrow.shards import shard_count

__all__ = [
    "columns_bytes",
    "columns_shares",
    "folded_bytes",
    "prefetch_rows",
    "private_bytes",
    "shard_bytes",
    "tile_rows",
]

_BYTES_AHEAD = 192 << 10  # see `prefetch_rows`


def tile_rows(row_bytes: int, lanes: int, batch: int, shares: int) -> int:
    """Rows of a tile: GROUP times a power of two, and at most a vector's lanes.

    Two of them take a quarter of the level-2 cache, beside W1 and its gradient. At 12,288 bytes and
    1 MiB that is 8 rows: a step of 1024 took 451 us with 8, 471 with 12, 551 with 16. At 12,288
    float32 it is 4: 1.56 ms with 4, 1.63 with 8, 1.67 with 12. But where the columns are cut into
    `shares`, a batch of no more rows than lanes is one tile, which needs no gradient in memory, if
    two such tiles take no more than half of the caches: 16 rows of bytes took 10.5 us so, and 12.1
    in tiles of 8; but 16 rows of float32 31 to 35, and 27 in tiles of 4.
    """
    if shares > 1 and batch <= lanes and 4 * batch * row_bytes <= shares * machine.CACHES.l2:
        return lanes
    rows = GROUP
    while 2 * rows * row_bytes <= machine.CACHES.l2 // 8:
        rows *= 2
    return min(lanes, rows)


def prefetch_rows(row_bytes: int, shares: int) -> int:
    """Rows of the next tile that are prefetched at most, see `narrow.prefetch`.

    As many as a tile has, in most cases. Of 12,288 bytes, 8 of them on the way back: a step of 1024
    took 489 us with 4, 451 with 8. Of 12,288 float32 4, half on each way: 1.53 ms, with 1 and 3 or
    3 and 1 1.8 and 1.7, with all on the way back 1.8 and on the way forward 1.95; 2.0 with 2 on the
    way back and no others. (Each was prefetched once then.)
    """
    return max(1, shares * _BYTES_AHEAD // row_bytes)


def columns_bytes(layer_sizes: tuple[int, ...], lanes: int, itemsize: int) -> int:
    """Bytes of scratch memory that steps by columns need together."""
    return columns_elements(layer_sizes[0], layer_sizes[1], lanes) * itemsize


def shard_bytes(layer_sizes: tuple[int, ...], lanes: int, itemsize: int, batch: int) -> int:
    """Bytes of scratch memory that the shards of a batch need together."""
    above = sum((a + 1) * b for a, b in pairwise(layer_sizes[1:]))
    size = layer_sizes[1] * layer_sizes[0] + (layer_sizes[1] + above + 2) * lanes
    return shard_count(batch, machine.CORES) * size * itemsize


def folded_bytes(layer_sizes: tuple[int, ...], itemsize: int) -> int:
    """Bytes of shared scratch memory for the weights times the scale of bytes."""
    chunks = -(-layer_sizes[0] // CHUNK)
    return layer_sizes[1] * (layer_sizes[0] + chunks) * itemsize
