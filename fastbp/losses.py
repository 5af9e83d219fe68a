"""The losses that a network may be trained by, by name.

A loss fixes the activation of the output layer, as its slope with respect to Z is simple then:
a - y for all but the absolute error and Huber's. It is computed from Z.
"""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["LOSSES", "Loss", "check_loss"]


class Loss(NamedTuple):
    """What there is to know of a loss."""

    name: str
    output: str  # the activation of the output layer: "sigmoid", "softmax", "identity" or "exp"
    metric: str  # what goes with it: "accuracy" or "r2"
    formula: str  # of one output of one row, in terms of z, a and y


LOSSES: dict[str, Loss] = {
    loss.name: loss
    for loss in (
        Loss("log_loss", "sigmoid", "accuracy", "-(1 - y) log(1 - a) - y log a"),
        Loss("cross_entropy", "softmax", "accuracy", "-y log a"),
        Loss("squared_error", "identity", "r2", "(a - y)^2 / 2"),
        Loss("absolute_error", "identity", "r2", "|a - y|"),
        Loss("huber", "identity", "r2", "(a - y)^2 / 2 where |a - y| <= 1, else |a - y| - 1/2"),
        Loss("poisson", "exp", "r2", "a - y z + (y log y - y)"),
    )
}
"""Accepted by ``Network(loss=...)``, by name."""


def check_loss(name: object) -> str:
    """Return `name` if it is that of a known loss.

    Raises
    ------
    TypeError
        If `name` is not a string.
    ValueError
        If no loss is called `name`.
    """
    accepted = ", ".join(map(repr, LOSSES))
    if not isinstance(name, str):
        raise TypeError(f"loss must be a str (one of: {accepted}), got {name!r}")
    if name not in LOSSES:
        raise ValueError(f"loss must be one of: {accepted}, got {name!r}")
    return name
