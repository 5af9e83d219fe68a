"""Validation rows: their loss and their score after each epoch."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.special import xlogy
from sklearn.metrics import check_scoring

from fastbp.engine.inputs import quietly
from fastbp.estimators.forward import outputs
from fastbp.estimators.verbose import say
from fastbp.parameters import Parameters

__all__ = ["Validation", "check_scorer", "data_loss"]

Array = npt.NDArray[Any]


@quietly
def data_loss(
    values: Array, y: Array, loss: str, weights: Array | None, share: float = 1.0
) -> float:
    """The weighted mean over rows of what `loss_curve_` has the mean of, without the penalty.

    Parameters
    ----------
    values : ndarray of shape (n, n_outputs)
        The network's output, an activation.
    y : ndarray of shape (n, n_outputs)
    loss : str
        The network's: "log_loss", "cross_entropy", "squared_error" or "poisson".
    weights : ndarray of shape (n,), optional
    share : float, default 1.0
        What all losses are multiplied by.
    """
    if loss == "squared_error":
        losses = 0.5 * np.sum((y - values) ** 2, axis=1, dtype=np.float64)
    elif loss == "poisson":
        losses = (xlogy(y, y / values) - y + values).sum(axis=1, dtype=np.float64)
    else:  # as in training, no probability costs more than one of eps
        eps = np.finfo(values.dtype).eps
        p = np.clip(values, eps, 1 - eps)
        losses = -xlogy(y, p).sum(axis=1, dtype=np.float64)
        if loss == "log_loss":
            losses -= xlogy(1 - y.astype(p.dtype), 1 - p).sum(axis=1, dtype=np.float64)
    return share * float(np.average(losses, weights=weights))


def check_scorer(estimator: Any) -> Callable[..., float] | None:
    """The scorer that an estimator's `scoring` stands for; None for its own score and the loss.

    Raises
    ------
    ValueError
        If no scorer is called so.
    """
    if estimator.scoring is None or estimator.scoring == "loss":
        return None
    scorer: Callable[..., float] = check_scoring(estimator, estimator.scoring)
    return scorer


class Validation:
    """Validation rows of a training, with the curves that its estimator has of them.

    Parameters
    ----------
    estimator : BaseMLP
    network : Parameters
        Which is trained.
    X : ndarray or sparse matrix of shape (n, n_features)
    y : ndarray of shape (n, n_outputs)
    weights : ndarray of shape (n,), optional
    loss_share : float, default 1.0
        What all losses are multiplied by.
    """

    def __init__(
        self,
        estimator: Any,
        network: Parameters,
        X: Any,
        y: Array,
        weights: Array | None,
        loss_share: float = 1.0,
    ) -> None:
        self._estimator, self._network = estimator, network
        self._rows = X, y, weights
        self._loss_share = loss_share
        self._scorer = check_scorer(estimator)
        if estimator.validation_scores_ is None:  # the training before had no such rows
            estimator.validation_scores_, estimator.best_validation_score_ = [], -np.inf
        if getattr(estimator, "validation_loss_curve_", None) is None:
            estimator.validation_loss_curve_ = []

    def note(self) -> float:
        """Add loss and score, of which more is better, to the curves; the score."""
        estimator, (X, y, weights) = self._estimator, self._rows
        values = outputs(self._network, X)
        loss = data_loss(values, y, self._network.loss_function, weights, self._loss_share)
        estimator.validation_loss_curve_.append(loss)
        if not np.isfinite(values).all():  # scorers refuse such outputs
            score = np.nan
        elif self._scorer is not None:
            score = self._score(self._scorer)
        elif estimator.scoring == "loss":
            score = -loss
        else:
            score = estimator._score_outputs(values, y, weights)
        estimator.validation_scores_.append(score)
        say(estimator, f"Validation score: {score:f}")
        return float(score)

    def _score(self, scorer: Callable[..., float]) -> float:
        estimator, (X, y, weights) = self._estimator, self._rows
        # Of the weights as they are now. X has lost the names of its columns while validated.
        current = copy.copy(estimator)
        vars(current).pop("feature_names_in_", None)
        named = {} if weights is None else {"sample_weight": weights}
        return float(scorer(current, X, estimator._labels_of_targets(y), **named))
