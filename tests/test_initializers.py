"""Initial parameters: formulas, determinism, and what is refused."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

from fastbp import Network
from fastbp.activations import ACTIVATIONS, RELU_LIKE
from fastbp.initializers import INITIALIZERS, canonical_init, default_init, initialize
from tests import oracle

WIDE = (600, 500, 400)

# The sample standard deviation of N normal draws has a relative standard error of
# 1/sqrt(2 N), the sample mean one of std/sqrt(N). Five of those: seeds are fixed, so this is
# no lottery, and a wrong formula (fan_in for fan_in + fan_out: 40 %) is hundreds away.
STANDARD_ERRORS = 5


def assert_normal(weight: np.ndarray, std: float) -> None:
    values = weight.astype(np.float64)
    assert abs(values.std() / std - 1) < STANDARD_ERRORS / np.sqrt(2 * values.size)
    assert abs(values.mean()) < STANDARD_ERRORS * std / np.sqrt(values.size)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("init", [*INITIALIZERS, 0.25, ("normal", 2.0)], ids=str)
def test_parameters_have_the_layout_of_the_network(init, dtype):
    weights, biases = initialize((7, 5, 3, 2), init, seed=0, dtype=dtype)

    assert [w.shape for w in weights] == [(5, 7), (3, 5), (2, 3)]
    assert [b.shape for b in biases] == [(5,), (3,), (2,)]
    for array in weights + biases:
        assert array.dtype == np.dtype(dtype)
        assert array.flags.c_contiguous
    for first, second in combinations(weights + biases, 2):
        assert not np.may_share_memory(first, second)
    assert all(not bias.any() for bias in biases)


@pytest.mark.parametrize("init", ["normal", "xavier", "he"])
def test_named_distribution_has_the_formulas_standard_deviation(init):
    weights, _ = initialize(WIDE, init, seed=1, dtype="float64")
    for weight in weights:
        fan_out, fan_in = weight.shape
        assert_normal(weight, oracle.initial_std(init, fan_in, fan_out))


def test_standard_deviation_of_normal_can_be_set():
    weights, _ = initialize(WIDE, ("normal", 0.5), seed=1)
    assert_normal(weights[0], 0.5)


def test_zeros_and_numbers_fill_every_weight():
    zeros, _ = initialize((4, 3, 1), "zeros")
    constant, biases = initialize((4, 3, 1), -0.125)
    assert all(not weight.any() for weight in zeros)
    assert all((weight == -0.125).all() for weight in constant)
    assert all(not bias.any() for bias in biases)


def test_integer_and_numpy_numbers_are_constants():
    for one in (1, np.int64(1), np.float32(1)):
        weights, _ = initialize((2, 2), one)
        np.testing.assert_array_equal(weights[0], np.ones((2, 2)))


@pytest.mark.parametrize("init", ["normal", "xavier", "he"])
def test_the_same_seed_gives_the_same_weights(init):
    first, _ = initialize((50, 8, 2), init, seed=7)
    second, _ = initialize((50, 8, 2), init, seed=7)
    other, _ = initialize((50, 8, 2), init, seed=8)
    for a, b, c in zip(first, second, other, strict=True):
        np.testing.assert_array_equal(a, b)
        assert not np.array_equal(a, c)


def test_without_a_seed_weights_differ_from_call_to_call():
    assert not np.array_equal(initialize((50, 8))[0][0], initialize((50, 8))[0][0])


@pytest.mark.parametrize("init", ["normal", "xavier", "he"])
def test_float32_weights_are_the_float64_ones_rounded(init):
    single, _ = initialize((300, 8, 2), init, seed=3, dtype="float32")
    double, _ = initialize((300, 8, 2), init, seed=3, dtype="float64")
    for a, b in zip(single, double, strict=True):
        np.testing.assert_array_equal(a, b.astype(np.float32))


def test_layers_larger_than_a_block_draw_the_generators_plain_stream():
    weights, _ = initialize((1000, 300, 2), "he", seed=5, dtype="float64")
    rng = np.random.default_rng(5)
    for weight in weights:
        drawn = rng.standard_normal(weight.shape) * np.sqrt(2 / weight.shape[1])
        np.testing.assert_array_equal(weight, drawn)


def test_neighbouring_layers_draw_different_values():
    weights, _ = initialize((20, 20, 20), "xavier", seed=0)
    assert not np.array_equal(weights[0], weights[1])


def test_callable_is_called_layer_by_layer_with_the_shared_generator():
    def uniform(shape, rng):
        return rng.uniform(-1, 1, size=shape)

    weights, _ = initialize((4, 3, 2), uniform, seed=9, dtype="float64")

    rng = np.random.default_rng(9)
    np.testing.assert_array_equal(weights[0], rng.uniform(-1, 1, size=(3, 4)))
    np.testing.assert_array_equal(weights[1], rng.uniform(-1, 1, size=(2, 3)))


def test_array_of_a_callable_is_copied():
    kept = np.ones((2, 3), dtype=np.float32)
    weights, _ = initialize((3, 2), lambda shape, rng: kept)
    weights[0][:] = 5
    assert (kept == 1).all()


@pytest.mark.parametrize(
    ("made", "error", "message"),
    [
        (np.ones((3, 2)), ValueError, r"shape \(3, 2\), expected \(2, 3\)"),
        (np.full((2, 3), np.nan), ValueError, "not finite as float32"),
        (np.full((2, 3), 1e300), ValueError, "not finite as float32"),
        (np.ones((2, 3), dtype=complex), TypeError, "complex128, expected real"),
    ],
    ids=["shape", "nan", "overflow", "complex"],
)
def test_callable_with_a_bad_array_is_refused(made, error, message):
    with pytest.raises(error, match=message):
        initialize((3, 2), lambda shape, rng: made)


@pytest.mark.parametrize(
    ("init", "error", "message"),
    [
        ("glorot", ValueError, "'zeros', 'normal', 'xavier', 'he'.*got 'glorot'"),
        ("Xavier", ValueError, "got 'Xavier'"),
        (float("nan"), ValueError, "finite.*got nan"),
        (float("inf"), ValueError, "finite.*got inf"),
        (1e300, ValueError, "not finite as float32"),
        (True, TypeError, "got True"),
        (np.True_, TypeError, "got np.True_"),
        (None, TypeError, "got None"),
        (1j, TypeError, "got 1j"),
        (("xavier", 0.1), ValueError, "got .'xavier', 0.1."),
        (("normal", 0.1, 2), ValueError, "got .'normal'"),
        (("normal", -1.0), ValueError, ">= 0"),
        (("normal", float("nan")), ValueError, "finite"),
        (("normal", "wide"), TypeError, "must be a number"),
        (("normal", 1e300), ValueError, "overflows float32"),
    ],
    ids=str,
)
def test_bad_init_is_refused_with_what_was_got(init, error, message):
    with pytest.raises(error, match=message):
        initialize((3, 2), init)


@pytest.mark.parametrize(
    ("init", "expected"),
    [
        ("he", "he"),
        (1, 1.0),
        (np.float32(0.5), 0.5),
        (("normal", 1), ("normal", 1.0)),
        (["normal", 0.5], ("normal", 0.5)),
        (lambda shape, rng: np.ones(shape), "callable"),
    ],
    ids=str,
)
def test_canonical_form_is_plain_python(init, expected):
    result = canonical_init(init)
    assert result == expected
    assert type(result) is type(expected)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("init", ["zeros", 0.5, "xavier", lambda shape, rng: rng.random(shape)])
def test_weights_begin_at_a_cache_line(init, dtype):
    weights, _ = initialize((130, 70, 3, 1), init, dtype=dtype)
    assert [weight.ctypes.data % 64 for weight in weights] == [0, 0, 0]
    assert all(weight.flags.carray for weight in weights)


# ------------------------------------------------------------------ by activation


@pytest.mark.parametrize("activation", sorted(ACTIVATIONS))
def test_each_layer_starts_by_its_own_activation(activation):
    sizes = (60, 50, 40, 30)
    names = (activation, "tanh")
    weights, _ = initialize(sizes, "auto", activations=names, seed=0, dtype="float64")
    expected = [
        initialize(sizes, "he" if name in RELU_LIKE else "xavier", seed=0, dtype="float64")[0]
        for name in (*names, "identity")
    ]
    for layer, weight in enumerate(weights):
        np.testing.assert_array_equal(weight, expected[layer][layer])


@pytest.mark.parametrize(
    ("activation", "init"), [("sigmoid", "xavier"), ("relu", "auto"), (("tanh", "gelu"), "auto")]
)
def test_the_default_follows_from_the_activations(activation, init):
    network = Network((20, 10, 5, 1), activation=activation, seed=0)
    assert network.init == init == default_init(network.layer_activations)
    again = Network((20, 10, 5, 1), activation=activation, init=network.init, seed=0)
    for one, other in zip(network.weights, again.weights, strict=True):
        np.testing.assert_array_equal(one, other)


def test_what_is_given_holds_for_all_layers():
    network = Network((20, 10, 5, 1), activation="relu", init="xavier", seed=0)
    weights, _ = initialize((20, 10, 5, 1), "xavier", seed=0)
    np.testing.assert_array_equal(network.weights[0], weights[0])
    assert network.init == "xavier"
