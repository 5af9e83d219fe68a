"""Pure NumPy, as a careful programmer writes it: see `fastbp.reference`."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from fastbp.bench.problems import (
    ADAM_BETAS,
    LEARNING_RATE,
    MOMENTUM,
    WEIGHT_DECAY,
    Parameters,
    Product,
    Training,
    preprocess,
)
from fastbp.bench.systems.base import HostBatches, System, Trainer
from fastbp.reference import NumpyNetwork, _Rule, _Scratch

__all__ = ["PREDICTED_ROWS", "Numpy"]

Array = npt.NDArray[Any]

PREDICTED_ROWS = 1024
"""Bytes are converted so many rows at a time, so that the floats stay in a cache."""


class Numpy(System):
    """`numpy.matmul`, and `fastbp.reference.NumpyNetwork` with everything allocated once.

    In "networks", a step of the same kind that knows other functions and optimizers.
    """

    def product(self, problem: Product, a: Array, b: Array) -> Callable[[], Array]:
        """See `System.product`."""
        left = a.T if problem.layout == "TN" else a
        right = b.T if problem.layout == "NT" else b
        out = np.zeros((problem.m, problem.n), a.dtype)
        return lambda: np.matmul(left, right, out=out)

    def trainer(self, problem: Training, start: Parameters, X: Array, y: Array) -> Trainer:
        """See `System.trainer`."""
        batches = HostBatches(problem, X, y, convert_first=self.variant == "float32")
        if problem.workload == "networks":
            return _NetworkTrainer(problem, batches, start)
        return _Trainer(batches, start, problem.batch)

    def predictor(self, start: Parameters, X: Array) -> Callable[[int, int], Array]:
        """See `System.predictor`."""
        network = NumpyNetwork(*start)
        buffer = np.empty((PREDICTED_ROWS, X.shape[1]), np.float32)

        def predict(first: int, last: int) -> Array:
            parts = []
            for begin in range(first, last, PREDICTED_ROWS):
                x = X[begin : min(begin + PREDICTED_ROWS, last)]
                parts.append(network.predict_proba(preprocess(x, buffer[: len(x)])))
            return np.concatenate(parts)

        return predict


class _Trainer(Trainer):
    def __init__(self, batches: HostBatches, start: Parameters, batch: int) -> None:
        self._batches = batches
        self._network = NumpyNetwork(*start)
        # Its `fit` would allocate this anew for each run.
        self._scratch = _Scratch(self._network, batch)

    def run(self) -> None:
        for x, y in self._batches:
            self._network._step(x, y, self._scratch, LEARNING_RATE, _Rule(WEIGHT_DECAY))

    def parameters(self) -> Parameters:
        return self._network.weights, self._network.biases


class _NetworkTrainer(Trainer):
    """All parameters lie in one array, so that an update is a few calls for all of them."""

    def __init__(self, problem: Training, batches: HostBatches, start: Parameters) -> None:
        self._problem, self._batches = problem, batches
        arrays = [*start[0], *start[1]]
        self._all = np.concatenate([array.ravel() for array in arrays])
        self._gradient, self._scratch = np.empty_like(self._all), np.empty_like(self._all)
        self._first, self._second = np.zeros_like(self._all), np.zeros_like(self._all)
        self._number = 0  # of steps that were made
        self._weights, self._biases = _views(self._all, start)
        self._slopes, self._shifts = _views(self._gradient, start)
        shapes = [(problem.batch, len(bias)) for bias in start[1]]
        self._outputs, self._deltas = ([np.empty(s, np.float32) for s in shapes] for _ in range(2))

    def run(self) -> None:
        for _ in range(self._problem.passes):
            for x, y in self._batches:
                self._backpropagate(x, y)
                self._update()

    def _backpropagate(self, x: Array, y: Array) -> None:
        """Fill the gradient."""
        problem, deltas = self._problem, self._deltas
        functions = [problem.activation] * (len(deltas) - 1) + [problem.loss]
        inputs = [x, *self._outputs]
        for below, a, weight, bias, function in zip(
            inputs[:-1], self._outputs, self._weights, self._biases, functions, strict=True
        ):
            np.matmul(below, weight.T, out=a)
            a += bias
            _IN_PLACE[function](a)
        np.subtract(inputs[-1], y, out=deltas[-1])
        deltas[-1] *= np.float32(1 / len(x))
        for layer in reversed(range(len(deltas))):
            np.matmul(deltas[layer].T, inputs[layer], out=self._slopes[layer])
            np.sum(deltas[layer], axis=0, out=self._shifts[layer])
            if layer:
                np.matmul(deltas[layer], self._weights[layer], out=deltas[layer - 1])
                _TIMES_SLOPE[problem.activation](deltas[layer - 1], inputs[layer])

    def _update(self) -> None:
        gradient, first, second, scratch = self._gradient, self._first, self._second, self._scratch
        rate = self._problem.learning_rate
        if self._problem.optimizer == "momentum":
            first *= MOMENTUM
            gradient *= rate
            first -= gradient
            self._all += first
            return
        beta_1, beta_2 = ADAM_BETAS
        self._number += 1
        first *= beta_1
        first += np.multiply(gradient, 1 - beta_1, out=scratch)
        gradient *= gradient
        gradient *= 1 - beta_2
        second *= beta_2
        second += gradient
        np.sqrt(second, out=scratch)
        scratch *= 1 / math.sqrt(1 - beta_2**self._number)
        scratch += self._problem.epsilon
        np.divide(first, scratch, out=scratch)
        scratch *= rate / (1 - beta_1**self._number)
        self._all -= scratch

    def parameters(self) -> Parameters:
        return self._weights, self._biases


def _views(values: Array, start: Parameters) -> Parameters:
    """Weights and biases in one array of all numbers."""
    shapes = [array.shape for kind in start for array in kind]
    ends = np.cumsum([math.prod(shape) for shape in shapes])
    parts = np.split(values, ends[:-1])
    arrays = [part.reshape(shape) for part, shape in zip(parts, shapes, strict=True)]
    return arrays[: len(start[0])], arrays[len(start[0]) :]


def _sigmoid(z: Array) -> None:
    np.negative(z, out=z)
    np.exp(z, out=z)
    z += 1
    np.reciprocal(z, out=z)


def _softmax(z: Array) -> None:
    z -= z.max(axis=1, keepdims=True)
    np.exp(z, out=z)
    z /= z.sum(axis=1, keepdims=True)


# Hidden layers by their activation, the last one by the loss.
_IN_PLACE: dict[str, Callable[[Array], object]] = {
    "sigmoid": _sigmoid,
    "tanh": lambda z: np.tanh(z, out=z),
    "relu": lambda z: np.maximum(z, 0, out=z),
    "log_loss": _sigmoid,
    "cross_entropy": _softmax,
    "squared_error": lambda z: z,
}


def _times_slope_of_tanh(delta: Array, a: Array) -> None:
    a *= a  # its last service
    np.subtract(1, a, out=a)
    delta *= a


def _times_slope_of_sigmoid(delta: Array, a: Array) -> None:
    delta *= a
    np.subtract(1, a, out=a)
    delta *= a


_TIMES_SLOPE: dict[str, Callable[[Array, Array], object]] = {
    "sigmoid": _times_slope_of_sigmoid,
    "tanh": _times_slope_of_tanh,
    "relu": lambda delta, a: np.multiply(delta, a > 0, out=delta),
}
