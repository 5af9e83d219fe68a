"""The mathematics in plain float64 NumPy, for the others to be compared with. Never timed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from fastbp.bench.problems import (
    LEARNING_RATE,
    WEIGHT_DECAY,
    Parameters,
    Training,
    preprocess,
)
from fastbp.bench.systems.base import System, Trainer

__all__ = ["Reference"]

Array = npt.NDArray[Any]


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
        self._problem, self._X, self._y = problem, X, y.reshape(len(y), -1)
        self._weights, self._biases = ([a.astype(np.float64) for a in kind] for kind in start)

    def run(self) -> None:
        batch = self._problem.batch
        for first in range(0, self._problem.steps * batch, batch):
            rows = slice(first, first + batch)
            self._step(_wide(self._X[rows]), self._y[rows])

    def _step(self, x: Array, y: Array) -> None:
        outputs = [x, *_forward((self._weights, self._biases), x)]
        delta = (outputs[-1] - y) / len(x)
        for layer in reversed(range(len(self._weights))):
            weight, below = self._weights[layer], outputs[layer]
            slope, shift = delta.T @ below, delta.sum(axis=0)
            delta = (delta @ weight) * below * (1 - below) if layer else delta
            weight *= 1 - LEARNING_RATE * WEIGHT_DECAY
            weight -= LEARNING_RATE * slope
            self._biases[layer] -= LEARNING_RATE * shift

    def parameters(self) -> Parameters:
        return self._weights, self._biases


def _wide(X: Array) -> Array:
    if X.dtype == np.uint8:
        return preprocess(X, np.empty(X.shape, np.float64))
    return X.astype(np.float64)


def _forward(parameters: Parameters, x: Array) -> list[Array]:
    outputs = []
    for weight, bias in zip(*parameters, strict=True):
        x = 1 / (1 + np.exp(-(x @ weight.T + bias)))
        outputs.append(x)
    return outputs
