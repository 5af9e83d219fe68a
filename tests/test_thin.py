"""Products of a matrix by one or a few vectors, from either side (fastbp.kernels.linalg.thin).

The twins are `tests.twins.thin_dots` and `tests.twins.thin_outer_sums`.
"""

from __future__ import annotations

import numpy as np
import pytest

import fastbp
from fastbp.engine import products
from fastbp.kernels.compile import machine
from fastbp.kernels.linalg import epilogue, gemm, thin
from tests import oracle, rules, twins
from tests.layouts import LAYOUTS
from tests.problems import exact_factors
from tests.test_cut import assert_multiplies_alike
from tests.test_matmul import (
    DTYPES,
    TRANSPOSITIONS,
    around,
    assert_multiplies,
    assert_product,
    random_integers,
    random_matrix,
)
from tests.tolerance import assert_within, gamma

DEEP = 1100  # enough for all that is thin, and no whole vectors of anything


@pytest.fixture
def only_thin(monkeypatch):
    """Fail if any other region than the thin ones multiplies, however little there is to do."""
    for code in products._code.values():
        monkeypatch.setattr(code, "region", None)
    monkeypatch.setattr(products, "_LEAST_THIN", 0)


# ------------------------------------------------------------------ against the twins


def twin_of(large, thin_one, dtype, by_rows):
    """L T, L having contiguous rows or columns."""
    rows, k = large.shape
    deep = rules.thin_depth(rows, k, dtype, by_rows)
    if by_rows:
        return twins.thin_dots(large, thin_one, deep, machine.tiles(dtype.itemsize).lanes)
    return twins.thin_outer_sums(large, thin_one, deep)


def thin_shapes(by_rows):
    """Rows of L, vectors and k: one of each, edges of pieces, of groups and of splits of k."""
    yield from [(300, 1, DEEP), (33, 3, 2 * 512), (9, 8, 9 * 512 + 1), (6, 5, DEEP)]
    if not by_rows:  # shallow ones are thin too
        yield from [(20_001, 1, 1), (3001, 4, 5)]


@pytest.mark.machine
@pytest.mark.parametrize("by_rows", [True, False])
@pytest.mark.parametrize("dtype", DTYPES)
def test_sums_are_rounded_as_the_twin_rounds_them(dtype, by_rows):
    for rows, q, k in thin_shapes(by_rows):
        assert rules.is_thin(rows, q, k, dtype, a_by_rows=by_rows, b_by_rows=False)
        large, vectors = exact_factors(rows, q, k, dtype)
        expected = twin_of(large, vectors, np.dtype(dtype), by_rows)
        if k > DEEP:
            assert (expected != twins.product_in_order(large, vectors)).any()  # the cuts show
        laid_out = large if by_rows else np.asfortranarray(large)
        for right in (vectors, np.asfortranarray(vectors)):
            np.testing.assert_array_equal(fastbp.matmul(laid_out, right), expected)
            np.testing.assert_array_equal(fastbp.matmul(right.T, laid_out.T), expected.T)


@pytest.mark.parametrize("by_rows", [True, False])
@pytest.mark.parametrize("dtype", DTYPES)
def test_any_numbers_are_as_near_to_the_twin_as_rounding_allows(dtype, by_rows):
    for rows, q, k in thin_shapes(by_rows):
        large = random_matrix(rows, k, dtype, seed=1)
        vectors = random_matrix(k, q, dtype, seed=2)
        wide, wide_vectors = large.astype(np.float64), vectors.astype(np.float64)
        bound = 2 * gamma(k, dtype) * (np.abs(wide) @ np.abs(wide_vectors))
        product = fastbp.matmul(large if by_rows else np.asfortranarray(large), vectors)
        assert_within(product, twin_of(wide, wide_vectors, np.dtype(dtype), by_rows), bound, "LT")


@pytest.mark.parametrize("by_rows", [True, False])
@pytest.mark.parametrize("dtype", DTYPES)
def test_the_same_bits_with_any_number_of_threads(dtype, by_rows, monkeypatch, set_num_threads):
    for rows, q, k in ((300, 3, DEEP), (40, 2, 9 * 512 + 1)):
        a, b = random_matrix(rows, k, dtype), random_matrix(k, q, dtype)
        a = a if by_rows else np.asfortranarray(a)
        assert_multiplies_alike(a, b, monkeypatch, set_num_threads)
        monkeypatch.undo()


# ------------------------------------------------------------------ sizes around every edge


@pytest.mark.machine
@pytest.mark.parametrize("transposition", TRANSPOSITIONS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_every_number_of_vectors_beside_the_edges_of_a_piece(dtype, transposition, only_thin):
    lanes = machine.tiles(np.dtype(dtype).itemsize).lanes
    for q in range(1, thin.MOST + 1):
        for rows in (*around(5, q + 4, lanes, 4 * lanes), 31, 33, 8 * 32 - 1, 8 * 32 + 5):
            assert_multiplies(rows, q, DEEP, dtype, transposition)
            assert_multiplies(q, rows, DEEP, dtype, transposition)


@pytest.mark.machine
@pytest.mark.parametrize("transposition", TRANSPOSITIONS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_every_edge_of_the_depth(dtype, transposition):
    size = np.dtype(dtype).itemsize
    lanes = machine.tiles(size).lanes
    for k in (*around(1, lanes, 48, 64, 4096 // size, 2 * 512), 4 * 512 + 3, 8 * 512, 9 * 512 + 1):
        for rows, q in ((7, 1), (70, 2), (300, 3), (33, 5)):
            assert_multiplies(rows, q, k, dtype, transposition)
            assert_multiplies(q, rows, k, dtype, transposition)


@pytest.mark.parametrize("d", [-1, 0, 1])
@pytest.mark.parametrize("transposition", ["NN", "TT"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_every_edge_of_where_k_is_not_cut(dtype, transposition, d):
    stretch = 4096 // np.dtype(dtype).itemsize
    for rows in (stretch, 8 * stretch, 33 * stretch):  # the last one: pieces share a task
        assert_multiplies(rows + d, 3, 600, dtype, transposition)
        assert_multiplies(3, rows + d, 600, dtype, transposition)


@pytest.mark.machine
@pytest.mark.parametrize("dtype", DTYPES)
def test_vectors_too_long_to_be_copied(dtype):
    k = machine.tiles(np.dtype(dtype).itemsize).partials // 2
    assert_multiplies(2, 2, k, dtype, "NN")


@pytest.mark.machine
@pytest.mark.parametrize("transposition", ["NT", "TT"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_long_vectors_that_lie_as_they_should(dtype, transposition, only_thin):
    k = machine.tiles(np.dtype(dtype).itemsize).partials // 2 + 3
    assert_multiplies(2, 2, k, dtype, transposition)
    assert_multiplies(3, 1, k, dtype, transposition)


@pytest.mark.parametrize("shape", [(300, 2), (2, 300), (40, 1), (1, 40)], ids=str)
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_any_layout(dtype, layout, shape):
    (m, n), k = shape, DEEP
    a, b = random_matrix(m, k, dtype, seed=1), random_matrix(k, n, dtype, seed=2)
    assert_product(fastbp.matmul(LAYOUTS[layout](a), b), a, b)
    assert_product(fastbp.matmul(a, LAYOUTS[layout](b)), a, b)
    out = LAYOUTS[layout](np.zeros((m, n), dtype))
    if out.flags.writeable:
        fastbp.matmul(a, b, out=out)
        assert_product(np.asarray(out, dtype), a, b)


@pytest.mark.parametrize("dtype", DTYPES)
def test_vectors_with_one_dimension_and_strides(dtype):
    a = random_matrix(301, DEEP, dtype)
    x = random_matrix(1, 2 * DEEP, dtype, seed=3)[0]
    for vector in (x[:DEEP], x[::2], x[::-2], np.broadcast_to(x[:1], DEEP)):
        assert_product(fastbp.matmul(a, vector)[:, np.newaxis], a, vector[:, np.newaxis])
        assert_product(fastbp.matmul(vector, a.T)[np.newaxis], vector[np.newaxis], a.T)
    windows = np.lib.stride_tricks.sliding_window_view(x, DEEP)
    assert_product(fastbp.matmul(windows, a[:2].T), windows, a[:2].T)
    assert_product(fastbp.matmul(a[:2], windows.T), a[:2], windows.T)


@pytest.mark.parametrize("kind", ["bias", "sigmoid"])
@pytest.mark.parametrize("shape", [(300, 2), (300, 1), (2, 300), (1, 5)], ids=str)
@pytest.mark.parametrize("dtype", DTYPES)
def test_linear_with_few_rows_or_outputs(dtype, shape, kind, only_thin):
    (rows, outputs), inputs = shape, DEEP
    x = random_matrix(rows, inputs, dtype, seed=1)
    weight = random_matrix(outputs, inputs, dtype, seed=2) / np.dtype(dtype).type(16)
    bias = random_matrix(1, outputs, dtype, seed=3)[0]
    actual = fastbp.linear(x, weight, bias, activation="sigmoid" if kind == "sigmoid" else None)
    z = x.astype(float) @ weight.T.astype(float) + bias
    size = np.abs(x).astype(float) @ np.abs(weight.T).astype(float) + np.abs(bias)
    bound = gamma(2 * inputs + 2, np.dtype(dtype)) * size
    if kind == "bias":
        assert_within(actual, z, bound, "linear")
    else:  # its slope is at most a quarter
        eps = float(np.finfo(dtype).eps)
        assert_within(actual, oracle.sigmoid(z), bound / 4 + 4 * eps, "sigmoid")


@pytest.mark.parametrize("alpha", [1.0, -0.75])
@pytest.mark.parametrize("beta", [0.0, 1.0, 0.5])
@pytest.mark.parametrize("shape", [(300, 2), (2, 300), (300, 1), (40, 3), (9000, 1)], ids=str)
@pytest.mark.parametrize("dtype", DTYPES)
def test_factors_of_product_and_target(dtype, shape, beta, alpha, only_thin):
    (m, n), k = shape, DEEP
    a, b = random_matrix(m, k, dtype, seed=1), random_matrix(k, n, dtype, seed=2)
    before = random_matrix(m, n, dtype, seed=3) if beta else np.full((m, n), np.nan, dtype)
    c = before.copy()
    products.product(a, b, c, alpha=alpha, beta=beta, kind=epilogue.NOTHING)
    exact = alpha * (a.astype(float) @ b.astype(float))
    size = np.abs(alpha) * (np.abs(a).astype(float) @ np.abs(b).astype(float))
    if beta:
        exact += beta * before.astype(float)
        size += beta * np.abs(before)
    assert_within(c, exact, gamma(2 * k + 3, np.dtype(dtype)) * size, "product")


@pytest.mark.parametrize("dtype", DTYPES)
def test_nothing_beside_the_target_is_written(dtype, only_thin):
    a, b = random_matrix(300, DEEP, dtype), random_matrix(DEEP, 2, dtype)
    for left, right in ((a, b), (b.T.copy(), a.T.copy())):
        m, n = left.shape[0], right.shape[1]
        buffer = np.full((m + 2, n + 2), 7, dtype)
        fastbp.matmul(left, right, out=buffer[1:-1, 1:-1])
        assert_product(buffer[1:-1, 1:-1], left, right)
        buffer[1:-1, 1:-1] = 7
        assert (buffer == 7).all()


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_nan_and_infinity_go_where_they_belong(value):
    a, b = random_matrix(70, DEEP, "float32"), random_matrix(DEEP, 3, "float32")
    a[33, 5] = value
    for left in (a, np.asfortranarray(a)):
        wrong = ~np.isfinite(fastbp.matmul(left, b))
        assert wrong[33].all()
        assert wrong.sum() == 3


@pytest.mark.machine
@pytest.mark.parametrize("by_rows", [True, False])
@pytest.mark.parametrize("itemsize", [4, 8])
def test_what_threads_share_fits_the_buffer(itemsize, by_rows):
    shape = machine.tiles(itemsize)
    uncut = 8 * 4096 // itemsize
    found = []
    for q in (2, thin.MOST):
        for rows in (q, 8 * 32 - 1, uncut - 1, 100 * uncut):
            depths = range(gemm.shared_bytes(itemsize) // itemsize // q, 0, -1)
            fits = (
                k for k in depths if thin.is_thin(rows, q, k, itemsize, by_rows, in_place=False)
            )
            longest = next(fits, 0)  # with a small cache many rows by many vectors never do
            parts = 8 * min(rows, uncut - 1)  # shards, of which there are some below ``uncut`` only
            assert longest == 0 or q * (longest + parts) * itemsize <= gemm.shared_bytes(itemsize)
            found.append(longest)
    assert max(found) > shape.kc


@pytest.mark.machine
@pytest.mark.parametrize("dtype", DTYPES)
def test_the_longest_vectors_that_are_copied(dtype):
    itemsize = np.dtype(dtype).itemsize
    k = gemm.shared_bytes(itemsize) // itemsize // 2
    while not thin.is_thin(250, 2, k, itemsize, by_rows=True, in_place=False):
        k -= 1
    row = random_integers(1, k + 1, k + 1, dtype)  # the same for all rows of the matrix
    for length in (k, k + 1):
        a = np.broadcast_to(row[:, :length], (250, length))
        b = random_integers(length, 2, k + 1, dtype, seed=2)
        exact = row[:, :length].astype(float) @ b.astype(float)
        assert_within(fastbp.matmul(a, b), np.repeat(exact, 250, axis=0), 0, "product")


def test_shallow_products_are_left_to_others():
    assert thin.is_thin(300, 1, 64, 4, by_rows=True, in_place=True)
    assert not thin.is_thin(300, 1, 40, 4, by_rows=True, in_place=True)
    assert thin.is_thin(300, 4, 1, 4, by_rows=False, in_place=True)
    assert not thin.is_thin(300, 5, 512, 4, by_rows=False, in_place=True)
    assert not thin.is_thin(300, 9, 5000, 4, by_rows=True, in_place=True)
