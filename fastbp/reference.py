"""The slow, obvious twin: training in pure NumPy.

`NumpyNetwork` does what `fastbp.Network` does for sigmoid layers and log loss, with nothing but
NumPy. It serves two readers: someone who wants to see the whole of back-propagation on one
screen, and someone who wants to know what a compiled kernel gains. For the second one it is
written as a careful NumPy programmer would write it: every large array is allocated once, results
go to ``out=``, updates happen in place, and all products of matrices are BLAS calls.

Imports nothing of fastbp, so that a process that times it runs NumPy alone.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["NumpyHistory", "NumpyNetwork"]

FloatArray = NDArray[np.floating[Any]]


@dataclass
class NumpyHistory:
    """What happened in each epoch: one entry an epoch in each list.

    Attributes
    ----------
    loss, accuracy : list of float
        Running means over the epoch's batches, each evaluated before its update.
    seconds : list of float
        Wall-clock time of each epoch.
    """

    loss: list[float] = field(default_factory=list)
    accuracy: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)


class NumpyNetwork:
    """A network of sigmoid layers, trained by gradient descent in pure NumPy.

    Parameters
    ----------
    weights : sequence of ndarray, shape (n_l, n_{l-1})
        The weights to start from, first layer first. They are copied.
    biases : sequence of ndarray, shape (n_l,)
        The biases to start from. They are copied.

    Raises
    ------
    ValueError
        If the numbers of weights and biases differ, or the shapes do not fit together.
    """

    def __init__(self, weights: Sequence[FloatArray], biases: Sequence[FloatArray]) -> None:
        if len(weights) != len(biases) or not weights:
            raise ValueError(
                "weights and biases must have one entry for each layer, "
                f"got {len(weights)} weights and {len(biases)} biases"
            )
        for layer, (weight, bias) in enumerate(zip(weights, biases, strict=True), start=1):
            inputs = weights[layer - 2].shape[0] if layer > 1 else weight.shape[-1]
            if weight.ndim != 2 or weight.shape[1] != inputs or bias.shape != weight.shape[:1]:
                raise ValueError(
                    f"layer {layer} has weights of shape {weight.shape} and biases of shape "
                    f"{bias.shape}, expected (n, {inputs}) and (n,)"
                )
        self.weights = [np.array(weight, order="C") for weight in weights]
        self.biases = [np.array(bias, dtype=self.weights[0].dtype) for bias in biases]

    def predict_proba(self, X: FloatArray) -> FloatArray:
        """Return P(y = 1) for each row, shape (n, n_L)."""
        activations = self._allocate_activations(X.shape[0])
        self._forward(X, activations)
        return activations[-1]

    def score(self, X: FloatArray, y: FloatArray) -> float:
        """Return the share of rows whose outputs all fall on the right side of 0.5."""
        labels = y.reshape(X.shape[0], -1) >= 0.5
        return float(np.mean(np.all((self.predict_proba(X) >= 0.5) == labels, axis=1)))

    def fit(
        self,
        X: FloatArray,
        y: FloatArray,
        *,
        batch_size: int = 32,
        epochs: int = 10,
        learning_rate: float = 0.1,
        weight_decay: float = 0.0,
        shuffle: bool = True,
        seed: int | None = None,
    ) -> NumpyHistory:
        """Train by mini-batch gradient descent on the log loss with L2 weight decay.

        Parameters
        ----------
        X : ndarray, shape (n, n_0)
            Inputs, one row an example, in the dtype of the weights.
        y : ndarray, shape (n,) or (n, n_L)
            Targets, 0 or 1.
        batch_size, epochs, learning_rate, weight_decay : int, int, float, float
            As in `fastbp.Network.fit`. A last, shorter batch is trained on as well.
        shuffle : bool
            Visit the rows in a new random order each epoch. Without it, the batches are
            consecutive slices of X and nothing is copied.
        seed : int, optional
            Seed of the order.

        Returns
        -------
        NumpyHistory
            Loss, accuracy and seconds of each epoch.
        """
        n = X.shape[0]
        dtype = self.weights[0].dtype
        targets = np.ascontiguousarray(y, dtype=dtype).reshape(n, -1)
        scratch = _Scratch(self, min(batch_size, n))
        generator = np.random.default_rng(seed)
        gathered = np.empty((min(batch_size, n), X.shape[1]), dtype) if shuffle else None
        history = NumpyHistory()
        for _ in range(epochs):
            start_time = time.perf_counter()
            order = generator.permutation(n) if shuffle else None
            loss = 0.0
            correct = 0
            for start in range(0, n, batch_size):
                stop = min(start + batch_size, n)
                if order is None or gathered is None:
                    rows, row_targets = X[start:stop], targets[start:stop]
                else:
                    index = order[start:stop]
                    rows = np.take(X, index, axis=0, out=gathered[: stop - start], mode="clip")
                    row_targets = targets[index]
                batch_loss, batch_correct = self._step(
                    rows, row_targets, scratch, learning_rate, weight_decay
                )
                loss += batch_loss
                correct += batch_correct
            history.loss.append(loss / n)
            history.accuracy.append(correct / n)
            history.seconds.append(time.perf_counter() - start_time)
        return history

    def _allocate_activations(self, rows: int) -> list[FloatArray]:
        return [np.empty((rows, w.shape[0]), self.weights[0].dtype) for w in self.weights]

    def _forward(
        self, X: FloatArray, activations: list[FloatArray], logits: FloatArray | None = None
    ) -> None:
        """Fill `activations` with g(A W^T + b), layer by layer; keep the last Z in `logits`."""
        previous = X
        for weight, bias, a in zip(self.weights, self.biases, activations, strict=True):
            np.matmul(previous, weight.T, out=a)
            a += bias
            if logits is not None and weight is self.weights[-1]:
                np.copyto(logits, a)
            _sigmoid_in_place(a)
            previous = a

    def _step(
        self,
        X: FloatArray,
        y: FloatArray,
        scratch: _Scratch,
        learning_rate: float,
        weight_decay: float,
    ) -> tuple[float, int]:
        """One step of gradient descent; returns the batch's summed loss and correct rows."""
        rows = X.shape[0]
        activations = [a[:rows] for a in scratch.activations]
        deltas = [d[:rows] for d in scratch.deltas]
        logits = scratch.logits[:rows]
        self._forward(X, activations, logits)
        # The log loss from the logits (softplus form) is finite for any z.
        loss = float(np.sum(np.logaddexp(0, logits) - y * logits))
        correct = int(np.count_nonzero(np.all((logits >= 0) == (y >= 0.5), axis=1)))

        np.subtract(activations[-1], y, out=deltas[-1])
        deltas[-1] /= rows
        for layer in range(len(self.weights) - 1, -1, -1):
            weight, bias, delta = self.weights[layer], self.biases[layer], deltas[layer]
            previous = activations[layer - 1] if layer else X
            gradient = scratch.gradients[layer]
            np.matmul(delta.T, previous, out=gradient)
            if layer:
                # delta[l-1] = (delta[l] W[l]) * a (1 - a), with W[l] as it was before the update.
                # The activation has done its last service above, so 1 - a overwrites it.
                below = deltas[layer - 1]
                np.matmul(delta, weight, out=below)
                below *= previous
                np.subtract(1, previous, out=previous)
                below *= previous
            if weight_decay:
                weight *= 1 - learning_rate * weight_decay
            gradient *= learning_rate
            weight -= gradient
            bias -= learning_rate * delta.sum(axis=0)
        return loss, correct


class _Scratch:
    """Everything a step writes to, allocated once for the largest batch."""

    def __init__(self, network: NumpyNetwork, rows: int) -> None:
        self.activations = network._allocate_activations(rows)
        self.deltas = network._allocate_activations(rows)
        self.gradients = [np.empty_like(weight) for weight in network.weights]
        self.logits = np.empty_like(self.activations[-1])


def _sigmoid_in_place(z: FloatArray) -> None:
    """Replace z by 1 / (1 + exp(-z)); exp may overflow to infinity, which gives the right 0."""
    np.negative(z, out=z)
    with np.errstate(over="ignore"):
        np.exp(z, out=z)
    z += 1
    np.reciprocal(z, out=z)
