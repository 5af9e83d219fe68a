"""What a network's pre-activations say beside targets: output, loss, metric and delta.

Losses are computed from Z in float64, so that they stay finite and accurate for any finite z: log
loss by log(sigmoid(z)) in two steps is -inf already at z = -746 (float64) or -104 (float32).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from fastbp.arrays import sigmoid
from fastbp.engine.inputs import quietly
from fastbp.losses import LOSSES

__all__ = [
    "hits",
    "l2_penalty",
    "log_loss",
    "mean_loss",
    "metric",
    "most_likely",
    "output_of",
    "output_slope",
    "row_losses",
]

Array = npt.NDArray[Any]
Wide = npt.NDArray[np.float64]

_CLOSE = 1e-6  # to 0: sigmoids of float32 round to 0.5 from -6e-8 on
_AT_ONCE = 1 << 16  # elements in float64 at a time, half a level-2 cache of them


# ------------------------------------------------------------------ outputs


@quietly
def output_of(z: Array, loss: str) -> Array:
    """The output layer's activation, of shape (n, n_L) and dtype of its pre-activations.

    For Poisson, exp(z) is infinite beyond 88 (float32) or 709 (float64).
    """
    output = LOSSES[loss].output
    if output == "sigmoid":
        return np.asarray(sigmoid(z))
    if output == "softmax":
        a: Array = z - z.max(axis=1, keepdims=True)
        np.exp(a, out=a)
        a /= a.sum(axis=1, keepdims=True)
        return a
    return np.asarray(np.exp(z)) if output == "exp" else z.copy()


@quietly
def output_slope(z: Array, y: Array, loss: str) -> Array:
    """The slope of each row's loss with respect to z, in the dtype of z."""
    if loss == "huber":
        return np.asarray(np.clip(z - y, -1, 1))
    if loss == "absolute_error":
        return np.asarray(np.sign(z - y))
    a = output_of(z, loss)
    if loss == "cross_entropy":
        a *= y.sum(axis=1, keepdims=True)
    a -= y
    return a


# ------------------------------------------------------------------ losses


def _log_loss(z: Wide, y: Wide) -> Wide:
    """Softplus(z) - y z as |z| |y - [z >= 0]| + log1p(exp(-|z|)), in which nothing cancels."""
    far, distance = np.abs(z), np.abs(y - (z >= 0))
    wrong = np.multiply(far, distance, out=np.zeros_like(z), where=distance > 0)
    return wrong + np.log1p(np.exp(-far))


def _cross_entropy(z: Wide, y: Wide) -> Wide:
    """The sum of y (log of the sum of exp(z) - z), which of a sure and right answer is tiny."""
    rows = np.arange(len(z))
    top = z.argmax(axis=1)
    most = z[rows, top][:, None]
    below = np.subtract(most, z, out=np.zeros_like(z), where=z != most)
    others = np.exp(-below)
    others[rows, top] = 0  # the largest counts 1, which log1p adds
    wrong = np.multiply(y, below, out=np.zeros_like(z), where=y > 0)
    terms: Wide = wrong + y * np.log1p(others.sum(axis=1, keepdims=True))
    return terms


def _squared_error(z: Wide, y: Wide) -> Wide:
    return 0.5 * np.square(z - y)


def _absolute_error(z: Wide, y: Wide) -> Wide:
    return np.abs(z - y)


def _huber(z: Wide, y: Wide) -> Wide:
    far = np.abs(z - y)
    near = np.minimum(far, 1)
    return near * (far - 0.5 * near)


def _poisson(z: Wide, y: Wide) -> Wide:
    """Half the deviance: exp(z) - y z + y log y - y, near its minimum as y (expm1(d) - d)."""
    log_y = np.log(y, out=np.zeros_like(y), where=y > 0)
    d = z - log_y
    near = y * (np.expm1(np.clip(d, -1, 1)) - d)
    return np.where((y > 0) & (np.abs(d) <= 1), near, np.exp(z) - y * d - y)


_TERMS: dict[str, Callable[[Wide, Wide], Wide]] = {
    "log_loss": _log_loss,
    "cross_entropy": _cross_entropy,
    "squared_error": _squared_error,
    "absolute_error": _absolute_error,
    "huber": _huber,
    "poisson": _poisson,
}


def _parts(n: int, outputs: int) -> Iterator[slice]:
    """Slices of so many rows, that copies in float64 stay in the cache."""
    step = max(1, _AT_ONCE // max(outputs, 1))
    for start in range(0, n, step):
        yield slice(start, start + step)


@quietly
def row_losses(z: Array, y: Array, loss: str) -> Array:
    """The loss of each row, summed over outputs, in float64; of shape (n,)."""
    losses = np.empty(len(z))
    terms = _TERMS[loss]
    for part in _parts(*z.shape):
        wide = terms(z[part].astype(np.float64), y[part].astype(np.float64))
        np.sum(wide, axis=1, out=losses[part])
    return losses


@quietly
def mean_loss(z: Array, y: Array, loss: str, weights: Array | None = None) -> float:
    """Weighted mean over rows of the loss summed over outputs."""
    losses = row_losses(z, y, loss)
    if weights is None:
        return float(losses.sum() / len(losses))
    weighted = np.multiply(losses, weights, out=np.zeros_like(losses), where=weights > 0)
    return float(weighted.sum() / weights.sum())


@quietly
def log_loss(z: npt.ArrayLike, y: npt.ArrayLike) -> float:
    """Mean over rows of the log loss summed over outputs, from pre-activations.

    With p = sigmoid(z), one output of one row costs
    ``-(1 - y) log(1 - p) - y log p = softplus(z) - y z``, where
    ``softplus(z) = log(1 + exp(z)) = max(z, 0) + log1p(exp(-abs(z)))``. It is computed as
    ``abs(z) abs(y - [z >= 0]) + log1p(exp(-abs(z)))``, in which nothing cancels: a sure and right
    output keeps its tiny loss, and for infinite z it is 0 or infinite.

    Parameters
    ----------
    z : array_like of shape (n, n_L) or (n,)
        Pre-activations of the output layer.
    y : array_like, same shape as `z`
        Targets in [0, 1].

    Returns
    -------
    float
        The loss in nats, accumulated in float64 whatever the dtype of `z`.

    Raises
    ------
    ValueError
        If the shapes differ, or there are no rows.
    """
    z, y = np.asarray(z, dtype=np.float64), np.asarray(y, dtype=np.float64)
    if z.shape != y.shape:
        raise ValueError(f"z has shape {z.shape}, but y has shape {y.shape}")
    if z.ndim == 0 or z.shape[0] == 0:
        raise ValueError(f"the mean loss needs at least one row, got z of shape {z.shape}")
    return mean_loss(z.reshape(len(z), -1), y.reshape(len(y), -1), "log_loss")


@quietly
def l2_penalty(weights: Sequence[Array], weight_decay: float) -> float:
    """Return weight_decay / 2 times the sum of the squares of all weights.

    Parameters
    ----------
    weights : sequence of ndarray
        The weights of every layer. Biases are not decayed and do not belong here.
    weight_decay : float
        The factor lambda.

    Returns
    -------
    float
        The penalty, each row's squares accumulated in float64; exactly 0 when `weight_decay`
        is 0.
    """
    if weight_decay == 0:
        return 0.0
    total = 0.0
    for weight in weights:
        # A row at a time: the float64 copy stays one row long.
        for row in weight.reshape(weight.shape[0], -1):
            wide = row.astype(np.float64)
            total += float(wide @ wide)
    return 0.5 * float(weight_decay) * total


# ------------------------------------------------------------------ metrics


def hits(z: Array) -> Array:
    """Whether sigmoid(z) is at least 0.5: seldom not what the sign says, and then by rounding."""
    labels = z >= 0
    if (labels != (z > -_CLOSE)).any():
        return np.asarray(sigmoid(z) >= 0.5)
    return labels


def most_likely(probabilities: Array) -> tuple[list[int], list[float]]:
    """Number and probability of the likeliest class of each row of ``predict_proba``.

    One output is the probability of the second of two classes, which it is from 0.5 on.
    """
    if probabilities.shape[1] == 1:
        second = probabilities[:, 0].tolist()
        return [int(p >= 0.5) for p in second], [max(p, 1 - p) for p in second]
    labels = probabilities.argmax(axis=1)
    return labels.tolist(), probabilities.max(axis=1).tolist()


@quietly
def metric(z: Array, y: Array, loss: str, weights: Array | None = None) -> float:
    """What goes with a loss, over rows and their weights.

    Of log loss, the share of rows all outputs of which fall on their target's side of 0.5; of cross
    entropy, of those whose largest output is that of the largest target, the first of equals; else
    R^2 = 1 - (sum of squared errors) / (sum of squared distances of y from its mean), averaged over
    outputs: as scikit-learn's ``accuracy_score`` and ``r2_score``, 1 or 0 where y is constant, and
    NaN of fewer than two rows.
    """
    if LOSSES[loss].metric == "r2":
        return _r2(z, y, loss, weights)
    if loss == "cross_entropy":
        right = z.argmax(axis=1) == y.argmax(axis=1)
    else:
        right = (hits(z) == (y >= 0.5)).all(axis=1)
    return float(right.mean()) if weights is None else float(np.average(right, weights=weights))


def _r2(z: Array, y: Array, loss: str, weights: Array | None) -> float:
    if len(y) < 2:
        return math.nan
    weight = np.ones(len(y)) if weights is None else weights
    total = weight.sum()
    outputs = y.shape[1]
    sums, errors, spread = (np.zeros(outputs) for _ in range(3))
    for part in _parts(len(y), outputs):
        sums += np.einsum("i,ij->j", weight[part], y[part].astype(np.float64))
    centre = sums / total
    for part in _parts(len(y), outputs):
        wide, a = y[part].astype(np.float64), z[part].astype(np.float64)
        if LOSSES[loss].output == "exp":
            np.exp(a, out=a)
        errors += np.einsum("i,ij->j", weight[part], np.square(a - wide))
        spread += np.einsum("i,ij->j", weight[part], np.square(wide - centre))
    ratio = np.divide(errors, spread, out=np.where(errors > 0, 1.0, 0.0), where=spread > 0)
    return float(np.mean(1 - ratio))
