"""Sums of squares of weights, from which a penalty on them is computed.

A block of weights is added up by vectors in the type of the network, and blocks in float64.
"""

from __future__ import annotations

from numba import float64, int64

from fastbp.kernels.compile.jit import jit
from fastbp.kernels.simd.vectors import (
    fma,
    lanes_of,
    load,
    moved,
    reduce_add,
    zeros,
)

__all__ = ["BLOCK", "sum_of_squares"]

BLOCK = 4096
"""Weights of a block: float32's rounding stays below 2^-24 times the 128 additions of a lane."""


@jit
def _block(values, count, dtype):
    lanes = lanes_of(dtype)
    whole = count // (2 * lanes) * (2 * lanes)
    a = b = zeros(dtype)
    for i in range(0, whole, 2 * lanes):
        p, q = load(values, i, dtype), load(values, i + lanes, dtype)
        a, b = fma(p, p, a), fma(q, q, b)
    total = float64(reduce_add(a + b))
    for i in range(whole, count):
        total += float64(values[i]) * float64(values[i])
    return total


@jit
def sum_of_squares(values, count, dtype):
    """Of ``count`` numbers that follow each other, in float64."""
    total = 0.0
    for begin in range(int64(0), count, BLOCK):
        total += _block(moved(values, begin), min(int64(BLOCK), count - begin), dtype)
    return total
