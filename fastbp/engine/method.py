"""THE table: which method a network takes, and why.

=============== ======== ====================================================== ===================
method          for      when                                                   kernels
=============== ======== ====================================================== ===================
small           both     all layers stay in a level-2 cache                     `small.steps`
narrow delayed  training narrow, by columns, and very few rows in a step        `narrow.delayed`
narrow columns  training narrow; few rows, each of many columns                 `narrow.columns`
narrow shards   training narrow, otherwise                                      `narrow.shards`
narrow          outputs  narrow                                                 `narrow.forward`
delayed         training wide; a pass over W1 takes longer than the arithmetic  `wide.delayed`
sweep           both     wide; few rows                                         `wide.sweep`
dense           both     wide, otherwise                                        `wide.plain`
=============== ======== ====================================================== ===================

Narrow is a network whose first layer has few outputs and little above it, if the rows of X are
contiguous. `choose` goes by the table from the top; each question is a function below, with the
measurements that its thresholds come from, and `Choice.why` tells the answers as sentences.

Dropout of the input and clipping of gradients by their norm are left to dense steps; where squares
of weights are added up, steps are dense or by shards.

Neither values nor the number of threads are asked: the bits depend on the method.
"""

from __future__ import annotations

import enum
import functools
from itertools import pairwise
from typing import NamedTuple

from fastbp.engine.recipe import Update
from fastbp.kernels.compile import machine
from fastbp.kernels.linalg.row_ir import GROUP
from fastbp.kernels.wide.sweep import MOST_ROWS as MOST_ROWS_OF_SWEEP

__all__ = ["Case", "Choice", "Method", "choose", "dense", "narrow_group", "wide_group"]

_MOST_OUTPUTS = 16  # wider first layers are left to the matrix product, which packs X
_MOST_PARAMETERS_ABOVE = 2048  # ... and so are networks that are not small above it

# Of small networks, see `_is_small`.
_LEAST_OUTPUTS_OF_SMALL, _MOST_INPUTS_OF_NARROW, _LEAST_ROWS_OF_NARROW = 8, 128, 16
_MOST_INPUTS_OF_FEW = 256

_MOST_ROWS_BY_COLUMNS, _MOST_BYTES_BY_COLUMNS = 128, 4 << 20  # of a batch
_LEAST_COLUMNS = 1024

_MOST_BYTES_OF_GROUP = 16 << 20  # scratch memory is to stay small for any width of input
# A group of r rows costs r / (4 n1) of the work that is there anyway for the product of its rows
# with each other, of which half is triangle, and c / r for its pass over W1: least at r = sqrt(4 c
# n1). Best of 32 to 96 rows for 12288-128 and of 64 to 192 for 12288-1024 were 48 and 128, by 2
# and 4 % against 64. Whole vectors: 50 rows for n1 = 100 leave tiles half empty, and lose 10 %.
_ROWS_SQUARED_FOR_AN_OUTPUT = 18
_MOST_ROWS_OF_GROUP = 128  # 144 and 192 are no faster for any layer
# Steps of a group times outputs from where on it pays for weights within half of a level-2 cache,
# which cost less to pass over: 784-128, 200 KB for each of two threads, gains nothing with 8 steps
# and loses a fifth with 4; and 50 KB lose always. Weights that are farther away gain by two steps
# already: 12288-64 on 16 rows 4 %, and 37 % where cores have no cache in common; 12288-128 on 24
# rows 15 %. The most that was lost was 7 %, by 12288-32 on 8 rows, which gains 40 % without such a
# cache.
_LEAST_WHILE_NEAR = 1024
_LEAST_OUTPUTS = 6  # fewer are less work than rows with rows; 12288-6 on 1 row gains 2 %


class Method(enum.Enum):
    """How a step is made, or outputs are computed."""

    DENSE = "dense"
    SMALL = "small"
    SWEEP = "sweep"
    DELAYED = "delayed"
    NARROW = "narrow"
    NARROW_COLUMNS = "narrow columns"
    NARROW_SHARDS = "narrow shards"
    NARROW_DELAYED = "narrow delayed"

    __hash__ = object.__hash__  # in a fifth of the time that hashing the name takes


class Case(NamedTuple):
    """All that the choice of a method depends on."""

    sizes: tuple[int, ...]  # of the network's layers
    itemsize: int  # bytes of a weight
    data_itemsize: int  # bytes of a value of X
    is_bytes: bool  # whether X is of uint8
    contiguous: bool  # whether the values of a row of X are side by side
    batch: int  # rows of a step, or of those that are evaluated at a time
    rows: int  # of X
    training: bool
    delays: bool = True  # whether steps may share a pass over W1: plain descent, constant rate
    update: Update = Update.DIRECT  # what is stored of the gradients
    slopes: tuple[bool, ...] = ()  # of which layers slopes are stored
    drops_input: bool = False  # whether values of the input are dropped
    squares: bool = False  # whether squares of the weights are added up


class Choice(NamedTuple):
    """The method that a case takes."""

    case: Case
    method: Method
    is_narrow: bool
    by_columns: bool  # whether threads take shares of the columns of W1
    group: int = 1  # steps that share a pass over W1
    gathered: int = 0  # rows that are copied to scratch memory as the network sees them

    @property
    def why(self) -> str:
        """The reasons, in sentences for users."""
        reason = _REASONS[self.method](self)
        if self.method is Method.SMALL:
            return reason
        return f"{_why_narrow(self)} {reason}"

    @property
    def by_tiles(self) -> bool:
        """Whether some rows go through all layers before the next ones do."""
        return self.is_narrow or self.method is Method.SMALL


def choose(case: Case) -> Choice:
    """The method for a case."""
    if case.drops_input or case.update is Update.WHOLE:
        return Choice(case, Method.DENSE, False, False, 1, case.batch if case.drops_input else 0)
    if _is_small(case):
        return Choice(case, Method.SMALL, False, False)
    if case.contiguous and _is_narrow(case.sizes):
        if not case.training:
            return Choice(case, Method.NARROW, True, False)
        if case.squares or not _is_by_columns(case):
            return Choice(case, Method.NARROW_SHARDS, True, False)
        if case.update is not Update.DIRECT or not _is_grouped(case):
            return Choice(case, Method.NARROW_COLUMNS, True, True)
        group = narrow_group(case.batch, _lanes(case)) if case.delays else 1
        return Choice(case, Method.NARROW_DELAYED, True, True, min(group, _steps(case)))
    if case.training and case.delays:
        group = wide_group(case.sizes[0], case.sizes[1], case.batch, case.itemsize)
        group = min(group, _steps(case))
        if group > 1:
            return Choice(case, Method.DELAYED, False, False, group, group * case.batch)
    # A batch that is swept over is gathered beside the last one.
    few = case.batch <= MOST_ROWS_OF_SWEEP and not case.squares
    if few and (case.training or len(case.sizes) > 2):
        return Choice(case, Method.SWEEP, False, False, 1, 2 * case.batch)
    return Choice(case, Method.DENSE, False, False)


def dense(case: Case) -> Choice:
    """Dense steps, whatever the table says; for a case that does not drop values of its input."""
    return Choice(case, Method.DENSE, False, False)


def _lanes(case: Case) -> int:
    return machine.tiles(case.itemsize).lanes


def _steps(case: Case) -> int:
    return -(-case.rows // case.batch)


def _parameters(sizes: tuple[int, ...]) -> int:
    return sum((a + 1) * b for a, b in pairwise(sizes))


def _parameters_above(sizes: tuple[int, ...]) -> int:
    return _parameters(sizes[1:])


@functools.cache
def _is_narrow(sizes: tuple[int, ...]) -> bool:
    """Whether X can be read once, see `fastbp.kernels.narrow`."""
    return sizes[1] <= _MOST_OUTPUTS and _parameters_above(sizes) <= _MOST_PARAMETERS_ABOVE


def _is_small(case: Case) -> bool:
    """Whether rows go through all layers in a cache, by a thread alone: see `small`.

    In float64 an Adam step of 64-100-10 on 200 rows took 0.16 ms of one Zen 4 core so and 0.21 in
    dense steps, of 784-128-10, four fifths of a level-2 cache, no less in either. Few rows are
    swept over in less time if there are many inputs: with 784-32-10 on 1 to 8 rows steps took 1.2
    to 3 times as long, with 100-100-100-10 a half to nine tenths. A first layer that is narrow
    fills no vectors with its outputs: of 8 and more, of up to 128 inputs, steps of 16 rows and more
    took between a third and the same, those of fewer rows up to twice as long.
    """
    sizes = case.sizes
    if _parameters(sizes) * case.itemsize > machine.CACHES.l2 // 8:
        return False
    if case.contiguous and _is_narrow(sizes):
        wide_enough = sizes[1] >= _LEAST_OUTPUTS_OF_SMALL and sizes[0] <= _MOST_INPUTS_OF_NARROW
        return wide_enough and (not case.training or case.batch >= _LEAST_ROWS_OF_NARROW)
    return case.batch > MOST_ROWS_OF_SWEEP or sizes[0] <= _MOST_INPUTS_OF_FEW


def _is_by_columns(case: Case) -> bool:
    """Whether steps are cut by columns of W1: few rows, each of many columns.

    Shards of rows tell each other their gradients and the new weights, once a step; shares of
    columns a few numbers for each tile. Of 12,288 bytes on Zen 4, 64 rows took 66 us by columns and
    78 in shards, 128 rows 128 and 131, 256 rows 252 and 235; but 84 and 132, 163 and 189, and 325
    and 310 while the two cores had no cache in common, and a line took 0.17 us from one to the
    other instead of 0.03. Floats take longer to read, which shards do in one piece: on Zen 5 64
    rows took 82 and 79 us, 256 rows 333 and 308.
    """
    n0 = case.sizes[0]
    nbytes = case.batch * n0 * case.data_itemsize
    few = case.batch <= _MOST_ROWS_BY_COLUMNS and nbytes <= _MOST_BYTES_BY_COLUMNS
    return few and n0 >= _LEAST_COLUMNS


def _most_rows_of_narrow_group(lanes: int) -> int:
    """Rows of a batch up to which there are groups: a step's rows are the lanes of a vector."""
    return min(GROUP, lanes)


def _is_grouped(case: Case) -> bool:
    """Whether steps by columns are made in groups, of one step each or of several.

    Steps on 4 rows of floats take 6 % less as tiles of `narrow.columns`, where memory is prefetched
    more evenly; on 4 rows of bytes 6 % more.
    """
    few = case.batch < GROUP or case.is_bytes
    return few and case.batch <= _most_rows_of_narrow_group(_lanes(case))


def narrow_group(batch: int, lanes: int) -> int:
    """How many steps of ``batch`` rows share a pass over a narrow W1."""
    return GROUP // batch if batch <= _most_rows_of_narrow_group(lanes) else 1


@functools.lru_cache(maxsize=256)
def wide_group(n0: int, n1: int, batch: int, itemsize: int) -> int:
    """How many steps of ``batch`` rows share a pass over W1 (n1, n0); 1 if it does not pay."""
    lanes = machine.tiles(itemsize).lanes
    best = max(round((_ROWS_SQUARED_FOR_AN_OUTPUT * n1) ** 0.5 / lanes) * lanes, lanes)
    rows = min(_MOST_ROWS_OF_GROUP, best, _MOST_BYTES_OF_GROUP // (n0 * itemsize))
    if rows > lanes:
        rows = rows // lanes * lanes
    steps = rows // batch
    near, weights = machine.CACHES.l2 // 2, n0 * n1 * itemsize
    least = 0 if weights > near else _LEAST_WHILE_NEAR
    pays = n1 >= _LEAST_OUTPUTS and steps * n1 >= least and weights >= near // 4
    return steps if steps > 1 and pays else 1


# ------------------------------------------------------------------ reasons


def _why_narrow(choice: Choice) -> str:
    sizes = choice.case.sizes
    outputs, above = sizes[1], _parameters_above(sizes)
    if choice.is_narrow:
        return (
            f"The first layer is narrow, of {outputs} outputs (at most {_MOST_OUTPUTS}), and"
            f" {above} parameters lie above it (at most {_MOST_PARAMETERS_ABOVE}), so X is read"
            " once: rows go forward and back while they lie in a cache."
        )
    if outputs > _MOST_OUTPUTS:
        reason = f"The first layer has {outputs} outputs (more than {_MOST_OUTPUTS})"
    elif above > _MOST_PARAMETERS_ABOVE:
        reason = (
            f"{above} parameters lie above the first layer (more than {_MOST_PARAMETERS_ABOVE})"
        )
    elif choice.case.drops_input:
        reason = "Values of the input are dropped"
    elif choice.case.update is Update.WHOLE:
        reason = "Gradients are clipped by the norm of all of them"
    else:
        reason = "The rows of X are not contiguous"
    return f"{reason}, so layers are computed one after the other for all rows of a batch."


def _why_shards(choice: Choice) -> str:
    case = choice.case
    n0, nbytes = case.sizes[0], case.batch * case.sizes[0] * case.data_itemsize
    if case.squares:
        reason = "Squares of the weights are added up"
    elif n0 < _LEAST_COLUMNS:
        reason = f"A row has {n0} columns (fewer than {_LEAST_COLUMNS})"
    elif case.batch > _MOST_ROWS_BY_COLUMNS:
        reason = f"A step has {case.batch} rows (more than {_MOST_ROWS_BY_COLUMNS})"
    else:
        most = _MOST_BYTES_BY_COLUMNS >> 20
        reason = f"The rows of a step are {nbytes / (1 << 20):.1f} MiB (more than {most})"
    return f"{reason}, so threads take shards of the rows, and add their gradients up."


def _why_columns(choice: Choice) -> str:
    case = choice.case
    return (
        f"A step has few rows, {case.batch} (at most {_MOST_ROWS_BY_COLUMNS}), of many columns,"
        f" {case.sizes[0]} (at least {_LEAST_COLUMNS}), so threads take shares of the columns, and"
        " tell each other a few numbers for each row."
    )


def _why_narrow_delayed(choice: Choice) -> str:
    rows = f"A step has very few rows, {choice.case.batch}"
    if choice.group == 1:
        return f"{rows}, so it is made in one pass over W1, of which threads take shares."
    return f"{rows}, so {choice.group} steps share a pass over W1, of which threads take shares."


def _why_delayed(choice: Choice) -> str:
    return (
        f"A step has few rows, {choice.case.batch}, and passing over W1 for them would take longer"
        f" than their arithmetic, so {choice.group} steps share a pass over W1."
    )


def _why_sweep(choice: Choice) -> str:
    case = choice.case
    few = f"has few rows, {case.batch} (at most {MOST_ROWS_OF_SWEEP})"
    if case.training:
        return (
            f"A step {few}, so one sweep over W1 makes its update and the forward pass of the next"
            " step."
        )
    return f"A batch {few}, so W1 is read once as it lies, and not packed."


def _why_dense(choice: Choice) -> str:
    case = choice.case
    if case.drops_input:
        return "Rows are copied for dropout, and products of whole batches take the copies."
    if case.update is Update.WHOLE:
        return "Clipping needs all gradients before the first update, from whole batches."
    if case.squares:
        return "Squares of the weights are added up, over all of them before the update."
    if case.batch > MOST_ROWS_OF_SWEEP:
        return f"With {case.batch} rows at a time, packed matrix products are the fastest."
    return "There is one layer, which is one matrix product."


def _why_small(choice: Choice) -> str:
    case = choice.case
    nbytes, most = _parameters(case.sizes) * case.itemsize, machine.CACHES.l2 // 8
    task = "forward and back" if case.training else "forward"
    return (
        f"The network is small, of {nbytes:,} bytes of parameters (at most {most:,}), so threads"
        f" take shards of the rows, which go {task} through all layers while they lie in a cache."
    )


_REASONS = {
    Method.DENSE: _why_dense,
    Method.SMALL: _why_small,
    Method.SWEEP: _why_sweep,
    Method.DELAYED: _why_delayed,
    Method.NARROW: lambda _: "Threads take shares of the rows.",
    Method.NARROW_COLUMNS: _why_columns,
    Method.NARROW_SHARDS: _why_shards,
    Method.NARROW_DELAYED: _why_narrow_delayed,
}
