"""A fully connected network: shapes, parameters, forward, predict, loss, gradients."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from fastbp.activations import check_activation
from fastbp.arrays import sigmoid
from fastbp.engine.inputs import as_input, check_width, quietly
from fastbp.engine.plan import evaluate
from fastbp.engine.products import product
from fastbp.finite import holds_nan, nan_error
from fastbp.initializers import Init, canonical_init, initialize
from fastbp.kernels.linalg import epilogue
from fastbp.losses import check_targets, l2_penalty, log_loss
from fastbp.parameters import check_dtype, check_parameters, check_seed, check_sizes
from fastbp.preprocessing import check_folding, scale_and_shift

if TYPE_CHECKING:
    from fastbp.engine.plan import NetworkPlan
    from fastbp.training import Callback, History, Progress

__all__ = ["ActivationStats", "Network"]

Array = npt.NDArray[Any]

_PREPROCESSING = {"input_mean", "input_scale"}
_CHECKS: dict[str, Callable[[Any], Any]] = {"layer_sizes": check_sizes, "dtype": check_dtype}
_CLOSE = 1e-6  # to 0: sigmoids of float32 round to 0.5 from -6e-8 on


def _labels(z: Array) -> Array:
    """Whether sigmoid(z) is at least 0.5: seldom not what the sign says, and then by rounding."""
    labels = z >= 0
    if (labels != (z > -_CLOSE)).any():
        return np.asarray(sigmoid(z) >= 0.5)
    return labels


class ActivationStats(NamedTuple):
    """Mean and standard deviation, over rows and units, of a layer's Z and A."""

    z_mean: float
    z_std: float
    a_mean: float
    a_std: float


class Network:
    """A fully connected network of sigmoid units.

    Layer l computes A[l] = g(A[l-1] W[l]^T + b[l]), rows being examples; A[0] is
    (X - input_mean) * input_scale, computed in registers and never stored.

    Parameters
    ----------
    layer_sizes : sequence of int
        Width of the input and of every layer: (12288, 3, 2, 1) has two hidden layers and one
        output unit. At least two, each at least 1.
    activation : {"sigmoid"}, default "sigmoid"
        g, for hidden and output layers.
    init : {"zeros", "normal", "xavier", "he"}, float, ("normal", std) or callable
        How the weights start: all 0, N(0, 0.01^2), N(0, 2 / (n_l + n_{l-1})),
        N(0, 2 / n_{l-1}), all equal to a number, N(0, std^2), or ``init(shape, rng)``. Biases
        start at 0. Default "xavier".
    dtype : {"float32", "float64"}, default "float32"
        Of parameters and arithmetic.
    seed : int, optional
        Makes the initial weights, and `fit` without a seed of its own, repeatable.
    input_mean, input_scale : float or array_like of shape (n_0,), default 0.0 and 1.0
        The preprocessing that is part of the network, in units of X. Arrays are kept in the
        network's dtype if that holds them exactly, else in float64, in which X of float64 is
        shifted and scaled.

    Attributes
    ----------
    layer_sizes : tuple of int
    weights : list of ndarray
        weights[l] has shape (n_{l+1}, n_l). They are the weights of the preprocessed input.
        Arrays of the network's dtype may be put in their place, of any layout, also read-only or
        memory-mapped; those that are not C-contiguous are copied at each call. `fit` changes them
        in place and asks for more, see there.
    biases : list of ndarray
        biases[l] has shape (n_{l+1},). The same holds for them.
    input_mean, input_scale : float or ndarray of shape (n_0,)
        What is assigned is copied and checked as the argument is.
    parameter_count : int
    training_settings : dict
        Settings of the last `fit`; stored with the network.

    Raises
    ------
    TypeError, ValueError
        For arguments of a wrong type or out of range.

    Examples
    --------
    >>> import numpy as np
    >>> from fastbp import Network
    >>> network = Network((12288, 3, 2, 1), seed=0)
    >>> network.parameter_count
    36878
    """

    _plan: NetworkPlan | None = None  # of the last evaluation, see `fastbp.engine.plan.evaluate`

    def __init__(
        self,
        layer_sizes: Sequence[int],
        *,
        activation: str = "sigmoid",
        init: Init = "xavier",
        dtype: npt.DTypeLike = "float32",
        seed: int | None = None,
        input_mean: npt.ArrayLike = 0.0,
        input_scale: npt.ArrayLike = 1.0,
    ) -> None:
        self.layer_sizes = check_sizes(layer_sizes)
        self.activation = check_activation(activation)
        self.dtype = check_dtype(dtype)
        self.seed = check_seed(seed)
        self.init = canonical_init(init)
        n0 = self.layer_sizes[0]
        self.input_mean = check_folding(input_mean, "input_mean", n0, self.dtype)
        self.input_scale = check_folding(input_scale, "input_scale", n0, self.dtype)
        self._folding(self.dtype)  # to refuse what does not fit the dtype
        self.weights, self.biases = initialize(
            self.layer_sizes, init, seed=self.seed, dtype=self.dtype
        )
        self.training_settings: dict[str, Any] = {}

    def __setattr__(self, name: str, value: Any) -> None:
        """Check what is assigned as `__init__` checks what is given; parameters: at each use."""
        if name in _PREPROCESSING:
            value = check_folding(value, name, self.layer_sizes[0], self.dtype)
        elif name in _CHECKS:
            value = _CHECKS[name](value)
        super().__setattr__(name, value)

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_plan"}

    def __repr__(self) -> str:
        return (
            f"Network({self.layer_sizes}, activation={self.activation!r}, init={self.init!r}, "
            f"dtype={self.dtype.name!r}, seed={self.seed!r})"
        )

    @property
    def parameter_count(self) -> int:
        """Number of weights and biases: the sum of n_l (n_{l-1} + 1) over the layers."""
        return sum((a + 1) * b for a, b in pairwise(self.layer_sizes))

    def _parameters(self) -> tuple[list[Array], list[Array]]:
        """Weights and biases as compiled code reads them, and of no subclass."""
        checked = check_parameters(self.weights, self.biases, self.layer_sizes, self.dtype)
        arrays = [*map(np.asarray, checked)]
        layers = len(arrays) // 2
        return arrays[:layers], arrays[layers:]

    def _input(self, X: npt.ArrayLike) -> Array:
        mean = self.input_mean
        centred = not (isinstance(mean, int | float) and mean == 0)
        return as_input(X, self.layer_sizes[0], self.dtype, exact=centred)

    def _output(self, X: npt.ArrayLike, *, sigmoid_out: bool, name: str = "X") -> Array:
        rows = self._input(X)
        if len(rows) == 0:
            return np.empty((0, self.layer_sizes[-1]), self.dtype)
        out = evaluate(self, rows, sigmoid_out=sigmoid_out)
        if holds_nan(out):
            raise nan_error(self, rows, out, name)
        return out

    def predict_proba(self, X: npt.ArrayLike) -> Array:
        """Probability that each output is 1.

        Parameters
        ----------
        X : array_like of shape (n, n_0)
            uint8, float32 or float64 are read as they are; other real dtypes are converted.

        Returns
        -------
        ndarray of shape (n, n_L)
            In the network's dtype.

        Raises
        ------
        TypeError
            If X does not hold real numbers.
        ValueError
            If X is not a matrix with n_0 columns, has masked or missing values, or if an output is
            NaN: by a NaN in X, in weights or biases, or by infinities that cancel. An infinity
            alone may pass for a very large number, and is not looked for.
        """
        return self._output(X, sigmoid_out=True)

    def predict(self, X: npt.ArrayLike) -> Array:
        """Labels 0 and 1: whether what `predict_proba` gives is at least 0.5.

        That includes pre-activations so little below 0 that their sigmoid rounds to 0.5. `score`
        and the accuracy that `fit` reports go by the same rule.

        Parameters
        ----------
        X : array_like of shape (n, n_0)
            As for `predict_proba`.

        Returns
        -------
        ndarray of int64
            Shape (n,) with one output unit, (n, n_L) with more.

        Raises
        ------
        TypeError, ValueError
            As for `predict_proba`.
        """
        labels = (self._output(X, sigmoid_out=True) >= 0.5).astype(np.int64)
        return labels[:, 0] if self.layer_sizes[-1] == 1 else labels

    def score(self, X: npt.ArrayLike, y: npt.ArrayLike) -> float:
        """Accuracy: the share of rows whose outputs are all right.

        Parameters
        ----------
        X : array_like of shape (n, n_0)
        y : array_like of shape (n,) or (n, n_L)
            Targets in [0, 1]; 0.5 and above count as 1.

        Returns
        -------
        float
            NaN for no rows.

        Raises
        ------
        TypeError, ValueError
            As for `loss`.
        """
        return self._evaluate(X, y)[1]

    def loss(self, X: npt.ArrayLike, y: npt.ArrayLike, *, weight_decay: float = 0.0) -> float:
        """Mean over rows of the log loss summed over outputs, J; with L2 if asked for.

        Parameters
        ----------
        X : array_like of shape (n, n_0)
        y : array_like of shape (n,) or (n, n_L)
            Targets in [0, 1].
        weight_decay : float, default 0.0
            lambda: adds lambda / 2 times the sum of the squares of all weights.

        Returns
        -------
        float
            In nats. From pre-activations, so finite however sure the network is; infinite if an
            infinite pre-activation is on the wrong side.

        Raises
        ------
        TypeError
            If X or y does not hold real numbers.
        ValueError
            If shapes do not fit, there are no rows, y lies outside [0, 1], `weight_decay` is
            negative or not finite, or an output is NaN (see `predict_proba`).
        """
        if not 0 <= weight_decay < math.inf:
            raise ValueError(f"weight_decay must be finite and >= 0, got {weight_decay!r}")
        return self._evaluate(X, y)[0] + l2_penalty(self._parameters()[0], weight_decay)

    def _evaluate(self, X: npt.ArrayLike, y: npt.ArrayLike, name: str = "X") -> tuple[float, float]:
        """Log loss and accuracy on X, which messages call ``name``."""
        rows = self._input(X)
        targets = check_targets(y, len(rows), self.layer_sizes[-1], self.dtype)
        if len(rows) == 0:
            raise ValueError("X has no rows: loss and accuracy need at least one")
        z = self._output(rows, sigmoid_out=False, name=name)
        right = (_labels(z) == (targets >= 0.5)).all(axis=1)
        return log_loss(z, targets), float(right.mean())

    def _layers(
        self, X: Array, weights: list[Array], biases: list[Array]
    ) -> tuple[list[Array], list[Array]]:
        """Z and A of every layer."""
        check_width(X, weights[0].shape[1])  # the network may have changed since `as_input`
        below, folding, Z, A = X, self._folding(X.dtype), [], []
        for weight, bias in zip(weights, biases, strict=True):
            z = np.empty((len(X), len(weight)), self.dtype)
            product(below, weight.T, z, kind=epilogue.BIAS, bias=bias, folding=folding)
            below, folding = sigmoid(z), None
            Z.append(z)
            A.append(below)
        return Z, A

    def _folding(self, data_dtype: np.dtype[Any]) -> tuple[Array, Array] | None:
        """Scale and shift of each feature, so that the input is X * scale + shift; or None."""
        mean, scale = self.input_mean, self.input_scale
        return scale_and_shift(mean, scale, self.layer_sizes[0], self.dtype, data_dtype)

    @quietly
    def gradients(self, X: npt.ArrayLike, y: npt.ArrayLike) -> list[tuple[Array, Array]]:
        """dJ/dW and dJ/db of every layer, layer 1 first, by the chain rule.

        delta[L] = (A[L] - Y) / n; delta[l-1] = (delta[l] W[l]) * A[l-1] (1 - A[l-1]);
        dW[l] = delta[l]^T A[l-1]; db[l] = sum of delta[l] over the rows. `fit` never forms these
        arrays; this is for looking at them, and for optimizers of one's own.

        Parameters
        ----------
        X : array_like of shape (n, n_0)
        y : array_like of shape (n,) or (n, n_L)
            Targets in [0, 1].

        Returns
        -------
        list of (ndarray, ndarray)
            Shapes of the weights and biases, in the network's dtype.

        Raises
        ------
        TypeError, ValueError
            As for `loss`.
        """
        rows = self._input(X)
        targets = check_targets(y, len(rows), self.layer_sizes[-1], self.dtype)
        if len(rows) == 0:
            raise ValueError("X has no rows: a gradient needs at least one")
        weights, biases = self._parameters()
        _, A = self._layers(rows, weights, biases)
        if holds_nan(A[-1]):
            raise nan_error(self, rows, A[-1], "X")
        delta = (A[-1] - targets) / self.dtype.type(len(rows))
        slopes: list[tuple[Array, Array]] = []
        for layer in range(len(weights) - 1, -1, -1):
            weight = weights[layer]
            slope = np.empty(weight.shape, self.dtype)
            if layer > 0:
                product(delta.T, A[layer - 1], slope)
            else:
                self._first_slope(delta, rows, slope)
            slopes.insert(0, (slope, delta.sum(axis=0)))
            if layer > 0:
                below = np.empty((len(rows), weight.shape[1]), self.dtype)
                product(delta, weight, below)
                below *= A[layer - 1] * (1 - A[layer - 1])
                delta = below
        return slopes

    def _first_slope(self, delta: Array, X: Array, slope: Array) -> None:
        """Set slope to delta^T ((X - mean) * scale), the folding done as X is read."""
        product(delta.T, X, slope, folding_of_b=self._folding(X.dtype))

    @quietly
    def activation_stats(self, X: npt.ArrayLike) -> list[ActivationStats]:
        """Mean and standard deviation of Z and A in each layer, layer 1 first.

        What Xavier initialisation keeps level from layer to layer.

        Parameters
        ----------
        X : array_like of shape (n, n_0)
            At least one row.

        Returns
        -------
        list of ActivationStats
        """
        rows = self._input(X)
        if len(rows) == 0:
            raise ValueError("X has no rows: statistics need at least one")
        wide = np.float64
        Z, A = self._layers(rows, *self._parameters())
        if holds_nan(A[-1]):
            raise nan_error(self, rows, A[-1], "X")
        return [
            ActivationStats(
                float(z.mean(dtype=wide)),
                float(z.std(dtype=wide)),
                float(a.mean(dtype=wide)),
                float(a.std(dtype=wide)),
            )
            for z, a in zip(Z, A, strict=True)
        ]

    def fit(
        self,
        X: npt.ArrayLike,
        y: npt.ArrayLike,
        *,
        batch_size: int | None = 32,
        epochs: int = 10,
        learning_rate: float = 0.1,
        weight_decay: float = 0.0,
        shuffle: bool = True,
        seed: int | None = None,
        validation_data: tuple[npt.ArrayLike, npt.ArrayLike] | None = None,
        callbacks: Iterable[Callback] = (),
        progress: bool | Progress = False,
    ) -> History:
        """Train by gradient descent; see `fastbp.training.fit` for every parameter.

        ``batch_size=None`` is full-batch gradient descent, ``batch_size=1`` stochastic gradient
        descent, anything between is mini-batch.
        """
        from fastbp.training import fit

        return fit(
            self,
            X,
            y,
            batch_size=batch_size,
            epochs=epochs,
            learning_rate=learning_rate,
            weight_decay=weight_decay,
            shuffle=shuffle,
            seed=seed,
            validation_data=validation_data,
            callbacks=callbacks,
            progress=progress,
        )

    def save(self, path: str | bytes | os.PathLike[str] | os.PathLike[bytes]) -> None:
        """Write the network to a safetensors file; see `fastbp.storage.save`."""
        from fastbp.storage import save

        save(self, path)
