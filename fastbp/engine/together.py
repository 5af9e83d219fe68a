"""Several networks that make their steps together, so that X is read once for all of them.

Which ones can, see `joins`; how, see `fastbp.kernels.narrow.many`. Each has a plan of its own, as
if it were trained alone, and gets the same bits.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from fastbp.engine import memory, scratch, threads
from fastbp.engine.layout import tile_of, whole_lines
from fastbp.engine.memory import address_of
from fastbp.engine.method import Case, Method, choose
from fastbp.engine.plan import NetworkPlan
from fastbp.engine.recipe import MOST_KEPT, Update
from fastbp.kernels import plan as w
from fastbp.kernels.compile import machine
from fastbp.kernels.compile.jit import launch
from fastbp.kernels.compile.prepare import prepare
from fastbp.kernels.narrow import many

__all__ = ["MOST_OUTPUTS", "Together", "joins", "may_join", "most_models"]

Array = npt.NDArray[Any]

MOST_OUTPUTS = 16
"""Outputs of first layers that go through together. From there on two cores are bound by
arithmetic: of 48 outputs, one pass and four took the same to 8 %, as much as times differed."""

_BLOCK = 32  # rows of a block, whole tiles: 16 took 5 % longer, 100 of floats up to a tenth


def may_join(sizes: tuple[int, ...], X: Array, dtype: npt.DTypeLike, batch: int) -> bool:
    """Whether plans of networks of such sizes and dtype are likely to be such that `joins` holds.

    It does, if they need a gradient: for another optimizer than plain descent, or with a penalty.
    """
    n = len(X)
    case = Case(
        sizes, np.dtype(dtype).itemsize, X.itemsize, X.dtype == np.uint8,
        X.strides[1] == X.itemsize, min(batch, n), n, True, False, Update.PARTS, squares=True,
    )  # fmt: skip
    return choose(case).method is Method.NARROW_SHARDS


def joins(plan: NetworkPlan) -> bool:
    """Whether a plan's steps can be made together with those of others.

    Its first layer is narrow, it goes by shards of rows, and X is read as it is.
    """
    return plan.method is Method.NARROW_SHARDS and not plan.words[w.SCALE]


def most_models(plan: NetworkPlan) -> int:
    """How many networks like that of a plan go through together."""
    return max(1, MOST_OUTPUTS // plan.sizes[1])


class Together:
    """Plans whose steps are made together.

    Parameters
    ----------
    plans : sequence of NetworkPlan
        One at least, all of the same sizes, dtype, batches and X; `joins` holds for each.

    Attributes
    ----------
    plans : list of NetworkPlan
    steps_at_once : int
        How many steps one call had better make, at first.

    Raises
    ------
    ValueError
        If they do not go together.
    """

    def __init__(self, plans: Sequence[NetworkPlan]) -> None:
        self.plans = [*plans]
        first = self.plans[0]
        for plan in self.plans:
            if not joins(plan) or plan.likeness != first.likeness:
                raise ValueError(
                    "networks that are trained together must have the same sizes, dtype, rows and"
                    f" batches, a narrow first layer and no preprocessing; got {plan.likeness} and"
                    f" {first.likeness}"
                )
        n1, n0 = first.sizes[1], first.sizes[0]
        models, dtype = len(self.plans), first.dtype
        self._stack = memory.empty((models * n1, n0), dtype)
        self.steps_at_once = max(1, first.steps_at_once // models)
        self._region = many.regions[dtype.name]
        prepare(self._region, ahead=[launch])
        self._lay_out()

    def _lay_out(self) -> None:
        """Write the words of the stack."""
        first = self.plans[0]
        sizes, models = first.sizes, len(self.plans)
        lanes, itemsize = machine.tiles(first.dtype.itemsize).lanes, first.dtype.itemsize
        words = np.zeros(many.many_words(models), np.int64)
        words[: w.LAYER] = first.words[: w.LAYER]
        words[w.LAYERS] = 1
        words[w.LAYER + w.WEIGHT] = address_of(self._stack)
        words[w.LAYER + w.OUTPUTS], words[w.LAYER + w.INPUTS] = models * sizes[1], sizes[0]
        tile, _ = tile_of(first.choice, 1)
        words[w.TILE] = tile
        words[many.MODELS] = models
        words[many.BLOCK] = _BLOCK
        words[many.MODEL_PLANS :] = [address_of(plan.words) for plan in self.plans]
        at, private = many.block_bytes(sizes, lanes, itemsize, MOST_KEPT, models, _BLOCK)
        words[many.BLOCK_AT] = at
        self.words = words
        self._private = whole_lines(private)
        self._shared = whole_lines(
            many.stack_bytes(sizes, lanes, itemsize, first.batch_size, models)
        )

    def train(
        self,
        order: Array | None,
        first: int,
        last: int,
        numbers: Sequence[Array | None],
        number: Sequence[int],
    ) -> None:
        """Make steps ``first`` ... ``last`` - 1 of an epoch with each network.

        As `NetworkPlan.train`, with ``numbers`` and a ``number`` for each of the plans.
        """
        n1 = self.plans[0].sizes[1]
        for i, plan in enumerate(self.plans):
            plan.tell(order, first, last, numbers[i], number[i])
            self._stack[i * n1 : (i + 1) * n1] = plan.arrays[0]
        self.words[w.ORDER] = self.plans[0].words[w.ORDER]
        self.words[w.FIRST], self.words[w.LAST] = first, last
        try:
            self._run()
        finally:
            self._take_apart()

    def _run(self) -> None:
        n1, start = self.plans[0].sizes[1], address_of(self._stack)
        space = scratch.borrow()
        try:
            workers = threads.get_num_threads()
            base = space.address(self._shared + workers * self._private)
            for words in (self.words, *(plan.words for plan in self.plans)):
                words[w.OPERATION] = w.TRAIN
                words[w.SHARED], words[w.PRIVATE] = base, base + self._shared
                words[w.PRIVATE_STEP], words[w.WORKERS] = self._private, workers
            for i, plan in enumerate(self.plans):
                plan.words[w.LAYER + w.WEIGHT] = start + i * n1 * self._stack.strides[0]
            self.words[w.TEAM] = space.new_team()
            threads.run(self._region, address_of(self.words), workers)
        finally:
            space.give_back()

    def _take_apart(self) -> None:
        """Give each network its W1 back, and its plan the place of it; whatever signals come."""
        n1 = self.plans[0].sizes[1]
        interrupt: KeyboardInterrupt | None = None
        while True:
            try:
                for i, plan in enumerate(self.plans):
                    plan.arrays[0][:] = self._stack[i * n1 : (i + 1) * n1]
                    plan.words[w.LAYER + w.WEIGHT] = address_of(plan.arrays[0])
                    plan.forget_setting()
                break
            except KeyboardInterrupt as error:
                interrupt = error
        if interrupt is not None:
            raise interrupt
