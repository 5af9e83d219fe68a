"""Steps with a narrow first layer of many inputs, cut by columns of W1.

Each thread has a share of the columns of X, of W1 and of its gradient (`shares`): they stay in the
caches of its core, which matters most where cores have no cache in common. All that threads tell
each other are the partial products of a tile of rows, a few numbers a row. The small rest of the
network is computed by each share for itself, from a copy of its parameters, with the same bits.

A tile's task is to go forward; and, while the others' partial products of that tile come in, back
with the tile before. Where a step begins, the last step has to be finished first. So a task is

    within a step                    at its beginning, chunk by chunk of columns
    forward with tile t              back with tile t - 1
    publish its partial products     update of W1
    back with tile t - 1             forward with tile t
                                     publish its partial products

A step of one tile has no gradient of W1: products go straight from registers into the weights,
unless an optimizer needs it (`narrow.optimize`). In steps of several tiles, a share that is alone
goes back with tile t at once, while it lies in the cache.

A gradient is added up row by row, partial products as `narrow.exchange` tells. So the bits do not
depend on the number of shares.

Steps on very few rows are made otherwise, see `narrow.delayed`. The twin is
`tests.twins.column_steps`.
"""

from __future__ import annotations

from collections import namedtuple

from numba import float32, float64, int64

from fastbp.kernels import plan as w
from fastbp.kernels.compile.jit import jit, region
from fastbp.kernels.linalg.operand import DTYPE_CODES
from fastbp.kernels.linalg.row_ir import GROUP, PREFETCHED
from fastbp.kernels.narrow.above import ROWS, ROWS_AND_UPDATE, go_above
from fastbp.kernels.narrow.bytes import (
    factor_of_sums,
    fold_weights,
    folded_weights,
    folds_sums,
)
from fastbp.kernels.narrow.exchange import (
    LINE,
    chunk_width,
    common_of,
    partial_of,
)
from fastbp.kernels.narrow.optimize import needs_gradient
from fastbp.kernels.narrow.prefetch import list_prefetch
from fastbp.kernels.narrow.rows import PRODUCTS, TileBack, multiply_rows
from fastbp.kernels.narrow.scratch import return_parameters, scratch, take_parameters
from fastbp.kernels.narrow.update import (
    bias_steps,
    change_weights,
    clear_tally,
    keep_and_factor,
    update_first,
)
from fastbp.kernels.plan import layer_pointer, layer_word, row_number
from fastbp.kernels.simd.vectors import (
    between,
    lanes_of,
    load,
    moved,
    pointer,
    reduce_add,
    splat,
    store,
    zeros,
)
from fastbp.kernels.threads.shares import finish, next_in_share, publish

__all__ = ["regions"]

_BYTES = DTYPE_CODES["uint8"]

_Tile = namedtuple("_Tile", ["step", "start", "rows", "lane", "first", "last"])


@jit
def _tiles_of(plan, rows):
    return (rows + plan[w.TILE] - 1) // plan[w.TILE]


@jit
def _tile(plan, number, dtype):
    """Rows start ... start + rows of the epoch; the first lies in lane ``lane`` of the vectors."""
    tiles = _tiles_of(plan, plan[w.BATCH])
    step = plan[w.FIRST] + number // tiles
    first = step * plan[w.BATCH]
    batch = min(plan[w.BATCH], plan[w.ROWS] - first)
    begin = number % tiles * plan[w.TILE]
    rows = min(plan[w.TILE], batch - begin)
    return _Tile(
        step, first + begin, rows, begin % lanes_of(dtype), begin == 0, begin + rows == batch
    )


@jit
def _fold(plan, own, common, chunk, j0, count, dtype):
    """Bring chunk ``chunk`` of `folded_weights` and of the sums of W1 * shift up to date."""
    lanes = lanes_of(dtype)
    n1 = layer_word(plan, 0, w.OUTPUTS)
    fold_weights(plan, j0, count, own.sums, dtype)
    for o in range(n1):
        common.constants[chunk * LINE + o] = reduce_add(load(own.sums, o * lanes, dtype))


@jit
def _store_partial(plan, own, common, number, chunks, chunk, i, rows, lane, dtype):
    """Add up own.sums of a group of rows, rows i ... of tile ``number``, and tell the others."""
    lanes = lanes_of(dtype)
    n1 = layer_word(plan, 0, w.OUTPUTS)
    partial = partial_of(plan, common, number, chunks, chunk, dtype)
    factor = factor_of_sums(plan, dtype)
    for o in range(n1):
        if i == 0:  # lanes of no row: numbers that are fast to add up
            store(partial, o * lanes, zeros(dtype))
        constant = dtype(0)
        if folds_sums(plan):
            constant = common.constants[chunk * LINE + o]
        for r in range(min(GROUP, rows - i)):
            total = reduce_add(load(own.sums, (o * GROUP + r) * lanes, dtype))
            partial[o * lanes + lane + i + r] = total * factor + constant


@jit
def _forward(plan, own, common, number, tile, chunks, chunk, i, j0, count, dtype):
    """Partial products of a group of rows, rows i ... of tile ``number``, in a chunk of columns."""
    lanes = lanes_of(dtype)
    n1 = layer_word(plan, 0, w.OUTPUTS)
    for s in range(n1 * GROUP):
        store(own.sums, s * lanes, zeros(dtype))
    multiply_rows(
        plan, int64(PRODUCTS), moved(own.next_offsets, i), min(GROUP, tile.rows - i),
        moved(own.prefetch, i // GROUP * PREFETCHED), folded_weights(plan, dtype), own.sums,
        own.sums, j0, count,
    )  # fmt: skip
    _store_partial(plan, own, common, number, chunks, chunk, i, tile.rows, tile.lane, dtype)


@jit
def _between(plan, own, common, tile, number, chunks, dtype):
    """From a tile's partial products to its delta; after a step's last one, the update above W1."""
    lanes = lanes_of(dtype)
    n1 = layer_word(plan, 0, w.OUTPUTS)
    b = layer_pointer(plan, 0, w.BIAS, dtype)
    if tile.first:
        clear_tally(plan, own.tally, dtype)
    for o in range(n1):
        z = splat(b[o], dtype)
        for c in range(chunks):
            z += load(partial_of(plan, common, number, chunks, c, dtype), o * lanes, dtype)
        store(own.act, o * lanes, between(z, tile.lane, tile.lane + tile.rows))
    what = int64(ROWS_AND_UPDATE if tile.last else ROWS)
    go_above(plan, own, what, tile, own.tally, int64(0), int64(1))
    for i in range(tile.rows):
        own.offsets[i] = row_number(plan, tile.start + i) * plan[w.X_ROW]
    if tile.last:
        bias_steps(plan, tile.step, own.tally, int64(0), 1, own.totals, dtype)


@jit
def _back(plan, own, common, tile, later, chunk, j0, count, dtype):
    """Back with a tile in a chunk of columns; after a step's last tile, the update of W1."""
    lanes = lanes_of(dtype)
    straight = tile.first and tile.last and not needs_gradient(plan)
    if straight:
        target = layer_pointer(plan, 0, w.WEIGHT, dtype)
        keep, factor = keep_and_factor(plan, tile.step, dtype)
    else:
        target = common.gradient
        keep, factor = dtype(0.0 if tile.first else 1.0), dtype(1)
    delta = moved(own.delta, tile.lane)
    back = TileBack(own.offsets, tile.rows, later, delta, lanes)
    change_weights(plan, target, back, j0, count, keep, factor, straight, own.totals, dtype)
    if tile.last:
        if not straight:
            update_first(
                plan, tile.step, common.gradient, int64(0), 1, own.totals, j0, count, dtype
            )
        if folds_sums(plan):
            _fold(plan, own, common, chunk, j0, count, dtype)


@jit
def _look_ahead(plan, own, number, tiles, rows_behind, dtype):
    """List tile ``number`` and the rows to prefetch: its rows, and those left for the way back."""
    rows = int64(0)
    if number < tiles:
        tile = _tile(plan, number, dtype)
        rows = tile.rows
        for i in range(rows):
            own.next_offsets[i] = row_number(plan, tile.start + i) * plan[w.X_ROW]
    start, count = int64(0), int64(0)
    if number + 1 < tiles:
        tile = _tile(plan, number + 1, dtype)
        start, count = tile.start, min(tile.rows, plan[w.PREFETCH])
    return rows, list_prefetch(plan, own, start, count, own.next_offsets, rows, rows_behind, False)


@jit
def _run_task(plan, own, common, team, share, shares, task, tiles, lag, dtype):
    """A task of a share: forward with tile ``task``, back with the one that is ``lag`` behind it.

    ``plan`` is the share's own.
    """
    n0 = layer_word(plan, 0, w.INPUTS)
    width = chunk_width(n0)
    chunks = (n0 + width - 1) // width
    begin, end = share * chunks // shares, (share + 1) * chunks // shares
    goes_on, goes_back = task < tiles, task >= lag
    ahead = _tile(plan, min(task, tiles - 1), dtype)
    behind = _tile(plan, max(task - lag, 0), dtype)
    # Whether the tile behind is the last of its step: then W1 has to be updated first.
    finishes = lag == 1 and goes_back and (ahead.first or not goes_on)
    rows, later = _look_ahead(plan, own, task, tiles, behind.rows, dtype)
    if finishes:
        _between(plan, own, common, behind, task - lag, chunks, dtype)
    groups = (rows + GROUP - 1) // GROUP
    by_rows = not finishes and plan[w.X_DTYPE] != _BYTES
    for turn in range((end - begin) * groups):
        if by_rows:  # of many bytes each, which memory delivers sooner from end to end
            i, chunk = turn // (end - begin), begin + turn % (end - begin)
        else:
            i, chunk = turn % groups, begin + turn // groups
        j0 = chunk * width
        count = min(width, n0 - j0)
        if finishes and i == 0:
            _back(plan, own, common, behind, later, chunk, j0, count, dtype)
        _forward(plan, own, common, task, ahead, chunks, chunk, i * GROUP, j0, count, dtype)
    if goes_on:
        publish(team, share, task + 1)
    if goes_back and not (finishes and goes_on):
        if not finishes:
            _between(plan, own, common, behind, task - lag, chunks, dtype)
        for chunk in range(begin, end):
            j0 = chunk * width
            count = min(width, n0 - j0)
            _back(plan, own, common, behind, later, chunk, j0, count, dtype)


@jit
def _run(context, worker, dtype):
    """Make steps FIRST ... LAST - 1."""
    plan = pointer(context, int64)
    n0 = layer_word(plan, 0, w.INPUTS)
    width = chunk_width(n0)
    chunks = (n0 + width - 1) // width
    shares = min(plan[w.WORKERS], chunks)
    team = pointer(plan[w.TEAM], int64)
    common = common_of(plan, chunks, dtype)
    steps = plan[w.LAST] - plan[w.FIRST]
    rest = min(plan[w.BATCH], plan[w.ROWS] - (plan[w.LAST] - 1) * plan[w.BATCH])
    tiles = (steps - 1) * _tiles_of(plan, plan[w.BATCH]) + _tiles_of(plan, rest)
    lag = 1 if shares > 1 or plan[w.BATCH] <= plan[w.TILE] else 0
    share, task = next_in_share(team, shares, tiles + lag, worker)
    while task >= 0:
        own = scratch(plan, share, dtype)
        if task == 0:
            take_parameters(plan, own.plan, dtype)
            if folds_sums(plan):
                for chunk in range(share * chunks // shares, (share + 1) * chunks // shares):
                    j0 = chunk * width
                    _fold(plan, own, common, chunk, j0, min(width, n0 - j0), dtype)
        _run_task(own.plan, own, common, team, share, shares, task, tiles, lag, dtype)
        if task == tiles + lag - 1 and share == 0:
            return_parameters(plan, own.plan, dtype)
        finish(team, share, task)
        share, task = next_in_share(team, shares, tiles + lag, worker)


@region
def _float32(context: int, worker: int) -> None:
    _run(context, worker, float32)


@region
def _float64(context: int, worker: int) -> None:
    _run(context, worker, float64)


regions = {"float32": _float32, "float64": _float64}
"""The region for each dtype of the network."""
