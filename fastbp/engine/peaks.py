"""What this machine can do at best, measured: multiply-adds, and reading from memory."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from fastbp.engine import threads
from fastbp.kernels import peaks as kernels
from fastbp.kernels.compile import machine

__all__ = ["aligned", "bandwidth", "measured_bandwidth", "measured_flops", "peak_flops"]

_TURNS = 1 << 16  # of the multiply-add loop: some hundred microseconds, far above a launch
_PAGE = 4096
_SECONDS = 0.05  # of each measurement that is made in passing
# Bytes that are read then: more than the caches hold, if these are no larger than others' are. To
# touch them takes longer than to read them: 128 MiB some 0.1 s.
_LEAST_READ, _MOST_READ = 64 << 20, 128 << 20


@functools.cache
def measured_flops(dtype: str, workers: int) -> float:
    """`peak_flops`, measured once in a process, in 0.05 s."""
    return peak_flops(dtype, workers, _SECONDS)[0]


@functools.cache
def measured_bandwidth(workers: int) -> float:
    """`bandwidth`, measured once in a process, in some 0.15 s."""
    nbytes = min(max(_LEAST_READ, 2 * machine.CACHES.l3), _MOST_READ)
    return bandwidth(aligned(nbytes // 4, "float32"), workers, _SECONDS)


def aligned(count: int, dtype: str) -> npt.NDArray[Any]:
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


def peak_flops(dtype: str, workers: int, seconds: float) -> tuple[float, float]:
    """Most operations a second, and the part of the threads' time that they got to run."""
    lanes = machine.VECTOR_BITS // 8 // np.dtype(dtype).itemsize
    used = (kernels.ACCUMULATORS + 2) * lanes
    stride = -(-used * np.dtype(dtype).itemsize // _PAGE) * _PAGE // np.dtype(dtype).itemsize
    values = aligned(stride * workers, dtype)
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


def bandwidth(array: npt.NDArray[np.float32], workers: int, seconds: float) -> float:
    """Most bytes a second that are read of an array that starts a page, as `aligned` makes them."""
    count = array.size // workers // kernels.READ_STEP * kernels.READ_STEP
    sums = aligned(workers * kernels.READ_STEP, "float32")
    words = np.array([array.ctypes.data, count, sums.ctypes.data], np.int64)
    region = kernels.read_region
    nbytes = count * workers * array.itemsize
    best, _ = _best(lambda: threads.run(region, words.ctypes.data, workers), seconds)
    return nbytes / best
