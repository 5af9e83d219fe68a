"""Activations and slopes on vectors: accuracy, order, special values (functions.activations).

They are called through the region that training calls (``functions.layers``). How far a result may
be off, in ULP, is stated beside the functions, in ``MOST_ULP``: what is found over all of float32
(``benchmarks/activation_ulp.py``), rounded up to a quarter or so.
"""

from __future__ import annotations

import numpy as np
import pytest

from fastbp.kernels.functions.activations import (
    ACTIVATION_CODES,
    LEAKY_SLOPE,
    MOST_ULP,
    RISE_FROM,
    STORED_SLOPES,
)
from tests import exact, oracle, strips

DTYPES = ["float32", "float64"]
STORED = [name for name, code in ACTIVATION_CODES.items() if code in STORED_SLOPES]
FOLLOWING = [name for name in ACTIVATION_CODES if name not in [*STORED, "identity"]]
BENDS = (0, -1, 1, -2, 2, 0.5, -0.5, -0.7517916, -1.2784645, 17, 37, 88, -88, -104, -15, 38, -745)
"""Where functions change, turn, become 0, 1 or x, or subnormal."""

each_dtype = pytest.mark.parametrize("dtype", DTYPES)
each_activation = pytest.mark.parametrize("name", ACTIVATION_CODES)


def neighbours(dtype: str, around: float, count: int = 2000) -> np.ndarray:
    """So many consecutive numbers, in ascending order; around 0, the smallest ones."""
    integer = np.int32 if dtype == "float32" else np.int64
    middle = int(np.array(abs(around), dtype).view(integer))
    offsets = np.arange(-count // 2, count // 2) if around else np.arange(count)
    found = (middle + offsets).astype(integer).view(dtype)
    found = np.concatenate([-found[::-1], found]) if around == 0 else np.copysign(found, around)
    return np.sort(found)


def sample(dtype: str) -> np.ndarray:
    """Numbers from all over the range of a dtype, and many from where functions bend."""
    rng = np.random.default_rng(0)
    size = np.dtype(dtype).itemsize
    bits = rng.integers(0, 256, size=(60_000, size), dtype=np.uint8).view(dtype)[:, 0]
    lowest = -float(np.log(np.finfo(dtype).smallest_subnormal))
    x = [bits[np.isfinite(bits)]]
    x += [rng.uniform(-edge, edge, 60_000).astype(dtype) for edge in (1.2 * lowest, 15, 1)]
    x += [neighbours(dtype, around) for around in BENDS]
    return np.sort(np.concatenate(x))


def assert_accurate(name: str, x: np.ndarray, result: np.ndarray) -> None:
    value = exact.exact(name, x)
    ulp = exact.ulp_of(name, x, value)
    error = np.abs(result - value)
    assert np.isfinite(result).all(), f"{name} of {x[~np.isfinite(result)][0]!r}"
    assert (error <= MOST_ULP[name] * ulp).all(), (
        f"{name}: {np.max(error / ulp):.3f} ULP at {x[np.argmax(error / ulp)]!r}"
    )


def skip_without_long_double(dtype: str) -> None:
    if dtype == "float64" and not exact.HAS_LONG_DOUBLE:
        pytest.skip("no dtype here is wider than float64")


@each_dtype
@each_activation
def test_values_are_accurate(name, dtype):
    skip_without_long_double(dtype)
    x = sample(dtype)
    assert_accurate(name, x, strips.values(name, x))


@each_dtype
@pytest.mark.parametrize("name", STORED)
def test_slopes_from_x_are_accurate(name, dtype):
    skip_without_long_double(dtype)
    x = sample(dtype)
    assert_accurate(f"{name}_slope", x, strips.slopes(name, x))


@each_dtype
@pytest.mark.parametrize("name", FOLLOWING)
def test_slopes_from_activations_are_accurate(name, dtype):
    skip_without_long_double(dtype)
    a = np.unique(strips.values(name, sample(dtype)))
    assert_accurate(f"{name}_slope", a, strips.slopes_from(name, a))


@each_dtype
@pytest.mark.parametrize("name", FOLLOWING)
def test_slopes_from_activations_are_those_from_x(name, dtype):
    x = np.linspace(-6, 6, 2401).astype(dtype)
    expected = oracle.ACTIVATIONS[name].slope(x.astype(float))
    found = strips.slopes_from(name, strips.values(name, x))
    # |d slope / d a| <= 2, and a is off by so many ULP, each of at most eps max(1, |a|).
    a = np.abs(oracle.ACTIVATIONS[name].value(x.astype(float)))
    off = 2 * MOST_ULP[name] * np.maximum(a, 1) + MOST_ULP[f"{name}_slope"]
    assert (np.abs(found - expected) <= off * np.finfo(dtype).eps).all()


@each_dtype
@each_activation
def test_larger_numbers_give_larger_results(name, dtype):
    places = [*BENDS, *np.random.default_rng(3).uniform(-20, 20, 200)]
    places += list(2.0 ** -np.arange(1.0, 60.0)) + list(-(2.0 ** -np.arange(1.0, 60.0)))
    for around in places:
        x = neighbours(dtype, around)
        x = x[x >= RISE_FROM[name]]
        falls = np.diff(strips.values(name, x)) < 0
        assert not falls.any(), f"{name} falls after {x[:-1][falls][0]!r}"


@each_dtype
@pytest.mark.parametrize("name", STORED)
def test_right_of_a_minimum_neighbours_differ_by_the_error_at_most(name, dtype):
    minimum = {"gelu": -0.7517, "silu": -1.2784}[name]
    for around in np.linspace(minimum, 0, 50)[:-1]:
        x = neighbours(dtype, around)
        result = strips.values(name, x[x >= minimum])
        ulp = np.spacing(np.abs(result[1:]))
        assert (np.diff(result) >= -2 * MOST_ULP[name] * ulp).all()


@each_dtype
@each_activation
def test_special_values(name, dtype):
    x = np.array([0, -0.0, np.inf, -np.inf, np.nan], dtype)
    half, log_2 = np.array([0.5, np.log(2)], dtype)
    at_zero = {"sigmoid": half, "softplus": log_2}.get(name, 0)
    at_infinity = {"sigmoid": 1, "tanh": 1}.get(name, np.inf)
    below = {"identity": -np.inf, "leaky_relu": -np.inf, "tanh": -1, "elu": -1}.get(name, 0)
    np.testing.assert_array_equal(
        strips.values(name, x), np.array([at_zero, at_zero, at_infinity, below, np.nan], dtype)
    )


@each_dtype
@pytest.mark.parametrize("name", STORED)
def test_special_values_of_stored_slopes(name, dtype):
    x = np.array([0, -0.0, np.inf, -np.inf, np.nan], dtype)
    np.testing.assert_array_equal(strips.slopes(name, x), np.array([0.5, 0.5, 1, 0, np.nan], dtype))


@each_dtype
@pytest.mark.parametrize("name", FOLLOWING)
def test_special_values_of_slopes(name, dtype):
    ends = strips.values(name, np.array([np.inf, -np.inf, np.nan], dtype))
    left = {"leaky_relu": np.array(LEAKY_SLOPE, dtype)[()]}.get(name, 0)
    right = {"sigmoid": 0, "tanh": 0}.get(name, 1)
    np.testing.assert_array_equal(
        strips.slopes_from(name, ends), np.array([right, left, np.nan], dtype)
    )
