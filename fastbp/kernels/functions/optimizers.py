"""Optimizers on vectors: what becomes of a weight w and of what is kept of it, by a gradient g.

With penalty lambda, g is first g + lambda w. Then, with keep = 1 - learning rate * weight decay

    SGD        w <- keep w - rate g
    MOMENTUM   m <- mu m - rate g                             w <- w + m
    NESTEROV   m <- mu m - rate g                             w <- w + mu m - rate g
    ADAM       m <- b1 m + (1 - b1) g,  v <- b2 v + (1 - b2) g^2
               w <- keep w - rate m / (correction sqrt(v) + epsilon)

after Sutskever et al., "On the importance of initialization and momentum in deep learning" (2013),
Kingma and Ba, "Adam" (2015), Algorithm 1, with rate = alpha / (1 - b1^t) and correction = 1 /
sqrt(1 - b2^t) for step t, and Loshchilov and Hutter, "Decoupled weight decay regularization"
(2019), where keep is not 1.
"""

from __future__ import annotations

from typing import NamedTuple

from fastbp.kernels.compile.jit import jit
from fastbp.kernels.simd.numbers import constant
from fastbp.kernels.simd.vectors import (
    absolute,
    fma,
    select_less,
    splat,
    square_root,
    zeros,
)

__all__ = [
    "ADAM",
    "MOMENTUM",
    "NESTEROV",
    "OPTIMIZER_CODES",
    "SGD",
    "Numbers",
    "adam",
    "momentum",
    "nesterov",
    "sgd",
]

SGD, MOMENTUM, NESTEROV, ADAM = range(4)
OPTIMIZER_CODES = {"sgd": SGD, "momentum": MOMENTUM, "nesterov": NESTEROV, "adam": ADAM}


class Numbers(NamedTuple):
    """The numbers of a step; gradients are multiplied by ``factor`` before anything else."""

    rate: float
    keep: float
    penalty: float
    beta_1: float  # or momentum
    beta_2: float
    epsilon: float
    correction: float
    factor: float


@jit
def sgd(w, g, m, v, it, dtype):
    """Plain descent. Like all of them: the new w, m and v."""
    return fma(splat(-it.rate, dtype), g, splat(it.keep, dtype) * w), m, v


_tiny = constant(2.0**-126, 2.0**-1022)  # the smallest normal numbers


@jit
def _flushed(x, dtype):
    """The value x, or 0 where it is below the normal numbers.

    What is kept of a unit that gets no gradient any more decays until it is, and rounding to the
    nearest number would then keep it there for good, where an operation takes a hundred times as
    long.
    """
    return select_less(absolute(x), _tiny(dtype), zeros(dtype), x)


@jit
def momentum(w, g, m, v, it, dtype):
    """Heavy ball."""
    m = _flushed(fma(splat(it.beta_1, dtype), m, splat(-it.rate, dtype) * g), dtype)
    return w + m, m, v


@jit
def nesterov(w, g, m, v, it, dtype):
    """Nesterov's momentum, looking ahead."""
    step = splat(-it.rate, dtype) * g
    m = _flushed(fma(splat(it.beta_1, dtype), m, step), dtype)
    return w + fma(splat(it.beta_1, dtype), m, step), m, v


@jit
def adam(w, g, m, v, it, dtype):
    """Adam and AdamW."""
    m = fma(splat(it.beta_1, dtype), m, splat(1.0 - it.beta_1, dtype) * g)
    v = fma(splat(it.beta_2, dtype), v, splat(1.0 - it.beta_2, dtype) * (g * g))
    m, v = _flushed(m, dtype), _flushed(v, dtype)
    root = fma(splat(it.correction, dtype), square_root(v), splat(it.epsilon, dtype))
    step = splat(it.rate, dtype) * (m / root)
    return fma(splat(it.keep, dtype), w, zeros(dtype) - step), m, v
