"""Getting the kernels ready before they are needed."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from fastbp.engine import threads
from fastbp.network import Network

__all__ = ["warmup"]


def warmup(dtype: npt.DTypeLike = "float32", data_dtype: npt.DTypeLike | None = None) -> None:
    """Compile, or load from the disk cache, what `fit` and `predict` need.

    Some seconds on the first call ever on a machine, a fraction of a second later.

    Parameters
    ----------
    dtype : {"float32", "float64"}, default "float32"
        Of the network.
    data_dtype : dtype, optional
        Of X: uint8, float32 or float64. By default `dtype`.
    """
    data = np.dtype(dtype if data_dtype is None else data_dtype)
    rows = threads.get_num_threads() * 64
    X = np.zeros((rows, 1024), data)
    y = np.zeros(rows)
    for hidden, scale in (((3, 2), 0.5), ((3, 2), 1.0), ((32,), 0.5)):  # folded in, and not
        network = Network((1024, *hidden, 1), init="zeros", dtype=dtype, input_scale=scale)
        network.fit(X, y, epochs=1, batch_size=rows)
        network.predict_proba(X)
