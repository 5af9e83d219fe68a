"""Scores of validation rows, as scikit-learn's `accuracy_score` and `r2_score` give them."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["accuracy", "r2"]

Array = npt.NDArray[Any]


def accuracy(right: Array, weights: Array | None) -> float:
    """The share of rows that are right, by their weights."""
    return float(np.average(right, weights=weights))


def r2(y: Array, predicted: Array, weights: Array | None) -> float:
    """R^2, averaged over outputs; of a constant output 1 if it is met, else 0.

    Parameters
    ----------
    y, predicted : ndarray of shape (n, n_outputs)
    weights : ndarray of shape (n,), optional
    """
    y = y.astype(np.float64, copy=False)
    weight = 1.0 if weights is None else weights[:, None]
    centre = np.average(y, axis=0, weights=weights)
    errors = (weight * (y - predicted) ** 2).sum(axis=0, dtype=np.float64)
    spread = (weight * (y - centre) ** 2).sum(axis=0, dtype=np.float64)
    met = np.where(errors != 0, 0.0, 1.0)
    scores = np.subtract(1, np.divide(errors, spread, out=1 - met, where=spread != 0))
    return float(scores.mean())
