"""scikit-learn's callbacks, where the installed version has them (1.9 and later)."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.utils import _safe_indexing

try:
    from sklearn.callback import CallbackSupportMixin
except ImportError:

    class CallbackSupportMixin:  # type: ignore[no-redef]
        """Nothing, as this version has no callbacks."""


__all__ = ["CallbackSupportMixin", "Hooks"]

Array = npt.NDArray[Any]


class Hooks:
    """The hooks of callbacks during one call of `fit` or `partial_fit`; none where there are none.

    A task of an estimator is an epoch, or an iteration of L-BFGS. A callback sees the rows as the
    user gave them, those for training alone, and an estimator with copies of the weights, which
    are made if it asks for them. Early stopping puts the best weights back only when `fit` ends:
    until then a callback sees the present ones.

    Parameters
    ----------
    estimator : BaseMLP
    X, y, sample_weight
        As the user gave them.
    name : str
        Of the method.
    most : int
        Tasks there may be.

    Attributes
    ----------
    has_any : bool
        Whether there are callbacks. If not, nothing need be shown to them.
    """

    def __init__(
        self, estimator: Any, X: Any, y: Any, sample_weight: Any, *, name: str, most: int
    ) -> None:
        self._estimator = estimator
        self._rows = X, y, sample_weight
        self._context: Any = None
        self._task: Any = None
        if hasattr(estimator, "_init_callback_context"):
            self._context = estimator._init_callback_context(task_name=name, max_subtasks=most)
            self._context.call_on_fit_task_begin(estimator=estimator, **self._seen())
        # Tasks are told to nobody, and take time, where no callback was set.
        self.has_any = self._context is not None and hasattr(estimator, "_skl_callbacks")

    def take(self, chosen: Array) -> None:
        """Show callbacks some of the rows alone, as the others are for validation."""
        if self.has_any:
            X, y, weights = (None if a is None else _safe_indexing(a, chosen) for a in self._rows)
            self._rows = X, y, weights

    def begin_task(self, name: str) -> None:
        """An epoch, or an iteration, begins."""
        if self.has_any:
            self._task = self._context.subcontext(task_name=name)
            self._task.call_on_fit_task_begin(
                estimator=self._estimator, reconstruction_attributes=self._copied, **self._seen()
            )

    def end_task(self) -> bool:
        """It has ended; whether a callback wants training to stop."""
        if not self.has_any:
            return False
        return bool(
            self._task.call_on_fit_task_end(
                estimator=self._estimator, reconstruction_attributes=self._copied, **self._seen()
            )
        )

    def drop_task(self) -> None:
        """What has begun does not take place."""
        if self.has_any:
            self._task.call_on_fit_task_end(estimator=self._estimator)

    def end(self) -> None:
        """Training has ended."""
        if self._context is not None:
            self._context.call_on_fit_task_end(
                estimator=self._estimator, reconstruction_attributes={}, **self._seen()
            )

    def _seen(self) -> dict[str, Any]:
        X, y, weights = self._rows
        return {"X": X, "y": y, "metadata": None if weights is None else {"sample_weight": weights}}

    def _copied(self) -> dict[str, Any]:
        """What makes a copy of the estimator one that training does not change any more."""
        estimator = self._estimator
        return {
            "coefs_": [np.copy(coef) for coef in estimator.coefs_],
            "intercepts_": [np.copy(intercept) for intercept in estimator.intercepts_],
            "loss_curve_": list(getattr(estimator, "loss_curve_", ())),
        }
