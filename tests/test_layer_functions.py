"""Activation, slope and dropout of a strip (functions.layers), against the oracle.

The region is called by address, as products do when their sums are complete. What the functions
are accurate to is ``test_activations.py``'s; here sizes, strides, bias and dropout are in turn.
"""

from __future__ import annotations

import numpy as np
import pytest

from fastbp.kernels.compile import machine
from fastbp.kernels.functions.activations import ACTIVATION_CODES, MOST_ULP, STORED_SLOPES
from fastbp.kernels.functions.strip import Dropout
from tests import oracle, strips
from tests.tolerance import assert_within

EPS = float(np.finfo(float).eps)
DTYPES = ["float32", "float64"]
STORED = [name for name, code in ACTIVATION_CODES.items() if code in STORED_SLOPES]
FOLLOWING = [name for name in ACTIVATION_CODES if name not in STORED]

each_dtype = pytest.mark.parametrize("dtype", DTYPES)
each_activation = pytest.mark.parametrize("name", ACTIVATION_CODES)


def shapes(dtype: str) -> list[tuple[int, int]]:
    lanes = machine.VECTOR_BITS // 8 // np.dtype(dtype).itemsize
    widths = [1, lanes - 1, lanes, lanes + 1, 3 * lanes, 3 * lanes + 2]
    return [(0, lanes), (3, 0), *((rows, width) for rows in (1, 4) for width in widths)]


class Framed:
    """A matrix whose rows lie apart, among numbers that must stay as they are."""

    def __init__(self, values: np.ndarray, gap: int) -> None:
        rows, columns = values.shape
        self.whole = np.full((rows + 2, columns + gap), 7.25, values.dtype)
        self.inside = self.whole[1 : rows + 1, :columns]
        self.inside[...] = values

    def assert_frame_is_whole(self) -> None:
        frame = self.whole.copy()
        frame[1 : len(frame) - 1, : self.inside.shape[1]] = 7.25
        assert (frame == 7.25).all(), "written beside the strip"


def matrix(shape: tuple[int, int], dtype: str, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(scale=2, size=shape).astype(dtype)


def slope_bound(name: str, z: np.ndarray, dtype: str) -> np.ndarray:
    """Of a slope from a rounded activation: |d slope / d a| <= 2, |a| <= |z| + 1."""
    off = MOST_ULP.get(f"{name}_slope", 0) + 2 * MOST_ULP[name] * (np.abs(z) + 1)
    return off * float(np.finfo(dtype).eps)


def dropout_of(shape: tuple[int, int], share: float = 0.4) -> tuple[Dropout, np.ndarray]:
    """Dropout of layer 2 in step 5 with seed 3: as words, and by the oracle."""
    key = oracle._mixed(oracle._mixed(3, 5), 2)
    threshold = round(share * 2.0**32)
    words = Dropout(key - 2**64 if key >= 2**63 else key, threshold, 0, shape[1], 1)
    return words, oracle.dropout_factors(3, 5, 2, *shape, share)


@each_dtype
@each_activation
@pytest.mark.parametrize("with_bias", [True, False])
def test_forward_of_any_size_and_stride(name, dtype, with_bias):
    for shape in shapes(dtype):
        for gap in (0, 5):
            x = matrix(shape, dtype)
            bias = matrix((1, shape[1]), dtype, 1)[0] if with_bias else None
            c, second = Framed(x, gap), Framed(np.zeros_like(x), gap + 2)
            strips.forward(name, c.inside, bias, second.inside if name in STORED else None)
            total = x if bias is None else x + bias  # rounded, as the region does
            z = oracle.float64(total)
            value, slope = oracle.ACTIVATIONS[name]
            size = np.maximum(np.abs(value(z)), np.finfo(dtype).tiny)
            # The oracle's own error: exp(-z^2 / 2) of a rounded square, in gelu.
            bound = (MOST_ULP[name] * np.finfo(dtype).eps + (4 + z * z) * EPS) * size
            assert_within(c.inside, value(z), bound, name)
            if name in STORED:
                bound = MOST_ULP[f"{name}_slope"] * np.finfo(dtype).eps * np.ones(shape)
                assert_within(second.inside, slope(z), bound, "slope")
            c.assert_frame_is_whole()
            second.assert_frame_is_whole()


@each_dtype
@each_activation
def test_forward_without_a_place_for_slopes_gives_the_same_values(name, dtype):
    x = matrix((3, 37), dtype)
    alone, beside, second = x.copy(), x.copy(), np.empty_like(x)
    strips.forward(name, alone)
    strips.forward(name, beside, second=second)
    np.testing.assert_array_equal(alone, beside)


@each_dtype
@pytest.mark.parametrize("name", FOLLOWING)
def test_back_from_activations(name, dtype):
    for shape in shapes(dtype):
        for gap in (0, 3):
            z, delta = matrix(shape, dtype), matrix(shape, dtype, 2)
            a, c = Framed(z, gap + 1), Framed(delta, gap)
            strips.forward(name, a.inside)
            before = a.inside.copy()
            strips.back(name, c.inside, activation=a.inside)
            exact = delta * oracle.ACTIVATIONS[name].slope(oracle.float64(z))
            bound = np.abs(delta) * (slope_bound(name, z, dtype) + np.finfo(dtype).eps)
            assert_within(c.inside, exact, bound, name)
            np.testing.assert_array_equal(a.inside, before)
            c.assert_frame_is_whole()
            a.assert_frame_is_whole()


@each_dtype
@each_activation
def test_back_from_stored_slopes_is_their_product(name, dtype):
    for shape in shapes(dtype):
        slope, delta = Framed(matrix(shape, dtype), 2), Framed(matrix(shape, dtype, 2), 4)
        expected = slope.inside * delta.inside
        strips.back(name, delta.inside, slope=slope.inside)
        np.testing.assert_array_equal(delta.inside, expected)
        delta.assert_frame_is_whole()


@each_dtype
@each_activation
def test_dropout_of_values_and_slopes(name, dtype):
    for shape in [(1, 1), (3, 37), (2, 64), (5, 16)]:
        x = matrix(shape, dtype)
        bias = matrix((1, shape[1]), dtype, 1)[0]
        plain, plain_slope = x.copy(), np.ones_like(x)
        strips.forward(name, plain, bias, second=plain_slope)
        words, factors = dropout_of(shape)
        c, second = Framed(x, 3), Framed(np.zeros_like(x), 1)
        strips.forward(name, c.inside, bias, second.inside, words)
        # To the bit: which are dropped, and the rounding of the product with what is kept.
        np.testing.assert_array_equal(c.inside, plain * factors.astype(dtype))
        np.testing.assert_array_equal(second.inside, plain_slope * factors.astype(dtype))
        c.assert_frame_is_whole()
        second.assert_frame_is_whole()


@each_dtype
@pytest.mark.parametrize("name", FOLLOWING)
def test_slopes_that_are_stored_for_dropout_are_those_of_the_activations(name, dtype):
    z = matrix((3, 37), dtype)
    a, second = z.copy(), np.empty_like(z)
    strips.forward(name, a, second=second)
    ones = np.ones_like(z)
    strips.back(name, ones, activation=a)
    np.testing.assert_array_equal(second, ones)


@each_dtype
def test_dropout_without_slopes_and_of_a_part_of_a_layer(dtype):
    rows, units = 6, 50
    words, factors = dropout_of((rows, units))
    x = matrix((rows, units), dtype)
    part = x[2:5, 7:40].copy()
    part_words = words._replace(number=2 * units + 7)
    strips.forward("identity", part, dropout=part_words)
    np.testing.assert_array_equal(part, (x * factors.astype(dtype))[2:5, 7:40])
    turned = np.ascontiguousarray(x.T)  # a row for each unit, as in narrow layers
    strips.forward("identity", turned, dropout=words._replace(row=1, column=units))
    np.testing.assert_array_equal(turned.T, x * factors.astype(dtype))
