"""NumPy with SciPy's BLAS: the expert's step, with bias and update inside the matrix products.

BLAS knows column-major matrices, so a C-contiguous array is passed transposed, and every formula
here is the transpose of the usual one. With beta, ``gemm`` adds to its result in place: the bias
in the forward pass, and (1 - alpha lambda) W in the update, so that no gradient is ever stored.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.linalg.blas import dgemm, sgemm
from scipy.special import expit

from fastbp.bench.problems import (
    LEARNING_RATE,
    WEIGHT_DECAY,
    Parameters,
    Product,
    Training,
    preprocess,
)
from fastbp.bench.systems.base import HostBatches, System, Trainer
from fastbp.bench.systems.with_numpy import PREDICTED_ROWS

__all__ = ["Scipy"]

Array = npt.NDArray[Any]


class Scipy(System):
    """`scipy.linalg.blas.sgemm` in place, and `scipy.special.expit`."""

    def product(self, problem: Product, a: Array, b: Array) -> Callable[[], Array]:
        """See `System.product`."""
        gemm = sgemm if a.dtype == np.float32 else dgemm
        out = np.zeros((problem.m, problem.n), a.dtype)
        transposed_b, transposed_a = problem.layout == "NT", problem.layout == "TN"

        def multiply() -> Array:
            gemm(1.0, b.T, a.T, c=out.T, trans_a=transposed_b, trans_b=transposed_a, overwrite_c=1)
            return out

        return multiply

    def trainer(self, problem: Training, start: Parameters, X: Array, y: Array) -> Trainer:
        """See `System.trainer`."""
        batches = HostBatches(problem, X, y, convert_first=self.variant == "float32")
        return _Trainer(batches, start, problem.batch)

    def predictor(self, start: Parameters, X: Array) -> Callable[[int, int], Array]:
        """See `System.predictor`."""
        outputs = _outputs(start, PREDICTED_ROWS)
        buffer = np.empty((PREDICTED_ROWS, X.shape[1]), np.float32)

        def predict(first: int, last: int) -> Array:
            result = np.empty((last - first, outputs[-1].shape[1]), np.float32)
            for begin in range(first, last, PREDICTED_ROWS):
                x = X[begin : min(begin + PREDICTED_ROWS, last)]
                used = [output[: len(x)] for output in outputs]
                _forward(start, preprocess(x, buffer[: len(x)]), used)
                result[begin - first : begin - first + len(x)] = used[-1]
            return result

        return predict


class _Trainer(Trainer):
    def __init__(self, batches: HostBatches, start: Parameters, batch: int) -> None:
        self._batches = batches
        self._parameters = [a.copy() for a in start[0]], [a.copy() for a in start[1]]
        self._outputs = _outputs(start, batch)
        self._deltas = _outputs(start, batch)
        self._slopes = _outputs(start, batch)

    def run(self) -> None:
        for x, y in self._batches:
            self._step(x, y)

    def _step(self, x: Array, y: Array) -> None:
        weights, biases = self._parameters
        outputs, deltas = self._outputs, self._deltas
        _forward(self._parameters, x, outputs)
        np.subtract(outputs[-1], y, out=deltas[-1])
        deltas[-1] *= np.float32(1 / len(x))
        for layer in range(len(weights) - 1, -1, -1):
            weight, delta = weights[layer], deltas[layer]
            below = outputs[layer - 1] if layer else x
            if layer:
                # delta[l-1] = (delta[l] W[l]) * a (1 - a)
                sgemm(1.0, weight.T, delta.T, c=deltas[layer - 1].T, overwrite_c=1)
                slope = np.subtract(1, below, out=self._slopes[layer - 1])
                slope *= below
                deltas[layer - 1] *= slope
            # W <- (1 - alpha lambda) W - alpha delta^T below
            sgemm(
                -LEARNING_RATE,
                below.T,
                delta.T,
                beta=1 - LEARNING_RATE * WEIGHT_DECAY,
                c=weight.T,
                trans_b=1,
                overwrite_c=1,
            )
            biases[layer] -= LEARNING_RATE * delta.sum(axis=0)

    def parameters(self) -> Parameters:
        return self._parameters


def _outputs(parameters: Parameters, rows: int) -> list[Array]:
    return [np.empty((rows, len(weight)), np.float32) for weight in parameters[0]]


def _forward(parameters: Parameters, x: Array, outputs: list[Array]) -> None:
    """Fill `outputs` with g(A W^T + b), layer by layer."""
    for weight, bias, output in zip(*parameters, outputs, strict=True):
        output[...] = bias
        sgemm(1.0, weight.T, x.T, beta=1.0, c=output.T, trans_a=1, overwrite_c=1)
        expit(output, out=output)
        x = output
