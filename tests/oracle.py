"""The whole mathematics of a dense sigmoid network, in plain float64 NumPy.

Every kernel and every training step of fastbp is tested against this file, and this file is
tested by central differences (``test_oracle.py``). It imports nothing of fastbp, knows nothing
of tiles, threads or folding, and never tries to be fast: each function is its formula.

Rows are examples. ``X`` is (B, n0), ``weights[l]`` is (n_l, n_{l-1}), ``biases[l]`` is (n_l,)::

    Z[l] = A[l-1] W[l]^T + b[l]        A[l] = sigmoid(Z[l])        A[0] = (X - mean) * scale
    J    = mean over rows of the sum over outputs of the log loss  (+ lambda/2 * sum of W**2)
    delta[L]   = (A[L] - Y) / B
    delta[l-1] = (delta[l] W[l]) * sigmoid'(Z[l-1])
    dW[l] = delta[l]^T A[l-1]          db[l] = column sums of delta[l]
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]


def float64(values: npt.ArrayLike) -> Array:
    """Return `values` as a float64 array of its own."""
    return np.array(values, dtype=np.float64)


# ------------------------------------------------------------------ scalars and one layer


def sigmoid(z: npt.ArrayLike) -> Array:
    """Logistic function 1 / (1 + exp(-z)), without overflow for any finite z."""
    z = float64(z)
    small = np.exp(-np.abs(z))  # in (0, 1], so neither branch can overflow
    return np.where(z >= 0, 1.0 / (1.0 + small), small / (1.0 + small))


def sigmoid_derivative(z: npt.ArrayLike) -> Array:
    """Slope sigmoid(z) * sigmoid(-z); exact in both tails, where 1 - sigmoid(z) is not."""
    return sigmoid(z) * sigmoid(-float64(z))


def linear(x: npt.ArrayLike, weight: npt.ArrayLike, bias: npt.ArrayLike | None = None) -> Array:
    """Weighted sums x W^T + b of one layer."""
    z = float64(x) @ float64(weight).T
    return z if bias is None else z + float64(bias)


def fold_input(X: npt.ArrayLike, mean: npt.ArrayLike = 0.0, scale: npt.ArrayLike = 1.0) -> Array:
    """What the network sees: (X - mean) * scale, both scalars or one value a feature."""
    return (float64(X) - float64(mean)) * float64(scale)


def initial_std(name: str, fan_in: int, fan_out: int) -> float:
    """Return the standard deviation of initial weights: Glorot 2010, eq. 12; He 2015, eq. 10."""
    formulas = {
        "zeros": 0.0,
        "normal": 0.01,
        "xavier": float(np.sqrt(2.0 / (fan_out + fan_in))),
        "he": float(np.sqrt(2.0 / fan_in)),
    }
    return formulas[name]


# ------------------------------------------------------------------ the network


class Forward(NamedTuple):
    """Pre-activations `Z` (layers 1..L) and activations `A` (A[0] is the network's input)."""

    Z: list[Array]
    A: list[Array]


class Gradients(NamedTuple):
    """Partial derivatives of the loss, layer 1 first."""

    weights: list[Array]
    biases: list[Array]


class Step(NamedTuple):
    """Parameters after one update, and what the batch gave before it."""

    weights: list[Array]
    biases: list[Array]
    loss: float
    accuracy: float


def as_columns(y: npt.ArrayLike) -> Array:
    """Return targets as (n, n_L): a vector becomes one column."""
    y = float64(y)
    return y[:, None] if y.ndim == 1 else y


def forward(X: npt.ArrayLike, weights: Sequence[Any], biases: Sequence[Any]) -> Forward:
    """Pre-activations and activations of every layer."""
    Z: list[Array] = []
    A: list[Array] = [float64(X)]
    for weight, bias in zip(weights, biases, strict=True):
        Z.append(linear(A[-1], weight, bias))
        A.append(sigmoid(Z[-1]))
    return Forward(Z, A)


def log_loss(z: npt.ArrayLike, y: npt.ArrayLike) -> float:
    """Mean over rows of the summed log loss, from the output's pre-activations.

    With p = sigmoid(z): -(1 - y) log(1 - p) - y log p = softplus(z) - y z, and
    softplus(z) = max(z, 0) + log1p(exp(-abs(z))).
    """
    z, y = as_columns(z), as_columns(y)
    terms = (np.maximum(z, 0.0) - y * z) + np.log1p(np.exp(-np.abs(z)))
    return float(terms.sum(axis=1).mean())


def l2_penalty(weights: Sequence[Any], weight_decay: float) -> float:
    """Return lambda/2 times the sum of squares of all weights; biases are not decayed."""
    return 0.5 * weight_decay * float(sum(np.sum(float64(w) ** 2) for w in weights))


def loss(
    X: npt.ArrayLike,
    y: npt.ArrayLike,
    weights: Sequence[Any],
    biases: Sequence[Any],
    weight_decay: float = 0.0,
) -> float:
    """J, or with a weight decay J_L2."""
    return log_loss(forward(X, weights, biases).Z[-1], y) + l2_penalty(weights, weight_decay)


def accuracy(X: npt.ArrayLike, y: npt.ArrayLike, weights: Sequence[Any], biases: Any) -> float:
    """Share of the rows in which every output falls on its target's side of 0.5."""
    predicted = forward(X, weights, biases).A[-1] >= 0.5
    return float(np.mean(np.all(predicted == (as_columns(y) >= 0.5), axis=1)))


def gradients(
    X: npt.ArrayLike,
    y: npt.ArrayLike,
    weights: Sequence[Any],
    biases: Sequence[Any],
    weight_decay: float = 0.0,
) -> Gradients:
    """Gradients of `loss` by the chain rule, layer 1 first."""
    Z, A = forward(X, weights, biases)
    delta = (A[-1] - as_columns(y)) / A[0].shape[0]
    weight_gradients: list[Array] = []
    bias_gradients: list[Array] = []
    for layer in reversed(range(len(Z))):
        weight = float64(weights[layer])
        weight_gradients.insert(0, delta.T @ A[layer] + weight_decay * weight)
        bias_gradients.insert(0, delta.sum(axis=0))
        if layer > 0:
            delta = (delta @ weight) * sigmoid_derivative(Z[layer - 1])
    return Gradients(weight_gradients, bias_gradients)


def activation_stats(
    X: npt.ArrayLike, weights: Sequence[Any], biases: Sequence[Any]
) -> list[dict[str, float]]:
    """Mean and (population) standard deviation of Z and A over rows and units of each layer."""
    Z, A = forward(X, weights, biases)
    return [
        {
            "z_mean": float(z.mean()),
            "z_std": float(z.std()),
            "a_mean": float(a.mean()),
            "a_std": float(a.std()),
        }
        for z, a in zip(Z, A[1:], strict=True)
    ]


# ------------------------------------------------------------------ training


def linear_update(
    weight: npt.ArrayLike,
    bias: npt.ArrayLike,
    x: npt.ArrayLike,
    delta: npt.ArrayLike,
    *,
    learning_rate: float,
    weight_decay: float = 0.0,
) -> tuple[Array, Array]:
    """Return W <- (1 - alpha lambda) W - alpha delta^T x and b <- b - alpha sum(delta)."""
    weight, bias, x, delta = map(float64, (weight, bias, x, delta))
    decayed = (1.0 - learning_rate * weight_decay) * weight
    return decayed - learning_rate * (delta.T @ x), bias - learning_rate * delta.sum(axis=0)


def step(
    X: npt.ArrayLike,
    y: npt.ArrayLike,
    weights: Sequence[Any],
    biases: Sequence[Any],
    *,
    learning_rate: float,
    weight_decay: float = 0.0,
) -> Step:
    """One update on one batch: every delta comes from the old weights.

    The returned loss is the batch's log loss before the update, without the L2 term.
    """
    slopes = gradients(X, y, weights, biases)
    keep = 1.0 - learning_rate * weight_decay
    return Step(
        [
            keep * float64(w) - learning_rate * dw
            for w, dw in zip(weights, slopes.weights, strict=True)
        ],
        [float64(b) - learning_rate * db for b, db in zip(biases, slopes.biases, strict=True)],
        loss(X, y, weights, biases),
        accuracy(X, y, weights, biases),
    )


def train(
    X: npt.ArrayLike,
    y: npt.ArrayLike,
    weights: Sequence[Any],
    biases: Sequence[Any],
    batches: Iterable[npt.ArrayLike],
    *,
    learning_rate: float,
    weight_decay: float = 0.0,
) -> Step:
    """One step for each array of row indices in `batches`, in that order.

    The returned loss and accuracy are means over all rows seen, each row judged by the network
    as it was before the row's own update.
    """
    X, y = float64(X), float64(y)
    current = Step([float64(w) for w in weights], [float64(b) for b in biases], 0.0, 0.0)
    rows, loss_sum, accuracy_sum = 0, 0.0, 0.0
    for batch in batches:
        index = np.asarray(batch)
        current = step(
            X[index],
            y[index],
            current.weights,
            current.biases,
            learning_rate=learning_rate,
            weight_decay=weight_decay,
        )
        rows += len(index)
        loss_sum += len(index) * current.loss
        accuracy_sum += len(index) * current.accuracy
    if rows == 0:
        return current
    return Step(current.weights, current.biases, loss_sum / rows, accuracy_sum / rows)
