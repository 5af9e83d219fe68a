"""The least time that a workload can take on a machine, see `fastbp.roofline`.

Data count in the type that the workload hands over: float32 in "step" and "networks", bytes in
"epoch" and "inference". What an optimizer keeps counts as the weights do. Activations stay in a
cache in all workloads here. A system that makes several steps in one pass over its weights (as
fastbp does for small batches, see `fastbp.kernels.wide.delayed`) can come out above 100 %.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fastbp.roofline import Work, inference_work, least_seconds, product_work, training_work

__all__ = ["Work", "inference_work", "limit_seconds", "product_work", "training_work"]


def limit_seconds(work: Work, limits: Mapping[str, Any], threads: int, dtype: str) -> float:
    """Least time for `work`, in seconds, on a machine that was measured.

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
    return float(least_seconds(work, machine[f"{dtype}_flops"], machine["read_bytes"]))
