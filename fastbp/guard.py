"""Training that goes wrong: noticed after a call of compiled code, traced to a step, and undone.

A NaN in the data, or an update that overflows, ends as NaN in the loss or in the weights. The loss
is looked at after each call. Then the parameters go back to a copy from before, and the steps since
are made again, those of a bad call one by one: training gives the same bits every time, so that the
first bad step comes back. It is undone, and its rows tell whether the data are to blame.

That also serves delayed updates (`fastbp.kernels.wide.delayed`), whose products of rows may
overflow where plain descent does not: steps are made again plainly, and training stays so if they
succeed.

Copies and looks at all weights take time, so that they are made at most so often that they cost
half a percent.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any, NamedTuple, NoReturn

import numpy as np
import numpy.typing as npt

from fastbp.backup import Backup
from fastbp.engine.plan import NetworkPlan
from fastbp.finite import all_finite, bad_entry, check_parameters_finite
from fastbp.parameters import Parameters

__all__ = ["DivergenceError", "Guard"]

Array = npt.NDArray[Any]

_MOST_OF_THE_TIME = 0.005
_SHORTEST = 0.05  # seconds between two copies at the least: the first costs less than those to come
# Parameters of so many bytes are copied in less than 0.1 ms. Larger ones are not copied for a short
# training on few data, see `Guard.begin`: to copy 50 MB takes 15 ms, a step on 256 rows 70.
_SMALL = 1 << 20
# Larger ones are not copied at all, for the sake of memory; beside their arithmetic a look at each
# row of the data is little.
_LARGE = 32 << 20
_ORDINARY = 1e12  # a learning rate and data below it overflow nothing, nor do products of rows


class DivergenceError(ValueError):
    """The loss or the weights became NaN or infinite in training, and not by the data.

    Attributes
    ----------
    epoch, step : int
        Where, counted from 1; the step within its epoch.
    """

    def __init__(self, message: str, epoch: int, step: int) -> None:
        super().__init__(message, epoch, step)
        self.epoch, self.step = epoch, step

    def __str__(self) -> str:
        return str(self.args[0])


class _Place(NamedTuple):
    """A moment of training: steps done in an epoch, and what they have added up."""

    epoch: int
    step: int
    loss: float
    correct: float


class _Call(NamedTuple):
    """Steps ``first`` ... ``last`` - 1 of an epoch."""

    epoch: int
    first: int
    last: int


class Guard:
    """Watches over the training of one network on one set of rows.

    Parameters
    ----------
    parameters : Parameters
    X, y : ndarray
        As `NetworkPlan` takes them.
    plan : NetworkPlan
        That training begins with; it may give way to another one, see `look`.
    order_of : callable
        From the number of an epoch to the order of its rows.
    """

    def __init__(
        self,
        parameters: Parameters,
        X: Array,
        y: Array,
        plan: NetworkPlan,
        order_of: Callable[[int], Array | None],
    ) -> None:
        self.plan = plan
        self._parameters, self._X, self._y, self._order_of = parameters, X, y, order_of
        self._backup: Backup | None = None
        self._at = _Place(0, 0, 0.0, 0.0)
        self._price, self._due = 0.0, 0.0  # what the last copy cost, and when the next may be made

    def begin(self) -> None:
        """Copy the parameters, or see that a short training can do without.

        Of large parameters and few data the data are looked at instead, which is cheaper: finite
        ones of ordinary size overflow nothing. The first copy is then made once it pays, or never
        where the parameters are very large.

        Raises
        ------
        ValueError
            If the data were looked at, and one is NaN or infinite.
        """
        size = sum(array.nbytes for array in self._arrays())
        few = _SMALL < size > self._X.nbytes
        if (few or size > _LARGE) and self._is_ordinary():
            self._price = size / 4e9
            wait = self._price / _MOST_OF_THE_TIME if size <= _LARGE else math.inf
            self._due = time.perf_counter() + wait
        else:
            self._save(self._at)

    def _telling_arrays(self) -> list[Array]:
        """What is NaN or infinite if data or deltas of the last steps were: a look at it is short.

        A column of X that holds a NaN or infinity makes that column of W1 so, in all of its rows;
        deltas add up to the biases. Only an extraordinary learning rate may spare these.
        """
        if self.plan.settings[0] >= _ORDINARY:
            return self._arrays()
        return [*self._parameters.biases, *(weight[0] for weight in self._parameters.weights)]

    def _is_copied(self) -> bool:
        """Whether the backup is of the arrays that the network has now."""
        parameters = self._parameters.weights, self._parameters.biases
        return self._backup is not None and self._backup.is_of(*parameters)

    def _is_ordinary(self) -> bool:
        largest = 255.0
        if self._X.dtype != np.uint8:
            largest = max(abs(float(self._X.max())), abs(float(self._X.min())))
        if not math.isfinite(largest):
            self._blame_data(np.arange(len(self._X)), "")
        mean, scale = self._parameters.input_mean, self._parameters.input_scale
        seen = (largest + float(np.max(np.abs(mean)))) * float(np.max(np.abs(scale)))
        return max(seen, float(self.plan.settings[0])) < _ORDINARY

    def _save(self, place: _Place, since: float | None = None) -> None:
        """Copy the parameters; ``since`` some moment, that is when looking at them began."""
        start = time.perf_counter() if since is None else since
        if self._backup is not None and self._is_copied():
            self._backup.refresh()
        else:
            self._backup = Backup(self._parameters.weights, self._parameters.biases)
        self._at = place
        end = time.perf_counter()
        self._price = max(self._price, end - start)
        self._due = end + max(self._price / _MOST_OF_THE_TIME, _SHORTEST)

    def follow(self, epoch: int, step: int) -> None:
        """Go on, from a step of an epoch, with what user code has left in the network.

        Raises
        ------
        TypeError, ValueError
            As for `NetworkPlan.follow`.
        """
        self.plan.follow(self._parameters)
        if self._backup is not None and not self._is_copied():
            loss, correct = (float(value) for value in self.plan.totals)
            self._save(_Place(epoch, step, loss, correct))

    def renew(self, epoch: int) -> None:
        """Begin anew at the start of an epoch: the parameters may be others than training left."""
        if self._backup is not None:
            self._save(_Place(epoch, 0, 0.0, 0.0))

    def look(self, epoch: int, step: int, *, last: bool = False) -> None:
        """See whether all is well after steps up to ``step`` of an epoch, both counted from 0.

        The loss is looked at, and the weights now and then; some of them if these are the ``last``
        steps. If steps had failed in groups and succeeded one by one, ``plan`` is another one.

        Raises
        ------
        DivergenceError, ValueError
            If it is not: parameters are those from before the first bad step.
        """
        loss, correct = (float(value) for value in self.plan.totals)
        if math.isfinite(loss):
            start = time.perf_counter()
            due = start >= self._due
            if not due and (not last or self._backup is None):
                return
            if all_finite(self._arrays() if due else self._telling_arrays()):
                if not last:
                    self._save(_Place(epoch, step, loss, correct), start)
                return
        self._repeat(epoch, step)

    def _repeat(self, epoch: int, step: int) -> None:
        """Make the steps since the copy again; raise if one of them is bad."""
        if self._backup is None or not self._is_copied():
            raise DivergenceError(
                f"the loss or the weights became NaN or infinite at {_words(epoch, step - 1)} or"
                " before it, and there was no copy of the weights yet: initialise the network anew,"
                f" and try a smaller learning_rate than {self.plan.settings[0]}",
                epoch + 1,
                step,
            )
        self._backup.restore()
        check_parameters_finite(self._parameters)
        call = self._again(epoch, step, self.plan.steps_at_once)
        while call is not None:
            if self.plan.group > 1:
                self._be_plain()
            bad = self._again(call.epoch, call.last, 1)
            if bad is not None:
                self._blame(bad)
            call = self._again(epoch, step, self.plan.steps_at_once)

    def _again(self, epoch: int, step: int, at_once: int) -> _Call | None:
        """Train from the copy to a step of an epoch, in calls of some steps, copying after each.

        A bad call is undone and returned.
        """
        plan, start = self.plan, self._at
        plan.totals[:] = start.loss, start.correct
        steps = -(-plan.rows // plan.batch_size)
        for now in range(start.epoch, epoch + 1):
            if now > start.epoch:
                plan.totals[:] = 0.0
            order = self._order_of(now)
            end = step if now == epoch else steps
            for first in range(start.step if now == start.epoch else 0, end, at_once):
                last = min(end, first + at_once)
                plan.train(order, first, last)
                loss, correct = (float(value) for value in plan.totals)
                if not math.isfinite(loss) or not all_finite(self._arrays()):
                    assert self._backup is not None
                    self._backup.restore()
                    return _Call(now, first, last)
                self._save(_Place(now, last, loss, correct))
        return None

    def _be_plain(self) -> None:
        """Go on without delayed updates."""
        old = self.plan
        self.plan = NetworkPlan(
            self._parameters, self._X, self._y, batch_size=old.batch_size, delays=False,
            recipe=old.recipe,
        )  # fmt: skip
        self.plan.settings[:] = old.settings

    def _arrays(self) -> list[Array]:
        return [*self._parameters.biases, *self._parameters.weights]

    def _blame(self, bad: _Call) -> NoReturn:
        """Raise for a call of one step, which is undone."""
        plan, where = self.plan, _words(bad.epoch, bad.first)
        first = bad.first * plan.batch_size
        rows = np.arange(first, min(first + plan.batch_size, plan.rows))
        order = self._order_of(bad.epoch)
        self._blame_data(rows if order is None else order[rows], f" (first met at {where})")
        raise DivergenceError(
            f"the loss or the weights became NaN or infinite at {where}; the data of that step are"
            " finite, and the network has the weights from before it: try a smaller learning_rate"
            f" than {plan.settings[0]}, or scale the input",
            bad.epoch + 1,
            bad.first + 1,
        )

    def _blame_data(self, rows: Array, where: str) -> None:
        told = bad_entry(self._parameters, self._X, rows, "X")
        if told is not None:
            raise ValueError(
                f"{told}{where}: leave such rows out, or fill them in; the network has the weights"
                " from before"
            )


def _words(epoch: int, step: int) -> str:
    return f"epoch {epoch + 1}, step {step + 1}"
