"""Training that goes wrong: noticed after a call of compiled code, traced to a step, and undone.

A NaN in the data, or an update that overflows, ends as NaN in the loss or in the weights. The loss
is looked at after each call. Then the parameters go back to a copy from before, and the steps since
are made again, those of a bad call one by one: training gives the same bits every time, so that the
first bad step comes back. It is undone, and its rows tell whether the data are to blame.

That also serves delayed updates (`fastbp.kernels.wide.delayed`), whose products of rows may
overflow where plain descent does not: steps are made again plainly, and training stays so if they
succeed.

What the optimizer keeps goes back with the parameters, and the numbers of steps follow from where
these are: copies and looks are of all that a step changes.

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
from fastbp.engine.recipe import Recipe
from fastbp.finite import all_finite, bad_entry, check_parameters_finite
from fastbp.losses import LOSSES
from fastbp.parameters import Parameters
from fastbp.state import TrainingState
from fastbp.steps import Steps

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
# A learning rate and data below it overflow nothing, nor do products of rows, where activations and
# slopes of the loss have bounds.
_ORDINARY = 1e12
_BOUNDED_ACTIVATIONS = frozenset({"sigmoid", "tanh"})
_BOUNDED_LOSSES = frozenset({"log_loss", "cross_entropy", "absolute_error", "huber"})


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
    metric: float


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
    steps : Steps
        What each step is told.
    state : TrainingState
        Of the training; it is told how many steps were made.
    recipe_of : callable
        Gives the recipe for the sizes and the state of now.
    """

    def __init__(
        self,
        parameters: Parameters,
        X: Array,
        y: Array,
        plan: NetworkPlan,
        *,
        steps: Steps,
        state: TrainingState,
        recipe_of: Callable[[], Recipe],
    ) -> None:
        self.plan = plan
        self._parameters, self._X, self._y = parameters, X, y
        self._steps, self._state, self._recipe_of = steps, state, recipe_of
        self._sizes = parameters.layer_sizes
        self._backup: Backup | None = None
        self._at = _Place(0, 0, 0.0, 0.0)
        self._price, self._due = 0.0, 0.0  # what the last copy cost, and when the next may be made

    def begin(self) -> None:
        """Copy the parameters, or see that a short training can do without.

        Of large parameters and few data the data are looked at instead, which is cheaper: finite
        ones of ordinary size overflow nothing, if activations and slopes of the loss have bounds.
        The first copy is then made once it pays, or never where the parameters are very large.

        Raises
        ------
        ValueError
            If the data were looked at, and one is NaN or infinite.
        """
        size = sum([array.nbytes for array in self._arrays()])
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
        deltas add up to the biases. Only an extraordinary learning rate may spare these, or
        functions without bounds.
        """
        if self._steps.largest_rate >= _ORDINARY or not self._is_bounded():
            return self._arrays()
        return [array if array.ndim == 1 else array[0] for array in self._arrays()]

    def _is_bounded(self) -> bool:
        """Whether activations and slopes of the loss have bounds, so that steps have."""
        parameters = self._parameters
        return (
            _BOUNDED_ACTIVATIONS.issuperset(parameters.layer_activations)
            and parameters.loss_function in _BOUNDED_LOSSES
        )

    def _is_copied(self) -> bool:
        """Whether the backup is of the arrays that the network has now."""
        return self._backup is not None and self._backup.is_of(self._changed())

    def _is_ordinary(self) -> bool:
        if not self._is_bounded():
            return False
        largest = 255.0
        if self._X.dtype != np.uint8:
            largest = max(abs(float(self._X.max())), abs(float(self._X.min())))
        if not math.isfinite(largest):
            self._blame_data(np.arange(len(self._X)), "")
        mean, scale = self._parameters.input_mean, self._parameters.input_scale
        seen = (largest + float(np.max(np.abs(mean)))) * float(np.max(np.abs(scale)))
        return max(seen, self._steps.largest_rate) < _ORDINARY

    def _save(self, place: _Place, since: float | None = None) -> None:
        """Copy the parameters; ``since`` some moment, that is when looking at them began."""
        start = time.perf_counter() if since is None else since
        if self._backup is not None and self._is_copied():
            self._backup.refresh()
        else:
            self._backup = Backup(self._changed())
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
        sizes = self._parameters.layer_sizes
        if sizes != self._sizes:
            self._state.follow(sizes, self._y.dtype)
            self.plan.recipe = self._recipe_of()
            self._sizes = sizes
        self.plan.follow(self._parameters)
        if self._backup is not None and not self._is_copied():
            self._save(_Place(epoch, step, *self.plan.totals.tolist()))

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
        loss, metric = self.plan.totals.tolist()
        if math.isfinite(loss):
            start = time.perf_counter()
            due = start >= self._due
            if not due and (not last or self._backup is None):
                return
            if all_finite(self._arrays() if due else self._telling_arrays()):
                if not last:
                    self._save(_Place(epoch, step, loss, metric), start)
                return
        self._repeat(epoch, step)

    def _repeat(self, epoch: int, step: int) -> None:
        """Make the steps since the copy again; raise if one of them is bad."""
        if self._backup is None or not self._is_copied():
            raise DivergenceError(
                f"the loss or the weights became NaN or infinite at {_words(epoch, step - 1)} or"
                " before it, and there was no copy of the weights yet: initialise the network anew,"
                f" and try a smaller learning_rate than {self._steps.rate(epoch, step - 1)}",
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
        plan, start, steps = self.plan, self._at, self._steps
        plan.totals[:] = start.loss, start.metric
        for now in range(start.epoch, epoch + 1):
            if now > start.epoch:
                plan.totals[:] = 0.0
            end = step if now == epoch else steps.in_epoch
            for first in range(start.step if now == start.epoch else 0, end, at_once):
                last = min(end, first + at_once)
                steps.make(plan, now, first, last)
                loss, metric = plan.totals.tolist()
                if not math.isfinite(loss) or not all_finite(self._arrays()):
                    assert self._backup is not None
                    self._backup.restore()
                    return _Call(now, first, last)
                self._save(_Place(now, last, loss, metric))
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
        """All that a step changes, what is most telling first."""
        return [*self._parameters.biases, *self._parameters.weights, *self._state.arrays]

    def _changed(self) -> list[Array]:
        return [*self._parameters.weights, *self._parameters.biases, *self._state.arrays]

    def _blame(self, bad: _Call) -> NoReturn:
        """Raise for a call of one step, which is undone."""
        plan, where = self.plan, _words(bad.epoch, bad.first)
        first = bad.first * plan.batch_size
        rows = np.arange(first, min(first + plan.batch_size, plan.rows))
        order = self._steps.order(bad.epoch)
        self._state.steps = self._steps.number(bad.epoch, bad.first)
        self._blame_data(rows if order is None else order[rows], f" (first met at {where})")
        is_r2 = LOSSES[self._parameters.loss_function].metric == "r2"
        targets = " and the targets" if is_r2 else ""
        raise DivergenceError(
            f"the loss or the weights became NaN or infinite at {where}; the data of that step are"
            " finite, and the network has the weights from before it: try a smaller learning_rate"
            f" than {self._steps.rate(bad.epoch, bad.first)}, or scale the input{targets}",
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
