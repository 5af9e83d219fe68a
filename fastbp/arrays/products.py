"""The matrix product, as `numpy.matmul`."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any, TypeGuard

import numpy as np
import numpy.typing as npt

from fastbp.arrays.common import (
    Casting,
    Order,
    Out,
    as_computed,
    broadcasts,
    has_override,
    put,
    single_out,
    wrapper,
)
from fastbp.engine import memory
from fastbp.engine.inputs import as_array
from fastbp.engine.products import COMPUTED, plain_product, product, writable_rows

__all__ = ["matmul"]

Array = npt.NDArray[Any]
Axes = Sequence[tuple[int, ...] | int]

_PLAIN = frozenset(COMPUTED)  # finds a dtype several times faster than the tuple
_numpy_matmul: Any = np.matmul  # also where others have put something in its place


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
    if type(x) is not np.ndarray or x.ndim != 2 or x.dtype not in _PLAIN:
        return False
    flags = x.flags
    return flags.forc and flags.aligned


def _is_plain_target(out: Any, x1: Array, x2: Array) -> bool:
    """Whether ``out`` is the result's own kind of matrix, for two plain operands."""
    return (
        type(out) is np.ndarray
        and out.dtype == x1.dtype
        and out.shape == (x1.shape[0], x2.shape[1])
        and out.flags.carray
    )


def matmul(
    x1: npt.ArrayLike,
    x2: npt.ArrayLike,
    /,
    out: Out = None,
    *,
    casting: Casting = "same_kind",
    order: Order = "K",
    dtype: npt.DTypeLike | None = None,
    subok: bool = True,
    axes: Axes | None = None,
) -> Any:
    """Matrix product of two arrays, as `numpy.matmul`.

    Parameters
    ----------
    x1, x2 : array_like
        Shapes (..., m, k) and (..., k, n); the leading dimensions broadcast. A 1-D `x1` counts as
        a row and a 1-D `x2` as a column, and that dimension is dropped from the result. Any
        strides. Scalars are refused.
    out : ndarray, or tuple of one, optional
        Where to put the result: its shape, and a dtype that the result's can be cast to. It may
        overlap the inputs.
    casting : {"no", "equiv", "safe", "same_kind", "unsafe"}, optional
        Which conversions are allowed, from the inputs to `dtype` and from there to `out`.
    order : {"K", "A", "C", "F"}, optional
        How the result is laid out, if there is no `out`; "A" is "F" if both inputs are
        Fortran-contiguous, and "K" is "C".
    dtype : dtype, optional
        What is computed in, and returned.
    subok : bool, optional
        Whether the result is of the class of the inputs, if that is one of ndarray's.
    axes : list of tuples of int, optional
        Where the matrices' dimensions are, in `x1`, `x2` and the result; see `numpy.ufunc`.

    Returns
    -------
    ndarray or scalar
        A scalar if both inputs are 1-D. Its dtype is that of ``numpy.matmul``.

    Raises
    ------
    TypeError
        For dtypes that cannot be cast, or an `out` that cannot hold the result.
    ValueError
        For shapes that do not fit, or a read-only `out`.

    Notes
    -----
    Every element is a sum over k in order, or the sum of some such sums where k is long and the
    result small or of few rows or columns; each step is one fused multiply-add where the CPU has
    it. The error is at most k eps / (1 - k eps) times (abs(x1) @ abs(x2)). The bits do not depend
    on the number of threads, though they may on which dimension of an operand is contiguous.

    What is not computed in float32 or float64 (integers, long double, complex numbers, objects) and
    the arrays of other packages are left to NumPy; float16 is computed in float32.
    """
    asked = axes is not None or dtype is not None or order != "K" or casting != "same_kind"
    place: Any = out[0] if type(out) is tuple and len(out) == 1 else out
    if (
        _is_plain(x1)
        and _is_plain(x2)
        and not asked
        and x1.dtype == x2.dtype
        and x1.shape[1] == x2.shape[0]
        and (place is None or _is_plain_target(place, x1, x2))
    ):
        result = place
        if place is None:
            result = memory.empty_result((x1.shape[0], x2.shape[1]), x1.dtype)
        if plain_product(x1, x2, result):
            return result
    keywords = {"out": place, "casting": casting, "order": order, "dtype": dtype, "subok": subok}
    if axes is not None:
        keywords["axes"] = axes
    if has_override(x1, x2, place):
        return _numpy_matmul(x1, x2, **keywords)
    place = single_out(place)
    if order != "K":
        np.asarray(0, order=order)  # refuses what is no order
    a, b = as_array(x1, "x1"), as_array(x2, "x2")
    loop = _loop_dtype(a, b, place, dtype, casting)
    if loop not in _PLAIN and loop != np.float16:
        left, right = (x if isinstance(x, np.ndarray) else y for x, y in ((x1, a), (x2, b)))
        return _numpy_matmul(left, right, **keywords)
    by_columns = order in ("F", "f") or (
        order in ("A", "a") and a.flags.f_contiguous and b.flags.f_contiguous
    )
    values = _along(a, b, place, axes, loop, by_columns=by_columns)
    if place is not None:
        return place
    both_plain = type(x1) is np.ndarray and type(x2) is np.ndarray
    wrap = wrapper([x1, x2]) if subok and not both_plain else None
    if wrap is not None:
        return wrap(values)
    return values[()] if values.ndim == 0 else values


def _loop_dtype(
    a: Array, b: Array, out: Array | None, dtype: npt.DTypeLike | None, casting: Casting
) -> np.dtype[Any]:
    """What NumPy would compute in, in the machine's byte order."""
    plain = a.dtype in _PLAIN and a.dtype == b.dtype and (out is None or out.dtype == a.dtype)
    if plain and dtype is None and casting == "same_kind":
        return a.dtype  # in a tenth of the time
    signature = (None, None, None if dtype is None else np.dtype(dtype))
    operands = (a.dtype, b.dtype, None if out is None else out.dtype)
    loops = _numpy_matmul.resolve_dtypes(operands, signature=signature, casting=casting)
    loop: np.dtype[Any] = loops[2]
    return loop


def _along(
    a: Array,
    b: Array,
    out: Array | None,
    axes: Axes | None,
    loop: np.dtype[Any],
    *,
    by_columns: bool,
) -> Array:
    """The product of matrices that lie along some axes, or along the last ones."""
    if a.ndim == 0 or b.ndim == 0:
        raise ValueError("matmul: inputs must have at least one dimension, got a scalar")
    if axes is None:
        return _computed(a, b, out, loop, by_columns=by_columns)
    # NumPy says what is wrong with the axes.
    _numpy_matmul(np.ones((1,) * a.ndim), np.ones((1,) * b.ndim), axes=axes)
    given = [tuple(x) if isinstance(x, tuple) else (operator.index(x),) for x in axes]
    (left, right, result), last = [*given, ()][:3], [(), (-1,), (-2, -1)]
    a = np.moveaxis(a, left, last[len(left)])
    b = np.moveaxis(b, right, last[len(right)])
    if out is not None:
        out = np.moveaxis(out, result, last[len(result)])
    values = _computed(a, b, out, loop, by_columns=by_columns)
    return np.moveaxis(values, last[len(result)], result)


def _check_target(out: Array, shape: tuple[int, ...], cores: int) -> None:
    """That a result of some shape, of which the last are the matrices' axes, fits ``out``."""
    apart, within = len(shape) - cores, out.ndim - cores
    same = within >= 0 and shape[apart:] == out.shape[within:]
    if not (same and broadcasts(shape[:apart], out.shape[:within])):
        raise ValueError(
            f"matmul: non-broadcastable output: out must have shape {shape}, got {out.shape}"
        )
    if not out.flags.writeable:
        raise ValueError("out of matmul is read-only")


def _computed(
    a: Array, b: Array, out: Array | None, loop: np.dtype[Any], *, by_columns: bool
) -> Array:
    """The product in ``out``, or in an array of its own."""
    computed = np.dtype(np.float32) if loop == np.float16 else loop
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
    if out is not None:
        _check_target(out, shape, len(shape) - len(stack))
    left, right = (as_computed(x, computed) for x in (left, right))
    if out is not None and out.shape == shape:
        result = out
    elif by_columns:
        result = memory.empty_result(shape[::-1], loop).T
    else:
        result = memory.empty_result(shape, loop)
    target = _as_matrices(result, whole, a.ndim == 1, b.ndim == 1)
    if not stack:
        _multiply(left, right, target, computed)
    else:
        _multiply_stacks(left, right, target, stack, computed)
    if out is not None and result is not out:
        put(out, result)
    return result


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
