"""The preprocessing of bytes, x * scale + shift, taken out of the inner loops.

A product with a preprocessed row is one with the row as it is:

    sum_j w[j] (x[j] scale[j] + shift[j]) = sum_j (w[j] scale[j]) x[j] + sum_j w[j] shift[j]

and the same holds for a gradient, column by column. So the weights are multiplied once for each
step and the gradient once, instead of every pixel of every row twice: 15% of a step from bytes.
Only bytes are treated so. Among them, shift and scale are of the same size as the data; for a
float column of large mean and small spread the sums would cancel, and it is folded first.
"""

from __future__ import annotations

from fastbp.kernels import plan as p
from fastbp.kernels.jit import jit
from fastbp.kernels.narrow_emit import OUTPUTS
from fastbp.kernels.narrow_weights import scale_weights
from fastbp.kernels.packing import DTYPE_CODES
from fastbp.kernels.plan import layer_pointer, layer_word
from fastbp.kernels.vectors import lanes_of, moved, pointer

__all__ = ["fold_weights", "folds_sums"]

_BYTES = DTYPE_CODES["uint8"]


@jit
def folds_sums(plan):
    """Whether weights and gradients are multiplied by the scale, and not each pixel."""
    return plan[p.X_DTYPE] == _BYTES and plan[p.SCALE] != 0


@jit
def fold_weights(plan, j0, count, folded, step, constants, dtype):
    """folded[o, j] <- W1[o, j] * scale[j]; W1[o, j] * shift[j] is added to constants[o].

    For columns j0 ... j0 + count. ``folded`` points to where column 0 would be, its rows are
    ``step`` elements apart; ``constants`` to a vector for each row, whose lanes add up to the sum.
    """
    n0 = layer_word(plan, 0, p.INPUTS)
    n1 = layer_word(plan, 0, p.OUTPUTS)
    w = layer_pointer(plan, 0, p.WEIGHT, dtype)
    for o in range(0, n1, OUTPUTS):
        scale_weights(
            moved(folded, o * step), step, moved(constants, o * lanes_of(dtype)), moved(w, o * n0),
            n0, pointer(plan[p.SHIFT], dtype), pointer(plan[p.SCALE], dtype), j0, count,
            min(OUTPUTS, n1 - o),
        )  # fmt: skip
