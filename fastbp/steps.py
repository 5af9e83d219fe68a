"""What each step of a training is told: its rows, its learning rate, the numbers of its update."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from fastbp.engine.plan import NetworkPlan
from fastbp.row_weights import shares_of
from fastbp.schedules import Constant
from fastbp.settings import Settings
from fastbp.state import TrainingState

__all__ = ["Steps", "epoch_order"]

Array = npt.NDArray[Any]

_WORD = 2**32


def epoch_order(n: int, shuffle: bool, seed: int, epoch: int) -> Array | None:
    """The order of rows in an epoch, counted from 0 over the whole training; None as they come."""
    if not shuffle:
        return None
    words: Any = [seed, epoch]
    if seed < _WORD and epoch < _WORD:  # the same words, in two thirds of the time
        words = np.array(words, np.uint32)
    return np.random.default_rng(words).permutation(n)


class Steps:
    """The steps of one call of `fit`; epochs and the steps within them are counted from 0.

    Parameters
    ----------
    rows : int
        Of the data.
    settings : Settings
    state : TrainingState
        From which training goes on.
    weights : ndarray of shape (rows,), optional
        Of the rows, in the network's dtype.

    Attributes
    ----------
    batch_size, in_epoch : int
        Rows of a step, and steps of an epoch.
    constant : tuple of two floats, or None
        RATE and KEEP of each step, if these are always the same and all that there is.
    last_rate : float
        Of the last step that was made.
    """

    def __init__(
        self, rows: int, settings: Settings, state: TrainingState, weights: Array | None = None
    ) -> None:
        self.rows = rows
        self.batch_size = min(settings.batch_size or rows, rows)
        self.in_epoch = -(-rows // self.batch_size)
        self._settings, self._state, self._weights = settings, state, weights
        self._first_epoch, self._first_step = state.epochs, state.steps
        self._epoch = -1  # of which order and shares are kept
        self._order: Array | None = None
        self._shares: Array | None = None
        self.constant: tuple[float, float] | None = None
        self.last_rate = math.nan
        schedule, optimizer = settings.schedule, settings.optimizer
        if isinstance(schedule, Constant) and weights is None and not optimizer.changes:
            rate = self.last_rate = schedule.learning_rate
            self.constant = rate, optimizer.keep(rate)

    def _turn_to(self, epoch: int) -> None:
        if epoch == self._epoch:
            return
        settings, now = self._settings, self._first_epoch + epoch
        self._order = epoch_order(self.rows, settings.shuffle, self._state.seed, now)
        if self._weights is not None:
            weights = self._weights if self._order is None else self._weights[self._order]
            starts = np.arange(0, self.rows, self.batch_size)
            self._shares = shares_of(weights, starts, self._weights.dtype)
        self._epoch = epoch

    def order(self, epoch: int) -> Array | None:
        """The order of rows in an epoch, or None for that in which they come."""
        self._turn_to(epoch)
        return self._order

    def number(self, epoch: int, step: int) -> int:
        """Of a step among all of the training."""
        return self._first_step + epoch * self.in_epoch + step

    def rate(self, epoch: int, step: int) -> float:
        """The learning rate of a step."""
        return self._settings.schedule(self.number(epoch, step))

    @property
    def largest_rate(self) -> float:
        """No step's learning rate is greater."""
        return self._settings.schedule.largest

    def numbers(self, epoch: int, first: int, last: int) -> Array:
        """What compiled code is told of some steps, see `Optimizer.numbers`.

        Raises
        ------
        TypeError, ValueError
            If a callable gives a learning rate that is none.
        """
        self._turn_to(epoch)
        start = self.number(epoch, first)
        rates = self._settings.schedule.rates(start, start + last - first)
        self.last_rate = float(rates[-1])
        optimizer = self._settings.optimizer
        if optimizer.about.decoupled and optimizer.weight_decay > 0:
            self._check_decay(start, rates)
        shares = None if self._shares is None else self._shares[first:last]
        return optimizer.numbers(start - self._state.kept_since, rates, shares)

    def _check_decay(self, start: int, rates: Array) -> None:
        decay = self._settings.optimizer.weight_decay
        bad = np.flatnonzero(rates * decay >= 1)
        if len(bad):
            raise ValueError(
                "learning_rate * weight_decay must be less than 1, or the decay turns the weights"
                f" around; got {rates[bad[0]]} * {decay} at step {start + int(bad[0])}"
            )

    def make(self, plan: NetworkPlan, epoch: int, first: int, last: int) -> None:
        """Make steps ``first`` ... ``last`` - 1 of an epoch."""
        numbers = None if self.constant is not None else self.numbers(epoch, first, last)
        plan.train(self.order(epoch), first, last, numbers, self.number(epoch, first))

    def mass(self, epoch: int, samples: int) -> float:
        """The sum of the weights of the first rows of an epoch."""
        if self._weights is None:
            return float(samples)
        order = self.order(epoch)
        some = self._weights[:samples] if order is None else self._weights[order[:samples]]
        return float(some.sum(dtype=np.float64))
