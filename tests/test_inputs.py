"""Masks, missing values and bytes: what is taken as it is, and what is refused or warned of."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

import fastbp
from fastbp import Network
from fastbp.kernels.functions.elementwise import CODES

VALUES = np.arange(6.0).reshape(3, 2)


class Kind:
    """The part of a pandas extension dtype that is looked at."""

    def __init__(self, kind):
        self.kind = kind


class Nullable:
    """What a nullable Series or DataFrame of pandas looks like to NumPy."""

    def __init__(self, values, kind="i"):
        self._values = np.array(values, dtype=object)
        self.dtypes = Kind(kind) if self._values.ndim == 1 else [Kind(kind)] * 2

    def __array__(self, dtype=None, copy=None):
        return self._values.copy()

    def isna(self):
        return np.equal(self._values, None).astype(bool)

    def to_numpy(self, dtype):
        return self._values.astype(dtype)


@pytest.fixture
def network():
    return Network((2, 1), seed=0)


def test_masked_values_of_x_are_refused_by_row_and_column(network):
    X = np.ma.masked_equal(VALUES, 3.0)
    with pytest.raises(ValueError, match=r"X has masked values, .* row 1, column 1: .*fill"):
        network.predict(X)


def test_masked_values_of_y_are_refused_by_row(network):
    y = np.ma.masked_array([0, 1, 1], mask=[False, False, True])
    with pytest.raises(ValueError, match="y has masked values, the first in row 2: "):
        network.fit(VALUES, y)


@pytest.mark.parametrize("mask", [False, np.zeros((3, 2), bool)], ids=["none", "empty"])
def test_masked_arrays_without_masked_values_are_taken(network, mask):
    expected = network.predict_proba(VALUES)
    np.testing.assert_array_equal(network.predict_proba(np.ma.array(VALUES, mask=mask)), expected)


@pytest.mark.parametrize("name", [*CODES, "softmax"])
def test_functions_refuse_masked_values(name):
    with pytest.raises(ValueError, match="x has masked values, the first in row 1"):
        getattr(fastbp, name)(np.ma.masked_array([0.0, 1.0], mask=[False, True]))


def test_products_refuse_masked_values():
    with pytest.raises(ValueError, match="x2 has masked values"):
        fastbp.matmul(VALUES, np.ma.masked_greater(VALUES.T, 4))


def test_missing_values_of_nullable_columns_are_refused(network):
    with pytest.raises(ValueError, match=r"X has missing values, the first in row 1, column 0"):
        network.predict(Nullable([[0, 1], [None, 2], [1, 2]]))
    with pytest.raises(ValueError, match="y has missing values, the first in row 2"):
        network.fit(VALUES, Nullable([0, 1, None]))


@pytest.mark.parametrize("kind", ["i", "f", "b", "u"])
def test_nullable_columns_without_missing_values_are_taken(network, kind):
    expected = network.predict_proba(VALUES)
    np.testing.assert_array_equal(network.predict_proba(Nullable(VALUES, kind)), expected)
    assert network.loss(VALUES, Nullable([0, 1, 1], kind)) == network.loss(VALUES, [0, 1, 1])


def test_columns_of_objects_are_refused_as_before(network):
    with pytest.raises(TypeError, match="dtype object"):
        network.predict(Nullable([["1", "2"]], "O"))


def test_pandas_nullable_columns(network):
    pandas = pytest.importorskip("pandas")
    whole = pandas.DataFrame({"a": [0, 2, 4], "b": [1, 3, 5]}, dtype="Int64")
    np.testing.assert_array_equal(network.predict_proba(whole), network.predict_proba(VALUES))
    with pytest.raises(ValueError, match=r"missing values|holds nan"):
        network.predict(whole.mask(whole == 3))
    with pytest.raises(ValueError, match=r"missing values|contains NaN"):
        network.fit(VALUES, pandas.Series([0, None, 1], dtype="Int64"))


def pixels(most=255):
    return np.random.default_rng(0).integers(0, most + 1, size=(20, 2), dtype=np.uint8)


def test_large_bytes_without_a_scale_are_warned_of_with_the_remedy(network):
    with pytest.warns(UserWarning, match="input_scale=1/255") as caught:
        network.fit(pixels(), np.zeros(20), epochs=1)
    assert caught[0].filename == __file__


@pytest.mark.parametrize(
    ("most", "settings"), [(9, {}), (255, {"input_scale": 1 / 255}), (255, {"input_scale": [1, 1]})]
)
def test_small_bytes_and_bytes_with_a_scale_are_not_warned_of(most, settings):
    network = Network((2, 1), seed=0, **settings)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        network.fit(pixels(most), np.zeros(20), epochs=1)
