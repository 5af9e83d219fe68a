"""The hyper-parameters of a training, checked."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np

from fastbp.checks import check_integer, check_real, check_share
from fastbp.early_stopping import EarlyStopping, check_early_stopping
from fastbp.optimizers import Optimizer, check_optimizer
from fastbp.row_weights import ClassWeight, check_class_weight, plain_class_weight
from fastbp.schedules import Schedule, as_schedule

__all__ = ["Settings", "check_dropout", "check_settings", "new_seed", "spread_dropout"]

Dropout = float | tuple[float, ...]


class Settings(NamedTuple):
    """Checked hyper-parameters, see `Network.fit`; ``batch_size=None`` is all rows."""

    batch_size: int | None
    epochs: int
    schedule: Schedule
    optimizer: Optimizer
    dropout: Dropout
    shuffle: bool
    seed: int | None
    class_weight: ClassWeight
    validation_split: float
    early_stopping: EarlyStopping | None
    max_seconds: float | None

    def as_dict(self, seed: int) -> dict[str, Any]:
        """As they are kept with a network, in what JSON has; ``seed`` is that of the training."""
        optimizer, stopping = self.optimizer, self.early_stopping
        kind = optimizer.kind
        return {
            "batch_size": self.batch_size,
            "epochs": self.epochs,
            "learning_rate": self.schedule.describe(),
            "weight_decay": optimizer.weight_decay,
            "optimizer": "sgd" if kind in ("momentum", "nesterov") else kind,
            "momentum": optimizer.momentum,
            "nesterov": kind == "nesterov",
            "beta_1": optimizer.beta_1,
            "beta_2": optimizer.beta_2,
            "epsilon": optimizer.epsilon,
            "clip_norm": optimizer.clip_norm,
            "dropout": self.dropout if isinstance(self.dropout, float) else list(self.dropout),
            "class_weight": plain_class_weight(self.class_weight),
            "shuffle": self.shuffle,
            "seed": seed,
            "validation_split": self.validation_split,
            "early_stopping": None if stopping is None else stopping.as_dict(),
            "max_seconds": self.max_seconds,
        }


def check_settings(
    *,
    batch_size: Any,
    epochs: Any,
    learning_rate: Any,
    dropout: Any,
    shuffle: Any,
    seed: Any,
    class_weight: Any,
    validation_split: Any,
    early_stopping: Any,
    max_seconds: Any,
    optimizer: Any,
    weight_decay: Any,
    momentum: Any,
    nesterov: Any,
    beta_1: Any,
    beta_2: Any,
    epsilon: Any,
    clip_norm: Any,
) -> Settings:
    """The hyper-parameters of `Network.fit`, or say what is wrong."""
    size = None if batch_size is None else check_integer(batch_size, "batch_size", 1)
    count = check_integer(epochs, "epochs", 0)
    rule = check_optimizer(
        optimizer, weight_decay=weight_decay, momentum=momentum, nesterov=nesterov, beta_1=beta_1,
        beta_2=beta_2, epsilon=epsilon, clip_norm=clip_norm,
    )  # fmt: skip
    schedule = as_schedule(rule.about.learning_rate if learning_rate is None else learning_rate)
    _check_decay(rule, schedule)
    if not isinstance(shuffle, bool | np.bool_):
        raise TypeError(f"shuffle must be a bool, got {shuffle!r}")
    return Settings(
        size,
        count,
        schedule,
        rule,
        check_dropout(dropout),
        bool(shuffle),
        None if seed is None else check_integer(seed, "seed", 0),
        check_class_weight(class_weight),
        check_share(validation_split, "validation_split"),
        check_early_stopping(early_stopping),
        None if max_seconds is None else check_real(max_seconds, "max_seconds", above=0),
    )


def _check_decay(optimizer: Optimizer, schedule: Schedule) -> None:
    """That the decay does not turn the weights around; a callable is asked at each step."""
    decay = optimizer.weight_decay
    if decay == 0 or not optimizer.about.decoupled:
        return
    rate = schedule.largest
    if rate < np.inf and rate * decay >= 1:
        raise ValueError(
            "learning_rate * weight_decay must be less than 1, or the decay turns the weights"
            f" around; got {rate} * {decay}"
        )


def check_dropout(dropout: Any) -> Dropout:
    """A share of each hidden layer's units, or one of the input and of each, in [0, 1).

    Raises
    ------
    TypeError, ValueError
        If it is none.
    """
    if isinstance(dropout, float):  # as nearly always; to ask an abstract class takes longer
        return check_share(dropout, "dropout")
    if isinstance(dropout, str | bytes | Mapping) or not isinstance(dropout, Iterable):
        return check_share(dropout, "dropout")
    return tuple(check_share(share, f"dropout[{i}]") for i, share in enumerate(dropout))


def spread_dropout(dropout: Dropout, hidden: int) -> tuple[float, ...]:
    """Shares of the input and of each of so many hidden layers; () if nothing is dropped.

    Raises
    ------
    ValueError
        If there is a share for each of another number of layers.
    """
    if dropout == 0.0:
        return ()
    shares = (0.0, *[dropout] * hidden) if isinstance(dropout, float) else dropout
    if len(shares) != hidden + 1:
        raise ValueError(
            f"dropout has {len(shares)} shares, but there are the input and {hidden} hidden layers:"
            f" give a number, or {hidden + 1} of them"
        )
    return shares if any(shares) else ()


def new_seed() -> int:
    """One that differs every time."""
    return int(np.random.SeedSequence().generate_state(1)[0])
