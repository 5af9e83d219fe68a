"""What goes on inside a fitted network: activations of hidden layers, gradients at the input."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.utils.validation import check_consistent_length, check_is_fitted

from fastbp.engine.inputs import as_input
from fastbp.estimators.forward import chunks
from fastbp.estimators.rows import is_sparse
from fastbp.estimators.weights import network_of
from fastbp.gradients import input_gradient, layers

__all__ = ["InsideMixin"]

Array = npt.NDArray[Any]


class InsideMixin:
    """Methods that show what goes on inside a fitted network."""

    def hidden_activations(self, X: Any) -> list[Array]:
        """The activations of every hidden layer.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            The input data.

        Returns
        -------
        list of ndarray
            One of shape (n_samples, n_units) for each hidden layer, the one above the input first,
            in the dtype of `coefs_`.
        """
        check_is_fitted(self)
        estimator: Any = self
        X = estimator._validate_rows(X)
        network = network_of(self)
        sizes = network.layer_sizes
        made = [np.empty((X.shape[0], size), network.dtype) for size in sizes[1:-1]]
        if not made:
            return made
        # Z and A of all layers of a chunk, and of sparse rows the dense ones.
        row_bytes = network.dtype.itemsize * 2 * sum(sizes)
        with estimator._limited():
            for part, some in chunks(X, row_bytes):
                for whole, a in zip(made, layers(network, _dense(network, some))[1], strict=False):
                    whole[part] = a
        return made

    def input_gradient(self, X: Any, y: Any) -> Array:
        """The gradient of each row's own loss with respect to the row.

        It tells to which features the loss is sensitive, and how a row is to be changed to fool
        the network [1]_. The loss is that of the data, without `alpha` and without weights: log
        losses, half squared errors or Poisson losses, summed over outputs.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            The input data.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            Labels or target values.

        Returns
        -------
        ndarray of shape (n_samples, n_features)
            In the dtype of `coefs_`.

        References
        ----------
        .. [1] Goodfellow, I. J., Shlens, J. and Szegedy, C., "Explaining and harnessing
           adversarial examples", 2015.
        """
        check_is_fitted(self)
        estimator: Any = self
        X = estimator._validate_rows(X)
        targets = estimator._validate_held_out_targets(y, "y")
        check_consistent_length(X, targets)
        network = network_of(self)
        targets = targets.reshape(len(targets), -1).astype(network.dtype)
        if targets.shape[1] != network.layer_sizes[-1]:
            raise ValueError(
                f"y has {targets.shape[1]} outputs, but the network has {network.layer_sizes[-1]}"
            )
        made = np.empty(X.shape, network.dtype)
        row_bytes = network.dtype.itemsize * 4 * sum(network.layer_sizes)
        with estimator._limited():
            for part, some in chunks(X, row_bytes):
                made[part] = input_gradient(network, _dense(network, some), targets[part])
        return made


def _dense(network: Any, X: Any) -> Array:
    rows = X.toarray() if is_sparse(X) else X
    return as_input(rows, network.layer_sizes[0], network.dtype)
