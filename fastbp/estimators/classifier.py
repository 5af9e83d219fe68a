"""The classifier."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
import numpy.typing as npt
from sklearn.base import ClassifierMixin, _fit_context
from sklearn.preprocessing import LabelBinarizer
from sklearn.utils.metaestimators import available_if
from sklearn.utils.multiclass import (
    _check_partial_fit_first_call,
    type_of_target,
    unique_labels,
)

from fastbp.estimators.base import STOCHASTIC_SOLVERS, BaseMLP
from fastbp.estimators.forward import chunks
from fastbp.estimators.scoring import accuracy

__all__ = ["MLPClassifier"]

Array = npt.NDArray[Any]


def _is_stochastic(estimator: Any) -> bool:
    if estimator.solver not in STOCHASTIC_SOLVERS:
        raise AttributeError(
            "partial_fit is only available for stochastic optimizers."
            f" {estimator.solver} is not stochastic."
        )
    return True


class MLPClassifier(ClassifierMixin, BaseMLP):
    """Multi-layer perceptron classifier: scikit-learn's, trained by fastbp's kernels.

    It minimizes the log loss: of one output for two classes, of softmax for more, and of an output
    for each label where y is an indicator matrix.

    Parameters
    ----------
    hidden_layer_sizes : array-like of int, default=(100,)
        Units of each hidden layer; a single int is one layer, () none.
    activation : {'identity', 'logistic', 'tanh', 'relu'}, default='relu'
        Of the hidden layers: x, 1 / (1 + exp(-x)), tanh(x) or max(0, x).
    solver : {'lbfgs', 'sgd', 'adam'}, default='adam'
        'sgd' is gradient descent on batches, with momentum; 'adam' the method of Kingma and Ba;
        'lbfgs' SciPy's quasi-Newton method, which goes over all rows at each step and is good for
        few of them.
    alpha : float, default=0.0001
        Strength of the L2 penalty, alpha / 2 times the squares of all weights, divided by the
        number of rows (or the sum of their weights).
    batch_size : int or 'auto', default='auto'
        Rows of a step of 'sgd' and 'adam'; 'auto' is ``min(200, n_samples)``.
    learning_rate : {'constant', 'invscaling', 'adaptive'}, default='constant'
        Schedule, for 'sgd'. 'invscaling': after each epoch,
        ``learning_rate_init / (t_ + 1) ** power_t``. 'adaptive': divided by 5 each time that
        training would stop, which it does not before 1e-6.
    learning_rate_init : float, default=0.001
        The learning rate at first, for 'sgd' and 'adam'.
    power_t : float, default=0.5
        The exponent of 'invscaling'.
    max_iter : int, default=200
        Epochs of 'sgd' and 'adam', or iterations of 'lbfgs', at most.
    shuffle : bool, default=True
        Whether the rows are put in another order for each epoch.
    random_state : int, RandomState instance or None, default=None
        Draws weights, validation rows and orders: the same seed gives the same as in scikit-learn.
    tol : float, default=1e-4
        Progress less than this does not count, see `n_iter_no_change`; of 'lbfgs', the largest
        gradient that is small enough to stop.
    verbose : bool or int, default=False
        Whether to print each epoch's loss.
    warm_start : bool, default=False
        Whether `fit` goes on from the weights that are there.
    momentum : float, default=0.9
        Between 0 and 1, for 'sgd'.
    nesterovs_momentum : bool, default=True
        Whether momentum is Nesterov's.
    early_stopping : bool, default=False
        Whether some rows are set aside, and the accuracy on them, not the loss, says when training
        stops and which weights are kept. For 'sgd' and 'adam'.
    validation_fraction : float, default=0.1
        The share of rows that `early_stopping` sets aside, from each class its share, except
        for an indicator matrix.
    beta_1, beta_2 : float, default=0.9, 0.999
        How slowly the means of the gradient and of its square change, for 'adam'.
    epsilon : float, default=1e-8
        What is added to the root of the mean square, for 'adam'.
    n_iter_no_change : int or inf, default=10
        Training stops after more epochs than this in a row without progress.
    max_fun : int, default=15000
        Evaluations of loss and gradient by 'lbfgs', at most.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        The labels.
    loss_ : float
        Of the last epoch or iteration.
    best_loss_ : float or None
        The least loss of an epoch; None if `early_stopping`. This and the next three are there
        after 'sgd' and 'adam'.
    loss_curve_ : list of float
        Of each epoch.
    validation_scores_ : list of float or None
        Of each epoch, if `early_stopping`.
    best_validation_score_ : float or None
        The best of them.
    t_ : int
        Rows that training has gone over, each as often as it was used.
    coefs_ : list of ndarray of shape (n_in, n_out)
        Weights of each layer. They may be changed, or replaced, and training goes on from there.
    intercepts_ : list of ndarray of shape (n_out,)
        Biases of each layer.
    n_features_in_ : int
        Columns of X.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Their names, if all are strings.
    n_iter_ : int
        Epochs or iterations of the last `fit`.
    n_layers_ : int
        Layers, those of input and output among them.
    n_outputs_ : int
        Outputs.
    out_activation_ : str
        'logistic' or 'softmax'.

    See Also
    --------
    MLPRegressor : The same for numbers.
    fastbp.Network : Training with more activations, losses and optimizers.

    Notes
    -----
    Parameters, messages and results are those of ``sklearn.neural_network.MLPClassifier``: a
    training in float64 gives the same weights, but for rounding.

    X is read as it is if it holds float64, float32 or uint8, and becomes float64 otherwise. Of
    float32 and uint8, weights and arithmetic are float32 (float64 with 'lbfgs'): bytes are widened
    as they are read, so that pictures need no copy of four times their size. Sparse rows are made
    dense some batches at a time. Outputs have the dtype of the weights.

    A batch whose rows weigh 0 together, where scikit-learn raises ZeroDivisionError, is a step by
    momentum alone.

    Examples
    --------
    >>> from fastbp import MLPClassifier
    >>> from sklearn.datasets import load_digits
    >>> from sklearn.model_selection import train_test_split
    >>> X, y = load_digits(return_X_y=True)
    >>> X_train, X_test, y_train, y_test = train_test_split(X, y, random_state=1)
    >>> classifier = MLPClassifier(random_state=1).fit(X_train, y_train)
    >>> classifier.predict(X_test[:5])
    array([1, 5, 0, 7, 1])
    >>> round(classifier.score(X_test, y_test), 2)
    0.98
    """

    _stratifies = True

    def __init__(
        self,
        hidden_layer_sizes: Any = (100,),
        activation: Any = "relu",
        *,
        solver: Any = "adam",
        alpha: Any = 0.0001,
        batch_size: Any = "auto",
        learning_rate: Any = "constant",
        learning_rate_init: Any = 0.001,
        power_t: Any = 0.5,
        max_iter: Any = 200,
        shuffle: Any = True,
        random_state: Any = None,
        tol: Any = 1e-4,
        verbose: Any = False,
        warm_start: Any = False,
        momentum: Any = 0.9,
        nesterovs_momentum: Any = True,
        early_stopping: Any = False,
        validation_fraction: Any = 0.1,
        beta_1: Any = 0.9,
        beta_2: Any = 0.999,
        epsilon: Any = 1e-8,
        n_iter_no_change: Any = 10,
        max_fun: Any = 15000,
    ) -> None:
        super().__init__(
            hidden_layer_sizes=hidden_layer_sizes,
            activation=activation,
            solver=solver,
            alpha=alpha,
            batch_size=batch_size,
            learning_rate=learning_rate,
            learning_rate_init=learning_rate_init,
            power_t=power_t,
            max_iter=max_iter,
            loss="log_loss",
            shuffle=shuffle,
            random_state=random_state,
            tol=tol,
            verbose=verbose,
            warm_start=warm_start,
            momentum=momentum,
            nesterovs_momentum=nesterovs_momentum,
            early_stopping=early_stopping,
            validation_fraction=validation_fraction,
            beta_1=beta_1,
            beta_2=beta_2,
            epsilon=epsilon,
            n_iter_no_change=n_iter_no_change,
            max_fun=max_fun,
        )

    # ------------------------------------------------------------------ fit

    def _validate_targets(self, y: Any, *, incremental: bool) -> Array:
        """A column of bool for each output; labels are learned, or compared with those known."""
        if not hasattr(self, "classes_") or not (self.warm_start or incremental):
            self._learn_labels(y)
        else:
            self._check_labels(y)
        return np.asarray(self._label_binarizer.transform(y).astype(bool))

    def _learn_labels(self, labels: Any) -> None:
        self._label_binarizer = LabelBinarizer().fit(labels)
        self.classes_ = self._label_binarizer.classes_

    def _check_labels(self, y: Any) -> None:
        classes = unique_labels(y)
        if self.warm_start:
            if set(classes) != set(self.classes_):
                raise ValueError(
                    "warm_start can only be used where `y` has the same classes as in the"
                    f" previous call to fit. Previously got {self.classes_}, `y` has {classes}"
                )
        elif len(np.setdiff1d(classes, self.classes_, assume_unique=True)):
            raise ValueError(
                "`y` has classes not in `self.classes_`. "
                f"`self.classes_` has {self.classes_}. 'y' has {classes}."
            )

    def _output_activation(self) -> str:
        return "softmax" if self._label_binarizer.y_type_ == "multiclass" else "logistic"

    @available_if(_is_stochastic)
    @_fit_context(prefer_skip_nested_validation=True)
    def partial_fit(self, X: Any, y: Any, sample_weight: Any = None, classes: Any = None) -> Self:
        """Update the model with a single iteration over the given data.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            The input data.
        y : array-like of shape (n_samples,)
            The target values.
        sample_weight : array-like of shape (n_samples,), default=None
            Sample weights.
        classes : array of shape (n_classes,), default=None
            Classes across all calls to partial_fit, such as ``np.unique`` of the whole data set's
            y. They are needed in the first call and can be left out later; y need not contain all
            of them.

        Returns
        -------
        self : object
            The trained model.
        """
        if _check_partial_fit_first_call(self, classes):
            is_multilabel = type_of_target(y).startswith("multilabel")
            self._label_binarizer = LabelBinarizer().fit(y if is_multilabel else classes)
        return self._fit(X, y, sample_weight, incremental=True)

    # ------------------------------------------------------------------ use

    def _labels(self, values: Array) -> Any:
        """The labels that outputs (n, n_outputs) stand for."""
        kind = self._label_binarizer.y_type_
        if kind == "multiclass":
            return np.asarray(self.classes_[values.argmax(axis=1)])
        if kind == "binary" and len(self.classes_) == 2:
            return np.asarray(self.classes_[(values[:, 0] > 0.5).astype(np.intp)])
        if self.n_outputs_ == 1:
            values = values.ravel()
        return self._label_binarizer.inverse_transform(values)

    def _score_outputs(self, values: Array, y: Array, weights: Array | None) -> float:
        if values.shape[1] == 1:
            right = ((values > 0.5) == y)[:, 0] | (len(self.classes_) == 1)
        elif self.out_activation_ == "softmax":
            right = values.argmax(axis=1) == y.argmax(axis=1)
        else:
            right = ((values > 0.5) == y).all(axis=1)
        return accuracy(right, weights)

    def predict(self, X: Any) -> Any:
        """Predict using the multi-layer perceptron classifier.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            The input data.

        Returns
        -------
        y : ndarray, shape (n_samples,) or (n_samples, n_classes)
            The predicted classes.
        """
        self._check_is_fitted()
        X = self._validate_rows(X)
        if self._label_binarizer.y_type_.startswith("multilabel"):
            return self._labels(self._outputs(X))
        parts = [self._labels(self._outputs(some)) for _, some in chunks(X, 8 * self.n_outputs_)]
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def predict_proba(self, X: Any) -> Array:
        """Probability estimates.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            The input data.

        Returns
        -------
        y_prob : ndarray of shape (n_samples, n_classes)
            The predicted probability of the sample for each class in the
            model, where classes are ordered as they are in `self.classes_`.
        """
        self._check_is_fitted()
        values = self._outputs(self._validate_rows(X))
        if self.n_outputs_ > 1:
            return values
        both = np.empty((len(values), 2), values.dtype)
        both[:, 1] = values[:, 0]
        np.subtract(1, both[:, 1], out=both[:, 0])
        return both

    def predict_log_proba(self, X: Any) -> Array:
        """Return the log of probability estimates.

        Parameters
        ----------
        X : ndarray of shape (n_samples, n_features)
            The input data.

        Returns
        -------
        log_y_prob : ndarray of shape (n_samples, n_classes)
            The predicted log-probability of the sample for each class in the model, where classes
            are ordered as they are in `self.classes_`. Equivalent to ``log(predict_proba(X))``.
        """
        probabilities = self.predict_proba(X)
        return np.asarray(np.log(probabilities, out=probabilities))

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        return tags
