"""What a network puts out for rows, dense or sparse."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from fastbp.engine.evaluation import evaluate
from fastbp.engine.inputs import CODES, as_input
from fastbp.estimators.rows import is_sparse
from fastbp.evaluation import output_of
from fastbp.parameters import Parameters

__all__ = ["chunks", "outputs"]

Array = npt.NDArray[Any]

_CHUNK_BYTES = 8 << 20  # of outputs, or of sparse rows that are dense, that exist at a time
_LEAST_ROWS = 1024  # of a chunk


def chunks(X: Any, row_bytes: int) -> Iterator[tuple[slice, Any]]:
    """Some rows at a time, so that about 8 MiB of what each row needs exist at a time."""
    rows = X.tocsr() if is_sparse(X) else X
    n = rows.shape[0]
    size = max(_LEAST_ROWS, _CHUNK_BYTES // max(1, row_bytes))
    if n <= size:
        yield slice(0, n), rows
        return
    for start in range(0, n, size):
        part = slice(start, min(start + size, n))
        yield part, rows[part]


def outputs(network: Parameters, X: Any) -> Array:
    """The activation of the output layer, (n, n_L) in the network's dtype.

    Parameters
    ----------
    network : Parameters
    X : ndarray or sparse matrix of shape (n, n_0)
        Real numbers, validated.
    """
    row_bytes = _copied_bytes(network, X)
    if row_bytes == 0:
        return _outputs(network, X)
    made: Array | None = None
    for part, some in chunks(X, row_bytes):
        values = _outputs(network, some.toarray() if is_sparse(some) else some)
        if len(values) == X.shape[0]:
            return values
        if made is None:
            made = np.empty((X.shape[0], values.shape[1]), values.dtype)
        made[part] = values
    assert made is not None
    return made


def _copied_bytes(network: Parameters, X: Any) -> int:
    """Bytes that are needed for each row besides X and the result."""
    if is_sparse(X):
        return int(X.shape[1] * X.dtype.itemsize)
    widened = 0 if X.dtype in CODES else 8 * X.shape[1]
    is_copied = network.loss_function in ("cross_entropy", "poisson")
    return int(widened + is_copied * network.layer_sizes[-1] * network.dtype.itemsize)


def _outputs(network: Parameters, X: Array) -> Array:
    if X.dtype not in CODES:
        X = X.astype(np.float64)
    # Most rows that were validated are ready, and asking `as_input` takes longer than this.
    is_ready = type(X) is np.ndarray and X.flags.carray
    rows = X if is_ready else as_input(X, network.layer_sizes[0], network.dtype)
    loss = network.loss_function
    if loss == "log_loss":
        return evaluate(network, rows, sigmoid_out=True)
    values = evaluate(network, rows, sigmoid_out=False)
    return values if loss == "squared_error" else output_of(values, loss)
