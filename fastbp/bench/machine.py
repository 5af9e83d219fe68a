"""What this machine can do at best, measured, and what it is.

Runs in a process of its own (``python -m fastbp.bench.machine THREADS SECONDS MEGABYTES``), so
that nothing else has threads, and prints JSON.
"""

from __future__ import annotations

import json
import os
import platform
import sys
from pathlib import Path
from typing import Any

import numpy as np

__all__ = ["available_cores", "describe", "measure"]


def available_cores() -> int:
    """Number of cores that this process may run on."""
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1


def describe() -> dict[str, Any]:
    """What the machine is: CPU, cores, memory in bytes, operating system, Python."""
    return {
        "cpu": _cpu_name(),
        "cores": available_cores(),
        "memory_bytes": _memory_bytes(),
        "system": platform.platform(),
        "python": platform.python_version(),
        "numpy": np.__version__,
    }


def _cpu_name() -> str:
    information = Path("/proc/cpuinfo")
    if information.exists():
        for line in information.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _memory_bytes() -> int | None:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return None  # this system does not tell


def measure(threads: int, seconds: float, megabytes: int) -> dict[str, Any]:
    """Measure the limits with 1 to `threads` threads.

    Parameters
    ----------
    threads : int
        At most `fastbp.get_num_threads`.
    seconds : float
        How long to repeat each measurement; the best repetition counts.
    megabytes : int
        Size of the array that is read. Larger than the caches, unless those are as large as the
        data that the workloads read.

    Returns
    -------
    dict
        ``cache_bytes``, the size of a core's level-2 cache, and ``threads``: for each number of
        threads, as a string, ``float32_flops`` and ``float64_flops`` (operations a second, a
        multiply-add being two), ``read_bytes`` (bytes a second) and ``cpu_share``, the part of the
        threads' time that they got to run while multiplying: less than 1 if others took the cores.
    """
    from fastbp.engine import peaks  # here: who asks what the machine is loads no Numba
    from fastbp.kernels.compile import machine

    array = peaks.aligned((megabytes << 20) // 4, "float32")
    found = {}
    for count in range(1, threads + 1):
        single, share = peaks.peak_flops("float32", count, seconds)
        double, other_share = peaks.peak_flops("float64", count, seconds)
        found[str(count)] = {
            "float32_flops": single,
            "float64_flops": double,
            "read_bytes": peaks.bandwidth(array, count, seconds),
            "cpu_share": min(share, other_share),
        }
    return {"cache_bytes": machine.CACHES.l2, "threads": found}


if __name__ == "__main__":
    json.dump(measure(int(sys.argv[1]), float(sys.argv[2]), int(sys.argv[3])), sys.stdout)
