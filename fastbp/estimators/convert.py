"""From scikit-learn's multi-layer perceptrons and back.

Parameters, what was fitted, and what the optimizer keeps are copied. scikit-learn's ``coefs_[i]``
are (n_in, n_out) row by row, fastbp's the transposed views of (n_out, n_in); what an optimizer
keeps of them has the same shapes.
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any, Self

import numpy as np
import numpy.typing as npt
from sklearn.base import ClassifierMixin

from fastbp.estimators.state import OptimizerState, optimizer_of
from fastbp.estimators.weights import trainable_network
from fastbp.kernels.functions.optimizers import ADAM, NESTEROV

__all__ = ["Convertible"]

Array = npt.NDArray[Any]

_FITTED = (  # besides coefs_ and intercepts_
    "classes_",
    "n_features_in_",
    "feature_names_in_",
    "n_layers_",
    "n_outputs_",
    "out_activation_",
    "n_iter_",
    "t_",
    "loss_",
    "loss_curve_",
    "best_loss_",
    "validation_scores_",
    "best_validation_score_",
    "_no_improvement_count",
    "_label_binarizer",
)
_SPEED_ALONE = frozenset({"threads"})  # parameters that change no result


class Convertible:
    """Conversions, for `fastbp.MLPClassifier` and `fastbp.MLPRegressor`."""

    @classmethod
    def from_sklearn(cls, estimator: Any) -> Self:
        """Make an estimator that is, and predicts, what one of scikit-learn's is and predicts.

        Parameters
        ----------
        estimator : sklearn.neural_network.MLPClassifier or MLPRegressor
            Fitted or not; the classifier for a classifier. It is left as it is, and nothing is
            shared with it.

        Returns
        -------
        self : object
            With the same parameters. If `estimator` is fitted, with its attributes too; predictions
            are equal to rounding. `partial_fit` goes on where that of `estimator` would, with what
            its optimizer has kept.

        Raises
        ------
        TypeError
            If `estimator` is none of scikit-learn's of this kind.
        ValueError
            If it has a parameter, other than at its default, that is not known here, as a later
            scikit-learn may have.

        Examples
        --------
        >>> import fastbp
        >>> from sklearn.datasets import load_iris
        >>> from sklearn.neural_network import MLPClassifier
        >>> X, y = load_iris(return_X_y=True)
        >>> theirs = MLPClassifier(max_iter=500, random_state=0).fit(X, y)
        >>> ours = fastbp.MLPClassifier.from_sklearn(theirs)
        >>> bool((ours.predict(X) == theirs.predict(X)).all())
        True
        """
        peer = _peer_of(cls)
        if not isinstance(estimator, peer):
            raise TypeError(
                f"estimator must be a sklearn.neural_network.{peer.__name__},"
                f" got {type(estimator).__name__}"
            )
        made = cls(**_parameters(estimator, cls))
        if hasattr(estimator, "coefs_"):
            _copy_fitted(estimator, made)
            trainable_network(made)  # coefs_ as training leaves them, which predicts the fastest
            _carry_state_here(estimator, made)
        return made

    def to_sklearn(self) -> Any:
        """Make the estimator of scikit-learn that is, and predicts, what this one is and predicts.

        Returns
        -------
        estimator : sklearn.neural_network.MLPClassifier or MLPRegressor
            With the same parameters and, if this one is fitted, its attributes; predictions are
            equal to rounding. `partial_fit` goes on where that of this one would, with what its
            optimizer has kept. Nothing is shared.

        Raises
        ------
        ValueError
            If scikit-learn has no such parameter, as for dropout, or does not take its value, as
            of an activation that it does not have, or of several.

        See Also
        --------
        from_sklearn : The other way.
        """
        peer = _peer_of(type(self))
        parameters = _parameters(self, peer)
        parameters["activation"] = _told_once(parameters["activation"])
        made = peer(**parameters)
        made._validate_params()
        if hasattr(self, "coefs_"):
            _copy_fitted(self, made)
            # What early stopping puts back if nothing better comes, as after a fit of its own.
            made._best_coefs, made._best_intercepts = made.coefs_, made.intercepts_
            _carry_state_there(self, made)
        return made


def _peer_of(kind: type) -> Any:
    """scikit-learn's class for one of fastbp's."""
    from sklearn.neural_network import MLPClassifier, MLPRegressor  # it loads much of SciPy

    return MLPClassifier if issubclass(kind, ClassifierMixin) else MLPRegressor


def _parameters(estimator: Any, target: Any) -> dict[str, Any]:
    """Copies of an estimator's parameters that the other class knows.

    Raises
    ------
    ValueError
        If others are not at their defaults.
    """
    known = set(target._get_param_names())
    signature = inspect.signature(type(estimator).__init__).parameters
    parameters = {}
    for name, value in estimator.get_params(deep=False).items():
        if name in known:
            parameters[name] = copy.deepcopy(value)
        elif name not in _SPEED_ALONE and not _is_default(value, signature[name].default):
            raise ValueError(
                f"{target.__module__.partition('.')[0]}.{target.__name__} has no parameter"
                f" {name!r}: it must be {signature[name].default!r} here, got {value!r}"
            )
    return parameters


def _told_once(activation: Any) -> Any:
    """The one activation of all layers, where each of them is told the same."""
    if isinstance(activation, (list, tuple)) and activation:
        first, *others = activation
        if all(other == first for other in others):
            return first
    return activation


def _is_default(value: Any, default: Any) -> bool:
    same = value is default or (type(value) is type(default) and value == default)
    return bool(np.all(same))


def _copy_fitted(source: Any, target: Any) -> None:
    for name in _FITTED:
        if hasattr(source, name):
            setattr(target, name, copy.deepcopy(getattr(source, name)))
    target.coefs_ = [np.array(coef, order="C") for coef in source.coefs_]
    target.intercepts_ = [np.array(intercept) for intercept in source.intercepts_]


def _turned(kept: Sequence[Array]) -> list[Array]:
    """Arrays like weights and biases, with the weights' axes exchanged, copied."""
    return [np.array(array.T, order="C") for array in kept]


def _carry_state_here(source: Any, target: Any) -> None:
    """What scikit-learn's optimizer has kept; its parameters may be others than the estimator's."""
    theirs = getattr(source, "_optimizer", None)
    if theirs is None:  # of lbfgs nothing is kept
        return
    if hasattr(theirs, "velocities"):
        rule = SimpleNamespace(
            solver="sgd", momentum=theirs.momentum, nesterovs_momentum=theirs.nesterov
        )
        schedule, power_t, steps = theirs.lr_schedule, float(theirs.power_t), 0
        kept: tuple[list[Array], ...] = (_turned(theirs.velocities),)
    else:
        rule = SimpleNamespace(
            solver="adam",
            beta_1=theirs.beta_1,
            beta_2=theirs.beta_2,
            epsilon=theirs.epsilon,
        )
        schedule, power_t, steps = "constant", float(source.power_t), int(theirs.t)
        kept = _turned(theirs.ms), _turned(theirs.vs)
    optimizer = optimizer_of(rule)
    state = OptimizerState(
        optimizer,
        float(theirs.learning_rate_init),
        schedule,
        power_t,
        kept[: optimizer.about.kept],  # of plain descent none
        steps,
    )
    if steps == 0:  # Adam's is told by its steps
        state._rate = float(theirs.learning_rate)
    target._optimizer = state


def _carry_state_there(source: Any, target: Any) -> None:
    """An optimizer of scikit-learn that goes on from what is kept here."""
    from sklearn.neural_network._stochastic_optimizers import AdamOptimizer, SGDOptimizer

    state: OptimizerState | None = getattr(source, "_optimizer", None)
    if state is None:
        return
    parameters, rule = target.coefs_ + target.intercepts_, state.rule
    if rule.about.code == ADAM:
        made = AdamOptimizer(
            parameters, state.learning_rate_init, rule.beta_1, rule.beta_2, rule.epsilon
        )
        made.ms, made.vs = map(_turned, state.kept)
        made.t = state.steps
    else:
        made = SGDOptimizer(
            parameters,
            state.learning_rate_init,
            state.schedule,
            rule.momentum,
            rule.about.code == NESTEROV,
            state.power_t,
        )
        if state.kept:
            made.velocities = _turned(state.kept[0])
    made.learning_rate = state.learning_rate
    target._optimizer = made
