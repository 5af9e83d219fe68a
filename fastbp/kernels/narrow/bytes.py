"""The preprocessing of bytes, x * scale + shift, taken out of the inner loops.

A product with a preprocessed row is one with the row as it is:

    sum_j w[j] (x[j] scale[j] + shift[j]) = sum_j (w[j] scale[j]) x[j] + sum_j w[j] shift[j]

and the same holds for a gradient, column by column. So the weights are multiplied once for each
step and the gradient once, instead of every pixel of every row twice: 15% of a step from bytes. If
the scale is one number, not even they are, but the sums; else the weights times scale are kept
beside the weights, and to write them took 10% of a step on 16 rows. Only bytes are treated so.
Among them, shift and scale are of the same size as the data; for a float column of large mean and
small spread the sums would cancel, and it is folded first. Very few rows of bytes are too, on the
way forward (`narrow.delayed`): adding up W1 * shift would take longer.
"""

from __future__ import annotations

from numba import int64

from fastbp.kernels import plan as w
from fastbp.kernels.compile.jit import jit
from fastbp.kernels.linalg.operand import DTYPE_CODES
from fastbp.kernels.linalg.row_ir import OUTPUTS
from fastbp.kernels.narrow.weights import scale_weights
from fastbp.kernels.plan import layer_pointer, layer_word
from fastbp.kernels.simd.vectors import lanes_of, moved, pointer, store, zeros

__all__ = [
    "factor_of_sums",
    "fold_weights",
    "folded_weights",
    "folds_sums",
    "scale_of_sums",
    "shift_of_sums",
]

_BYTES = DTYPE_CODES["uint8"]


@jit
def folds_sums(plan):
    """Whether preprocessing is left to weights, gradients and sums, and not done to each pixel."""
    return plan[w.X_DTYPE] == _BYTES and plan[w.SCALE] != 0


@jit
def folded_weights(plan, dtype):
    """What X is multiplied by: FOLDED, or W1 if there is no scale or `factor_of_sums` has it."""
    if folds_sums(plan) and plan[w.ONE_SCALE] == 0:
        return pointer(plan[w.FOLDED], dtype)
    return layer_pointer(plan, 0, w.WEIGHT, dtype)


@jit
def factor_of_sums(plan, dtype):
    """What the sums are multiplied by: those of products with `folded_weights`, and gradients."""
    if folds_sums(plan) and plan[w.ONE_SCALE] != 0:
        return pointer(plan[w.SCALE], dtype)[0]
    return dtype(1)


@jit
def shift_of_sums(plan, dtype):
    """SHIFT if sums are to be shifted; else a null pointer."""
    return pointer(plan[w.SHIFT] if folds_sums(plan) else int64(0), dtype)


@jit
def scale_of_sums(plan, dtype):
    """SCALE if sums are to be scaled column by column, or a null pointer: see `factor_of_sums`."""
    by_columns = folds_sums(plan) and plan[w.ONE_SCALE] == 0
    return pointer(plan[w.SCALE] if by_columns else int64(0), dtype)


@jit
def fold_weights(plan, j0, count, constants, dtype):
    """Bring columns j0 ... j0 + count of `folded_weights` up to date, and add up W1 * shift there.

    ``constants`` points to a vector for each row of W1, whose lanes add up to its sum.
    """
    folded = pointer(int64(0) if plan[w.ONE_SCALE] != 0 else plan[w.FOLDED], dtype)
    n0 = layer_word(plan, 0, w.INPUTS)
    n1 = layer_word(plan, 0, w.OUTPUTS)
    weight = layer_pointer(plan, 0, w.WEIGHT, dtype)
    for o in range(n1):
        store(constants, o * lanes_of(dtype), zeros(dtype))
    for o in range(0, n1, OUTPUTS):
        target = moved(folded, o * n0) if plan[w.ONE_SCALE] == 0 else folded
        scale_weights(
            target, n0, moved(constants, o * lanes_of(dtype)), moved(weight, o * n0), n0,
            pointer(plan[w.SHIFT], dtype), pointer(plan[w.SCALE], dtype), j0, count,
            min(OUTPUTS, n1 - o),
        )  # fmt: skip
