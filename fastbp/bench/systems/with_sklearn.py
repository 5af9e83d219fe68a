"""scikit-learn: MLPClassifier with partial_fit and plain SGD; its estimators as they are."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.neural_network import MLPClassifier, MLPRegressor

from fastbp.bench.problems import (
    LEARNING_RATE,
    WEIGHT_DECAY,
    Parameters,
    Training,
    preprocess,
)
from fastbp.bench.systems.base import HostBatches, System, Trainer

__all__ = ["Sklearn"]

Array = npt.NDArray[Any]


class Sklearn(System):
    """MLPClassifier; its log loss and logistic units are those of the other systems."""

    def trainer(self, problem: Training, start: Parameters, X: Array, y: Array) -> Trainer:
        """See `System.trainer`."""
        kind = _BatchTrainer if self.variant == "bytes" else _PassTrainer
        return kind(problem, start, X, y)

    def predictor(self, start: Parameters, X: Array) -> Callable[[int, int], Array]:
        """See `System.predictor`."""
        model = _model(start, batch=1, shuffle=False)
        return lambda first, last: model.predict_proba(preprocess(X[first:last]))[:, 1:]

    def estimators(self) -> tuple[Any, Any]:
        """See `System.estimators`."""
        return MLPClassifier, MLPRegressor


class _PassTrainer(Trainer):
    """One partial_fit for all batches: it makes one pass in batches of `batch_size`."""

    def __init__(self, problem: Training, start: Parameters, X: Array, y: Array) -> None:
        count = problem.steps * problem.batch
        self._X = (preprocess(X) if X.dtype == np.uint8 else X)[:count]
        self._y = y[:count].astype(np.int64)
        self._model = _model(start, batch=problem.batch, shuffle=problem.shuffle)

    def run(self) -> None:
        self._model.partial_fit(self._X, self._y)

    def parameters(self) -> Parameters:
        return [w.T for w in self._model.coefs_], self._model.intercepts_


class _BatchTrainer(Trainer):
    """A partial_fit for each batch, which is converted before it."""

    def __init__(self, problem: Training, start: Parameters, X: Array, y: Array) -> None:
        self._batches = HostBatches(problem, X, y.astype(np.int64), convert_first=False)
        self._model = _model(start, batch=problem.batch, shuffle=False)

    def run(self) -> None:
        for x, y in self._batches:
            self._model.partial_fit(x, y[:, 0])

    def parameters(self) -> Parameters:
        return [w.T for w in self._model.coefs_], self._model.intercepts_


def _model(start: Parameters, *, batch: int, shuffle: bool) -> MLPClassifier:
    weights, biases = start
    model = MLPClassifier(
        tuple(len(weight) for weight in weights[:-1]),
        activation="logistic",
        solver="sgd",
        alpha=WEIGHT_DECAY * batch,  # it divides the penalty by the number of rows in a batch
        batch_size=batch,
        learning_rate_init=LEARNING_RATE,
        momentum=0.0,
        nesterovs_momentum=False,
        shuffle=shuffle,
        random_state=0,
    )
    # One step makes the arrays and the optimizer, which keeps references to them.
    rows = np.zeros((max(batch, 2), weights[0].shape[1]), np.float32)
    model.partial_fit(rows, np.arange(len(rows)) % 2, classes=[0, 1])
    for own, given in zip(model.coefs_, weights, strict=True):
        own[...] = given.T
    for own, given in zip(model.intercepts_, biases, strict=True):
        own[...] = given
    return model
