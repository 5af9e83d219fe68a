"""Products with a long k and a small result, cut along k (fastbp.kernels.linalg.split_k).

The twin is `tests.twins.split_k_product`.
"""

from __future__ import annotations

import numpy as np
import pytest

import fastbp
from fastbp.kernels.compile import machine
from fastbp.kernels.linalg import thin
from tests import rules, twins
from tests.problems import exact_factors, make_problem
from tests.rules import tiles
from tests.test_cut import assert_multiplies_alike
from tests.test_matmul import DTYPES, TRANSPOSITIONS, around, assert_multiplies, random_matrix
from tests.tolerance import assert_within, gamma
from tests.training import assert_training_follows_the_oracle

FEWEST = thin.MOST + 1


def shapes(dtype):
    """Results around a vector, a panel and a strip; k of whole splits, and with rests of each."""
    shape = tiles(dtype)
    sizes = [(1, 1), (shape.nr + 1, 2 * shape.lanes), (shape.strip + 1, shape.lanes + 1)]
    for m, n in sizes:
        m, n = max(m, FEWEST), max(n, FEWEST)
        block = rules.split_block(n, dtype)
        for k in (8 * block, 9 * block + 5, 17 * block - 1):
            yield m, n, k


def twin_of(a, b, dtype):
    (m, k), n = a.shape, b.shape[1]
    splits = rules.split_count(m, n, k, dtype)
    assert splits > 1, "the kernel does not cut this product"
    assert min(m, n) > thin.MOST, "this product is thin"
    return twins.split_k_product(a, b, splits, rules.split_block(n, dtype))


def laid_out(a, b, transposition):
    left = a if transposition[0] == "N" else np.asfortranarray(a)
    return left, b if transposition[1] == "N" else np.asfortranarray(b)


# ------------------------------------------------------------------ against the twin


@pytest.mark.machine
@pytest.mark.parametrize("transposition", TRANSPOSITIONS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_sums_are_rounded_as_the_twin_rounds_them(dtype, transposition):
    for m, n, k in shapes(dtype):
        a, b = exact_factors(m, n, k, dtype)
        expected = twin_of(a, b, np.dtype(dtype))
        assert (expected != twins.product_in_order(a, b)).any()  # the cuts show
        left, right = laid_out(a, b, transposition)
        np.testing.assert_array_equal(fastbp.matmul(left, right), expected)


@pytest.mark.machine
@pytest.mark.parametrize("dtype", DTYPES)
def test_a_wide_product_is_the_transpose_of_a_tall_one(dtype):
    for m, n, k in shapes(dtype):
        a, b = exact_factors(m, n, k, dtype)
        expected = twin_of(a, b, np.dtype(dtype)).T
        np.testing.assert_array_equal(fastbp.matmul(b.T.copy(), np.asfortranarray(a.T)), expected)


@pytest.mark.parametrize("dtype", DTYPES)
def test_bytes_are_widened(dtype):
    m, n = 2 * FEWEST, FEWEST
    k = 8 * rules.split_block(n, dtype) + 3
    a, b = exact_factors(m, n, k, dtype, a_dtype="uint8")
    expected = twin_of(a.astype(dtype), b, np.dtype(dtype))
    read_only = np.repeat(a, 2, axis=1)[:, ::2]
    read_only.flags.writeable = False
    for left in (a, np.asfortranarray(a), read_only):
        np.testing.assert_array_equal(fastbp.matmul(left, b), expected)


@pytest.mark.parametrize("dtype", DTYPES)
def test_any_numbers_are_as_near_to_the_twin_as_rounding_allows(dtype):
    for m, n, k in shapes(dtype):
        a, b = random_matrix(m, k, dtype, seed=1), random_matrix(k, n, dtype, seed=2)
        wide_a, wide_b = a.astype(np.float64), b.astype(np.float64)
        bound = 2 * gamma(k, dtype) * (np.abs(wide_a) @ np.abs(wide_b))
        expected = twin_of(wide_a, wide_b, np.dtype(dtype))
        assert_within(fastbp.matmul(a, b), expected, bound, "product")


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_same_bits_with_any_number_of_threads(dtype, monkeypatch, set_num_threads):
    m, n = 4 * FEWEST, FEWEST
    k = 9 * rules.split_block(n, dtype) + 5
    a, b = random_matrix(m, k, dtype), random_matrix(k, n, dtype)
    assert rules.split_count(m, n, k, dtype) > 1
    assert_multiplies_alike(a, b, monkeypatch, set_num_threads)


@pytest.mark.machine
def test_which_products_are_cut():
    for dtype in DTYPES:
        block = rules.split_block(FEWEST, dtype)
        assert rules.split_count(64, 32, 7 * block, dtype) == 0
        assert rules.split_count(64, 32, 7 * block + 1, dtype) == 8
        most = tiles(dtype).partials // 8  # elements of a result, of which there is room for 8
        assert rules.split_count(most // 16, 16, 100 * block, dtype) == 8
        assert rules.split_count(most // 16 + 1, 16, 100 * block, dtype) == 0


# ------------------------------------------------------------------ sizes around every edge


@pytest.mark.machine
@pytest.mark.parametrize("transposition", TRANSPOSITIONS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_every_edge_of_a_product_cut_along_k(dtype, transposition):
    shape = tiles(dtype)
    widest = shape.b_chunk // shape.kc // shape.nr * shape.nr  # of B, whose rows a thread packs
    for m, n in [
        (1, 1), (2, 1), (1, 2), (shape.strip + 1, shape.lanes + 1), (widest + 7, widest),
        (widest + 7, widest + 1), (shape.lanes, widest), (shape.lanes - 1, widest),
        (shape.lanes + 1, 2 * widest),
    ]:  # fmt: skip
        for k in (8 * shape.kc, 8 * shape.kc - shape.lanes, 9 * shape.kc + 5, 17 * shape.kc):
            assert_multiplies(m, n, k, dtype, transposition)


@pytest.mark.machine
@pytest.mark.parametrize("transposition", TRANSPOSITIONS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_every_edge_of_a_wide_product_cut_along_k(dtype, transposition):
    shape = tiles(dtype)
    k = 9 * shape.kc + 5
    for m in (*around(shape.lanes), shape.nr, 2 * shape.nr + 1):
        for n in (m, m + 1, shape.strip + shape.lanes + 1, *around(k // 8)):
            assert_multiplies(m, n, k, dtype, transposition)


@pytest.mark.machine
@pytest.mark.parametrize("d", [-1, 0, 1])
@pytest.mark.parametrize("dtype", DTYPES)
def test_every_edge_of_the_most_partials(dtype, d):
    shape = tiles(dtype)
    n = shape.b_chunk // shape.kc // shape.nr * shape.nr
    m = shape.partials // 8 // n + d
    assert_multiplies(m, n, 8 * shape.kc, dtype, "NT")
    assert_multiplies(n, m, 8 * shape.kc, dtype, "NT")
    m = shape.partials // shape.lanes + d  # as its transpose, in one split
    assert_multiplies(shape.lanes, m, 3, dtype, "NT")


@pytest.mark.machine
@pytest.mark.parametrize("data_dtype", ["float32", "uint8"])
@pytest.mark.parametrize("fold", ["none", "feature"])
@pytest.mark.parametrize("batch_size", [17, 30])  # fewer and more rows than outputs
def test_inputs_so_wide_that_the_forward_pass_is_cut_along_them(batch_size, fold, data_dtype):
    features = 8 * machine.tiles(4).kc + machine.tiles(4).lanes
    problem = make_problem((features, 20, 1), 40, data_dtype=data_dtype, fold=fold)
    assert_training_follows_the_oracle(problem, batch_size=batch_size, epochs=2, learning_rate=0.01)
