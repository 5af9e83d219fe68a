"""How much scratch memory a method takes, how many threads, and how many steps at a time."""

from __future__ import annotations

import functools
import itertools
from itertools import pairwise
from typing import NamedTuple

from fastbp.engine.method import Case, Choice, Method
from fastbp.engine.recipe import MOST_KEPT, Update
from fastbp.kernels.compile import machine
from fastbp.kernels.linalg import gemm
from fastbp.kernels.narrow import sizes as narrow
from fastbp.kernels.narrow.optimize import count_squares as narrow_squares
from fastbp.kernels.small import sizes as small
from fastbp.kernels.wide import delayed, gather, output, sweep
from fastbp.kernels.wide.optimize import count_squares as wide_squares

__all__ = [
    "FORWARD_ROWS",
    "Layout",
    "count_squares",
    "crew",
    "gradient_bytes",
    "gradient_width",
    "lay_out",
    "multiply_adds",
    "places_of",
    "tile_of",
    "whole_lines",
]

FORWARD_ROWS = 1024
"""Rows evaluated at a time: bounds the activations held in scratch memory."""

# Multiply-adds of a step up to which one thread works alone: a step of 12288-3-2-1 on 4 rows took
# as long with two threads as with one, on 8 rows two thirds of it.
_SERIAL_WORK = 1 << 17
_FIRST_WORK = 1 << 26  # 4 ms here, some 0.1 s at most; calls of 1, 4 and 16 steps cost 0.3 ms
# The first for steps by columns, where passing over the weights is as much work as 3 rows: below
# it a step, or a group of steps, takes less than 2.5 us, and as long with two threads, which wait
# for each other. Groups on 4 rows gain from 1,024 columns on, or from 4,096 where the cores have no
# cache in common.
_SERIAL_WORK_BY_COLUMNS = 60_000
_ROWS_OF_A_PASS = 3

# Of the gradient of a wide layer, as much exists at a time as half a level-2 cache holds, where it
# is used as soon as it is there; but so many columns that packing delta again for each part takes
# little beside the product.
_LEAST_GRADIENT_WIDTH = 512


class Layout(NamedTuple):
    """Bytes of scratch memory, threads and work of a choice."""

    shared: int  # bytes for all threads: partial sums and the like
    folded: int  # where in them the weights of bytes are, times scale; see `narrow.bytes`
    private: int  # bytes for each thread
    gathered: int  # bytes for gathered rows
    delayed: int  # bytes beside them for a group of steps
    activations: int  # bytes for A, and in training delta and stored slopes, of all layers
    gradient: int  # bytes for the gradients of wide layers
    work: int  # multiply-adds of a step, those of the passes over W1 included
    steps_at_once: int  # that `fit` makes in its first call; later calls are as it has found
    workers: int  # threads, at most

    @property
    def nbytes(self) -> int:
        """Bytes altogether."""
        layers = self.gathered + self.delayed + self.activations + self.gradient
        return self.shared + self.private * self.workers + layers


def whole_lines(nbytes: int) -> int:
    """So many bytes, in whole cache lines."""
    return -(-nbytes // 64) * 64


@functools.cache
def multiply_adds(sizes: tuple[int, ...]) -> int:
    """Of one row's way through the network."""
    return sum(a * b for a, b in pairwise(sizes))


def lay_out(choice: Choice, threads: int, *, folds_bytes: bool) -> Layout:
    """The layout of a choice on so many threads.

    Parameters
    ----------
    choice : Choice
    threads : int
        At most.
    folds_bytes : bool
        Whether X are bytes that are scaled and shifted.
    """
    case, group = choice.case, choice.group
    rows, least = group * case.batch, _SERIAL_WORK
    if choice.by_columns:
        rows, least = rows + _ROWS_OF_A_PASS, _SERIAL_WORK_BY_COLUMNS
    work = rows * multiply_adds(case.sizes)
    return Layout(
        *_scratch(choice, folds_bytes),
        work // group,
        max(1, _FIRST_WORK // work) * group,
        threads if work > least and _is_parallel(choice) else 1,
    )


def _is_parallel(choice: Choice) -> bool:
    """Whether there is more than one thing to do at a time."""
    case = choice.case
    if choice.method is Method.SMALL and case.training:
        return small.shard_count(case.batch, machine.CORES) > 1
    if not choice.is_narrow or choice.by_columns:
        return True
    rows = case.batch if case.training else case.rows
    return rows > machine.tiles(case.itemsize).lanes


# Kept, as other plans are for the same sizes: computing them took a good part of making a plan.
@functools.lru_cache(maxsize=256)
def _scratch(choice: Choice, folds_bytes: bool) -> tuple[int, int, int, int, int, int, int]:
    """The fields of a `Layout` that are bytes of scratch memory."""
    case = choice.case
    lanes = machine.tiles(case.itemsize).lanes
    folded = gathered = together = activations = gradient = 0
    if choice.is_narrow:
        shared, private = _narrow_bytes(choice, lanes)
        if folds_bytes:
            folded = shared = whole_lines(shared)
            shared += narrow.folded_bytes(case.sizes, case.itemsize)
    elif choice.method is Method.SMALL:
        places = places_of(choice)
        shared, private = places.shared, places.private
    else:
        shared = gemm.shared_bytes(case.itemsize)
        private = max(
            gemm.private_bytes(case.itemsize),
            sweep.private_bytes(lanes, case.itemsize),
            output.private_bytes(case.sizes[-1], lanes, case.itemsize) if case.training else 0,
        )
        n0, n1 = case.sizes[:2]
        gathered = whole_lines(gather.gathered_bytes(n0, case.itemsize, choice.gathered))
        if choice.group > 1:
            together = delayed.group_bytes(n1, choice.gathered, case.itemsize)
        activations = sum(
            ((2 if case.training else 1) + stored) * whole_lines(case.batch * n * case.itemsize)
            for n, stored in itertools.zip_longest(case.sizes[1:], case.slopes, fillvalue=False)
        )
        gradient = gradient_bytes(case)
    return (
        whole_lines(shared), folded, whole_lines(private), gathered, together, activations,
        gradient,
    )  # fmt: skip


def places_of(choice: Choice) -> small.Places:
    """Where all that a small network has in scratch memory lies."""
    case = choice.case
    shards = small.shard_count(case.batch, machine.CORES) if case.training else 0
    return small.places(case.sizes, case.slopes, tile_of(choice, 1)[0], shards, case.itemsize)


def count_squares(choice: Choice) -> int:
    """How many sums of squares of weights there are."""
    sizes = choice.case.sizes
    if choice.method is Method.SMALL:
        return small.count_blocks(sizes, machine.tiles(choice.case.itemsize).lanes)
    return narrow_squares(sizes[0]) if choice.is_narrow else wide_squares(sizes)


def gradient_width(case: Case) -> int:
    """Columns of a wide layer's gradient that exist at a time; 0 if all of all layers do."""
    if case.update is Update.WHOLE:
        return 0
    lanes = machine.tiles(case.itemsize).lanes
    room = machine.CACHES.l2 // 2 // (max(case.sizes[1:]) * case.itemsize)
    return max(room // lanes * lanes, _LEAST_GRADIENT_WIDTH)


def gradient_bytes(case: Case) -> int:
    """Bytes for them, see `fastbp.kernels.wide.optimize`."""
    if not case.training or case.update is Update.DIRECT:
        return 0
    if case.update is Update.WHOLE:
        return case.itemsize * sum((a + 1) * b for a, b in pairwise(case.sizes))
    lanes, most = machine.tiles(case.itemsize).lanes, gradient_width(case)
    return case.itemsize * max(
        b * (min(-(-a // lanes) * lanes, most) + lanes) for a, b in pairwise(case.sizes)
    )


def _narrow_bytes(choice: Choice, lanes: int) -> tuple[int, int]:
    """Bytes for all threads, and for each."""
    case = choice.case
    shared = 0
    if choice.by_columns:
        shared = narrow.columns_bytes(case.sizes, lanes, case.itemsize)
    elif case.training:
        shared = narrow.shard_bytes(case.sizes, lanes, case.itemsize, case.batch)
    kept = 0 if case.update is Update.DIRECT else MOST_KEPT
    return shared, narrow.private_bytes(case.sizes, lanes, case.itemsize, kept)


def crew(choice: Choice, layout: Layout, steps: int, most: int) -> int:
    """How many threads, of ``most``, a call of so many steps is started on."""
    workers = min(layout.workers, most)
    if steps * layout.work <= _SERIAL_WORK:
        workers = 1
    if choice.by_columns:  # a thread without a share would only get in the way
        workers = narrow.columns_shares(choice.case.sizes[0], workers)
    return workers


@functools.lru_cache(maxsize=256)
def tile_of(choice: Choice, workers: int) -> tuple[int, int]:
    """Rows of a tile of a narrow or small network, and of the next one that are prefetched."""
    case = choice.case
    if choice.method is Method.SMALL:
        rows = case.batch if case.training else case.rows
        return small.tile_rows(case.sizes, rows, case.itemsize), 0
    row_bytes = case.sizes[0] * case.data_itemsize
    shares = workers if choice.by_columns else 1
    lanes = machine.tiles(case.itemsize).lanes
    tile = narrow.tile_rows(row_bytes, lanes, case.batch, shares)
    return tile, narrow.prefetch_rows(row_bytes, shares)
