"""What happens to a strip of C when its sums are complete, while it lies in the cache.

Contract: C's rows are contiguous and ldc elements apart; columns j0 ... j0 + columns of the whole
product lie at c; ``bias`` is indexed by the column of the whole product; ``other`` points to the
element that belongs to c[0, 0] of a matrix of C's shape, its rows ``ld_other`` apart.
"""

from __future__ import annotations

from collections import namedtuple

from fastbp.kernels.compile.jit import jit
from fastbp.kernels.functions.activations import sigmoid
from fastbp.kernels.simd.vectors import (
    lanes_of,
    load,
    load_part,
    moved,
    splat,
    store,
    store_part,
)

__all__ = ["BIAS", "BIAS_SIGMOID", "DERIVATIVE", "NOTHING", "Epilogue", "apply_epilogue"]

NOTHING, BIAS, BIAS_SIGMOID, DERIVATIVE = 0, 1, 2, 3

Epilogue = namedtuple("Epilogue", ["kind", "bias", "other", "ld_other"])
"""One of the kinds, and typed pointers to what it reads."""


@jit
def _finish(x, other, kind, dtype):
    """One vector: x is of C, ``other`` the bias or the activation that belongs to it."""
    if kind == BIAS_SIGMOID:
        return sigmoid(x + other, dtype)
    if kind == BIAS:
        return x + other
    return x * (other * (splat(1.0, dtype) - other))


@jit
def _finish_row(row, other, columns, kind, dtype):
    lanes = lanes_of(dtype)
    whole = columns // lanes * lanes
    for j in range(0, whole, lanes):
        store(row, j, _finish(load(row, j, dtype), load(other, j, dtype), kind, dtype))
    if whole < columns:
        rest = columns - whole
        x = load_part(row, whole, rest, dtype)
        y = load_part(other, whole, rest, dtype)
        store_part(row, whole, rest, _finish(x, y, kind, dtype))


@jit
def apply_epilogue(kind, c, ldc, rows, j0, columns, bias, other, ld_other, dtype):
    """Apply an epilogue to ``rows`` x ``columns`` elements at c.

    NOTHING        C as it is
    BIAS           C + bias
    BIAS_SIGMOID   sigmoid(C + bias): the forward pass of a layer
    DERIVATIVE     C * a (1 - a), a = other: delta of a sigmoid layer with activation a
    """
    if kind == NOTHING:
        return
    for i in range(rows):
        beside = moved(other, i * ld_other) if kind == DERIVATIVE else moved(bias, j0)
        _finish_row(moved(c, i * ldc), beside, columns, kind, dtype)
