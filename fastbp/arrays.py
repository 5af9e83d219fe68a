"""NumPy-compatible functions on compiled kernels: validation, broadcasting, ``out=``, dtypes.

Dtypes: float32 and float64 are computed as they are. Everything else becomes what NumPy would
make of it: ``matmul`` follows ``numpy.matmul`` (float16 is computed in float32 and rounded at the
end; integers with integers are left to NumPy, exactly), the element-wise functions follow
``numpy.exp`` (int8 -> float16, int16 -> float32, int32 and int64 -> float64). uint8 operands of a
float product are widened in registers, without a copy. Complex and object arrays are refused.
"""

from __future__ import annotations

import math
from typing import Any, TypeGuard

import numpy as np
import numpy.typing as npt

from fastbp.engine import memory, scratch, threads
from fastbp.engine.inputs import as_array
from fastbp.engine.products import COMPUTED, DIRECT, plain_product, product, readable, writable_rows
from fastbp.kernels.functions import elementwise
from fastbp.kernels.linalg import epilogue

__all__ = ["linear", "linear_update", "matmul", "sigmoid", "sigmoid_derivative"]

Array = npt.NDArray[Any]

_PLAIN = frozenset(COMPUTED)  # finds a dtype several times faster than the tuple
# Elements up to which one thread works alone: about 35 us of work, an estimate, not yet swept.
_SERIAL_ELEMENTS = 1 << 16
_LONG_ELEMENTS = 1 << 27  # from which on a call looks out for signals: some 0.1 s


def _numeric(x: npt.ArrayLike, name: str) -> Array:
    """``x`` as an array of real numbers."""
    array = as_array(x, name)
    if array.dtype.kind not in "biuf" or array.dtype.itemsize > 8:
        raise TypeError(f"{name} must hold real numbers up to 64 bits, got dtype {array.dtype}")
    return array


def _check_out(out: Any, shape: tuple[int, ...], dtype: np.dtype[Any], function: str) -> None:
    if not isinstance(out, np.ndarray):
        raise TypeError(f"out must be an ndarray, got {type(out).__name__}")
    if out.shape != shape:
        raise ValueError(f"out of {function} must have shape {shape}, got {out.shape}")
    if not np.can_cast(dtype, out.dtype, "same_kind"):
        raise TypeError(f"{function} gives {dtype}, which cannot be cast to out's {out.dtype}")
    if not out.flags.writeable:
        raise ValueError(f"out of {function} is read-only")


def _put(target: Array, values: Array) -> None:
    """Round values into ``target``, where many may become 0."""
    with np.errstate(under="ignore"):
        np.copyto(target, values, casting="same_kind")


def _multiply(a: Array, b: Array, c: Array, dtype: np.dtype[Any]) -> None:
    """c[...] = a @ b for matrices of any layout, computed in ``dtype``."""
    if c.dtype == dtype and writable_rows(c, (a, b)):
        product(a, b, c)
    elif c.dtype == dtype and writable_rows(c.T, (a, b)):
        product(b.T, a.T, c.T)
    else:
        computed = np.empty(c.shape, dtype)
        product(a, b, computed)
        _put(c, computed)


def _is_plain(x: npt.ArrayLike) -> TypeGuard[Array]:
    """Whether ``x`` is a matrix that needs none of the rules for anything else."""
    return (
        type(x) is np.ndarray
        and x.ndim == 2
        and x.dtype in _PLAIN
        and x.flags.forc
        and x.flags.aligned
    )


def _is_plain_target(out: Any, x1: Array, x2: Array) -> bool:
    """Whether ``out`` is the result's own kind of matrix, for two plain operands."""
    return (
        type(out) is np.ndarray
        and out.dtype == x1.dtype
        and out.shape == (x1.shape[0], x2.shape[1])
        and out.flags.carray
    )


def matmul(x1: npt.ArrayLike, x2: npt.ArrayLike, /, out: Array | None = None) -> Any:
    """Matrix product of two arrays, as `numpy.matmul`.

    Parameters
    ----------
    x1, x2 : array_like
        Shapes (..., m, k) and (..., k, n); the leading dimensions broadcast. A 1-D `x1` counts as
        a row and a 1-D `x2` as a column, and that dimension is dropped from the result. Any
        strides. Scalars are refused.
    out : ndarray, optional
        Where to put the result: its shape, and a dtype that the result's can be cast to
        ("same_kind"). It may overlap the inputs.

    Returns
    -------
    ndarray or scalar
        A scalar if both inputs are 1-D. Its dtype is that of ``numpy.matmul``.

    Raises
    ------
    TypeError
        For complex, object or longer-than-64-bit dtypes, or an `out` that cannot hold the result.
    ValueError
        For shapes that do not fit, or a read-only `out`.

    Notes
    -----
    Every element is a sum over k in order, or the sum of some such sums where k is long and the
    result small or of few rows or columns; each step is one fused multiply-add where the CPU has
    it. The error is at most k eps / (1 - k eps) times (abs(x1) @ abs(x2)). The bits do not depend
    on the number of threads, though they may on which dimension of an operand is contiguous. The
    product of two integer arrays is left to NumPy.
    """
    if (
        _is_plain(x1)
        and _is_plain(x2)
        and x1.dtype == x2.dtype
        and x1.shape[1] == x2.shape[0]
        and (out is None or _is_plain_target(out, x1, x2))
    ):
        result = memory.empty_result((x1.shape[0], x2.shape[1]), x1.dtype) if out is None else out
        if plain_product(x1, x2, result):
            return result
    a, b = _numeric(x1, "x1"), _numeric(x2, "x2")
    if a.ndim == 0 or b.ndim == 0:
        raise ValueError("matmul: inputs must have at least one dimension, got a scalar")
    if a.dtype.kind != "f" and b.dtype.kind != "f":
        return np.matmul(a, b) if out is None else np.matmul(a, b, out=out)
    result_dtype = np.result_type(a.dtype, b.dtype)
    computed = np.dtype(np.float32) if result_dtype == np.float16 else result_dtype
    left = a[np.newaxis, :] if a.ndim == 1 else a
    right = b[:, np.newaxis] if b.ndim == 1 else b
    if left.shape[-1] != right.shape[-2]:
        raise ValueError(
            f"matmul: x1 has {left.shape[-1]} columns, but x2 has {right.shape[-2]} rows"
            f" (shapes {a.shape} and {b.shape})"
        )
    stack = np.broadcast_shapes(left.shape[:-2], right.shape[:-2])
    whole = (*stack, left.shape[-2], right.shape[-1])
    shape = stack + whole[len(stack) : len(whole) - (b.ndim == 1)][a.ndim == 1 :]
    if out is None:
        result = memory.empty_result(shape, result_dtype)
    else:
        _check_out(out, shape, result_dtype, "matmul")
        result = out
    left, right = (_as_computed(x, computed) for x in (left, right))
    target = _as_matrices(result, whole, a.ndim == 1, b.ndim == 1)
    if not stack:
        _multiply(left, right, target, computed)
    else:
        _multiply_stacks(left, right, target, stack, computed)
    return result[()] if out is None and result.ndim == 0 else result


def _as_computed(x: Array, dtype: np.dtype[Any]) -> Array:
    """An operand that compiled code reads for a product in ``dtype``."""
    if x.dtype not in DIRECT or (x.dtype != dtype and x.dtype != np.uint8):
        x = x.astype(dtype)
    return readable(x)


def _as_matrices(result: Array, whole: tuple[int, ...], row: bool, column: bool) -> Array:
    """A view of the result with the dimensions that 1-D operands dropped."""
    if column:
        result = result[..., np.newaxis]
    if row:
        result = result[..., np.newaxis, :]
    assert result.shape == whole
    return result


def _multiply_stacks(
    left: Array, right: Array, target: Array, stack: tuple[int, ...], dtype: np.dtype[Any]
) -> None:
    if np.may_share_memory(target, left) or np.may_share_memory(target, right):
        # One product may overwrite what the next one reads.
        whole = np.empty(target.shape, dtype)
        _multiply_stacks(left, right, whole, stack, dtype)
        _put(target, whole)
        return
    left = np.broadcast_to(left, stack + left.shape[-2:])
    right = np.broadcast_to(right, stack + right.shape[-2:])
    for index in np.ndindex(stack):
        _multiply(left[index], right[index], target[index], dtype)


def _elementwise(x: npt.ArrayLike, out: Array | None, code: int, function: str) -> Any:
    source = _numeric(x, "x")
    _, result_dtype = np.exp.resolve_dtypes((source.dtype, None))
    computed = np.dtype(np.float32) if result_dtype == np.float16 else result_dtype
    if out is not None:
        _check_out(out, source.shape, result_dtype, function)
    contiguous = np.ascontiguousarray(source, dtype=computed).reshape(source.shape)
    if not contiguous.flags.aligned:
        contiguous = contiguous.copy()
    direct = (
        out is not None
        and out.dtype == computed
        and out.flags.c_contiguous
        and out.flags.aligned
        and (out is x or not np.may_share_memory(out, contiguous))
    )
    if direct:
        assert out is not None
        target = out
    else:
        target = np.empty(source.shape, computed)
    n = target.size
    if n:
        region = elementwise.regions[computed.name]
        workers = 1 if n <= _SERIAL_ELEMENTS else threads.get_num_threads()
        space = scratch.borrow()
        try:
            words = np.array(
                [space.new_team(), code, contiguous.ctypes.data, target.ctypes.data, n], np.int64
            )
            long = space if n > _LONG_ELEMENTS else None
            threads.run(region, words.ctypes.data, workers, long=long)
        finally:
            space.give_back()
    if out is None:
        result = target
        if computed != result_dtype:
            result = np.empty(source.shape, result_dtype)
            _put(result, target)
        return result[()] if result.ndim == 0 else result
    if target is not out:
        _put(out, target)
    return out


def sigmoid(x: npt.ArrayLike, /, out: Array | None = None) -> Any:
    """The logistic function 1 / (1 + exp(-x)), element by element.

    Parameters
    ----------
    x : array_like
        Real numbers, any shape and strides.
    out : ndarray of x's shape, optional
        Where to put the result; it may be `x` itself.

    Returns
    -------
    ndarray or scalar
        float32 and float64 stay what they are; other dtypes become what ``numpy.exp`` makes of
        them.

    Raises
    ------
    TypeError
        For complex, object or longer-than-64-bit dtypes, or an `out` that cannot hold the result.
    ValueError
        For an `out` of another shape, or read-only.

    Notes
    -----
    Exactly 0.5 at 0, 0 and 1 far out, no overflow on the way, NaN stays NaN. Computed from
    exp(-abs(x)) on either side of 0. In float32 the error is at most 1.56 ULP and a larger x
    never gives a smaller result, over all 2^32 inputs (``benchmarks/sigmoid_ulp.py``); in float64
    it is below 2 ULP in samples.
    """
    return _elementwise(x, out, elementwise.SIGMOID, "sigmoid")


def sigmoid_derivative(x: npt.ArrayLike, /, out: Array | None = None) -> Any:
    """Derivative of the logistic function, sigmoid(x) (1 - sigmoid(x)), element by element.

    Parameters, result and errors are those of `sigmoid`. It is computed as e / (1 + e)^2 with
    e = exp(-abs(x)), which keeps its relative accuracy where 1 - sigmoid(x) would lose it: the
    error is below 5 ULP in samples.
    """
    return _elementwise(x, out, elementwise.SIGMOID_DERIVATIVE, "sigmoid_derivative")


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
    rows, w = _numeric(x, "x"), _numeric(weight, "weight")
    if rows.ndim == 0 or w.ndim != 2:
        raise ValueError(
            "linear: x must have at least one dimension and weight two,"
            f" got shapes {rows.shape} and {w.shape}"
        )
    if rows.shape[-1] != w.shape[1]:
        raise ValueError(f"x has {rows.shape[-1]} features, but weight expects {w.shape[1]}")
    operands = [rows.dtype, w.dtype]
    b = None if bias is None else _numeric(bias, "bias")
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
        _check_out(out, shape, result_dtype, "linear")
    flat = rows.reshape(math.prod(rows.shape[:-1]), rows.shape[-1])
    a, c = _as_computed(flat, computed), _as_computed(w, computed).T
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
        _put(out, result)
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
    rows, d = _numeric(x, "x"), _numeric(delta, "delta")
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
    a, b = _as_computed(d, weight.dtype).T, _as_computed(rows, weight.dtype)
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
