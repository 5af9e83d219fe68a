"""The work that every system does: cases, networks, data. Standard library and NumPy only.

Random pixels do for data: nothing timed here depends on what they show. Everything is made from
fixed seeds, so that each process can make it for itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from fastbp.bench.estimators import ESTIMATIONS, QUICK_ESTIMATIONS, Estimation
from fastbp.bench.limits import Work, inference_work, product_work, training_work

__all__ = [
    "ADAM_BETAS",
    "LEARNING_RATE",
    "MOMENTUM",
    "PIXEL_MEAN",
    "PIXEL_SCALE",
    "WEIGHT_DECAY",
    "WORKLOADS",
    "Case",
    "Inference",
    "Model",
    "Parameters",
    "Product",
    "Scale",
    "Training",
    "cases_of",
    "examples",
    "first_parameters",
    "operands",
    "pictures",
    "preprocess",
]

Array = npt.NDArray[Any]
Parameters = tuple[list[Array], list[Array]]
"""Weights (n_l, n_{l-1}) and biases (n_l,), layer 1 first."""

LEARNING_RATE = 0.1
WEIGHT_DECAY = 0.01
MOMENTUM = 0.9
ADAM_BETAS = (0.9, 0.999)
PIXEL_MEAN = 127.5
PIXEL_SCALE = 1 / 255

WORKLOADS = {
    "a": "matmul",
    "b": "step",
    "c": "epoch",
    "d": "inference",
    "e": "networks",
    "f": "estimators",
}
"""The workloads, and a letter for each."""

_RATES = {"sgd": LEARNING_RATE, "momentum": 0.01, "adam": 1e-3}
_KEPT = {"sgd": 0, "momentum": 1, "adam": 2}  # numbers that an optimizer keeps for a weight
# Adam divides a gradient by its own size, so that the sign of a rounding error may decide. With
# this in place of 1e-8, about the size of the gradients here, it does not, and all of Adam's
# numbers still count for something.
_EPSILON_OF_CHECK = 1e-3
_STEP_BYTES = 200 << 20  # the most data that "step" keeps: beyond most caches, as real data are
# A slow system's speeds, to choose how many steps are timed at a time, the same for all systems.
_SLOW_FLOPS, _SLOW_BYTES, _SLOW_CALL = 50e9, 5e9, 5e-5
_PREPROCESSED_ROWS = 256  # at a time, so that no second float array of all data exists


@dataclass(frozen=True)
class Product:
    """A matrix product; `layout` NN, NT or TN says which operand is given transposed."""

    layout: Literal["NN", "NT", "TN"]
    m: int
    n: int
    k: int
    dtype: Literal["float32", "float64"]
    workload: Literal["matmul"] = "matmul"

    @property
    def label(self) -> str:
        """Such as ``NT 1024x128x12288 float32``."""
        return f"{self.layout} {self.m}x{self.n}x{self.k} {self.dtype}"

    @property
    def units(self) -> int:
        """How many of what the result counts are in one sample."""
        return 1

    def work(self, cache_bytes: int) -> Work:
        """Work of one product."""
        itemsize = np.dtype(self.dtype).itemsize
        return product_work(self.m, self.n, self.k, itemsize, cache_bytes)


@dataclass(frozen=True)
class Training:
    """Training steps. A sample of the clock is `steps` steps, `passes` times over the same rows.

    In "step" and "networks", float32 rows in their order, and the result is the time of a step. In
    "epoch", bytes, shuffled, and the result is the time of an epoch, scaled up where `steps` is
    only a part of it.

    `activation` is that of the hidden layers: "sigmoid", "tanh" or "relu"; `loss` is "log_loss",
    "cross_entropy" or "squared_error"; `optimizer` is "sgd", "momentum" or "adam".
    """

    workload: Literal["step", "epoch", "networks"]
    sizes: tuple[int, ...]
    batch: int
    rows: int
    steps: int
    shuffle: bool
    activation: str = "sigmoid"
    loss: str = "log_loss"
    optimizer: str = "sgd"
    passes: int = 1
    epsilon: float = 1e-8
    dtype: Literal["float32"] = "float32"

    @property
    def label(self) -> str:
        """Such as ``3-2, batch 64``, or ``784-128-10 relu adam, batch 32``."""
        what = _hidden(self.sizes)
        if self.workload == "networks":
            what = f"{'-'.join(map(str, self.sizes))} {self.activation} {self.optimizer}"
        return f"{what}, batch {self.batch}"

    @property
    def units(self) -> float:
        """Steps in a sample, or the part of an epoch that it is."""
        return self.part if self.workload == "epoch" else self.steps * self.passes

    @property
    def part(self) -> float:
        """Share of an epoch that is timed."""
        return self.steps * self.batch / self.rows

    @property
    def learning_rate(self) -> float:
        """That of the optimizer."""
        return _RATES[self.optimizer]

    @property
    def weight_decay(self) -> float:
        """With plain descent only."""
        return WEIGHT_DECAY if self.optimizer == "sgd" else 0.0

    @property
    def has_kinks(self) -> bool:
        """Whether a rounding error may switch a unit off for a row, and change its slope by all."""
        return self.activation == "relu"

    def work(self, cache_bytes: int) -> Work:
        """Work of one step, or of one epoch."""
        epoch = self.workload == "epoch"
        kept = _KEPT[self.optimizer]
        step = training_work(self.sizes, self.batch, 1 if epoch else 4, cache_bytes, kept=kept)
        return step.times(self.rows // self.batch) if epoch else step

    def for_check(self) -> Training:
        """The few steps after which the systems' weights are compared: in order."""
        wanted = 10 if self.workload == "networks" else 3
        steps = max(1, min(wanted, self.rows // self.batch))
        return replace(
            self,
            rows=steps * self.batch,
            steps=steps,
            passes=max(1, wanted // steps) if self.workload == "networks" else 1,
            epsilon=_EPSILON_OF_CHECK,
            shuffle=False,
        )


@dataclass(frozen=True)
class Inference:
    """Predictions for `batch` pictures at a time, from a window that moves through `rows`."""

    sizes: tuple[int, ...]
    batch: int
    rows: int
    workload: Literal["inference"] = "inference"
    dtype: Literal["float32"] = "float32"

    @property
    def label(self) -> str:
        """Such as ``3-2, 64 pictures``."""
        plural = "" if self.batch == 1 else "s"
        return f"{_hidden(self.sizes)}, {self.batch} picture{plural}"

    @property
    def units(self) -> int:
        """How many of what the result counts are in one sample."""
        return 1

    def work(self, cache_bytes: int) -> Work:
        """Work of one prediction."""
        return inference_work(self.sizes, self.batch, 1, cache_bytes)


Case = Product | Training | Inference | Estimation


@dataclass(frozen=True)
class Model:
    """A network of "networks": how it is trained, on how many rows, and in what batches."""

    sizes: tuple[int, ...]
    activation: str
    loss: str
    optimizer: str
    rows: int
    batches: tuple[int, ...]


@dataclass(frozen=True)
class Scale:
    """How large the cases are."""

    features: int = 64 * 64 * 3
    hidden: tuple[tuple[int, ...], ...] = ((3, 2), (128, 64), (1024, 256))
    squares: tuple[int, ...] = (256, 384, 512, 768, 1024, 1536, 2048, 3072, 4096)
    others: tuple[tuple[int, int], ...] = ((256, 128), (1024, 1024))
    step_batches: tuple[int, ...] = (1, 16, 64, 256, 1024, 4096)
    epoch_batches: tuple[int, ...] = (1, 16, 64, 256, 1024)
    inference_batches: tuple[int, ...] = (1, 64, 8192)
    networks: tuple[Model, ...] = (
        Model((784, 128, 10), "relu", "cross_entropy", "adam", 32768, (32, 128, 1024)),
        Model((50, 100, 100, 1), "relu", "squared_error", "adam", 20000, (200,)),
        Model((4, 32, 16, 4), "tanh", "cross_entropy", "adam", 10000, (32, 10000)),
        Model((12288, 128, 64, 5), "relu", "cross_entropy", "adam", 4096, (16, 256)),
        Model((12288, 3, 2, 1), "sigmoid", "log_loss", "momentum", 4096, (1, 64)),
    )
    estimators: tuple[Estimation, ...] = ESTIMATIONS
    rows: int = 8192
    sample_seconds: float = 0.5  # of a slow system, about

    @classmethod
    def quick(cls) -> Scale:
        """Sizes that show that everything runs."""
        return cls(
            features=192,
            hidden=((3, 2), (16, 8)),
            squares=(64,),
            others=((24, 16),),
            step_batches=(1, 16),
            epoch_batches=(16,),
            inference_batches=(1, 64),
            networks=(
                Model((40, 16, 5), "relu", "cross_entropy", "adam", 128, (16, 64)),
                Model((10, 8, 6, 1), "relu", "squared_error", "adam", 120, (20,)),
                Model((4, 8, 6, 4), "tanh", "cross_entropy", "adam", 100, (100,)),
                Model((192, 3, 2, 1), "sigmoid", "log_loss", "momentum", 128, (1, 16)),
            ),
            estimators=QUICK_ESTIMATIONS,
            rows=128,
            sample_seconds=0.01,
        )


def cases_of(workload: str, scale: Scale) -> list[Case]:
    """The cases of a workload, one of `WORKLOADS`."""
    networks = [(scale.features, *hidden, 1) for hidden in scale.hidden]
    if workload == "matmul":
        return _products(scale)
    if workload == "inference":
        return [
            Inference(sizes, batch, scale.rows)
            for sizes in networks
            for batch in scale.inference_batches
        ]
    if workload == "epoch":
        return [_epoch(sizes, batch, scale) for sizes in networks for batch in scale.epoch_batches]
    if workload == "networks":
        return [
            _case_of(model, batch, scale) for model in scale.networks for batch in model.batches
        ]
    if workload == "estimators":
        return list(scale.estimators)
    if workload == "step":
        widest_batch = max(scale.step_batches)
        return [
            _step(sizes, batch, scale)
            for sizes in networks
            for batch in scale.step_batches
            # The widest network at the widest batch takes seconds a step and shows nothing new.
            if len(networks) < 3 or sizes != networks[-1] or batch != widest_batch
        ]
    raise ValueError(f"workload must be one of {', '.join(WORKLOADS.values())}, got {workload!r}")


def _products(scale: Scale) -> list[Case]:
    """Squares, and every layout with the width of the input as each of m, n and k."""
    dtypes: tuple[Literal["float32", "float64"], ...] = ("float32", "float64")
    layouts: tuple[Literal["NN", "NT", "TN"], ...] = ("NN", "NT", "TN")
    wide = scale.features
    cases: list[Case] = []
    for dtype in dtypes:
        cases += [Product("NN", size, size, size, dtype) for size in scale.squares]
        for batch, width in scale.others:
            for shape in ((wide, batch, width), (batch, wide, width), (batch, width, wide)):
                cases += [Product(layout, *shape, dtype) for layout in layouts]
    return cases


def _step(sizes: tuple[int, ...], batch: int, scale: Scale) -> Training:
    most = min(_STEP_BYTES // (4 * sizes[0] * batch), max(scale.rows // 2 // batch, 1))
    steps = max(1, min(most, _steps_in(scale.sample_seconds, sizes, batch)))
    return Training("step", sizes, batch, steps * batch, steps, shuffle=False)


def _epoch(sizes: tuple[int, ...], batch: int, scale: Scale) -> Training:
    steps = min(scale.rows // batch, _steps_in(2 * scale.sample_seconds, sizes, batch))
    return Training("epoch", sizes, batch, scale.rows, steps, shuffle=True)


def _case_of(model: Model, batch: int, scale: Scale) -> Training:
    """All rows of a model's data in whole batches, so often that a sample is no matter of moments.

    A fifth as long as the other samples: there are more ways to try here.
    """
    steps = model.rows // batch
    passes = max(1, _steps_in(scale.sample_seconds / 5, model.sizes, batch) // steps)
    return Training(
        "networks",
        model.sizes,
        batch,
        steps * batch,
        steps,
        shuffle=False,
        activation=model.activation,
        loss=model.loss,
        optimizer=model.optimizer,
        passes=passes,
    )


def _steps_in(seconds: float, sizes: Sequence[int], batch: int) -> int:
    work = training_work(sizes, batch, 4, cache_bytes=0)
    step = _SLOW_CALL + max(work.flops / _SLOW_FLOPS, work.nbytes / _SLOW_BYTES)
    return max(1, int(seconds / step))


def _hidden(sizes: Sequence[int]) -> str:
    return "-".join(map(str, sizes[1:-1]))


def first_parameters(sizes: Sequence[int], dtype: str = "float32") -> Parameters:
    """Xavier weights and small biases to start from."""
    random = np.random.default_rng(0)
    weights = [
        (random.standard_normal((n_out, n_in), np.float32) * np.sqrt(2 / (n_in + n_out))).astype(
            np.float32
        )
        for n_in, n_out in pairwise(sizes)
    ]
    biases = [random.uniform(-0.1, 0.1, n_out).astype(np.float32) for n_out in sizes[1:]]
    return [w.astype(dtype) for w in weights], [b.astype(dtype) for b in biases]


def pictures(rows: int, features: int) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.float32]]:
    """Rows of bytes, and labels of 0 or 1."""
    random = np.random.default_rng(rows)
    X = random.integers(0, 256, (rows, features), dtype=np.uint8)
    return X, random.integers(0, 2, rows).astype(np.float32)


def examples(problem: Training, count: int) -> tuple[Array, Array]:
    """The first `count` rows of a training: bytes in "epoch", else floats, and what goes with them.

    Labels 0 or 1 as float32 for the log loss, whole numbers below the number of outputs for the
    cross entropy, normal numbers as float32 for the squared error.
    """
    X, labels = pictures(problem.rows, problem.sizes[0])
    y: Array = labels
    if problem.loss == "cross_entropy":
        # In turn, so that no class is missing in a few rows.
        y = np.arange(problem.rows) % problem.sizes[-1]
    elif problem.loss == "squared_error":
        y = np.random.default_rng(problem.rows).standard_normal(problem.rows, np.float32)
    X, y = X[:count], y[:count]
    return (X if problem.workload == "epoch" else preprocess(X)), y


def preprocess(X: npt.NDArray[np.uint8], out: Array | None = None) -> Array:
    """(X - PIXEL_MEAN) * PIXEL_SCALE as floats: float32, unless `out` is something else."""
    result = np.empty(X.shape, np.float32) if out is None else out
    for start in range(0, len(X), _PREPROCESSED_ROWS):
        rows = slice(start, start + _PREPROCESSED_ROWS)
        np.subtract(X[rows], PIXEL_MEAN, out=result[rows], dtype=result.dtype)
        result[rows] *= result.dtype.type(PIXEL_SCALE)
    return result


def operands(product: Product) -> tuple[Array, Array]:
    """The two operands as they lie in memory: C-contiguous, one of them transposed in NT and TN."""
    random = np.random.default_rng(product.m + product.n + product.k)
    m, n, k, dtype = product.m, product.n, product.k, np.dtype(product.dtype).type
    a = random.standard_normal((k, m) if product.layout == "TN" else (m, k), dtype)
    b = random.standard_normal((n, k) if product.layout == "NT" else (k, n), dtype)
    return a, b
