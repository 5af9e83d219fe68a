"""The plan: what a region over a network is told, as one table of int64 words.

Python fills the table once for a fit, and before each call what that call is about; compiled code
reads it. The first words are those of `threads.context`; words below LAYER are single values; from
there each layer has LAYER_WORDS of its own. Addresses are those of contiguous arrays in the type of
the network, unless stated otherwise; the caller keeps the arrays alive.
"""

from __future__ import annotations

from numba import float64, int64

from fastbp.kernels.compile.jit import jit
from fastbp.kernels.functions.optimizers import Numbers
from fastbp.kernels.linalg.operand import Operand
from fastbp.kernels.simd.random import mixed_key
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
    "dropout_key",
    "layer_pointer",
    "layer_word",
    "loss_cap",
    "numbers_of",
    "operand_of_x",
    "plan_words",
    "row_number",
    "step_numbers",
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
SETTINGS = 26  # address of SETTING_COUNT float64, see below
OUT = 27  # address of the result of FORWARD, (ROWS, outputs)
SIGMOID_OUT = 28  # whether FORWARD's result is sigmoid(Z) or Z of the last layer
LAYERS = 29  # number of layers
GROUP = 30  # steps that share a pass over W1, see wide.delayed and narrow.delayed; or 1
GATHERED = 31  # address of scratch memory for rows of batches, if they are gathered; or 0
DELAYED = 32  # address of scratch memory for a group of steps
TILE = 33  # rows that go forward and back together in the narrow path, at most a vector's lanes
FOLDED = 34  # address of scratch memory for W1 times scale and sums of W1, see narrow.bytes
PREFETCH = 35  # rows of the next tile that the narrow path prefetches at most
# Addresses of regions: of the layers above the first (wide.layers, narrow.above) or of all
# (small.rows), and of those that read X where the first layer is narrow (narrow.rows).
ABOVE_REGION = 36
FORWARD_REGION = 37
BACK_REGION = 38
# Addresses of the regions of functions, or 0 where only the common ones are needed, which are
# compiled into their callers: sigmoid and identity, log loss, plain descent.
LAYER_REGION = 39  # functions.layers
OUTPUT_REGION = 40  # functions.outputs
UPDATE_REGION = 41  # functions.updates
LOSS_FUNCTION = 42  # one of functions.losses.LOSS_CODES
OPTIMIZER = 43  # one of functions.optimizers.OPTIMIZER_CODES
STEPS = 44  # address of float64, STEP_ROW for each step from FIRST on: see RATE and the following
STEP_ROW = 45  # 0: all steps have the same numbers
STEP_NUMBER = 46  # of step FIRST among all steps of the training, for dropout
SEED = 47  # of dropout
ROW_WEIGHTS = 48  # address of a weight for each row of X, or 0: all weigh 1
METRIC_SCALE = 49  # address of a number for each output, see functions.outputs; or 0
GRADIENT = 50  # address of scratch memory for a gradient, or 0: see wide.optimize
GRADIENT_WIDTH = 51  # columns of a layer's W that are held there at most; 0: all of all layers
INPUT_DROPOUT = 52  # as DROPOUT of a layer, of the input
OPTIMIZE_REGION = 53  # address of wide.optimize or narrow.optimize, where UPDATE_REGION is called
DROP_REGION = 54  # address of that of wide.gather, where INPUT_DROPOUT is not 0
SQUARES = 55  # address of float64 sums, see SQUARES_SHARE and functions.squares; or 0
# Of small networks: address of the first shard's sums, and bytes from one to the next.
SHARDS = 56
SHARD_STEP = 57
LAYER = 58

TRAIN, FORWARD = 0, 1

# Settings. The first ones are a row of STEPS: those of all steps, if STEP_ROW is 0.
RATE = 0  # what the gradient, or Adam's mean, is multiplied by
KEEP = 1  # what W is multiplied by: 1 - learning rate * weight decay
CORRECTION = 2  # what Adam's root is multiplied by
SHARE = 3  # 1 / (sum of the weights of a step's rows), if ROW_WEIGHTS are given
PENALTY = 4  # lambda, where it is part of the gradient
LOSS_SHARE = 5  # what a step's loss is multiplied by before it is added to LOSS
SQUARES_SHARE = 6  # ... and the sum of squares of all W, as they are before it, to SQUARES
LOSS = 7  # what a call adds to: the sum over rows of weight * loss, and of weight * metric
METRIC = 8
BETA_1 = 9  # or momentum
BETA_2 = 10
EPSILON = 11
CLIP_NORM = 12  # or 0
LOSS_CAP = 13  # no output's log loss, or row's cross entropy, counts for more; or infinity
STEP_COUNT, SETTING_COUNT = 7, 14

LAYER_WORDS = 16
WEIGHT = 0  # address of W (OUTPUTS, INPUTS)
BIAS = 1  # address of b (OUTPUTS,)
OUTPUTS = 2
INPUTS = 3
ACTIVATION = 4  # address of scratch memory for A (BATCH, OUTPUTS)
DELTA = 5  # address of scratch memory for delta (BATCH, OUTPUTS)
FUNCTION = 6  # one of functions.activations.ACTIVATION_CODES; the identity for the last layer
SLOPE = 7  # address of scratch memory for slopes (BATCH, OUTPUTS), or 0 if they follow from A
WEIGHT_1 = 8  # addresses of what an optimizer keeps of W and of b, of their shapes; or 0
WEIGHT_2 = 9
BIAS_1 = 10
BIAS_2 = 11
DROPOUT = 12  # of A: a unit is dropped if 32 random bits are below it
TRANSPOSED = 13  # addresses of scratch memory of small networks, see small.sizes
COPIED = 14
SUMS = 15


def plan_words(layers: int) -> int:
    """How many int64 words a plan for ``layers`` layers has."""
    return LAYER + layers * LAYER_WORDS


@jit
def step_numbers(plan, step):
    """RATE and the following of a step of the epoch, as a pointer."""
    return pointer(plan[STEPS] + 8 * plan[STEP_ROW] * (step - plan[FIRST]), float64)


@jit
def numbers_of(plan, step, decays, factor):
    """`optimizers.Numbers` of a step of the epoch, for weights or, unless ``decays``, for biases.

    The gradient, the penalty's part of it too, is multiplied by ``factor``.
    """
    row = step_numbers(plan, step)
    settings = pointer(plan[SETTINGS], float64)
    keep, penalty = 1.0, 0.0
    if decays:
        keep, penalty = row[KEEP], row[PENALTY] * factor
    return Numbers(
        row[RATE], keep, penalty, settings[BETA_1], settings[BETA_2], settings[EPSILON],
        row[CORRECTION], factor,
    )  # fmt: skip


@jit
def loss_cap(plan):
    """LOSS_CAP."""
    return pointer(plan[SETTINGS], float64)[LOSS_CAP]


@jit
def dropout_key(plan, step, layer):
    """The key of a layer's random bits in a step of the epoch; layer 0 is the input."""
    number = plan[STEP_NUMBER] + step - plan[FIRST]
    return mixed_key(mixed_key(plan[SEED], number), layer)


@jit
def layer_word(plan, layer, field):
    """A field of a layer."""
    return plan[LAYER + layer * LAYER_WORDS + field]


@jit
def layer_pointer(plan, layer, field, dtype):
    """A field of a layer that is an address, as a pointer."""
    return pointer(plan[LAYER + layer * LAYER_WORDS + field], dtype)


@jit
def row_number(plan, i):
    """The row of X and Y that is row i of the epoch."""
    if plan[ORDER] != 0:
        return pointer(plan[ORDER], int64)[i]
    return i


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
