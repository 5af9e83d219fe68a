"""Log loss, L2 term and targets against the oracle, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest

from fastbp.targets import check_targets, l2_penalty, log_loss
from tests import oracle

# A sum of N terms of one sign, each off by a few roundings, in float64.
EPS = np.finfo(np.float64).eps


@pytest.mark.parametrize("outputs", [1, 2, 5])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_log_loss_agrees_with_the_oracle(outputs, dtype):
    rng = np.random.default_rng(0)
    z = (5 * rng.normal(size=(37, outputs))).astype(dtype)
    y = rng.uniform(size=(37, outputs)).astype(dtype)
    assert log_loss(z, y) == pytest.approx(oracle.log_loss(z, y), rel=(z.size + 4) * EPS)


def test_log_loss_sums_over_outputs_and_averages_over_rows():
    z = np.zeros((4, 3))
    assert log_loss(z, z) == pytest.approx(3 * np.log(2), rel=4 * EPS)


def test_log_loss_of_one_output_takes_vectors():
    assert log_loss([0.0, 0.0], [0, 1]) == pytest.approx(np.log(2), rel=4 * EPS)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("size", [50.0, 700.0, 1e4, 1e30])
def test_log_loss_stays_finite_and_accurate_far_out(size, dtype):
    z = np.array([[size], [-size]], dtype=dtype)
    with np.errstate(all="raise", under="ignore"):
        wrong = log_loss(z, np.array([[0], [1]]))
        right = log_loss(z, np.array([[1], [0]]))
    assert wrong == float(z[0, 0])
    assert right == pytest.approx(np.exp(-size), rel=4 * EPS, abs=0.0)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_log_loss_of_infinite_z_is_zero_or_infinite(dtype):
    z = np.array([[np.inf], [-np.inf]], dtype)
    with np.errstate(all="raise"):
        assert log_loss(z, [[1], [0]]) == 0.0
        assert log_loss(z, [[0], [1]]) == np.inf
        assert log_loss(z[:1], [[0.999]]) == np.inf
        assert np.isnan(log_loss([[np.nan]], [[0]]))


def test_log_loss_of_float32_accumulates_in_float64():
    # One loss of 2**24, then ten thousand of 1/16 each: adding one of those to 2**24 in float32
    # changes nothing at all.
    z = np.full((10_001, 1), 0.0625, dtype=np.float32)
    z[0] = 2.0**24
    y = np.zeros_like(z)
    assert log_loss(z, y) == pytest.approx(oracle.log_loss(z, y), rel=1e-12)


def test_log_loss_refuses_shapes_that_differ_or_broadcast():
    with pytest.raises(ValueError, match=r"\(3, 1\).*\(3,\)"):
        log_loss(np.zeros((3, 1)), np.zeros(3))


def test_log_loss_refuses_no_rows():
    with pytest.raises(ValueError, match="at least one row"):
        log_loss(np.zeros((0, 1)), np.zeros((0, 1)))


def test_l2_penalty_agrees_with_the_oracle():
    rng = np.random.default_rng(1)
    weights = [rng.normal(size=(5, 70)).astype(np.float32), rng.normal(size=(2, 5))]
    expected = oracle.l2_penalty(weights, 0.3)
    assert l2_penalty(weights, 0.3) == pytest.approx(expected, rel=400 * EPS)


def test_l2_penalty_is_zero_without_decay_even_for_infinite_weights():
    assert l2_penalty([np.full((2, 2), np.inf)], 0.0) == 0.0


@pytest.mark.parametrize("given", [bool, np.uint8, np.int64, np.float16, np.float32, np.float64])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_targets_of_any_real_dtype_become_columns(given, dtype):
    y = check_targets(np.array([0, 1, 1], dtype=given), 3, 1, dtype)
    assert y.dtype == np.dtype(dtype)
    assert y.flags.c_contiguous
    np.testing.assert_array_equal(y, [[0], [1], [1]])


def test_targets_may_be_lists_columns_and_strided():
    np.testing.assert_array_equal(check_targets([0, 1], 2, 1), [[0], [1]])
    np.testing.assert_array_equal(check_targets([[0], [1]], 2, 1), [[0], [1]])
    wide = np.asfortranarray(np.eye(6))[::2, ::3]
    checked = check_targets(wide, 3, 2)
    assert checked.flags.c_contiguous
    np.testing.assert_array_equal(checked, wide)


def test_targets_may_be_probabilities_at_both_ends():
    np.testing.assert_array_equal(check_targets([0.0, 0.25, 1.0], 3, 1), [[0], [0.25], [1]])


def test_targets_of_no_rows_pass():
    assert check_targets(np.zeros((0, 2)), 0, 2).shape == (0, 2)


@pytest.mark.parametrize(
    ("y", "outputs", "error", "message"),
    [
        (np.zeros(4), 1, ValueError, "X has 3 samples, but y has 4"),
        (np.zeros((3, 2)), 1, ValueError, "y has 2 outputs, but the network has 1"),
        (np.zeros(3), 2, ValueError, "y has 1 outputs, but the network has 2"),
        (np.zeros((3, 1, 1)), 1, ValueError, r"1 or 2 dimensions.*\(3, 1, 1\)"),
        (np.float64(1), 1, ValueError, r"1 or 2 dimensions.*\(\)"),
        ([0, 1, np.nan], 1, ValueError, "y contains NaN"),
        ([0, 1, 2], 1, ValueError, r"\[0, 1\], got values from 0 to 2"),
        ([-0.5, 1, 0], 1, ValueError, r"\[0, 1\], got values from -0.5 to 1"),
        ([0, 1, np.inf], 1, ValueError, r"\[0, 1\], got values from 0.0 to inf"),
        (["ball", "no", "no"], 1, TypeError, "got dtype <U4"),
        ([0j, 1, 1], 1, TypeError, "got dtype complex128"),
        (np.array([0, 1, None], dtype=object), 1, TypeError, "got dtype object"),
    ],
    ids=["rows", "outputs", "vector", "3-D", "0-D", "nan", "two", "low", "inf", "str", "cplx", "o"],
)
def test_bad_targets_are_refused_with_both_sides(y, outputs, error, message):
    with pytest.raises(error, match=message):
        check_targets(y, 3, outputs)
