"""A dense layer and its step of gradient descent, on arrays."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from fastbp.activations import check_activation
from fastbp.arrays.common import Out, as_computed, check_out, numeric, put, single_out
from fastbp.engine import memory
from fastbp.engine.memory import address_of
from fastbp.engine.products import COMPUTED, product, writable_rows
from fastbp.kernels.functions import layers as function_layers
from fastbp.kernels.functions.activations import ACTIVATION_CODES
from fastbp.kernels.functions.strip import NO_DROPOUT, Strip
from fastbp.kernels.linalg import epilogue

__all__ = ["linear", "linear_update"]

Array = npt.NDArray[Any]


def _checked(activation: str | None) -> str:
    if activation is None:
        return "identity"
    if not isinstance(activation, str):  # nor a sequence of them, which networks take
        raise TypeError(f"activation must be None or a str, got {activation!r}")
    return activation if activation in ACTIVATION_CODES else str(check_activation(activation))


def _flat(words: Iterable[Any]) -> Iterator[int]:
    """The words of a tuple of tuples, one after the other."""
    for word in words:
        if isinstance(word, tuple):
            yield from _flat(word)
        else:
            yield word


def _epilogue(activation: str, bias: Array) -> tuple[int, Array]:
    """Kind of the epilogue that gives a layer's activation, and what it reads."""
    if activation == "identity":
        return epilogue.BIAS, bias
    if activation == "sigmoid":
        return epilogue.BIAS_SIGMOID, bias
    # All that the region is told of the strip, beside where it lies, are code and bias.
    strip = Strip(
        code=ACTIVATION_CODES[activation], c=0, ldc=0, rows=0, columns=0, bias=address_of(bias),
        other=0, second=0, third=0, ld=0, dropout=NO_DROPOUT, numbers=0,
    )  # fmt: skip
    region = function_layers.regions[bias.dtype.name]
    call = epilogue.Call(region.address, function_layers.FORWARD, strip)
    return epilogue.CALL, np.array(list(_flat(call)), np.int64)


def linear(
    x: npt.ArrayLike,
    weight: npt.ArrayLike,
    bias: npt.ArrayLike | None = None,
    *,
    activation: str | None = None,
    out: Out = None,
) -> Array:
    """A dense layer, g(x W^T + b), in one pass.

    Parameters
    ----------
    x : array_like of shape (..., inputs)
        Rows of input; uint8 is widened in registers.
    weight : array_like of shape (outputs, inputs)
    bias : array_like of shape (outputs,), optional
    activation : str, optional
        g: a name that ``Network(activation=...)`` takes; None is the identity.
    out : ndarray of shape (..., outputs), or tuple of one, optional
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
    name = _checked(activation)
    out = None if out is None else single_out(out)
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
    kind, read = _epilogue(name, added)
    product(a, c, target, kind=kind, bias=read)
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
