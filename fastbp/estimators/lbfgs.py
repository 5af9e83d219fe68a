"""Training by scipy's L-BFGS-B, with loss and gradient of all rows from the kernels of training."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy
from scipy.optimize import minimize
from sklearn.utils.optimize import _check_optimize_result

from fastbp.estimators.rows import rows_of
from fastbp.estimators.steps import RowWeights
from fastbp.estimators.stochastic import Data, loss_cap, loss_share
from fastbp.estimators.weights import network_of, put
from fastbp.kernels import plan as w
from fastbp.optimizers import Optimizer
from fastbp.parameters import Parameters

__all__ = ["fit_lbfgs"]

Array = npt.NDArray[Any]

_ACTIVATION_BYTES = 64 << 20  # of the rows that go forward and back at a time, about
_LEAST_ROWS = 1024


class _Vector:
    """All weights (n_out, n_in) and then all biases of a network, one after another."""

    def __init__(self, sizes: tuple[int, ...]) -> None:
        shapes: list[tuple[int, ...]] = [(outputs, inputs) for inputs, outputs in pairwise(sizes)]
        shapes += [(outputs,) for outputs in sizes[1:]]
        counts = [int(np.prod(shape)) for shape in shapes]
        self.values = np.zeros(sum(counts))
        ends = np.cumsum(counts)
        self.arrays = [
            self.values[end - count : end].reshape(shape)
            for shape, count, end in zip(shapes, counts, ends, strict=True)
        ]
        layers = len(sizes) - 1
        self.weights, self.biases = self.arrays[:layers], self.arrays[layers:]
        self.decayed = self.values[: sum(counts[:layers])]  # the weights alone


class _Objective:
    """Loss and gradient at a point.

    A step of gradient descent with momentum 1 and rate 1, from velocities of 0, leaves minus the
    gradient in the velocities. If there are too many rows for one step, several steps from the same
    point, each with its share of the rate, leave the sum.
    """

    def __init__(self, network: Parameters, data: Data, alpha: float) -> None:
        self._point, self._velocity = _Vector(network.layer_sizes), _Vector(network.layer_sizes)
        trained = Parameters(
            network.layer_sizes,
            self._point.weights,
            self._point.biases,
            activation=network.activation,
            loss_function=network.loss_function,
            dtype=np.float64,
        )
        n = len(data.y)
        row_bytes = 8 * (sum(network.layer_sizes[1:]) + 1)
        batch_size = min(n, max(_LEAST_ROWS, _ACTIVATION_BYTES // row_bytes))
        weights = None if data.weights is None else RowWeights(data.weights, trained.dtype)
        recipe = (
            Optimizer("momentum", momentum=1.0)
            .to_recipe(
                (self._velocity.arrays,), row_weights=None if weights is None else weights.scaled
            )
            ._replace(loss_cap=loss_cap(trained))
        )
        targets = np.ascontiguousarray(data.y, np.float64)
        self._rows = rows_of(trained, data.X, targets, batch_size, recipe)
        self._table = np.zeros((self._rows.steps, w.STEP_COUNT))
        self._share = loss_share(trained)
        mass = float(n)
        if weights is None:
            counts = np.full(self._rows.steps, batch_size)
            counts[-1] = n - batch_size * (self._rows.steps - 1)
            self._table[:, w.RATE] = counts / n
            self._table[:, w.PENALTY] = alpha / n
        else:
            scaled_mass = float(weights.scaled.sum())
            mass = scaled_mass / weights.scale
            self._table[:, w.RATE] = 1
            self._table[:, w.SHARE] = 1 / scaled_mass
            self._table[:, w.PENALTY] = alpha / mass / self._rows.steps
            self._share /= weights.scale
        self._share /= mass
        self._table[:, w.KEEP] = self._table[:, w.LOSS_SHARE] = 1
        self._penalty = 0.5 * alpha / mass

    def start(self, network: Parameters) -> Array:
        """The vector of a network's parameters."""
        return np.concatenate(
            [array.ravel() for array in (*network.weights, *network.biases)]
        ).astype(np.float64)

    def __call__(self, at: Array) -> tuple[float, Array]:
        point, rows = self._point, self._rows
        self._velocity.values[:] = 0
        rows.clear()
        for step in range(rows.steps):
            point.values[:] = at
            rows.train(None, self._table[step : step + 1], step, first=step)
        weights = at[: len(point.decayed)]
        loss = self._share * rows.loss + self._penalty * float(weights @ weights)
        return loss, -self._velocity.values

    def finish(self, estimator: Any, at: Array) -> None:
        """Have the estimator show a point as its parameters."""
        self._point.values[:] = at
        put(estimator, self._point.weights, self._point.biases)


def fit_lbfgs(estimator: Any, data: Data) -> None:
    """Train an estimator, whose parameters are there; they become float64."""
    network = network_of(estimator)
    objective = _Objective(network, data, estimator.alpha)
    options = {"maxfun": estimator.max_fun, "maxiter": estimator.max_iter, "gtol": estimator.tol}
    if tuple(map(int, scipy.__version__.split(".")[:2])) < (1, 15):
        options["iprint"] = 1 if estimator.verbose >= 1 else -1
    found = minimize(
        objective, objective.start(network), method="L-BFGS-B", jac=True, options=options
    )
    estimator.n_iter_ = _check_optimize_result("lbfgs", found, estimator.max_iter)
    estimator.loss_ = found.fun
    objective.finish(estimator, found.x)
