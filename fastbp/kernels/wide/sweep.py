"""Small batches and a wide first layer: one sweep over W1 for each step.

With few rows a step is bound by reading and writing W1. So the update of one step and the forward
pass of the next are made together: a task takes a few rows of W1, a chunk of columns at a time,
updates them with the last batch and multiplies them with the next one while they lie in the
level-1 cache. W1 crosses the memory bus once in each direction for each step, nothing is packed,
and dW is never stored.

The batch itself is small: its rows are gathered, widened and folded into a buffer beforehand,
one for the last batch and one for the next, which stay in the level-2 cache during the sweep.
"""

from __future__ import annotations

from collections import namedtuple

from numba import float32, float64, int64

from fastbp.kernels import plan as w
from fastbp.kernels.compile import machine
from fastbp.kernels.compile.jit import jit, region
from fastbp.kernels.functions.activations import sigmoid
from fastbp.kernels.linalg.macrokernel import round_up
from fastbp.kernels.linalg.packing import copy_rows
from fastbp.kernels.linalg.row_ir import GROUP, OUTPUTS
from fastbp.kernels.linalg.row_products import add_outer_products, add_products
from fastbp.kernels.plan import layer_pointer, layer_word, operand_of_x
from fastbp.kernels.simd.vectors import lanes_of, load, moved, pointer, reduce_add, store, zeros
from fastbp.kernels.threads.team import claim_near, first_near_task, following_task, next_task
from fastbp.kernels.wide.layers import rows_of_step, step_of_layers

__all__ = [
    "MOST_ROWS",
    "forward_few",
    "gather",
    "gathered_bytes",
    "private_bytes",
    "regions",
    "row_step",
]

MOST_ROWS = 16  # of a batch: with more, its two buffers leave the level-2 cache
_PADDING = 4  # vectors
_OUTPUTS_OF_TASK = 8  # rows of W1
_LEAST_PIECE = 256  # columns of a batch that is gathered
_CHUNK = 512  # columns: MOST_ROWS rows of a batch take 32 KiB of float32

_Scratch = namedtuple("_Scratch", ["offsets", "sums", "delta", "z"])


def gathered_bytes(n0: int, itemsize: int, rows: int) -> int:
    """Bytes of shared scratch memory for ``rows`` gathered rows; a sweep takes 2 batches."""
    lanes = machine.tiles(itemsize).lanes
    return rows * (n0 + (1 + _PADDING) * lanes) * itemsize


def private_bytes(lanes: int, itemsize: int) -> int:
    """Bytes of scratch memory that one thread needs: row offsets, sums, delta and Z."""
    return MOST_ROWS * (8 + _OUTPUTS_OF_TASK * (lanes + 2) * itemsize)


@jit
def row_step(plan, dtype):
    """Elements from one row of a gathered batch to the next: whole vectors, and some more.

    Rows a multiple of 4 KiB apart (12,288 float32 are) would all fall into the same few sets of
    the level-1 cache, and push each other out.
    """
    lanes = lanes_of(dtype)
    return (layer_word(plan, 0, w.INPUTS) + lanes - 1) // lanes * lanes + _PADDING * lanes


@jit
def _scratch(plan, worker, dtype):
    private = plan[w.PRIVATE] + worker * plan[w.PRIVATE_STEP]
    sums = pointer(private + MOST_ROWS * 8, dtype)
    delta = moved(sums, MOST_ROWS * _OUTPUTS_OF_TASK * lanes_of(dtype))
    z = moved(delta, MOST_ROWS * _OUTPUTS_OF_TASK)
    offsets = pointer(private, int64)
    for i in range(MOST_ROWS):
        offsets[i] = i * row_step(plan, dtype)
    return _Scratch(offsets, sums, delta, z)


@jit
def gather(plan, worker, start, rows, batch, team, phase, dtype):
    """Write rows ``start`` and on of the epoch to ``batch``, as the network sees them.

    Each thread takes a piece of the columns, about that which it multiplies where products are cut
    along k: where cores have no cache in common, steps of 16 rows of 12288-128-64-1 took 0.68 ms,
    and 0.74 row by row; where they have one, 0.61 and 0.60. What is written is the same.
    """
    lanes = lanes_of(dtype)
    n0 = layer_word(plan, 0, w.INPUTS)
    step = row_step(plan, dtype)
    x = operand_of_x(plan, start)
    workers = plan[w.WORKERS]
    width = max(_LEAST_PIECE, round_up((n0 + workers - 1) // workers, lanes))
    pieces = (n0 + width - 1) // width
    home = worker * pieces // workers % pieces
    phase += 1
    task = first_near_task(team, phase, pieces, home)
    while task >= 0:
        k0 = task * width
        copy_rows(
            moved(batch, k0),
            step,
            x,
            int64(0),
            rows,
            k0,
            min(width, n0 - k0),
            plan[w.COPY_REGION],
            dtype,
        )
        upcoming = claim_near(team, phase, pieces, home)
        task = following_task(team, phase, pieces, upcoming)
    return phase


@jit
def _update_chunk(plan, batch, rows, o, outputs, j0, count, own, dtype):
    """Columns j0 ... of rows o ... of W1, changed by a batch."""
    numbers = pointer(plan[w.STEPS], float64)
    rate, keep = numbers[w.RATE], dtype(numbers[w.KEEP])
    n0 = layer_word(plan, 0, w.INPUTS)
    weight = layer_pointer(plan, 0, w.WEIGHT, dtype)
    none = pointer(int64(0), dtype)  # the rows are preprocessed already
    for u in range(0, outputs, OUTPUTS):
        add_outer_products(
            moved(weight, (o + u) * n0), n0, batch, own.offsets, None, None,
            moved(own.delta, u * MOST_ROWS), int64(MOST_ROWS), j0, count, rows,
            None, min(OUTPUTS, outputs - u), keep, dtype(-rate), none, none, none,
        )  # fmt: skip


@jit
def _forward_chunk(plan, batch, rows, o, outputs, j0, count, own, dtype):
    """The same columns times a batch: added to own.sums."""
    lanes = lanes_of(dtype)
    n0 = layer_word(plan, 0, w.INPUTS)
    weight = layer_pointer(plan, 0, w.WEIGHT, dtype)
    for i in range(0, rows, GROUP):
        for u in range(0, outputs, OUTPUTS):
            add_products(
                moved(own.sums, (u * MOST_ROWS + i * OUTPUTS) * lanes), batch,
                moved(own.offsets, i), None, None, moved(weight, (o + u) * n0), n0, j0, count,
                min(GROUP, rows - i), min(OUTPUTS, outputs - u), moved(own.offsets, i),
            )  # fmt: skip


@jit
def _clear_sums(own, dtype):
    for i in range(MOST_ROWS * _OUTPUTS_OF_TASK):
        store(own.sums, i * lanes_of(dtype), zeros(dtype))


@jit
def _take_delta(plan, rows, o, outputs, delta, dtype):
    """Transpose delta of outputs o ... into ``delta``, and change their biases."""
    n1 = layer_word(plan, 0, w.OUTPUTS)
    b = layer_pointer(plan, 0, w.BIAS, dtype)
    d = layer_pointer(plan, 0, w.DELTA, dtype)
    rate = dtype(pointer(plan[w.STEPS], float64)[w.RATE])
    for u in range(outputs):
        total = dtype(0)
        for i in range(rows):
            delta[u * MOST_ROWS + i] = d[i * n1 + o + u]
            total += d[i * n1 + o + u]
        b[o + u] -= rate * total


@jit
def _give_activation(plan, sums, z, rows, o, outputs, linear, dtype):
    """From the sums of products to the activations of outputs o ..., or their Z if ``linear``."""
    lanes = lanes_of(dtype)
    n1 = layer_word(plan, 0, w.OUTPUTS)
    b = layer_pointer(plan, 0, w.BIAS, dtype)
    a = layer_pointer(plan, 0, w.ACTIVATION, dtype)
    for u in range(outputs):
        for i in range(rows):
            group = i // GROUP * GROUP
            first = u // OUTPUTS * OUTPUTS
            at = first * MOST_ROWS + group * OUTPUTS + (u - first) * GROUP + i - group
            z[u * MOST_ROWS + i] = reduce_add(load(sums, at * lanes, dtype)) + b[o + u]
    if not linear:
        for i in range(0, outputs * MOST_ROWS, lanes):
            store(z, i, sigmoid(load(z, i, dtype), dtype))
    for u in range(outputs):
        for i in range(rows):
            a[i * n1 + o + u] = z[u * MOST_ROWS + i]


@jit
def forward_few(plan, worker, batch, rows, phase, dtype):
    """A1 <- the forward pass of a batch that `gather` has left, in one pass over W1."""
    team = pointer(plan[w.TEAM], int64)
    n0 = layer_word(plan, 0, w.INPUTS)
    n1 = layer_word(plan, 0, w.OUTPUTS)
    own = _scratch(plan, worker, dtype)
    tasks = (n1 + _OUTPUTS_OF_TASK - 1) // _OUTPUTS_OF_TASK
    phase += 1
    task = next_task(team, phase, tasks, False)
    while task >= 0:
        o = task * _OUTPUTS_OF_TASK
        outputs = min(_OUTPUTS_OF_TASK, n1 - o)
        _clear_sums(own, dtype)
        for j0 in range(0, n0, _CHUNK):
            count = min(_CHUNK, n0 - j0)
            _forward_chunk(plan, batch, rows, o, outputs, j0, count, own, dtype)
        _give_activation(plan, own.sums, own.z, rows, o, outputs, False, dtype)
        task = next_task(team, phase, tasks, True)
    return phase


@jit
def _sweep(plan, worker, batch, rows, next_batch, next_rows, phase, dtype):
    """W1 <- W1 changed by a batch; A1 <- its forward pass of the next batch.

    Both batches are as `gather` leaves them; either may have no rows, and is left out then. delta
    of the first is in layer 0's DELTA, the activations go to its ACTIVATION.
    """
    team = pointer(plan[w.TEAM], int64)
    n0 = layer_word(plan, 0, w.INPUTS)
    n1 = layer_word(plan, 0, w.OUTPUTS)
    linear = plan[w.LAYERS] == 1
    own = _scratch(plan, worker, dtype)
    tasks = (n1 + _OUTPUTS_OF_TASK - 1) // _OUTPUTS_OF_TASK
    phase += 1
    task = next_task(team, phase, tasks, False)
    while task >= 0:
        o = task * _OUTPUTS_OF_TASK
        outputs = min(_OUTPUTS_OF_TASK, n1 - o)
        if rows > 0:
            _take_delta(plan, rows, o, outputs, own.delta, dtype)
        _clear_sums(own, dtype)
        for j0 in range(0, n0, _CHUNK):
            count = min(_CHUNK, n0 - j0)
            if rows > 0:
                _update_chunk(plan, batch, rows, o, outputs, j0, count, own, dtype)
            _forward_chunk(plan, next_batch, next_rows, o, outputs, j0, count, own, dtype)
        if next_rows > 0:
            _give_activation(plan, own.sums, own.z, next_rows, o, outputs, linear, dtype)
        task = next_task(team, phase, tasks, True)
    return phase


@jit
def _run(context, worker, dtype):
    """Steps FIRST ... LAST - 1, each with one pass over W1."""
    plan = pointer(context, int64)
    team = pointer(plan[w.TEAM], int64)
    batch = pointer(plan[w.GATHERED], dtype)
    next_batch = moved(batch, plan[w.BATCH] * row_step(plan, dtype))
    phase = int64(-1)
    rows = int64(0)
    for step in range(plan[w.FIRST], plan[w.LAST]):
        start = step * plan[w.BATCH]
        next_rows = rows_of_step(plan, step)
        phase = gather(plan, worker, start, next_rows, next_batch, team, phase, dtype)
        phase = _sweep(plan, worker, batch, rows, next_batch, next_rows, phase, dtype)
        batch, next_batch, rows = next_batch, batch, next_rows
        phase = step_of_layers(plan, start, rows, int64(1), worker, phase)
    _sweep(plan, worker, batch, rows, next_batch, int64(0), phase, dtype)


@region
def _float32(context: int, worker: int) -> None:
    _run(context, worker, float32)


@region
def _float64(context: int, worker: int) -> None:
    _run(context, worker, float64)


regions = {"float32": _float32, "float64": _float64}
"""The region for each dtype of the network."""
