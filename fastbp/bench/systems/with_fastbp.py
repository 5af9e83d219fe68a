"""fastbp: whole epochs by `fit`, as its users train; bytes as they are; its estimators."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

import fastbp
from fastbp.bench.problems import (
    ADAM_BETAS,
    MOMENTUM,
    PIXEL_MEAN,
    PIXEL_SCALE,
    Parameters,
    Product,
    Training,
)
from fastbp.bench.systems.base import System, Trainer

__all__ = ["Fastbp"]

Array = npt.NDArray[Any]


class Fastbp(System):
    """`fastbp.matmul`, `Network.fit` and `Network.predict_proba`."""

    def __init__(self, threads: int, variant: str) -> None:
        super().__init__(threads, variant)
        fastbp.set_num_threads(threads)

    def product(self, problem: Product, a: Array, b: Array) -> Callable[[], Array]:
        """See `System.product`."""
        left = a.T if problem.layout == "TN" else a
        right = b.T if problem.layout == "NT" else b
        out = np.zeros((problem.m, problem.n), a.dtype)
        return lambda: fastbp.matmul(left, right, out=out)

    def trainer(self, problem: Training, start: Parameters, X: Array, y: Array) -> Trainer:
        """See `System.trainer`."""
        return _Trainer(problem, start, X, y)

    def predictor(self, start: Parameters, X: Array) -> Callable[[int, int], Array]:
        """See `System.predictor`."""
        network = _network(start, X.dtype)
        return lambda first, last: network.predict_proba(X[first:last])

    def estimators(self) -> tuple[Any, Any]:
        """See `System.estimators`."""
        return fastbp.MLPClassifier, fastbp.MLPRegressor


class _Trainer(Trainer):
    def __init__(self, problem: Training, start: Parameters, X: Array, y: Array) -> None:
        # Where only a part of an epoch is timed, its rows are spread over all of the data.
        count = problem.steps * problem.batch
        every = len(X) // count
        self._X, self._y = X[::every][:count], y[::every][:count]
        self._problem = problem
        self._network = _network(start, X.dtype, problem.activation, problem.loss)
        self._optimizer = _optimizer(problem)
        self._seeds = itertools.count()

    def run(self) -> None:
        self._network.fit(
            self._X,
            self._y,
            batch_size=self._problem.batch,
            epochs=self._problem.passes,
            learning_rate=self._problem.learning_rate,
            weight_decay=self._problem.weight_decay,
            shuffle=self._problem.shuffle,
            seed=next(self._seeds),
            **self._optimizer,
        )

    def parameters(self) -> Parameters:
        return self._network.weights, self._network.biases


def _optimizer(problem: Training) -> dict[str, Any]:
    """Arguments of `fit`; none for plain descent."""
    if problem.optimizer == "adam":
        beta_1, beta_2 = ADAM_BETAS
        numbers = {"beta_1": beta_1, "beta_2": beta_2, "epsilon": problem.epsilon}
        return {"optimizer": "adam", **numbers}
    return {"momentum": MOMENTUM} if problem.optimizer == "momentum" else {}


def _network(
    start: Parameters,
    data_dtype: np.dtype[Any],
    activation: str = "sigmoid",
    loss: str = "log_loss",
) -> fastbp.Network:
    weights, biases = start
    sizes = (weights[0].shape[1], *(len(weight) for weight in weights))
    folding: dict[str, Any] = {}
    if data_dtype == np.uint8:
        folding = {"input_mean": PIXEL_MEAN, "input_scale": PIXEL_SCALE}
    network = fastbp.Network(sizes, activation=activation, loss=loss, init="zeros", **folding)
    for own, given in zip((*network.weights, *network.biases), (*weights, *biases), strict=True):
        own[...] = given
    return network
