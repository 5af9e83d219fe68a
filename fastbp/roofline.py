"""The least time that a piece of work can take on a machine: the model of its operations and bytes.

    limit = max(bytes / bandwidth, flops / peak)

with the bandwidth of streaming reads and the peak of fused multiply-adds as measured (see
`fastbp.engine.peaks`) for the number of threads used. A multiply-add counts as two operations;
activations, losses and biases count as none. Bytes are those that must cross the memory bus, each
way, and no more:

* data: every row once in a pass, in the type that it is handed over in;
* weights: read once and written once in a training step (those of the first layer in as many steps
  as share a pass over them), with what the optimizer keeps of them, read once in a prediction, and
  not at all where all of them fit in the level-2 caches of the cores in use, as they then stay
  there;
* a product's operands once each, if operands and result do not fit in those caches.

Activations are taken to stay in a cache. See Williams, Waterman and Patterson, "Roofline: An
Insightful Visual Performance Model for Multicore Architectures" (2009).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

__all__ = [
    "TrainingStep",
    "Work",
    "inference_work",
    "least_seconds",
    "product_work",
    "training_work",
]


@dataclass(frozen=True)
class Work:
    """Floating-point operations, and bytes that must cross the memory bus."""

    flops: int
    nbytes: int

    def times(self, count: int) -> Work:
        """The work of `count` repetitions."""
        return Work(self.flops * count, self.nbytes * count)


def least_seconds(work: Work, flops: float, bandwidth: float) -> float:
    """Least time for some work, in seconds.

    Parameters
    ----------
    work : Work
    flops, bandwidth : float
        What the machine can do: operations and bytes a second.
    """
    return max(work.flops / flops, work.nbytes / bandwidth)


def training_work(
    sizes: Sequence[int],
    batch: int,
    data_itemsize: int,
    cache_bytes: int,
    *,
    itemsize: int = 4,
    group: int = 1,
    kept: int = 0,
) -> Work:
    """Work of one training step: forward, backward, update.

    With P weights, of which P1 in layer 1, a batch of B rows takes 2 B P operations forward,
    2 B P for the gradients, and 2 B (P - P1) for the deltas of the hidden layers. It reads B n0
    values of data, and, unless the weights stay in the caches, reads and writes P - P1 + P1 / group
    weights, and as many numbers as the optimizer keeps of all of them.

    Parameters
    ----------
    sizes : sequence of int
        Width of the input and of each layer.
    batch : int
        Rows of a step.
    data_itemsize : int
        Bytes of one value of the data.
    cache_bytes : int
        Level-2 cache of all cores in use.
    itemsize : int, default 4
        Bytes of a weight.
    group : int, default 1
        Steps that share a pass over the weights of layer 1.
    kept : int, default 0
        Numbers that the optimizer keeps of each weight: 1 with momentum, 2 with Adam.
    """
    weights = _weights(sizes)
    first = sizes[0] * sizes[1]
    flops = 2 * batch * (3 * weights - first)
    crossing = 2 * itemsize * (weights - first + first // group + kept * weights)
    if itemsize * weights * (1 + kept) <= cache_bytes:
        crossing = 0
    return Work(flops, batch * sizes[0] * data_itemsize + crossing)


class TrainingStep(NamedTuple):
    """What the work of a training step depends on besides its rows, see `training_work`."""

    sizes: tuple[int, ...]
    data_itemsize: int
    cache_bytes: int
    itemsize: int
    group: int
    kept: int

    def work(self, rows: int) -> Work:
        """Of a step on so many rows."""
        return training_work(
            self.sizes, rows, self.data_itemsize, self.cache_bytes,
            itemsize=self.itemsize, group=self.group, kept=self.kept,
        )  # fmt: skip


def inference_work(
    sizes: Sequence[int], batch: int, data_itemsize: int, cache_bytes: int, *, itemsize: int = 4
) -> Work:
    """Work of predicting `batch` rows: 2 B P operations, B n0 values of data, and P weights.

    Parameters are those of `training_work`.
    """
    weights = _weights(sizes)
    crossing = 0 if itemsize * weights <= cache_bytes else itemsize * weights
    return Work(2 * batch * weights, batch * sizes[0] * data_itemsize + crossing)


def product_work(m: int, n: int, k: int, itemsize: int, cache_bytes: int) -> Work:
    """Work of an (m, k) by (k, n) matrix product."""
    nbytes = itemsize * (m * k + k * n + m * n)
    return Work(2 * m * n * k, 0 if nbytes <= cache_bytes else nbytes)


def _weights(sizes: Sequence[int]) -> int:
    return sum(a * b for a, b in pairwise(sizes))
