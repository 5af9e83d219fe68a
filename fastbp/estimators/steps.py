"""The numbers of an epoch's steps, which compiled code is told in one table."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from fastbp.estimators.state import OptimizerState
from fastbp.kernels import plan as w
from fastbp.kernels.functions.optimizers import ADAM

__all__ = ["RowWeights", "StepNumbers"]

Array = npt.NDArray[Any]

_ROWS_AHEAD = 2048  # of a table that is made at a time: one epoch's alone would cost most in calls


class RowWeights:
    """Weights of rows, as compiled code reads them: times a power of two, so that none overflows.

    Parameters
    ----------
    weights : ndarray of shape (n,)
    dtype : dtype
        The network's.

    Attributes
    ----------
    scaled : ndarray of shape (n,)
        The largest is from 1 to 2, in the network's dtype.
    scale : float
        By which they were multiplied.
    """

    def __init__(self, weights: Array, dtype: np.dtype[Any]) -> None:
        _, exponent = np.frexp(np.abs(weights).max())
        self.scaled = np.ldexp(weights, 1 - exponent).astype(dtype)
        self.scale = float(np.ldexp(1.0, 1 - exponent))


class StepNumbers:
    """What the steps of an epoch are told: learning rates, penalties, shares of the loss.

    With S the rows of a batch, or the sum of their weights: the gradient has ``alpha / S * W``, and
    the loss of an epoch is ``rows / S`` times that of the batch's rows and ``alpha / 2 * rows / S``
    times the squares of W, summed over batches (and then divided by the rows of all).

    Parameters
    ----------
    state : OptimizerState
        From which training goes on.
    rows, batch_size : int
    alpha : float
    loss_share : float
        What all losses are multiplied by.
    weights : RowWeights, optional
    epochs : int, default 1
        To come, at most: tables are made for several at a time.
    """

    def __init__(
        self,
        state: OptimizerState,
        rows: int,
        batch_size: int,
        *,
        alpha: float,
        loss_share: float,
        weights: RowWeights | None = None,
        epochs: int = 1,
    ) -> None:
        self._state, self._alpha, self._loss_share = state, alpha, loss_share
        self._weights = weights
        self._starts = np.arange(0, rows, batch_size)
        self._sizes = np.full(len(self._starts), float(batch_size))
        self._sizes[-1] = rows - self._starts[-1]
        self.in_epoch = len(self._starts)
        self._changes = state.rule.about.code == ADAM
        ahead = _ROWS_AHEAD // self.in_epoch if self._changes else 1
        self._epochs = max(1, min(epochs, ahead))
        self._table = np.empty((0, w.STEP_COUNT))
        self._first = 0  # step of the table's first row
        self._rate = np.nan  # that the table was made for

    def of_epoch(self, order: Array | None) -> Array:
        """The numbers of the steps from the state's on, (steps, STEP_COUNT)."""
        first = self._state.steps if self._changes else 0
        at = first - self._first
        if self._rate != self._state.rate or not 0 <= at <= len(self._table) - self.in_epoch:
            self._fill(first)
            at = 0
        table = self._table[at : at + self.in_epoch]
        if self._weights is not None:
            self._weigh(self._weights, table, order)
        return table

    def _fill(self, first: int) -> None:
        """Make the table for the next epochs, at the present learning rate."""
        self._first, self._rate = first, self._state.rate
        steps = self._epochs * self.in_epoch
        table = self._state.rule.numbers(first, np.full(steps, self._rate))
        table[:, w.PENALTY] = np.tile(self._alpha / self._sizes, self._epochs)
        table[:, w.LOSS_SHARE] = self._loss_share
        table[:, w.SQUARES_SHARE] = 0.5 * self._alpha
        self._table = table

    def _weigh(self, weights: RowWeights, table: Array, order: Array | None) -> None:
        scaled = weights.scaled if order is None else weights.scaled[order]
        sums = np.add.reduceat(scaled, self._starts, dtype=np.float64)
        # A batch without any weight has no gradient: its step goes on by momentum alone.
        shares = np.divide(1.0, sums, out=np.zeros_like(sums), where=sums != 0)
        penalties = self._alpha * weights.scale * shares
        table[:, w.SHARE], table[:, w.PENALTY] = shares, penalties
        table[:, w.LOSS_SHARE] = self._loss_share * self._sizes * shares
        table[:, w.SQUARES_SHARE] = 0.5 * self._sizes * penalties
