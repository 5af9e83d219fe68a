"""What a system must be able to do to take part."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from fastbp.bench.problems import Parameters, Product, Training, preprocess

__all__ = ["HostBatches", "System", "Trainer", "targets"]

Array = npt.NDArray[Any]


class Trainer(ABC):
    """A network in training. All memory is allocated, and everything compiled, before it is timed.

    `run` trains for ``problem.steps`` steps, in the order of the rows or, if
    ``problem.shuffle``, in a new random order, ``problem.passes`` times, and returns when the last
    step is done. What an optimizer keeps goes on from one run to the next.
    """

    @abstractmethod
    def run(self) -> None:
        """Train for one sample of the clock."""

    @abstractmethod
    def parameters(self) -> Parameters:
        """Weights (n_l, n_{l-1}) and biases (n_l,) as they are now."""


class System(ABC):
    """A library, in a process of its own.

    Parameters
    ----------
    threads : int
        How many threads to use.
    variant : str
        One of the variants that the registry lists for the workload, for systems that can do it
        in more than one way; else "".
    """

    def __init__(self, threads: int, variant: str) -> None:
        self.threads = threads
        self.variant = variant

    def product(self, problem: Product, a: Array, b: Array) -> Callable[[], Any]:
        """A function that computes the product and returns it, as anything array-like.

        `a` and `b` are C-contiguous, as `fastbp.bench.problems.operands` makes them.
        """
        raise NotImplementedError(f"{type(self).__name__} has no matrix product")

    @abstractmethod
    def trainer(self, problem: Training, start: Parameters, X: Array, y: Array) -> Trainer:
        """A network with its own copy of the parameters `start`.

        X and y are those of `fastbp.bench.problems.examples`; they have at least
        ``problem.steps * problem.batch`` rows.
        """

    @abstractmethod
    def predictor(self, start: Parameters, X: Array) -> Callable[[int, int], Any]:
        """A function (first, last) that returns P(y = 1) for the rows first to last of bytes X."""

    def estimators(self) -> tuple[Any, Any]:
        """The multi-layer perceptrons with scikit-learn's interface: classifier and regressor."""
        raise NotImplementedError(f"{type(self).__name__} has no estimators")


def targets(problem: Training, y: Array, dtype: npt.DTypeLike) -> Array:
    """What the outputs should be, a row an example: labels of classes become ones among zeros."""
    if problem.loss == "cross_entropy":
        return np.eye(problem.sizes[-1], dtype=dtype)[y]
    return y.astype(dtype).reshape(len(y), -1)


class HostBatches:
    """The batches of a pass as NumPy arrays, for systems that compute on those.

    Slices of X where the order is kept, else rows gathered into one buffer. Bytes are converted
    once, up front, if `convert_first`, else batch by batch.
    """

    def __init__(self, problem: Training, X: Array, y: Array, *, convert_first: bool) -> None:
        self._problem = problem
        self._random = np.random.default_rng(1)
        self.X = preprocess(X) if convert_first and X.dtype == np.uint8 else X
        self.y = targets(problem, y, np.float32 if problem.loss == "cross_entropy" else y.dtype)
        shape = (problem.batch, X.shape[1])
        self._gathered = np.empty(shape, self.X.dtype)
        self._converted = np.empty(shape, np.float32)

    def __iter__(self) -> Iterator[tuple[Array, Array]]:
        problem = self._problem
        order = self._random.permutation(problem.rows) if problem.shuffle else None
        for start in range(0, problem.steps * problem.batch, problem.batch):
            if order is None:
                x = self.X[start : start + problem.batch]
                y = self.y[start : start + problem.batch]
            else:
                index = order[start : start + problem.batch]
                # mode="clip" lets NumPy write to the buffer directly; all indices are valid.
                x = np.take(self.X, index, axis=0, out=self._gathered, mode="clip")
                y = self.y[index]
            yield (preprocess(x, self._converted) if x.dtype == np.uint8 else x), y
