"""``fastbp.sigmoid``, ``relu`` and the like: accuracy, special values, dtypes, ``out=``.

Accuracy is stated in ULP, the distance to the next number of the result's dtype. With u = eps / 2
sigmoid's formulas round as follows: e = exp(-abs(x)) to 2 u (its last addition, and what comes
before it); sigmoid's quotient is corrected and adds u; in the derivative 1 + e adds u, its square
and the division u each. That makes 3 u for e / (1 + e), at most 3 ULP, and 7 u for e / (1 + e)^2.
What is asserted is nearer to what is found: 1.56 ULP for sigmoid over all float32, and 4.22 ULP for
the derivative, at 4.8399496, over every float32 from 2^-15 to 256. The others' errors are tested in
``test_activations.py``, and found by ``benchmarks/activation_ulp.py``.

What keywords do is in ``test_elementwise_keywords.py``.
"""

from __future__ import annotations

import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import fastbp
from fastbp.kernels.compile import machine
from fastbp.kernels.functions.activations import MOST_ULP
from fastbp.kernels.functions.elementwise import BLOCK, CODES
from tests import oracle
from tests.layouts import LAYOUTS
from tests.tolerance import assert_within

DTYPES = ["float32", "float64"]
FUNCTIONS = [getattr(fastbp, name) for name in CODES]
SIGMOIDS = [fastbp.sigmoid, fastbp.sigmoid_derivative]
# The limits far on the left; on the right it is x, or the slope 1, but for the sigmoids.
FAR_LEFT = {"tanh": -1.0, "leaky_relu": -np.inf, "leaky_relu_derivative": 0.01, "elu": -1.0}
FAR_RIGHT = {"sigmoid": 1.0, "sigmoid_derivative": 0.0, "tanh": 1.0, "tanh_derivative": 0.0}

each_dtype = pytest.mark.parametrize("dtype", DTYPES)
each_function = pytest.mark.parametrize("function", FUNCTIONS, ids=lambda f: f.__name__)
each_sigmoid = pytest.mark.parametrize("function", SIGMOIDS, ids=lambda f: f.__name__)


def reference(function, x):
    """The same function in x's own precision, straight from exp(-abs(x)); of the sigmoids."""
    e = np.exp(-np.abs(x))
    if function is fastbp.sigmoid:
        return np.where(x < 0, e, 1) / (1 + e)
    return e / (1 + e) ** 2


def exact(function, x):
    """The oracle's value for float64 x, and what its error and the function's are relative to."""
    x = np.asarray(x, np.float64)
    name, derivative, _ = function.__name__.partition("_derivative")
    activation = oracle.ACTIVATIONS[name]
    if not derivative:
        value = activation.value(x)
        return value, np.abs(value)
    value = activation.slope(x)
    size = np.abs(value)
    if name in ("silu", "gelu"):  # sums that cross 0: the factor of x counts, if it is larger
        with np.errstate(invalid="ignore"):
            size = np.fmax(size, np.abs(activation.value(x) / x))
    return value, size


def assert_accurate(actual, function, x, dtype=None, rounding=0.0):
    """Assert that it is the function of x but for its own error, and that of float64's oracle."""
    dtype = np.dtype(dtype or actual.dtype)
    value, size = exact(function, x)
    ulp = np.spacing(size.astype(dtype)).astype(np.float64)
    wide = np.asarray(x, np.float64)
    # exp(-z^2 / 2) and erfc(z) multiply the error of z by z^2.
    steep = wide * wide if function.__name__.startswith("gelu") else 0
    bound = MOST_ULP[function.__name__] * ulp + (8 + steep) * np.finfo(np.float64).eps * size
    assert_within(actual, value, bound + rounding * ulp, function.__name__)


def normals(n: int, dtype: str) -> np.ndarray:
    return np.random.default_rng(n).normal(scale=4, size=n).astype(dtype)


# ------------------------------------------------------------------ accuracy


def bit_patterns(dtype: str) -> np.ndarray:
    """2^20 numbers from all over the range of a dtype: each sign, exponent, many mantissas."""
    size = np.dtype(dtype).itemsize * 8
    rng = np.random.default_rng(0)
    step = 1 << (size - 20)
    bits = np.arange(1 << 20, dtype=f"u{size // 8}") * step
    bits += rng.integers(0, step, size=bits.shape, dtype=bits.dtype)
    x = bits.view(dtype)
    return x[np.isfinite(x)]


def where_it_bends(dtype: str) -> np.ndarray:
    """2^20 numbers from where the functions are neither 0 nor 1."""
    widest = -float(np.log(np.finfo(dtype).smallest_subnormal)) + 2
    return np.random.default_rng(1).uniform(-widest, widest, 1 << 20).astype(dtype)


@each_sigmoid
@each_dtype
@pytest.mark.parametrize("sample", [bit_patterns, where_it_bends])
def test_error_in_ulp(function, dtype, sample):
    wider = np.float64 if dtype == "float32" else np.longdouble
    if np.finfo(wider).eps > np.finfo(dtype).eps / 1000:
        pytest.skip("no dtype here is wider than float64")
    x = sample(dtype)
    exact = reference(function, x.astype(wider))
    ulp = np.spacing(np.abs(exact).astype(dtype)).astype(wider)
    error = np.abs(function(x) - exact) / ulp
    assert error.max() < MOST_ULP[function.__name__], f"at {x[error.argmax()]!r}"


@each_function
@pytest.mark.parametrize("dtype", ["f2", "i1", "u1", "?"])
def test_float16_is_rounded_from_float32(function, dtype):
    x = np.arange(-120, 120).astype(dtype)
    result = function(x)
    assert result.dtype == np.float16
    value, size = exact(function, x)
    half_an_ulp = 0.5 * np.spacing(np.abs(value).astype(np.float16)).astype(np.float64)
    own = MOST_ULP[function.__name__] * np.finfo(np.float32).eps * size
    assert_within(result, value, (half_an_ulp + own) * 1.001, "float16")


@each_function
@each_dtype
def test_against_the_oracle(function, dtype):
    x = normals(5000, dtype)
    assert_accurate(function(x), function, x)


@each_dtype
def test_the_two_sides_of_sigmoid_add_up_to_one(dtype):
    x = normals(10_000, dtype)
    total = fastbp.sigmoid(x).astype(np.longdouble) + fastbp.sigmoid(-x)
    # Either side is below 1, so an ULP of it is at most eps / 2.
    assert_within(total, np.ones(x.shape), MOST_ULP["sigmoid"] * np.finfo(dtype).eps, "sum")


@each_dtype
def test_sigmoid_grows(dtype):
    widest = -np.log(np.finfo(dtype).smallest_subnormal) + 2
    for edge in (widest, 1.0, 2.0**-10):
        y = fastbp.sigmoid(np.linspace(-edge, edge, 100_000, dtype=dtype))
        assert (np.diff(y) >= 0).all()


@each_dtype
@pytest.mark.parametrize("exponent", range(-4, 7))
@pytest.mark.parametrize("sign", [-1, 1])
def test_sigmoid_of_neighbours_never_goes_back(dtype, exponent, sign):
    start = np.array([2.0**exponent], dtype)
    integers = start.view(f"i{start.itemsize}")
    x = sign * (integers + np.arange(100_000)).astype(integers.dtype).view(dtype)
    y = fastbp.sigmoid(x)
    assert (sign * np.diff(y) >= 0).all()


# ------------------------------------------------------------------ special values


@each_dtype
@pytest.mark.parametrize("zero", [0.0, -0.0])
def test_exact_at_zero(dtype, zero):
    x = np.full(33, zero, dtype)
    np.testing.assert_array_equal(fastbp.sigmoid(x), 0.5)
    np.testing.assert_array_equal(fastbp.sigmoid_derivative(x), 0.25)


@each_dtype
def test_far_out_it_is_exactly_zero_and_one(dtype):
    info = np.finfo(dtype)
    far = np.array([800.0, 1e4, 1e30, info.max, np.inf], dtype)
    np.testing.assert_array_equal(fastbp.sigmoid(far), 1.0)
    np.testing.assert_array_equal(fastbp.sigmoid(-far), 0.0)
    np.testing.assert_array_equal(fastbp.sigmoid_derivative(far), 0.0)
    np.testing.assert_array_equal(fastbp.sigmoid_derivative(-far), 0.0)


@each_dtype
@each_function
def test_nan_stays_nan_in_its_own_place(function, dtype):
    x = normals(100, dtype)
    for place in (0, 50, 99):
        with_nan = x.copy()
        with_nan[place] = np.nan
        y = function(with_nan)
        assert np.flatnonzero(np.isnan(y)).tolist() == [place]
        np.testing.assert_array_equal(np.delete(y, place), np.delete(function(x), place))


@each_function
@each_dtype
def test_far_out_are_the_limits(function, dtype):
    info = np.finfo(dtype)
    far = np.array([800.0, 1e4, 1e30, info.max, np.inf], dtype)
    name = function.__name__
    slope = name.endswith("_derivative")
    right = FAR_RIGHT.get(name, 1.0 if slope else far)
    left = FAR_LEFT.get(name, 0.0)
    if name == "leaky_relu":
        left = np.array(-0.01, dtype) * far
    np.testing.assert_array_equal(function(far), np.broadcast_to(right, far.shape))
    np.testing.assert_array_equal(function(-far), np.broadcast_to(left, far.shape).astype(dtype))


@each_function
@each_dtype
@pytest.mark.parametrize("zero", [0.0, -0.0])
def test_at_zero_it_is_what_the_oracle_says(function, dtype, zero):
    x = np.full(33, zero, dtype)
    np.testing.assert_array_equal(function(x), np.array(exact(function, x)[0], dtype))


@each_function
@each_dtype
def test_finite_for_every_finite_input(function, dtype):
    assert np.isfinite(function(bit_patterns(dtype))).all()


@each_dtype
def test_subnormal_input(dtype):
    info = np.finfo(dtype)
    x = np.array([info.smallest_subnormal, info.tiny / 2, info.tiny], dtype)
    for values in (x, -x):
        np.testing.assert_array_equal(fastbp.sigmoid(values), 0.5)
        np.testing.assert_array_equal(fastbp.sigmoid_derivative(values), 0.25)


@each_dtype
def test_subnormal_results_are_not_flushed_to_zero(dtype):
    info = np.finfo(dtype)
    x = np.log(np.array([info.smallest_subnormal * 3, info.tiny / 2], dtype))
    y = fastbp.sigmoid(x)
    assert ((y > 0) & (y < info.tiny)).all()


@each_dtype
@each_function
def test_no_floating_point_error_is_raised(function, dtype):
    info = np.finfo(dtype)
    x = np.array([info.max, info.tiny, info.smallest_subnormal, 90, 750, np.inf, np.nan], dtype)
    with np.errstate(all="raise"):
        function(np.concatenate([x, -x]))


# ------------------------------------------------------------------ dtypes, shapes, layouts


@each_function
@pytest.mark.parametrize(
    "dtype", ["?", "u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f2", "f4", "f8", ">f4", ">f8"]
)
def test_the_dtype_is_that_of_numpy_exp(function, dtype):
    x = np.array([0, 1, 1, 0], dtype)
    y = function(x)
    assert y.dtype == np.exp(x).dtype
    assert_accurate(y, function, x.astype(np.float64), rounding=0.5)
    assert type(function(x[0])) is type(np.exp(x[0]))


@each_function
@pytest.mark.parametrize("dtype", ["U1", "S1", "M8[s]", "m8[s]", "V4"])
def test_dtypes_that_are_refused(function, dtype):
    with pytest.raises(TypeError, match=function.__name__):
        function(np.zeros(3, dtype))


@each_function
def test_scalars_and_lists(function):
    assert type(function(1)) is np.float64
    assert type(function(np.float32(1))) is np.float32
    assert type(function(np.array(1.0))) is np.float64
    np.testing.assert_array_equal(function([0, 1]), function(np.array([0.0, 1.0])))


@pytest.mark.parametrize("shape", [(0,), (3, 0), (0, 2, 2)])
@each_function
def test_empty(function, shape):
    y = function(np.empty(shape, np.float32))
    assert (y.shape, y.dtype) == (shape, np.float32)


@pytest.mark.parametrize("layout", LAYOUTS)
@each_function
@each_dtype
def test_layout_does_not_matter(function, dtype, layout):
    x = normals(35 * 21, dtype).reshape(35, 21)
    np.testing.assert_array_equal(function(LAYOUTS[layout](x)), function(x))
    np.testing.assert_array_equal(
        function(np.broadcast_to(x[0], (4, 21))), np.broadcast_to(function(x[0]), (4, 21))
    )


def around(*sizes: int) -> list[int]:
    return sorted({size + d for size in sizes for d in (-1, 0, 1) if size + d > 0})


@pytest.mark.machine
@each_function
@each_dtype
def test_every_edge_of_vectors_and_blocks(function, dtype):
    lanes = machine.tiles(np.dtype(dtype).itemsize).lanes
    x = normals(2 * BLOCK + lanes, dtype)
    whole = function(x)
    for n in [*around(1, lanes, 2 * lanes, BLOCK, BLOCK + lanes, 2 * BLOCK)]:
        buffer = np.full(n + 2, 7, dtype)
        function(x[:n], out=buffer[1:-1])
        np.testing.assert_array_equal(buffer[1:-1], whole[:n])
        assert buffer[0] == buffer[-1] == 7


@each_function
@each_dtype
def test_the_same_bits_with_any_number_of_threads(function, dtype, set_num_threads):
    x = normals(300_001, dtype)
    results = []
    for threads in (1, 2):
        set_num_threads(threads)
        results.append(function(x))
    np.testing.assert_array_equal(*results)


@each_dtype
def test_several_python_threads_at_once(dtype):
    """Each has its own scratch memory, and its own team."""
    x = normals(70_001, dtype)
    expected = {function.__name__: function(x) for function in FUNCTIONS}
    wrong = []

    def work(start):
        for function in FUNCTIONS[start:] + FUNCTIONS[:start]:
            if not np.array_equal(function(x), expected[function.__name__]):
                wrong.append(function.__name__)

    workers = [threading.Thread(target=work, args=(start,)) for start in (0, 5, 10)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert wrong == []


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    hnp.arrays(
        st.sampled_from(["f4", "f8", "i2", "u1"]),
        hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=6),
        elements=st.integers(0, 100),
    ),
    st.sampled_from(FUNCTIONS),
    st.data(),
)
def test_any_shape_and_strides(x, function, data):
    view = x[tuple(slice(None, None, data.draw(st.sampled_from([1, 2, -1]))) for _ in x.shape)]
    y = function(view)
    assert y.shape == view.shape
    np.testing.assert_array_equal(y, function(view.copy()))


# ------------------------------------------------------------------ out


@each_function
@each_dtype
@pytest.mark.parametrize("layout", [name for name in LAYOUTS if name != "read-only"])
def test_out_may_have_any_layout(function, dtype, layout):
    x = normals(35 * 21, dtype).reshape(35, 21)
    out = LAYOUTS[layout](np.full(x.shape, np.nan, dtype))
    assert function(x, out=out) is out
    np.testing.assert_array_equal(out, function(x))


@each_function
@each_dtype
def test_in_place(function, dtype):
    x = normals(1001, dtype)
    expected = function(x)
    whole, strided, reverse = x.copy(), x.copy(), x.copy()
    np.testing.assert_array_equal(function(whole, out=whole), expected)
    function(strided[::2], out=strided[::2])
    np.testing.assert_array_equal(strided[::2], expected[::2])
    np.testing.assert_array_equal(strided[1::2], x[1::2])
    np.testing.assert_array_equal(function(reverse, out=reverse[::-1])[::-1][::-1], expected)


@each_function
@each_dtype
@pytest.mark.parametrize("shift", [1, 5, 16])
def test_shifted_views_of_one_array(function, dtype, shift):
    x = normals(1001, dtype)
    for source, target in [(np.s_[:-shift], np.s_[shift:]), (np.s_[shift:], np.s_[:-shift])]:
        buffer = x.copy()
        function(buffer[source], out=buffer[target])
        np.testing.assert_array_equal(buffer[target], function(x[source]))


@each_function
@pytest.mark.parametrize(
    ("source", "target"), [("f4", "f8"), ("f8", "f4"), ("i4", "f4"), ("u1", "f4"), ("f4", ">f4")]
)
def test_out_of_another_dtype_of_the_same_kind(function, source, target):
    x = np.arange(5).astype(source)
    out = np.empty(5, target)
    assert function(x, out=out) is out
    # Computed in the dtype that x asks for, and rounded to out's.
    coarsest = max(function(x).dtype, np.dtype(target), key=lambda dtype: np.finfo(dtype).eps)
    assert_accurate(out, function, x.astype(np.float64), coarsest.newbyteorder("="), 0.5)


@each_function
def test_out_of_no_dimensions(function):
    out = np.empty((), np.float32)
    assert function(np.float32(1.5), out=out) is out
    assert out == function(np.float32(1.5))


@each_function
@pytest.mark.parametrize(
    ("out", "error"),
    [
        (np.ones(4, "f4"), ValueError),
        (np.ones((3, 1), "f4"), ValueError),
        (np.ones((3, 0), "f4"), ValueError),
        (np.ones(3, "i4"), TypeError),
        (np.broadcast_to(np.ones(1, "f4"), 3), ValueError),
        ([1.0, 1.0, 1.0], TypeError),
    ],
)
def test_out_that_cannot_take_the_result(function, out, error):
    with pytest.raises(error, match="out"):
        function(np.full(3, 5, np.float32), out=out)
    assert (np.asarray(out) == 1).all()
