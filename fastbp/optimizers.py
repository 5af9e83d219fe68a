"""The optimizers that a network may be trained by, and the numbers of their steps.

The formulas of the update are those of ``fastbp.kernels.functions.optimizers``; what changes from
step to step is computed here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from fastbp.checks import check_real, check_share
from fastbp.engine.recipe import Recipe
from fastbp.kernels import plan as w
from fastbp.kernels.functions.optimizers import ADAM, MOMENTUM, NESTEROV, SGD
from fastbp.schedules import in_blocks

__all__ = ["KINDS", "OPTIMIZERS", "Kind", "Optimizer", "check_optimizer"]

Array = npt.NDArray[Any]


class Kind(NamedTuple):
    """What there is to know of a kind of optimizer."""

    name: str
    code: int  # one of kernels.functions.optimizers.OPTIMIZER_CODES
    kept: int  # arrays that are kept of each of the weights and biases
    learning_rate: float  # unless another is given
    decoupled: bool  # whether L2 decays the weights, or is part of the gradient
    formula: str  # g: gradient, t: steps from 1 on, a: learning rate


KINDS: dict[str, Kind] = {
    kind.name: kind
    for kind in (
        Kind("sgd", SGD, 0, 0.1, True, "w <- (1 - a lambda) w - a g"),
        Kind("momentum", MOMENTUM, 1, 0.1, False, "v <- mu v - a g, w <- w + v"),
        Kind("nesterov", NESTEROV, 1, 0.1, False, "v <- mu v - a g, w <- w + mu v - a g"),
        Kind(
            "adam", ADAM, 2, 0.001, False,
            "m <- b1 m + (1 - b1) g, v <- b2 v + (1 - b2) g^2,"
            " w <- w - a (m / (1 - b1^t)) / (sqrt(v / (1 - b2^t)) + epsilon)",
        ),
        Kind("adamw", ADAM, 2, 0.001, True, "w <- (1 - a lambda) w, then as adam"),
    )
}  # fmt: skip
"""By name. Momentum: Sutskever et al. 2013; Adam: Kingma and Ba 2015, Algorithm 1; AdamW:
Loshchilov and Hutter 2019."""

OPTIMIZERS: tuple[str, ...] = ("sgd", "adam", "adamw")
"""Names accepted by ``Network.fit(optimizer=...)``; momentum and nesterov are parameters of sgd."""


@dataclass(frozen=True)
class Optimizer:
    """An optimizer with its parameters, as `check_optimizer` makes it.

    Parameters
    ----------
    kind : str, default "sgd"
        Of `KINDS`.
    weight_decay : float, default 0.0
        lambda.
    momentum, beta_1, beta_2, epsilon : float
        Those that the kind knows count.
    clip_norm : float, optional
        The most that the norm of all gradients together may be (Pascanu et al. 2013).
    bare_epsilon : bool, default False
        Adam with epsilon beside the root that is not corrected, as scikit-learn has it:
        w <- w - a sqrt(1 - b2^t) / (1 - b1^t) m / (sqrt(v) + epsilon).
    """

    kind: str = "sgd"
    weight_decay: float = 0.0
    momentum: float = 0.0
    beta_1: float = 0.9
    beta_2: float = 0.999
    epsilon: float = 1e-8
    clip_norm: float | None = None
    bare_epsilon: bool = False

    @property
    def about(self) -> Kind:
        """What there is to know of the kind."""
        return KINDS[self.kind]

    @property
    def changes(self) -> bool:
        """Whether steps have different numbers, even at a constant learning rate."""
        return self.about.code == ADAM

    def numbers(
        self,
        first: int,
        rates: npt.ArrayLike,
        shares: npt.ArrayLike | None = None,
        penalties: npt.ArrayLike | None = None,
    ) -> npt.NDArray[np.float64]:
        """What compiled code is told of each of some steps.

        Parameters
        ----------
        first : int
            Updates that were made before, from arrays of zeros on.
        rates : array_like of shape (steps,)
            Learning rates.
        shares : array_like of shape (steps,), optional
            1 over the sum of the weights of each step's rows.
        penalties : array_like of shape (steps,), optional
            lambda of each step, where it is part of the gradient; `weight_decay` unless given.

        Returns
        -------
        ndarray of shape (steps, STEP_COUNT)
            RATE and the following, see `fastbp.kernels.plan.RATE`.
        """
        alpha = np.asarray(rates, dtype=np.float64)
        table = np.zeros((len(alpha), w.STEP_COUNT))
        table[:, w.RATE], table[:, w.KEEP] = alpha, 1.0
        table[:, w.LOSS_SHARE] = 1.0
        if penalties is not None:
            table[:, w.PENALTY] = penalties
        elif not self.about.decoupled:
            table[:, w.PENALTY] = self.weight_decay
        if self.about.decoupled:
            table[:, w.KEEP] -= alpha * self.weight_decay
        if self.about.code == ADAM:
            last = first + len(alpha)
            table[:, w.RATE] /= in_blocks(lambda t: 1 - self.beta_1 ** (t + 1), first, last)
            root = np.sqrt(in_blocks(lambda t: 1 - self.beta_2 ** (t + 1), first, last))
            if self.bare_epsilon:
                table[:, w.RATE] *= root
                table[:, w.CORRECTION] = 1.0
            else:
                table[:, w.CORRECTION] = 1 / root
        if shares is not None:
            table[:, w.SHARE] = shares
        return table

    def to_recipe(
        self,
        state: Sequence[Sequence[Array]] = (),
        *,
        dropout: tuple[float, ...] = (),
        seed: int = 0,
        row_weights: Array | None = None,
        metric_scale: Array | None = None,
        is_constant: bool = True,
    ) -> Recipe:
        """How a plan trains by it; parameters are fields of `Recipe`, with a ``seed`` of any size.

        ``state`` has what is kept: for each of the kind's kept arrays those of the weights and then
        of the biases.
        """
        about = self.about
        is_adam = about.code == ADAM
        return Recipe(
            optimizer=about.code,
            beta_1=self.beta_1 if is_adam else self.momentum,
            beta_2=self.beta_2 if is_adam else 0.0,
            epsilon=self.epsilon if is_adam else 0.0,
            penalty=0.0 if about.decoupled else self.weight_decay,
            clip_norm=self.clip_norm or 0.0,
            state=tuple(tuple(arrays) for arrays in state),
            dropout=dropout,
            seed=_word(seed),
            row_weights=row_weights,
            metric_scale=metric_scale,
            is_constant=is_constant,
        )

    def as_dict(self) -> dict[str, Any]:
        """What JSON can store; `from_dict` makes the optimizer of it again."""
        return asdict(self)

    @classmethod
    def from_dict(cls, record: Any) -> Optimizer:
        """The optimizer that `as_dict` has described, checked.

        Raises
        ------
        TypeError, ValueError
            If it has not.
        """
        if not isinstance(record, Mapping) or record.keys() != cls().as_dict().keys():
            raise ValueError(f"an optimizer is described by {sorted(cls().as_dict())}")
        values = dict(record)
        kind, bare = values.pop("kind"), values.pop("bare_epsilon")
        if kind not in KINDS or not isinstance(bare, bool):
            raise ValueError(f"kind must be one of: {', '.join(KINDS)}, got {kind!r}")
        is_plain = kind in ("sgd", "adam", "adamw")
        made = check_optimizer(
            kind if is_plain else "sgd", nesterov=kind == "nesterov", **values
        )  # fmt: skip
        if made.kind != kind:
            raise ValueError(f"momentum is {made.momentum}, but the kind is {kind!r}")
        return cls(**{**made.as_dict(), "bare_epsilon": bare})


def check_optimizer(
    name: Any,
    *,
    weight_decay: Any = 0.0,
    momentum: Any = 0.0,
    nesterov: Any = False,
    beta_1: Any = 0.9,
    beta_2: Any = 0.999,
    epsilon: Any = 1e-8,
    clip_norm: Any = None,
) -> Optimizer:
    """The optimizer that `Network.fit` is told of, or say what is wrong.

    Raises
    ------
    TypeError, ValueError
        If a name is unknown, a parameter out of range, or one that the optimizer does not have.
    """
    accepted = ", ".join(map(repr, OPTIMIZERS))
    if not isinstance(name, str):
        raise TypeError(f"optimizer must be a str (one of: {accepted}), got {name!r}")
    if name not in OPTIMIZERS:
        raise ValueError(f"optimizer must be one of: {accepted}, got {name!r}")
    if not isinstance(nesterov, bool | np.bool_):
        raise TypeError(f"nesterov must be a bool, got {nesterov!r}")
    mu = check_share(momentum, "momentum")
    kind = name
    if name != "sgd":
        if mu > 0 or nesterov:
            raise ValueError(f"momentum and nesterov are of optimizer 'sgd', not of {name!r}")
    elif nesterov and mu == 0:
        raise ValueError("nesterov needs a momentum greater than 0, got 0.0")
    elif mu > 0:
        kind = "nesterov" if nesterov else "momentum"
    return Optimizer(
        kind,
        weight_decay=check_real(weight_decay, "weight_decay", least=0),
        momentum=mu,
        beta_1=check_share(beta_1, "beta_1"),
        beta_2=check_share(beta_2, "beta_2"),
        epsilon=check_real(epsilon, "epsilon", above=0),
        clip_norm=None if clip_norm is None else check_real(clip_norm, "clip_norm", above=0),
    )


def _word(seed: int) -> int:
    """The lowest 64 bits of a number, as a signed word has them."""
    low = seed & (2**64 - 1)
    return low - 2**64 if low >= 2**63 else low
