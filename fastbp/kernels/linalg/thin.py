"""Thin products: a matrix by a vector, or by up to MOST of them.

    C <- epilogue(beta * C + alpha * A B),      A (m, k), B (k, n), where m or n is at most MOST

Such a product reads its large matrix once, so that packing it would take longer than multiplying,
and the tiles of `gemm` would be mostly padding. Where C is wider than tall its transpose is
computed, B^T A^T; so the large matrix L (p, k) meets a thin one T (k, q), q <= MOST, T^T's rows
contiguous (they are copied if they are not). L is read where it lies, in one of two ways:

    its rows are contiguous       dot products of GROUP rows of L with the rows of T^T
    its columns are contiguous    GROUP columns of L at a time, each times its element of T^T, are
                                  added to the rows of C^T: outer products

Both are the inner loops of a narrow first layer, see `row_products`. The rows of C are cut into
pieces, and k into splits where there are few of them; units of both are shared by the threads. The
cuts, and with them the bits, follow from the shapes alone. The twins of the two ways are
`tests.twins.thin_dots` and `tests.twins.thin_outer_sums`.
"""

from __future__ import annotations

from collections import namedtuple

from numba import float32, float64, int64

from fastbp.kernels.compile import machine
from fastbp.kernels.compile.calls import words_at
from fastbp.kernels.compile.jit import jit, region
from fastbp.kernels.linalg.epilogue import apply_epilogue
from fastbp.kernels.linalg.operand import matrix, tile_constant, transposed
from fastbp.kernels.linalg.packing import copy_rows
from fastbp.kernels.linalg.product import ProductPlan
from fastbp.kernels.linalg.row_products import GROUP, OUTPUTS, add_outer_products, add_products
from fastbp.kernels.simd.vectors import (
    fma,
    lanes_of,
    load,
    load_part,
    moved,
    pointer,
    recast,
    reduce_add,
    splat,
    store,
    store_part,
    zeros,
)
from fastbp.kernels.threads.context import workspace
from fastbp.kernels.threads.team import (
    TICKET_BITS,
    claim_near,
    first_near_task,
    following_task,
    next_task,
)

__all__ = ["MOST", "is_thin", "private_bytes", "regions"]

MOST = 2 * OUTPUTS
"""Rows of T^T at most. With 12, products were a fifth faster than `gemm`'s where k is long, and a
fifth slower where not; with 16 slower in most (benchmarks/sweep_thin.py)."""

# The least k, with which `gemm` was as fast or slower on average on Zen 4, in both types.
_LEAST_DEPTH = 48  # times q, for dot products, whose lanes have to be added up
_DEEP = 1024  # for outer products of more than OUTPUTS vectors

_ROWS = 32  # rows of L in a piece, if its rows are contiguous: their sums stay in level 1
_STRETCH = 4096  # bytes of a row of L that are multiplied at a time, or of C^T that are added to
_COLUMNS = 64  # columns of L that are added at a time to a piece of C^T that fits the registers
_SPLITS = 8  # of k, at most, where there are fewer pieces than that
_LEAST_SPLIT = 512  # elements of k
_COPIED = 4096  # elements of each row of T^T that are copied at a time

_Thin = namedtuple("_Thin", ["large", "thin", "ld_thin", "vectors", "turned"])
"""L as an operand; T^T's address, the distance of its rows, and q; and whether the product is
computed as its transpose."""


def is_thin(m: int, n: int, k: int, itemsize: int, by_rows: bool, in_place: bool) -> bool:
    """Whether a product belongs here, if rows or columns of its large matrix are contiguous.

    ``by_rows`` says which, and ``in_place`` that T^T's rows are. Both matrices are floats of the
    product's type.
    """
    q = min(m, n)
    if q > MOST or k < (_LEAST_DEPTH * q if by_rows else 0 if q <= OUTPUTS else _DEEP):
        return False
    shape = machine.tiles(itemsize)
    uncut = _SPLITS * max(_ROWS, _STRETCH // itemsize)  # rows of C from which on k is not cut
    partials = _SPLITS * q * min(max(m, n), uncut)
    copy = 0 if in_place else q * (k + shape.lanes)
    return copy + partials <= shape.partials


def private_bytes(itemsize: int) -> int:
    """Bytes of the buffer that each thread needs."""
    lanes = machine.tiles(itemsize).lanes
    return (2 * _COLUMNS + _ROWS * MOST * lanes) * itemsize + MOST * _STRETCH


@jit
def _dots(out, ld_out, it, first, rows, start, count, own, dtype):
    """out[o, i] = the sum over ``count`` k from ``start`` of L[first + i, k] T[k, o]: by rows."""
    lanes = lanes_of(dtype)
    stretch = _STRETCH // tile_constant(dtype, "itemsize")
    offsets = recast(own, int64)
    sums = moved(own, 2 * _COLUMNS)
    x = pointer(it.large.address, dtype)
    thin = pointer(it.thin, dtype)
    size = GROUP * it.vectors * lanes
    for t in range(0, (rows + GROUP - 1) // GROUP * size, lanes):
        store(sums, t, zeros(dtype))
    for k0 in range(start, start + count, stretch):
        length = min(stretch, start + count - k0)
        for g in range(0, rows, GROUP):
            for i in range(GROUP):
                offsets[i] = (first + g + i) * it.large.row
            for o in range(0, it.vectors, OUTPUTS):
                add_products(
                    moved(sums, g // GROUP * size + o * GROUP * lanes), x, offsets, None, None,
                    moved(thin, o * it.ld_thin), it.ld_thin, k0, length, min(GROUP, rows - g),
                    min(OUTPUTS, it.vectors - o), None,
                )  # fmt: skip
    for i in range(rows):
        for o in range(it.vectors):
            at = i // GROUP * size + (o * GROUP + i % GROUP) * lanes
            out[o * ld_out + i] = reduce_add(load(sums, at, dtype))


@jit
def _outer_sums(out, ld_out, it, first, rows, start, count, own, dtype):
    """The same where the columns of L are contiguous."""
    offsets = recast(own, int64)
    x = pointer(it.large.address, dtype)
    thin = pointer(it.thin, dtype)
    nothing = pointer(int64(0), dtype)
    zero = int64(0)
    step = _COLUMNS if rows <= 4 * lanes_of(dtype) else GROUP
    for k0 in range(start, start + count, step):
        length = min(step, start + count - k0)
        for i in range(length):
            offsets[i] = (k0 + i) * it.large.column + first
        keep = dtype(0) if k0 == start else dtype(1)
        for o in range(0, it.vectors, OUTPUTS):
            add_outer_products(
                moved(out, o * ld_out), ld_out, x, offsets, None, None,
                moved(thin, o * it.ld_thin + k0), it.ld_thin, zero, rows, length, zero,
                min(OUTPUTS, it.vectors - o), keep, dtype(1), nothing, nothing, nothing,
            )  # fmt: skip


@jit
def _put(c, at, count, total, alpha, beta, dtype):
    """c[at:] <- beta c[at:] + alpha total, ``count`` lanes, rounded as `gemm` does."""
    factor = splat(alpha, dtype)
    if beta != 0:
        old = load_part(c, at, count, dtype)
        store_part(c, at, count, fma(factor, total, splat(beta, dtype) * old))
    else:
        store_part(c, at, count, factor * total)


@jit
def _end(c, ldc, partials, ld_partials, apart, splits, rows, columns, alpha, beta, dtype):
    """C (rows, columns) <- beta C + alpha * sum of the partials, all with contiguous rows."""
    lanes = lanes_of(dtype)
    for i in range(rows):
        for j in range(0, columns, lanes):
            count = min(lanes, columns - j)
            at = i * ld_partials + j
            total = load_part(partials, at, count, dtype)
            for s in range(1, splits):
                total += load_part(partials, s * apart + at, count, dtype)
            _put(c, i * ldc + j, count, total, alpha, beta, dtype)


@jit
def _end_turned(c, ldc, partials, ld_partials, apart, splits, rows, columns, alpha, beta, dtype):
    """The same where the partials are those of C^T, (columns, rows)."""
    for i in range(rows):
        for j in range(columns):
            at = j * ld_partials + i
            total = partials[at]
            for s in range(1, splits):
                total += partials[s * apart + at]
            if beta != 0:
                _put(c, i * ldc + j, int64(1), splat(total, dtype), alpha, beta, dtype)
            else:
                c[i * ldc + j] = alpha * total


@jit
def _finish(plan, it, partials, ld_partials, apart, splits, first, rows, dtype):
    """Write rows ``first`` and on of the product, the sum of the partials of its transpose."""
    c, ldc = pointer(plan.c, dtype), plan.ldc
    alpha, beta = dtype(plan.alpha), dtype(plan.beta)
    bias = pointer(plan.bias, dtype)
    zero = int64(0)
    if it.turned:
        corner = moved(c, first)
        _end(
            corner, ldc, partials, ld_partials, apart, splits, it.vectors, rows, alpha, beta, dtype
        )
        apply_epilogue(
            plan.epilogue, corner, ldc, it.vectors, first, rows, bias, bias, zero,
            plan.header.epilogue, dtype,
        )  # fmt: skip
    else:
        corner = moved(c, first * ldc)
        if it.vectors == 1 and ldc == 1:
            _end(
                corner, zero, partials, ld_partials, apart, splits, zero + 1, rows, alpha, beta,
                dtype,
            )  # fmt: skip
        else:
            _end_turned(
                corner, ldc, partials, ld_partials, apart, splits, rows, it.vectors, alpha, beta,
                dtype,
            )  # fmt: skip
        apply_epilogue(
            plan.epilogue, corner, ldc, rows, zero, it.vectors, bias, bias, zero,
            plan.header.epilogue, dtype,
        )  # fmt: skip


@jit
def _piece_rows(by_rows, dtype):
    return int64(_ROWS) if by_rows else _STRETCH // tile_constant(dtype, "itemsize")


@jit
def _even(n, pieces, step):
    """The size of one of ``pieces`` of n, in whole steps."""
    return ((n + pieces - 1) // pieces + step - 1) // step * step


@jit
def _split_depth(rows, k, piece, dtype):
    """Elements of k in a split."""
    pieces = (rows + piece - 1) // piece
    splits = int64(1) if pieces >= _SPLITS else min(k // _LEAST_SPLIT, _SPLITS)
    return _even(k, max(splits, 1), lanes_of(dtype))


@jit
def _copy_thin(plan, source, q, k, phase, dtype):
    """Copy T^T to rows in the shared buffer, which begins with them: their distance."""
    ld = _even(k, int64(1), lanes_of(dtype))
    piece = int64(_COPIED)
    tasks = (k + piece - 1) // piece
    team = pointer(plan.header.team, int64)
    target = pointer(plan.header.shared, dtype)
    task = next_task(team, phase, tasks, False)
    while task >= 0:
        k0 = task * piece
        copy_rows(
            moved(target, k0),
            ld,
            source,
            int64(0),
            q,
            k0,
            min(piece, k - k0),
            plan.header.copy,
            dtype,
        )
        task = next_task(team, phase, tasks, True)
    return ld


@jit
def _run(context, worker, dtype):
    plan = words_at(context, ProductPlan)
    a, b = plan.a, plan.b
    m, n, k = plan.m, plan.n, plan.k
    space = workspace(pointer(context, int64), worker, dtype)
    team, shared, own = space.team, space.shared, space.private
    phase = int64(0)
    turned = m < n
    large, thin, rows, q = a, transposed(b), m, n
    if turned:
        large, thin, rows, q = transposed(b), a, n, m
    ld = thin.row
    if thin.column != 1:
        ld = _copy_thin(plan, thin, q, k, phase, dtype)
        thin = matrix(plan.header.shared, ld, int64(1), dtype)
        shared = moved(shared, q * ld)
        phase += 1
    by_rows = large.column == 1 and large.row != 1
    piece = _piece_rows(by_rows, dtype)
    deep = _split_depth(rows, k, piece, dtype)
    it = _Thin(large, thin.address, ld, q, turned)
    splits = (k + deep - 1) // deep
    pieces = (rows + piece - 1) // piece
    units = pieces * splits
    each = (units + TICKET_BITS - 1) // TICKET_BITS
    tasks = (units + each - 1) // each
    private = moved(own, 2 * _COLUMNS + _ROWS * MOST * lanes_of(dtype))
    home = worker * tasks // plan.header.workers % tasks
    task = first_near_task(team, phase, tasks, home)
    while task >= 0:
        for unit in range(task * each, min((task + 1) * each, units)):
            split = unit // pieces
            first = (unit - split * pieces) * piece
            count = min(piece, rows - first)
            out, ld_out = private, piece
            if splits > 1:
                out, ld_out = moved(shared, split * q * rows + first), rows
            start = split * deep
            length = min(deep, k - start)
            if by_rows:
                _dots(out, ld_out, it, first, count, start, length, own, dtype)
            else:
                _outer_sums(out, ld_out, it, first, count, start, length, own, dtype)
            if splits == 1:
                _finish(plan, it, out, ld_out, int64(0), splits, first, count, dtype)
        upcoming = claim_near(team, phase, tasks, home)
        task = following_task(team, phase, tasks, upcoming)
    if splits > 1:
        phase += 1
        task = next_task(team, phase, pieces, False)
        while task >= 0:
            first = task * piece
            count = min(piece, rows - first)
            partials = moved(shared, first)
            _finish(plan, it, partials, rows, q * rows, splits, first, count, dtype)
            task = next_task(team, phase, pieces, True)


@region
def _float32(context: int, worker: int) -> None:
    _run(context, worker, float32)


@region
def _float64(context: int, worker: int) -> None:
    _run(context, worker, float64)


regions = {"float32": _float32, "float64": _float64}
"""The region for each dtype; compiled when it is first used."""
