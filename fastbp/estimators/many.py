"""`fit_many`: many networks on the same data."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.base import clone
from sklearn.model_selection import ParameterGrid
from sklearn.utils.validation import _check_sample_weight, indexable

from fastbp.estimators.base import BaseMLP
from fastbp.estimators.jobs import Job, run_jobs

__all__ = ["fit_many"]

Array = npt.NDArray[Any]


def fit_many(
    estimators: BaseMLP | Iterable[BaseMLP],
    X: Any,
    y: Any,
    *,
    param_grid: Mapping[str, Any] | Sequence[Mapping[str, Any]] | None = None,
    sample_weight: Any = None,
    share_order: bool = True,
) -> list[BaseMLP]:
    """Fit many networks to the same data, sooner than one after the other.

    Networks with the same layer sizes and batches are trained together where that pays, some at a
    time, for which X is read once: those whose first layer is narrow (at most 16 units, and 2,048
    parameters above it), as many as have 16 units in their first layers (of uint8, each thread some
    of these); and, from 4,096 columns of X on, those of up to 128 units, as many as have 256 and at
    most 32, whose first layers are stacked as one matrix product. All others are trained side by
    side, each in a thread of its own; with fewer networks than cores, each gets its share of the
    threads.

    Parameters
    ----------
    estimators : MLPClassifier, MLPRegressor, or iterable of them
        What to fit. They are fitted themselves, and no copies; but a single one with `param_grid`
        is cloned for each point of it.
    X : {array-like, sparse matrix} of shape (n_samples, n_features)
        The input data.
    y : array-like of shape (n_samples,) or (n_samples, n_outputs)
        The target values.
    param_grid : dict or list of dict, optional
        As `sklearn.model_selection.ParameterGrid` takes it.
    sample_weight : array-like, optional
        Weights of shape (n_samples,) for all networks, or (n_estimators, n_samples) for each. A
        weight of 0 leaves a row out, so that folds of the same rows can be trained together.
    share_order : bool, default=True
        Whether networks that are trained together go over the rows in the order of the first of
        them. If not, those are trained together that have the same order by themselves: with the
        same integer as `random_state`, say, and other rates or penalties.

    Returns
    -------
    estimators : list of MLPClassifier or MLPRegressor
        Fitted, in the order of the list or of the grid.

    Raises
    ------
    TypeError, ValueError
        For parameters or data that `fit` refuses, before anything is trained; for a training that
        fails, where the others stop too.

    See Also
    --------
    MLPSearchCV : Search of a grid by cross-validation.

    Notes
    -----
    Each network ends with the weights, to the bit, that its own ``fit`` gives it, on any number of
    threads; in shared order, that ``fit`` gives it which goes over the rows in this order, which is
    the plain ``fit`` for the first network, and for all of the same integer `random_state`. Where
    first layers are stacked, the weights are the same to rounding: if X has 4,096 columns or more,
    unless first layers are narrow and X are bytes, or they have 16 units together at most.

    Networks are not trained together, but side by side, with ``solver="lbfgs"``, with
    `early_stopping`, whose rows for training are each network's own, with dropout of the input,
    where X is sparse or less than 8 MiB, where neither optimizer nor penalty needs a gradient
    (``solver="sgd"`` without momentum and `alpha`), and where `random_state` is an instance of
    RandomState. Those that have one such instance in common are trained one after the other.

    Ctrl-C ends all trainings at the end of an epoch.

    Examples
    --------
    Four networks that differ in what they begin with:

    >>> from fastbp import MLPClassifier, fit_many
    >>> from sklearn.datasets import load_digits
    >>> X, y = load_digits(return_X_y=True)
    >>> networks = fit_many([MLPClassifier(random_state=i) for i in range(4)], X, y)

    The points of a grid:

    >>> grid = {"alpha": [1e-4, 1e-2], "learning_rate_init": [1e-3, 1e-2]}
    >>> networks = fit_many(MLPClassifier(random_state=0), X, y, param_grid=grid)
    >>> len(networks)
    4
    """
    chosen = _chosen(estimators, param_grid)
    for estimator in chosen:
        estimator._validate_params()
        estimator._checked_hidden_sizes()
    X, y = indexable(X, y)
    weights = _weights(sample_weight, X, len(chosen))
    kinds = {type(estimator): estimator for estimator in chosen}
    data = {kind: _validated(estimator, X, y) for kind, estimator in kinds.items()}
    jobs = []
    for estimator, weight in zip(chosen, weights, strict=True):
        outputs, rows, _ = data[type(estimator)]
        goes_on = estimator.warm_start and hasattr(estimator, "coefs_")
        jobs.append(Job(estimator, X if goes_on else rows, y, weight, outputs=outputs))
    run_jobs(jobs, shares_order=share_order, raises=True, is_finite=True)
    for estimator in chosen:
        names = data[type(estimator)][2]
        if names is not None:
            estimator.feature_names_in_ = names
    return chosen


def _chosen(estimators: Any, param_grid: Any) -> list[BaseMLP]:
    """The networks to fit, of the right type and each of them once."""
    if param_grid is not None:
        if not isinstance(estimators, BaseMLP):
            raise TypeError(
                "param_grid is for a single MLPClassifier or MLPRegressor, got"
                f" {type(estimators).__name__}"
            )
        return [
            clone(estimators).set_params(**clone(point, safe=False))
            for point in ParameterGrid(param_grid)
        ]
    if isinstance(estimators, BaseMLP):
        return [estimators]
    if not isinstance(estimators, Iterable) or isinstance(estimators, str | Mapping):
        raise TypeError(
            "estimators must be MLPClassifiers or MLPRegressors of fastbp, or one of them with a"
            f" param_grid, got {type(estimators).__name__}"
        )
    chosen = [*estimators]
    for i, estimator in enumerate(chosen):
        if not isinstance(estimator, BaseMLP):
            raise TypeError(
                "estimators must be MLPClassifiers or MLPRegressors of fastbp, got"
                f" {type(estimator).__name__} as number {i}"
            )
    if not chosen:
        raise ValueError("estimators is empty")
    if len({id(estimator) for estimator in chosen}) < len(chosen):
        raise ValueError("estimators has one of them twice: clone it to fit it twice")
    return chosen


def _weights(sample_weight: Any, X: Any, count: int) -> list[Array | None]:
    """The weights of rows for each network."""
    if sample_weight is None:
        return [None] * count
    given = np.asarray(sample_weight)
    if given.ndim != 2:
        return [_check_sample_weight(sample_weight, X)] * count
    if len(given) != count:
        raise ValueError(
            f"sample_weight has weights for {len(given)} networks, but there are {count}"
        )
    return [_check_sample_weight(row, X) for row in given]


def _validated(estimator: BaseMLP, X: Any, y: Any) -> tuple[int, Any, Array | None]:
    """How many outputs a network of such a kind has; X as `fit` takes it, and its columns' names.

    The estimator is as it was.
    """
    probe = clone(estimator)
    data = probe._validate_fit(X, y, None, incremental=False, reset=True)
    return data.y.shape[1], data.X, getattr(probe, "feature_names_in_", None)
