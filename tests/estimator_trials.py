"""Random trainings by scikit-learn's MLP and by fastbp's: what is drawn, and how they are compared.

`tests/test_estimators_parity.py` tries some of them, `tests/trials/estimators.py` thousands.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import scipy.sparse
import sklearn.neural_network

import fastbp

MOST_APART = 1e-7
KINDS = ("binary", "strings", "multiclass", "multilabel", "regression", "outputs", "poisson")
CONTAINERS = {
    "C": np.ascontiguousarray,
    "F": np.asfortranarray,
    "csr": scipy.sparse.csr_array,
    "csc": scipy.sparse.csc_array,
}


@dataclass
class Trial:
    """A training: its data, the estimator's parameters, and the calls that are made."""

    kind: str
    X: np.ndarray
    y: np.ndarray
    weights: np.ndarray | None
    container: str
    parameters: dict[str, Any]
    calls: int  # of fit with warm_start, or of partial_fit
    incremental: bool

    @property
    def name(self) -> str:
        """The name of the estimator's class."""
        is_regression = self.kind in ("regression", "outputs", "poisson")
        return "MLPRegressor" if is_regression else "MLPClassifier"

    def fitted(self, module: Any) -> Any:
        """The estimator of a module after the training, or the error that it ends with.

        scikit-learn ends with ZeroDivisionError where a batch's rows weigh nothing together.
        """
        estimator = getattr(module, self.name)(**self.parameters)
        X = CONTAINERS[self.container](self.X)
        extra = {} if self.weights is None else {"sample_weight": self.weights}
        if self.incremental and self.name == "MLPClassifier":
            extra["classes"] = np.arange(3) if self.kind == "multilabel" else np.unique(self.y)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                for _ in range(self.calls):
                    (estimator.partial_fit if self.incremental else estimator.fit)(
                        X, self.y, **extra
                    )
            except (ValueError, ZeroDivisionError) as error:
                return error
        return estimator

    def __str__(self) -> str:
        shape = f"{self.X.shape} {self.container}{'' if self.weights is None else ' weighted'}"
        how = f"{self.calls} x {'partial_fit' if self.incremental else 'fit'}"
        return f"{self.kind} {shape}, {how}, {self.parameters}"


def draw(seed: int) -> Trial:
    """A training at random."""
    rng = np.random.default_rng(seed)
    kind = str(rng.choice(KINDS))
    n, features = int(rng.integers(12, 150)), int(rng.integers(1, 25))
    X = rng.standard_normal((n, features)) * (rng.random((n, features)) < rng.choice([0.3, 1.0]))
    y = _targets(rng, kind, X)
    weights = None
    if rng.random() < 0.35:
        weights = rng.uniform(0.1, 3.0, n) * rng.choice([1.0, 1e-3, 50.0])
        if rng.random() < 0.3:
            weights[rng.random(n) < 0.2] = 0
    incremental = bool(rng.random() < 0.2)
    calls = int(rng.integers(2, 5)) if incremental or rng.random() < 0.2 else 1
    parameters = _parameters(rng, n, kind)
    parameters["warm_start"] = calls > 1 and not incremental
    parameters["early_stopping"] &= not incremental
    container = str(rng.choice([*CONTAINERS], p=[0.6, 0.1, 0.2, 0.1]))
    return Trial(kind, X, y, weights, container, parameters, calls, incremental)


def _targets(rng: np.random.Generator, kind: str, X: np.ndarray) -> np.ndarray:
    n = len(X)
    score = X @ rng.standard_normal((X.shape[1], 4)) / np.sqrt(X.shape[1])
    score += 0.3 * rng.standard_normal((n, 4))
    if kind == "binary":
        return np.where(np.argsort(np.argsort(score[:, 0])) < n // 2, 7, -3)
    if kind in ("strings", "multiclass"):
        classes = np.argsort(np.argsort(score[:, 0])) * int(rng.integers(3, 5)) // n
        return np.array(["red", "green", "blue", "grey"])[classes] if kind == "strings" else classes
    if kind == "multilabel":
        return (score[:, :3] > 0).astype(int)
    if kind == "poisson":
        return rng.poisson(np.exp(np.clip(score[:, 0], -3, 2))).astype(float)
    return score[:, 0] if kind == "regression" else score[:, : int(rng.integers(2, 5))]


def _parameters(rng: np.random.Generator, n: int, kind: str) -> dict[str, Any]:
    def log_uniform(low: float, high: float) -> float:
        return float(np.exp(rng.uniform(np.log(low), np.log(high))))

    solver = str(rng.choice(["sgd", "adam"]))
    # scikit-learn's loss is NaN where exp(z) underflows, ours is not: see that z stays small.
    diverges = kind == "poisson"
    depth = int(rng.choice([0, 1, 2, 3], p=[0.05, 0.55, 0.3, 0.1]))
    batch_size: Any = "auto" if rng.random() < 0.4 else int(rng.integers(1, n + 5))
    parameters = {
        "hidden_layer_sizes": tuple(int(rng.integers(1, 40)) for _ in range(depth)),
        "activation": str(rng.choice(["identity", "logistic", "tanh", "relu"])),
        "solver": solver,
        "alpha": 0.0 if rng.random() < 0.2 else log_uniform(1e-5, 1.0),
        "batch_size": batch_size,
        "learning_rate": str(rng.choice(["constant", "invscaling", "adaptive"])),
        "learning_rate_init": log_uniform(1e-3, 0.02 if solver == "adam" or diverges else 0.1),
        "power_t": float(rng.uniform(0, 1)),
        "max_iter": int(rng.integers(1, 25)),
        "shuffle": bool(rng.random() < 0.8),
        "random_state": int(rng.integers(1 << 31)),
        "tol": float(rng.choice([0.0, 1e-4, 1e-2, 0.1])),
        "momentum": float(rng.choice([0.0, 0.5, 0.9])),
        "nesterovs_momentum": bool(rng.random() < 0.5),
        "early_stopping": bool(rng.random() < 0.3),
        "validation_fraction": float(rng.choice([0.2, 0.35, 0.5])),
        "beta_1": float(rng.choice([0.0, 0.8, 0.9])),
        "beta_2": float(rng.choice([0.9, 0.99, 0.999])),
        "epsilon": float(rng.choice([1e-8, 1e-6, 1e-3])),
        "n_iter_no_change": int(rng.integers(1, 6)),
    }
    if kind in ("regression", "outputs", "poisson"):
        parameters["loss"] = "poisson" if kind == "poisson" else "squared_error"
    return parameters


def difference(trial: Trial) -> str | None:
    """What differs between the two libraries' results, if anything does."""
    theirs, mine = trial.fitted(sklearn.neural_network), trial.fitted(fastbp)
    if isinstance(theirs, ZeroDivisionError):
        return repr(mine) if isinstance(mine, Exception) else None
    if isinstance(theirs, Exception) or isinstance(mine, Exception):
        same = type(theirs) is type(mine) and str(theirs) == str(mine)
        return None if same else f"{theirs!r} became {mine!r}"
    for name in ("n_iter_", "t_", "n_layers_", "n_outputs_", "out_activation_"):
        if getattr(theirs, name) != getattr(mine, name):
            return f"{name}: {getattr(theirs, name)} became {getattr(mine, name)}"
    if theirs._no_improvement_count != mine._no_improvement_count:
        return "_no_improvement_count"
    curves = ("loss_curve_", "validation_scores_", "best_loss_", "best_validation_score_", "loss_")
    for name in curves:
        one, other = getattr(theirs, name), getattr(mine, name)
        if (one is None) != (other is None) or (one is not None and _apart(one, other) > 1e-9):
            return f"{name}: {one} became {other}"
    for name in ("coefs_", "intercepts_"):
        for i, (one, other) in enumerate(
            zip(getattr(theirs, name), getattr(mine, name), strict=True)
        ):
            if one.shape != other.shape or one.dtype != other.dtype:
                return f"{name}[{i}]: {one.dtype} {one.shape} became {other.dtype} {other.shape}"
            if _apart(one, other) > MOST_APART:
                return f"{name}[{i}]: {_apart(one, other):.2g} apart"
    return _difference_of_predictions(trial, theirs, mine)


def is_chaotic(trial: Trial) -> bool:
    """Whether scikit-learn's own weights move as far where X changes in its last bits."""
    rng = np.random.default_rng(0)
    ends = [trial.fitted(sklearn.neural_network)]
    for _ in range(4):
        noise = 1 + rng.choice([-1.0, 0.0, 1.0], trial.X.shape) * np.finfo(float).eps
        ends.append(replace(trial, X=trial.X * noise).fitted(sklearn.neural_network))
    if any(isinstance(end, Exception) for end in ends):
        return len({type(end) for end in ends}) > 1
    first = ends[0].coefs_ + ends[0].intercepts_
    return any(
        _apart(one, other) > MOST_APART / 10
        for end in ends[1:]
        for one, other in zip(first, end.coefs_ + end.intercepts_, strict=True)
    )


def _difference_of_predictions(trial: Trial, theirs: Any, mine: Any) -> str | None:
    X = CONTAINERS[trial.container](trial.X)
    what = "predict" if trial.name == "MLPRegressor" else "predict_proba"
    one, other = getattr(theirs, what)(X), getattr(mine, what)(X)
    if one.shape != other.shape or one.dtype != other.dtype or _apart(one, other) > MOST_APART:
        return what
    if trial.name == "MLPClassifier":
        one, other = theirs.predict(X), mine.predict(X)
        if one.dtype != other.dtype or (one != other).any():
            return "predict"
    return None


def _apart(one: Any, other: Any) -> float:
    """The largest difference, relative to what is larger than 1; NaN equals NaN."""
    a, b = np.asarray(one, float), np.asarray(other, float)
    if a.shape != b.shape or (np.isnan(a) != np.isnan(b)).any():
        return np.inf
    return float(np.nanmax(np.abs(a - b) / np.maximum(1, np.abs(a)), initial=0.0))
