"""When a training ends: progress counted epoch by epoch."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from fastbp.estimators.continuing import Course
from fastbp.estimators.validation import Validation
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
    estimator.validation_loss_curve_ = [] if stops_early else None
    estimator.best_validation_score_ = -np.inf if stops_early else None


class Stopping:
    """Ends a training whose loss stays above the best so far, less `tol`, for too many epochs.

    What it counts lies in the estimator, from where a warm start goes on.

    Parameters
    ----------
    estimator : BaseMLP
    validation : Validation, optional
        Noted after each epoch.
    """

    monitored = "Training loss"

    def __init__(self, estimator: Any, validation: Validation | None = None) -> None:
        self._estimator, self._validation = estimator, validation

    def end_epoch(self, loss: float) -> str | None:
        """Note an epoch, the loss of which is in the curve: why to stop, if there is a reason."""
        estimator = self._estimator
        score = None if self._validation is None else self._validation.note()
        if self._is_without_progress(loss, score):
            estimator._no_improvement_count += 1
        else:
            estimator._no_improvement_count = 0
        self._note_best(loss, score)
        if estimator._no_improvement_count <= estimator.n_iter_no_change:
            return None
        return (
            f"{self.monitored} did not improve more than tol={estimator.tol:f} for"
            f" {estimator.n_iter_no_change:d} consecutive epochs."
        )

    def end(self) -> None:
        """What is to be done when a training has ended."""

    def _is_without_progress(self, loss: float, score: float | None) -> bool:
        best = self._estimator.best_loss_
        return bool(loss > (math.inf if best is None else best) - self._estimator.tol)

    def _note_best(self, loss: float, score: float | None) -> None:
        estimator = self._estimator
        if estimator.best_loss_ is None or loss < estimator.best_loss_:
            estimator.best_loss_ = loss
        if score is not None and score > estimator.best_validation_score_:
            estimator.best_validation_score_ = score


class ValidationStopping(Stopping):
    """Ends a training whose validation score stays below the best so far, plus `tol`.

    Parameters
    ----------
    estimator : BaseMLP
    network : Parameters
        The best weights are put back into it in the end. Those of a warm start that finds no
        better ones are its last, as in scikit-learn.
    validation : Validation
        Of its scores more is better; NaN is neither.
    is_warm : bool
        Whether the weights come from a training before.
    course : Course, optional
        Is told of the last weights when the best are put back, so that training can go on. If the
        training goes on from there, its best weights so far are kept too.
    """

    monitored = "Validation score"

    def __init__(
        self,
        estimator: Any,
        network: Parameters,
        validation: Validation,
        *,
        is_warm: bool,
        course: Course | None = None,
    ) -> None:
        super().__init__(estimator, validation)
        self._network, self._course = network, course
        self._best: list[Array] | None = None
        if not is_warm or course is not None:
            self._keep_best()
        if course is not None:
            course.take_last([*network.weights, *network.biases])

    def _is_without_progress(self, loss: float, score: float | None) -> bool:
        best = self._estimator.best_validation_score_
        return score is not None and bool(score < best + self._estimator.tol)

    def _note_best(self, loss: float, score: float | None) -> None:
        if score is not None and score > self._estimator.best_validation_score_:
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
        if self._best is None:
            return
        arrays = [*self._network.weights, *self._network.biases]
        if self._course is not None:
            self._course.last = [array.copy() for array in arrays]
            self._course.best = self._best
        for kept, array in zip(self._best, arrays, strict=True):
            np.copyto(array, kept)
