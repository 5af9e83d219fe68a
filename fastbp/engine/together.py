"""Several networks that make their steps together, so that X is read once for all of them.

Which ones can, see `joins`. Each has a plan of its own, as if it were trained alone. First layers
that are narrow together are passed over side by side (`fastbp.kernels.narrow.many`), and each
network gets the bits that it gets alone. Others are stacked as one matrix product
(`fastbp.kernels.wide.many`), and each gets the same to rounding.
"""

from __future__ import annotations

import math
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from fastbp.engine import memory, scratch, threads
from fastbp.engine.layout import gradient_bytes, gradient_width, lay_out, tile_of, whole_lines
from fastbp.engine.memory import address_of
from fastbp.engine.method import Case, Choice, Method, choose
from fastbp.engine.plan import NetworkPlan
from fastbp.engine.recipe import MOST_KEPT, Update
from fastbp.engine.words import place_activations
from fastbp.kernels import plan as w
from fastbp.kernels.compile import machine
from fastbp.kernels.compile.jit import Region, launch
from fastbp.kernels.compile.prepare import prepare
from fastbp.kernels.narrow import many as narrow
from fastbp.kernels.wide import many as wide

__all__ = ["Together", "joined", "joins", "may_join", "passes_of"]

Array = npt.NDArray[Any]

_MOST_SIDE_BY_SIDE = 16
"""Outputs of narrow first layers that go through in one pass. From there on two cores are bound by
arithmetic, of which a stack makes less work: 8 networks of 12288-3-2-1 took 48 ms an epoch on 4,096
rows of floats in two passes, 42 stacked; 16 took 96 and 71. Of bytes, 34 and 41, 67 and 65: floats
wait for memory, once more on the way back, where bytes lie in a cache."""

_MOST_STACKED = 256
"""Outputs of first layers that are stacked: a step passes over all their weights, and what is kept
of them."""

_LEAST_INPUTS_OF_STACK = 4096
"""Fewer are packed, for each network by itself, in little of the time, and what is above the first
layer counts: stacks of 16 networks of 1024-3-2-1 took 17 ms instead of 13. On two cores a stack of
4 of 12288-100-10 took as long as these side by side, one thread each, 4 of 12288-32-10 4 % less, 4
of 784-100-10 4 % more."""

_BLOCK = 32  # rows of a block, whole tiles: 16 took 5 % longer, 100 of floats up to a tenth


def may_join(
    sizes: tuple[int, ...],
    X: Array,
    dtype: npt.DTypeLike,
    batch: int,
    update: Update,
    *,
    drops_input: bool,
    squares: bool,
) -> bool:
    """Whether plans of networks of such sizes, dtype and recipe are such that `joins` holds."""
    n = len(X)
    case = Case(
        sizes, np.dtype(dtype).itemsize, X.itemsize, X.dtype == np.uint8,
        X.strides[1] == X.itemsize, min(batch, n), n, True, update is Update.DIRECT, update,
        drops_input=drops_input, squares=squares,
    )  # fmt: skip
    return _may_join(choose(case))


def _may_join(choice: Choice) -> bool:
    return choice.method is Method.NARROW_SHARDS or _may_stack(choice)


def _may_stack(choice: Choice) -> bool:
    """Whether networks are stacked, if they are not side by side."""
    case = choice.case
    n0, n1 = case.sizes[:2]
    return (
        choice.method in (Method.NARROW_SHARDS, Method.DENSE)
        and case.update is Update.PARTS and not case.drops_input
        and n0 >= _LEAST_INPUTS_OF_STACK and 2 * n1 <= _MOST_STACKED
        and not (choice.is_narrow and case.is_bytes)
    )  # fmt: skip


def _are_stacked(choice: Choice, models: int) -> bool:
    side_by_side = choice.is_narrow and models * choice.case.sizes[1] <= _MOST_SIDE_BY_SIDE
    return not side_by_side and _may_stack(choice)


def joins(plan: NetworkPlan) -> bool:
    """Whether a plan's steps can be made together with those of others.

    X is read as it is; and the first layer is narrow, and goes by shards of rows, or it can be
    stacked: steps are dense, a gradient is computed some columns at a time, and there are so many
    columns that reading X is a good part of the work.
    """
    return _may_join(plan.choice) and not plan.words[w.SCALE]


def passes_of(plan: NetworkPlan, models: int, workers: int) -> tuple[int, int]:
    """How many passes over X so many networks like that of a plan make, and how many at a time.

    Narrow first layers read bytes in so little time that each of the ``workers`` had better have
    networks of its own, for which it waits for nobody: 4 networks of 12288-3-2-1 took 24 ms an
    epoch on 4,096 rows in one pass and 16 in two, 16 took 66 and 59.
    """
    choice = plan.choice
    stacked = _are_stacked(choice, models)
    most = max(1, (_MOST_STACKED if stacked else _MOST_SIDE_BY_SIDE) // plan.sizes[1])
    count = -(-models // most)
    if stacked or not choice.case.is_bytes:
        return count, 1
    at_a_time = min(workers, models)
    return min(-(-count // at_a_time) * at_a_time, models), at_a_time


def joined(plans: Sequence[NetworkPlan]) -> Together:
    """Plans whose steps are made together: all of the same sizes, dtype, batches and X.

    Raises
    ------
    ValueError
        If they do not go together.
    """
    first = plans[0]
    for plan in plans:
        if not joins(plan) or plan.likeness != first.likeness:
            raise ValueError(
                "networks that are trained together must have the same sizes, dtype, rows and"
                " batches, a narrow first layer or dense steps, and no preprocessing; got"
                f" {plan.likeness} and {first.likeness}"
            )
    return (_Stacked if _are_stacked(first.choice, len(plans)) else _SideBySide)(plans)


class Together(ABC):
    """Plans whose steps are made together, see `joined`.

    Attributes
    ----------
    plans : list of NetworkPlan
    made : int
        Steps that the last call of `train` has made, if it was interrupted too.
    """

    def __init__(self, plans: Sequence[NetworkPlan]) -> None:
        self.plans, self.made = [*plans], 0
        # Plans that were given, and those that make the steps instead of them.
        self._others: list[tuple[NetworkPlan, NetworkPlan]] = []
        first, models = self.plans[0], len(self.plans)
        self._outputs, inputs = models * first.sizes[1], first.sizes[0]
        self._stack = memory.empty((self._outputs, inputs), first.dtype)
        self._lanes = machine.tiles(first.dtype.itemsize).lanes
        self._steps_at_once = max(1, first.steps_at_once // models)
        self.words = np.zeros(self._count_words(models), np.int64)
        self.words[: w.LAYER] = first.words[: w.LAYER]
        self.words[w.LAYERS] = 1
        self.words[w.LAYER + w.WEIGHT] = address_of(self._stack)
        self.words[w.LAYER + w.OUTPUTS], self.words[w.LAYER + w.INPUTS] = self._outputs, inputs
        self._region = self._lay_out([address_of(plan.words) for plan in self.plans])

    @abstractmethod
    def _count_words(self, models: int) -> int:
        """How many words the plan of so many networks has."""

    @abstractmethod
    def _lay_out(self, plans: list[int]) -> Region:
        """Write the words of the stack, networks having theirs at such addresses; its region."""

    @abstractmethod
    def _nbytes(self, workers: int) -> int:
        """Bytes of scratch memory."""

    @abstractmethod
    def _place(self, base: int, workers: int) -> None:
        """Write where the stack and the networks have what in scratch memory."""

    def train(
        self,
        order: Array | None,
        first: int,
        last: int,
        numbers: Sequence[Array | None],
        number: Sequence[int],
        seconds: float = math.inf,
        stop: threading.Event | None = None,
    ) -> None:
        """Make steps ``first`` ... ``last`` - 1 of an epoch with each network.

        As `NetworkPlan.train`, with ``numbers`` and a ``number`` for each of the plans. A call of
        compiled code takes about so many ``seconds`` at the most: signals wait for its end, and
        there is no further one when ``stop`` is set.
        """
        self.made = 0
        n1 = self.plans[0].sizes[1]
        squares = [given.squares for given, _ in self._others]
        for _, plan in self._others:
            plan.set_squares(0.0)
        for i, plan in enumerate(self.plans):
            self._stack[i * n1 : (i + 1) * n1] = plan.arrays[0]
        try:
            while self.made < last - first and not (stop is not None and stop.is_set()):
                steps = last - first - self.made
                if seconds < math.inf:
                    steps = min(steps, self._steps_at_once)
                self._tell(order, first + self.made, steps, numbers, number)
                start = time.perf_counter()
                try:
                    self._run()
                finally:  # a signal is seen when the steps have been made
                    self.made += steps
                fitting = seconds * steps / max(time.perf_counter() - start, 1e-9)
                self._steps_at_once = max(1, int(min(4 * self._steps_at_once, fitting)))
        finally:
            self._take_apart(squares)

    def _tell(
        self,
        order: Array | None,
        first: int,
        steps: int,
        numbers: Sequence[Array | None],
        number: Sequence[int],
    ) -> None:
        made = self.made
        for plan, table, at in zip(self.plans, numbers, number, strict=True):
            some = None if table is None else table[made : made + steps]
            plan.tell(order, first, first + steps, some, at + made)
        self.words[w.ORDER] = self.plans[0].words[w.ORDER]
        self.words[w.FIRST], self.words[w.LAST] = first, first + steps

    def _run(self) -> None:
        n1, start = self.plans[0].sizes[1], address_of(self._stack)
        space = scratch.borrow()
        try:
            workers = threads.get_num_threads()
            base = space.address(self._nbytes(workers))
            for words in (self.words, *(plan.words for plan in self.plans)):
                words[w.OPERATION] = w.TRAIN
            for i, plan in enumerate(self.plans):
                plan.words[w.LAYER + w.WEIGHT] = start + i * n1 * self._stack.strides[0]
            self.words[w.WORKERS] = workers
            self._place(base, workers)
            self.words[w.TEAM] = space.new_team()
            threads.run(self._region, address_of(self.words), workers)
        finally:
            space.give_back()

    def _take_apart(self, squares: list[float]) -> None:
        """Give each network its W1 back, and its plan the place of it; whatever signals come.

        Plans that were given get the sums of squares of those that have made the steps, beside
        what ``squares`` says that they had before.
        """
        n1 = self.plans[0].sizes[1]
        interrupt: KeyboardInterrupt | None = None
        while True:
            try:
                for i, plan in enumerate(self.plans):
                    plan.arrays[0][:] = self._stack[i * n1 : (i + 1) * n1]
                    plan.words[w.LAYER + w.WEIGHT] = address_of(plan.arrays[0])
                    plan.forget_setting()
                for (given, plan), before in zip(self._others, squares, strict=True):
                    given.set_squares(before + plan.squares)
                break
            except KeyboardInterrupt as error:
                interrupt = error
        if interrupt is not None:
            raise interrupt


class _SideBySide(Together):
    """Networks whose first layers are narrow together."""

    def _count_words(self, models: int) -> int:
        return narrow.many_words(models)

    def _lay_out(self, plans: list[int]) -> Region:
        first, models, words = self.plans[0], len(plans), self.words
        itemsize = first.dtype.itemsize
        words[w.TILE], _ = tile_of(first.choice, 1)
        words[narrow.MODELS] = models
        words[narrow.BLOCK] = _BLOCK
        words[narrow.MODEL_PLANS :] = plans
        at, private = narrow.block_bytes(
            first.sizes, self._lanes, itemsize, MOST_KEPT, models, _BLOCK
        )
        words[narrow.BLOCK_AT] = at
        self._private = whole_lines(private)
        self._shared = whole_lines(
            narrow.stack_bytes(first.sizes, self._lanes, itemsize, first.batch_size, models)
        )
        region = narrow.regions[first.dtype.name]
        prepare(region, ahead=[launch])
        return region

    def _nbytes(self, workers: int) -> int:
        return self._shared + workers * self._private

    def _place(self, base: int, workers: int) -> None:
        for words in (self.words, *(plan.words for plan in self.plans)):
            words[w.SHARED], words[w.PRIVATE] = base, base + self._shared
            words[w.PRIVATE_STEP], words[w.WORKERS] = self._private, workers


class _Stacked(Together):
    """Networks that make dense steps, whatever they do alone."""

    def __init__(self, plans: Sequence[NetworkPlan]) -> None:
        alone = [plan.by_dense_steps() if plan.choice.is_narrow else plan for plan in plans]
        super().__init__(alone)
        pairs = zip(plans, alone, strict=True)
        self._others = [(given, plan) for given, plan in pairs if given is not plan]

    def _count_words(self, models: int) -> int:
        return wide.many_words(models)

    def _lay_out(self, plans: list[int]) -> Region:
        first, words = self.plans[0], self.words
        self._layout = lay_out(first.choice, 1, folds_bytes=False)
        self._own_at = whole_lines(self._layout.private)
        self._private = self._own_at + whole_lines(wide.own_bytes(self._layout.shared))
        case = first.choice.case
        self._stacked = case._replace(sizes=(case.sizes[0], self._outputs))
        self._of_batch = whole_lines(case.batch * self._outputs * case.itemsize)
        layouts = [lay_out(plan.choice, 1, folds_bytes=False) for plan in self.plans]
        self._of_models = [whole_lines(one.activations + one.gradient) for one in layouts]
        words[wide.MODELS], words[wide.OWN_AT] = len(plans), self._own_at
        words[wide.MODEL_PLANS :] = plans
        words[w.GRADIENT_WIDTH] = gradient_width(self._stacked)
        region, update = (found[first.dtype.name] for found in (wide.regions, wide.updates))
        prepare(region, update, ahead=[launch])
        words[wide.UPDATE_MODELS] = update.address
        return region

    def _nbytes(self, workers: int) -> int:
        of_stack = self._layout.shared + 2 * self._of_batch
        of_stack += whole_lines(gradient_bytes(self._stacked))
        return of_stack + workers * self._private + sum(self._of_models)

    def _place(self, base: int, workers: int) -> None:
        words, at = self.words, base
        words[w.SHARED] = at
        at += self._layout.shared
        words[w.PRIVATE], words[w.PRIVATE_STEP] = at, self._private
        at += workers * self._private
        words[w.LAYER + w.ACTIVATION], words[w.LAYER + w.DELTA] = at, at + self._of_batch
        words[w.GRADIENT] = at + 2 * self._of_batch
        at = words[w.GRADIENT] + whole_lines(gradient_bytes(self._stacked))
        for plan, nbytes in zip(self.plans, self._of_models, strict=True):
            plan.words[w.WORKERS] = 1
            # Activations lie behind the memory of threads; that is told where the work is done.
            plan.words[w.PRIVATE] = at - self._layout.private * self._layout.workers
            place_activations(plan.words, plan.choice.case, self._layout)
            at += nbytes
