"""The compiled matrix product as Python calls it: addresses, strides and scratch memory.

Nothing is checked here; `fastbp.arrays` and `fastbp.network` come with arrays that fit.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from fastbp.engine import scratch, threads
from fastbp.engine.inputs import CODES
from fastbp.engine.memory import address_of
from fastbp.engine.standby import standby
from fastbp.kernels.compile.jit import Region, launch
from fastbp.kernels.compile.prepare import Kernel, prepare
from fastbp.kernels.linalg import epilogue, gemm, macrokernel, reader, thin
from fastbp.kernels.linalg import product as gemm_product
from fastbp.kernels.linalg.product import run_helped, start_product

__all__ = ["COMPUTED", "DIRECT", "plain_product", "product", "readable", "writable_rows"]

Array = npt.NDArray[Any]

COMPUTED = (np.dtype(np.float32), np.dtype(np.float64))
"""What products are computed in."""

DIRECT = (*COMPUTED, np.dtype(np.uint8))
"""What operands are read as they are."""

# Multiply-adds times bytes of an element up to which one thread works alone. On AMD's Zen 5 Numba's
# launch takes 8 us to get a second one to work and 2 us to end, 5 us more if it has no cache in
# common with the first. Squares of 112 in float32 took 14.5 us alone, and with two threads 15 us or
# 20; of 128 19.3 alone, 18 or 23 with two; of 96 in float64 16.6 alone, 14 or 21 with two.
_SERIAL_PRODUCT = 6 << 20
# The same while a standby is awake (`fastbp.kernels.threads.standby`). On Zen 4 it made squares
# of 48 in float32 5.8 us of 6.5, of 64 7.4 of 9.4, of 96 13.5 of 21 (8.8 and 15 if it has no cache
# in common with the caller); of 40 in float64 6.6 of 7.1.
_SERIAL_PRODUCT_WITH_STANDBY = 1 << 19

# Multiply-adds times bytes of an element from which on a product looks out for signals.
_LONG_PRODUCT = 4 * threads.LONG_WORK

_THIN_WORK = 4
"""What an element of the large matrix of a thin product costs in multiply-adds, about."""

_LEAST_THIN = 1 << 14
"""Multiply-adds times bytes of an element from which on it counts whether a product is thin: 8 x 8
x 8 took 4.2 us instead of 3.9 with the question asked for all."""


def readable(array: Array) -> Array:
    """``array``, or a copy if compiled code could not read it where it lies."""
    size = array.dtype.itemsize
    if (
        array.dtype not in DIRECT
        or not array.dtype.isnative
        or not array.flags.aligned
        or any(stride % size for stride in array.strides)
    ):
        return np.array(array, dtype=array.dtype.newbyteorder("="), order="C")
    return array


def writable_rows(c: Array, readers: Sequence[Array]) -> bool:
    """Whether the kernels may write the matrix ``c`` in place while they read ``readers``."""
    return (
        c.dtype in COMPUTED
        and c.dtype.isnative
        and c.flags.aligned
        and (c.shape[1] <= 1 or c.strides[1] == c.itemsize)
        and c.strides[0] % c.itemsize == 0
        and (c.shape[0] <= 1 or c.strides[0] >= c.shape[1] * c.itemsize)
        and not any(np.may_share_memory(c, other) for other in readers)
    )


_SHARED = {4: gemm.shared_bytes(4), 8: gemm.shared_bytes(8)}
_PRIVATE = {
    size: -(-max(gemm.private_bytes(size), thin.private_bytes(size)) // 64) * 64 for size in (4, 8)
}
_THIN_REGIONS = {np.dtype(name): region for name, region in thin.regions.items()}
_READERS = {np.dtype(name): region for name, region in reader.regions.items()}
_found: dict[np.dtype[Any], tuple[Region, int]] = {}


def _crew(work: int) -> tuple[int, int]:
    """For so many multiply-adds times bytes: threads, and the mailbox of a standby, or 0.

    The standby makes two of one thread, or does away with a launch of so few that it is most of
    the time.
    """
    if work <= _SERIAL_PRODUCT_WITH_STANDBY:
        return 1, 0
    most = threads.get_num_threads()
    if most == 1:
        return 1, 0
    workers = 1 if work <= _SERIAL_PRODUCT else most
    return workers, standby.mailbox if most == 2 or work <= 2 * _SERIAL_PRODUCT else 0


def _product_region(
    dtype: np.dtype[Any], work: int, *, converts: bool = False
) -> tuple[Region, int]:
    """The region of all products but thin ones, and the address of the one that it calls.

    What else a product of so much work needs is compiled beside them.
    """
    found = _found.get(dtype)
    if found is None:
        region, block = gemm_product.regions[dtype.name], macrokernel.regions[dtype.name]
        more: list[Kernel] = [run_helped if converts else start_product]
        if converts:
            more.append(_READERS[dtype])
        prepare(region, block, *more, ahead=[launch] if _crew(work)[0] > 1 else [])
        found = _found[dtype] = region, block.address
    return found


def _thin_region(
    dtype: np.dtype[Any],
    m: int,
    n: int,
    k: int,
    a_row: int,
    a_column: int,
    b_row: int,
    b_column: int,
) -> tuple[Region | None, int]:
    """The region for a thin product, and about how many multiply-adds times bytes it costs.

    Of operands of its own dtype, with the distances of their rows and columns in elements.
    """
    size = dtype.itemsize
    work = m * n * k * size
    if work >= _LEAST_THIN and min(m, n) <= thin.MOST:
        # The distances of the large matrix's elements, and along k those of the thin one's.
        row, column, step = (a_row, a_column, b_row) if n <= m else (b_column, b_row, a_column)
        plain = row == 1 or column == 1
        if plain and thin.is_thin(m, n, k, size, by_rows=row != 1, in_place=step == 1):
            return _THIN_REGIONS[dtype], _THIN_WORK * max(m, n) * k * size
    return None, work


def _operand(
    matrix: Array, folding: tuple[Array, Array] | None, dtype: np.dtype[Any]
) -> tuple[int, ...]:
    """The words of an operand of a product in ``dtype``."""
    size = matrix.itemsize
    row, column = matrix.strides
    rows, columns = matrix.shape
    if columns == 1:
        column = size  # a stride that no element uses may be anything; this one packs fastest
    elif rows == 1:
        row = columns * size
    address, code = address_of(matrix), CODES[matrix.dtype]
    scale = shift = read = 0
    if folding is not None:
        scale, shift = map(address_of, folding)
    if folding is not None or matrix.dtype != dtype:
        read = _READERS[dtype].address
    return address, code, row // size, column // size, 0, shift, scale, read


def product(
    a: Array,
    b: Array,
    c: Array,
    *,
    alpha: float = 1.0,
    beta: float = 0.0,
    kind: int = epilogue.NOTHING,
    bias: Array | None = None,
    folding: tuple[Array, Array] | None = None,
    folding_of_b: tuple[Array, Array] | None = None,
) -> None:
    """C <- epilogue(beta * C + alpha * A B), in place; nothing is checked.

    Parameters
    ----------
    a : ndarray of shape (m, k)
        float32, float64 or uint8, as `readable` leaves it.
    b : ndarray of shape (k, n)
        The same.
    c : ndarray of shape (m, n)
        float32 or float64, rows contiguous, no memory shared with `a`, `b` or `bias`.
    alpha, beta : float, optional
        beta = 0: what is in C does not matter.
    kind : int, optional
        An epilogue of `fastbp.kernels.linalg.epilogue`.
    bias : ndarray of shape (n,), optional
        Of C's dtype, contiguous; needed by the epilogues with a bias.
    folding : tuple of two ndarrays of shape (k,), optional
        Scale and shift of A's columns, of C's dtype, or float64 if A is: A is taken as
        A * scale + shift.
    folding_of_b : tuple of two ndarrays of shape (n,), optional
        The same for B.
    """
    m, n = c.shape
    k = a.shape[1]
    if m == 0 or n == 0:
        return
    if k == 0:
        a, b = np.zeros((m, 1), c.dtype), np.zeros((1, n), c.dtype)  # an empty sum is zero
        k, folding, folding_of_b = 1, None, None
    itemsize = c.itemsize
    shared, private = _SHARED[itemsize], _PRIVATE[itemsize]
    plain = a.dtype == b.dtype == c.dtype and folding is None and folding_of_b is None
    work = m * n * k * itemsize
    if not plain:
        _product_region(c.dtype, work, converts=True)
    left, right = _operand(a, folding, c.dtype), _operand(b, folding_of_b, c.dtype)
    region, block = None, 0
    if plain:
        region, work = _thin_region(c.dtype, m, n, k, *left[2:4], *right[2:4])
    if region is None:
        region, block = _product_region(c.dtype, work)
    workers, mailbox = _crew(work)
    space = scratch.borrow()
    try:
        address = space.address(shared + private * max(workers, 2))
        pack_into, buffer, start, team, words = space.product
        pack_into(
            buffer, start,
            team, address, address + shared, private, 0, workers, block, 0, *left, *right,
            address_of(c), c.strides[0] // itemsize, m, n, k, alpha, beta,
            kind, 0 if bias is None else address_of(bias), 0, 0, 0, 0, -1, 0,
        )  # fmt: skip
        if work > _LONG_PRODUCT:
            threads.run(region, words, workers, long=space)
            return
        if mailbox:
            if run_helped(region.address, words, workers, mailbox):
                return
            standby.missed()
        threads.run(region, words, workers)
    finally:
        space.give_back()


def plain_product(a: Array, b: Array, c: Array) -> bool:
    """C <- A B in less time for the call; nothing is checked but what the memory has in common.

    Returns False, with nothing done, if C shares memory with A or B, or if it may take long.

    Parameters
    ----------
    a, b : ndarray of shapes (m, k), (k, n)
        Of C's dtype, aligned, contiguous by rows or by columns.
    c : ndarray of shape (m, n)
        float32 or float64, C-contiguous.
    """
    m, n = c.shape
    k = a.shape[1]
    if m == 0 or n == 0 or k == 0:
        c.fill(0)
        return True
    at_a, at_b, at_c = address_of(a), address_of(b), address_of(c)
    end = at_c + c.nbytes
    if (at_a < end and at_c < at_a + a.nbytes) or (at_b < end and at_c < at_b + b.nbytes):
        return False
    dtype = c.dtype
    itemsize = dtype.itemsize
    shared, private = _SHARED[itemsize], _PRIVATE[itemsize]
    a_by_rows, b_by_rows = a.flags.c_contiguous, b.flags.c_contiguous
    region, block, work = None, 0, m * n * k * itemsize
    if work >= _LEAST_THIN and (m <= thin.MOST or n <= thin.MOST):  # spares others the call
        steps = (k, 1) if a_by_rows else (1, m), (n, 1) if b_by_rows else (1, k)
        region, work = _thin_region(dtype, m, n, k, *steps[0], *steps[1])
    if region is None:
        region, block = _product_region(dtype, work)
    if work > _LONG_PRODUCT:
        return False
    workers, mailbox = _crew(work)
    space = scratch.borrow()
    try:
        address, words = space.address(shared + private * max(workers, 2)), space.product[4]
        helped = start_product(
            region.address, block, words, address, shared, private, workers, mailbox, CODES[dtype],
            at_a, a_by_rows, at_b, b_by_rows, at_c, m, n, k,
        )  # fmt: skip
        if helped:
            return True
        if mailbox:
            standby.missed()
        if workers > 1:
            threads.run(region, words, workers)
        return True
    finally:
        space.give_back()
