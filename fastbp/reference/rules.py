"""How parameters follow from gradients: optimizers in NumPy."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from fastbp.reference.functions import FloatArray

__all__ = ["Rule", "adam", "momentum"]


class Rule(NamedTuple):
    """How parameters follow from gradients; see `NumpyNetwork.fit`."""

    weight_decay: float = 0.0
    optimizer: str = "sgd"
    momentum: float = 0.0
    nesterov: bool = False
    beta_1: float = 0.9
    beta_2: float = 0.999
    epsilon: float = 1e-8
    clip_norm: float | None = None


def momentum(p: FloatArray, g: FloatArray, v: FloatArray, rule: Rule, rate: float) -> None:
    """Momentum or Nesterov's; ``v`` is kept, ``g`` is used up."""
    g *= rate
    v *= rule.momentum
    v -= g
    if rule.nesterov:
        p -= g
        np.multiply(v, rule.momentum, out=g)
        p += g
    else:
        p += v


def adam(
    p: FloatArray,
    g: FloatArray,
    m: FloatArray,
    v: FloatArray,
    work: FloatArray,
    rule: Rule,
    rate: float,
    step: int,
) -> None:
    """Adam in step ``step``, from 1; ``m`` and ``v`` are kept, ``g`` and ``work`` are used up."""
    m *= rule.beta_1
    np.multiply(g, 1 - rule.beta_1, out=work)
    m += work
    v *= rule.beta_2
    np.multiply(g, g, out=g)
    g *= 1 - rule.beta_2
    v += g
    # rate m^ / (sqrt(v^) + epsilon), m^ = m / (1 - b1^t), v^ = v / (1 - b2^t)
    np.sqrt(v, out=work)
    work /= math.sqrt(1 - rule.beta_2**step)
    work += rule.epsilon
    np.divide(m, work, out=work)
    work *= rate / (1 - rule.beta_1**step)
    p -= work
