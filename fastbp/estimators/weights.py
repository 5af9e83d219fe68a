"""Between `coefs_`, which users see and may change, and the weights that compiled code reads.

scikit-learn's ``coefs_[i]`` are (n_in, n_out), fastbp's weights (n_out, n_in), row by row. What
training leaves in `coefs_` are transposed views of the weights, so that nothing is copied: at each
use `coefs_` is looked at again, as users may have put other arrays there.
"""

from __future__ import annotations

import operator
from typing import Any

import numpy as np
import numpy.typing as npt

from fastbp.engine import memory
from fastbp.parameters import Parameters

__all__ = ["network_of", "put", "trainable_network"]

Array = npt.NDArray[Any]

_Kept = tuple[Parameters, tuple[Any, ...], tuple[Any, ...]]  # with what the network was made of

_LOSS_OF = {  # of an output activation
    "logistic": "log_loss",
    "softmax": "cross_entropy",
    "identity": "squared_error",
    "exp": "poisson",
}


def network_of(estimator: Any) -> Parameters:
    """The network of a fitted estimator, to be read; kept while `coefs_` are the same arrays."""
    arrays = (*estimator.coefs_, *estimator.intercepts_)
    functions = estimator.activation, estimator.out_activation_
    kept: _Kept | None = estimator.__dict__.get("_network")
    if kept is not None:
        network, of_arrays, of_functions = kept
        if (
            len(arrays) == len(of_arrays)
            and all(map(operator.is_, arrays, of_arrays))
            and functions == of_functions
        ):
            return network
    dtype = _dtype_of(arrays)
    network = _made(
        estimator,
        [np.asarray(coef, dtype).T for coef in estimator.coefs_],
        [np.asarray(intercept, dtype) for intercept in estimator.intercepts_],
        dtype,
    )
    estimator._network = network, arrays, functions
    return network


def trainable_network(estimator: Any) -> Parameters:
    """The network of an estimator, to be trained in place: `coefs_` become views where needed."""
    dtype = _dtype_of((*estimator.coefs_, *estimator.intercepts_))
    for i, coef in enumerate(estimator.coefs_):
        if not _is_usable(coef, coef.T, dtype):
            estimator.coefs_[i] = _copied(np.asarray(coef, dtype).T).T
    for i, intercept in enumerate(estimator.intercepts_):
        if not _is_usable(intercept, intercept, dtype):
            estimator.intercepts_[i] = _copied(np.asarray(intercept, dtype))
    return network_of(estimator)


def put(estimator: Any, weights: list[Array], biases: list[Array]) -> None:
    """Have an estimator show these weights (n_out, n_in) and biases as its own."""
    estimator.coefs_ = [weight.T for weight in weights]
    estimator.intercepts_ = list(biases)


def _made(
    estimator: Any, weights: list[Array], biases: list[Array], dtype: np.dtype[Any]
) -> Parameters:
    return Parameters(
        (weights[0].shape[1], *(len(weight) for weight in weights)),
        weights,
        biases,
        activation=estimator.activation,
        loss_function=_LOSS_OF[estimator.out_activation_],
        dtype=dtype,
    )


def _dtype_of(arrays: tuple[Any, ...]) -> np.dtype[Any]:
    """float32 if all are, else float64."""
    found = np.result_type(*arrays)
    return found if found == np.float32 else np.dtype(np.float64)


def _is_usable(array: Any, turned: Any, dtype: np.dtype[Any]) -> bool:
    return type(array) is np.ndarray and array.dtype == dtype and turned.flags.carray


def _copied(array: Array) -> Array:
    made = memory.empty(array.shape, array.dtype)
    made[...] = array
    return made
