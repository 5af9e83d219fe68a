"""The slow, obvious twin: training in pure NumPy.

`NumpyNetwork` does what `fastbp.Network` does, with any of its activations, losses and optimizers,
and nothing but NumPy. It serves two readers: someone who wants to see the whole of back-propagation
on a few pages, and someone who wants to know what a compiled kernel gains. For the second one it is
written as a careful NumPy programmer would write it: every large array is allocated once, results
go to ``out=``, updates happen in place, and all products of matrices are BLAS calls.

Imports nothing of fastbp, so that a process that times it runs NumPy alone.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["NumpyHistory", "NumpyNetwork"]

FloatArray = NDArray[np.floating[Any]]


# ------------------------------------------------------------------ activations
#
# `apply` replaces Z by the activation. `slope` multiplies the delta of the layer by g'(Z), which it
# finds from the activation, or from Z where that does not tell; either has done its last service,
# and may be overwritten.


def _sigmoid(z: FloatArray) -> None:
    """1 / (1 + exp(-z)); exp may overflow to infinity, which gives the right 0."""
    np.negative(z, out=z)
    np.exp(z, out=z)
    z += 1
    np.reciprocal(z, out=z)


def _sigmoid_slope(delta: FloatArray, a: FloatArray) -> None:
    """1 - a, times a."""
    delta *= a
    np.subtract(1, a, out=a)
    delta *= a


def _tanh_slope(delta: FloatArray, a: FloatArray) -> None:
    """1 - a^2."""
    np.multiply(a, a, out=a)
    np.subtract(1, a, out=a)
    delta *= a


def _relu_slope(delta: FloatArray, a: FloatArray) -> None:
    """1 where a > 0, else 0."""
    delta *= a > 0


def _leaky_relu_slope(delta: FloatArray, a: FloatArray) -> None:
    """1 where a > 0, else 0.01."""
    np.multiply(delta, 0.01, out=delta, where=a <= 0)


def _elu(z: FloatArray) -> None:
    """The value z, below 0 exp(z) - 1."""
    np.expm1(z, out=z, where=z < 0)


def _elu_slope(delta: FloatArray, a: FloatArray) -> None:
    """1 where a > 0, else exp(z) = a + 1."""
    np.minimum(a, 0, out=a)
    a += 1
    delta *= a


def _softplus(z: FloatArray) -> None:
    """log(1 + exp(z))."""
    np.logaddexp(0, z, out=z)


def _softplus_slope(delta: FloatArray, a: FloatArray) -> None:
    """sigmoid(z) = 1 - exp(-a)."""
    np.negative(a, out=a)
    np.expm1(a, out=a)
    np.negative(a, out=a)
    delta *= a


def _share_below(z: FloatArray) -> FloatArray:
    """The standard normal distribution function; NumPy has no erf, so this takes its time."""
    erfc = np.frompyfunc(math.erfc, 1, 1)
    return np.asarray(0.5 * erfc(z * -math.sqrt(0.5)).astype(z.dtype))


def _gelu(z: FloatArray) -> None:
    z *= _share_below(z)


def _gelu_slope(delta: FloatArray, z: FloatArray) -> None:
    """Phi(z) + z phi(z)."""
    delta *= _share_below(z) + z * np.exp(-0.5 * z * z) / math.sqrt(2 * math.pi)


def _silu(z: FloatArray) -> None:
    s = z.copy()
    _sigmoid(s)
    z *= s


def _silu_slope(delta: FloatArray, z: FloatArray) -> None:
    """With s = sigmoid(z): s (1 + z (1 - s))."""
    s = z.copy()
    _sigmoid(s)
    delta *= s * (1 + z * (1 - s))


class _Activation(NamedTuple):
    apply: Callable[[FloatArray], Any]
    slope: Callable[[FloatArray, FloatArray], Any]
    slope_needs_z: bool = False


_ACTIVATIONS: dict[str, _Activation] = {
    "identity": _Activation(lambda z: None, lambda delta, a: None),
    "sigmoid": _Activation(_sigmoid, _sigmoid_slope),
    "tanh": _Activation(lambda z: np.tanh(z, out=z), _tanh_slope),
    "relu": _Activation(lambda z: np.maximum(z, 0, out=z), _relu_slope),
    "leaky_relu": _Activation(
        lambda z: np.multiply(z, 0.01, out=z, where=z < 0), _leaky_relu_slope
    ),
    "elu": _Activation(_elu, _elu_slope),
    "softplus": _Activation(_softplus, _softplus_slope),
    "gelu": _Activation(_gelu, _gelu_slope, slope_needs_z=True),
    "silu": _Activation(_silu, _silu_slope, slope_needs_z=True),
}


# ------------------------------------------------------------------ losses


def _softmax(z: FloatArray) -> None:
    z -= z.max(axis=1, keepdims=True)
    np.exp(z, out=z)
    z /= z.sum(axis=1, keepdims=True)


def _log_loss(z: FloatArray, y: FloatArray) -> FloatArray:
    """In its softplus form, which is finite for any z."""
    return np.asarray(np.logaddexp(0, z) - y * z)


def _cross_entropy(z: FloatArray, y: FloatArray) -> FloatArray:
    far = z - z.max(axis=1, keepdims=True)
    return np.asarray(y * (np.log(np.exp(far).sum(axis=1, keepdims=True)) - far))


def _huber(z: FloatArray, y: FloatArray) -> FloatArray:
    far = np.abs(z - y)
    near = np.minimum(far, 1)
    return np.asarray(near * (far - 0.5 * near))


def _poisson(z: FloatArray, y: FloatArray) -> FloatArray:
    """Half the deviance; y log y is 0 at 0."""
    log_y = np.log(np.where(y > 0, y, 1))
    return np.asarray(np.exp(z) - y * z + y * log_y - y)


class _Loss(NamedTuple):
    output: Callable[[FloatArray], Any]  # replaces Z by the output layer's activation
    terms: Callable[[FloatArray, FloatArray], FloatArray]  # of each output of each row, from Z


_LOSSES: dict[str, _Loss] = {
    "log_loss": _Loss(_sigmoid, _log_loss),
    "cross_entropy": _Loss(_softmax, _cross_entropy),
    "squared_error": _Loss(lambda z: None, lambda z, y: np.asarray(np.square(z - y) / 2)),
    "absolute_error": _Loss(lambda z: None, lambda z, y: np.asarray(np.abs(z - y))),
    "huber": _Loss(lambda z: None, _huber),
    "poisson": _Loss(lambda z: np.exp(z, out=z), _poisson),
}


def _metric_of_rows(loss: str, z: FloatArray, y: FloatArray) -> FloatArray | None:
    """1 for each row that is right, else 0; None for losses of regression."""
    if loss == "log_loss":
        return np.asarray(np.all((z >= 0) == (y >= 0.5), axis=1), float)
    if loss == "cross_entropy":
        return np.asarray(z.argmax(axis=1) == y.argmax(axis=1), float)
    return None


# ------------------------------------------------------------------ the network


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


class _Rule(NamedTuple):
    """How parameters follow from gradients; see `NumpyNetwork.fit`."""

    weight_decay: float = 0.0
    optimizer: str = "sgd"
    momentum: float = 0.0
    nesterov: bool = False
    beta_1: float = 0.9
    beta_2: float = 0.999
    epsilon: float = 1e-8
    clip_norm: float | None = None


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
        if len(names) != hidden or not set(names) <= _ACTIVATIONS.keys():
            known = ", ".join(_ACTIVATIONS)
            raise ValueError(f"activation must be one of {known}, or one for each of {hidden}")
        if loss not in _LOSSES:
            raise ValueError(f"loss must be one of {', '.join(_LOSSES)}, got {loss!r}")
        self.weights = [np.array(weight, order="C") for weight in weights]
        self.biases = [np.array(bias, dtype=self.weights[0].dtype) for bias in biases]
        self.loss_function = loss
        self._hidden = [_ACTIVATIONS[name] for name in names]
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
        right = _metric_of_rows(self.loss_function, logits, y)
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
        rule = _Rule(
            weight_decay, optimizer, momentum, nesterov, beta_1, beta_2, epsilon, clip_norm
        )
        n, dtype = X.shape[0], self.weights[0].dtype
        targets = np.ascontiguousarray(y, dtype=dtype).reshape(n, -1)
        weights = None if sample_weight is None else sample_weight.astype(dtype)
        total = n if weights is None else float(weights.sum())
        scratch = _Scratch(self, min(batch_size, n))
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
                    _LOSSES[self.loss_function].output(a)
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
        scratch: _Scratch,
        rate: float,
        rule: _Rule,
        weights: FloatArray | None = None,
    ) -> tuple[float, float]:
        """One step; returns the batch's loss and right rows, summed with their weights."""
        sums = self._backward(X, y, scratch, weights)
        self._update(scratch, rule, rate)
        return sums

    def _backward(
        self, X: FloatArray, y: FloatArray, scratch: _Scratch, weights: FloatArray | None
    ) -> tuple[float, float]:
        """Gradients of one batch; returns its loss and right rows, summed with their weights."""
        rows = X.shape[0]
        activations = [a[:rows] for a in scratch.activations]
        deltas = [d[:rows] for d in scratch.deltas]
        kept = [None if z is None else z[:rows] for z in scratch.kept]
        logits = scratch.logits[:rows]
        self._forward(X, activations, logits, kept)
        with np.errstate(over="ignore", under="ignore"):
            terms = _LOSSES[self.loss_function].terms(logits, y)
        right = _metric_of_rows(self.loss_function, logits, y)
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

    def _update(self, scratch: _Scratch, rule: _Rule, rate: float) -> None:
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
                _momentum(p, g, m, rule, rate)
            else:
                _adam(p, g, m, v, scratch.work[i], rule, rate, self._steps)


def _momentum(p: FloatArray, g: FloatArray, v: FloatArray, rule: _Rule, rate: float) -> None:
    g *= rate
    v *= rule.momentum
    v -= g
    if rule.nesterov:
        p -= g
        np.multiply(v, rule.momentum, out=g)
        p += g
    else:
        p += v


def _adam(
    p: FloatArray,
    g: FloatArray,
    m: FloatArray,
    v: FloatArray,
    work: FloatArray,
    rule: _Rule,
    rate: float,
    step: int,
) -> None:
    m *= rule.beta_1
    np.multiply(g, 1 - rule.beta_1, out=work)
    m += work
    v *= rule.beta_2
    np.multiply(g, g, out=g)
    g *= 1 - rule.beta_2
    v += g
    # rate m^ / (sqrt(v^) + epsilon), m^ = m / (1 - b1^t), v^ = v / (1 - b2^t)
    np.sqrt(v, out=work)
    work /= math.sqrt(1 - rule.beta_2**step)
    work += rule.epsilon
    np.divide(m, work, out=work)
    work *= rate / (1 - rule.beta_1**step)
    p -= work


class _Scratch:
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
