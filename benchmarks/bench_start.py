"""asv: what a process pays before its first step, and what training needs of memory."""

from __future__ import annotations

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
    """Peaks of whole processes: what a fit from bytes adds to the data is little."""

    def peakmem_data_alone(self) -> None:
        pictures(16384, "uint8")

    def peakmem_data_and_fit(self) -> None:
        X, y = pictures(16384, "uint8")
        network = fastbp.Network((FEATURES, 64, 1), seed=0, input_mean=127.5, input_scale=1 / 255)
        network.fit(X, y, epochs=1, batch_size=256)
