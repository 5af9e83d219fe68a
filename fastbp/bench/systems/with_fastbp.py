"""fastbp: whole epochs by `fit`, as its users train; bytes as they are."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

import fastbp
from fastbp.bench.problems import (
    LEARNING_RATE,
    PIXEL_MEAN,
    PIXEL_SCALE,
    WEIGHT_DECAY,
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


class _Trainer(Trainer):
    def __init__(self, problem: Training, start: Parameters, X: Array, y: Array) -> None:
        # Where only a part of an epoch is timed, its rows are spread over all of the data.
        count = problem.steps * problem.batch
        every = len(X) // count
        self._X, self._y = X[::every][:count], y[::every][:count]
        self._problem = problem
        self._network = _network(start, X.dtype)
        self._seeds = itertools.count()

    def run(self) -> None:
        self._network.fit(
            self._X,
            self._y,
            batch_size=self._problem.batch,
            epochs=1,
            learning_rate=LEARNING_RATE,
            weight_decay=WEIGHT_DECAY,
            shuffle=self._problem.shuffle,
            seed=next(self._seeds),
        )

    def parameters(self) -> Parameters:
        return self._network.weights, self._network.biases


def _network(start: Parameters, data_dtype: np.dtype[Any]) -> fastbp.Network:
    weights, biases = start
    sizes = (weights[0].shape[1], *(len(weight) for weight in weights))
    folding: dict[str, Any] = {}
    if data_dtype == np.uint8:
        folding = {"input_mean": PIXEL_MEAN, "input_scale": PIXEL_SCALE}
    network = fastbp.Network(sizes, init="zeros", **folding)
    for own, given in zip((*network.weights, *network.biases), (*weights, *biases), strict=True):
        own[...] = given
    return network
