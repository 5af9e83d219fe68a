"""The rows of a training, dense or sparse, and the calls of compiled code that go over them."""

from __future__ import annotations

import math
import time
from abc import ABC, abstractmethod
from typing import Any

import numpy as np
import numpy.typing as npt

from fastbp.engine.inputs import as_input
from fastbp.engine.plan import NetworkPlan
from fastbp.engine.recipe import Recipe
from fastbp.parameters import Parameters

__all__ = ["SECONDS_BETWEEN_SIGNALS", "DenseRows", "Rows", "SparseRows", "is_sparse", "rows_of"]

Array = npt.NDArray[Any]

SECONDS_BETWEEN_SIGNALS = 0.1  # Ctrl-C waits this long for compiled code, about
_BLOCK_BYTES = 8 << 20  # of sparse rows that are dense at a time, if a batch is not more


def is_sparse(X: Any) -> bool:
    """Whether X is one of SciPy's matrices, and not an array."""
    return not isinstance(X, np.ndarray)


class Rows(ABC):
    """Rows with their targets and weights, which a network is trained on in place.

    Parameters
    ----------
    rows : int
        Of an epoch.
    batch_size : int
        Of a step; the last one of an epoch may have fewer.

    Attributes
    ----------
    made : int
        Steps that the last call of `train` has made, if it was interrupted too.
    """

    def __init__(self, rows: int, batch_size: int) -> None:
        self.rows, self.batch_size = rows, batch_size
        self.steps = -(-rows // batch_size)
        self.made = 0

    @property
    @abstractmethod
    def loss(self) -> float:
        """The sum that `train` has added to, see `StepNumbers`."""

    @abstractmethod
    def clear(self) -> None:
        """Set `loss` to 0."""

    @abstractmethod
    def train(self, order: Array | None, numbers: Array, number: int, first: int = 0) -> None:
        """Make the steps from ``first`` on that ``numbers`` has rows of.

        Parameters
        ----------
        order : ndarray of int64, or None
            Of the rows in the epoch; None as they come.
        numbers : ndarray of shape (steps, STEP_COUNT)
        number : int
            Of the first of these steps, among all of the training.
        first : int, default 0
            Its place in the epoch.
        """

    def _make(
        self,
        plan: NetworkPlan,
        order: Array | None,
        first: int,
        numbers: Array,
        number: int,
        made: int,
    ) -> None:
        """Make a plan's steps from ``first`` on; ``made`` are all that have been made then."""
        try:
            plan.train(order, first, first + len(numbers), numbers, number)
        except KeyboardInterrupt:
            if not plan.undoes:  # it was seen when the call had ended
                self.made = made
            raise
        self.made = made


class DenseRows(Rows):
    """Rows that compiled code reads where they lie."""

    def __init__(
        self,
        network: Parameters,
        X: Array,
        y: Array,
        rows: int,
        batch_size: int,
        recipe: Recipe,
    ) -> None:
        super().__init__(rows, batch_size)
        X = as_input(X, network.layer_sizes[0], network.dtype)
        self._plan = NetworkPlan(network, X, y, batch_size=batch_size, recipe=recipe, rows=rows)

    @property
    def plan(self) -> NetworkPlan:
        """What compiled code is told."""
        return self._plan

    @property
    def loss(self) -> float:
        """The sum that `train` has added to."""
        return float(self._plan.totals[0]) + self._plan.squares

    def clear(self) -> None:
        """Set `loss` to 0."""
        self._plan.clear_totals()

    def train(self, order: Array | None, numbers: Array, number: int, first: int = 0) -> None:
        """Make steps, in one call of compiled code if they take less than a tenth of a second."""
        plan, count = self._plan, len(numbers)
        done = self.made = 0
        while done < count:
            last = min(count, done + plan.steps_at_once)
            some = numbers if last - done == count else numbers[done:last]
            start = time.perf_counter()
            self._make(plan, order, first + done, some, number + done, last)
            spent = time.perf_counter() - start
            if count > plan.steps_at_once or spent > SECONDS_BETWEEN_SIGNALS:
                fitting = int((last - done) * SECONDS_BETWEEN_SIGNALS / max(spent, 1e-9))
                groups = min(4 * plan.steps_at_once, fitting) // plan.group
                plan.steps_at_once = max(1, groups) * plan.group
            done = last


class SparseRows(Rows):
    """Rows of which some batches at a time are made dense, in one place."""

    def __init__(
        self,
        network: Parameters,
        X: Any,
        y: Array,
        rows: int,
        batch_size: int,
        recipe: Recipe,
    ) -> None:
        super().__init__(rows, batch_size)
        self._network, self._recipe = network, recipe
        self._X, self._y = X.tocsr(), y
        batches = max(1, _BLOCK_BYTES // max(1, batch_size * X.shape[1] * X.dtype.itemsize))
        self._batches = min(batches, self.steps)  # of a block
        size = min(self._batches * batch_size, self.rows)
        self._block = np.zeros((size, X.shape[1]), X.dtype)
        self._targets = np.empty((size, y.shape[1]), y.dtype)
        self._weights: Array | None = None
        self._all_weights = recipe.row_weights
        if self._all_weights is not None:
            self._weights = np.empty(size, self._all_weights.dtype)
        self._plans: dict[int, NetworkPlan] = {}  # by the rows of a block

    def _plan(self, size: int) -> NetworkPlan:
        if size not in self._plans:
            recipe = self._recipe
            if self._weights is not None:
                recipe = recipe._replace(row_weights=self._weights[:size])
            self._plans[size] = NetworkPlan(
                self._network, self._block[:size], self._targets[:size],
                batch_size=self.batch_size, recipe=recipe,
            )  # fmt: skip
        return self._plans[size]

    @property
    def loss(self) -> float:
        """The sum that `train` has added to."""
        return math.fsum(float(plan.totals[0]) + plan.squares for plan in self._plans.values())

    def clear(self) -> None:
        """Set `loss` to 0."""
        for plan in self._plans.values():
            plan.clear_totals()

    def train(self, order: Array | None, numbers: Array, number: int, first: int = 0) -> None:
        """Make steps, those of a block in one call of compiled code."""
        count = len(numbers)
        done = self.made = 0
        while done < count:
            last = min(count, done + self._batches)
            start = (first + done) * self.batch_size
            stop = min((first + last) * self.batch_size, self.rows)
            size = self._fill(slice(start, stop) if order is None else order[start:stop])
            self._make(self._plan(size), None, 0, numbers[done:last], number + done, last)
            done = last

    def _fill(self, chosen: Any) -> int:
        """Make some rows dense; how many they are."""
        some = self._X[chosen]
        size = int(some.shape[0])
        some.toarray(out=self._block[:size])
        self._targets[:size] = self._y[chosen]
        if self._weights is not None and self._all_weights is not None:
            self._weights[:size] = self._all_weights[chosen]
        return size


def rows_of(
    network: Parameters, X: Any, y: Array, rows: int, batch_size: int, recipe: Recipe
) -> Rows:
    """The rows of X, dense or sparse, with targets (n, n_L) of the network's dtype.

    An epoch is to go over so many ``rows`` of them, those of its order.
    """
    kind = SparseRows if is_sparse(X) else DenseRows
    return kind(network, X, y, rows, batch_size, recipe)
