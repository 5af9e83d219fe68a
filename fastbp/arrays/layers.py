"""A dense layer and its step of gradient descent, on arrays."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from fastbp.arrays.common import as_computed, check_out, numeric, put
from fastbp.engine import memory
from fastbp.engine.products import COMPUTED, product, writable_rows
from fastbp.kernels.linalg import epilogue

__all__ = ["linear", "linear_update"]

Array = npt.NDArray[Any]


def _check_activation_name(activation: str | None) -> int:
    if activation is None:
        return epilogue.BIAS
    if activation == "sigmoid":
        return epilogue.BIAS_SIGMOID
    raise ValueError(f"activation must be None or 'sigmoid', got {activation!r}")


def linear(
    x: npt.ArrayLike,
    weight: npt.ArrayLike,
    bias: npt.ArrayLike | None = None,
    *,
    activation: str | None = None,
    out: Array | None = None,
) -> Array:
    """A dense layer, g(x W^T + b), in one pass.

    Parameters
    ----------
    x : array_like of shape (..., inputs)
        Rows of input; uint8 is widened in registers.
    weight : array_like of shape (outputs, inputs)
    bias : array_like of shape (outputs,), optional
    activation : {None, "sigmoid"}, optional
        g; None is the identity.
    out : ndarray of shape (..., outputs), optional
        Where to put the result; it may overlap the inputs.

    Returns
    -------
    ndarray of shape (..., outputs)
        float32 or float64 (float16 if all inputs are), by NumPy's promotion of x and W.

    Raises
    ------
    TypeError
        For complex, object or longer-than-64-bit dtypes, integer x and W, or an `out` that cannot
        hold the result.
    ValueError
        For shapes that do not fit, an unknown activation, or a read-only `out`.
    """
    kind = _check_activation_name(activation)
    rows, w = numeric(x, "x"), numeric(weight, "weight")
    if rows.ndim == 0 or w.ndim != 2:
        raise ValueError(
            "linear: x must have at least one dimension and weight two,"
            f" got shapes {rows.shape} and {w.shape}"
        )
    if rows.shape[-1] != w.shape[1]:
        raise ValueError(f"x has {rows.shape[-1]} features, but weight expects {w.shape[1]}")
    operands = [rows.dtype, w.dtype]
    b = None if bias is None else numeric(bias, "bias")
    if b is not None:
        operands.append(b.dtype)
        if b.shape != (w.shape[0],):
            raise ValueError(f"bias must have shape {(w.shape[0],)}, got {b.shape}")
    result_dtype = np.result_type(*operands)
    if result_dtype.kind != "f":
        raise TypeError(f"linear: x or weight must be floating, got {rows.dtype} and {w.dtype}")
    computed = np.dtype(np.float32) if result_dtype == np.float16 else result_dtype
    shape = (*rows.shape[:-1], w.shape[0])
    if out is not None:
        check_out(out, shape, result_dtype, "linear")
    flat = rows.reshape(math.prod(rows.shape[:-1]), rows.shape[-1])
    a, c = as_computed(flat, computed), as_computed(w, computed).T
    added = np.zeros(w.shape[0], computed) if b is None else np.require(b, computed, ["C", "A"])
    target = None
    if out is not None and out.flags.c_contiguous and out.dtype == computed:
        target = out.reshape(len(flat), w.shape[0])
        if not writable_rows(target, (a, c, added)):
            target = None
    if target is None:
        target = memory.empty_result((len(flat), w.shape[0]), computed)
    product(a, c, target, kind=kind, bias=added)
    result = target.reshape(shape)
    if out is None:
        with np.errstate(under="ignore"):
            return result.astype(result_dtype, copy=False)
    if not np.shares_memory(result, out):
        put(out, result)
    return out


def linear_update(
    weight: Array,
    bias: Array | None,
    x: npt.ArrayLike,
    delta: npt.ArrayLike,
    *,
    learning_rate: float,
    weight_decay: float = 0.0,
) -> None:
    """One step of gradient descent for a dense layer, in place.

    W <- (1 - alpha lambda) W - alpha delta^T x  and  b <- b - alpha sum(delta), with alpha the
    learning rate and lambda the weight decay. delta^T x never exists in memory.

    Parameters
    ----------
    weight : ndarray of shape (outputs, inputs)
        float32 or float64; changed in place.
    bias : ndarray of shape (outputs,) or None
        Of weight's dtype; changed in place. Not decayed.
    x : array_like of shape (rows, inputs)
        The layer's input; uint8 is widened in registers.
    delta : array_like of shape (rows, outputs)
        The loss's derivative by the layer's pre-activation, divided by the number of rows if the
        loss is a mean.
    learning_rate, weight_decay : float
        Finite.

    Raises
    ------
    TypeError
        If weight or bias is not a float32 or float64 ndarray, or the dtypes do not fit.
    ValueError
        For shapes that do not fit, read-only parameters, or a rate that is not finite. Nothing
        is changed then.
    """
    rate, decay = float(learning_rate), float(weight_decay)
    if not (math.isfinite(rate) and math.isfinite(decay)):
        raise ValueError(
            "learning_rate and weight_decay must be finite,"
            f" got {learning_rate!r} and {weight_decay!r}"
        )
    _check_parameter(weight, "weight", 2)
    rows, d = numeric(x, "x"), numeric(delta, "delta")
    if rows.ndim != 2 or d.ndim != 2 or len(rows) != len(d):
        raise ValueError(
            f"x and delta must be matrices with as many rows, got shapes {rows.shape}, {d.shape}"
        )
    if weight.shape != (d.shape[1], rows.shape[1]):
        raise ValueError(
            f"weight must have shape {(d.shape[1], rows.shape[1])} for delta {d.shape} and"
            f" x {rows.shape}, got {weight.shape}"
        )
    if bias is not None:
        _check_parameter(bias, "bias", 1)
        if bias.shape != (d.shape[1],):
            raise ValueError(f"bias must have shape {(d.shape[1],)}, got {bias.shape}")
        if bias.dtype != weight.dtype:
            raise TypeError(f"bias must have weight's dtype {weight.dtype}, got {bias.dtype}")
    a, b = as_computed(d, weight.dtype).T, as_computed(rows, weight.dtype)
    sums = None if bias is None else a.sum(axis=1, dtype=weight.dtype)
    keep = 1.0 - rate * decay
    if writable_rows(weight, (a, b)):
        product(a, b, weight, alpha=-rate, beta=keep)
    else:
        updated = weight.copy(order="C")
        product(a, b, updated, alpha=-rate, beta=keep)
        weight[...] = updated
    if bias is not None:
        bias -= weight.dtype.type(rate) * sums


def _check_parameter(array: Any, name: str, ndim: int) -> None:
    if not isinstance(array, np.ndarray) or array.dtype not in COMPUTED:
        got = array.dtype if isinstance(array, np.ndarray) else type(array).__name__
        raise TypeError(f"{name} must be an ndarray of float32 or float64, got {got}")
    if array.ndim != ndim:
        raise ValueError(f"{name} must have {ndim} dimensions, got shape {array.shape}")
    if not array.flags.writeable:
        raise ValueError(f"{name} is read-only")
