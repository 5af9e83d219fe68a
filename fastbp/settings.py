"""The hyper-parameters of a training, checked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from fastbp.checks import check_integer, check_real

__all__ = ["Settings", "check_integer", "check_real", "check_settings"]


@dataclass(frozen=True)
class Settings:
    """Checked hyper-parameters, see `Network.fit`; ``batch_size=None`` is all rows."""

    batch_size: int | None
    epochs: int
    learning_rate: float
    weight_decay: float
    shuffle: bool
    seed: int

    def as_dict(self) -> dict[str, Any]:
        """As they are kept with a network."""
        return dict(vars(self))


def check_settings(
    *,
    batch_size: Any,
    epochs: Any,
    learning_rate: Any,
    weight_decay: Any,
    shuffle: Any,
    seed: Any,
) -> Settings:
    """The hyper-parameters of `Network.fit`, or say what is wrong; a seed is made if it is None."""
    size = None if batch_size is None else check_integer(batch_size, "batch_size", 1)
    rate = check_real(learning_rate, "learning_rate")
    if rate <= 0:
        raise ValueError(f"learning_rate must be greater than 0, got {rate}")
    decay = check_real(weight_decay, "weight_decay")
    if decay < 0:
        raise ValueError(f"weight_decay must not be negative, got {decay}")
    if rate * decay >= 1:
        raise ValueError(
            "learning_rate * weight_decay must be less than 1, or the decay turns the weights"
            f" around; got {rate} * {decay}"
        )
    if not isinstance(shuffle, bool | np.bool_):
        raise TypeError(f"shuffle must be a bool, got {shuffle!r}")
    if seed is None:
        chosen = int(np.random.SeedSequence().generate_state(1)[0])
    else:
        chosen = check_integer(seed, "seed", 0)
    return Settings(size, check_integer(epochs, "epochs", 0), rate, decay, bool(shuffle), chosen)
