"""Rows and targets that are right at a glance, and need none of scikit-learn's checks."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from fastbp.engine.inputs import quietly

__all__ = ["DTYPES", "KEPT", "are_plain_rows", "are_plain_targets"]

Array = npt.NDArray[Any]

DTYPES = (np.float64, np.float32, np.uint8)
"""Types that X keeps; all others become the first."""

KEPT = frozenset(map(np.dtype, DTYPES))


@quietly
def _is_finite(x: Array) -> bool:
    """Whether all values are finite; False too where only their sum is not."""
    return x.dtype.kind == "u" or bool(np.isfinite(x.sum()))


def are_plain_rows(X: Any, *, finite: bool = False) -> bool:
    """Whether X, maybe known to be ``finite``, is at a glance what `validate_data` would return."""
    is_plain = type(X) is np.ndarray and X.ndim == 2 and X.dtype in KEPT and X.size > 0
    return is_plain and (finite or _is_finite(X))


def are_plain_targets(y: Any, rows: int, *, finite: bool) -> bool:
    """Whether y, maybe known to be ``finite``, is one label or number of each of so many rows."""
    if type(y) is not np.ndarray or y.shape != (rows,):
        return False
    return y.dtype.kind in "biuU" or (y.dtype.kind == "f" and (finite or _is_finite(y)))
