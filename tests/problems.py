"""Random data and networks for tests, the same on every machine."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from tests import oracle
from tests.tolerance import Bounds, InputFolding, TrainingBounds, bounds, training_bounds

# The first hidden layer decides between two code paths of training, so both kinds appear, with
# widths at, just below and just above multiples of any vector length.
NARROW = [(7, 1), (33, 3, 2, 1), (48, 16, 1), (130, 4, 2), (12, 1, 1), (65, 8, 5, 3, 2)]
WIDE = [(7, 17, 1), (33, 40, 3, 2), (48, 65, 17, 1), (130, 40, 1), (20, 24)]
ONE_OF_EACH = [(33, 3, 2, 1), (33, 40, 3, 2)]

# dtype of the network, dtype of the data, and how these are preprocessed.
KINDS = [
    ("float64", "float64", "none"),
    ("float32", "float32", "mean"),
    ("float64", "uint8", "feature"),
]


@dataclass
class Problem:
    """Data, parameters and input folding, with the oracle's view of them."""

    layer_sizes: tuple[int, ...]
    dtype: np.dtype[Any]
    X: npt.NDArray[Any]
    y: npt.NDArray[Any]
    weights: list[npt.NDArray[Any]]
    biases: list[npt.NDArray[Any]]
    folding: InputFolding
    model: oracle.Model = oracle.SIGMOID

    def network(self) -> Any:
        """Make a fastbp network that has these parameters."""
        from fastbp import Network

        network = Network(
            self.layer_sizes,
            init="zeros",
            dtype=self.dtype,
            input_mean=self.folding.mean,
            input_scale=self.folding.scale,
            activation=self.model.activation,
            loss=self.model.loss,
        )
        for layer, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            network.weights[layer][...] = weight
            network.biases[layer][...] = bias
        return network

    @property
    def seen(self) -> npt.NDArray[np.float64]:
        """The input as the network sees it, in float64."""
        return oracle.fold_input(self.X, self.folding.mean, self.folding.scale)

    def forward(self) -> oracle.Forward:
        return oracle.forward(self.seen, self.weights, self.biases, self.model)

    def bounds(self) -> Bounds:
        return bounds(
            self.X, self.y, self.weights, self.biases, self.dtype, folding=self.folding,
            model=self.model,
        )  # fmt: skip

    def trained(self, batches: Any, **settings: Any) -> oracle.Step:
        """By `oracle.train`, with its settings."""
        return oracle.train(
            self.seen, self.y, self.weights, self.biases, batches, model=self.model, **settings
        )

    def training_bounds(self, batches: Any, **settings: Any) -> TrainingBounds:
        """How far a training may be from `trained` with the same settings."""
        return training_bounds(
            self.X,
            self.y,
            self.weights,
            self.biases,
            batches,
            self.dtype,
            folding=self.folding,
            model=self.model,
            **settings,
        )


def make_problem(
    layer_sizes: tuple[int, ...],
    n: int = 37,
    *,
    dtype: str = "float32",
    data_dtype: str | None = None,
    fold: str = "none",
    seed: int = 0,
    model: oracle.Model = oracle.SIGMOID,
) -> Problem:
    """Random rows, targets and Xavier-sized weights with biases that are not zero.

    Targets are such as the loss takes: 0 and 1, one label for a row, counts or any numbers.

    `fold` is "none", "scalar", "mean" or "feature": what kind of input mean and scale the network
    gets, two numbers, a mean for each feature, or a scale for each too.
    uint8 data is always scaled, or every sigmoid would saturate and every gradient vanish.
    """
    rng = np.random.default_rng(seed)
    data_dtype = data_dtype or dtype
    n0 = layer_sizes[0]
    if data_dtype == "uint8":
        X = rng.integers(0, 256, size=(n, n0), dtype=np.uint8)
        centre, spread = 127.5, 1 / 74
        fold = "scalar" if fold == "none" else fold
    else:
        X = 3 + 2 * rng.normal(size=(n, n0)) if fold != "none" else rng.normal(size=(n, n0))
        X = X.astype(data_dtype)
        centre, spread = 3.0, 0.5
    folding = InputFolding()
    if fold == "scalar":
        folding = InputFolding(centre, spread)
    elif fold != "none":
        mean = (centre * rng.uniform(0.8, 1.2, size=n0)).astype(dtype)
        scale = (spread * rng.uniform(0.5, 1.5, size=n0)).astype(dtype)
        folding = InputFolding(mean, scale if fold == "feature" else spread)
    weights = [
        (rng.normal(size=(fan_out, fan_in)) * oracle.initial_std("xavier", fan_in, fan_out))
        for fan_in, fan_out in pairwise(layer_sizes)
    ]
    biases = [0.3 * rng.normal(size=size) for size in layer_sizes[1:]]
    y = _targets(rng, model.loss, n, layer_sizes[-1]).astype(dtype)
    return Problem(
        layer_sizes,
        np.dtype(dtype),
        X,
        y,
        [w.astype(dtype) for w in weights],
        [b.astype(dtype) for b in biases],
        folding,
        model,
    )


def _targets(rng: np.random.Generator, loss: str, rows: int, outputs: int) -> npt.NDArray[Any]:
    if loss == "log_loss":
        return rng.integers(0, 2, size=(rows, outputs))
    if loss == "cross_entropy":
        return np.eye(outputs)[rng.integers(0, outputs, size=rows)]
    if loss == "poisson":
        return rng.poisson(1.5, size=(rows, outputs))
    return 1.5 * rng.normal(size=(rows, outputs))


def exact_factors(m: int, n: int, k: int, dtype: str, a_dtype: str | None = None) -> Any:
    """Matrices (m, k) and (k, n) of integers: each product is exact, sums of many are rounded.

    So the bits of a product tell in which order it was added up.
    """
    rng = np.random.default_rng([m, n, k])
    digits = np.finfo(dtype).nmant + 1
    a_digits = 8 if a_dtype == "uint8" else digits // 2
    low = 0 if a_dtype == "uint8" else 1 - 2**a_digits
    a = rng.integers(low, 2**a_digits, size=(m, k))
    b = rng.integers(1 - 2 ** (digits - a_digits), 2 ** (digits - a_digits), size=(k, n))
    return a.astype(a_dtype or dtype), b.astype(dtype)


def untrained(n0: int, n1: int, rows: int, dtype: str, seed: int = 0) -> Problem:
    """One layer with weights of zero, so that delta is 0.5 or -0.5 over the rows of a batch.

    The rows hold integers: of the first step every product is exact, if the batch has a power of
    two of rows, and the bits of the new weights tell in which order it was added up.
    """
    rng = np.random.default_rng([seed, n0, n1, rows])
    most = 2 ** np.finfo(dtype).nmant
    X = rng.integers(-most, most, size=(rows, n0)).astype(dtype)
    y = rng.integers(0, 2, size=(rows, n1)).astype(dtype)
    weights, biases = [np.zeros((n1, n0), dtype)], [np.zeros(n1, dtype)]
    return Problem((n0, n1), np.dtype(dtype), X, y, weights, biases, InputFolding())
