"""JAX: the step compiled by XLA with donated parameters; step by step, or a whole scan at once."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt

from fastbp.bench.problems import (
    LEARNING_RATE,
    PIXEL_MEAN,
    PIXEL_SCALE,
    WEIGHT_DECAY,
    Parameters,
    Product,
    Training,
    preprocess,
)
from fastbp.bench.systems.base import System, Trainer

__all__ = ["Jax"]

Array = npt.NDArray[Any]


class Jax(System):
    """Variants: "steps" or "scan", and for bytes how they are kept."""

    def product(self, problem: Product, a: Array, b: Array) -> Callable[[], Any]:
        """See `System.product`."""
        if problem.dtype == "float64":
            jax.config.update("jax_enable_x64", True)
        left, right = jnp.asarray(a), jnp.asarray(b)

        @jax.jit
        def multiply(a: jax.Array, b: jax.Array) -> jax.Array:
            return jnp.matmul(
                a.T if problem.layout == "TN" else a, b.T if problem.layout == "NT" else b
            )

        return lambda: multiply(left, right).block_until_ready()

    def trainer(self, problem: Training, start: Parameters, X: Array, y: Array) -> Trainer:
        """See `System.trainer`."""
        if self.variant.endswith("float32"):
            X = preprocess(X)
        kind = _ScanTrainer if self.variant.startswith("scan") else _StepTrainer
        return kind(problem, start, X, y)

    def predictor(self, start: Parameters, X: Array) -> Callable[[int, int], Any]:
        """See `System.predictor`."""
        params = _pytree(start)

        @jax.jit
        def forward(params: Any, x: jax.Array) -> jax.Array:
            return jax.nn.sigmoid(_logits(params, _floats(x)))

        def predict(first: int, last: int) -> jax.Array:
            return forward(params, X[first:last]).block_until_ready()

        return predict


class _JaxTrainer(Trainer):
    """What both ways have in common."""

    def __init__(self, problem: Training, start: Parameters, X: Array, y: Array) -> None:
        self._problem = problem
        self._params = _pytree(start)
        self._random = np.random.default_rng(1)
        self._X = jnp.asarray(X)
        self._y = jnp.asarray(y.reshape(len(y), -1))

    def _order(self) -> Array:
        """Row numbers of the run's batches, (steps, batch)."""
        count = self._problem.steps * self._problem.batch
        order = self._random.permutation(self._problem.rows)[:count].astype(np.int32)
        return order.reshape(self._problem.steps, self._problem.batch)

    def parameters(self) -> Parameters:
        layers = [(np.asarray(weight), np.asarray(bias)) for weight, bias in self._params]
        return [weight for weight, _ in layers], [bias for _, bias in layers]


class _StepTrainer(_JaxTrainer):
    def __init__(self, problem: Training, start: Parameters, X: Array, y: Array) -> None:
        super().__init__(problem, start, X, y)
        self._batches = []
        if not problem.shuffle:
            for first in range(0, problem.steps * problem.batch, problem.batch):
                rows = slice(first, first + problem.batch)
                self._batches.append((self._X[rows], self._y[rows]))

    def run(self) -> None:
        if self._problem.shuffle:
            for index in self._order():
                self._params = _step_of_rows(self._params, self._X, self._y, index)
        else:
            for x, y in self._batches:
                self._params = _step(self._params, x, y)
        jax.block_until_ready(self._params)


class _ScanTrainer(_JaxTrainer):
    def __init__(self, problem: Training, start: Parameters, X: Array, y: Array) -> None:
        super().__init__(problem, start, X, y)
        if not problem.shuffle:
            count, shape = problem.steps * problem.batch, (problem.steps, problem.batch, -1)
            self._X = self._X[:count].reshape(shape)
            self._y = self._y[:count].reshape(shape)

    def run(self) -> None:
        if self._problem.shuffle:
            self._params = _scan_of_rows(self._params, self._X, self._y, self._order())
        else:
            self._params = _scan(self._params, self._X, self._y)
        jax.block_until_ready(self._params)


def _pytree(start: Parameters) -> Any:
    """The parameters as JAX arrays of their own: what is donated must not be NumPy's memory."""
    return [(jnp.array(w, copy=True), jnp.array(b, copy=True)) for w, b in zip(*start, strict=True)]


def _floats(x: jax.Array) -> jax.Array:
    if x.dtype == jnp.uint8:
        return (x.astype(jnp.float32) - PIXEL_MEAN) * PIXEL_SCALE
    return x


def _logits(params: Any, x: jax.Array) -> jax.Array:
    *hidden, (weight, bias) = params
    for w, b in hidden:
        x = jax.nn.sigmoid(x @ w.T + b)
    return x @ weight.T + bias


def _loss(params: Any, x: jax.Array, y: jax.Array) -> jax.Array:
    z = _logits(params, _floats(x))
    return jnp.mean(jax.nn.softplus(z) - y * z)


def _updated(params: Any, x: jax.Array, y: jax.Array) -> Any:
    slopes = jax.grad(_loss)(params, x, y)
    keep = 1 - LEARNING_RATE * WEIGHT_DECAY
    return [
        (keep * weight - LEARNING_RATE * dw, bias - LEARNING_RATE * db)
        for (weight, bias), (dw, db) in zip(params, slopes, strict=True)
    ]


@partial(jax.jit, donate_argnums=0)
def _step(params: Any, x: jax.Array, y: jax.Array) -> Any:
    return _updated(params, x, y)


@partial(jax.jit, donate_argnums=0)
def _step_of_rows(params: Any, X: jax.Array, y: jax.Array, index: jax.Array) -> Any:
    return _updated(params, X[index], y[index])


@partial(jax.jit, donate_argnums=0)
def _scan(params: Any, X: jax.Array, y: jax.Array) -> Any:
    return jax.lax.scan(lambda p, batch: (_updated(p, *batch), None), params, (X, y))[0]


@partial(jax.jit, donate_argnums=0)
def _scan_of_rows(params: Any, X: jax.Array, y: jax.Array, order: jax.Array) -> Any:
    return jax.lax.scan(lambda p, i: (_updated(p, X[i], y[i]), None), params, order)[0]
