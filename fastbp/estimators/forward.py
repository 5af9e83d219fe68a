"""What a network puts out for rows, dense or sparse."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from fastbp.engine.inputs import CODES, as_input, quietly
from fastbp.engine.plan import evaluate
from fastbp.estimators.rows import is_sparse
from fastbp.evaluation import output_of
from fastbp.parameters import Parameters

__all__ = ["chunks", "is_finite", "outputs"]

Array = npt.NDArray[Any]

_CHUNK_BYTES = 8 << 20  # of outputs, or of sparse rows that are dense, that exist at a time
_LEAST_ROWS = 1024  # of a chunk


def chunks(X: Any, row_bytes: int) -> Iterator[tuple[slice, Any]]:
    """Some rows at a time, so that about 8 MiB of what each row needs exist at a time."""
    n = X.shape[0]
    size = max(_LEAST_ROWS, _CHUNK_BYTES // max(1, row_bytes))
    if n <= size:
        yield slice(0, n), X
        return
    for start in range(0, n, size):
        part = slice(start, min(start + size, n))
        yield part, X[part]


@quietly
def is_finite(X: Array) -> bool:
    """Whether all values are finite; False too where only their sum is not."""
    return X.dtype.kind == "u" or bool(np.isfinite(X.sum()))


def outputs(network: Parameters, X: Any) -> Array:
    """The activation of the output layer, (n, n_L) in the network's dtype."""
    if not is_sparse(X):
        return _outputs(network, X)
    rows = X.tocsr()
    made = np.empty((rows.shape[0], network.layer_sizes[-1]), network.dtype)
    for part, some in chunks(rows, rows.shape[1] * rows.dtype.itemsize):
        made[part] = _outputs(network, some.toarray())
    return made


def _outputs(network: Parameters, X: Array) -> Array:
    # Most rows that were validated are ready, and asking `as_input` takes longer than this.
    is_ready = type(X) is np.ndarray and X.dtype in CODES and X.flags.carray
    rows = X if is_ready else as_input(X, network.layer_sizes[0], network.dtype)
    loss = network.loss_function
    if loss == "log_loss":
        return evaluate(network, rows, sigmoid_out=True)
    values = evaluate(network, rows, sigmoid_out=False)
    return values if loss == "squared_error" else output_of(values, loss)
