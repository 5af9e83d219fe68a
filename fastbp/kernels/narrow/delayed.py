"""Steps on few rows, with a narrow first layer of many inputs: one pass over W1 for GROUP rows.

With so few rows a step is little but passing over W1, and telling the others of it. But as
`wide.delayed` explains, W1 need not be up to date to go forward from it: within a group of s steps
of B rows each, s B <= GROUP, with keep = 1 - learning rate * weight decay,

    X(t) W(t)^T = keep^t X(t) W(0)^T - rate * sum over u < t of keep^(t-1-u) (X(t) X(u)^T) D(u)

So the rows of all steps go forward from the same W1, and are multiplied with each other. Shares
tell each other both kinds of partial products once a group; then each makes the steps for itself.
A task of a share is the update of W1 by all steps of the last group and the forward pass of the
next one, chunk by chunk. Of 12288-3-2-1 from bytes, steps on 1 row that passed over W1 one by one
took 3.4 us, and 5.7 where the cores have no cache in common; so they take 1.7 and 2.3.
Where a product of rows overflows the loss is NaN, as in `wide.delayed`. The twin is the same,
`tests.twins.delayed_steps`.
"""

from __future__ import annotations

from collections import namedtuple

from numba import float32, float64, int64

from fastbp.kernels import plan as w
from fastbp.kernels.compile.jit import jit, region
from fastbp.kernels.linalg.row_ir import GROUP
from fastbp.kernels.narrow.above import ROWS_AND_UPDATE, go_above
from fastbp.kernels.narrow.exchange import chunk_width, common_of, partial_of
from fastbp.kernels.narrow.layers import RowsOfStep
from fastbp.kernels.narrow.prefetch import list_prefetch
from fastbp.kernels.narrow.rows import GROUP_OF_STEPS, TileBack, multiply_rows
from fastbp.kernels.narrow.scratch import return_parameters, scratch, take_parameters
from fastbp.kernels.narrow.update import change_weights, clear_tally, keep_and_factor
from fastbp.kernels.narrow.weights import PAIRS
from fastbp.kernels.plan import layer_pointer, layer_word, row_number
from fastbp.kernels.simd.vectors import lanes_of, load, moved, pointer, reduce_add, store, zeros
from fastbp.kernels.threads.shares import finish, next_in_share, publish

__all__ = ["regions"]

_Group = namedtuple("_Group", ["start", "rows", "steps"])


@jit
def _groups_of(plan):
    """How many groups there are in steps FIRST ... LAST - 1."""
    return (plan[w.LAST] - plan[w.FIRST] + plan[w.GROUP] - 1) // plan[w.GROUP]


@jit
def _group(plan, number):
    """Rows start ... start + rows of the epoch, and how many steps they are."""
    first = plan[w.FIRST] + number * plan[w.GROUP]
    last = min(first + plan[w.GROUP], plan[w.LAST])
    start = first * plan[w.BATCH]
    return _Group(start, min(last * plan[w.BATCH], plan[w.ROWS]) - start, last - first)


@jit
def _products(plan):
    """How many products a group has: of each row with W1, and of rows with rows if it has steps."""
    pairs = PAIRS if plan[w.GROUP] > 1 else 0
    return layer_word(plan, 0, w.OUTPUTS) * GROUP + pairs


@jit
def _list_rows(plan, number, offsets):
    """List a group's rows; the first again, where it has fewer than GROUP. Returns how many."""
    group = _group(plan, number)
    for r in range(GROUP):
        row = row_number(plan, group.start + (r if r < group.rows else 0))
        offsets[r] = row * plan[w.X_ROW]
    return group.rows


@jit
def _first_layer(plan, own, products, first, rows, power, dtype):
    """own.act[:n1] <- Z of the first layer for a step's rows, ``first`` and on of the group.

    ``products`` are of rows with W(0), and then with each other; W is by now power * W(0) and the
    own.changes of rows before ``first``. Returns 0, or NaN if these made Z infinite or NaN.
    """
    doubt = dtype(0)
    lanes = lanes_of(dtype)
    n1 = layer_word(plan, 0, w.OUTPUTS)
    b = layer_pointer(plan, 0, w.BIAS, dtype)
    for o in range(n1):
        store(own.act, o * lanes, zeros(dtype))
        for i in range(rows):
            r = first + i
            z = b[o] + power * products[o * GROUP + r]
            for u in range(first):
                pair = products[n1 * GROUP + r * (r - 1) // 2 + u]
                z += own.changes[o * GROUP + u] * pair
            own.act[o * lanes + i] = z
            if first > 0:
                doubt += z - z
    return doubt


@jit
def _make_steps(plan, own, common, number, chunks, dtype):
    """Make the steps of a group, but for W1: that is to become keep * W1 + own.changes * X.

    Returns keep.
    """
    lanes = lanes_of(dtype)
    n1 = layer_word(plan, 0, w.OUTPUTS)
    group = _group(plan, number)
    products = own.sums  # which no sweep needs now
    for k in range(0, _products(plan), lanes):
        total = load(partial_of(plan, common, number, chunks, int64(0), dtype), k, dtype)
        for c in range(1, chunks):
            total += load(partial_of(plan, common, number, chunks, c, dtype), k, dtype)
        store(products, k, total)
    power = dtype(1)
    for step in range(group.steps):
        number_of_step = plan[w.FIRST] + number * plan[w.GROUP] + step
        keep, factor = keep_and_factor(plan, number_of_step, dtype)
        first = step * plan[w.BATCH]
        rows = min(plan[w.BATCH], group.rows - first)
        doubt = _first_layer(plan, own, products, first, rows, power, dtype)
        clear_tally(plan, own.tally, dtype)
        own.tally[0] = doubt
        tile = RowsOfStep(number_of_step, group.start + first, rows, int64(0))
        go_above(plan, own, int64(ROWS_AND_UPDATE), tile, own.tally, int64(0), int64(1))
        for o in range(n1):
            for u in range(first):
                own.changes[o * GROUP + u] *= keep
            for i in range(rows):
                own.changes[o * GROUP + first + i] = factor * own.delta[o * lanes + i]
        power *= keep
    for o in range(n1):
        own.totals[o] = dtype(0)
        for r in range(group.rows):
            own.totals[o] += own.changes[o * GROUP + r]
    return power


@jit
def _forward(plan, own, partial, j0, count, dtype):
    """Partial products of the rows in own.next_offsets, with W1 and with each other."""
    lanes = lanes_of(dtype)
    n1 = layer_word(plan, 0, w.OUTPUTS)
    for s in range(_products(plan)):
        store(own.sums, s * lanes, zeros(dtype))
    pairs = moved(own.sums, n1 * GROUP * lanes)
    multiply_rows(
        plan, int64(GROUP_OF_STEPS), own.next_offsets, int64(GROUP), own.prefetch,
        layer_pointer(plan, 0, w.WEIGHT, dtype), own.sums,
        pairs if plan[w.GROUP] > 1 else pointer(int64(0), dtype), j0, count,
    )  # fmt: skip
    products = _products(plan)
    for i in range(products):
        partial[i] = reduce_add(load(own.sums, i * lanes, dtype))
    for i in range(products, (products + lanes - 1) // lanes * lanes):  # to the end of a vector
        partial[i] = dtype(0)


@jit
def _run_group(plan, own, common, team, share, shares, task, groups, dtype):
    """A task of a share: the steps of group ``task`` - 1, and forward with group ``task``.

    ``plan`` is the share's own. There are ``groups`` + 1 tasks.
    """
    n0 = layer_word(plan, 0, w.INPUTS)
    width = chunk_width(n0)
    chunks = (n0 + width - 1) // width
    keep = dtype(1)
    rows = later = int64(0)
    if task > 0:
        keep = _make_steps(plan, own, common, task - 1, chunks, dtype)
        rows = _list_rows(plan, task - 1, own.offsets)
    if task < groups:
        _list_rows(plan, task, own.next_offsets)
        then = _group(plan, task + 1)
        count = max(min(then.rows, plan[w.PREFETCH]), 0)
        later = list_prefetch(
            plan, own, then.start, count, own.next_offsets, int64(GROUP), rows, False
        )  # fmt: skip
    for chunk in range(share * chunks // shares, (share + 1) * chunks // shares):
        j0 = chunk * width
        count = min(width, n0 - j0)
        if task > 0:
            back = TileBack(own.offsets, rows, later, own.changes, int64(GROUP))
            change_weights(
                plan, layer_pointer(plan, 0, w.WEIGHT, dtype), back, j0, count, keep, dtype(1),
                True, own.totals, dtype,
            )  # fmt: skip
        if task < groups:
            partial = partial_of(plan, common, task, chunks, chunk, dtype)
            _forward(plan, own, partial, j0, count, dtype)
    if task < groups:
        publish(team, share, task + 1)


@jit
def _run(context, worker, dtype):
    """Make steps FIRST ... LAST - 1."""
    plan = pointer(context, int64)
    width = chunk_width(layer_word(plan, 0, w.INPUTS))
    chunks = (layer_word(plan, 0, w.INPUTS) + width - 1) // width
    shares = min(plan[w.WORKERS], chunks)
    team = pointer(plan[w.TEAM], int64)
    common = common_of(plan, chunks, dtype)
    groups = _groups_of(plan)
    share, task = next_in_share(team, shares, groups + 1, worker)
    while task >= 0:
        own = scratch(plan, share, dtype)
        if task == 0:
            take_parameters(plan, own.plan, dtype)
        _run_group(own.plan, own, common, team, share, shares, task, groups, dtype)
        if task == groups and share == 0:
            return_parameters(plan, own.plan, dtype)
        finish(team, share, task)
        share, task = next_in_share(team, shares, groups + 1, worker)


@region
def _float32(context: int, worker: int) -> None:
    _run(context, worker, float32)


@region
def _float64(context: int, worker: int) -> None:
    _run(context, worker, float64)


regions = {"float32": _float32, "float64": _float64}
"""The region for each dtype of the network."""
