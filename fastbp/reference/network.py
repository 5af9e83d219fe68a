"""A dense network, trained in pure NumPy."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from fastbp.reference.functions import ACTIVATIONS, LOSSES, FloatArray, metric_of_rows
from fastbp.reference.rules import Rule, adam, momentum

__all__ = ["NumpyHistory", "NumpyNetwork", "Scratch"]


@dataclass
class NumpyHistory:
    """What happened in each epoch: one entry an epoch in each list.

    Attributes
    ----------
    loss, accuracy : list of float
        Running means over the epoch's batches, each evaluated before its update. The accuracy is
        NaN for losses of regression.
    seconds : list of float
        Wall-clock time of each epoch.
    """

    loss: list[float] = field(default_factory=list)
    accuracy: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)


class NumpyNetwork:
    """A dense network, trained by gradient descent in pure NumPy.

    Parameters
    ----------
    weights : sequence of ndarray, shape (n_l, n_{l-1})
        The weights to start from, first layer first. They are copied.
    biases : sequence of ndarray, shape (n_l,)
        The biases to start from. They are copied.
    activation : str or sequence of str, default "sigmoid"
        Of the hidden layers, of all or of each, as for `fastbp.Network`.
    loss : str, default "log_loss"
        As for `fastbp.Network`. It fixes the activation of the output layer.

    Raises
    ------
    ValueError
        If the numbers of weights and biases differ, the shapes do not fit together, or there is no
        such function.
    """

    def __init__(
        self,
        weights: Sequence[FloatArray],
        biases: Sequence[FloatArray],
        *,
        activation: str | Sequence[str] = "sigmoid",
        loss: str = "log_loss",
    ) -> None:
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
        hidden = len(weights) - 1
        names = [activation] * hidden if isinstance(activation, str) else list(activation)
        if len(names) != hidden or not set(names) <= ACTIVATIONS.keys():
            known = ", ".join(ACTIVATIONS)
            raise ValueError(f"activation must be one of {known}, or one for each of {hidden}")
        if loss not in LOSSES:
            raise ValueError(f"loss must be one of {', '.join(LOSSES)}, got {loss!r}")
        self.weights = [np.array(weight, order="C") for weight in weights]
        self.biases = [np.array(bias, dtype=self.weights[0].dtype) for bias in biases]
        self.loss_function = loss
        self._hidden = [ACTIVATIONS[name] for name in names]
        # What optimizers keep goes on with the next `fit`, and so does the count of steps.
        self._first = [np.zeros_like(p) for p in self._parameters()]
        self._second = [np.zeros_like(p) for p in self._parameters()]
        self._steps = 0

    def _parameters(self) -> list[FloatArray]:
        return [*self.weights, *self.biases]

    def predict_proba(self, X: FloatArray) -> FloatArray:
        """Return the output for each row, shape (n, n_L): probabilities, or values."""
        activations = self._allocate_activations(X.shape[0])
        self._forward(X, activations)
        return activations[-1]

    def score(self, X: FloatArray, y: FloatArray) -> float:
        """Return the accuracy, or R^2 averaged over outputs."""
        y = y.reshape(X.shape[0], -1)
        logits = np.empty((X.shape[0], self.weights[-1].shape[0]), self.weights[0].dtype)
        activations = self._allocate_activations(X.shape[0])
        self._forward(X, activations, logits)
        right = metric_of_rows(self.loss_function, logits, y)
        if right is not None:
            return float(right.mean())
        errors = np.square(activations[-1] - y).sum(axis=0)
        return float(np.mean(1 - errors / np.square(y - y.mean(axis=0)).sum(axis=0)))

    def fit(
        self,
        X: FloatArray,
        y: FloatArray,
        *,
        batch_size: int = 32,
        epochs: int = 10,
        learning_rate: float | Callable[[int], float] = 0.1,
        weight_decay: float = 0.0,
        optimizer: str = "sgd",
        momentum: float = 0.0,
        nesterov: bool = False,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-8,
        clip_norm: float | None = None,
        sample_weight: FloatArray | None = None,
        shuffle: bool = True,
        seed: int | None = None,
    ) -> NumpyHistory:
        """Train by mini-batch gradient descent on the mean loss with L2 weight decay.

        Parameters
        ----------
        X : ndarray, shape (n, n_0)
            Inputs, one row an example, in the dtype of the weights.
        y : ndarray, shape (n,) or (n, n_L)
            Targets: 0 or 1, one-hot rows for cross entropy, or values.
        batch_size, epochs, weight_decay : int, int, float
            As in `fastbp.Network.fit`. A last, shorter batch is trained on as well.
        learning_rate : float or callable
            A number, or one for each step, which are counted from 0 over all trainings.
        optimizer : {"sgd", "adam", "adamw"}
        momentum, nesterov, beta_1, beta_2, epsilon, clip_norm : optional
            As in `fastbp.Network.fit`.
        sample_weight : ndarray, shape (n,), optional
            Weights of the rows in the mean of their batch.
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
        if optimizer not in ("sgd", "adam", "adamw"):
            raise ValueError(f"optimizer must be 'sgd', 'adam' or 'adamw', got {optimizer!r}")
        rule = Rule(weight_decay, optimizer, momentum, nesterov, beta_1, beta_2, epsilon, clip_norm)
        n, dtype = X.shape[0], self.weights[0].dtype
        targets = np.ascontiguousarray(y, dtype=dtype).reshape(n, -1)
        weights = None if sample_weight is None else sample_weight.astype(dtype)
        total = n if weights is None else float(weights.sum())
        scratch = Scratch(self, min(batch_size, n))
        generator = np.random.default_rng(seed)
        gathered = np.empty((min(batch_size, n), X.shape[1]), dtype) if shuffle else None
        history = NumpyHistory()
        for _ in range(epochs):
            start_time = time.perf_counter()
            order = generator.permutation(n) if shuffle else None
            loss = correct = 0.0
            for start in range(0, n, batch_size):
                stop = min(start + batch_size, n)
                if order is None or gathered is None:
                    index: Any = slice(start, stop)
                    rows = X[index]
                else:
                    index = order[start:stop]
                    rows = np.take(X, index, axis=0, out=gathered[: stop - start], mode="clip")
                rate = learning_rate(self._steps) if callable(learning_rate) else learning_rate
                batch_loss, batch_correct = self._step(
                    rows, targets[index], scratch, rate, rule,
                    None if weights is None else weights[index],
                )  # fmt: skip
                loss += batch_loss
                correct += batch_correct
            history.loss.append(loss / total)
            history.accuracy.append(correct / total)
            history.seconds.append(time.perf_counter() - start_time)
        return history

    def _allocate_activations(self, rows: int) -> list[FloatArray]:
        return [np.empty((rows, w.shape[0]), self.weights[0].dtype) for w in self.weights]

    def _forward(
        self,
        X: FloatArray,
        activations: list[FloatArray],
        logits: FloatArray | None = None,
        kept: Sequence[FloatArray | None] = (),
    ) -> None:
        """Fill `activations` with g(A W^T + b), layer by layer.

        The last Z goes to `logits`, and that of hidden layers to `kept`, where it is asked for.
        """
        previous = X
        layers = len(self.weights)
        with np.errstate(over="ignore", under="ignore"):
            for layer, a in enumerate(activations):
                np.matmul(previous, self.weights[layer].T, out=a)
                a += self.biases[layer]
                if layer == layers - 1:
                    if logits is not None:
                        np.copyto(logits, a)
                    LOSSES[self.loss_function].output(a)
                else:
                    z = kept[layer] if kept else None
                    if z is not None:
                        np.copyto(z, a)
                    self._hidden[layer].apply(a)
                previous = a

    def _step(
        self,
        X: FloatArray,
        y: FloatArray,
        scratch: Scratch,
        rate: float,
        rule: Rule,
        weights: FloatArray | None = None,
    ) -> tuple[float, float]:
        """One step; returns the batch's loss and right rows, summed with their weights."""
        sums = self._backward(X, y, scratch, weights)
        self._update(scratch, rule, rate)
        return sums

    def _backward(
        self, X: FloatArray, y: FloatArray, scratch: Scratch, weights: FloatArray | None
    ) -> tuple[float, float]:
        """Gradients of one batch; returns its loss and right rows, summed with their weights."""
        rows = X.shape[0]
        activations = [a[:rows] for a in scratch.activations]
        deltas = [d[:rows] for d in scratch.deltas]
        kept = [None if z is None else z[:rows] for z in scratch.kept]
        logits = scratch.logits[:rows]
        self._forward(X, activations, logits, kept)
        with np.errstate(over="ignore", under="ignore"):
            terms = LOSSES[self.loss_function].terms(logits, y)
        right = metric_of_rows(self.loss_function, logits, y)
        if weights is None:
            loss, correct = float(terms.sum()), math.nan if right is None else float(right.sum())
        else:
            loss = float(weights @ terms.sum(axis=1))
            correct = math.nan if right is None else float(weights @ right)

        delta = deltas[-1]
        np.subtract(activations[-1], y, out=delta)
        if self.loss_function == "absolute_error":
            np.sign(delta, out=delta)
        elif self.loss_function == "huber":
            np.clip(delta, -1, 1, out=delta)
        if weights is None:
            delta /= rows
        else:
            delta *= (weights / weights.sum())[:, None]
        layers = len(self.weights)
        for layer in range(layers - 1, -1, -1):
            delta = deltas[layer]
            previous = activations[layer - 1] if layer else X
            np.matmul(delta.T, previous, out=scratch.gradients[layer])
            np.sum(delta, axis=0, out=scratch.gradients[layers + layer])
            if layer:
                # delta[l-1] = (delta[l] W[l]) * g'(Z[l-1])
                below, z = deltas[layer - 1], kept[layer - 1]
                np.matmul(delta, self.weights[layer], out=below)
                self._hidden[layer - 1].slope(below, previous if z is None else z)
        return loss, correct

    def _update(self, scratch: Scratch, rule: Rule, rate: float) -> None:
        """Change the parameters by the gradients, which are overwritten.

        Sutskever et al. 2013 (momentum), Kingma and Ba 2015 (Adam), Loshchilov and Hutter 2019
        (AdamW), Pascanu et al. 2013 (clipping).
        """
        layers, plain = len(self.weights), rule.optimizer == "sgd" and rule.momentum == 0
        self._steps += 1
        decoupled = plain or rule.optimizer == "adamw"
        for weight, g in zip(self.weights, scratch.gradients[:layers], strict=True):
            if rule.weight_decay and not decoupled:
                g += rule.weight_decay * weight
        if rule.clip_norm is not None:
            norm = math.sqrt(sum(float(np.vdot(g, g)) for g in scratch.gradients))
            if norm > rule.clip_norm:
                for g in scratch.gradients:
                    g *= rule.clip_norm / norm
        for i, (p, g, m, v) in enumerate(
            zip(self._parameters(), scratch.gradients, self._first, self._second, strict=True)
        ):
            if rule.weight_decay and decoupled and i < layers:
                p *= 1 - rate * rule.weight_decay
            if plain:
                g *= rate
                p -= g
            elif rule.optimizer == "sgd":
                momentum(p, g, m, rule, rate)
            else:
                adam(p, g, m, v, scratch.work[i], rule, rate, self._steps)


class Scratch:
    """Everything a step writes to, allocated once for the largest batch."""

    def __init__(self, network: NumpyNetwork, rows: int) -> None:
        self.activations = network._allocate_activations(rows)
        self.deltas = network._allocate_activations(rows)
        self.kept = [
            np.empty_like(a) if hidden.slope_needs_z else None
            for a, hidden in zip(self.activations[:-1], network._hidden, strict=True)
        ]
        self.gradients = [np.empty_like(p) for p in network._parameters()]
        self.work = [np.empty_like(p) for p in network._parameters()]
        self.logits = np.empty_like(self.activations[-1])
