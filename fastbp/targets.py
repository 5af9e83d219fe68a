"""The log loss, the L2 term and the checks on targets.

The log loss is computed from pre-activations, so that it stays finite and accurate for any
finite z, and right for infinite ones: log(sigmoid(z)) taken in two steps is -inf already at
z = -746 (float64) or -104 (float32).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from fastbp.engine.inputs import as_array, quietly

__all__ = ["check_targets", "l2_penalty", "log_loss"]

Array = npt.NDArray[Any]


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
    z = np.asarray(z, dtype=np.float64)
    y = np.asarray(y, dtype=np.float64)
    if z.shape != y.shape:
        raise ValueError(f"z has shape {z.shape}, but y has shape {y.shape}")
    if z.ndim == 0 or z.shape[0] == 0:
        raise ValueError(f"the mean loss needs at least one row, got z of shape {z.shape}")
    far, distance = np.abs(z), np.abs(y - (z >= 0))
    wrong = np.multiply(far, distance, out=np.zeros_like(z), where=distance > 0)
    terms = wrong + np.log1p(np.exp(-far))
    return float(terms.sum() / z.shape[0])


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


@quietly
def check_targets(
    y: npt.ArrayLike, n_rows: int, n_outputs: int, dtype: npt.DTypeLike = np.float32
) -> Array:
    """Return targets as an array of shape (n_rows, n_outputs), or say what is wrong with them.

    Parameters
    ----------
    y : array_like of shape (n_rows,) or (n_rows, n_outputs)
        Labels 0 and 1, or probabilities in [0, 1]; bool, integer or float. One dimension is
        enough for one output.
    n_rows : int
        Rows of the X that `y` belongs to.
    n_outputs : int
        Units of the output layer.
    dtype : dtype, default float32
        Floating-point dtype of the result.

    Returns
    -------
    ndarray of shape (n_rows, n_outputs)
        C-contiguous, of `dtype`; shares memory with `y` where that is possible.

    Raises
    ------
    TypeError
        If `y` does not hold real numbers (strings, objects, complex).
    ValueError
        If the shape does not fit, or a value is NaN, outside [0, 1], masked or missing.
    """
    y = as_array(y, "y")
    if y.dtype.kind not in "biuf":
        raise TypeError(
            f"y must hold 0 and 1 or probabilities (bool, int or float), got dtype {y.dtype}"
        )
    if y.ndim not in (1, 2):
        raise ValueError(f"y must have 1 or 2 dimensions, got an array of shape {y.shape}")
    if y.shape[0] != n_rows:
        raise ValueError(f"X has {n_rows} samples, but y has {y.shape[0]}")
    columns = 1 if y.ndim == 1 else y.shape[1]
    if columns != n_outputs:
        raise ValueError(f"y has {columns} outputs, but the network has {n_outputs}")
    if y.size and y.dtype.kind != "b":
        smallest, largest = y.min(), y.max()  # both NaN if any value is
        if np.isnan(smallest):
            place = ", column ".join(str(int(i)) for i in np.argwhere(np.isnan(y))[0])
            raise ValueError(f"y contains NaN, first in row {place}")
        if smallest < 0 or largest > 1:
            raise ValueError(f"y must lie in [0, 1], got values from {smallest} to {largest}")
    return np.ascontiguousarray(y.reshape(n_rows, n_outputs), dtype=dtype)
