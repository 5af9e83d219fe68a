"""The workload "estimators": scikit-learn's and fastbp's multi-layer perceptrons at their defaults.

Both make the same model from the same seed, so that one line of a program is all that changes. A
fit has a given number of epochs and is timed as a whole, checks of the data and first weights
included; the result is the time of an epoch. Data are made anew in each process, from fixed seeds.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from fastbp.bench.limits import Work, inference_work, training_work

__all__ = ["ESTIMATIONS", "QUICK_ESTIMATIONS", "Estimation", "fitted", "one_row_runner", "results"]

Array = npt.NDArray[Any]

_BATCH = 200  # the default, or all rows if those are fewer
_SEED = 0
_KEPT = 2  # numbers that Adam keeps for each weight
_CALLS = 200  # predictions in a sample of the clock, so that the clock counts for nothing
_FITTED_EPOCHS = 3  # before predictions, which take the same time from any weights
_CHECKED_BYTES = 2 * _BATCH, 2  # rows and epochs, few enough for float32 to stay close to float64
_NO_RATE = 1e-300  # Adam's steps of that size change no weight


@dataclass(frozen=True)
class Estimation:
    """A fit of `epochs` epochs, or predictions of single rows.

    `sizes` has the width of the input, of the hidden layer, which is the default, and of the output
    layer. `dtype` is that of the data; fastbp trains from bytes in float32, scikit-learn makes
    float64 of them.
    """

    data: Literal["digits", "breast_cancer", "classification", "regression", "random"]
    sizes: tuple[int, ...]
    rows: int
    epochs: int
    dtype: Literal["float64", "uint8"] = "float64"
    task: Literal["fit", "predict"] = "fit"
    workload: Literal["estimators"] = "estimators"

    @property
    def label(self) -> str:
        """Such as ``digits, 1797 x 64``, or ``predict one row of digits``."""
        if self.task == "predict":
            return f"predict one row of {self.data}"
        kind = "" if self.dtype == "float64" else f" {self.dtype}"
        return f"{self.data}, {self.rows} x {self.sizes[0]}{kind}"

    @property
    def units(self) -> int:
        """Epochs, or predictions, in a sample."""
        return self.epochs if self.task == "fit" else _CALLS

    @property
    def is_regression(self) -> bool:
        """Whether it takes the regressor."""
        return self.data == "regression"

    @property
    def arithmetic(self) -> str:
        """Type of the weights in fastbp, which the limit is for."""
        return "float64" if self.dtype == "float64" else "float32"

    def work(self, cache_bytes: int) -> Work:
        """Work of one epoch, or of one prediction."""
        itemsize, of_weight = np.dtype(self.dtype).itemsize, np.dtype(self.arithmetic).itemsize
        if self.task == "predict":
            return inference_work(self.sizes, 1, itemsize, cache_bytes, itemsize=of_weight)
        whole, rest = divmod(self.rows, _BATCH)
        steps = [
            training_work(
                self.sizes, batch, itemsize, cache_bytes, itemsize=of_weight, kept=_KEPT
            ).times(count)
            for batch, count in ((_BATCH, whole), (rest, min(rest, 1)))
        ]
        return Work(sum(step.flops for step in steps), sum(step.nbytes for step in steps))

    def for_check(self) -> Estimation:
        """What is done to compare systems: all of it in float64, little from bytes.

        float32 and float64 go apart within some steps of Adam, which divides each gradient by its
        own size.
        """
        if self.dtype == "float64":
            return self
        rows, epochs = _CHECKED_BYTES
        return replace(self, rows=min(rows, self.rows), epochs=min(epochs, self.epochs))

    def examples(self) -> tuple[Array, Array]:
        """X (rows, features) and y (rows,)."""
        X, y = _MAKERS[self.data](self.rows, self.sizes[0], self.sizes[-1])
        return (X if self.dtype == X.dtype else np.asarray(X / 255)), y


def _digits(rows: int, features: int, outputs: int) -> tuple[Array, Array]:
    from sklearn.datasets import load_digits

    X, y = load_digits(return_X_y=True)
    return X[:rows] / 16, y[:rows]


def _breast_cancer(rows: int, features: int, outputs: int) -> tuple[Array, Array]:
    from sklearn.datasets import load_breast_cancer
    from sklearn.preprocessing import scale

    X, y = load_breast_cancer(return_X_y=True)
    return scale(X)[:rows], y[:rows]


def _classification(rows: int, features: int, outputs: int) -> tuple[Array, Array]:
    from sklearn.datasets import make_classification

    X, y = make_classification(rows, features, random_state=_SEED)
    return X, y


def _regression(rows: int, features: int, outputs: int) -> tuple[Array, Array]:
    from sklearn.datasets import make_regression

    X, y = make_regression(rows, features, random_state=_SEED)
    return X, y


def _random(rows: int, features: int, outputs: int) -> tuple[Array, Array]:
    """Bytes; every class as often as the others."""
    X = np.random.default_rng(_SEED).integers(0, 256, (rows, features), dtype=np.uint8)
    return X, np.arange(rows) % max(outputs, 2)


_MAKERS: dict[str, Callable[[int, int, int], tuple[Array, Array]]] = {
    "digits": _digits,
    "breast_cancer": _breast_cancer,
    "classification": _classification,
    "regression": _regression,
    "random": _random,
}

ESTIMATIONS = (
    Estimation("digits", (64, 100, 10), 1797, 50),
    Estimation("breast_cancer", (30, 100, 1), 569, 50),
    Estimation("classification", (50, 100, 1), 100_000, 10),
    Estimation("regression", (50, 100, 1), 100_000, 10),
    Estimation("random", (784, 100, 10), 20_000, 10),
    Estimation("random", (12288, 100, 1), 4096, 10),
    Estimation("random", (12288, 100, 1), 4096, 10, "uint8"),
    Estimation("digits", (64, 100, 10), 1797, _FITTED_EPOCHS, task="predict"),
    Estimation("regression", (50, 100, 1), 1000, _FITTED_EPOCHS, task="predict"),
    Estimation("random", (12288, 100, 1), 256, _FITTED_EPOCHS, task="predict"),
)
"""Of the issue that asked for the estimators."""

QUICK_ESTIMATIONS = (
    Estimation("digits", (64, 100, 10), 420, 3),
    Estimation("breast_cancer", (30, 100, 1), 569, 2),
    Estimation("regression", (20, 100, 1), 300, 2),
    Estimation("random", (48, 100, 3), 240, 2, "uint8"),
    Estimation("digits", (64, 100, 10), 100, 2, task="predict"),
)


def fitted(classes: tuple[Any, Any], problem: Estimation, X: Array, y: Array) -> Any:
    """An estimator at its defaults, but for the seed and the number of epochs, fitted.

    Parameters
    ----------
    classes : tuple
        The system's classifier and its regressor.
    problem : Estimation
    X, y : ndarray

    Raises
    ------
    RuntimeError
        If it stopped before: the time of an epoch would be wrong.
    """
    kind = classes[problem.is_regression]
    estimator = kind(max_iter=problem.epochs, random_state=_SEED).fit(X, y)
    if estimator.n_iter_ != problem.epochs:
        raise RuntimeError(f"it made {estimator.n_iter_} epochs in place of {problem.epochs}")
    return estimator


def one_row_runner(estimator: Any, X: Array) -> Callable[[], None]:
    """A function that predicts `_CALLS` rows one at a time, going on where it stopped."""
    first = 0

    def run() -> None:
        nonlocal first
        predict = estimator.predict
        for _ in range(_CALLS):
            predict(X[first : first + 1])
            first = (first + 1) % len(X)

    return run


def results(classes: tuple[Any, Any], problem: Estimation) -> dict[str, Array]:
    """What is compared: coefficients and losses, or what single rows are predicted to be.

    From bytes there are the first coefficients too, as "start coefs[0]" and so on: how far float32
    may be off is told by how far training moved them.
    """
    problem = problem.for_check()
    X, y = problem.examples()
    estimator = fitted(classes, problem, X, y)
    if problem.task == "predict":
        rows = range(min(len(X), 20))
        return {"predictions": np.concatenate([estimator.predict(X[i : i + 1]) for i in rows])}
    arrays = _parameters(estimator)
    if problem.dtype == "float64":
        return {**arrays, "loss_curve": np.asarray(estimator.loss_curve_)}
    kind = classes[problem.is_regression]
    first = kind(max_iter=1, random_state=_SEED, learning_rate_init=_NO_RATE).fit(X, y)
    return arrays | {f"start {name}": array for name, array in _parameters(first).items()}


def _parameters(estimator: Any) -> dict[str, Array]:
    arrays = {f"coefs[{i}]": a for i, a in enumerate(estimator.coefs_)}
    return arrays | {f"intercepts[{i}]": a for i, a in enumerate(estimator.intercepts_)}
