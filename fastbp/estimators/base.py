"""What classifier and regressor have in common: parameters, validation, `fit` and `partial_fit`."""

from __future__ import annotations

import contextlib
import math
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from itertools import chain
from numbers import Integral, Real
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt
from sklearn import get_config
from sklearn.base import _fit_context
from sklearn.utils import column_or_1d
from sklearn.utils._param_validation import Interval, Options, StrOptions
from sklearn.utils.validation import (
    _check_sample_weight,
    check_consistent_length,
    check_is_fitted,
    check_scalar,
    validate_data,
)

from fastbp.engine.limits import thread_limit
from fastbp.estimators.callbacks import CallbackSupportMixin, Hooks
from fastbp.estimators.company import random_numbers
from fastbp.estimators.convert import Convertible
from fastbp.estimators.forward import outputs
from fastbp.estimators.initial import random_layers
from fastbp.estimators.inside import InsideMixin
from fastbp.estimators.lbfgs import fit_lbfgs
from fastbp.estimators.names import NamedParameters
from fastbp.estimators.options import ACTIVATION_NAMES, activations_of, check_options
from fastbp.estimators.plain import DTYPES, are_plain_rows, are_plain_targets
from fastbp.estimators.stochastic import Call, Data, fit_stochastic
from fastbp.estimators.stopping import begin_curves
from fastbp.estimators.validation import check_scorer
from fastbp.estimators.weights import network_of, put

__all__ = ["STOCHASTIC_SOLVERS", "BaseMLP"]

Array = npt.NDArray[Any]

STOCHASTIC_SOLVERS = ("adam", "adamw", "sgd")
_NO_LIMIT = contextlib.nullcontext()
_NON_FINITE = (
    "Solver produced non-finite parameter weights. The input data may"
    " contain large values and need to be preprocessed."
)


class BaseMLP(CallbackSupportMixin, Convertible, InsideMixin, NamedParameters, ABC):
    """Base class of `MLPClassifier` and `MLPRegressor`."""

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "hidden_layer_sizes": ["array-like", Interval(Integral, 1, None, closed="left")],
        "activation": [StrOptions(set(ACTIVATION_NAMES)), "array-like"],
        "solver": [StrOptions({"lbfgs", *STOCHASTIC_SOLVERS})],
        "alpha": [Interval(Real, 0, None, closed="left")],
        "batch_size": [StrOptions({"auto"}), Interval(Integral, 1, None, closed="left")],
        "learning_rate": [StrOptions({"constant", "invscaling", "adaptive"})],
        "learning_rate_init": [Interval(Real, 0, None, closed="neither")],
        "power_t": [Interval(Real, 0, None, closed="left")],
        "max_iter": [Interval(Integral, 1, None, closed="left")],
        "shuffle": ["boolean"],
        "random_state": ["random_state"],
        "tol": [Interval(Real, 0, None, closed="left")],
        "verbose": ["verbose"],
        "warm_start": ["boolean"],
        "momentum": [Interval(Real, 0, 1, closed="both")],
        "nesterovs_momentum": ["boolean"],
        "early_stopping": ["boolean"],
        "validation_fraction": [Interval(Real, 0, 1, closed="left")],
        "beta_1": [Interval(Real, 0, 1, closed="left")],
        "beta_2": [Interval(Real, 0, 1, closed="left")],
        "epsilon": [Interval(Real, 0, None, closed="neither")],
        "n_iter_no_change": [
            Interval(Integral, 1, None, closed="left"),
            Options(Real, {np.inf}),
        ],
        "max_fun": [Interval(Integral, 1, None, closed="left")],
        "scoring": [str, callable, None],
        "dropout": [Interval(Real, 0, 1, closed="left"), "array-like"],
        "continue_training": ["boolean"],
        "max_seconds": [Interval(Real, 0, None, closed="neither"), None],
        "threads": [Interval(Integral, 1, None, closed="left"), None],
    }
    _stratifies = False  # whether validation rows are drawn from each class in its share

    @abstractmethod
    def __init__(
        self,
        *,
        hidden_layer_sizes: npt.ArrayLike,
        activation: str | Sequence[str],
        solver: str,
        alpha: float,
        batch_size: int | str,
        learning_rate: str,
        learning_rate_init: float,
        power_t: float,
        max_iter: int,
        loss: str,
        shuffle: bool,
        random_state: int | np.random.RandomState | None,
        tol: float,
        verbose: bool | int,
        warm_start: bool,
        momentum: float,
        nesterovs_momentum: bool,
        early_stopping: bool,
        validation_fraction: float,
        beta_1: float,
        beta_2: float,
        epsilon: float,
        n_iter_no_change: float,
        max_fun: int,
        scoring: str | Callable[..., float] | None,
        dropout: npt.ArrayLike,
        continue_training: bool,
        max_seconds: float | None,
        threads: int | None,
    ) -> None:
        self.activation = activation
        self.solver = solver
        self.alpha = alpha
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.learning_rate_init = learning_rate_init
        self.power_t = power_t
        self.max_iter = max_iter
        self.loss = loss
        self.hidden_layer_sizes = hidden_layer_sizes
        self.shuffle = shuffle
        self.random_state = random_state
        self.tol = tol
        self.verbose = verbose
        self.warm_start = warm_start
        self.momentum = momentum
        self.nesterovs_momentum = nesterovs_momentum
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.beta_1 = beta_1
        self.beta_2 = beta_2
        self.epsilon = epsilon
        self.n_iter_no_change = n_iter_no_change
        self.max_fun = max_fun
        self.scoring = scoring
        self.dropout = dropout
        self.continue_training = continue_training
        self.max_seconds = max_seconds
        self.threads = threads

    # ------------------------------------------------------------------ what the two differ in

    @abstractmethod
    def _validate_targets(self, y: Any, *, incremental: bool) -> Array:
        """Return y as (n,) or (n, n_outputs), numbers or bool."""

    @abstractmethod
    def _validate_held_out_targets(self, y: Any, name: str = "y_val") -> Array:
        """The same of y_val, whose labels have to be known."""

    @abstractmethod
    def _output_activation(self) -> str:
        """The name of the output layer's activation, of a network that begins."""

    @abstractmethod
    def _labels_of_targets(self, y: Array) -> Any:
        """The user's own y, of targets (n, n_outputs)."""

    def _weigh(self, y: Any, sample_weight: Any, *, incremental: bool) -> Any:
        """The weights of rows, with those of their classes."""
        return sample_weight

    @abstractmethod
    def _score_outputs(self, values: Array, y: Array, weights: Array | None) -> float:
        """The score of validation rows, of the network's outputs and y (n, n_outputs)."""

    # ------------------------------------------------------------------ fit

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(
        self,
        X: Any,
        y: Any,
        sample_weight: Any = None,
        *,
        X_val: Any = None,
        y_val: Any = None,
        sample_weight_val: Any = None,
    ) -> Self:
        """Fit the model to data matrix X and target(s) y.

        Parameters
        ----------
        X : ndarray or sparse matrix of shape (n_samples, n_features)
            The input data. float64, float32 and uint8 are read as they are; of the other dtypes
            X becomes float64.
        y : ndarray of shape (n_samples,) or (n_samples, n_outputs)
            The target values (class labels in classification, real numbers in regression).
        sample_weight : array-like of shape (n_samples,), default=None
            Sample weights.
        X_val : array-like or sparse matrix of shape (n_val, n_features), default=None
            Validation rows, of which `validation_scores_` and `validation_loss_curve_` are; with
            `early_stopping` they decide when to stop. No rows of X are set aside then.
        y_val : array-like of shape (n_val,) or (n_val, n_outputs), default=None
            Their target values; of a classifier, labels that y has too.
        sample_weight_val : array-like of shape (n_val,), default=None
            Their weights.

        Returns
        -------
        self : object
            The trained model.
        """
        rows_val = self._check_both(X_val, y_val, sample_weight_val)
        with self._limited():
            return self._fit(X, y, sample_weight, incremental=False, rows_val=rows_val)

    def _check_both(self, X_val: Any, y_val: Any, sample_weight_val: Any) -> tuple[Any, ...] | None:
        """Validation rows, if they were given."""
        if X_val is None and y_val is None:
            if sample_weight_val is not None:
                raise ValueError(
                    "sample_weight_val is provided, but X_val and y_val were not provided."
                )
            return None
        if y_val is None:
            raise ValueError("X_val is provided, but y_val was not provided.")
        if X_val is None:
            raise ValueError("y_val is provided, but X_val was not provided.")
        return X_val, y_val, sample_weight_val

    def _partial_fit(self, X: Any, y: Any, sample_weight: Any, epochs: Any) -> Self:
        epochs = check_scalar(epochs, "epochs", Integral, min_val=1)
        with self._limited():
            return self._fit(X, y, sample_weight, incremental=True, epochs=epochs)

    def _limited(self) -> AbstractContextManager[None]:
        """At most `threads` threads are used within."""
        return _NO_LIMIT if self.threads is None else thread_limit(self.threads)

    def _fit(
        self,
        X: Any,
        y: Any,
        sample_weight: Any,
        *,
        incremental: bool,
        epochs: int = 1,
        rows_val: tuple[Any, ...] | None = None,
    ) -> Self:
        start = time.monotonic()
        hidden_layer_sizes = self._checked_hidden_sizes()
        is_stochastic = self.solver in STOCHASTIC_SOLVERS
        if is_stochastic and self.early_stopping and incremental:
            raise ValueError("partial_fit does not support early_stopping=True")
        check_options(self, len(hidden_layer_sizes), validates=rows_val is not None)
        check_scorer(self)
        is_warm = hasattr(self, "coefs_") and (self.warm_start or incremental)
        data = self._validate_fit(X, y, sample_weight, incremental=incremental, reset=not is_warm)
        outputs_before = self.coefs_[-1].shape[1] if is_warm else data.y.shape[1]
        if outputs_before != data.y.shape[1]:
            raise ValueError(
                f"y has {data.y.shape[1]} outputs, but the network was fitted with {outputs_before}"
            )
        validation = None if rows_val is None else self._validate_held_out(rows_val, data.y)
        self.n_outputs_ = data.y.shape[1]
        random_state = random_numbers(self.random_state)
        if not is_warm:
            sizes = (data.X.shape[1], *hidden_layer_sizes, self.n_outputs_)
            self._begin(sizes, data.X.dtype, random_state)
        most = epochs if incremental else self.max_iter
        name = "partial_fit" if incremental else "fit"
        hooks = Hooks(self, X, y, sample_weight, name=name, most=most + (not is_stochastic))
        deadline = math.inf if self.max_seconds is None else start + self.max_seconds
        call = Call(hooks, is_warm, incremental, epochs, deadline, validation)
        if is_stochastic:
            fit_stochastic(self, data, random_state, call)
        else:
            fit_lbfgs(self, data, call)
        if not all(np.isfinite(array).all() for array in chain(self.coefs_, self.intercepts_)):
            raise ValueError(_NON_FINITE)
        network_of(self)  # makes what predicting keeps, so that predicting changes no attribute
        hooks.end()
        return self

    def _checked_hidden_sizes(self) -> list[Any]:
        sizes: Any = self.hidden_layer_sizes
        listed = list(sizes) if hasattr(sizes, "__iter__") else [sizes]
        if np.any(np.array(listed) <= 0):
            raise ValueError(f"hidden_layer_sizes must be > 0, got {listed}.")
        return listed

    def _validate_fit(
        self, X: Any, y: Any, sample_weight: Any, *, incremental: bool, reset: bool
    ) -> Data:
        finite = bool(get_config()["assume_finite"])
        is_plain = are_plain_rows(X, finite=finite)
        X, y = validate_data(
            self,
            X,
            y,
            accept_sparse=["csr", "csc"],
            multi_output=True,
            y_numeric=not self._stratifies,
            dtype=DTYPES,
            reset=reset,
            skip_check_array=is_plain and are_plain_targets(y, len(X), finite=finite),
        )
        if y.ndim == 2 and y.shape[1] == 1:
            y = column_or_1d(y, warn=True)
        targets = self._validate_targets(y, incremental=incremental)
        if sample_weight is not None:
            sample_weight = _check_sample_weight(sample_weight, X)
        sample_weight = self._weigh(y, sample_weight, incremental=incremental)
        if sample_weight is not None:
            sample_weight = _check_sample_weight(sample_weight, X)
        return Data(X, targets.reshape(len(targets), -1), sample_weight)

    def _validate_held_out(self, rows: tuple[Any, ...], training_y: Array) -> Data:
        """Validation rows of the user's own: X, y and weights."""
        X, y, sample_weight = rows
        X = self._validate_rows(X)
        y = self._validate_held_out_targets(y)
        y = y.reshape(len(y), -1)
        check_consistent_length(X, y)
        if y.shape[1] != training_y.shape[1]:
            raise ValueError(f"y_val has {y.shape[1]} outputs, but y has {training_y.shape[1]}")
        if sample_weight is not None:
            sample_weight = _check_sample_weight(sample_weight, X)
        return Data(X, y, sample_weight)

    def _begin(
        self,
        layer_sizes: tuple[int, ...],
        data_dtype: np.dtype[Any],
        random_state: np.random.RandomState,
    ) -> None:
        """Random weights, and nothing counted."""
        self.n_iter_ = 0
        self.t_ = 0
        self.n_layers_ = len(layer_sizes)
        self.out_activation_ = self._output_activation()
        dtype = np.dtype(np.float64 if data_dtype == np.float64 else np.float32)
        put(self, *random_layers(layer_sizes, activations_of(self), dtype, random_state))
        if self.solver in STOCHASTIC_SOLVERS:
            begin_curves(self)

    # ------------------------------------------------------------------ use

    def _check_is_fitted(self) -> None:
        if "coefs_" not in self.__dict__:  # so that a call does not take a tenth longer
            check_is_fitted(self)

    def _validate_rows(self, X: Any) -> Any:
        """Return X as `validate_data` does; most arrays are seen at a glance to be right."""
        if (
            are_plain_rows(X)
            and X.shape[1] == getattr(self, "n_features_in_", None)
            and "feature_names_in_" not in self.__dict__
        ):
            return X
        # Other dtypes are converted some rows at a time.
        return validate_data(self, X, accept_sparse=["csr", "csc"], reset=False)

    def _outputs(self, X: Any) -> Array:
        """The activation of the output layer for rows, (n, n_outputs)."""
        if self.threads is None:
            return outputs(network_of(self), X)
        with self._limited():
            return outputs(network_of(self), X)

    def __getstate__(self) -> dict[str, Any]:
        """All but what follows from the rest."""
        state = super().__getstate__()
        return {name: value for name, value in state.items() if name != "_network"}

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags
