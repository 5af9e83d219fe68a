"""How a network is trained, as a plan is told: which update, dropout and weights of rows."""

from __future__ import annotations

import enum
import math
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from fastbp.kernels.functions.optimizers import SGD

__all__ = ["MOST_KEPT", "PLAIN", "Recipe", "Update"]

Array = npt.NDArray[Any]

MOST_KEPT = 2
"""How many numbers an optimizer keeps of each parameter, at most."""


class Update(enum.IntEnum):
    """What is stored of the gradients."""

    DIRECT = 0  # nothing: plain descent, added to the weights as it is computed
    PARTS = 1  # some columns of a layer at a time, or a narrow first layer's
    WHOLE = 2  # all of them, as their norm is needed first


class Recipe(NamedTuple):
    """All but the numbers that change from step to step, see `kernels.plan.RATE`."""

    optimizer: int = SGD  # one of kernels.functions.optimizers.OPTIMIZER_CODES
    beta_1: float = 0.0  # or momentum
    beta_2: float = 0.0
    epsilon: float = 0.0
    penalty: float = 0.0  # lambda, where it is part of the gradient; a step may have its own
    clip_norm: float = 0.0  # or 0
    state: tuple[tuple[Array, ...], ...] = ()
    """What the optimizer keeps: none, one or two tuples with an array for each of the weights and
    then of the biases, of their shapes and dtype."""
    dropout: tuple[float, ...] = ()
    """Share of units that is dropped, of the input and of each hidden layer; () is none."""
    seed: int = 0  # of dropout
    row_weights: Array | None = None  # (rows,) of the network's dtype
    metric_scale: Array | None = None  # (outputs,) of the network's dtype
    is_constant: bool = True  # whether all steps have the same rate
    squares: bool = False  # whether the squares of all W are added up before each update
    loss_cap: float = math.inf  # no output's log loss, or row's cross entropy, counts for more

    @property
    def update(self) -> Update:
        """What is stored of the gradients."""
        if self.clip_norm > 0:
            return Update.WHOLE
        is_plain = self.optimizer == SGD and self.penalty == 0 and not self.squares
        return Update.DIRECT if is_plain else Update.PARTS

    @property
    def drops_input(self) -> bool:
        """Whether values of the input are dropped."""
        return bool(self.dropout) and self.dropout[0] > 0


PLAIN = Recipe()
"""Plain gradient descent, every row of the same weight."""


def threshold_of(share: float) -> int:
    """The 32 bits below which a unit is dropped."""
    return min(int(np.round(share * 2.0**32)), 2**32 - 1)
