"""Options that scikit-learn's MLP has not, as training needs them; checked before it begins."""

from __future__ import annotations

from typing import Any

from fastbp.activations import ACTIVATIONS, Activations, check_activation, spread
from fastbp.settings import check_dropout, spread_dropout

__all__ = ["ACTIVATION_NAMES", "activations_of", "check_options", "dropout_of", "penalty_of"]

ACTIVATION_NAMES = (*sorted({"logistic", *ACTIVATIONS}),)
"""What a hidden layer's activation may be called; "logistic" and "sigmoid" are the same."""


def activations_of(estimator: Any) -> Activations:
    """The name of the activation of all hidden layers, or of each."""
    given = estimator.activation
    return given if isinstance(given, str) else tuple(map(str, given))


def dropout_of(estimator: Any, hidden: int) -> tuple[float, ...]:
    """Shares of the input and of each of so many hidden layers; () if nothing is dropped."""
    return spread_dropout(check_dropout(estimator.dropout), hidden)


def penalty_of(estimator: Any) -> float:
    """What the squares of W cost: alpha, unless the optimizer shrinks W by it on its own."""
    return 0.0 if estimator.solver == "adamw" else float(estimator.alpha)


def check_options(estimator: Any, hidden: int, *, validates: bool) -> None:
    """That options agree with each other, and with so many hidden layers.

    Parameters
    ----------
    estimator : BaseMLP
    hidden : int
    validates : bool
        Whether validation rows were given.

    Raises
    ------
    TypeError, ValueError
        If not.
    """
    spread(check_activation(activations_of(estimator)), hidden)
    drops = bool(dropout_of(estimator, hidden))
    if estimator.solver == "lbfgs":
        if drops:
            raise ValueError(
                "dropout needs a stochastic solver, as lbfgs compares losses of the same function;"
                f" got dropout={estimator.dropout!r} and solver='lbfgs'"
            )
        if validates:
            raise ValueError(
                "X_val and y_val are passed to fit while solver='lbfgs', which does not evaluate"
                " validation rows: solver should be 'adam', 'adamw' or 'sgd'"
            )
    rate, decay = estimator.learning_rate_init, estimator.alpha
    if estimator.solver == "adamw" and rate * decay >= 1:
        raise ValueError(
            "learning_rate_init * alpha must be less than 1 with solver='adamw', or the decay turns"
            f" the weights around; got {rate} * {decay}"
        )
