"""From a network and its data to the plan that compiled code carries out.

Writes the words of the plan by the method that `fastbp.engine.method` chooses and the layout of
scratch memory that follows, and keeps every array that the plan points to alive.
"""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import numpy.typing as npt

from fastbp.backup import Backup
from fastbp.engine import scratch, threads
from fastbp.engine.apart import check_apart
from fastbp.engine.inputs import CODES, check_outputs, check_width
from fastbp.engine.layout import (
    FORWARD_ROWS,
    count_squares,
    crew,
    lay_out,
    multiply_adds,
    tile_of,
)
from fastbp.engine.memory import address_of
from fastbp.engine.method import Case, Choice, Method, choose, dense
from fastbp.engine.parts import Parts
from fastbp.engine.recipe import PLAIN, Recipe, Update
from fastbp.engine.regions import folding_read, found_regions
from fastbp.engine.words import (
    fill_layers,
    fill_recipe,
    place_activations,
    place_small,
    settings_of,
    stored_slopes,
)
from fastbp.kernels import plan as w
from fastbp.kernels.compile import machine
from fastbp.kernels.functions.losses import LOSS_CODES
from fastbp.parameters import Parameters
from fastbp.roofline import TrainingStep

__all__ = ["NetworkPlan"]

Array = npt.NDArray[Any]

_BRIEF_WORK = 1 << 23  # up to which starting threads is a good part of the time: some 0.1 ms
# A step may be abandoned for a signal only if there is a copy of the parameters: from so many rows
# on, of which a step takes a hundred times as long as the copy, and up to so many bytes, so that
# training needs little memory whatever the network.
_LEAST_LONG_BATCH = 512
_MOST_COPIED = 32 << 20
_BYTES = CODES[np.dtype(np.uint8)]


def _layout(array: Array) -> tuple[Any, ...]:
    return address_of(array), array.shape, array.strides, array.dtype


def _circumstances(X: Array) -> tuple[Any, ...]:
    """What a plan depends on besides the network, but for the address of X."""
    return threading.get_ident(), threads.get_num_threads(), X.shape, X.strides, X.dtype


class NetworkPlan:
    """A region's words for one network and one set of rows.

    It holds addresses: ask `take` or `follow` before each use whether these are still those of the
    network's arrays, if anybody else may have had the network in hand.

    Parameters
    ----------
    parameters : Parameters
        Its parameters are read, and changed by `train`, where they lie.
    X : ndarray of shape (n, n_0)
        As `fastbp.engine.inputs.as_input` gives it; n >= 1.
    y : ndarray of shape (n, n_L), optional
        Targets in the network's dtype, C-contiguous; for `train`.
    batch_size : int, optional
        Rows of a step; without it the plan is for `forward`.
    delays : bool, optional
        Whether steps may share a pass over W1, see `fastbp.kernels.wide.delayed`.
    recipe : Recipe, optional
        How to train, if not by plain gradient descent.
    rows : int, optional
        Rows of an epoch, if it is to go over fewer than X has: over those that ``order`` has.
    is_dense : bool, default False
        Whether steps are dense, whatever the table of methods says.
    settings : ndarray, optional
        Those of another plan with the same recipe.

    Attributes
    ----------
    method : Method
    group : int
        Steps that share a pass over W1: calls of `train` had better keep to it.
    steps_at_once : int
        How many steps `fit` makes in one call: so many at first, then as it has found.
    rows, batch_size : int
    settings : ndarray
        See `fastbp.kernels.plan.RATE`. Those of a step are used where `train` is given none.
    totals : ndarray
        Sums over the rows so far of weight * loss and of weight * metric.
    squares : float
        Sum over the steps so far of the squares of all W before the step, times SQUARES_SHARE.
    recipe : Recipe

    Raises
    ------
    TypeError, ValueError
        If the network's parameters are not what they have to be, see `check_parameters`; if one of
        those to be trained shares memory with another, or with the rows.
    """

    def __init__(
        self,
        parameters: Parameters,
        X: Array,
        y: Array | None = None,
        *,
        batch_size: int | None = None,
        delays: bool = True,
        recipe: Recipe = PLAIN,
        rows: int | None = None,
        is_dense: bool = False,
        settings: Array | None = None,
    ) -> None:
        self.recipe, self._is_dense = recipe, is_dense
        self._delays = delays and recipe.is_constant and recipe.update is Update.DIRECT
        self.rows = len(X) if rows is None else rows
        self.batch_size = min(batch_size or FORWARD_ROWS, self.rows)
        self.settings = settings_of(recipe) if settings is None else settings
        self.totals = self.settings[w.LOSS : w.METRIC + 1]
        self._squares = np.zeros(0)
        # Rows to evaluate may be others in time, see `take`: the caller keeps those.
        self._data: tuple[Array, ...] = () if y is None else (X, y)
        self._parameters = None if y is None else parameters
        self._data_layout = [*map(_layout, self._data)]
        self._training = y is not None
        self._made_for = () if self._training else _circumstances(X)
        self._make(parameters, X, y)

    def _make(self, parameters: Parameters, X: Array, y: Array | None) -> None:
        """Write the words for what the network is made of now."""
        parts = Parts(parameters, X.dtype, in_place=self._training)
        sizes = parts.sizes
        check_width(X, sizes[0])  # the network may have changed since `as_input`
        if y is not None:
            check_outputs(y, sizes[-1], parts.dtype)
            check_apart(parts.arrays, parts.addresses, X, y)
        self._x_dtype, self._parts = X.dtype, parts
        choice = self._choice = self._choose(X)
        self.method, self.group, self._narrow = choice.method, choice.group, choice.is_narrow
        words = [0] * w.plan_words(len(sizes) - 1)  # a list is filled several times faster
        words[w.LAYERS] = len(sizes) - 1
        words[w.BATCH], words[w.ROWS] = self.batch_size, self.rows
        words[w.X], words[w.X_DTYPE] = address_of(X), CODES[X.dtype]
        row, column = X.strides
        words[w.X_ROW] = row // X.itemsize
        words[w.X_COLUMN] = column // X.itemsize if X.shape[1] > 1 else 1
        words[w.SETTINGS] = words[w.STEPS] = address_of(self.settings)
        words[w.LOSS_FUNCTION] = LOSS_CODES[parts.loss]
        fill_recipe(words, self.recipe)
        if self.recipe.squares:
            self._squares = np.append(self.squares, np.zeros(count_squares(choice)))
            words[w.SQUARES] = address_of(self._squares) + self._squares.itemsize
        if y is not None:
            words[w.Y] = address_of(y)
        folding = self._folding = folding_read(choice, X.dtype, parts)  # kept alive
        if folding is not None:
            words[w.SCALE], words[w.SHIFT] = (address_of(part) for part in folding)
            words[w.ONE_SCALE] = int(parts.one_scale)
        words[w.GROUP] = self.group
        fill_layers(words, choice.case, parts.functions, self.recipe, parts.addresses)
        self.words = np.array(words, np.int64)
        self._address = address_of(self.words)
        folds_bytes = choice.case.is_bytes and folding is not None
        self._layout = lay_out(choice, threads.get_num_threads(), folds_bytes=folds_bytes)
        self._region, addresses = found_regions(
            choice, X.dtype, parts, self.recipe,
            folded=folding is not None, launches=self._layout.workers > 1,
        )  # fmt: skip
        for word, address in addresses:
            self.words[word] = address
        self.steps_at_once = self._layout.steps_at_once
        self._bytes = self._layout.nbytes
        self._prepared: tuple[int, ...] = ()
        self._steps_differ = False  # whether the last call's steps had numbers of their own
        self._long_steps = (
            self.batch_size >= _LEAST_LONG_BATCH
            and self._work_of(self.batch_size) > 2 * threads.LONG_WORK
            and sum(array.nbytes for array in self._trained) <= _MOST_COPIED
        )
        self._backup: Backup | None = None

    @property
    def undoes(self) -> bool:
        """Whether a call of `train` that a signal ends is undone, or all of its steps are made."""
        return self._long_steps

    def _choose(self, X: Array) -> Choice:
        contiguous = X.shape[1] == 1 or X.strides[1] == X.itemsize
        slopes: tuple[bool, ...] = ()
        if self._training:
            slopes = stored_slopes(self._parts.activations, self.recipe.dropout)
        case = Case(
            self.sizes, self.dtype.itemsize, X.itemsize, CODES[X.dtype] == _BYTES, contiguous,
            self.batch_size, self.rows, self._training, self._delays, self.recipe.update,
            slopes, self.recipe.drops_input, self.recipe.squares,
        )  # fmt: skip
        return dense(case) if self._is_dense else choose(case)

    def _run(self, operation: int, steps: int = 1, *, long: bool = False) -> None:
        space = scratch.borrow()
        try:
            setting = operation, steps, space.address(self._bytes), threads.get_num_threads()
            if setting != self._prepared:
                self._prepared = ()  # until all words are there
                self._prepare(*setting)
                self._prepared = setting
            self.words[w.TEAM] = space.new_team()
            threads.run(
                self._region, self._address, self._started, brief=self._brief,
                long=space if long else None,
            )  # fmt: skip
            if not self._training:
                space.trim()  # `fit` does when it ends
        finally:
            space.give_back()

    def _prepare(self, operation: int, steps: int, base: int, most: int) -> None:
        """Write how many threads work, where, and on how much at a time."""
        words, layout = self.words, self._layout
        workers = crew(self._choice, layout, steps, most)
        words[w.OPERATION] = operation
        if self._choice.by_tiles:
            words[w.TILE], words[w.PREFETCH] = tile_of(self._choice, workers)
        words[w.WORKERS] = self._started = workers
        self._brief = steps * layout.work <= _BRIEF_WORK
        words[w.SHARED] = base
        words[w.FOLDED] = base + layout.folded
        words[w.PRIVATE] = base + layout.shared
        words[w.PRIVATE_STEP] = layout.private
        if self.method is Method.SMALL:
            place_small(words, self._choice, layout)
        elif not self._narrow:
            place_activations(words, self._choice.case, layout)

    @property
    def _trained(self) -> list[Array]:
        """All that a step changes: the parameters, and what the optimizer keeps of them."""
        return [*self.arrays, *(array for kept in self.recipe.state for array in kept)]

    @property
    def squares(self) -> float:
        """Sum over steps of the squares of all W, which calls add to if the recipe says so."""
        return float(np.add.reduce(self._squares))  # `sum` is a function of Python around it

    def clear_totals(self) -> None:
        """Begin anew with `totals` and `squares`."""
        self.totals.fill(0.0)
        self._squares.fill(0.0)

    def train(
        self,
        order: Array | None,
        first: int,
        last: int,
        numbers: Array | None = None,
        number: int = 0,
    ) -> None:
        """Make steps ``first`` ... ``last`` - 1 of an epoch over the rows in ``order``.

        ``order`` holds int64 row numbers, or is None for the rows as they come. ``numbers`` has
        those of each step, (last - first, STEP_COUNT); without it they are those in `settings`.
        ``number`` is that of step ``first`` among all steps of the training. Loss and metric are
        added to `totals`. The bits do not depend on how an epoch is divided among calls that begin
        at multiples of ``group`` steps.
        """
        self.tell(order, first, last, numbers, number)
        if not self._long_steps:
            self._run(w.TRAIN, last - first)
            return
        if self._backup is None:
            self._backup = Backup(self._trained)
        else:
            self._backup.refresh()
        try:
            self._run(w.TRAIN, last - first, long=True)
        except BaseException:
            self._backup.restore()  # half of a step may have been made
            raise

    def tell(
        self, order: Array | None, first: int, last: int, numbers: Array | None, number: int
    ) -> None:
        """Write which steps are to be made; parameters are those of `train`."""
        words = self.words
        words[w.ORDER] = 0 if order is None else address_of(order)
        words[w.FIRST], words[w.LAST] = first, last
        words[w.STEP_NUMBER] = number
        if numbers is not None:
            words[w.STEPS], words[w.STEP_ROW] = address_of(numbers), w.STEP_COUNT
            self._steps_differ = True
        elif self._steps_differ:
            words[w.STEPS], words[w.STEP_ROW] = address_of(self.settings), 0
            self._steps_differ = False

    def by_dense_steps(self) -> NetworkPlan:
        """A plan to train the same arrays in dense steps.

        Its settings and totals are this one's; the squares of W it adds up for itself.
        """
        assert self._parameters is not None
        X, y = self._data
        return NetworkPlan(
            self._parameters, X, y, batch_size=self.batch_size, delays=self._delays,
            recipe=self.recipe, rows=self.rows, is_dense=True, settings=self.settings,
        )  # fmt: skip

    def set_squares(self, total: float) -> None:
        """Make `squares` so much, if they are added up."""
        self._squares[1:] = 0.0
        self._squares[:1] = total

    def forget_setting(self) -> None:
        """Have the next call place its memory anew: another one has used the words."""
        self._prepared = ()

    @property
    def sizes(self) -> tuple[int, ...]:
        """Of the layers."""
        return self._parts.sizes

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of the network."""
        return self._parts.dtype

    @property
    def choice(self) -> Choice:
        """The method, and all that it depends on."""
        return self._choice

    @property
    def arrays(self) -> list[Array]:
        """The weights and then the biases."""
        return self._parts.arrays

    @property
    def likeness(self) -> tuple[Any, ...]:
        """What plans have in common that can make their steps together."""
        case, x = self._choice.case, self.words
        at = int(x[w.X]), int(x[w.X_ROW]), int(x[w.X_COLUMN]), self.rows
        return self.method, case.sizes, self.dtype, case.batch, case.update, self._x_dtype, at

    @property
    def workers(self) -> int:
        """How many threads the last call was started on."""
        return int(self.words[w.WORKERS])

    @property
    def step(self) -> TrainingStep:
        """What operations and bytes of a step of training follow from."""
        return TrainingStep(
            self.sizes, self._x_dtype.itemsize, machine.CACHES.l2 * self.workers,
            self.dtype.itemsize, self.group, len(self.recipe.state),
        )  # fmt: skip

    def forward(self, *, sigmoid_out: bool) -> Array:
        """The output layer's activation for every row, or its pre-activation: (n, n_L)."""
        out = np.empty((self.rows, self.sizes[-1]), self.dtype)
        self.words[w.OUT] = address_of(out)
        self.words[w.SIGMOID_OUT] = int(sigmoid_out)
        self._run(w.FORWARD, long=self._work_of(self.rows) > threads.LONG_WORK)
        return out

    def _work_of(self, rows: int) -> int:
        """Multiply-adds, in the time of those of float32, of so many rows' way forward."""
        return rows * multiply_adds(self.sizes) * self.dtype.itemsize // 4

    def reads_in_place(self, parameters: Parameters) -> bool:
        """Whether there are no copies among what it reads, which would be old at the next call."""
        return self._parts.are_no_copies(parameters)

    def take(self, parameters: Parameters, X: Array) -> bool:
        """Turn to the rows `X`, if nothing else of the plan has to change: whether that is so."""
        if self._made_for != _circumstances(X) or not self._parts.are_of(parameters):
            return False
        self.words[w.X] = address_of(X)
        return True

    def follow(self, parameters: Parameters) -> None:
        """Go on training with what the network is made of now.

        Users put other arrays, preprocessing and inner layers into it while `fit` runs, in
        callbacks above all, and expect that those are trained.

        Raises
        ------
        TypeError, ValueError
            As for the plan when it is made, and if the rows were changed in shape.
        """
        if [*map(_layout, self._data)] != self._data_layout:
            raise ValueError("X and y must keep their shapes, dtypes and places while fit runs")
        if not self._parts.are_of(parameters):
            self._make(parameters, *self._data)
