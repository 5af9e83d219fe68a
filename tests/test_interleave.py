"""Blocks that are packed while others are multiplied (fastbp.kernels.linalg.interleave).

The twin is `tests.twins.interleaved_product`.
"""

from __future__ import annotations

import numpy as np
import pytest

import fastbp
from fastbp.kernels.linalg import thin
from fastbp.training import batch_indices
from tests import rules, twins
from tests.problems import exact_factors, make_problem, untrained
from tests.rules import tiles
from tests.test_cut import assert_multiplies_alike
from tests.test_matmul import DTYPES, TRANSPOSITIONS, assert_multiplies, random_matrix
from tests.tolerance import InputFolding, assert_within, gamma
from tests.training import assert_training_follows_the_oracle


def twin_of(a, b, dtype):
    """The twin with the tiles and blocks of this machine; A is the larger operand."""
    shape = tiles(dtype)
    assert len(a) > shape.strip, "there is no second block"
    width = rules.panel_width(b.shape[1], dtype)
    cuts = {"mr": shape.mr, "nr": shape.nr, "width": width, "kc": shape.kc, "strip": shape.strip}
    return twins.interleaved_product(a, b, **cuts)


def shapes(dtype):
    """A of several blocks; k within a block, a block and a vector, and with a rest of a vector."""
    shape = tiles(dtype)
    for n in (thin.MOST + 1, shape.nr + 5):
        for k in (1, 3 * shape.lanes, shape.kc + shape.lanes, shape.kc + 1):
            yield 2 * shape.strip + shape.lanes, n, k


# ------------------------------------------------------------------ against the twin


@pytest.mark.machine
@pytest.mark.parametrize("transposition", TRANSPOSITIONS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_blocks_are_packed_and_multiplied_as_the_twin_does_it(dtype, transposition):
    for m, n, k in shapes(dtype):
        a, b = exact_factors(m, n, k, dtype)
        left = a if transposition[0] == "N" else np.asfortranarray(a)
        right = b if transposition[1] == "N" else np.asfortranarray(b)
        assert rules.split_count(m, n, k, dtype) == 0
        expected = twin_of(a, b, np.dtype(dtype))
        np.testing.assert_array_equal(fastbp.matmul(left, right), expected)
        # The other way round, blocks of B are packed by moves, or by pieces if they lie along k.
        np.testing.assert_array_equal(fastbp.matmul(right.T, left.T), expected.T)


@pytest.mark.machine
@pytest.mark.parametrize("dtype", DTYPES)
def test_which_blocks_are_packed_by_moves(dtype):
    shape = tiles(dtype)
    a = np.zeros((4 * shape.strip, 2 * shape.kc), dtype)

    def moves(operand, rows, columns, *, is_a=True):
        return rules.is_packed_by_moves(operand, rows, columns, np.dtype(dtype), is_a=is_a)

    assert moves(a, shape.strip, shape.kc)
    assert moves(a, shape.strip, shape.lanes)
    assert moves(a, 3, shape.lanes, is_a=False)
    assert not moves(a, shape.strip, shape.lanes + 1)
    assert moves(np.asfortranarray(a), shape.lanes, 5)
    assert not moves(np.asfortranarray(a), shape.lanes + 1, 5)
    assert not moves(a[:, ::2], shape.strip, shape.kc)
    assert not moves(a.astype(np.uint8), shape.strip, shape.kc)  # but for preprocessed bytes


@pytest.mark.parametrize("dtype", DTYPES)
def test_bytes_whose_lines_are_only_fetched(dtype):
    shape = tiles(dtype)
    a, b = exact_factors(3 * shape.strip, 20, shape.kc + shape.lanes, dtype, a_dtype="uint8")
    expected = twin_of(a.astype(dtype), b, np.dtype(dtype))
    read_only = np.repeat(a, 2, axis=0)[::2]
    read_only.flags.writeable = False
    for left in (a, np.asfortranarray(a), read_only):
        np.testing.assert_array_equal(fastbp.matmul(left, b), expected)


@pytest.mark.usefixtures("no_network_is_small")
@pytest.mark.parametrize("data_dtype", ["float32", "uint8"])
def test_rows_of_a_batch_are_moved_and_preprocessed(data_dtype):
    # W = 0 - 1 * delta^T X: X is the larger operand of the update, B of it, gathered by `order`.
    rows, n0, n1 = 128, 6 * tiles("float32").strip, 40
    problem = untrained(n0, n1, rows, "float32")
    if data_dtype == "uint8":
        problem.X = (problem.X % 256).astype(np.uint8)
        column = np.arange(n0)
        mean = (128 + column % 7).astype(np.float32)
        problem.folding = InputFolding(mean, np.exp2(-6 - column % 3).astype(np.float32))
    assert rules.method_of(problem, rows) == "dense"
    network = problem.network()
    network.fit(problem.X, problem.y, batch_size=rows, epochs=1, learning_rate=1.0, seed=3)
    order = np.arange(rows)
    if data_dtype == "float32":  # sums of these are rounded: so the order counts
        (order,) = batch_indices(rows, rows, shuffle=True, seed=3, epoch=0)
    delta = ((0.5 - problem.y) / rows).astype(np.float32)[order]
    seen = problem.seen.astype(np.float32)[order]
    np.testing.assert_array_equal(network.weights[0].T, -twin_of(seen.T, delta, np.float32))


@pytest.mark.parametrize("dtype", DTYPES)
def test_any_numbers_are_as_near_to_the_twin_as_rounding_allows(dtype):
    for m, n, k in shapes(dtype):
        a, b = random_matrix(m, k, dtype, seed=1), random_matrix(k, n, dtype, seed=2)
        wide_a, wide_b = a.astype(np.float64), b.astype(np.float64)
        bound = 2 * gamma(k, dtype) * (np.abs(wide_a) @ np.abs(wide_b))
        assert_within(fastbp.matmul(a, b), twin_of(wide_a, wide_b, dtype), bound, "product")


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_same_bits_with_any_number_of_threads(dtype, monkeypatch, set_num_threads):
    shape = tiles(dtype)
    m, n, k = 5 * shape.strip + 3, shape.nr + 5, shape.kc + shape.lanes
    a, b = random_matrix(m, k, dtype), random_matrix(k, n, dtype)
    assert_multiplies_alike(a, b, monkeypatch, set_num_threads)


# ------------------------------------------------------------------ against the oracle


@pytest.mark.machine
@pytest.mark.parametrize("transposition", TRANSPOSITIONS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_strips_that_are_packed_while_others_are_multiplied(dtype, transposition):
    shape = tiles(dtype)
    whole = (shape.lanes, 4 * shape.lanes, shape.kc, shape.kc + shape.lanes, 3 * shape.kc)
    for k in (*whole, shape.kc + 1):
        for few in (1, shape.mr + 3, shape.nr + 5):
            for long in (2 * shape.strip, 3 * shape.strip + shape.lanes, 200):
                assert_multiplies(long, few, k, dtype, transposition)  # blocks of A
                assert_multiplies(few, long, k, dtype, transposition)  # blocks of B


@pytest.mark.parametrize("dtype", DTYPES)
def test_blocks_of_rows_shorter_than_their_pitch_are_packed_right(dtype):
    shape = tiles(dtype)  # whole vectors, so that moves pack them, but no whole block of k
    for k in (shape.kc + shape.lanes, 2 * shape.kc + 14 * shape.lanes):
        a, b = random_matrix(3 * shape.strip, k, "float64"), random_matrix(k, 60, "float64")
        a, b = np.rint(4 * a), np.rint(4 * b)  # small integers: products are exact
        product = fastbp.matmul(a.astype(dtype), b.astype(dtype))
        np.testing.assert_array_equal(product, a @ b)


@pytest.mark.parametrize("data_dtype", ["float32", "uint8"])
@pytest.mark.parametrize("fold", ["none", "scalar", "mean", "feature"])
def test_gathered_rows_that_are_packed_while_others_are_multiplied(fold, data_dtype):
    problem = make_problem((208, 40, 1), 150, data_dtype=data_dtype, fold=fold)
    assert_training_follows_the_oracle(problem, batch_size=130, epochs=3, weight_decay=0.01)
