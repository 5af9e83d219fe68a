"""What a training tells: its History, and the callbacks that are shown it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

__all__ = ["Callback", "History", "Progress"]

Progress = Callable[[int, int], None]
"""Called as ``progress(samples_done, samples_total)``."""


@dataclass
class History:
    """What `fit` measured: lists with one entry for each epoch that was completed.

    Attributes
    ----------
    loss, accuracy : list of float
        Running means over the epoch's batches, each evaluated before its update; the loss
        without the L2 term.
    val_loss, val_accuracy : list of float
        On the validation data after the epoch; empty without validation data.
    seconds : list of float
        Training time, without validation and callbacks.
    samples_per_second : list of float
    stopped_early : bool
        Whether a callback ended training.
    """

    loss: list[float] = field(default_factory=list)
    accuracy: list[float] = field(default_factory=list)
    val_loss: list[float] = field(default_factory=list)
    val_accuracy: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    samples_per_second: list[float] = field(default_factory=list)
    stopped_early: bool = False

    @property
    def epochs(self) -> int:
        """Number of completed epochs."""
        return len(self.loss)


class Callback(Protocol):
    """Anything with this method may be passed to `Network.fit`."""

    def on_epoch_end(self, epoch: int, network: Any, history: History) -> bool | None:
        """Called after each epoch; ``epoch`` counts from 1. Return True to stop training."""
