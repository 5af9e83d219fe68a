"""Small batches and a wide first layer: several steps for each pass over W1.

Few rows at a time are too few to multiply W1 with: reading and writing it takes longer than the
arithmetic. But W1 need not be up to date to go forward from it. Within a group of s steps of B rows
each, with keep = 1 - learning rate * weight decay and all X and D = delta of layer 1,

    W(t) = keep^t W(0) - rate * sum over u < t of keep^(t-1-u) D(u)^T X(u)

so that the pre-activations of step t follow from W(0) and from products of rows with rows:

    X(t) W(t)^T = keep^t X(t) W(0)^T - rate * sum over u < t of keep^(t-1-u) (X(t) X(u)^T) D(u)

Therefore a group multiplies all of its s B rows with W(0), and with each other, in two full matrix
products; makes its steps, correcting Z by the short sum over u; and changes W1 once, by a third
product. The steps are those of SGD, one after the other: only roundings differ, by as much as with
any other order of the sums. The same is done to one-particle updates of determinants in quantum
Monte Carlo: McDaniel et al., "Delayed Slater determinant update algorithms for high efficiency
quantum Monte Carlo" (2017).

Products of rows with rows may overflow where those with W1 do not: in float32, for inputs of some
1e17 and more. A Z that they made infinite or NaN says so by a loss of NaN, and `fit` makes these
steps again, one pass over W1 for each.

Groups begin at steps that are multiples of s, so that the bits do not depend on the calls that an
epoch is divided into, as long as these begin there too. The twin is `tests.twins.delayed_steps`.
"""

from __future__ import annotations

import math
from collections import namedtuple

from numba import float32, float64, int64

from fastbp.kernels import plan as w
from fastbp.kernels.compile import machine
from fastbp.kernels.compile.calls import words_of
from fastbp.kernels.compile.jit import jit, region
from fastbp.kernels.functions.activations import SIGMOID
from fastbp.kernels.functions.layers import FORWARD
from fastbp.kernels.linalg.epilogue import (
    BIAS,
    BIAS_SIGMOID,
    CALL,
    NOTHING,
    Call,
    Epilogue,
    apply_epilogue,
)
from fastbp.kernels.linalg.macrokernel import BlockTriangle, round_up, whole
from fastbp.kernels.linalg.operand import Product, matrix
from fastbp.kernels.linalg.product import multiply
from fastbp.kernels.linalg.row_ir import OUTPUTS
from fastbp.kernels.linalg.row_products import add_outer_products
from fastbp.kernels.plan import layer_pointer, layer_word
from fastbp.kernels.simd.vectors import (
    address_of,
    lanes_of,
    load_part,
    moved,
    pointer,
    reduce_add,
    splat,
    store_part,
    zeros,
)
from fastbp.kernels.threads.context import workspace
from fastbp.kernels.threads.team import next_task
from fastbp.kernels.wide.functions import forward_strip, function_of, is_called
from fastbp.kernels.wide.gather import gather, row_step
from fastbp.kernels.wide.layers import rows_of_step, step_of_layers

__all__ = ["group_bytes", "regions"]

_NAN = math.nan
_COLUMNS_OF_TASK = 64  # of layer 1's outputs: four vectors of float32 at a time

Group = namedtuple("Group", ["x", "z", "deltas", "gram", "ldz", "ldg", "rows"])
"""Typed pointers to a group's rows, to Z from W(0), to the delta of its steps, to the products of
rows with rows; the distances between rows of the last three; and how many rows a group has."""


def group_bytes(n1: int, rows: int, itemsize: int) -> int:
    """Bytes of shared scratch memory that a group of ``rows`` takes beside its gathered rows."""
    lanes = machine.tiles(itemsize).lanes
    ldz, ldg = -(-n1 // lanes) * lanes, -(-rows // lanes) * lanes
    return rows * (2 * ldz + ldg) * itemsize


@jit
def _group_of(plan, dtype):
    """The scratch memory of a group."""
    lanes = lanes_of(dtype)
    rows = plan[w.GROUP] * plan[w.BATCH]
    ldz = (layer_word(plan, 0, w.OUTPUTS) + lanes - 1) // lanes * lanes
    ldg = (rows + lanes - 1) // lanes * lanes
    z = pointer(plan[w.DELAYED], dtype)
    deltas = moved(z, rows * ldz)
    x = pointer(plan[w.GATHERED], dtype)
    return Group(x, z, deltas, moved(deltas, rows * ldz), ldz, ldg, rows)


@jit
def _rate_and_keep(plan):
    numbers = pointer(plan[w.STEPS], float64)
    return numbers[w.RATE], numbers[w.KEEP]


@jit
def _power(base, exponent):
    value = 1.0
    for _ in range(exponent):
        value *= base
    return value


@jit
def _scale_row(row, first, count, factor, dtype):
    lanes = lanes_of(dtype)
    for j in range(first, first + count, lanes):
        part = min(lanes, first + count - j)
        store_part(row, j, part, load_part(row, j, part, dtype) * splat(dtype(factor), dtype))


@jit
def _copy_part(target, source, count, dtype):
    lanes = lanes_of(dtype)
    for j in range(0, count, lanes):
        part = min(lanes, count - j)
        store_part(target, j, part, load_part(source, j, part, dtype))


@jit
def _begin_group(plan, group, start, rows, space, phase, dtype):
    """Gather the group's rows, and multiply them with W1 and with each other."""
    n0 = layer_word(plan, 0, w.INPUTS)
    n1 = layer_word(plan, 0, w.OUTPUTS)
    step = row_step(plan, dtype)
    batch = plan[w.BATCH]
    phase = gather(plan, space.worker, start, rows, group.x, space.team, phase, dtype)
    x = matrix(address_of(group.x), step, int64(1), dtype)
    weight = matrix(layer_word(plan, 0, w.WEIGHT), int64(1), n0, dtype)
    epilogue = Epilogue(int64(NOTHING), group.z, group.z, int64(0))
    product = Product(
        group.z, group.ldz, rows, n1, n0, x, weight, dtype(1), dtype(0), epilogue, whole()
    )
    phase = multiply(product, space, phase, dtype)
    if rows <= batch:
        return phase
    # What is needed are products of each step's rows with those of the steps before, in whole
    # vectors.
    lanes = lanes_of(dtype)
    skip = batch // lanes * lanes
    earlier = min(round_up((rows - 1) // batch * batch, lanes), rows)
    later = matrix(address_of(moved(group.x, skip * step)), step, int64(1), dtype)
    other = matrix(address_of(group.x), int64(1), step, dtype)
    gram = moved(group.gram, skip * group.ldg)
    triangle = BlockTriangle(batch, skip)
    product = Product(
        gram, group.ldg, rows - skip, earlier, n0, later, other, dtype(1), dtype(0), epilogue,
        triangle,
    )  # fmt: skip
    phase = multiply(product, space, phase, dtype)
    _, keep = _rate_and_keep(plan)
    phase += 1
    task = next_task(space.team, phase, rows, False)
    while task >= 0:
        for u in range(task // batch):
            factor = _power(keep, task // batch - 1 - u)
            _scale_row(moved(group.gram, task * group.ldg), u * batch, batch, factor, dtype)
        task = next_task(space.team, phase, rows, True)
    return phase


@jit
def _take_delta(plan, group, at, rows, j0, count, dtype):
    """Columns j0 ... of the step before: keep its delta as rows ``at`` and on, change the bias."""
    lanes = lanes_of(dtype)
    n1 = layer_word(plan, 0, w.OUTPUTS)
    delta = layer_pointer(plan, 0, w.DELTA, dtype)
    bias = layer_pointer(plan, 0, w.BIAS, dtype)
    rate, _ = _rate_and_keep(plan)
    for j in range(j0, j0 + count, lanes):
        part = min(lanes, j0 + count - j)
        total = zeros(dtype)
        for i in range(rows):
            value = load_part(delta, i * n1 + j, part, dtype)
            store_part(group.deltas, (at + i) * group.ldz + j, part, value)
            total += value
        old = load_part(bias, j, part, dtype)
        store_part(bias, j, part, old - splat(dtype(rate), dtype) * total)


@jit
def _is_finite(z, ldz, rows, count, dtype):
    """Whether all of a (rows, count) matrix is."""
    lanes = lanes_of(dtype)
    doubt = zeros(dtype)
    for i in range(rows):
        for j in range(0, count, lanes):
            value = load_part(z, i * ldz + j, min(lanes, count - j), dtype)
            doubt += value - value  # 0, or NaN
    return reduce_add(doubt) == 0


@jit
def _begin_step(plan, group, at, last_rows, step, space, phase, dtype):
    """Activations of layer 1 for rows ``at`` ... of the group, those of a step, in its ACTIVATION.

    The step before had ``last_rows`` rows, whose delta lies in layer 1's DELTA.
    """
    rows = rows_of_step(plan, step)
    n1 = layer_word(plan, 0, w.OUTPUTS)
    rate, keep = _rate_and_keep(plan)
    factor = dtype(_power(keep, at // plan[w.BATCH]))
    a = layer_pointer(plan, 0, w.ACTIVATION, dtype)
    bias = layer_pointer(plan, 0, w.BIAS, dtype)
    none = pointer(int64(0), dtype)
    offsets = pointer(address_of(space.private), int64)
    for i in range(at):
        offsets[i] = i * group.ldz
    function = function_of(plan, 0, step)
    kind, told = int64(BIAS), bias
    if is_called(function):
        strip = forward_strip(function, a, bias, rows, n1)
        kind = int64(CALL)
        told = pointer(words_of(Call(function.region, int64(FORWARD), strip)), dtype)
    elif function.code == SIGMOID:
        kind = int64(BIAS_SIGMOID)
    tasks = (n1 + _COLUMNS_OF_TASK - 1) // _COLUMNS_OF_TASK
    phase += 1
    task = next_task(space.team, phase, tasks, False)
    while task >= 0:
        j0 = task * _COLUMNS_OF_TASK
        count = min(_COLUMNS_OF_TASK, n1 - j0)
        if last_rows > 0:
            _take_delta(plan, group, at - last_rows, last_rows, j0, count, dtype)
        for i in range(rows):
            z = moved(group.z, (at + i) * group.ldz + j0)
            _copy_part(moved(a, i * n1 + j0), z, count, dtype)
        if at > 0:
            for i in range(0, rows, OUTPUTS):
                add_outer_products(
                    moved(a, i * n1), n1, group.deltas, offsets, None, None,
                    moved(group.gram, (at + i) * group.ldg), group.ldg, j0, count, at, None,
                    min(OUTPUTS, rows - i), factor, dtype(-rate), none, none, none,
                )  # fmt: skip
            if not _is_finite(moved(a, j0), n1, rows, count, dtype):
                pointer(plan[w.SETTINGS], float64)[w.LOSS] = _NAN
        apply_epilogue(
            kind, moved(a, j0), n1, rows, j0, count, told, moved(a, j0), n1, space.epilogue, dtype
        )
        task = next_task(space.team, phase, tasks, True)
    return phase


@jit
def _end_group(plan, group, rows, last_rows, space, phase, dtype):
    """Change W1 by all steps of a group of ``rows`` rows, of which the last has ``last_rows``."""
    n0 = layer_word(plan, 0, w.INPUTS)
    n1 = layer_word(plan, 0, w.OUTPUTS)
    batch = plan[w.BATCH]
    rate, keep = _rate_and_keep(plan)
    steps = (rows + batch - 1) // batch
    tasks = (n1 + _COLUMNS_OF_TASK - 1) // _COLUMNS_OF_TASK
    phase += 1
    task = next_task(space.team, phase, tasks, False)
    while task >= 0:
        j0 = task * _COLUMNS_OF_TASK
        count = min(_COLUMNS_OF_TASK, n1 - j0)
        _take_delta(plan, group, rows - last_rows, last_rows, j0, count, dtype)
        factor = 1.0
        for t in range(1, steps):
            factor *= keep
            for i in range((steps - 1 - t) * batch, (steps - t) * batch):
                _scale_row(moved(group.deltas, i * group.ldz), j0, count, factor, dtype)
        task = next_task(space.team, phase, tasks, True)
    epilogue = Epilogue(int64(NOTHING), group.z, group.z, int64(0))
    product = Product(
        layer_pointer(plan, 0, w.WEIGHT, dtype), n0, n1, n0, rows,
        matrix(address_of(group.deltas), int64(1), group.ldz, dtype),
        matrix(address_of(group.x), row_step(plan, dtype), int64(1), dtype),
        dtype(-rate), dtype(_power(keep, steps)), epilogue, whole(),
    )  # fmt: skip
    return multiply(product, space, phase, dtype)


@jit
def _run(context, worker, dtype):
    """Steps FIRST ... LAST - 1, group by group."""
    plan = pointer(context, int64)
    space = workspace(plan, worker, dtype)
    phase = int64(-1)
    group = _group_of(plan, dtype)
    batch = plan[w.BATCH]
    step = plan[w.FIRST]
    while step < plan[w.LAST]:
        end = min(plan[w.LAST], (step // plan[w.GROUP] + 1) * plan[w.GROUP])
        start = step * batch
        total = (end - 1 - step) * batch + rows_of_step(plan, end - 1)
        phase = _begin_group(plan, group, start, total, space, phase, dtype)
        last_rows = int64(0)
        for at in range(0, total, batch):
            now = step + at // batch
            phase = _begin_step(plan, group, at, last_rows, now, space, phase, dtype)
            phase = step_of_layers(plan, now, int64(1), worker, phase)
            last_rows = rows_of_step(plan, now)
        phase = _end_group(plan, group, total, last_rows, space, phase, dtype)
        step = end


@region
def _float32(context: int, worker: int) -> None:
    _run(context, worker, float32)


@region
def _float64(context: int, worker: int) -> None:
    _run(context, worker, float64)


regions = {"float32": _float32, "float64": _float64}
"""The region for each dtype of the network."""
