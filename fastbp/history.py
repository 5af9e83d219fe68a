"""What a training tells: its History, and the callbacks that are shown it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np

from fastbp.engine import peaks
from fastbp.roofline import TrainingStep, Work, least_seconds

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["Callback", "Cost", "History", "Progress", "draw_curve"]

Progress = Callable[[int, int], None]
"""Called as ``progress(samples_done, samples_total)``."""


class Cost(NamedTuple):
    """What a training takes by the model of `fastbp.roofline`, and on what it ran."""

    kind: TrainingStep
    dtype: np.dtype[Any]  # of the arithmetic
    threads: int

    def work(self, rows: int, steps: int) -> Work:
        """Of so many rows, in so many steps."""
        step, with_row = self.kind.work(0), self.kind.work(1)
        nbytes = rows * (with_row.nbytes - step.nbytes) + steps * step.nbytes
        return Work(rows * with_row.flops, nbytes)


@dataclass
class History:
    """What `fit` measured: lists with one entry for each epoch.

    Attributes
    ----------
    loss, metric : list of float
        Running means over the epoch's rows, each evaluated before the update of its batch (with
        dropout, where that is asked for); the loss without the L2 term. The metric is that of the
        network's loss, see `metric_name`.
    val_loss, val_metric : list of float
        On the validation data after the epoch; empty without.
    learning_rate : list of float
        Of the epoch's last step.
    seconds : list of float
        Training time, without validation and callbacks.
    samples_per_second : list of float
    metric_name : {"accuracy", "r2"}
        What the metric is. It is also an attribute of this name: ``accuracy`` and ``val_accuracy``,
        or ``r2`` and ``val_r2``.
    stopped_early : bool
        Whether training ended before its last epoch.
    stopped_by : {"callback", "early_stopping", "max_seconds"} or None
        What ended it then. The epoch in which `max_seconds` were over may not be whole: it is
        measured over the rows that it has seen.
    best_epoch : int or None
        With early stopping, the best one, counted from 1: the network is as it was after it, if
        that was asked for.
    counts : list of (int, int)
        Rows and steps.
    cost : Cost or None
        What these take.
    """

    loss: list[float] = field(default_factory=list)
    metric: list[float] = field(default_factory=list)
    val_loss: list[float] = field(default_factory=list)
    val_metric: list[float] = field(default_factory=list)
    learning_rate: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    samples_per_second: list[float] = field(default_factory=list)
    metric_name: str = "accuracy"
    stopped_early: bool = False
    stopped_by: str | None = None
    best_epoch: int | None = None
    counts: list[tuple[int, int]] = field(default_factory=list, repr=False)
    cost: Cost | None = field(default=None, repr=False)

    @property
    def epochs(self) -> int:
        """Number of completed epochs."""
        return len(self.loss)

    @property
    def accuracy(self) -> list[float]:
        """The metric, of losses of classification."""
        return self._named("accuracy", self.metric)

    @property
    def val_accuracy(self) -> list[float]:
        """The metric on the validation data, of losses of classification."""
        return self._named("accuracy", self.val_metric)

    @property
    def r2(self) -> list[float]:
        """The metric, of losses of regression."""
        return self._named("r2", self.metric)

    @property
    def val_r2(self) -> list[float]:
        """The metric on the validation data, of losses of regression."""
        return self._named("r2", self.val_metric)

    def _named(self, name: str, values: list[float]) -> list[float]:
        if self.metric_name != name:
            raise AttributeError(
                f"the metric of this training is {self.metric_name!r}, not {name!r}"
            )
        return values

    @property
    def gflops(self) -> list[float]:
        """1e9 operations a second in each epoch, counted as in `Network.explain`."""
        flops = 0 if self.cost is None else self.cost.work(1, 0).flops
        return [1e-9 * flops * rate for rate in self.samples_per_second]

    @property
    def limit_fraction(self) -> list[float]:
        """The fraction of the machine's limit that each epoch ran at, by `Network.explain`'s model.

        What the machine can do is measured when this is first asked for, once in a process, in some
        0.3 s. Of what stays in the caches only the arithmetic counts.
        """
        if self.cost is None:
            return []
        cost = self.cost
        flops = peaks.measured_flops(cost.dtype.name, cost.threads)
        bandwidth = peaks.measured_bandwidth(cost.threads)
        return [
            least_seconds(cost.work(*counts), flops, bandwidth) / max(seconds, 1e-9)
            for counts, seconds in zip(self.counts, self.seconds, strict=True)
        ]

    def plot(self) -> Figure:
        """Draw loss and metric over the epochs, of training and of validation.

        Returns
        -------
        matplotlib.figure.Figure
            With two axes; ``figure.savefig(path)`` writes it, and notebooks show it.

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        """
        try:
            from matplotlib.figure import Figure
        except ImportError as error:
            raise ImportError("plot needs matplotlib: pip install 'fastbp[cli]'") from error
        figure = Figure(figsize=(10, 4), layout="constrained")
        loss, metric = figure.subplots(1, 2)
        draw_curve(loss, "loss", self.loss, self.val_loss, "validation")
        draw_curve(metric, self.metric_name, self.metric, self.val_metric, "validation")
        for axes in (loss, metric):
            if self.best_epoch is not None:
                axes.axvline(self.best_epoch, color="grey", linestyle=":", linewidth=1)
        return figure


def draw_curve(
    axes: Axes, name: str, train: Sequence[float], other: Sequence[float], other_name: str
) -> None:
    """Draw what was measured in training, and on other data, over the epochs."""
    from matplotlib.ticker import MaxNLocator

    for label, values in (("train", train), (other_name, other)):
        if values:
            # A line of one point would show nothing.
            marker = "o" if len(values) == 1 else None
            axes.plot(range(1, len(values) + 1), values, label=label, marker=marker)
    axes.set_xlabel("epoch")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_ylabel(name)
    axes.grid(alpha=0.3)
    if train:
        axes.legend()


class Callback(Protocol):
    """Anything with this method may be passed to `Network.fit`."""

    def on_epoch_end(self, epoch: int, network: Any, history: History) -> bool | None:
        """Called after each epoch; ``epoch`` counts from 1. Return True to stop training."""
