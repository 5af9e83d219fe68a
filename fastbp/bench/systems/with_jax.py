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
    ADAM_BETAS,
    MOMENTUM,
    PIXEL_MEAN,
    PIXEL_SCALE,
    Parameters,
    Product,
    Training,
    preprocess,
)
from fastbp.bench.systems.base import System, Trainer, targets

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
        params = _pytree(start)
        kept = tuple(jax.tree.map(jnp.zeros_like, params) for _ in range(_KEPT[problem.optimizer]))
        self._state = params, kept, jnp.zeros((), jnp.int32)
        self._random = np.random.default_rng(1)
        self._X = jnp.asarray(X)
        self._y = jnp.asarray(targets(problem, y, np.float32))

    def _order(self) -> Array:
        """Row numbers of the run's batches, (steps, batch)."""
        count = self._problem.steps * self._problem.batch
        order = self._random.permutation(self._problem.rows)[:count].astype(np.int32)
        return order.reshape(self._problem.steps, self._problem.batch)

    def parameters(self) -> Parameters:
        layers = [(np.asarray(weight), np.asarray(bias)) for weight, bias in self._state[0]]
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
        for _ in range(self._problem.passes):
            if self._problem.shuffle:
                for index in self._order():
                    self._state = _step_of_rows(self._problem, self._state, self._X, self._y, index)
            else:
                for x, y in self._batches:
                    self._state = _step(self._problem, self._state, x, y)
        jax.block_until_ready(self._state)


class _ScanTrainer(_JaxTrainer):
    def __init__(self, problem: Training, start: Parameters, X: Array, y: Array) -> None:
        super().__init__(problem, start, X, y)
        if not problem.shuffle:
            count, shape = problem.steps * problem.batch, (problem.steps, problem.batch, -1)
            self._X = self._X[:count].reshape(shape)
            self._y = self._y[:count].reshape(shape)

    def run(self) -> None:
        if self._problem.shuffle:
            for _ in range(self._problem.passes):
                self._state = _scan_of_rows(
                    self._problem, self._state, self._X, self._y, self._order()
                )
        else:
            self._state = _scan(self._problem, self._state, self._X, self._y)
        jax.block_until_ready(self._state)


def _pytree(start: Parameters) -> Any:
    """The parameters as JAX arrays of their own: what is donated must not be NumPy's memory."""
    return [(jnp.array(w, copy=True), jnp.array(b, copy=True)) for w, b in zip(*start, strict=True)]


def _floats(x: jax.Array) -> jax.Array:
    if x.dtype == jnp.uint8:
        return (x.astype(jnp.float32) - PIXEL_MEAN) * PIXEL_SCALE
    return x


_ACTIVATIONS = {"sigmoid": jax.nn.sigmoid, "tanh": jnp.tanh, "relu": jax.nn.relu}
# Sums of the last layer and targets to the loss of each row.
_LOSSES = {
    "log_loss": lambda z, y: jnp.sum(jax.nn.softplus(z) - y * z, axis=1),
    "cross_entropy": lambda z, y: jax.nn.logsumexp(z, axis=1) - jnp.sum(y * z, axis=1),
    "squared_error": lambda z, y: 0.5 * jnp.sum((z - y) ** 2, axis=1),
}
_KEPT = {"sgd": 0, "momentum": 1, "adam": 2}


def _logits(params: Any, x: jax.Array, activation: str = "sigmoid") -> jax.Array:
    *hidden, (weight, bias) = params
    for w, b in hidden:
        x = _ACTIVATIONS[activation](x @ w.T + b)
    return x @ weight.T + bias


def _updated(problem: Training, state: Any, x: jax.Array, y: jax.Array) -> Any:
    """Parameters, what the optimizer keeps, and the number of steps, after one more."""
    params, kept, steps = state
    steps = steps + 1

    def loss(params: Any) -> jax.Array:
        z = _logits(params, _floats(x), problem.activation)
        return jnp.mean(_LOSSES[problem.loss](z, y))

    slopes = jax.grad(loss)(params)
    rate = problem.learning_rate
    if problem.optimizer == "momentum":
        velocity = jax.tree.map(lambda v, g: MOMENTUM * v - rate * g, kept[0], slopes)
        return jax.tree.map(jnp.add, params, velocity), (velocity,), steps
    if problem.optimizer == "adam":
        beta_1, beta_2 = ADAM_BETAS
        first = jax.tree.map(lambda m, g: beta_1 * m + (1 - beta_1) * g, kept[0], slopes)
        second = jax.tree.map(lambda v, g: beta_2 * v + (1 - beta_2) * g * g, kept[1], slopes)
        of_first, of_second = 1 - beta_1**steps, 1 - beta_2**steps
        params = jax.tree.map(
            lambda p, m, v: p - rate * (m / of_first) / (jnp.sqrt(v / of_second) + problem.epsilon),
            params,
            first,
            second,
        )
        return params, (first, second), steps
    keep = 1 - rate * problem.weight_decay
    params = [
        (keep * weight - rate * dw, bias - rate * db)
        for (weight, bias), (dw, db) in zip(params, slopes, strict=True)
    ]
    return params, kept, steps


_compiled = partial(jax.jit, static_argnums=0, donate_argnums=1)


@_compiled
def _step(problem: Training, state: Any, x: jax.Array, y: jax.Array) -> Any:
    return _updated(problem, state, x, y)


@_compiled
def _step_of_rows(
    problem: Training, state: Any, X: jax.Array, y: jax.Array, index: jax.Array
) -> Any:
    return _updated(problem, state, X[index], y[index])


@_compiled
def _scan(problem: Training, state: Any, X: jax.Array, y: jax.Array) -> Any:
    def one_pass(state: Any, _: None) -> Any:
        return jax.lax.scan(lambda s, batch: (_updated(problem, s, *batch), None), state, (X, y))

    if problem.passes == 1:
        return one_pass(state, None)[0]
    return jax.lax.scan(one_pass, state, None, length=problem.passes)[0]


@_compiled
def _scan_of_rows(
    problem: Training, state: Any, X: jax.Array, y: jax.Array, order: jax.Array
) -> Any:
    return jax.lax.scan(lambda s, i: (_updated(problem, s, X[i], y[i]), None), state, order)[0]
