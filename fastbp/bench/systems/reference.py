"""The mathematics in plain float64 NumPy, for the others to be compared with. Never timed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from fastbp.bench.problems import (
    ADAM_BETAS,
    MOMENTUM,
    Parameters,
    Training,
    preprocess,
)
from fastbp.bench.systems.base import System, Trainer, targets

__all__ = ["Reference"]

Array = npt.NDArray[Any]
Function = Callable[[Array], Array]


class Reference(System):
    """Back-propagation as on paper."""

    def trainer(self, problem: Training, start: Parameters, X: Array, y: Array) -> Trainer:
        """See `System.trainer`."""
        return _Trainer(problem, start, X, y)

    def predictor(self, start: Parameters, X: Array) -> Callable[[int, int], Array]:
        """See `System.predictor`."""

        def predict(first: int, last: int) -> Array:
            return _forward(start, _wide(X[first:last]))[-1]

        return predict


class _Trainer(Trainer):
    def __init__(self, problem: Training, start: Parameters, X: Array, y: Array) -> None:
        self._problem, self._X = problem, X
        self._y = targets(problem, y, np.float64)
        self._weights, self._biases = ([a.astype(np.float64) for a in kind] for kind in start)
        self._of_weights, self._of_biases = (
            [_State(a) for a in kind] for kind in (self._weights, self._biases)
        )

    def run(self) -> None:
        batch = self._problem.batch
        for _ in range(self._problem.passes):
            for first in range(0, self._problem.steps * batch, batch):
                rows = slice(first, first + batch)
                self._step(_wide(self._X[rows]), self._y[rows])

    def _step(self, x: Array, y: Array) -> None:
        problem = self._problem
        slope_of = _HIDDEN[problem.activation][1]
        outputs = [x, *_forward((self._weights, self._biases), x, problem.activation, problem.loss)]
        delta = (outputs[-1] - y) / len(x)  # for each of the losses, with the output that it has
        for layer in reversed(range(len(self._weights))):
            weight, below = self._weights[layer], outputs[layer]
            slope, shift = delta.T @ below, delta.sum(axis=0)
            delta = (delta @ weight) * slope_of(below) if layer else delta
            weight *= 1 - problem.learning_rate * problem.weight_decay
            weight += self._of_weights[layer].change(slope, problem)
            self._biases[layer] += self._of_biases[layer].change(shift, problem)

    def parameters(self) -> Parameters:
        return self._weights, self._biases


class _State:
    """What an optimizer keeps for an array of parameters."""

    def __init__(self, parameter: Array) -> None:
        self._first, self._second = np.zeros_like(parameter), np.zeros_like(parameter)
        self._steps = 0

    def change(self, gradient: Array, problem: Training) -> Array:
        """What to add: Sutskever et al. (2013), or Kingma and Ba (2015), Algorithm 1."""
        rate = problem.learning_rate
        if problem.optimizer == "sgd":
            return -rate * gradient
        if problem.optimizer == "momentum":
            self._first = MOMENTUM * self._first - rate * gradient
            return self._first
        beta_1, beta_2 = ADAM_BETAS
        self._steps += 1
        self._first = beta_1 * self._first + (1 - beta_1) * gradient
        self._second = beta_2 * self._second + (1 - beta_2) * gradient**2
        first = self._first / (1 - beta_1**self._steps)
        second = self._second / (1 - beta_2**self._steps)
        return -rate * first / (np.sqrt(second) + problem.epsilon)


def _wide(X: Array) -> Array:
    if X.dtype == np.uint8:
        return preprocess(X, np.empty(X.shape, np.float64))
    return X.astype(np.float64)


def _sigmoid(z: Array) -> Array:
    return 1 / (1 + np.exp(-z))


def _softmax(z: Array) -> Array:
    powers = np.exp(z - z.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


# An activation, and its slope in terms of its output.
_HIDDEN: dict[str, tuple[Function, Function]] = {
    "sigmoid": (_sigmoid, lambda a: a * (1 - a)),
    "tanh": (np.tanh, lambda a: 1 - a**2),
    "relu": (lambda z: np.maximum(z, 0), lambda a: a > 0),
}
# The output that goes with a loss.
_OUTPUT: dict[str, Function] = {
    "log_loss": _sigmoid,
    "cross_entropy": _softmax,
    "squared_error": lambda z: z,
}


def _forward(
    parameters: Parameters, x: Array, activation: str = "sigmoid", loss: str = "log_loss"
) -> list[Array]:
    functions = [_HIDDEN[activation][0]] * (len(parameters[0]) - 1) + [_OUTPUT[loss]]
    outputs = []
    for weight, bias, function in zip(*parameters, functions, strict=True):
        x = function(x @ weight.T + bias)
        outputs.append(x)
    return outputs
