"""``fastbp.matmul`` against float64 NumPy: sizes around every edge, layouts, dtypes, threads.

The bound of every comparison is Higham's: abs(C - A B) <= gamma(k) abs(A) abs(B), in any order of
summation and with or without fused multiply-add. Where k is so long that it would hide what is
wrong, the factors are integers and no difference is allowed.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import fastbp
from fastbp.kernels.compile import machine
from fastbp.kernels.linalg import thin
from tests.layouts import LAYOUTS
from tests.tolerance import assert_within, gamma

DTYPES = ["float32", "float64"]
TRANSPOSITIONS = ["NN", "NT", "TN", "TT"]


def random_matrix(rows: int, columns: int, dtype: str, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng([seed, rows, columns])
    if np.dtype(dtype).kind == "u":
        return rng.integers(0, 256, size=(rows, columns), dtype=dtype)
    return rng.normal(size=(rows, columns)).astype(dtype)


def assert_product(actual, a, b, what: str = "product") -> None:
    """Assert that `actual` is a @ b to within the rounding of its dtype."""
    exact_a, exact_b = a.astype(np.float64), b.astype(np.float64)
    k = a.shape[-1]
    # The float64 reference rounds as often as what it judges; beside float32 that is nothing.
    roundings = k + 1 if actual.dtype == np.float32 else 2 * k
    size = np.abs(exact_a) @ np.abs(exact_b)
    assert_within(actual, exact_a @ exact_b, gamma(roundings, actual.dtype) * size, what)


def hides_a_product(terms: int, dtype: str) -> bool:
    """Whether the bound of a sum of so many products, each about 1, is larger than one of them.

    Some sums of the tests grow with the level-2 cache. At 1 MiB their bound in float32 is larger
    than they are, and would let zeros pass.
    """
    return terms**2 * float(np.finfo(dtype).eps) / 2 >= 1


def random_integers(rows: int, columns: int, terms: int, dtype: str, seed: int = 0) -> np.ndarray:
    """Return integers, none of them 0: sums of `terms` products of two are exact in any order."""
    most = math.isqrt(2 ** (np.finfo(dtype).nmant + 1) // terms)
    assert most > 0, f"no sum of {terms} integers is sure to be exact in {dtype}"
    rng = np.random.default_rng([seed, rows, columns])
    signs = rng.choice([-1.0, 1.0], size=(rows, columns))
    return (signs * rng.integers(1, most, size=(rows, columns), endpoint=True)).astype(dtype)


def assert_multiplies(m: int, n: int, k: int, dtype: str, transposition: str = "NN") -> None:
    exactly = hides_a_product(k, dtype)
    if exactly:
        a, b = random_integers(m, k, k, dtype, seed=1), random_integers(k, n, k, dtype, seed=2)
    else:
        a, b = random_matrix(m, k, dtype, seed=1), random_matrix(k, n, dtype, seed=2)
    left = a if transposition[0] == "N" else np.asfortranarray(a)
    right = b if transposition[1] == "N" else np.asfortranarray(b)
    c = fastbp.matmul(left, right)
    assert c.dtype == a.dtype
    assert c.flags.c_contiguous
    what = f"({m}, {k}) x ({k}, {n}), {transposition}"
    if exactly:
        assert_within(c, a.astype(float) @ b.astype(float), 0, what)
    else:
        assert_product(c, a, b, what)


def around(*sizes: int) -> list[int]:
    """Return the sizes and their neighbours, from 1 up."""
    return sorted({size + d for size in sizes for d in (-1, 0, 1) if size + d > 0})


# ------------------------------------------------------------------ sizes around every edge


def tiles(dtype: str) -> machine.Tiles:
    return machine.tiles(np.dtype(dtype).itemsize)


@pytest.mark.machine
@pytest.mark.parametrize("transposition", TRANSPOSITIONS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_every_edge_of_the_register_tile(dtype, transposition):
    shape = tiles(dtype)
    for m in around(1, shape.row_step, shape.mr, 2 * shape.mr):
        for n in around(1, shape.lanes, 2 * shape.lanes, shape.nr, 2 * shape.nr):
            for k in (1, 4, 7):
                assert_multiplies(m, n, k, dtype, transposition)


@pytest.mark.machine
@pytest.mark.parametrize("transposition", TRANSPOSITIONS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_every_edge_of_the_depth_of_a_block(dtype, transposition):
    shape = tiles(dtype)
    for m, n in [(1, 1), (shape.mr + 1, shape.lanes + 1), (shape.lanes + 1, shape.mr + 1)]:
        for k in [*range(1, 10), *around(shape.lanes, shape.kc, 2 * shape.kc)]:
            assert_multiplies(m, n, k, dtype, transposition)


@pytest.mark.machine
@pytest.mark.parametrize("transposition", TRANSPOSITIONS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_every_edge_of_a_strip(dtype, transposition):
    shape = tiles(dtype)
    few, k = shape.mr + 3, shape.lanes + 3
    for long in around(shape.strip, 32 * shape.mr, 32 * shape.nr):
        assert_multiplies(long, few, k, dtype, transposition)  # B is the smaller operand
        assert_multiplies(few, long, k, dtype, transposition)  # A is


def widest_chunk(shape: machine.Tiles, step: int) -> int:
    """Rows or columns of the smaller operand that fit the shared buffer, in whole panels."""
    return shape.b_chunk // shape.kc // step * step


@pytest.mark.machine
@pytest.mark.parametrize("d", [-1, 0, 1])
@pytest.mark.parametrize("chunks", [1, 2])
@pytest.mark.parametrize("dtype", DTYPES)
def test_every_edge_of_the_widest_chunk(dtype, chunks, d):
    shape = tiles(dtype)
    n = chunks * widest_chunk(shape, shape.nr) + d
    assert_multiplies(n + 3, n, 5, dtype)  # B is the smaller operand
    m = chunks * widest_chunk(shape, shape.mr) + d
    assert_multiplies(m, m + 3, 5, dtype)  # A is


@pytest.mark.machine
@pytest.mark.parametrize("d", [-1, 0, 1])
@pytest.mark.parametrize("m_and_n", [(9, 3), (3, 9), (50, 50), (49, 50), (210, 200)], ids=str)
@pytest.mark.parametrize("dtype", DTYPES)
def test_every_edge_of_the_deepest_chunk(dtype, m_and_n, d):
    shape = tiles(dtype)
    m, n = m_and_n
    step = shape.nr if n <= m else shape.mr  # the smaller operand is packed in whole panels
    most = shape.b_chunk // shape.kc // step * step  # of its edge at a time; pieces are even
    piece = -(-min(m, n) // -(-min(m, n) // most))
    panel = -(-piece // step) * step * shape.kc
    assert_multiplies(m, n, shape.b_chunk // panel * shape.kc + d, dtype)


@pytest.mark.machine
@pytest.mark.parametrize("dtype", DTYPES)
def test_every_edge_of_what_is_near_enough_to_leave_a_in_its_place(dtype, monkeypatch):
    monkeypatch.setattr("fastbp.engine.threads.get_num_threads", lambda: 1)
    shape = tiles(dtype)
    most = shape.b_chunk // shape.kc
    for n in range(most // shape.nr * shape.nr - 1, most + 2):
        assert_multiplies(shape.row_step, n, shape.kc, dtype)
    for m in around(most // shape.row_step * shape.row_step):
        assert_multiplies(m, shape.nr + 1, shape.kc, dtype)


@pytest.mark.parametrize("transposition", TRANSPOSITIONS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_long_and_thin(dtype, transposition):
    for m, n, k in [(1, 3, 12288), (3, 12288, 1), (12288, 1, 3), (1, 12288, 9), (3, 2, 12289)]:
        assert_multiplies(m, n, k, dtype, transposition)


@pytest.mark.machine
@pytest.mark.parametrize("dtype", DTYPES)
def test_an_element_has_the_same_bits_in_any_block_that_is_not_thin(dtype):
    shape = tiles(dtype)
    least = thin.MOST + 1
    m, n, k = 3 * shape.mr + 1, 2 * shape.nr + 3, shape.kc + 5
    a, b = random_matrix(m, k, dtype), random_matrix(k, n, dtype)
    whole = fastbp.matmul(a, b)
    for i in (0, 1, shape.mr, m - least):
        for j in (0, 1, shape.lanes, n - least):
            np.testing.assert_array_equal(fastbp.matmul(a[i:], b[:, j:]), whole[i:, j:])


@pytest.mark.machine
@pytest.mark.parametrize(
    "shape",
    [(301, 203, 401), (203, 301, 401), (12, 1500, 401), (1500, 12, 401), (90, 60, 3300)],
    ids=str,
)
@pytest.mark.parametrize("dtype", DTYPES)
def test_the_same_bits_with_any_number_of_threads(dtype, shape, set_num_threads):
    from numba import config

    m, n, k = shape
    a, b = random_matrix(m, k, dtype), random_matrix(k, n, dtype)
    results = []
    for threads in range(1, config.NUMBA_NUM_THREADS + 1):
        set_num_threads(threads)
        results.append(fastbp.matmul(a, b))
    assert_product(results[0], a, b)
    for result in results[1:]:
        np.testing.assert_array_equal(result, results[0])


# ------------------------------------------------------------------ layouts


@pytest.mark.parametrize("dtype", [*DTYPES, "uint8"])
@pytest.mark.parametrize("shape", [(37, 29, 43), (29, 37, 43), (17, 40, 4200)], ids=str)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_layout_does_not_matter(layout, shape, dtype):
    m, n, k = shape  # the last one is cut along k
    other = "float32" if dtype == "uint8" else dtype
    a, b = random_matrix(m, k, dtype), random_matrix(k, n, dtype)
    left, right = LAYOUTS[layout](a), LAYOUTS[layout](b)
    np.testing.assert_array_equal(left, a)
    plain_a, plain_b = random_matrix(m, k, other, seed=3), random_matrix(k, n, other, seed=4)
    np.testing.assert_array_equal(fastbp.matmul(left, plain_b), fastbp.matmul(a, plain_b))
    np.testing.assert_array_equal(fastbp.matmul(plain_a, right), fastbp.matmul(plain_a, b))
    assert_product(fastbp.matmul(left, plain_b), a, plain_b)
    assert_product(fastbp.matmul(plain_a, right), plain_a, b)


@pytest.mark.parametrize("axis", [0, 1, (0, 1)])
@pytest.mark.parametrize("dtype", DTYPES)
def test_a_broadcast_view_is_what_it_shows(dtype, axis):
    a, b = random_matrix(37, 43, dtype), random_matrix(43, 29, dtype)
    index = tuple(slice(0, 1) if i in np.atleast_1d(axis) else slice(None) for i in range(2))
    left, right = np.broadcast_to(a[index], a.shape), np.broadcast_to(b[index], b.shape)
    assert_product(fastbp.matmul(left, b), left, b)
    assert_product(fastbp.matmul(a, right), a, right)


def test_windows_that_overlap_are_read_where_they_lie():
    series = random_matrix(1, 200, "float32")[0]
    windows = np.lib.stride_tricks.sliding_window_view(series, 16)
    b = random_matrix(16, 5, "float32")
    assert_product(fastbp.matmul(windows, b), windows, b)
    assert_product(fastbp.matmul(windows.T, windows), windows.T, windows)


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_matrix_times_its_own_transpose(dtype):
    a = random_matrix(45, 67, dtype)
    assert_product(fastbp.matmul(a, a.T), a, a.T)
    assert_product(fastbp.matmul(a.T, a), a.T, a)


# ------------------------------------------------------------------ bytes


@pytest.mark.machine
@pytest.mark.parametrize("transposition", TRANSPOSITIONS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_bytes_are_widened_on_either_side(dtype, transposition):
    shape = tiles(dtype)
    for m, n, k in [
        (shape.mr + 1, shape.nr + 1, shape.lanes + 1),
        (shape.nr + 1, shape.mr + 1, shape.kc + 1),
        (2 * shape.lanes, 2 * shape.lanes, 2 * shape.lanes),
    ]:
        for left, right in [("uint8", dtype), (dtype, "uint8")]:
            a, b = random_matrix(m, k, left), random_matrix(k, n, right)
            x = a if transposition[0] == "N" else np.asfortranarray(a)
            y = b if transposition[1] == "N" else np.asfortranarray(b)
            product = fastbp.matmul(x, y)
            assert product.dtype == np.dtype(dtype)
            assert_product(product, a, b, f"{left} x {right}")


# ------------------------------------------------------------------ dtypes, shapes, strides

REAL_DTYPES = ["?", "u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f2", "f4", "f8"]


@pytest.mark.parametrize("left", REAL_DTYPES)
@pytest.mark.parametrize("right", REAL_DTYPES)
def test_the_dtype_is_that_of_numpy(left, right):
    # Values that every dtype holds, and sums that float16 holds: every result is exact.
    a = np.arange(12).reshape(3, 4).astype(left)
    b = np.arange(8).reshape(4, 2).astype(right)
    expected = np.matmul(a, b)
    product = fastbp.matmul(a, b)
    assert product.dtype == expected.dtype
    np.testing.assert_array_equal(product, expected)


def test_float16_is_rounded_once_at_the_end():
    a = np.full((1, 4096), 1 / 16, np.float16)
    b = np.full((4096, 1), 1 + 1 / 1024, np.float16)
    # 256.25 exactly; sums in float16 would stop growing at 128, where a step is lost.
    assert fastbp.matmul(a, b)[0, 0] == np.float16(256.25)


def small_integers(shape, dtype):
    """Arrays of small whole numbers: their products are exact in every dtype and order."""
    low = 0 if np.dtype(dtype).kind in "bu" else -3
    return hnp.arrays(dtype, shape, elements=st.integers(low, 1 if dtype == "?" else 3))


@st.composite
def operands(draw):
    """Two arrays that `numpy.matmul` takes, as views with strides of any size and sign."""
    shapes = draw(
        hnp.mutually_broadcastable_shapes(
            signature="(m?,k),(k,n?)->(m?,n?)", max_dims=2, min_side=0, max_side=5
        )
    )
    arrays = []
    for shape in shapes.input_shapes:
        steps = [draw(st.sampled_from([1, 1, 2, -1, -3])) for _ in shape]
        buffer_shape = tuple(n * abs(step) for n, step in zip(shape, steps, strict=True))
        buffer = draw(small_integers(buffer_shape, draw(st.sampled_from(REAL_DTYPES))))
        order = draw(st.permutations(range(len(shape))))
        buffer = buffer.transpose(order).copy().transpose(np.argsort(order))
        view = buffer[tuple(slice(None, None, step) for step in steps)]
        assert view.shape == shape
        arrays.append(view)
    return arrays


@settings(max_examples=200, deadline=None, derandomize=True)
@given(operands())
def test_any_shapes_strides_and_dtypes_that_numpy_takes(arrays):
    a, b = arrays
    expected = np.matmul(a, b)
    product = fastbp.matmul(a, b)
    assert type(product) is type(expected)
    assert product.dtype == expected.dtype
    assert product.shape == expected.shape
    np.testing.assert_array_equal(product, expected)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.sampled_from(DTYPES), st.sampled_from(TRANSPOSITIONS), *[st.integers(1, 150)] * 3)
def test_any_size(dtype, transposition, m, n, k):
    assert_multiplies(m, n, k, dtype, transposition)


# ------------------------------------------------------------------ one dimension, stacks, nothing


@pytest.mark.parametrize("dtype", DTYPES)
def test_vectors_count_as_a_row_and_a_column(dtype):
    a, b = random_matrix(5, 7, dtype), random_matrix(7, 4, dtype)
    assert_product(fastbp.matmul(a[0], b), a[0], b)
    assert_product(fastbp.matmul(a, b[:, 0]), a, b[:, 0])
    dot = fastbp.matmul(a[0], b[:, 0])
    assert type(dot) is np.dtype(dtype).type
    assert_product(dot, a[0], b[:, 0])


def test_lists_are_arrays():
    product = fastbp.matmul([[1.0, 2.0]], [[3], [4]])
    assert product.dtype == np.float64
    assert product.tolist() == [[11.0]]


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ((3, 4, 5), (3, 5, 2)),
        ((3, 1, 4, 5), (2, 5, 2)),
        ((4, 5), (3, 5, 2)),
        ((5,), (3, 2, 5, 2)),
        ((3, 4, 5), (5,)),
        ((1, 4, 5), (6, 5, 2)),
    ],
    ids=str,
)
@pytest.mark.parametrize("dtype", DTYPES)
def test_stacks_broadcast(left, right, dtype):
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=left).astype(dtype), rng.normal(size=right).astype(dtype)
    assert_product(fastbp.matmul(a, b), a, b)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("left", "right"),
    [
        ((0, 4), (4, 3)),
        ((3, 4), (4, 0)),
        ((3, 0), (0, 4)),
        ((0, 0), (0, 0)),
        ((0,), (0,)),
        ((0,), (0, 3)),
        ((3, 0), (0,)),
        ((0, 3, 4), (4, 2)),
        ((0, 3, 4), (1, 4, 2)),
        ((2, 3, 0), (2, 0, 4)),
    ],
    ids=str,
)
def test_sizes_of_zero(left, right, dtype):
    a, b = np.ones(left, dtype), np.ones(right, dtype)
    product = fastbp.matmul(a, b)
    expected = np.matmul(a, b)
    assert (type(product), product.dtype) == (type(expected), expected.dtype)
    np.testing.assert_array_equal(product, expected)


# ------------------------------------------------------------------ NaN and infinity


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", DTYPES)
def test_nan_and_infinity_go_where_they_belong_and_nowhere_else(dtype, value):
    shape = tiles(dtype)
    m, n, k = shape.mr + 1, shape.nr + 1, shape.lanes + 1
    for i, p in [(0, 0), (m - 1, k - 1), (shape.mr, 0)]:
        a, b = random_matrix(m, k, dtype), np.abs(random_matrix(k, n, dtype))
        a[i, p] = value
        product = fastbp.matmul(a, b)
        assert np.isfinite(np.delete(product, i, axis=0)).all()
        np.testing.assert_array_equal(product[i], np.full(n, value))
        transposed = fastbp.matmul(b.T, a.T)
        assert np.isfinite(np.delete(transposed, i, axis=1)).all()
        np.testing.assert_array_equal(transposed[:, i], np.full(n, value))


@pytest.mark.parametrize("dtype", DTYPES)
def test_infinity_times_zero_is_nan(dtype):
    a = np.array([[np.inf, 1.0]], dtype)
    assert np.isnan(fastbp.matmul(a, np.zeros((2, 3), dtype))).all()


@pytest.mark.parametrize("dtype", DTYPES)
def test_what_was_in_the_scratch_memory_does_not_matter(dtype):
    shape = tiles(dtype)
    poison = np.full((2 * shape.strip, shape.kc), np.nan, dtype)
    assert np.isnan(fastbp.matmul(poison, poison.T)).all()
    assert_multiplies(shape.mr + 1, shape.nr + 1, shape.lanes + 1, dtype)
    assert_multiplies(shape.nr + 1, shape.mr + 1, shape.lanes + 1, dtype)


@pytest.mark.parametrize("dtype", DTYPES)
def test_huge_and_subnormal_values(dtype):
    info = np.finfo(dtype)
    huge = np.full((5, 1), info.max, dtype)
    np.testing.assert_array_equal(fastbp.matmul(huge, np.full((1, 7), 2, dtype)), np.inf)
    tiny = np.full((5, 1), info.smallest_subnormal, dtype)
    np.testing.assert_array_equal(
        fastbp.matmul(tiny, np.full((1, 7), 3, dtype)), 3 * info.smallest_subnormal
    )
