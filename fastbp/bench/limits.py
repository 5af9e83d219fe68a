"""The least time that a piece of work can take on a machine: the formula, and what goes into it.

    limit = max(bytes / bandwidth, flops / peak)

with the bandwidth of streaming reads and the peak of fused multiply-adds as measured (see
`fastbp.bench.machine`) for the number of threads used. A multiply-add counts as two operations;
activations, losses and biases count as none. Bytes are those that must cross the memory bus, each
way, and no more:

* data: every row once in a pass, in the type that the workload hands over (float32 in "step",
  bytes in "epoch" and "inference");
* weights: read once and written once in a training step, read once in a prediction, and not at
  all where all of them fit in the level-2 caches of the cores in use, as they then stay there; a
  system that makes several steps in one pass over its weights (as fastbp does for small batches,
  see `fastbp.kernels.wide.delayed`) can come out above 100 %;
* a product's operands once each, if operands and result do not fit in those caches.

Activations stay in a cache in all workloads here. See Williams, Waterman and Patterson, "Roofline:
An Insightful Visual Performance Model for Multicore Architectures" (2009).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

__all__ = ["Work", "inference_work", "limit_seconds", "product_work", "training_work"]


@dataclass(frozen=True)
class Work:
    """Floating-point operations, and bytes that must cross the memory bus."""

    flops: int
    nbytes: int

    def times(self, count: int) -> Work:
        """The work of `count` repetitions."""
        return Work(self.flops * count, self.nbytes * count)


def limit_seconds(work: Work, limits: Mapping[str, Any], threads: int, dtype: str) -> float:
    """Least time for `work`, in seconds, by the formula at the top of this module.

    Parameters
    ----------
    work : Work
    limits : mapping
        As `fastbp.bench.machine.measure` returns it.
    threads : int
        Number of threads; it must have been measured.
    dtype : {"float32", "float64"}
        Of the arithmetic.
    """
    machine = limits["threads"][str(threads)]
    return float(max(work.flops / machine[f"{dtype}_flops"], work.nbytes / machine["read_bytes"]))


def training_work(sizes: Sequence[int], batch: int, data_itemsize: int, cache_bytes: int) -> Work:
    """Work of one training step in float32: forward, backward, update.

    With P weights, of which P1 in layer 1, a batch of B rows takes 2 B P operations forward,
    2 B P for the gradients, and 2 B (P - P1) for the deltas of the hidden layers.

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
    """
    weights = _weights(sizes)
    first = sizes[0] * sizes[1]
    flops = 2 * batch * (3 * weights - first)
    crossing = 0 if 4 * weights <= cache_bytes else 8 * weights
    return Work(flops, batch * sizes[0] * data_itemsize + crossing)


def inference_work(sizes: Sequence[int], batch: int, data_itemsize: int, cache_bytes: int) -> Work:
    """Work of predicting `batch` rows in float32; parameters as for `training_work`."""
    weights = _weights(sizes)
    crossing = 0 if 4 * weights <= cache_bytes else 4 * weights
    return Work(2 * batch * weights, batch * sizes[0] * data_itemsize + crossing)


def product_work(m: int, n: int, k: int, itemsize: int, cache_bytes: int) -> Work:
    """Work of an (m, k) by (k, n) matrix product."""
    nbytes = itemsize * (m * k + k * n + m * n)
    return Work(2 * m * n * k, 0 if nbytes <= cache_bytes else nbytes)


def _weights(sizes: Sequence[int]) -> int:
    return sum(a * b for a, b in pairwise(sizes))
