"""Gradient descent: full-batch, stochastic and mini-batch, epoch by epoch.

It trains a record of parameters on rows that are ready, and knows no network: what is to be done
between epochs (validation, callbacks) comes as callables.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from fastbp.engine.plan import NetworkPlan
from fastbp.guard import Guard
from fastbp.history import History, Progress
from fastbp.kernels import plan as w
from fastbp.parameters import Parameters
from fastbp.settings import Settings

__all__ = ["Training", "batch_indices"]

Array = npt.NDArray[Any]

_SECONDS_BETWEEN_SIGNALS = 0.1  # Ctrl-C and progress wait this long for compiled code, about


def batch_indices(
    n: int,
    batch_size: int | None,
    *,
    shuffle: bool = True,
    seed: int | None = None,
    epoch: int = 0,
) -> list[Array]:
    """The batches that `Network.fit` takes in one epoch.

    Parameters
    ----------
    n : int
        Rows of the data.
    batch_size : int or None
        As for `Network.fit`.
    shuffle : bool, default True
    seed : int, optional
        As for `Network.fit`; needed if `shuffle`.
    epoch : int, default 0
        Which epoch, counted from 0.

    Returns
    -------
    list of ndarray of int64
        Row numbers, batch by batch.
    """
    if shuffle and seed is None:
        raise ValueError("the batches of a shuffled epoch depend on the seed: give one")
    order = _epoch_order(n, shuffle, seed or 0, epoch)
    if order is None:
        order = np.arange(n, dtype=np.int64)
    size = n if batch_size is None else batch_size
    return [order[start : start + size] for start in range(0, n, max(size, 1))]


def _epoch_order(n: int, shuffle: bool, seed: int, epoch: int) -> Array | None:
    if not shuffle:
        return None
    return np.random.default_rng([seed, epoch]).permutation(n)


class Training:
    """A training: what it works on and by, how far it is, and what it has measured.

    Parameters
    ----------
    parameters : Parameters
        Changed in place.
    X : ndarray of shape (n, n_0)
        As `fastbp.engine.inputs.as_input` gives it; n >= 1.
    y : ndarray of shape (n, n_L)
        As `fastbp.targets.check_targets` gives it.
    settings : Settings

    Attributes
    ----------
    settings : Settings
    history : History
        One entry for each epoch that was completed.

    Raises
    ------
    TypeError, ValueError
        If parameters or data cannot be trained; nothing is changed then.
    """

    def __init__(self, parameters: Parameters, X: Array, y: Array, settings: Settings) -> None:
        self.settings = settings
        self.history = History()
        self._rows = len(X)
        plan = NetworkPlan(parameters, X, y, batch_size=settings.batch_size or self._rows)
        plan.settings[w.RATE] = settings.learning_rate
        plan.settings[w.KEEP] = 1.0 - settings.learning_rate * settings.weight_decay
        # No method of this object: a circle of references would keep all arrays alive for a while.
        self._order_of = functools.partial(
            _epoch_order, self._rows, settings.shuffle, settings.seed
        )
        self._guard = Guard(parameters, X, y, plan, self._order_of)
        self._guard.begin()

    def run(
        self,
        *,
        validate: Callable[[], tuple[float, float]] | None = None,
        after_epoch: Callable[[int, History], bool] | None = None,
        report: Progress | None = None,
    ) -> History:
        """Train for all epochs.

        Parameters
        ----------
        validate : callable, optional
            Gives loss and accuracy on other data, after each epoch.
        after_epoch : callable, optional
            Given the number of epochs done and the history; it may change the parameters, and
            stops training by returning True.
        report : callable, optional
            Told the samples done and their total, some times a second.
        """
        guard, history, n = self._guard, self.history, self._rows
        epochs = self.settings.epochs
        # Asking costs as much as a step of a small network.
        watched = after_epoch is not None or report is not None
        for epoch in range(epochs):
            guard.plan.totals[:] = 0.0
            if after_epoch is not None and epoch > 0:
                guard.follow(epoch, 0)
                guard.renew(epoch)  # callbacks may have changed parameters in place
            seconds = 0.0
            for samples, spent in _chunks(guard, epoch, self._order_of(epoch), watched=watched):
                seconds += spent
                if report is not None:
                    report(epoch * n + samples, n * epochs)
            if after_epoch is not None or epoch + 1 == epochs:
                guard.look(epoch, -(-n // guard.plan.batch_size), last=True)
            history.loss.append(float(guard.plan.totals[0]) / n)
            history.accuracy.append(float(guard.plan.totals[1]) / n)
            history.seconds.append(seconds)
            history.samples_per_second.append(n / max(seconds, 1e-9))
            if validate is not None:
                loss, accuracy = validate()
                history.val_loss.append(loss)
                history.val_accuracy.append(accuracy)
            if after_epoch is not None and after_epoch(epoch + 1, history):
                history.stopped_early = True
                break
        return history


def _chunks(
    guard: Guard, epoch: int, order: Array | None, *, watched: bool
) -> Iterator[tuple[int, float]]:
    """Run an epoch in a few calls of compiled code, between which Python sees Ctrl-C.

    If ``watched``, each call goes on with the arrays that user code has left in the network.

    Yields the samples done so far and the seconds that the last call took. How the steps are
    divided among the calls changes nothing in the result, as calls are of whole groups.
    """
    plan = guard.plan
    steps = -(-plan.rows // plan.batch_size)
    done = 0
    while done < steps:
        if watched:
            guard.follow(epoch, done)
        last = min(steps, done + plan.steps_at_once)
        start = time.perf_counter()
        plan.train(order, done, last)
        spent = time.perf_counter() - start
        fitting = int((last - done) * _SECONDS_BETWEEN_SIGNALS / max(spent, 1e-9))
        groups = min(4 * plan.steps_at_once, fitting) // plan.group
        plan.steps_at_once = max(1, groups) * plan.group
        done = last
        guard.look(epoch, done)
        plan = guard.plan  # another one, where groups of steps overflowed
        yield min(done * plan.batch_size, plan.rows), spent
