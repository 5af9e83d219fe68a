"""What an optimizer keeps between the calls of `partial_fit`, and the learning rate."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from fastbp.engine import memory
from fastbp.kernels.functions.optimizers import ADAM
from fastbp.optimizers import Optimizer

__all__ = ["OptimizerState", "optimizer_of"]

Array = npt.NDArray[Any]

_LEAST_RATE = 1e-6  # from which "adaptive" does not go on


def optimizer_of(estimator: Any) -> Optimizer:
    """The rule of the update that an estimator's parameters say."""
    if estimator.solver == "adam":
        return Optimizer(
            "adam",
            beta_1=estimator.beta_1,
            beta_2=estimator.beta_2,
            epsilon=estimator.epsilon,
            bare_epsilon=True,
        )
    if estimator.momentum == 0:
        return Optimizer("sgd")
    kind = "nesterov" if estimator.nesterovs_momentum else "momentum"
    return Optimizer(kind, momentum=estimator.momentum)


@dataclass
class OptimizerState:
    """An optimizer at work: its rule, its schedule, and how far it is.

    It is what training goes on from, beside the weights. Parameters of the estimator that are
    changed between calls of `partial_fit` are of no effect on it, as in scikit-learn.

    Parameters
    ----------
    rule : Optimizer
    learning_rate_init, power_t : float
    schedule : {"constant", "invscaling", "adaptive"}
        Of Adam always "constant".
    kept : tuple of list of ndarray
        Velocities or moments: none, one or two lists, each with an array of the shape and dtype of
        every weight (n_out, n_in) and then of every bias.
    steps : int, default 0
        Updates that were made.
    """

    rule: Optimizer
    learning_rate_init: float
    schedule: str = "constant"
    power_t: float = 0.5
    kept: tuple[list[Array], ...] = ()
    steps: int = 0
    _rate: float = field(init=False)

    def __post_init__(self) -> None:
        self._rate = float(self.learning_rate_init)

    @classmethod
    def of(cls, estimator: Any) -> OptimizerState:
        """That of a training that begins."""
        return cls(
            optimizer_of(estimator),
            float(estimator.learning_rate_init),
            estimator.learning_rate if estimator.solver == "sgd" else "constant",
            float(estimator.power_t),
        )

    @property
    def rate(self) -> float:
        """The learning rate of the schedule, without Adam's corrections."""
        return self._rate

    @property
    def learning_rate(self) -> float:
        """The current learning rate, as scikit-learn shows it: Adam's is that of its last step."""
        rule = self.rule
        if rule.about.code != ADAM or self.steps == 0:
            return self._rate
        root = np.sqrt(1 - rule.beta_2**self.steps)
        return float(self._rate * root / (1 - rule.beta_1**self.steps))

    def fit_to(self, arrays: Sequence[Array]) -> None:
        """Have room for what is kept of weights and biases; what is there already stays."""
        if not self.kept:
            self.kept = tuple([_zeros_like(a) for a in arrays] for _ in range(self.rule.about.kept))
            return
        for kept in self.kept:
            for i, (mine, array) in enumerate(zip(kept, arrays, strict=True)):
                if mine.shape != array.shape:
                    raise ValueError(
                        f"coefs_ and intercepts_ must keep their shapes between calls of"
                        f" partial_fit, got {array.shape[::-1]} after {mine.shape[::-1]}"
                    )
                if mine.dtype != array.dtype or not mine.flags.carray:
                    kept[i] = _zeros_like(array)
                    kept[i][...] = mine

    def end_epoch(self, samples: int) -> None:
        """Change the learning rate after an epoch; ``samples`` is `t_`."""
        if self.schedule == "invscaling":
            self._rate = self.learning_rate_init / (samples + 1) ** self.power_t

    def stop_or_slow_down(self) -> tuple[bool, str]:
        """Where there was no progress: whether to stop, and what to tell the user of it."""
        if self.schedule != "adaptive":
            return True, "Stopping."
        if self._rate <= _LEAST_RATE:
            return True, "Learning rate too small. Stopping."
        self._rate /= 5.0
        return False, f"Setting learning rate to {self._rate:f}"


def _zeros_like(array: Array) -> Array:
    made = memory.empty(array.shape, array.dtype)
    made.fill(0)
    return made
