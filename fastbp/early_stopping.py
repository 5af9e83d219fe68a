"""Early stopping: when training has not made a network better for a while, and its best state."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from fastbp.backup import Backup
from fastbp.checks import check_integer, check_real
from fastbp.history import History
from fastbp.parameters import Parameters
from fastbp.state import TrainingState

__all__ = ["EarlyStopping", "Stopper", "check_early_stopping"]

_MONITORS = "loss", "metric"


@dataclass(frozen=True)
class EarlyStopping:
    """When `Network.fit` stops before its last epoch [1]_.

    Parameters
    ----------
    monitor : {"loss", "metric"} or callable, default "loss"
        What is watched: loss or metric (accuracy, R^2) on the validation data, or of training if
        there are none; or ``monitor(network)``, larger is better, after each epoch.
    patience : int, default 10
        Training stops after so many epochs in a row that were not better than the best one.
    min_delta : float, default 0.0
        An epoch is better if it is so by more than this.
    restore_best : bool, default True
        Whether the network goes back to the end of its best epoch, its training state too: as if
        `fit` had been told that number of epochs.

    References
    ----------
    .. [1] L. Prechelt, "Early stopping - but when?", Neural Networks: Tricks of the Trade, 1998.
    """

    monitor: str | Callable[[Any], float] = "loss"
    patience: int = 10
    min_delta: float = 0.0
    restore_best: bool = True

    def __post_init__(self) -> None:
        monitor = self.monitor
        if isinstance(monitor, str) and monitor not in _MONITORS:
            known = ", ".join(map(repr, _MONITORS))
            raise ValueError(f"monitor must be one of: {known}, or a callable, got {monitor!r}")
        if not isinstance(monitor, str) and not callable(monitor):
            raise TypeError(f"monitor must be a str or a callable, got {monitor!r}")
        if not isinstance(self.restore_best, bool):
            raise TypeError(f"restore_best must be a bool, got {self.restore_best!r}")
        for name, value in (
            ("patience", check_integer(self.patience, "patience", 1)),
            ("min_delta", check_real(self.min_delta, "min_delta", least=0)),
        ):
            object.__setattr__(self, name, value)

    def as_dict(self) -> dict[str, Any]:
        """As it is kept with a network, in what JSON has."""
        monitor = self.monitor if isinstance(self.monitor, str) else repr(self.monitor)
        return {**vars(self), "monitor": monitor}


def check_early_stopping(value: Any) -> EarlyStopping | None:
    """What ``fit(early_stopping=...)`` stands for, or say what is wrong."""
    if value is None or value is False:
        return None
    if value is True:
        return EarlyStopping()
    if not isinstance(value, EarlyStopping):
        raise TypeError(f"early_stopping must be None, a bool or EarlyStopping(...), got {value!r}")
    return value


class Stopper:
    """Watches a training, and remembers it at its best.

    Parameters
    ----------
    rule : EarlyStopping
    parameters : Parameters
    state : TrainingState
    """

    def __init__(self, rule: EarlyStopping, parameters: Parameters, state: TrainingState) -> None:
        self._rule, self._parameters, self._state = rule, parameters, state
        self._best = -math.inf
        self._waited = 0
        self._backup: Backup | None = None
        self._then: tuple[Any, ...] = ()

    def is_over(self, history: History) -> bool:
        """Look at an epoch that is in the history: whether training is to stop."""
        value = self._value(history)
        if value > self._best + (self._rule.min_delta if self._best > -math.inf else 0.0):
            self._best, self._waited = value, 0
            history.best_epoch = history.epochs
            if self._rule.restore_best:
                self._remember()
            return False
        self._waited += 1
        return self._waited >= self._rule.patience

    def _value(self, history: History) -> float:
        """Of the last epoch; larger is better."""
        monitor = self._rule.monitor
        if not isinstance(monitor, str):
            return float(monitor(self._parameters))
        if monitor == "loss":
            return -(history.val_loss or history.loss)[-1]
        return (history.val_metric or history.metric)[-1]

    def _remember(self) -> None:
        arrays = self._arrays()
        if self._backup is None or not self._backup.is_of(arrays):
            self._backup = Backup(arrays)
        else:
            self._backup.refresh()
        state = self._state
        self._then = self._parameters.layer_sizes, state.steps, state.epochs, state.kept_since

    def _arrays(self) -> list[Any]:
        return [*self._parameters.weights, *self._parameters.biases, *self._state.arrays]

    def restore(self) -> None:
        """Go back to the best epoch, if it was remembered."""
        if self._backup is None:
            return
        self._backup.restore()
        sizes, steps, epochs, since = self._then
        layers = len(sizes) - 1
        if not self._backup.is_of(self._arrays()):  # a callback has put others in their place
            arrays = self._backup.arrays
            self._parameters.layer_sizes = sizes
            self._parameters.weights = arrays[:layers]
            self._parameters.biases = arrays[layers : 2 * layers]
            kept = arrays[2 * layers :]
            self._state.kept = tuple(
                kept[i : i + 2 * layers] for i in range(0, len(kept), 2 * layers)
            )
        self._state.steps, self._state.epochs, self._state.kept_since = steps, epochs, since
