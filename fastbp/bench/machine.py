"""What this machine can do at best, measured, and what it is.

Runs in a process of its own (``python -m fastbp.bench.machine THREADS SECONDS MEGABYTES``), so
that nothing else has threads, and prints JSON.
"""

from __future__ import annotations

import json
import os
import platform
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["available_cores", "describe", "measure"]

_TURNS = 1 << 16  # of the multiply-add loop: some hundred microseconds, far above a launch
_PAGE = 4096


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
    from fastbp.kernels.compile import machine

    array = _aligned((megabytes << 20) // 4, "float32")
    found = {}
    for count in range(1, threads + 1):
        single, share = _peak("float32", count, seconds)
        double, other_share = _peak("float64", count, seconds)
        found[str(count)] = {
            "float32_flops": single,
            "float64_flops": double,
            "read_bytes": _read(array, count, seconds),
            "cpu_share": min(share, other_share),
        }
    return {"cache_bytes": machine.CACHES.l2, "threads": found}


def _aligned(count: int, dtype: str) -> npt.NDArray[Any]:
    """Ones that start a page: unaligned vectors would cross cache lines."""
    size = np.dtype(dtype).itemsize
    raw = np.empty(count * size + _PAGE, np.uint8)
    start = -raw.ctypes.data % _PAGE
    values = raw[start : start + count * size].view(dtype)
    values[:] = 1
    return values


def _best(run: Callable[[], None], seconds: float) -> tuple[float, float]:
    """Shortest time of `run`, repeated for `seconds`; and CPU time of this process a second."""
    run()
    best, begin, used = float("inf"), time.perf_counter(), time.process_time()
    while time.perf_counter() < begin + seconds:
        start = time.perf_counter()
        run()
        best = min(best, time.perf_counter() - start)
    return best, (time.process_time() - used) / (time.perf_counter() - begin)


def _peak(dtype: str, workers: int, seconds: float) -> tuple[float, float]:
    from fastbp.bench import kernels
    from fastbp.engine import threads
    from fastbp.kernels.compile import machine

    lanes = machine.VECTOR_BITS // 8 // np.dtype(dtype).itemsize
    used = (kernels.ACCUMULATORS + 2) * lanes
    stride = -(-used * np.dtype(dtype).itemsize // _PAGE) * _PAGE // np.dtype(dtype).itemsize
    values = _aligned(stride * workers, dtype)
    # Accumulators that differ, and a * x + y that goes to 2: nothing overflows or gets denormal.
    values.reshape(workers, stride)[:, :used] = np.linspace(1, 3, used)
    values.reshape(workers, stride)[:, used - 2 * lanes : used - lanes] = 0.5
    values.reshape(workers, stride)[:, used - lanes : used] = 1.0
    turns = _TURNS
    words = np.array([values.ctypes.data, stride, turns], np.int64)
    work = 2 * lanes * kernels.ACCUMULATORS * turns * workers
    region = kernels.multiply_add_regions[dtype]
    best, cores = _best(lambda: threads.run(region, words.ctypes.data, workers), seconds)
    return work / best, cores / workers


def _read(array: npt.NDArray[np.float32], workers: int, seconds: float) -> float:
    from fastbp.bench import kernels
    from fastbp.engine import threads

    count = array.size // workers // kernels.READ_STEP * kernels.READ_STEP
    sums = _aligned(workers * kernels.READ_STEP, "float32")
    words = np.array([array.ctypes.data, count, sums.ctypes.data], np.int64)
    region = kernels.read_region
    nbytes = count * workers * array.itemsize
    best, _ = _best(lambda: threads.run(region, words.ctypes.data, workers), seconds)
    return nbytes / best


if __name__ == "__main__":
    json.dump(measure(int(sys.argv[1]), float(sys.argv[2]), int(sys.argv[3])), sys.stdout)
