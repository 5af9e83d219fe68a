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

from numba import int64

from fastbp.kernels import plan as w
from fastbp.kernels.compile.jit import jit
from fastbp.kernels.linalg.operand import DTYPE_CODES
from fastbp.kernels.linalg.row_ir import GROUP, OUTPUTS
from fastbp.kernels.narrow.exchange import chunk_width, partial_of
from fastbp.kernels.narrow.layers import (
    backward_above,
    layers_above,
    output_delta,
    row_number,
    units,
)
from fastbp.kernels.narrow.prefetch import list_prefetch
from fastbp.kernels.narrow.update import (
    change_weights,
    clear_tally,
    keep_and_factor,
    update_above,
)
from fastbp.kernels.narrow.weights import PAIRS, multiply_group
from fastbp.kernels.plan import layer_pointer, layer_word
from fastbp.kernels.simd.vectors import (
    folding_pointer,
    lanes_of,
    load,
    moved,
    pointer,
    reduce_add,
    store,
    zeros,
)
from fastbp.kernels.threads.shares import publish

__all__ = ["groups_of", "is_grouped", "run_group", "steps_of_group"]

_BYTES = DTYPE_CODES["uint8"]

_Group = namedtuple("_Group", ["start", "rows", "steps"])


def _most_rows(lanes):
    """Rows of a batch up to which there are groups: a step's rows are the lanes of a vector."""
    return min(GROUP, lanes)


_most = jit(_most_rows)


def steps_of_group(batch: int, lanes: int) -> int:
    """How many steps of ``batch`` rows share a pass over W1."""
    return GROUP // batch if batch <= _most_rows(lanes) else 1


@jit
def is_grouped(plan, dtype):
    """Whether steps are made in groups, of one step each or of several.

    Steps on 4 rows of floats take 6 % less as tiles of `narrow.columns`, where memory is prefetched
    them more evenly; on 4 rows of bytes 6 % more.
    """
    few = plan[w.BATCH] < GROUP or plan[w.X_DTYPE] == _BYTES
    return few and plan[w.BATCH] <= _most(lanes_of(dtype))


@jit
def groups_of(plan):
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
    outputs = layer_word(plan, plan[w.LAYERS] - 1, w.OUTPUTS)
    group = _group(plan, number)
    products = own.sums  # which no sweep needs now
    for k in range(0, _products(plan), lanes):
        total = load(partial_of(plan, common, number, chunks, int64(0), dtype), k, dtype)
        for c in range(1, chunks):
            total += load(partial_of(plan, common, number, chunks, c, dtype), k, dtype)
        store(products, k, total)
    keep, factor = keep_and_factor(plan, dtype)
    power = dtype(1)
    for step in range(group.steps):
        first = step * plan[w.BATCH]
        rows = min(plan[w.BATCH], group.rows - first)
        doubt = _first_layer(plan, own, products, first, rows, power, dtype)
        clear_tally(plan, own.tally, dtype)
        own.tally[0] = doubt
        z = layers_above(plan, own, dtype)
        delta = moved(own.delta, (units(plan) - outputs) * lanes)
        output_delta(plan, z, delta, group.start + first, rows, int64(0), rows, own.tally, dtype)
        backward_above(plan, own, moved(own.tally, 2 * lanes), dtype)
        update_above(plan, own.tally, int64(0), 1, dtype)
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
def _forward(plan, x, own, partial, j0, count, dtype):
    """Partial products of the rows in own.next_offsets, with W1 and with each other."""
    lanes = lanes_of(dtype)
    n0 = layer_word(plan, 0, w.INPUTS)
    n1 = layer_word(plan, 0, w.OUTPUTS)
    weight = layer_pointer(plan, 0, w.WEIGHT, dtype)
    for i in range(_products(plan)):
        store(own.sums, i * lanes, zeros(dtype))
    none = pointer(int64(0), dtype)
    for o in range(0, n1, OUTPUTS):
        pairs = moved(own.sums, n1 * GROUP * lanes)
        multiply_group(
            moved(own.sums, o * GROUP * lanes), pairs if o == 0 and plan[w.GROUP] > 1 else none, x,
            own.next_offsets, folding_pointer(plan[w.SHIFT], x, dtype),
            folding_pointer(plan[w.SCALE], x, dtype),
            moved(weight, o * n0), n0, j0, count, min(OUTPUTS, n1 - o),
            own.prefetch if o == 0 else own.next_offsets,
        )  # fmt: skip
    for i in range(_products(plan)):
        partial[i] = reduce_add(load(own.sums, i * lanes, dtype))


@jit
def run_group(plan, x, shift, scale, own, common, team, share, shares, task, groups, dtype):
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
            change_weights(
                plan, layer_pointer(plan, 0, w.WEIGHT, dtype), x, own.offsets, shift, scale,
                own.changes, int64(GROUP), j0, count, rows, later, keep, dtype(1), True,
                own.totals, dtype,
            )  # fmt: skip
        if task < groups:
            partial = partial_of(plan, common, task, chunks, chunk, dtype)
            _forward(plan, x, own, partial, j0, count, dtype)
    if task < groups:
        publish(team, share, task + 1)
