"""The plan: what a region over a network is told, as one table of int64 words.

Python fills the table once for a fit, and before each call what that call is about; compiled code
reads it. The first words are those of `threads.context`; words below LAYER are single values; from
there each layer has LAYER_WORDS of its own. Addresses are those of contiguous arrays in the type of
the network, unless stated otherwise; the caller keeps the arrays alive.
"""

from __future__ import annotations

from numba import int64

from fastbp.kernels.compile.jit import jit
from fastbp.kernels.linalg.operand import Operand
from fastbp.kernels.simd.vectors import pointer
from fastbp.kernels.threads.context import (
    BLOCK_REGION,
    COPY_REGION,
    EPILOGUE_REGION,
    OPERATION,
    PRIVATE,
    PRIVATE_STEP,
    PRODUCT_REGION,
    SHARED,
    SPLIT_REGION,
    TEAM,
    WORKERS,
)

__all__ = [
    "BLOCK_REGION",
    "COPY_REGION",
    "EPILOGUE_REGION",
    "OPERATION",
    "PRIVATE",
    "PRIVATE_STEP",
    "PRODUCT_REGION",
    "SHARED",
    "SPLIT_REGION",
    "TEAM",
    "WORKERS",
    "layer_pointer",
    "layer_word",
    "operand_of_x",
    "plan_words",
]

BATCH = 12  # rows of a step
ROWS = 13  # rows of X
FIRST = 14  # steps FIRST ... LAST - 1 of the epoch are to be made
LAST = 15
ORDER = 16  # address of int64 row numbers, or 0 for the rows as they come
X = 17  # address of X
X_DTYPE = 18  # one of operand.DTYPE_CODES
X_ROW = 19  # strides of X, in elements
X_COLUMN = 20
X_READER = 21  # address of the region of `reader`, if X is not read as it is, or 0
SHIFT = 22  # addresses of one value for each column of X, or 0: X * scale + shift
SCALE = 23
ONE_SCALE = 24  # whether the scale was given as one number, which SCALE repeats
Y = 25  # address of the targets (ROWS, outputs)
SETTINGS = 26  # address of float64: learning rate, weight decay; loss and correct are added to
OUT = 27  # address of the result of FORWARD, (ROWS, outputs)
SIGMOID_OUT = 28  # whether FORWARD's result is sigmoid(Z) or Z of the last layer
LAYERS = 29  # number of layers
GROUP = 30  # steps that share a pass over W1, see wide.delayed and narrow.delayed; or 1
GATHERED = 31  # address of scratch memory for rows of batches, if W1 is swept or delayed; or 0
DELAYED = 32  # address of scratch memory for a group of steps
TILE = 33  # rows that go forward and back together in the narrow path, at most a vector's lanes
FOLDED = 34  # address of scratch memory for W1 times scale and sums of W1, see narrow.bytes
PREFETCH = 35  # rows of the next tile that the narrow path prefetches at most
# Addresses of regions: of the layers above the first (wide.layers, narrow.above), and of those that
# read X where the first layer is narrow (narrow.rows).
ABOVE_REGION = 36
FORWARD_REGION = 37
BACK_REGION = 38
LAYER = 40

TRAIN, FORWARD = 0, 1

LEARNING_RATE, WEIGHT_DECAY, LOSS, CORRECT = 0, 1, 2, 3

LAYER_WORDS = 8
WEIGHT = 0  # address of W (OUTPUTS, INPUTS)
BIAS = 1  # address of b (OUTPUTS,)
OUTPUTS = 2
INPUTS = 3
ACTIVATION = 4  # address of scratch memory for A (BATCH, OUTPUTS)
DELTA = 5  # address of scratch memory for delta (BATCH, OUTPUTS)


def plan_words(layers: int) -> int:
    """How many int64 words a plan for ``layers`` layers has."""
    return LAYER + layers * LAYER_WORDS


@jit
def layer_word(plan, layer, field):
    """A field of a layer."""
    return plan[LAYER + layer * LAYER_WORDS + field]


@jit
def layer_pointer(plan, layer, field, dtype):
    """A field of a layer that is an address, as a pointer."""
    return pointer(plan[LAYER + layer * LAYER_WORDS + field], dtype)


@jit
def operand_of_x(plan, start):
    """Rows ``start`` and on of the epoch's X as an operand."""
    itemsize = int64(1) if plan[X_DTYPE] == 2 else int64(4) if plan[X_DTYPE] == 0 else int64(8)
    if plan[ORDER] != 0:
        return Operand(
            plan[X], plan[X_DTYPE], plan[X_ROW], plan[X_COLUMN],
            plan[ORDER] + 8 * start, plan[SHIFT], plan[SCALE], plan[X_READER],
        )  # fmt: skip
    return Operand(
        plan[X] + start * plan[X_ROW] * itemsize, plan[X_DTYPE], plan[X_ROW], plan[X_COLUMN],
        int64(0), plan[SHIFT], plan[SCALE], plan[X_READER],
    )  # fmt: skip
