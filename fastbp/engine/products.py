"""The compiled matrix product as Python calls it: addresses, strides and scratch memory.

Nothing is checked here; `fastbp.arrays` and `fastbp.network` come with arrays that fit.
"""

from __future__ import annotations

import ctypes
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
from fastbp.kernels.linalg import epilogue, gemm, macrokernel, reader, split_k, thin
from fastbp.kernels.linalg import product as gemm_product
from fastbp.kernels.linalg.product import (
    WANTED_SPLIT,
    WANTS_SPLIT,
    run_helped,
    start_product,
)

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
_READERS = {
    (np.dtype(product), np.dtype(operand)): region
    for (product, operand), region in reader.readers.items()
}


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


class _Code:
    """Addresses of the regions of products of a dtype; 0 for those that no product has needed."""

    def __init__(self, dtype: np.dtype[Any]) -> None:
        self.name = dtype.name
        self.region = gemm_product.regions[dtype.name]
        self.block = self.split = self.epilogue = self.copy = 0

    def prepare(self, work: int, first: Kernel, *more: Kernel) -> None:
        """Have the regions compiled that every product needs but thin ones, and ``more``.

        ``first`` is the function that Python calls, for a product of so much ``work``.
        """
        block, copy = macrokernel.regions[self.name], reader.copies[self.name]
        ahead = [launch] if _crew(work)[0] > 1 else []
        prepare(self.region, block, copy, first, *more, ahead=ahead)
        # The block's last: other threads take it for the sign that all are there.
        self.copy, self.block = copy.address, block.address

    def need_split(self) -> int:
        """Have the region compiled by which a product is cut along k."""
        self.split = split_k.regions[self.name].address
        return self.split

    def need_epilogue(self) -> int:
        """Have the region compiled for bias and activation."""
        self.epilogue = epilogue.regions[self.name].address
        return self.epilogue

    def need_copy(self) -> int:
        """Have the region compiled that copies rows."""
        self.copy = reader.copies[self.name].address
        return self.copy


_code = {dtype: _Code(dtype) for dtype in COMPUTED}


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
        read = _READERS[dtype, matrix.dtype].address
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
        Of C's dtype, contiguous; needed by the epilogues with a bias. For CALL an array of the
        words of an `epilogue.Call`.
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
    code = _code[c.dtype]
    region: Region | None = None
    if plain:
        left, right = _operand(a, None, c.dtype), _operand(b, None, c.dtype)
        region, work = _thin_region(c.dtype, m, n, k, *left[2:4], *right[2:4])
    if region is None and not code.block:
        foreign = [_READERS[c.dtype, x.dtype] for x in (a, b) if not plain]
        after = [] if kind == epilogue.NOTHING else [epilogue.regions[code.name]]
        code.prepare(work, run_helped, *foreign, *after)
    if not plain:
        left, right = _operand(a, folding, c.dtype), _operand(b, folding_of_b, c.dtype)
    if not code.copy:
        code.need_copy()
    if kind != epilogue.NOTHING and not code.epilogue:
        code.need_epilogue()
    workers, mailbox = _crew(work)
    space = scratch.borrow()
    try:
        address = space.address(shared + private * max(workers, 2))
        pack_into, buffer, start, team, words = space.product
        while True:
            pack_into(
                buffer, start,
                team, address, address + shared, private, 0, workers,
                0, code.block, code.split, code.epilogue, code.copy, *left, *right,
                address_of(c), c.strides[0] // itemsize, m, n, k, alpha, beta,
                kind, 0 if bias is None else address_of(bias), 0, 0, 0, 0, -1, 0, 0,
            )  # fmt: skip
            _carry_out(region or code.region, words, workers, mailbox, work, space)
            if code.split or not _wants_split(words):
                return
            code.need_split()
    finally:
        space.give_back()


def _carry_out(
    region: Region, words: int, workers: int, mailbox: int, work: int, space: scratch.Workspace
) -> None:
    """Run a product whose plan is written."""
    if work > _LONG_PRODUCT:
        threads.run(region, words, workers, long=space)
        return
    if mailbox:
        if run_helped(region.address, words, workers, mailbox):
            return
        standby.missed()
    threads.run(region, words, workers)


def _wants_split(words: int) -> bool:
    """Whether a product that was run has done nothing, as it is to be cut along k."""
    return bool(ctypes.c_int64.from_address(words + 8 * WANTS_SPLIT).value)


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
    code, work = _code[dtype], m * n * k * itemsize
    region: Region | None = None
    if work >= _LEAST_THIN and (m <= thin.MOST or n <= thin.MOST):  # spares others the call
        steps = (k, 1) if a_by_rows else (1, m), (n, 1) if b_by_rows else (1, k)
        region, work = _thin_region(dtype, m, n, k, *steps[0], *steps[1])
    if region is None:
        region = code.region
        if not code.block:
            code.prepare(work, start_product)
    elif not code.copy:
        code.need_copy()
    if work > _LONG_PRODUCT:
        return False
    workers, mailbox = _crew(work)
    space = scratch.borrow()
    try:
        address, words = space.address(shared + private * max(workers, 2)), space.product[4]
        while True:
            outcome = start_product(
                region.address, code.block, code.split, code.copy, words, address, shared, private,
                workers, mailbox, CODES[dtype], at_a, a_by_rows, at_b, b_by_rows, at_c, m, n, k,
            )  # fmt: skip
            if outcome == 0:
                if mailbox:
                    standby.missed()
                if workers > 1:
                    threads.run(region, words, workers)
                    if not code.split and _wants_split(words):
                        outcome = WANTED_SPLIT
            if outcome != WANTED_SPLIT:
                return True
            code.need_split()
    finally:
        space.give_back()
