"""asv: what a process pays before its first step, and what training needs of memory."""

from __future__ import annotations

import resource

import fastbp
from benchmarks.problems import FEATURES, pictures

_SMALL_FIT = """
import numpy as np, fastbp
X, y = np.zeros((64, 12288), np.float32), np.zeros(64, np.float32)
fastbp.Network((12288, 3, 2, 1), seed=0).fit(X, y, epochs=1)
"""


class Start:
    """Whole processes, with kernels in the cache: import, and import with a small fit."""

    def setup_cache(self) -> None:
        fastbp.warmup()

    def timeraw_import_numba(self) -> str:
        return "import numba"

    def timeraw_import_fastbp(self) -> str:
        return "import fastbp"

    def timeraw_import_and_small_fit(self) -> str:
        return _SMALL_FIT


class Memory:
    """Peak of training from bytes: data, parameters, and little else."""

    def peakmem_fit_uint8(self) -> None:
        X, y = pictures(16384, "uint8")
        network = fastbp.Network((FEATURES, 64, 1), seed=0, input_mean=127.5, input_scale=1 / 255)
        network.fit(X, y, epochs=1, batch_size=256)

    def track_growth_while_fitting(self) -> float:
        """Megabytes beyond data, parameters and what loading the kernels took."""
        fastbp.warmup("float32", "uint8")
        X, y = pictures(16384, "uint8")
        network = fastbp.Network((FEATURES, 64, 1), seed=0, input_mean=127.5, input_scale=1 / 255)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        network.fit(X, y, epochs=1, batch_size=256)
        return (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024

    track_growth_while_fitting.unit = "MB"  # type: ignore[attr-defined]
