"""When a training ends: progress counted epoch by epoch."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from fastbp.estimators.verbose import say
from fastbp.parameters import Parameters

__all__ = ["Stopping", "ValidationStopping", "begin_curves"]

Array = npt.NDArray[Any]


def begin_curves(estimator: Any) -> None:
    """Empty curves and no best value, in an estimator that begins anew."""
    estimator.loss_curve_ = []
    estimator._no_improvement_count = 0
    stops_early = estimator.early_stopping
    estimator.best_loss_ = None if stops_early else np.inf
    estimator.validation_scores_ = [] if stops_early else None
    estimator.best_validation_score_ = -np.inf if stops_early else None


class Stopping:
    """Ends a training whose loss stays above the best so far, less `tol`, for too many epochs.

    What it counts lies in the estimator, from where a warm start goes on.

    Parameters
    ----------
    estimator : BaseMLP
    """

    monitored = "Training loss"

    def __init__(self, estimator: Any) -> None:
        self._estimator = estimator
        if not hasattr(estimator, "loss_curve_"):  # as after solver="lbfgs"
            begin_curves(estimator)

    def end_epoch(self, loss: float) -> str | None:
        """Note an epoch, the loss of which is in the curve: why to stop, if there is a reason."""
        estimator = self._estimator
        if self._is_without_progress(loss):
            estimator._no_improvement_count += 1
        else:
            estimator._no_improvement_count = 0
        self._note_best(loss)
        if estimator._no_improvement_count <= estimator.n_iter_no_change:
            return None
        return (
            f"{self.monitored} did not improve more than tol={estimator.tol:f} for"
            f" {estimator.n_iter_no_change:d} consecutive epochs."
        )

    def end(self) -> None:
        """What is to be done when a training has ended."""

    def _is_without_progress(self, loss: float) -> bool:
        best = self._estimator.best_loss_
        return bool(loss > (math.inf if best is None else best) - self._estimator.tol)

    def _note_best(self, loss: float) -> None:
        best = self._estimator.best_loss_
        if best is None or loss < best:
            self._estimator.best_loss_ = loss


class ValidationStopping(Stopping):
    """Ends a training whose validation score stays below the best so far, plus `tol`.

    Parameters
    ----------
    estimator : BaseMLP
    network : Parameters
        The best weights are put back into it in the end. Those of a warm start that finds no
        better ones are its last, as in scikit-learn.
    score : callable
        Gives the score of the validation rows, larger is better; NaN is neither.
    is_warm : bool
        Whether the weights come from a training before.
    """

    monitored = "Validation score"

    def __init__(
        self,
        estimator: Any,
        network: Parameters,
        score: Callable[[], float],
        *,
        is_warm: bool,
    ) -> None:
        super().__init__(estimator)
        if estimator.best_validation_score_ is None:  # the one before did not stop early
            estimator.validation_scores_, estimator.best_validation_score_ = [], -np.inf
        self._network, self._score = network, score
        self._best: list[Array] | None = None
        if not is_warm:
            self._keep_best()

    def _is_without_progress(self, loss: float) -> bool:
        estimator = self._estimator
        score = self._score()
        estimator.validation_scores_.append(score)
        say(estimator, f"Validation score: {score:f}")
        return bool(score < estimator.best_validation_score_ + estimator.tol)

    def _note_best(self, loss: float) -> None:
        score = self._estimator.validation_scores_[-1]
        if score > self._estimator.best_validation_score_:
            self._estimator.best_validation_score_ = score
            self._keep_best()

    def _keep_best(self) -> None:
        arrays = [*self._network.weights, *self._network.biases]
        if self._best is None:
            self._best = [array.copy() for array in arrays]
            return
        for kept, array in zip(self._best, arrays, strict=True):
            np.copyto(kept, array)

    def end(self) -> None:
        """Put the best weights back."""
        if self._best is not None:
            arrays = [*self._network.weights, *self._network.biases]
            for kept, array in zip(self._best, arrays, strict=True):
                np.copyto(array, kept)
