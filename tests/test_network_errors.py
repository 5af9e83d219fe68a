"""What a network refuses, and that the message says what was got and what was expected."""

from __future__ import annotations

import numpy as np
import pytest

import fastbp
from fastbp import Network


@pytest.fixture
def network() -> Network:
    return Network((6, 3, 2), seed=0)


@pytest.mark.parametrize("call", ["predict_proba", "predict", "activation_stats"])
@pytest.mark.parametrize("features", [5, 7, 0])
def test_wrong_number_of_features_is_refused(network, call, features):
    with pytest.raises(ValueError, match=f"X has {features} features, but the network expects 6"):
        getattr(network, call)(np.zeros((4, features), np.float32))


def test_message_names_both_widths():
    with pytest.raises(ValueError, match="X has 100 features, but the network expects 12288"):
        Network((12288, 3, 2, 1)).predict_proba(np.zeros((2, 100), np.uint8))


@pytest.mark.parametrize("shape", [(), (6,), (2, 3, 6)], ids=str)
def test_X_of_another_rank_is_refused(network, shape):
    with pytest.raises(ValueError, match="X"):
        network.predict_proba(np.zeros(shape, np.float32))


@pytest.mark.parametrize("dtype", [complex, object, str], ids=str)
@pytest.mark.parametrize("call", ["predict_proba", "predict"])
def test_X_that_holds_no_real_numbers_is_refused(network, call, dtype):
    with pytest.raises(TypeError, match="X"):
        getattr(network, call)(np.zeros((4, 6)).astype(dtype))


@pytest.mark.parametrize("call", ["loss", "gradients", "score"])
@pytest.mark.parametrize(
    ("y", "error", "message"),
    [
        (np.zeros((3, 2)), ValueError, "X has 4 samples, but y has 3"),
        (np.zeros((4, 3)), ValueError, "y has 3 outputs, but the network has 2"),
        (np.zeros(4), ValueError, "y has 1 outputs, but the network has 2"),
        (np.full((4, 2), 2), ValueError, r"\[0, 1\]"),
        (np.full((4, 2), np.nan), ValueError, "NaN"),
        (np.full((4, 2), "ball"), TypeError, "<U4"),
    ],
    ids=["rows", "columns", "vector", "range", "nan", "strings"],
)
def test_bad_targets_are_refused(network, call, y, error, message):
    with pytest.raises(error, match=message):
        getattr(network, call)(np.zeros((4, 6), np.float32), y)


@pytest.mark.parametrize(
    ("layer_sizes", "error"),
    [
        ((), ValueError),
        ((5,), ValueError),
        ((5, 0), ValueError),
        ((0, 5), ValueError),
        ((5, -3, 1), ValueError),
        ((5, 2.5, 1), TypeError),
        ((5, "3", 1), TypeError),
        ((5, True), TypeError),
        ("53", TypeError),
        (5, TypeError),
        (None, TypeError),
    ],
    ids=str,
)
def test_bad_layer_sizes_are_refused(layer_sizes, error):
    with pytest.raises(error, match="layer_sizes"):
        Network(layer_sizes)


def test_numpy_integers_are_layer_sizes():
    network = Network(np.array([5, 3, 1]))
    assert network.layer_sizes == (5, 3, 1)
    assert all(type(size) is int for size in network.layer_sizes)


@pytest.mark.parametrize("dtype", ["float16", "int32", "complex64", "uint8", "longdouble"])
def test_other_dtypes_are_refused(dtype):
    with pytest.raises((TypeError, ValueError), match="dtype"):
        Network((5, 1), dtype=dtype)


def test_unknown_activation_is_refused():
    with pytest.raises(ValueError, match=r"activation must be one of: .*'relu'.*, got 'relux'"):
        Network((5, 1), activation="relux")


def test_unknown_init_is_refused():
    with pytest.raises(ValueError, match="init must be one of"):
        Network((5, 1), init="glorot")


@pytest.mark.parametrize("name", ["input_mean", "input_scale"])
@pytest.mark.parametrize(
    "value",
    [np.nan, np.inf, [1.0, 2.0], [1.0, 2.0, 3.0, np.nan, 5.0], np.ones((5, 1)), 1e300],
    ids=["nan", "inf", "length", "nan-entry", "2-D", "overflow"],
)
def test_bad_input_folding_is_refused(name, value):
    with pytest.raises(ValueError, match=name):
        Network((5, 1), **{name: value})


@pytest.mark.parametrize("name", ["input_mean", "input_scale"])
@pytest.mark.parametrize("value", ["mean", None, 1j], ids=str)
def test_input_folding_that_is_no_number_is_refused(name, value):
    with pytest.raises((TypeError, ValueError), match=name):
        Network((5, 1), **{name: value})


@pytest.mark.parametrize("weight_decay", [-0.1, np.nan, np.inf])
def test_bad_weight_decay_is_refused(network, weight_decay):
    with pytest.raises(ValueError, match="weight_decay"):
        network.loss(np.zeros((4, 6)), np.zeros((4, 2)), weight_decay=weight_decay)


def test_network_is_a_public_name():
    assert fastbp.Network is Network
    assert fastbp.load.__module__ == Network.__module__
