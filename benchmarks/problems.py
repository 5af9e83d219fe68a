"""What the benchmarks run on: networks, pictures, and the grid of sizes.

Random numbers do for data: nothing timed here depends on what the pixels show.
"""

from __future__ import annotations

import numpy as np

FEATURES = 64 * 64 * 3
BATCH_SIZES = (1, 16, 64, 256, 1024, 4096)
HIDDEN = {"3-2": (3, 2), "128-64": (128, 64)}
LEARNING_RATE = 0.1
WEIGHT_DECAY = 0.001


def pictures(rows: int, dtype: str = "float32") -> tuple[np.ndarray, np.ndarray]:
    """Rows of pixels, bytes or preprocessed floats, and labels of 0 or 1."""
    random = np.random.default_rng(rows)
    X = random.integers(0, 256, (rows, FEATURES), dtype=np.uint8)
    y = random.integers(0, 2, rows).astype(np.float32)
    if dtype == "uint8":
        return X, y
    return (X.astype(dtype) - np.float32(127.5)) / np.float32(255), y


def rows_for(batch_size: int) -> int:
    """How many rows to train on: about 100 MB of float32, and whole batches.

    So much does not stay in any cache from one epoch to the next, as no real data set does.
    """
    return max(2048 // batch_size, 1) * batch_size


def folding(data_dtype: str) -> dict[str, float]:
    """The network's arguments that centre and scale what is not preprocessed."""
    if data_dtype == "uint8":
        return {"input_mean": 127.5, "input_scale": 1 / 255}
    return {}
