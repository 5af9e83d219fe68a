"""How far activations and losses may be from the oracle's, given what their arguments are off by.

The roundings of a function itself are allowed as gamma(FUNCTION_ROUNDOFFS), relative to what is
added up in it; an error of its argument grows by its slope. Where a slope jumps, an argument whose
sign is in doubt allows either value. For the rest of the derivation see `tests.tolerance`.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from tests import oracle

Array = npt.NDArray[np.float64]

FUNCTION_ROUNDOFFS = 8
"""Relative error allowed to a function, in units of u: 4 ULP; a good sigmoid needs 2."""


def gamma(terms: int, dtype: npt.DTypeLike) -> float:
    """Higham's gamma: the relative error of `terms` roundings in a row."""
    product = terms * float(np.finfo(np.dtype(dtype)).eps) / 2
    assert product < 0.1, "too many terms for a bound that says anything"
    return product / (1 - product)


class Steepness(NamedTuple):
    """How errors grow in an activation a = g(z), and in its slope."""

    steepest: float  # abs(g'), at most
    by_a: float = 0.0  # abs(d g' / d a), at most, where the slope is computed from a
    by_z: float = 0.0  # abs(g''), at most, where it is computed from z
    jump: float = 0.0  # of g' at 0
    rounded: float = 0.0  # what the slope is a difference of, or a sum: the terms' size


STEEPNESS = {
    "identity": Steepness(1.0),
    "sigmoid": Steepness(0.25, by_a=1.0),  # a (1 - a)
    "softmax": Steepness(0.5),
    "exp": Steepness(np.inf),
    "tanh": Steepness(1.0, by_a=2.0),  # 1 - a^2
    "relu": Steepness(1.0, jump=1.0),
    "leaky_relu": Steepness(1.0, jump=0.99),
    "elu": Steepness(1.0, by_a=1.0),  # a + 1
    "softplus": Steepness(1.0, by_a=1.0, rounded=1.0),  # 1 - exp(-a)
    "gelu": Steepness(1.13, by_z=0.8, rounded=1.2),  # g'' = (2 - z^2) phi(z)
    "silu": Steepness(1.1, by_z=0.5, rounded=1.2),
}


def activation_error(name: str, a: Array, z_error: Array, dtype: npt.DTypeLike) -> Array:
    """Of g(z), where z is off by ``z_error``."""
    tiny = float(np.finfo(np.dtype(dtype)).tiny)  # what is below it may be flushed to 0
    steepest = STEEPNESS[name].steepest
    # exp has no steepest slope: what is left of the first derivative's factor, exp(error)
    grown = a * np.expm1(z_error) if np.isinf(steepest) else steepest * z_error
    return grown + gamma(FUNCTION_ROUNDOFFS, dtype) * np.abs(a) + tiny


def slope_error(
    name: str, z: Array, z_error: Array, a_error: Array, dtype: npt.DTypeLike
) -> tuple[Array, Array]:
    """The slope g'(z), and its error: of one computed from a, or from z."""
    steepness = STEEPNESS[name]
    slope = oracle.ACTIVATIONS[name].slope(z)
    error = steepness.by_z * z_error + gamma(4, dtype) * np.abs(slope)
    if steepness.by_a:
        error = error + steepness.by_a * a_error + a_error**2
    error = error + steepness.rounded * gamma(FUNCTION_ROUNDOFFS, dtype)
    return slope, error + steepness.jump * (np.abs(z) <= z_error)


OUTPUTS = {
    "log_loss": "sigmoid",
    "cross_entropy": "softmax",
    "squared_error": "identity",
    "absolute_error": "identity",
    "huber": "identity",
    "poisson": "exp",
}


def loss_slope_error(loss: str, z: Array, y: Array, z_error: Array, dtype: npt.DTypeLike) -> Array:
    """Of the slope of a loss with respect to each output's z."""
    rounding = gamma(FUNCTION_ROUNDOFFS, dtype)
    slope = oracle.LOSSES[loss].slope(z, y)
    if loss == "cross_entropy":
        a, mass = oracle.softmax(z), y.sum(axis=1, keepdims=True)
        # d a_i = a_i (d z_i - sum of a_j d z_j), and z minus the largest is rounded too
        far = np.abs(z - z.max(axis=1, keepdims=True))
        grown = z_error + rounding * (1 + far)
        grown = grown + (a * grown).sum(axis=1, keepdims=True)
        own = mass * a * (np.expm1(grown) + gamma(z.shape[1] + FUNCTION_ROUNDOFFS, dtype))
    elif loss == "absolute_error":
        own = 2.0 * (np.abs(z - y) <= z_error)
    elif loss in ("log_loss", "poisson"):
        a = oracle.LOSSES[loss].output(z)
        own = activation_error(OUTPUTS[loss], a, z_error, dtype)
        if loss == "poisson":  # exp's argument is reduced: rounded as a number of its size
            own = own + rounding * a * np.abs(z)
    else:
        own = z_error
    return own + gamma(4, dtype) * np.abs(slope)


def loss_error(loss: str, z: Array, y: Array, z_error: Array, dtype: npt.DTypeLike) -> Array:
    """Of the sum of a loss over the outputs of each row."""
    slope = oracle.LOSSES[loss].slope(z, y)
    steepest = np.abs(slope) + loss_slope_error(loss, z, y, z_error, dtype)
    if loss == "log_loss":
        size = np.abs(z) + np.log1p(np.exp(-np.abs(z)))
        steepest = np.ones_like(z)
    elif loss == "cross_entropy":
        far = np.abs(z - z.max(axis=1, keepdims=True))
        size = y * (far + np.log(np.exp(-far).sum(axis=1, keepdims=True))) + np.abs(y)
        steepest = y.sum(axis=1, keepdims=True) + np.abs(y)
    elif loss == "poisson":
        rest = np.abs(y * np.log(np.where(y > 0, y, 1))) + y
        size = np.exp(z) * (1 + np.abs(z)) + np.abs(y * z) + rest
    else:
        size = oracle.LOSSES[loss].terms(z, y) + np.abs(z - y)
    rounding = gamma(z.shape[1] + 2 * FUNCTION_ROUNDOFFS, dtype)
    return np.asarray((steepest * z_error + rounding * size).sum(axis=1))
