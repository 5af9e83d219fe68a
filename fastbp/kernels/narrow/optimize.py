"""Updates by an optimizer that needs a gradient, by way of the region of `functions.updates`.

Plain descent without a penalty needs none, and is compiled into its callers.
"""

from __future__ import annotations

from numba import int64

from fastbp.kernels import plan as w
from fastbp.kernels.compile.calls import call_region, words_of
from fastbp.kernels.compile.jit import jit
from fastbp.kernels.functions.strip import Strip, no_dropout
from fastbp.kernels.plan import layer_word, numbers_of
from fastbp.kernels.simd.vectors import address_of, moved, pointer

__all__ = ["needs_gradient", "optimize"]


@jit
def needs_gradient(plan):
    """Whether weights are updated by a gradient in memory, and not straight from registers."""
    return plan[w.UPDATE_REGION] != 0


@jit
def _address(plan, layer, field, at, dtype):
    """The address of element ``at`` of one of a layer's arrays, or 0 if there is no such array."""
    start = layer_word(plan, layer, field)
    return address_of(moved(pointer(start, dtype), at)) if start != 0 else start


@jit
def optimize(plan, step, layer, kind, at, gradient, count, dtype):
    """Update elements at ... at + count of W or b of a layer (``kind``) by their gradient.

    ``gradient`` points to that of element ``at``. Biases are not decayed.
    """
    numbers = numbers_of(plan, step, kind == w.WEIGHT, 1.0)
    first, second = int64(w.BIAS_1), int64(w.BIAS_2)
    if kind == w.WEIGHT:
        first, second = int64(w.WEIGHT_1), int64(w.WEIGHT_2)
    strip = Strip(
        plan[w.OPTIMIZER], address_of(gradient), count, int64(1), count, int64(0),
        _address(plan, layer, kind, at, dtype), _address(plan, layer, first, at, dtype),
        _address(plan, layer, second, at, dtype), count, no_dropout(), words_of(numbers),
    )  # fmt: skip
    call_region(plan[w.UPDATE_REGION], words_of(strip), 0)
