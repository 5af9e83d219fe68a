"""What parameters say of rows: probabilities, labels, values, loss, gradients.

All public methods make X ready once, by `as_input`; what is below takes it as it is.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from fastbp.engine.evaluation import evaluate
from fastbp.engine.inputs import as_input
from fastbp.evaluation import l2_penalty, mean_loss, metric, output_of
from fastbp.files import AnyPath
from fastbp.finite import holds_nan, nan_error
from fastbp.gradients import ActivationStats, gradients, input_gradient, layer_stats, layers
from fastbp.losses import LOSSES
from fastbp.parameters import Parameters, arrays_of, check_class_count, is_centred
from fastbp.targets import as_targets, as_weights

__all__ = ["Predictor"]

Array = npt.NDArray[Any]


def _check_decay(weight_decay: float) -> None:
    if not 0 <= weight_decay < math.inf:
        raise ValueError(f"weight_decay must be finite and >= 0, got {weight_decay!r}")


class Predictor(Parameters):
    """Parameters that answer: what `fastbp.Network` can do without training."""

    def _ready(self, X: npt.ArrayLike) -> Array:
        """X as the engine takes it."""
        return as_input(X, self.layer_sizes[0], self.dtype, exact=is_centred(self))

    def _values(self, rows: Array, *, sigmoid_out: bool, name: str = "X") -> Array:
        """The output for rows that are ready, by a sigmoid, or its pre-activation."""
        if len(rows) == 0:
            return np.empty((0, self.layer_sizes[-1]), self.dtype)
        out = evaluate(self, rows, sigmoid_out=sigmoid_out)
        if holds_nan(out):
            raise nan_error(self, rows, out, name)
        return out

    def _judged(self, X: npt.ArrayLike, y: npt.ArrayLike, what: str) -> tuple[Array, Array]:
        """X and targets as they are compared, at least one row of them."""
        rows = self._ready(X)
        targets = as_targets(self, y, len(rows))
        if len(rows) == 0:
            raise ValueError(f"X has no rows: {what} at least one")
        return rows, targets

    def predict_proba(self, X: npt.ArrayLike) -> Array:
        """Probabilities: of log loss that each output is 1, of cross entropy of each class.

        Parameters
        ----------
        X : array_like of shape (n, n_0)
            uint8, float32 and float64 are read as they are; other real dtypes are converted.

        Returns
        -------
        ndarray of shape (n, n_L)
            In the network's dtype. With `classes_`, one output is the probability of the second
            label, and columns are in the order of the labels.

        Raises
        ------
        AttributeError
            If the loss is one of regression: `predict` gives values then.
        TypeError
            If X does not hold real numbers.
        ValueError
            If X is not a matrix with n_0 columns, has masked or missing values, or if an output is
            NaN: by a NaN in X, in weights or biases, or by infinities that cancel. An infinity
            alone may pass for a very large number, and is not looked for.
        """
        output = LOSSES[self.loss_function].output
        if output == "sigmoid":
            return self._values(self._ready(X), sigmoid_out=True)
        if output == "softmax":
            return output_of(self._values(self._ready(X), sigmoid_out=False), self.loss_function)
        raise AttributeError(
            f"a network of loss={self.loss_function!r} has no probabilities: predict gives its"
            " values"
        )

    def predict(self, X: npt.ArrayLike) -> Array:
        """Labels, or of losses of regression the values themselves.

        Of log loss, whether what `predict_proba` gives is at least 0.5: that includes
        pre-activations so little below 0 that their sigmoid rounds to 0.5, and `score` and the
        accuracy that `fit` reports go by the same rule. Of cross entropy the class of the largest
        output, the first of equals. Both are numbers from 0, or labels if the network has
        `classes_`. Of Poisson exp(z), of the other losses z of the output layer.

        Parameters
        ----------
        X : array_like of shape (n, n_0)
            As for `predict_proba`.

        Returns
        -------
        ndarray
            Labels: int64, or of the dtype of `classes_`. Values: in the network's dtype. Shape (n,)
            with one output unit and of cross entropy, (n, n_L) else.

        Raises
        ------
        TypeError, ValueError
            As for `predict_proba`.
        """
        loss, outputs = self.loss_function, self.layer_sizes[-1]
        if loss == "log_loss":
            values = self._values(self._ready(X), sigmoid_out=True)
            numbers = (values >= 0.5).astype(np.int64)
        else:
            values = self._values(self._ready(X), sigmoid_out=False)
            if loss != "cross_entropy":
                values = output_of(values, loss)
                return values[:, 0] if outputs == 1 else values
            numbers = values.argmax(axis=1)
        if numbers.ndim == 2 and outputs == 1:
            numbers = numbers[:, 0]
        if self.classes_ is None:
            return numbers
        check_class_count(self.classes_, loss, outputs)  # these may have changed since
        return np.asarray(self.classes_[numbers])

    def score(
        self, X: npt.ArrayLike, y: npt.ArrayLike, *, sample_weight: npt.ArrayLike | None = None
    ) -> float:
        """The metric of the loss: accuracy, or of losses of regression R^2.

        Accuracy is the share of rows whose outputs are all right, or whose class is. R^2 is that of
        scikit-learn's ``r2_score``: averaged over the outputs.

        Parameters
        ----------
        X : array_like of shape (n, n_0)
        y : array_like of shape (n,) or (n, n_L)
            As for `loss`; of targets in [0, 1], 0.5 and above count as 1.
        sample_weight : array_like of shape (n,), optional
            Weights of the rows, not negative.

        Returns
        -------
        float
            R^2 of a single row is NaN.

        Raises
        ------
        TypeError, ValueError
            As for `loss`.
        """
        return self._compared(X, y, sample_weight)[1]

    def loss(
        self,
        X: npt.ArrayLike,
        y: npt.ArrayLike,
        *,
        weight_decay: float = 0.0,
        sample_weight: npt.ArrayLike | None = None,
    ) -> float:
        """Mean over rows of the loss summed over outputs, J; with L2 if asked for.

        Parameters
        ----------
        X : array_like of shape (n, n_0)
        y : array_like of shape (n,) or (n, n_L)
            What `fit` takes for the network's loss; of labels, those that training has seen.
        weight_decay : float, default 0.0
            lambda: adds lambda / 2 times the sum of the squares of all weights.
        sample_weight : array_like of shape (n,), optional
            Weights of the rows in the mean, not negative.

        Returns
        -------
        float
            From pre-activations in float64, so log loss and cross entropy (in nats) are finite
            however sure the network is; infinite if an infinite pre-activation is on the wrong
            side.

        Raises
        ------
        TypeError
            If X does not hold real numbers, or y not what the loss is for.
        ValueError
            If shapes do not fit, there are no rows, y holds a label that training has not seen or a
            value that the loss is not for, `weight_decay` is negative or not finite, a weight of a
            row is, or an output is NaN (see `predict_proba`).
        """
        _check_decay(weight_decay)
        mean = self._compared(X, y, sample_weight)[0]
        return mean + l2_penalty(arrays_of(self)[0], weight_decay)

    def _compared(
        self, X: npt.ArrayLike, y: npt.ArrayLike, sample_weight: npt.ArrayLike | None
    ) -> tuple[float, float]:
        rows, targets = self._judged(X, y, "loss and score need")
        return self._measure(rows, targets, weights=as_weights(sample_weight, len(rows)))

    def _measure(
        self, rows: Array, targets: Array, name: str = "X", weights: Array | None = None
    ) -> tuple[float, float]:
        """Loss and metric on rows and targets that are ready; messages call the rows ``name``."""
        z = self._values(rows, sigmoid_out=False, name=name)
        if z.shape != targets.shape:  # the network may have changed since `as_targets`
            raise ValueError(f"y has shape {targets.shape}, but the output {z.shape}")
        loss = self.loss_function
        return mean_loss(z, targets, loss, weights), metric(z, targets, loss, weights)

    def gradients(
        self,
        X: npt.ArrayLike,
        y: npt.ArrayLike,
        *,
        weight_decay: float = 0.0,
        sample_weight: npt.ArrayLike | None = None,
    ) -> list[tuple[Array, Array]]:
        """dJ/dW and dJ/db of every layer, layer 1 first, by the chain rule.

        delta[L] = (slope of the loss with respect to Z[L]) w / sum(w), which is (A[L] - Y) / n for
        log loss, cross entropy, squared error and Poisson without weights of rows;
        delta[l-1] = (delta[l] W[l]) * g'(Z[l-1]); dW[l] = delta[l]^T A[l-1] + lambda W[l];
        db[l] = sum of delta[l] over the rows. `fit` never forms these
        arrays; this is for looking at them, and for optimizers of one's own.

        Parameters
        ----------
        X : array_like of shape (n, n_0)
        y : array_like of shape (n,) or (n, n_L)
            As for `loss`.
        weight_decay : float, default 0.0
            lambda. Biases are not decayed.
        sample_weight : array_like of shape (n,), optional
            Weights w of the rows, not negative.

        Returns
        -------
        list of (ndarray, ndarray)
            Shapes of the weights and biases, in the network's dtype.

        Raises
        ------
        TypeError, ValueError
            As for `loss`.
        """
        _check_decay(weight_decay)
        rows, targets = self._judged(X, y, "a gradient needs")
        weights = as_weights(sample_weight, len(rows))
        return gradients(self, rows, targets, weights, weight_decay)

    def input_gradient(self, X: npt.ArrayLike, y: npt.ArrayLike) -> Array:
        """The gradient of each row's own loss with respect to the row, in units of X.

        delta[0] = (delta[1] W[1]) * input_scale, with delta as for `gradients`, but of each row's
        loss in place of the mean. It tells to which features the loss is sensitive, and how a row
        is to be changed to fool the network (Goodfellow et al., "Explaining and harnessing
        adversarial examples", 2015).

        Parameters
        ----------
        X : array_like of shape (n, n_0)
        y : array_like of shape (n,) or (n, n_L)
            As for `loss`.

        Returns
        -------
        ndarray of shape (n, n_0)
            In the network's dtype.

        Raises
        ------
        TypeError, ValueError
            As for `loss`.
        """
        return input_gradient(self, *self._judged(X, y, "a gradient needs"))

    def forward(
        self, X: npt.ArrayLike, keep: Literal["z", "a", "both"] = "both"
    ) -> list[Array] | tuple[list[Array], list[Array]]:
        """Pre-activations Z and activations A of every layer.

        Z[l] = A[l-1] W[l]^T + b[l] and A[l] = g(Z[l]); g of the output layer goes with the loss.

        Parameters
        ----------
        X : array_like of shape (n, n_0)
            At least one row.
        keep : {"z", "a", "both"}, default "both"

        Returns
        -------
        list of ndarray, or a tuple of two such
            Z or A of each layer, layer 1 first, each of shape (n, n_l) in the network's dtype; of
            "both", (Z, A). They are the caller's.

        Raises
        ------
        TypeError, ValueError
            As for `predict_proba`, or for another `keep`.
        """
        if keep not in ("z", "a", "both"):
            raise ValueError(f"keep must be 'z', 'a' or 'both', got {keep!r}")
        Z, A = layers(self, self._some(X, "layers need"))
        return (Z, A) if keep == "both" else Z if keep == "z" else A

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
        return layer_stats(self, self._some(X, "statistics need"))

    def to_torch(self, *, dropout: float | Sequence[float] = 0.0, output: bool = True) -> Any:
        """The same network as a ``torch.nn.Sequential``.

        It is made of Linear modules and those of the activations. The preprocessing becomes part of
        the first Linear: (W scale) X + (b - (W scale) mean), computed in float64; so X is to be
        given as it is, in the network's dtype. Parameters are copies.

        Parameters
        ----------
        dropout : float or sequence of float, default 0.0
            Share of units that Dropout modules drop, of each hidden layer; or of the input and of
            each hidden layer.
        output : bool, default True
            Whether the activation of the output layer comes last, so that the module gives what
            `predict_proba` does, or `predict` of regression. PyTorch's losses want it without.

        Returns
        -------
        torch.nn.Sequential
            On the CPU, in training mode as PyTorch makes modules: ``eval()`` turns dropout off.

        Raises
        ------
        ImportError
            If PyTorch is not installed.
        ValueError
            If a preprocessed weight overflows the dtype, or a share is not in [0, 1).
        """
        try:
            from fastbp.interop import pytorch
        except ImportError as error:
            raise ImportError("to_torch needs PyTorch: pip install 'fastbp[torch]'") from error
        return pytorch.to_torch(self, dropout=dropout, output=output)

    def to_onnx(self, path: AnyPath, *, input_dtype: npt.DTypeLike | None = None) -> None:
        """Write the network as an ONNX model, for inference by other programs.

        Its input ``X`` is (n, n_0) for any n, as `predict` takes it: the preprocessing is part of
        the model. Its ``output`` is (n, n_L): what `predict_proba` gives, or `predict` of
        regression. The loss and, as JSON, `classes_` are among its metadata. Gelu in float64 goes
        by an erf in float32, as runtimes have no other.

        Parameters
        ----------
        path : str, bytes or path-like
            Where to; an existing file is replaced in one step. By habit the name ends in ``.onnx``.
        input_dtype : {"uint8", "float32", "float64"}, optional
            Of X. By default the network's dtype.

        Raises
        ------
        ImportError
            If onnx is not installed.
        OSError
            As for `save`.
        ValueError
            For another dtype, or if the network is too large for a file of ONNX (2 GB).
        """
        try:
            from fastbp.interop import onnx_model
        except ImportError as error:
            raise ImportError("to_onnx needs onnx: pip install 'fastbp[onnx]'") from error
        onnx_model.write_onnx(self, path, input_dtype)

    def _some(self, X: npt.ArrayLike, what: str) -> Array:
        """X as the engine takes it, at least one row."""
        rows = self._ready(X)
        if len(rows) == 0:
            raise ValueError(f"X has no rows: {what} at least one")
        return rows
