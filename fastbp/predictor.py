"""What parameters say of rows: probabilities, labels, loss, gradients.

All public methods make X ready once, by `as_input`; what is below takes it as it is.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from fastbp.arrays import sigmoid
from fastbp.engine.inputs import as_input
from fastbp.engine.plan import evaluate
from fastbp.finite import holds_nan, nan_error
from fastbp.gradients import ActivationStats, gradients, layer_stats
from fastbp.parameters import Parameters, arrays_of, is_centred
from fastbp.targets import check_targets, l2_penalty, log_loss

__all__ = ["Predictor"]

Array = npt.NDArray[Any]

_CLOSE = 1e-6  # to 0: sigmoids of float32 round to 0.5 from -6e-8 on


def _labels(z: Array) -> Array:
    """Whether sigmoid(z) is at least 0.5: seldom not what the sign says, and then by rounding."""
    labels = z >= 0
    if (labels != (z > -_CLOSE)).any():
        return np.asarray(sigmoid(z) >= 0.5)
    return labels


class Predictor(Parameters):
    """Parameters that answer: what `fastbp.Network` can do without training."""

    def _ready(self, X: npt.ArrayLike) -> Array:
        """X as the engine takes it."""
        return as_input(X, self.layer_sizes[0], self.dtype, exact=is_centred(self))

    def _values(self, rows: Array, *, sigmoid_out: bool, name: str = "X") -> Array:
        """The output for rows that are ready, or its pre-activation."""
        if len(rows) == 0:
            return np.empty((0, self.layer_sizes[-1]), self.dtype)
        out = evaluate(self, rows, sigmoid_out=sigmoid_out)
        if holds_nan(out):
            raise nan_error(self, rows, out, name)
        return out

    def predict_proba(self, X: npt.ArrayLike) -> Array:
        """Probability that each output is 1.

        Parameters
        ----------
        X : array_like of shape (n, n_0)
            uint8, float32 or float64 are read as they are; other real dtypes are converted.

        Returns
        -------
        ndarray of shape (n, n_L)
            In the network's dtype.

        Raises
        ------
        TypeError
            If X does not hold real numbers.
        ValueError
            If X is not a matrix with n_0 columns, has masked or missing values, or if an output is
            NaN: by a NaN in X, in weights or biases, or by infinities that cancel. An infinity
            alone may pass for a very large number, and is not looked for.
        """
        return self._values(self._ready(X), sigmoid_out=True)

    def predict(self, X: npt.ArrayLike) -> Array:
        """Labels 0 and 1: whether what `predict_proba` gives is at least 0.5.

        That includes pre-activations so little below 0 that their sigmoid rounds to 0.5. `score`
        and the accuracy that `fit` reports go by the same rule.

        Parameters
        ----------
        X : array_like of shape (n, n_0)
            As for `predict_proba`.

        Returns
        -------
        ndarray of int64
            Shape (n,) with one output unit, (n, n_L) with more.

        Raises
        ------
        TypeError, ValueError
            As for `predict_proba`.
        """
        labels = (self._values(self._ready(X), sigmoid_out=True) >= 0.5).astype(np.int64)
        return labels[:, 0] if self.layer_sizes[-1] == 1 else labels

    def score(self, X: npt.ArrayLike, y: npt.ArrayLike) -> float:
        """Accuracy: the share of rows whose outputs are all right.

        Parameters
        ----------
        X : array_like of shape (n, n_0)
        y : array_like of shape (n,) or (n, n_L)
            Targets in [0, 1]; 0.5 and above count as 1.

        Returns
        -------
        float
            NaN for no rows.

        Raises
        ------
        TypeError, ValueError
            As for `loss`.
        """
        return self._measure(self._ready(X), y)[1]

    def loss(self, X: npt.ArrayLike, y: npt.ArrayLike, *, weight_decay: float = 0.0) -> float:
        """Mean over rows of the log loss summed over outputs, J; with L2 if asked for.

        Parameters
        ----------
        X : array_like of shape (n, n_0)
        y : array_like of shape (n,) or (n, n_L)
            Targets in [0, 1].
        weight_decay : float, default 0.0
            lambda: adds lambda / 2 times the sum of the squares of all weights.

        Returns
        -------
        float
            In nats. From pre-activations, so finite however sure the network is; infinite if an
            infinite pre-activation is on the wrong side.

        Raises
        ------
        TypeError
            If X or y does not hold real numbers.
        ValueError
            If shapes do not fit, there are no rows, y lies outside [0, 1], `weight_decay` is
            negative or not finite, or an output is NaN (see `predict_proba`).
        """
        if not 0 <= weight_decay < math.inf:
            raise ValueError(f"weight_decay must be finite and >= 0, got {weight_decay!r}")
        return self._measure(self._ready(X), y)[0] + l2_penalty(arrays_of(self)[0], weight_decay)

    def _measure(self, rows: Array, y: npt.ArrayLike, name: str = "X") -> tuple[float, float]:
        """Log loss and accuracy on rows that are ready, which messages call ``name``."""
        targets = check_targets(y, len(rows), self.layer_sizes[-1], self.dtype)
        if len(rows) == 0:
            raise ValueError("X has no rows: loss and accuracy need at least one")
        z = self._values(rows, sigmoid_out=False, name=name)
        right = (_labels(z) == (targets >= 0.5)).all(axis=1)
        return log_loss(z, targets), float(right.mean())

    def gradients(self, X: npt.ArrayLike, y: npt.ArrayLike) -> list[tuple[Array, Array]]:
        """dJ/dW and dJ/db of every layer, layer 1 first, by the chain rule.

        delta[L] = (A[L] - Y) / n; delta[l-1] = (delta[l] W[l]) * A[l-1] (1 - A[l-1]);
        dW[l] = delta[l]^T A[l-1]; db[l] = sum of delta[l] over the rows. `fit` never forms these
        arrays; this is for looking at them, and for optimizers of one's own.

        Parameters
        ----------
        X : array_like of shape (n, n_0)
        y : array_like of shape (n,) or (n, n_L)
            Targets in [0, 1].

        Returns
        -------
        list of (ndarray, ndarray)
            Shapes of the weights and biases, in the network's dtype.

        Raises
        ------
        TypeError, ValueError
            As for `loss`.
        """
        rows = self._ready(X)
        targets = check_targets(y, len(rows), self.layer_sizes[-1], self.dtype)
        if len(rows) == 0:
            raise ValueError("X has no rows: a gradient needs at least one")
        return gradients(self, rows, targets)

    def activation_stats(self, X: npt.ArrayLike) -> list[ActivationStats]:
        """Mean and standard deviation of Z and A in each layer, layer 1 first.

        What Xavier initialisation keeps level from layer to layer.

        Parameters
        ----------
        X : array_like of shape (n, n_0)
            At least one row.

        Returns
        -------
        list of ActivationStats
        """
        rows = self._ready(X)
        if len(rows) == 0:
            raise ValueError("X has no rows: statistics need at least one")
        return layer_stats(self, rows)
