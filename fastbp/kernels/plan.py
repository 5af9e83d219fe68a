"""The plan: what a region over a network is told, as one table of int64 words.

Python fills the table once for a fit, and before each call what that call is about; compiled code
reads it. Words below LAYER are single values; from there each layer has LAYER_WORDS of its own.
Addresses are those of contiguous arrays in the type of the network, unless stated otherwise; the
caller keeps the arrays alive.
"""

from __future__ import annotations

from numba import int64

from fastbp.kernels.compile.jit import jit
from fastbp.kernels.linalg.operand import Operand
from fastbp.kernels.simd.vectors import pointer

__all__ = ["layer_pointer", "layer_word", "operand_of_x", "plan_words"]

TEAM = 0  # address of TEAM_WORDS + shares.SHARE_WORDS int64, zeroed before each call
SHARED = 1  # address of scratch memory that all threads use
PRIVATE = 2  # address of scratch memory of worker 0 ...
PRIVATE_STEP = 3  # ... and how many bytes further on that of the next worker begins
OPERATION = 4  # what to do: one of the codes below
WORKERS = 5  # threads that the region is started on
BATCH = 6  # rows of a step
ROWS = 7  # rows of X
FIRST = 8  # steps FIRST ... LAST - 1 of the epoch are to be made
LAST = 9
ORDER = 10  # address of int64 row numbers, or 0 for the rows as they come
X = 11  # address of X
X_DTYPE = 12  # one of packing.DTYPE_CODES
X_ROW = 13  # strides of X, in elements
X_COLUMN = 14
SHIFT = 15  # addresses of one value for each column of X, or 0: X * scale + shift
SCALE = 16
Y = 17  # address of the targets (ROWS, outputs)
SETTINGS = 18  # address of float64: learning rate, weight decay; loss and correct are added to
OUT = 19  # address of the result of FORWARD, (ROWS, outputs)
SIGMOID_OUT = 20  # whether FORWARD's result is sigmoid(Z) or Z of the last layer
TILE = 21  # rows that go forward and back together in the narrow path, at most a vector's lanes
GATHERED = 22  # address of scratch memory for rows of batches, if W1 is swept or delayed; or 0
LAYERS = 23  # number of layers
FOLDED = 24  # address of scratch memory for W1 times scale and sums of W1, see narrow_folding
BY_COLUMNS = 25  # whether batches are worked on by columns of W1, see narrow_columns
GROUP = 26  # steps that share a pass over W1, see delayed and narrow_groups; or 1
DELAYED = 27  # address of scratch memory for a group of steps
PREFETCH = 28  # rows of the next tile that the narrow path prefetches at most
ONE_SCALE = 29  # whether the scale was given as one number, which SCALE repeats
LAYER = 32

TRAIN, FORWARD, PRODUCT = 0, 1, 2

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
            plan[ORDER] + 8 * start, plan[SHIFT], plan[SCALE],
        )  # fmt: skip
    return Operand(
        plan[X] + start * plan[X_ROW] * itemsize, plan[X_DTYPE], plan[X_ROW], plan[X_COLUMN],
        int64(0), plan[SHIFT], plan[SCALE],
    )  # fmt: skip
