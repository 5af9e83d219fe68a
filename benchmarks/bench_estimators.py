"""asv: fits and predictions of the estimators, at their defaults.

The cases are those of ``fastbp bench --workload estimators``, which sets them beside
scikit-learn's. Each ``setup`` runs what will be timed once, as those of `bench_network`.
"""

from __future__ import annotations

import time
import warnings

import numpy as np

import fastbp
from fastbp.bench.estimators import ESTIMATIONS, Estimation, fitted

# At this number of epochs nothing has converged, of which scikit-learn's warning tells.
warnings.filterwarnings("ignore", "Stochastic Optimizer: Maximum iterations")

_FITS = {case.label: case for case in ESTIMATIONS if case.task == "fit"}
_PREDICTIONS = {case.data: case for case in ESTIMATIONS if case.task == "predict"}


def _classes() -> tuple[type, type]:
    return fastbp.MLPClassifier, fastbp.MLPRegressor


class _Fits:
    """All fits, with the data of one."""

    params = (list(_FITS),)
    param_names = ("data",)

    def setup(self, data: str) -> None:
        self.case: Estimation = _FITS[data]
        self.X, self.y = self.case.examples()


class EstimatorFit(_Fits):
    """A whole fit, checks of the data and first weights included; milliseconds for an epoch."""

    unit = "ms"

    def setup(self, data: str) -> None:
        super().setup(data)
        self.estimator = fitted(_classes(), self.case, self.X, self.y)

    def track_epoch(self, data: str) -> float:
        seconds = []
        for _ in range(3):
            start = time.perf_counter()
            self.estimator.fit(self.X, self.y)
            seconds.append(time.perf_counter() - start)
        return 1e3 * float(np.median(seconds)) / self.case.epochs


class EstimatorPartialFit(_Fits):
    """One epoch by `partial_fit`, as those call who read their data piece by piece."""

    def setup(self, data: str) -> None:
        super().setup(data)
        self.estimator = fitted(_classes(), self.case, self.X, self.y)
        self.time_partial_fit(data)

    def time_partial_fit(self, data: str) -> None:
        self.estimator.partial_fit(self.X, self.y)


class EstimatorPredict:
    """Predictions: of one row, of which most is checks, and of all."""

    params = (list(_PREDICTIONS),)
    param_names = ("data",)

    def setup(self, data: str) -> None:
        case = _PREDICTIONS[data]
        self.X, y = case.examples()
        self.one = self.X[:1]
        self.estimator = fitted(_classes(), case, self.X, y)
        self.time_one_row(data)
        self.time_all_rows(data)

    def time_one_row(self, data: str) -> None:
        self.estimator.predict(self.one)

    def time_all_rows(self, data: str) -> None:
        self.estimator.predict(self.X)
