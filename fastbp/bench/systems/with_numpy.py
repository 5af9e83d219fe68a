"""Pure NumPy, as a careful programmer writes it: see `fastbp.reference`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from fastbp.bench.problems import (
    ADAM_BETAS,
    MOMENTUM,
    Parameters,
    Product,
    Training,
    preprocess,
)
from fastbp.bench.systems.base import HostBatches, System, Trainer
from fastbp.reference import NumpyNetwork
from fastbp.reference.network import Scratch
from fastbp.reference.rules import Rule

__all__ = ["PREDICTED_ROWS", "Numpy"]

Array = npt.NDArray[Any]

PREDICTED_ROWS = 1024
"""Bytes are converted so many rows at a time, so that the floats stay in a cache."""


class Numpy(System):
    """`numpy.matmul`, and `fastbp.reference.NumpyNetwork` with everything allocated once."""

    def product(self, problem: Product, a: Array, b: Array) -> Callable[[], Array]:
        """See `System.product`."""
        left = a.T if problem.layout == "TN" else a
        right = b.T if problem.layout == "NT" else b
        out = np.zeros((problem.m, problem.n), a.dtype)
        return lambda: np.matmul(left, right, out=out)

    def trainer(self, problem: Training, start: Parameters, X: Array, y: Array) -> Trainer:
        """See `System.trainer`."""
        batches = HostBatches(problem, X, y, convert_first=self.variant == "float32")
        return _Trainer(problem, batches, start)

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
    def __init__(self, problem: Training, batches: HostBatches, start: Parameters) -> None:
        self._problem, self._batches = problem, batches
        self._network = NumpyNetwork(*start, activation=problem.activation, loss=problem.loss)
        # Its `fit` would allocate this anew for each run.
        self._scratch = Scratch(self._network, problem.batch)
        beta_1, beta_2 = ADAM_BETAS
        self._rule = Rule(
            weight_decay=problem.weight_decay,
            optimizer="adam" if problem.optimizer == "adam" else "sgd",
            momentum=MOMENTUM if problem.optimizer == "momentum" else 0.0,
            beta_1=beta_1,
            beta_2=beta_2,
            epsilon=problem.epsilon,
        )

    def run(self) -> None:
        rate = self._problem.learning_rate
        for _ in range(self._problem.passes):
            for x, y in self._batches:
                self._network._step(x, y, self._scratch, rate, self._rule)

    def parameters(self) -> Parameters:
        return self._network.weights, self._network.biases
