"""Softmax along an axis."""

from __future__ import annotations

import functools
import operator
from typing import Any, SupportsIndex

import numpy as np
import numpy.typing as npt
from numpy.lib.array_utils import normalize_axis_index

from fastbp.arrays import formulas
from fastbp.arrays.common import Casting, Out, has_override, put, single_out, wrapper
from fastbp.arrays.elementwise import carry_out, loop_dtype
from fastbp.engine.inputs import as_array
from fastbp.engine.memory import address_of
from fastbp.kernels.compile import machine
from fastbp.kernels.functions import softmax as kernel

__all__ = ["softmax"]

Array = npt.NDArray[Any]

_REGIONS = {np.dtype(name): region for name, region in kernel.regions.items()}


@functools.cache
def _inside(rest: int, dtype: np.dtype[Any]) -> bytes:
    """A vector with 1 in its first lanes."""
    return np.ones(rest, dtype).tobytes()


def _compute(source: Array, target: Array) -> None:
    """Store softmax of the rows in ``target``: C-contiguous, of one dtype with a kernel."""
    if not target.size:
        return
    columns = target.shape[-1]
    words = (address_of(source), address_of(target), target.size // columns, columns)
    rest = columns % machine.tiles(target.itemsize).lanes
    carry_out(_REGIONS[target.dtype], target.size, words, _inside(rest, target.dtype))


def softmax(
    x: npt.ArrayLike,
    /,
    axis: SupportsIndex = -1,
    out: Out = None,
    *,
    casting: Casting = "same_kind",
    dtype: npt.DTypeLike | None = None,
    subok: bool = True,
) -> Any:
    """Softmax, exp(x) over its sum along an axis.

    Parameters
    ----------
    x : array_like
        Real numbers, of at least one dimension.
    axis : int, optional
        Along which the result adds up to 1; the last one is the fastest.
    out : ndarray of x's shape, or tuple of one, optional
        Where to put the result; it may be `x` itself.
    casting : {"no", "equiv", "safe", "same_kind", "unsafe"}, optional
        Which conversions are allowed, from `x` to `dtype` and from there to `out`.
    dtype : dtype, optional
        What is computed in, and returned.
    subok : bool, optional
        Whether the result is of the class of `x`, if that is one of ndarray's.

    Returns
    -------
    ndarray of x's shape
        float32 and float64 stay what they are; other dtypes become what ``numpy.exp`` makes of
        them.

    Raises
    ------
    TypeError
        For dtypes that cannot be cast, or hold no real numbers.
    ValueError
        For an axis that there is not (``numpy.exceptions.AxisError``), or an `out` of another shape
        or read-only.

    Notes
    -----
    The largest x of the row is taken from all others first, which keeps exp(x) between 0 and 1:
    the result is finite for every finite x. With inf or NaN in a row, or with nothing but -inf, all
    of the row is NaN, as in ``scipy.special.softmax``. Each row is added up in an order that its
    length alone decides. Long double and objects are left to NumPy.
    """
    target = single_out(out)
    if has_override(x, target) and target is None and dtype is None:
        return formulas.softmax(x, operator.index(axis))
    source = as_array(x, "x")
    loop = loop_dtype("softmax", source, target, dtype, casting)
    if loop.kind == "c":
        raise TypeError(f"softmax is not defined for complex numbers, got {source.dtype}")
    place = normalize_axis_index(operator.index(axis), source.ndim)
    if target is not None:
        if target.shape != source.shape:
            raise ValueError(f"out of softmax must have shape {source.shape}, got {target.shape}")
        if not target.flags.writeable:
            raise ValueError("out of softmax is read-only")
    values = _values(source, loop, place, target)
    if target is not None:
        if values is not target:
            put(target, values)
        return target
    if values.dtype != loop:
        with np.errstate(under="ignore"):
            values = values.astype(loop)
    wrap = wrapper([x]) if subok else None
    return values if wrap is None else wrap(values)


def _values(source: Array, loop: np.dtype[Any], axis: int, target: Array | None) -> Array:
    """The result, in ``target`` where that can be; that of float16 as float32."""
    computed = np.dtype(np.float32) if loop == np.float16 else loop.newbyteorder("=")
    if computed not in _REGIONS:
        return np.asarray(formulas.softmax(source.astype(computed), axis))
    last = source.ndim - 1
    rows = source if axis == last else np.moveaxis(source, axis, last)
    packed = np.require(rows, computed, ["C", "A"])
    if axis != last:
        if packed is rows or np.shares_memory(packed, rows):
            packed = packed.copy()
        _compute(packed, packed)
        return np.moveaxis(packed, last, axis)
    if (
        target is not None
        and target.dtype == computed
        and target.flags.carray
        and (target is source or not np.may_share_memory(target, packed))
    ):
        _compute(packed, target)
        return target
    values = np.empty(packed.shape, computed)
    _compute(packed, values)
    return values
