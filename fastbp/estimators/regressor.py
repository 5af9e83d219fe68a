"""The regressor."""

from __future__ import annotations

from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt
from sklearn.base import RegressorMixin, _fit_context
from sklearn.utils._param_validation import StrOptions

from fastbp.estimators.base import BaseMLP
from fastbp.estimators.rows import is_sparse
from fastbp.estimators.scoring import r2

__all__ = ["MLPRegressor"]

Array = npt.NDArray[Any]


class MLPRegressor(RegressorMixin, BaseMLP):
    """Multi-layer perceptron regressor: scikit-learn's, trained by fastbp's kernels.

    Parameters
    ----------
    loss : {'squared_error', 'poisson'}, default='squared_error'
        Half the squared error, or half the Poisson deviance with exp(z) as the output, for y >= 0.
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
        Whether some rows are set aside, and the R^2 on them, not the loss, says when training
        stops and which weights are kept. For 'sgd' and 'adam'.
    validation_fraction : float, default=0.1
        The share of rows that `early_stopping` sets aside.
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
        'identity' or 'exp'.

    See Also
    --------
    MLPClassifier : The same for labels.
    fastbp.Network : Training with more activations, losses and optimizers.

    Notes
    -----
    Parameters, messages and results are those of ``sklearn.neural_network.MLPRegressor``: a
    training in float64 gives the same weights, but for rounding.

    X is read as it is if it holds float64, float32 or uint8, and becomes float64 otherwise. Of
    float32 and uint8, weights and arithmetic are float32 (float64 with 'lbfgs'): bytes are widened
    as they are read, so that pictures need no copy of four times their size. Sparse rows are made
    dense some batches at a time. Outputs have the dtype of the weights.

    A batch whose rows weigh 0 together, where scikit-learn raises ZeroDivisionError, is a step by
    momentum alone.

    Examples
    --------
    >>> from fastbp import MLPRegressor
    >>> from sklearn.datasets import make_regression
    >>> from sklearn.model_selection import train_test_split
    >>> X, y = make_regression(n_samples=200, n_features=20, random_state=1)
    >>> X_train, X_test, y_train, y_test = train_test_split(X, y, random_state=1)
    >>> regressor = MLPRegressor(random_state=1, max_iter=2000, tol=0.1).fit(X_train, y_train)
    >>> round(regressor.score(X_test, y_test), 2)
    0.98
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **BaseMLP._parameter_constraints,
        "loss": [StrOptions({"squared_error", "poisson"})],
    }

    def __init__(
        self,
        loss: Any = "squared_error",
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
            loss=loss,
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
        return np.asarray(y.toarray() if is_sparse(y) else y)

    def _output_activation(self) -> str:
        return "exp" if self.loss == "poisson" else "identity"

    @_fit_context(prefer_skip_nested_validation=True)
    def partial_fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Update the model with a single iteration over the given data.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            The input data.
        y : ndarray of shape (n_samples,)
            The target values.
        sample_weight : array-like of shape (n_samples,), default=None
            Sample weights.

        Returns
        -------
        self : object
            The trained model.
        """
        return self._fit(X, y, sample_weight, incremental=True)

    # ------------------------------------------------------------------ use

    def _score_outputs(self, values: Array, y: Array, weights: Array | None) -> float:
        if not np.isfinite(values).all():
            return np.nan
        return r2(y, values, weights)

    def predict(self, X: Any) -> Array:
        """Predict using the multi-layer perceptron model.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            The input data.

        Returns
        -------
        y : ndarray of shape (n_samples, n_outputs)
            The predicted values.
        """
        self._check_is_fitted()
        values = self._outputs(self._validate_rows(X))
        return values.ravel() if values.shape[1] == 1 else values
