"""``fastbp.linear`` and ``linear_update`` against the oracle."""

from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fastbp
from fastbp.activations import ACTIVATIONS
from fastbp.kernels.compile import machine
from fastbp.kernels.functions.activations import MOST_ULP
from tests import oracle
from tests.function_errors import FUNCTION_ROUNDOFFS
from tests.layouts import LAYOUTS
from tests.tolerance import assert_within, gamma

DTYPES = ["float32", "float64"]
ROWS, OUTPUTS, INPUTS = 37, 29, 43

each_dtype = pytest.mark.parametrize("dtype", DTYPES)
each_activation = pytest.mark.parametrize("activation", [None, *ACTIVATIONS])

STEEPEST = {"sigmoid": 0.25, "gelu": 1.13, "silu": 1.1}  # the largest slope; 1 of the others


def random_array(*shape: int, dtype: str, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng([seed, *shape])
    if np.dtype(dtype).kind == "u":
        return rng.integers(0, 256, size=shape, dtype=dtype)
    return rng.normal(size=shape).astype(dtype)


def layer(dtype: str, rows: int = ROWS, outputs: int = OUTPUTS, inputs: int = INPUTS, x_dtype=None):
    """Return x, weight and bias; weights are small enough that no sigmoid saturates."""
    x = random_array(rows, inputs, dtype=x_dtype or dtype, seed=1)
    size = (128 if x.dtype == np.uint8 else 1) * max(inputs, 1) ** 0.5
    weight = (random_array(outputs, inputs, dtype="float64", seed=2) / size).astype(dtype)
    return x, weight, random_array(outputs, dtype=dtype, seed=3)


def assert_linear(actual, x, weight, bias=None, activation=None) -> None:
    exact = oracle.linear(x, weight, bias)
    magnitude = None if bias is None else np.abs(bias)
    size = oracle.linear(np.abs(x.astype(np.float64)), np.abs(weight), magnitude)
    # Twice the terms: in float64 the oracle rounds as often as what it judges.
    bound = gamma(2 * (x.shape[-1] + 2), actual.dtype) * size
    if activation is not None:
        exact = oracle.ACTIVATIONS[activation].value(exact)
        ulp = np.finfo(actual.dtype).eps * np.abs(exact)
        # The oracle's own error is that of float64, which the last term is for.
        bound = (
            STEEPEST.get(activation, 1.0) * bound
            + MOST_ULP[activation] * ulp
            + gamma(FUNCTION_ROUNDOFFS, "float64") * np.abs(exact)
        )
    assert_within(actual, exact, bound, "linear")


# ------------------------------------------------------------------ linear


@pytest.mark.machine
@each_dtype
@each_activation
@pytest.mark.parametrize("with_bias", [False, True])
def test_linear_around_every_edge_of_the_tile(dtype, activation, with_bias):
    shape = machine.tiles(np.dtype(dtype).itemsize)
    for rows in (1, 2, shape.row_step + 1, shape.mr, shape.mr + 1, shape.strip + 1):
        for outputs in (1, 3, shape.lanes - 1, shape.lanes, shape.nr, shape.nr + 1, 700):
            for inputs in (1, shape.lanes + 1, shape.kc, shape.kc + 1):
                x, weight, bias = layer(dtype, rows, outputs, inputs)
                bias = bias if with_bias else None
                z = fastbp.linear(x, weight, bias, activation=activation)
                assert z.dtype == np.dtype(dtype)
                assert_linear(z, x, weight, bias, activation)


@each_activation
@pytest.mark.parametrize("x_dtype", ["float32", "float64", "uint8"])
@each_dtype
def test_linear_of_any_rows(dtype, x_dtype, activation):
    x, weight, bias = layer(dtype, x_dtype=x_dtype)
    z = fastbp.linear(x, weight, bias, activation=activation)
    assert z.dtype == np.result_type(x, weight)
    assert_linear(z, x, weight, bias, activation)


@pytest.mark.parametrize("x_dtype", ["?", "i1", "u2", "i4", "i8", "f2", "f4", "f8"])
@pytest.mark.parametrize("dtype", ["f2", "f4", "f8"])
def test_the_dtype_is_that_of_numpy(dtype, x_dtype):
    x, weight = np.arange(12).reshape(3, 4).astype(x_dtype), np.arange(8).reshape(2, 4)
    z = fastbp.linear(x, weight.astype(dtype), np.array([1, 2], dtype))
    expected = x @ weight.T.astype(dtype) + np.array([1, 2], dtype)
    assert z.dtype == expected.dtype
    np.testing.assert_array_equal(z, expected)


@each_activation
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("x_dtype", ["float32", "uint8"])
def test_layout_does_not_matter_to_linear(layout, x_dtype, activation):
    x, weight, bias = layer("float32", x_dtype=x_dtype)
    expected = fastbp.linear(x, weight, bias, activation=activation)
    lay_out = LAYOUTS[layout]
    for arguments in [
        (lay_out(x), weight, bias),
        (x, lay_out(weight), bias),
        (x, weight, lay_out(bias[:, np.newaxis])[:, 0]),
    ]:
        z = fastbp.linear(*arguments, activation=activation)
        np.testing.assert_array_equal(z, expected)


@pytest.mark.parametrize("shape", [(INPUTS,), (2, 3, INPUTS), (0, INPUTS), (2, 0, INPUTS)], ids=str)
@each_dtype
def test_leading_dimensions_are_kept(dtype, shape):
    _, weight, bias = layer(dtype)
    x = random_array(*shape, dtype=dtype)
    z = fastbp.linear(x, weight, bias)
    assert z.shape == (*shape[:-1], OUTPUTS)
    assert_linear(z, x, weight, bias)


@each_activation
@each_dtype
def test_without_inputs_only_the_bias_is_left(dtype, activation):
    _, _, bias = layer(dtype)
    z = fastbp.linear(np.ones((3, 0), dtype), np.ones((OUTPUTS, 0), dtype), bias)
    np.testing.assert_array_equal(z, np.broadcast_to(bias, z.shape))
    assert fastbp.linear(np.ones((3, 4), dtype), np.ones((0, 4), dtype)).shape == (3, 0)


@each_activation
@pytest.mark.parametrize("layout", [name for name in LAYOUTS if name != "read-only"])
@each_dtype
def test_linear_into_out(dtype, layout, activation):
    x, weight, bias = layer(dtype)
    out = LAYOUTS[layout](np.full((ROWS, OUTPUTS), np.nan, dtype))
    assert fastbp.linear(x, weight, bias, activation=activation, out=out) is out
    np.testing.assert_array_equal(out, fastbp.linear(x, weight, bias, activation=activation))


@each_dtype
def test_linear_into_out_of_more_dimensions_or_another_dtype(dtype):
    x, weight, bias = layer(dtype, rows=6)
    expected = fastbp.linear(x, weight, bias)
    out = np.empty((2, 3, OUTPUTS), dtype)
    fastbp.linear(x.reshape(2, 3, INPUTS), weight, bias, out=out)
    np.testing.assert_array_equal(out.reshape(6, OUTPUTS), expected)
    half = np.empty((6, OUTPUTS), np.float16)
    fastbp.linear(x, weight, bias, out=half)
    np.testing.assert_array_equal(half, expected.astype(np.float16))


@each_activation
@each_dtype
def test_out_may_be_an_input_of_linear(dtype, activation):
    x, weight, bias = layer(dtype, rows=INPUTS, outputs=INPUTS)
    expected = fastbp.linear(x, weight, bias, activation=activation)
    for i in range(3):
        arguments = [x.copy(), weight.copy(), bias.copy()]
        if i == 2:  # the bias is a row of out
            out = np.tile(bias, (INPUTS, 1))
            arguments[2] = out[5]
        else:
            out = arguments[i]
        fastbp.linear(*arguments, activation=activation, out=out)
        np.testing.assert_array_equal(out, expected)


@each_activation
@each_dtype
def test_linear_has_the_same_bits_with_any_number_of_threads(dtype, activation, set_num_threads):
    for rows, outputs in [(300, 70), (70, 300)]:
        x, weight, bias = layer(dtype, rows, outputs, 401)
        results = []
        for threads in (1, 2):
            set_num_threads(threads)
            results.append(fastbp.linear(x, weight, bias, activation=activation))
        np.testing.assert_array_equal(*results)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ((np.ones((2, 3)), np.ones((4, 5))), ValueError, "3 features, but weight expects 5"),
        ((np.ones((2, 3)), np.ones(3)), ValueError, "weight two"),
        ((np.ones((2, 3)), np.ones((1, 4, 3))), ValueError, "weight two"),
        ((2.0, np.ones((4, 3))), ValueError, "at least one dimension"),
        ((np.ones((2, 3)), np.ones((4, 3)), np.ones(3)), ValueError, "bias must have shape (4,)"),
        ((np.ones((2, 3)), np.ones((4, 3)), 1.0), ValueError, "bias must have shape (4,)"),
        ((np.ones((2, 3), int), np.ones((4, 3), int)), TypeError, "floating"),
        ((np.ones((2, 3), complex), np.ones((4, 3))), TypeError, "x must hold real numbers"),
        ((np.ones((2, 3)), np.ones((4, 3), object)), TypeError, "weight must hold real numbers"),
        ((np.ones((2, 3)), np.ones((4, 3)), np.full(4, "1")), TypeError, "bias must hold real"),
    ],
)
def test_what_linear_refuses(arguments, error, message):
    with pytest.raises(error, match=re.escape(message)):
        fastbp.linear(*arguments)


def test_unknown_activations():
    x, weight = np.ones((2, 3)), np.ones((4, 3))
    with pytest.raises(ValueError, match=r"one of: 'identity', .*'silu', got 'softsign'"):
        fastbp.linear(x, weight, activation="softsign")
    with pytest.raises(TypeError, match=r"None or a str, got \('relu',\)"):
        fastbp.linear(x, weight, activation=("relu",))


def test_logistic_is_another_name():
    x, weight, bias = layer("float32")
    np.testing.assert_array_equal(
        fastbp.linear(x, weight, bias, activation="logistic"),
        fastbp.linear(x, weight, bias, activation="sigmoid"),
    )


@each_activation
@each_dtype
def test_the_activation_has_the_bits_of_the_function_on_arrays(dtype, activation):
    # A square, one that is cut along k, thin ones by rows and columns, and one that is turned.
    for rows, outputs, inputs in [(40, 40, 40), (20, 20, 9000), (1, 700, 500), (900, 1, 300),
                                  (3, 2000, 64), (30, 900, 700)]:  # fmt: skip
        x, weight, bias = layer(dtype, rows, outputs, inputs)
        z = fastbp.linear(x, weight, bias)
        function = getattr(fastbp, activation or "identity", np.positive)
        found = fastbp.linear(x, weight, bias, activation=activation)
        np.testing.assert_array_equal(found, function(z))


def test_out_of_linear_as_a_tuple():
    x, weight, bias = layer("float32")
    out = np.empty((ROWS, OUTPUTS), np.float32)
    assert fastbp.linear(x, weight, bias, activation="relu", out=(out,)) is out
    np.testing.assert_array_equal(out, fastbp.linear(x, weight, bias, activation="relu"))


@pytest.mark.parametrize(
    ("out", "error"),
    [
        (np.ones((3, 4)), ValueError),
        (np.ones((1, 2, 4)), ValueError),
        (np.ones((2, 4), int), TypeError),
        (np.broadcast_to(1.0, (2, 4)), ValueError),
        ([[1.0] * 4] * 2, TypeError),
    ],
)
def test_out_that_cannot_take_the_result_of_linear(out, error):
    with pytest.raises(error, match="out"):
        fastbp.linear(np.ones((2, 3)), np.ones((4, 3)), out=out)
    assert (np.asarray(out) == 1).all()


# ------------------------------------------------------------------ linear_update


def assert_update(dtype, rows, outputs, inputs, *, x_dtype=None, rate=0.25, decay=0.5) -> None:
    x, weight, bias = layer(dtype, rows, outputs, inputs, x_dtype)
    delta = random_array(rows, outputs, dtype=dtype, seed=4)
    before, bias_before = weight.copy(), bias.copy()
    result = fastbp.linear_update(weight, bias, x, delta, learning_rate=rate, weight_decay=decay)
    assert result is None
    assert_updated(weight, bias, before, bias_before, x, delta, rate, decay)


def assert_updated(weight, bias, before, bias_before, x, delta, rate, decay) -> None:
    exact, exact_bias = oracle.linear_update(
        before, bias_before, x, delta, learning_rate=rate, weight_decay=decay
    )
    roundings = gamma(2 * (len(x) + 6), weight.dtype)
    sizes = np.abs(delta.astype(np.float64))
    keep = abs(1 - rate * decay)
    size = keep * np.abs(before) + abs(rate) * (sizes.T @ np.abs(x.astype(np.float64)))
    assert_within(weight, exact, roundings * size, "weight")
    if bias is not None:
        size = np.abs(bias_before) + abs(rate) * sizes.sum(axis=0)
        assert_within(bias, exact_bias, roundings * size, "bias")


@pytest.mark.machine
@each_dtype
def test_update_around_every_edge_of_the_tile(dtype):
    shape = machine.tiles(np.dtype(dtype).itemsize)
    for outputs in (1, 2, shape.row_step + 1, shape.mr, shape.mr + 1, shape.strip + 1):
        for inputs in (1, shape.lanes - 1, shape.lanes, shape.nr, shape.nr + 1, shape.strip + 1):
            for rows in (1, 2, shape.lanes + 1, shape.kc, shape.kc + 1, 2 * shape.kc + 1):
                assert_update(dtype, rows, outputs, inputs)


@each_dtype
@pytest.mark.parametrize("x_dtype", ["float32", "float64", "uint8", "float16", "int16", "bool"])
def test_update_from_rows_of_any_dtype(dtype, x_dtype):
    x, weight, bias = layer(dtype)
    x = (x * 20).astype(x_dtype)
    delta = random_array(ROWS, OUTPUTS, dtype=dtype, seed=4)
    before, bias_before = weight.copy(), bias.copy()
    fastbp.linear_update(weight, bias, x, delta, learning_rate=0.25, weight_decay=0.5)
    seen = x.astype(dtype)  # what the weight's dtype can hold of it
    assert_updated(weight, bias, before, bias_before, seen, delta, 0.25, 0.5)


@each_dtype
@pytest.mark.parametrize(("rate", "decay"), [(0.1, 0.0), (0.0, 0.0), (0.5, 2.0), (-0.1, 0.1)])
def test_rates(dtype, rate, decay):
    assert_update(dtype, ROWS, OUTPUTS, INPUTS, rate=rate, decay=decay)


@each_dtype
def test_bias_may_be_none(dtype):
    x, weight, _ = layer(dtype)
    delta = random_array(ROWS, OUTPUTS, dtype=dtype, seed=4)
    before = weight.copy()
    fastbp.linear_update(weight, None, x, delta, learning_rate=0.25)
    assert_updated(weight, None, before, np.zeros(OUTPUTS), x, delta, 0.25, 0.0)


@each_dtype
def test_no_rows_leave_only_the_decay(dtype):
    _, weight, bias = layer(dtype)
    before, bias_before = weight.copy(), bias.copy()
    x, delta = np.empty((0, INPUTS), dtype), np.empty((0, OUTPUTS), dtype)
    fastbp.linear_update(weight, bias, x, delta, learning_rate=0.5, weight_decay=0.5)
    np.testing.assert_array_equal(weight, before * np.array(0.75, dtype))
    np.testing.assert_array_equal(bias, bias_before)


@pytest.mark.parametrize(("outputs", "inputs"), [(0, 4), (4, 0), (0, 0)])
def test_weights_of_size_zero(outputs, inputs):
    weight, bias = np.ones((outputs, inputs)), np.ones(outputs)
    x, delta = np.ones((3, inputs)), np.ones((3, outputs))
    fastbp.linear_update(weight, bias, x, delta, learning_rate=0.5)
    np.testing.assert_array_equal(bias, np.full(outputs, -0.5))


@pytest.mark.parametrize("layout", LAYOUTS)
@each_dtype
def test_layout_of_x_and_delta_does_not_matter(dtype, layout):
    x, weight, bias = layer(dtype)
    delta = random_array(ROWS, OUTPUTS, dtype=dtype, seed=4)
    other, other_bias = weight.copy(), bias.copy()
    fastbp.linear_update(weight, bias, x, delta, learning_rate=0.25, weight_decay=0.5)
    fastbp.linear_update(
        other, other_bias, LAYOUTS[layout](x), LAYOUTS[layout](delta), learning_rate=0.25,
        weight_decay=0.5,
    )  # fmt: skip
    np.testing.assert_array_equal(other, weight)
    # The bias's sum over rows may be taken in another order.
    bound = 2 * gamma(ROWS + 4, dtype) * (np.abs(bias) + 2 * np.abs(delta).sum(axis=0))
    assert_within(other_bias, bias.astype(np.float64), bound, "bias")


@pytest.mark.parametrize(
    "layout", [name for name in LAYOUTS if name not in {"read-only", "byte-swapped"}]
)
@each_dtype
def test_a_weight_of_any_layout_is_updated_in_place(dtype, layout):
    x, weight, bias = layer(dtype)
    delta = random_array(ROWS, OUTPUTS, dtype=dtype, seed=4)
    view, bias_view = LAYOUTS[layout](weight), LAYOUTS[layout](bias[:, np.newaxis])[:, 0]
    fastbp.linear_update(weight, bias, x, delta, learning_rate=0.25, weight_decay=0.5)
    fastbp.linear_update(view, bias_view, x, delta, learning_rate=0.25, weight_decay=0.5)
    np.testing.assert_array_equal(view, weight)
    np.testing.assert_array_equal(bias_view, bias)


@each_dtype
def test_nothing_beside_the_weight_is_written(dtype):
    x, weight, bias = layer(dtype)
    delta = random_array(ROWS, OUTPUTS, dtype=dtype, seed=4)
    buffer = np.full((OUTPUTS + 4, INPUTS + 6), 7, dtype)
    buffer[2:-2, 3:-3] = weight
    fastbp.linear_update(buffer[2:-2, 3:-3], bias, x, delta, learning_rate=0.25)
    buffer[2:-2, 3:-3] = 7
    assert (buffer == 7).all()


@each_dtype
def test_weight_may_overlap_what_is_read(dtype):
    weight = random_array(INPUTS, INPUTS, dtype=dtype)
    for x, delta in [(weight, weight.T.copy()), (weight.T.copy(), weight), (weight, weight.T)]:
        apart, x_apart, delta_apart = weight.copy(), x.copy(), delta.copy()
        fastbp.linear_update(apart, None, x_apart, delta_apart, learning_rate=0.25)
        before = weight.copy()
        fastbp.linear_update(weight, None, x, delta, learning_rate=0.25)
        np.testing.assert_array_equal(weight, apart)
        weight[...] = before


@each_dtype
def test_update_has_the_same_bits_with_any_number_of_threads(dtype, set_num_threads):
    results = []
    for threads in (1, 2):
        set_num_threads(threads)
        x, weight, bias = layer(dtype, 300, 70, 401)
        delta = random_array(300, 70, dtype=dtype, seed=4)
        fastbp.linear_update(weight, bias, x, delta, learning_rate=0.25, weight_decay=0.5)
        results.append((weight, bias))
    for one, two in zip(*results, strict=True):
        np.testing.assert_array_equal(one, two)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.sampled_from(DTYPES), *[st.integers(1, 70)] * 3, st.sampled_from([None, "uint8"]))
def test_update_of_any_size(dtype, rows, outputs, inputs, x_dtype):
    assert_update(dtype, rows, outputs, inputs, x_dtype=x_dtype)


GOOD = {
    "weight": np.ones((4, 3)),
    "bias": np.ones(4),
    "x": np.ones((5, 3)),
    "delta": np.ones((5, 4)),
    "learning_rate": 0.1,
    "weight_decay": 0.0,
}


@pytest.mark.parametrize(
    ("changed", "error"),
    [
        ({"weight": np.ones((4, 3), int)}, TypeError),
        ({"weight": np.ones((4, 3), np.float16)}, TypeError),
        ({"weight": [[1.0] * 3] * 4}, TypeError),
        ({"weight": np.ones((4, 3), ">f8")}, TypeError),
        ({"weight": np.ones((3, 4))}, ValueError),
        ({"weight": np.ones(12)}, ValueError),
        ({"weight": np.broadcast_to(1.0, (4, 3))}, ValueError),
        ({"bias": np.ones(4, np.float32)}, TypeError),
        ({"bias": np.ones(4, int)}, TypeError),
        ({"bias": [1.0] * 4}, TypeError),
        ({"bias": np.ones(3)}, ValueError),
        ({"bias": np.ones((4, 1))}, ValueError),
        ({"bias": np.broadcast_to(1.0, 4)}, ValueError),
        ({"x": np.ones((6, 3))}, ValueError),
        ({"x": np.ones((5, 2))}, ValueError),
        ({"x": np.ones(3)}, ValueError),
        ({"x": np.ones((5, 3), complex)}, TypeError),
        ({"x": np.full((5, 3), "1")}, TypeError),
        ({"delta": np.ones((5, 3))}, ValueError),
        ({"delta": np.ones((1, 5, 4))}, ValueError),
        ({"delta": np.ones((5, 4), object)}, TypeError),
        ({"learning_rate": np.nan}, ValueError),
        ({"learning_rate": np.inf}, ValueError),
        ({"learning_rate": "fast"}, ValueError),
        ({"weight_decay": -np.inf}, ValueError),
        ({"learning_rate": None}, TypeError),
    ],
)
def test_what_update_refuses_leaves_everything_as_it_was(changed, error):
    arguments = {**GOOD, **changed}
    with pytest.raises(error):
        fastbp.linear_update(**arguments)
    for name in ("weight", "bias"):
        assert (np.asarray(arguments[name]) == 1).all()
