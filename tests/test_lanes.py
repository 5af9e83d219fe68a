"""Lanes of a vector that are kept: `fastbp.kernels.simd.vectors.between`."""

from __future__ import annotations

import numpy as np
import pytest
from numba import float32, float64, int64

from fastbp.kernels.compile import machine
from fastbp.kernels.compile.jit import jit, region
from fastbp.kernels.simd.vectors import between, load, pointer, store


@jit
def _keep(context, dtype):
    words = pointer(context, int64)
    values = pointer(words[0], dtype)
    store(values, 0, between(load(values, 0, dtype), words[1], words[2]))


@region
def _float32(context: int, worker: int) -> None:
    _keep(context, float32)


@region
def _float64(context: int, worker: int) -> None:
    _keep(context, float64)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_lanes_outside_are_zero_whatever_they_held(dtype):
    lanes = machine.VECTOR_BITS // 8 // np.dtype(dtype).itemsize
    keep = {"float32": _float32, "float64": _float64}[dtype]
    for first in range(lanes + 1):
        for last in range(first, lanes + 1):
            values = np.full(lanes, np.nan, dtype)
            values[first:last] = np.arange(1, last - first + 1)
            expected = np.where(np.isnan(values), 0, values)
            words = np.array([values.ctypes.data, first, last])
            keep.serial(words.ctypes.data, 0)
            np.testing.assert_array_equal(values, expected)
