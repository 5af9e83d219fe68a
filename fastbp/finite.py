"""NaN and infinity: whether an array holds any, and who is to blame for them.

No pass is made over data that are fine: what is wrong with them is looked for once a result has
shown that something is.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt

from fastbp.engine.inputs import quietly
from fastbp.parameters import Parameters

__all__ = ["all_finite", "bad_entry", "check_parameters_finite", "holds_nan", "nan_error"]

Array = npt.NDArray[Any]

_FEW = 1000  # beyond some thousands BLAS starts threads, which stay awake for a while
_ROWS_AT_A_TIME = 64


def holds_nan(out: Array) -> bool:
    """Whether any value is NaN."""
    if out.size > _FEW:
        return bool(np.isnan(out).any())
    # Squares cannot cancel; of few values 0.1 or 0.5 us are a good part of what they took.
    sample = out.item() if out.size == 1 else np.vdot(out, out)
    return bool(sample != sample)


def all_finite(arrays: Iterable[Array]) -> bool:
    """Whether no value of C-contiguous arrays is NaN or infinite, in one pass over most of them."""
    for array in arrays:
        # `vdot` says nothing of an overflow, unlike `dot`.
        total = np.vdot(array, array) if array.size <= _FEW else _sum(array)
        # Sums of finite values may overflow: then they tell nothing.
        if not math.isfinite(total) and not np.isfinite(array).all():
            return False
    return True


@quietly
def _sum(array: Array) -> float:
    return float(array.sum())


@quietly
def bad_entry(parameters: Parameters, X: Array, rows: Array, name: str) -> str | None:
    """The first entry of some rows of X that the network sees as NaN or infinity, or None.

    Parameters
    ----------
    parameters : Parameters
    X : ndarray of shape (n, n_0)
    rows : ndarray of int
        Numbers of the rows to look at.
    name : str
        Of X, for what is told.
    """
    mean, scale = parameters.input_mean, parameters.input_scale
    for start in range(0, len(rows), _ROWS_AT_A_TIME):
        some = rows[start : start + _ROWS_AT_A_TIME]
        seen = ((X[some].astype(np.float64) - mean) * scale).astype(parameters.dtype)
        bad = np.argwhere(~np.isfinite(seen))
        if len(bad):
            row, column = int(some[bad[0][0]]), int(bad[0][1])
            value = X[row, column]
            told = f"{name} holds {value} in row {row}, column {column}"
            return told if not np.isfinite(value) else f"{told}, which overflows {parameters.dtype}"
    return None


def check_parameters_finite(parameters: Parameters) -> None:
    """Raise ValueError if a weight or bias is NaN or infinite."""
    for kind, arrays in (("weights", parameters.weights), ("biases", parameters.biases)):
        for layer, array in enumerate(arrays):
            bad = np.argwhere(~np.isfinite(array))
            if len(bad):
                at = ", ".join(str(int(i)) for i in bad[0])
                raise ValueError(
                    f"{kind}[{layer}] of the network holds {array[tuple(bad[0])]} at [{at}]: it"
                    " has to be initialised and trained anew, or loaded from a file"
                )


def nan_error(parameters: Parameters, X: Array, out: Array, name: str) -> ValueError:
    """What to raise where the output ``out`` for X holds NaN."""
    try:
        check_parameters_finite(parameters)
    except ValueError as error:
        return error
    rows = np.flatnonzero(np.isnan(out).any(axis=1))
    told = bad_entry(parameters, X, rows, name)
    if told is None:
        told = f"products of row {rows[0]} of {name} with the weights overflow {parameters.dtype}"
    return ValueError(f"{told}: the output is NaN")
