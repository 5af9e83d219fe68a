"""From what compiled code adds up over an epoch to its loss and metric."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from fastbp.engine.inputs import quietly
from fastbp.losses import LOSSES

__all__ = ["Measure"]

Array = npt.NDArray[Any]

_ROWS_AT_A_TIME = 4096


class Measure:
    """What there is to know of the targets.

    Parameters
    ----------
    y : ndarray of shape (n, n_L)
        Targets of the training, as compiled code takes them.
    loss : str
    weights : ndarray of shape (n,), optional
        Of the rows, as compiled code takes them.

    Attributes
    ----------
    metric_name : str
    scale : ndarray of shape (n_L,) or None
        Of R^2: what squared errors of each output are multiplied by, so that weighted they add up
        to 1 - R^2, see `fastbp.kernels.functions.outputs`. Constant targets count as explained.
    """

    def __init__(self, y: Array, loss: str, weights: Array | None = None) -> None:
        self.metric_name = LOSSES[loss].metric
        self._mass = float(len(y)) if weights is None else float(weights.sum(dtype=np.float64))
        self.scale: Array | None = None
        self._constant = 0.0  # of the mean loss, which compiled code leaves out
        if self.metric_name == "r2":
            self.scale = _scale(y, weights, self._mass)
        if loss == "poisson":
            self._constant = _poisson_constant(y, weights) / self._mass

    def means(self, loss: float, metric: float, mass: float) -> tuple[float, float]:
        """Loss and metric of an epoch.

        Parameters
        ----------
        loss, metric : float
            Sums over rows of weight * loss and of weight * metric.
        mass : float
            The sum of these weights; NaN comes of 0.
        """
        if mass == 0:
            return np.nan, np.nan
        if self.scale is not None:  # of fewer rows than all, the sum is taken to be their share
            return loss / mass + self._constant, 1.0 - metric * (self._mass / mass)
        return loss / mass, metric / mass


def _pieces(y: Array, weights: Array | None) -> list[tuple[Array, Array]]:
    """Some rows at a time, and their weights, as float64 of few of them is enough."""
    ones = np.ones(min(len(y), _ROWS_AT_A_TIME))
    return [
        (y[i : i + _ROWS_AT_A_TIME], ones[: len(y) - i] if weights is None
         else weights[i : i + _ROWS_AT_A_TIME])
        for i in range(0, len(y), _ROWS_AT_A_TIME)
    ]  # fmt: skip


@quietly
def _scale(y: Array, weights: Array | None, mass: float) -> Array:
    """1 / (outputs * weighted sum of squared distances from the mean); 0 where that is 0."""
    outputs = y.shape[1]
    centre, squares = np.zeros(outputs), np.zeros(outputs)
    for rows, weight in _pieces(y, weights):
        centre += (rows.astype(np.float64) * weight[:, None]).sum(axis=0)
    centre /= mass
    for rows, weight in _pieces(y, weights):
        squares += (np.square(rows - centre) * weight[:, None]).sum(axis=0)
    scale = np.divide(1.0, outputs * squares, out=np.zeros(outputs), where=squares > 0)
    return np.asarray(np.minimum(scale, float(np.finfo(y.dtype).max)), dtype=y.dtype)


@quietly
def _poisson_constant(y: Array, weights: Array | None) -> float:
    """The weighted sum of y log y - y, which is 0 at y = 0."""
    total = 0.0
    for rows, weight in _pieces(y, weights):
        wide = rows.astype(np.float64)
        logs = np.log(wide, out=np.zeros_like(wide), where=wide > 0)
        total += float(((wide * logs - wide) * weight[:, None]).sum())
    return total
