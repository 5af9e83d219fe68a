"""Training that goes wrong: noticed after a call of compiled code, traced to a step, and undone.

A NaN in the data, or an update that overflows, ends as NaN in the loss or in the weights. The loss
is looked at after each call. Then the parameters go back to a copy from before, and the steps since
are made again one by one: training gives the same bits every time, so that the first bad step comes
back, the steps before it stand, and its rows tell whether the data are to blame.

That also serves delayed updates (`fastbp.kernels.deferred`), whose products of rows may overflow
where plain descent does not: steps are made again plainly, and training stays so if they succeed.

Copies and looks at all weights take time, so that they are made at most so often that they cost
half a percent.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from fastbp.backup import Backup
from fastbp.finite import all_finite, bad_entry, check_parameters_finite
from fastbp.plans import NetworkPlan

if TYPE_CHECKING:
    from fastbp.network import Network

__all__ = ["DivergenceError", "Guard"]

Array = npt.NDArray[Any]

_MOST_OF_THE_TIME = 0.005
# Parameters of so many bytes are copied in less than 0.1 ms. Larger ones are not copied for a short
# training on few data, see `Guard.begin`: to copy 50 MB takes 15 ms, a step on 256 rows 70.
_SMALL = 1 << 20
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


class Guard:
    """Watches over the training of one network on one set of rows.

    Parameters
    ----------
    network : Network
    X, y : ndarray
        As `NetworkPlan` takes them.
    plan : NetworkPlan
        That training begins with; it may give way to another one, see `look`.
    order_of : callable
        From the number of an epoch to the order of its rows.
    """

    def __init__(
        self,
        network: Network,
        X: Array,
        y: Array,
        plan: NetworkPlan,
        order_of: Callable[[int], Array | None],
    ) -> None:
        self.plan = plan
        self._network, self._X, self._y, self._order_of = network, X, y, order_of
        self._backup: Backup | None = None
        self._at = _Place(0, 0, 0.0, 0.0)
        self._price, self._due = 0.0, 0.0  # what the last copy cost, and when the next may be made

    def begin(self) -> None:
        """Copy the parameters, or see that a short training can do without.

        Of large parameters and few data the data are looked at instead, which is cheaper: finite
        ones of ordinary size overflow nothing. The first copy is then made once it pays.

        Raises
        ------
        ValueError
            If the data were looked at, and one is NaN or infinite.
        """
        arrays = [*self._network.weights, *self._network.biases]
        size = sum(array.nbytes for array in arrays)
        if size > max(_SMALL, self._X.nbytes) and self._is_ordinary():
            self._price = size / 4e9
            self._due = time.perf_counter() + self._price / _MOST_OF_THE_TIME
        else:
            self._save(self._at)

    def _is_ordinary(self) -> bool:
        largest = 255.0
        if self._X.dtype != np.uint8:
            largest = max(abs(float(self._X.max())), abs(float(self._X.min())))
        if not math.isfinite(largest):
            self._blame_data(np.arange(len(self._X)), "")
        mean, scale = self._network.input_mean, self._network.input_scale
        seen = (largest + float(np.max(np.abs(mean)))) * float(np.max(np.abs(scale)))
        return max(seen, float(self.plan.settings[0])) < _ORDINARY

    def _save(self, place: _Place) -> None:
        start = time.perf_counter()
        parameters = self._network.weights, self._network.biases
        if self._backup is None or not self._backup.is_of(*parameters):
            self._backup = Backup(*parameters)
        else:
            self._backup.refresh()
        self._at = place
        end = time.perf_counter()
        self._price = max(self._price, end - start)
        self._due = end + self._price / _MOST_OF_THE_TIME

    def renew(self, epoch: int) -> None:
        """Begin anew at the start of an epoch: the parameters may be others than training left."""
        if self._backup is not None:
            self._save(_Place(epoch, 0, 0.0, 0.0))

    def look(self, epoch: int, step: int, *, last: bool = False) -> None:
        """See whether all is well after steps up to ``step`` of an epoch, both counted from 0.

        The loss is looked at, and the weights now and then, or if these are the ``last`` steps. If
        steps had failed in groups and succeeded one by one, ``plan`` is another one afterwards.

        Raises
        ------
        DivergenceError, ValueError
            If it is not: parameters are those from before the first bad step.
        """
        loss, correct = (float(value) for value in self.plan.settings[2:4])
        if math.isfinite(loss):
            if time.perf_counter() < self._due and (not last or self._backup is None):
                return
            if all_finite([*self._network.biases, *self._network.weights]):
                if not last:
                    self._save(_Place(epoch, step, loss, correct))
                return
        self._repeat(epoch, step)

    def _repeat(self, epoch: int, step: int) -> None:
        """Make the steps since the backup again; raise if one of them is bad."""
        parameters = self._network.weights, self._network.biases
        if self._backup is None or not self._backup.is_of(*parameters):
            raise DivergenceError(
                f"the loss or the weights became NaN or infinite at {_words(epoch, step - 1)} or"
                " before it, and there was no copy of the weights yet: initialise the network anew,"
                f" and try a smaller learning_rate than {self.plan.settings[0]}",
                epoch + 1,
                step,
            )
        start = self._at
        self._restore(start)
        check_parameters_finite(self._network)
        old = self.plan
        self.plan = NetworkPlan(
            self._network, self._X, self._y, batch_size=old.batch_size, delays=False
        )
        self.plan.settings[:2] = old.settings[:2]
        bad = self._advance(start, epoch, step, watch=True)
        if bad is None:
            self._save(_Place(epoch, step, *(float(value) for value in self.plan.settings[2:4])))
            return
        self._restore(start)
        self._advance(start, *bad, watch=False)
        self._blame(*bad)

    def _restore(self, place: _Place) -> None:
        assert self._backup is not None
        self._backup.restore()
        self.plan.settings[2:4] = place.loss, place.correct

    def _advance(
        self, start: _Place, epoch: int, step: int, *, watch: bool
    ) -> tuple[int, int] | None:
        """Train from ``start`` to a step of an epoch; if watched, to the first bad step."""
        plan = self.plan
        plan.settings[2:4] = start.loss, start.correct
        arrays = [*self._network.biases, *self._network.weights]
        steps = -(-plan.rows // plan.batch_size)
        for now in range(start.epoch, epoch + 1):
            order = self._order_of(now)
            first = start.step if now == start.epoch else 0
            last = step if now == epoch else steps
            if now > start.epoch:
                plan.settings[2:4] = 0.0
            at_once = 1 if watch else max(1, plan.steps_at_once)
            for done in range(first, last, at_once):
                plan.train(order, done, min(last, done + at_once))
                good = not watch or (math.isfinite(plan.settings[2]) and all_finite(arrays))
                if not good:
                    return now, done
        return None

    def _blame(self, epoch: int, step: int) -> None:
        plan = self.plan
        first = step * plan.batch_size
        order = self._order_of(epoch)
        rows = np.arange(first, min(first + plan.batch_size, plan.rows))
        where = _words(epoch, step)
        self._blame_data(rows if order is None else order[rows], f" (first met at {where})")
        raise DivergenceError(
            f"the loss or the weights became NaN or infinite at {where}; the data of that step are"
            " finite, and the network has the weights from before it: try a smaller learning_rate"
            f" than {plan.settings[0]}, or scale the input",
            epoch + 1,
            step + 1,
        )

    def _blame_data(self, rows: Array, where: str) -> None:
        told = bad_entry(self._network, self._X, rows, "X")
        if told is not None:
            raise ValueError(
                f"{told}{where}: leave such rows out, or fill them in; the network has the weights"
                " from before"
            )


def _words(epoch: int, step: int) -> str:
    return f"epoch {epoch + 1}, step {step + 1}"
