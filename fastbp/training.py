"""Gradient descent: full-batch, stochastic and mini-batch, epoch by epoch.

It trains a record of parameters on rows that are ready, and knows no network: what is to be done
between epochs (validation, callbacks) comes as callables.
"""

from __future__ import annotations

import functools
import math
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from fastbp.early_stopping import Stopper
from fastbp.engine.plan import NetworkPlan
from fastbp.engine.recipe import Recipe
from fastbp.guard import Guard
from fastbp.history import Cost, History, Progress
from fastbp.kernels import plan as w
from fastbp.measure import Measure
from fastbp.parameters import Parameters
from fastbp.schedules import Constant
from fastbp.settings import Settings, spread_dropout
from fastbp.state import TrainingState
from fastbp.steps import Steps, epoch_order

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
        Which epoch, counted from 0 over all calls of `fit` that go on with each other.

    Returns
    -------
    list of ndarray of int64
        Row numbers, batch by batch.
    """
    if shuffle and seed is None:
        raise ValueError("the batches of a shuffled epoch depend on the seed: give one")
    order = epoch_order(n, shuffle, seed or 0, epoch)
    if order is None:
        order = np.arange(n, dtype=np.int64)
    size = n if batch_size is None else batch_size
    return [order[start : start + size] for start in range(0, n, max(size, 1))]


class Training:
    """A training: what it works on and by, how far it is, and what it has measured.

    Parameters
    ----------
    parameters : Parameters
        Changed in place.
    X : ndarray of shape (n, n_0)
        As `fastbp.engine.inputs.as_input` gives it; n >= 1.
    y : ndarray of shape (n, n_L)
        As `fastbp.targets.fit_targets` gives it.
    settings : Settings
    state : TrainingState
        What training goes on from; changed in place.
    weights : ndarray of shape (n,), optional
        Of the rows, in the network's dtype.

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

    def __init__(
        self,
        parameters: Parameters,
        X: Array,
        y: Array,
        settings: Settings,
        state: TrainingState,
        weights: Array | None = None,
    ) -> None:
        self.settings = settings
        self._parameters, self._state = parameters, state
        self._measure = Measure(y, parameters.loss_function, weights)
        self.history = History(metric_name=self._measure.metric_name)
        # No method of this object: a circle of references would keep all arrays alive for a while.
        recipe_of = functools.partial(
            _recipe, parameters, settings, state, weights, self._measure.scale
        )
        steps = self._steps = Steps(len(X), settings, state, weights)
        plan = NetworkPlan(
            parameters, X, y, batch_size=steps.batch_size, recipe=recipe_of()
        )  # fmt: skip
        if steps.constant is not None:
            plan.settings[w.RATE], plan.settings[w.KEEP] = steps.constant
        self._guard = Guard(
            parameters, X, y, plan, steps=steps, state=state, recipe_of=recipe_of
        )  # fmt: skip
        self._guard.begin()

    def run(
        self,
        *,
        validate: Callable[[], tuple[float, float]] | None = None,
        after_epoch: Callable[[int, History], bool] | None = None,
        examine: Callable[[], None] | None = None,
        report: Progress | None = None,
    ) -> History:
        """Train for all epochs, or until there is a reason to stop.

        Parameters
        ----------
        validate : callable, optional
            Gives loss and metric on other data, after each epoch.
        after_epoch : callable, optional
            Given the number of epochs done and the history; it may change the parameters, and
            stops training by returning True.
        examine : callable, optional
            Called after the first epoch.
        report : callable, optional
            Told the samples done and their total, some times a second.
        """
        guard, settings, history, n = self._guard, self.settings, self.history, self._steps.rows
        epochs, rule = settings.epochs, settings.early_stopping
        stopper = None if rule is None else Stopper(rule, self._parameters, self._state)
        deadline = math.inf
        if settings.max_seconds is not None:
            deadline = time.perf_counter() + settings.max_seconds
        # Asking costs as much as a step of a small network.
        is_changed = after_epoch is not None or (rule is not None and callable(rule.monitor))
        watched = is_changed or report is not None
        for epoch in range(epochs):
            guard.plan.totals[:] = 0.0
            self._state.epochs += 1
            if is_changed and epoch > 0:
                guard.follow(epoch, 0)
                guard.renew(epoch)  # callbacks may have changed parameters in place
            seconds = 0.0
            for samples, spent in _chunks(guard, self._steps, self._state, epoch, watched=watched):
                seconds += spent
                if report is not None:
                    report(epoch * n + samples, n * epochs)
                if deadline < math.inf and time.perf_counter() >= deadline:
                    break
            is_late = deadline < math.inf and time.perf_counter() >= deadline
            step = -(-samples // self._steps.batch_size)
            if is_changed or stopper is not None or is_late or epoch + 1 == epochs:
                guard.look(epoch, step, last=True)
            self._record(epoch, step, samples, seconds)
            if examine is not None and epoch == 0:
                examine()
            if validate is not None:
                loss, metric = validate()
                history.val_loss.append(loss)
                history.val_metric.append(metric)
            if is_late or stopper is not None or after_epoch is not None:
                self._end_epoch(epoch, stopper, after_epoch, is_late=is_late)
            if history.stopped_by is not None:
                break
        history.stopped_early = history.stopped_by is not None
        if stopper is not None:
            stopper.restore()
        return history

    def _end_epoch(
        self,
        epoch: int,
        stopper: Stopper | None,
        after_epoch: Callable[[int, History], bool] | None,
        *,
        is_late: bool,
    ) -> None:
        """Ask all that may stop training, and note in the history what does."""
        is_last = epoch + 1 == self.settings.epochs
        reasons = {
            "early_stopping": stopper is not None and stopper.is_over(self.history) and not is_last,
            "callback": after_epoch is not None and after_epoch(epoch + 1, self.history),
            "max_seconds": is_late and not is_last,
        }
        self.history.stopped_by = next((name for name, holds in reasons.items() if holds), None)

    def _record(self, epoch: int, step: int, samples: int, seconds: float) -> None:
        """Write what an epoch has measured, up to a step, into the history."""
        history, steps, plan = self.history, self._steps, self._guard.plan
        loss, metric = plan.totals.tolist()
        loss, metric = self._measure.means(loss, metric, steps.mass(epoch, samples))
        history.loss.append(loss)
        history.metric.append(metric)
        history.learning_rate.append(steps.last_rate)
        history.seconds.append(seconds)
        history.samples_per_second.append(samples / max(seconds, 1e-9))
        history.counts.append((samples, step))
        if epoch == 0:
            history.cost = Cost(plan.step, self._parameters.dtype, plan.workers)


def _recipe(
    parameters: Parameters,
    settings: Settings,
    state: TrainingState,
    weights: Array | None,
    metric_scale: Array | None,
) -> Recipe:
    """How to train, by what the network is made of now."""
    return settings.optimizer.to_recipe(
        state.kept,
        dropout=spread_dropout(settings.dropout, len(parameters.layer_sizes) - 2),
        seed=state.seed,
        row_weights=weights,
        metric_scale=metric_scale,
        is_constant=isinstance(settings.schedule, Constant),
    )


def _chunks(
    guard: Guard, steps: Steps, state: TrainingState, epoch: int, *, watched: bool
) -> Iterator[tuple[int, float]]:
    """Run an epoch in a few calls of compiled code, between which Python sees Ctrl-C.

    If ``watched``, each call goes on with the arrays that user code has left in the network.

    Yields the samples done so far and the seconds that the last call took. How the steps are
    divided among the calls changes nothing in the result, as calls are of whole groups.
    """
    plan = guard.plan
    done = 0
    while done < steps.in_epoch:
        if watched:
            guard.follow(epoch, done)
        last = min(steps.in_epoch, done + plan.steps_at_once)
        start = time.perf_counter()
        try:
            steps.make(plan, epoch, done, last)
        except KeyboardInterrupt:
            if not plan.undoes:  # it was seen when the call had ended
                state.steps = steps.number(epoch, last)
            raise
        spent = time.perf_counter() - start
        state.steps = steps.number(epoch, last)
        fitting = int((last - done) * _SECONDS_BETWEEN_SIGNALS / max(spent, 1e-9))
        groups = min(4 * plan.steps_at_once, fitting) // plan.group
        plan.steps_at_once = max(1, groups) * plan.group
        done = last
        guard.look(epoch, done)
        plan = guard.plan  # another one, where groups of steps overflowed
        yield min(done * plan.batch_size, plan.rows), spent
