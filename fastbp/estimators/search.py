"""`MLPSearchCV`: scikit-learn's `GridSearchCV`, all of whose trainings are one call."""

from __future__ import annotations

import itertools
import time
import traceback
from collections.abc import Iterator, Sequence
from numbers import Integral
from typing import Any, ClassVar, NamedTuple, Self

import numpy as np
import numpy.typing as npt
from sklearn.base import _fit_context, clone, is_classifier
from sklearn.model_selection import GridSearchCV, ParameterGrid, check_cv
from sklearn.model_selection._validation import (
    _insert_error_scores,
    _score,
    _warn_or_raise_about_fit_failures,
)
from sklearn.utils import indexable
from sklearn.utils._param_validation import Interval, Options
from sklearn.utils.metaestimators import _safe_split
from sklearn.utils.validation import _check_method_params, _num_samples

from fastbp.estimators.base import BaseMLP
from fastbp.estimators.jobs import Job, run_jobs
from fastbp.estimators.plain import KEPT
from fastbp.estimators.verbose import say

__all__ = ["MLPSearchCV"]

Array = npt.NDArray[Any]

_MOST_BYTES = 256 << 20  # of the rows of folds that exist at a time, if those of one are not more


class _Fold(NamedTuple):
    """Rows to train on and to score by."""

    X: Any
    y: Any
    weights: Array | None
    X_test: Any
    y_test: Any
    score_params: tuple[dict[str, Any], dict[str, Any]]  # of the scorer: train, test


class MLPSearchCV(GridSearchCV):
    """Search over parameters of an MLPClassifier or MLPRegressor, by cross-validation.

    `sklearn.model_selection.GridSearchCV` for fastbp's estimators, with the same parameters,
    attributes and results. The trainings of all points and folds are those of `fit_many`: in one
    process, networks that may read X together so, and others side by side. Results are the same to
    the bit unless first layers are stacked, as `fit_many` tells.

    Parameters
    ----------
    estimator : MLPClassifier or MLPRegressor
        It is cloned for each training.
    param_grid : dict or list of dict
        Names of parameters, with the values to try.
    scoring : str, callable, list, tuple or dict, default=None
        How predictions on the rows left out are scored; None is the estimator's ``score``.
    n_jobs : int, default=None
        Trainings side by side, at most; None and -1 are as many as there are threads.
    refit : bool, str or callable, default=True
        Whether, and by which score, the best one is fitted to all rows.
    cv : int, cross-validation generator or iterable, default=None
        How the rows are split; None is five folds.
    verbose : int, default=0
        1 tells how many trainings there are, more tells of each one.
    pre_dispatch : int or str, default='2*n_jobs'
        Without effect: no training waits in a queue.
    error_score : 'raise' or numeric, default=np.nan
        The score where a training fails, or whether the error is raised.
    return_train_score : bool, default=False
        Whether scores on the rows of the training are computed too.

    Attributes
    ----------
    cv_results_ : dict of ndarray
        Parameters, scores and times of all points. The time of networks that were trained together
        is shared equally among them.
    best_estimator_ : MLPClassifier or MLPRegressor
        Fitted to all rows, if `refit`.
    best_score_ : float
        Mean score of the best point.
    best_params_ : dict
        Its parameters.
    best_index_ : int
        Its place in `cv_results_`.
    scorer_ : callable or dict
        What scores.
    n_splits_ : int
        How many folds there are.
    refit_time_ : float
        Seconds that fitting to all rows took.
    multimetric_ : bool
        Whether there are several scores.
    classes_ : ndarray
        The labels.
    n_features_in_ : int
        Columns of X.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Their names, if all are strings.

    See Also
    --------
    fit_many : Many networks on the same rows.
    sklearn.model_selection.GridSearchCV : For any estimator, a pipeline for instance.

    Notes
    -----
    With an integer as `random_state`, every network ends with the bits of ``fit`` on the rows of
    its fold, so scores are those of GridSearchCV.

    Examples
    --------
    >>> from fastbp import MLPClassifier, MLPSearchCV
    >>> from sklearn.datasets import load_iris
    >>> X, y = load_iris(return_X_y=True)
    >>> classifier = MLPClassifier((8,), random_state=0, max_iter=500, tol=0.01)
    >>> search = MLPSearchCV(classifier, {"learning_rate_init": [0.0001, 0.01]}).fit(X, y)
    >>> search.best_params_
    {'learning_rate_init': 0.01}
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **GridSearchCV._parameter_constraints,
        "n_jobs": [None, Options(Integral, {-1}), Interval(Integral, 1, None, closed="left")],
    }

    @_fit_context(prefer_skip_nested_validation=False)
    def fit(self, X: Any, y: Any = None, **params: Any) -> Self:
        """Train on all points and folds, and fit the best one to all rows.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            The input data.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            The target values.
        **params : dict of str -> object
            For the estimator's ``fit``, as `sample_weight`, which is split with the rows; for the
            splitter, as `groups`; and for the scorer.

        Returns
        -------
        self : object
            The search, fitted.
        """
        if not isinstance(self.estimator, BaseMLP):
            raise TypeError(
                "estimator must be an MLPClassifier or MLPRegressor of fastbp, got"
                f" {type(self.estimator).__name__}: GridSearchCV takes any estimator"
            )
        scorers, refit_metric = self._get_scorers()
        X, y = indexable(_as_kept(X), y)
        params = _check_method_params(X, params=params)
        routed = self._get_routed_params_for_fit(params)
        splitter = check_cv(self.cv, y, classifier=is_classifier(self.estimator))
        self.n_splits_ = splitter.get_n_splits(X, y, **routed.splitter.split)
        splits = [*splitter.split(X, y, **routed.splitter.split)]
        if len(splits) != self.n_splits_:
            raise ValueError(
                "cv.split and cv.get_n_splits return inconsistent results. Expected"
                f" {self.n_splits_} splits, got {len(splits)}"
            )
        candidates = [*ParameterGrid(self.param_grid)]
        if not splits or not candidates:
            raise ValueError(
                "No fits were performed. Was the CV iterator empty? Were there no candidates?"
            )
        say(
            self,
            f"Fitting {self.n_splits_} folds for each of {len(candidates)} candidates, totalling"
            f" {self.n_splits_ * len(candidates)} fits",
        )
        base = clone(self.estimator)
        folds = (_fold(base, X, y, train, test, routed) for train, test in splits)
        out = self._outcomes(base, candidates, folds, scorers)
        _warn_or_raise_about_fit_failures(out, self.error_score)
        if callable(self.scoring):
            _insert_error_scores(out, self.error_score)
        self.cv_results_ = self._format_results(candidates, self.n_splits_, out)
        self._choose(base, X, y, out, refit_metric, routed.estimator.fit)
        several = hasattr(scorers, "_scorers")
        self.scorer_ = scorers._scorers if several else scorers
        return self

    def _outcomes(
        self, base: BaseMLP, candidates: Sequence[Any], folds: Iterator[_Fold], scorers: Any
    ) -> list[dict[str, Any]]:
        """What `_format_results` takes: of all points, and of each all folds."""
        by_fold: list[list[dict[str, Any]]] = []
        for some in _in_memory(folds):
            jobs = [
                self._job(base, point, fold, scorers)
                for fold, point in itertools.product(some, candidates)
            ]
            run_jobs(
                jobs,
                shares_order=False,
                raises=self.error_score == "raise",
                most=None if self.n_jobs in (None, -1) else self.n_jobs,
            )
            for i, fold in enumerate(some):
                mine = jobs[i * len(candidates) : (i + 1) * len(candidates)]
                by_fold.append([self._outcome(job, fold, scorers) for job in mine])
        return [outcome for of_point in zip(*by_fold, strict=True) for outcome in of_point]

    def _job(self, base: BaseMLP, point: Any, fold: _Fold, scorers: Any) -> Job:
        def score(estimator: BaseMLP) -> tuple[Any, Any, float]:
            start = time.perf_counter()
            for_train, for_test = fold.score_params
            test = _score(estimator, fold.X_test, fold.y_test, scorers, for_test, self.error_score)
            spent, train = time.perf_counter() - start, None
            if self.return_train_score:
                train = _score(estimator, fold.X, fold.y, scorers, for_train, self.error_score)
            return test, train, spent

        estimator = clone(base).set_params(**clone(point, safe=False))
        outputs = _outputs(fold.y, classifies=is_classifier(estimator))
        return Job(estimator, fold.X, fold.y, fold.weights, outputs=outputs, then=score)

    def _outcome(self, job: Job, fold: _Fold, scorers: Any) -> dict[str, Any]:
        """A fit and its scores as `_fit_and_score` of scikit-learn returns them."""
        error = None
        if job.error is None:
            test, train, spent = job.result
        else:
            error = "".join(traceback.format_exception(job.error))
            names = getattr(scorers, "_scorers", None)
            test = self.error_score if names is None else dict.fromkeys(names, self.error_score)
            train, spent = test, 0.0
        outcome = {
            "fit_error": error,
            "test_scores": test,
            "n_test_samples": _num_samples(fold.X_test),
            "fit_time": job.seconds,
            "score_time": spent,
        }
        if self.return_train_score:
            outcome["train_scores"] = train
        if self.verbose > 1:
            seconds = job.seconds + spent
            say(self, f"[CV] END {job.estimator} score={test} total time={seconds:.2f}s")
        return outcome

    def _choose(
        self, base: BaseMLP, X: Any, y: Any, out: list[Any], refit_metric: Any, fit_params: Any
    ) -> None:
        """Find the best point, and fit it to all rows, as the parameters say."""
        first = out[0]["test_scores"]
        self.multimetric_ = isinstance(first, dict)
        if callable(self.scoring) and self.multimetric_:
            self._check_refit_for_multimetric(first)
            refit_metric = self.refit
        results = self.cv_results_
        if self.refit or not self.multimetric_:
            self.best_index_ = self._select_best_index(self.refit, refit_metric, results)
            if not callable(self.refit):
                self.best_score_ = results[f"mean_test_{refit_metric}"][self.best_index_]
            self.best_params_ = results["params"][self.best_index_]
        if not self.refit:
            return
        best = clone(base).set_params(**clone(self.best_params_, safe=False))
        start = time.perf_counter()
        self.best_estimator_ = best.fit(X, y, **fit_params)
        self.refit_time_ = time.perf_counter() - start
        if hasattr(best, "feature_names_in_"):
            self.feature_names_in_ = best.feature_names_in_


def _fold(base: BaseMLP, X: Any, y: Any, train: Any, test: Any, routed: Any) -> _Fold:
    """The rows of a fold: those to train on as `fit` takes them, checked once for all points."""
    train, test = np.asarray(train), np.asarray(test)
    of_fit = _check_method_params(X, params=routed.estimator.fit, indices=train)
    X_train, y_train = _safe_split(base, X, y, train)
    X_test, y_test = _safe_split(base, X, y, test, train)
    for_train, for_test = (
        _check_method_params(X, params=routed.scorer.score, indices=rows) for rows in (train, test)
    )
    weights = of_fit.get("sample_weight")
    return _Fold(X_train, y_train, weights, X_test, y_test, (for_train, for_test))


def _as_kept(X: Any) -> Any:
    """Arrays of numbers in a dtype that the estimators keep: once, and not for each training."""
    if type(X) is np.ndarray and X.dtype.kind in "biuf" and X.dtype not in KEPT:
        return X.astype(np.float64)
    return X


def _outputs(y: Any, *, classifies: bool) -> int:
    """Outputs of a network for such targets."""
    y = np.asarray(y)
    if y.ndim == 2 and y.shape[1] > 1:
        return int(y.shape[1])
    if not classifies:
        return 1
    count = len(np.unique(y))
    return count if count > 2 else 1


def _in_memory(folds: Iterator[_Fold]) -> Iterator[list[_Fold]]:
    """As many folds at a time as may exist beside each other; one at least."""
    some: list[_Fold] = []
    nbytes = 0
    for fold in folds:
        some.append(fold)
        nbytes += getattr(fold.X, "nbytes", 0)
        if nbytes + getattr(fold.X, "nbytes", 0) > _MOST_BYTES:
            yield some
            some, nbytes = [], 0
    if some:
        yield some
