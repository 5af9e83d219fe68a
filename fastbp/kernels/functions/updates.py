"""The update of a strip of weights by an optimizer: a region.

Called by address with a `Strip`: ``c`` is the gradient, ``other`` the weights, ``second`` and
``third`` what the optimizer keeps of them, ``numbers`` has `optimizers.Numbers`. The gradient is
left as it is.
"""

from __future__ import annotations

from numba import float32, float64

from fastbp.kernels.compile.calls import words_at
from fastbp.kernels.compile.jit import jit, region
from fastbp.kernels.functions import optimizers as f
from fastbp.kernels.functions.optimizers import Numbers
from fastbp.kernels.functions.strip import Strip
from fastbp.kernels.simd.vectors import (
    fma,
    lanes_of,
    load,
    load_part,
    moved,
    pointer,
    splat,
    store,
    store_part,
    zeros,
)

__all__ = ["regions"]


def _loop(function, reads_first, reads_second):
    """A loop over a strip, for an optimizer that keeps up to two numbers of each weight."""

    @jit
    def rows(it, n, dtype):
        lanes = lanes_of(dtype)
        whole = it.columns // lanes * lanes
        factor, penalty = splat(n.factor, dtype), splat(n.penalty, dtype)
        m = v = zeros(dtype)
        for i in range(it.rows):
            gradient = moved(pointer(it.c, dtype), i * it.ldc)
            weight = moved(pointer(it.other, dtype), i * it.ld)
            first = moved(pointer(it.second, dtype), i * it.ld)
            second = moved(pointer(it.third, dtype), i * it.ld)
            for j in range(0, whole, lanes):
                w = load(weight, j, dtype)
                g = fma(penalty, w, factor * load(gradient, j, dtype))
                if reads_first:
                    m = load(first, j, dtype)
                if reads_second:
                    v = load(second, j, dtype)
                w, m, v = function(w, g, m, v, n, dtype)
                store(weight, j, w)
                if reads_first:
                    store(first, j, m)
                if reads_second:
                    store(second, j, v)
            if whole < it.columns:
                rest = it.columns - whole
                w = load_part(weight, whole, rest, dtype)
                g = fma(penalty, w, factor * load_part(gradient, whole, rest, dtype))
                if reads_first:
                    m = load_part(first, whole, rest, dtype)
                if reads_second:
                    v = load_part(second, whole, rest, dtype)
                w, m, v = function(w, g, m, v, n, dtype)
                store_part(weight, whole, rest, w)
                if reads_first:
                    store_part(first, whole, rest, m)
                if reads_second:
                    store_part(second, whole, rest, v)

    return rows


_sgd_rows = _loop(f.sgd, False, False)
_momentum_rows = _loop(f.momentum, True, False)
_nesterov_rows = _loop(f.nesterov, True, False)
_adam_rows = _loop(f.adam, True, True)


@jit
def _run(context, dtype):
    it = words_at(context, Strip)
    numbers = words_at(it.numbers, Numbers)
    if it.code == f.ADAM:
        _adam_rows(it, numbers, dtype)
    elif it.code == f.MOMENTUM:
        _momentum_rows(it, numbers, dtype)
    elif it.code == f.NESTEROV:
        _nesterov_rows(it, numbers, dtype)
    else:
        _sgd_rows(it, numbers, dtype)


@region
def _float32(context: int, worker: int) -> None:
    _run(context, float32)


@region
def _float64(context: int, worker: int) -> None:
    _run(context, float64)


regions = {"float32": _float32, "float64": _float64}
"""The region for each dtype of the network."""
