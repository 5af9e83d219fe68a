"""The matrix product, as `numpy.matmul`."""

from __future__ import annotations

from typing import Any, TypeGuard

import numpy as np
import numpy.typing as npt

from fastbp.arrays.common import as_computed, check_out, numeric, put
from fastbp.engine import memory
from fastbp.engine.products import COMPUTED, plain_product, product, writable_rows

__all__ = ["matmul"]

Array = npt.NDArray[Any]

_PLAIN = frozenset(COMPUTED)  # finds a dtype several times faster than the tuple


def _multiply(a: Array, b: Array, c: Array, dtype: np.dtype[Any]) -> None:
    """c[...] = a @ b for matrices of any layout, computed in ``dtype``."""
    if c.dtype == dtype and writable_rows(c, (a, b)):
        product(a, b, c)
    elif c.dtype == dtype and writable_rows(c.T, (a, b)):
        product(b.T, a.T, c.T)
    else:
        computed = np.empty(c.shape, dtype)
        product(a, b, computed)
        put(c, computed)


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
    a, b = numeric(x1, "x1"), numeric(x2, "x2")
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
        check_out(out, shape, result_dtype, "matmul")
        result = out
    left, right = (as_computed(x, computed) for x in (left, right))
    target = _as_matrices(result, whole, a.ndim == 1, b.ndim == 1)
    if not stack:
        _multiply(left, right, target, computed)
    else:
        _multiply_stacks(left, right, target, stack, computed)
    return result[()] if out is None and result.ndim == 0 else result


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
        put(target, whole)
        return
    left = np.broadcast_to(left, stack + left.shape[-2:])
    right = np.broadcast_to(right, stack + right.shape[-2:])
    for index in np.ndindex(stack):
        _multiply(left[index], right[index], target[index], dtype)
