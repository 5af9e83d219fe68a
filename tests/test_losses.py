"""Losses, metrics and the L2 term against the oracle, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest

from fastbp.evaluation import l2_penalty, log_loss, mean_loss, metric, output_of, output_slope
from tests import oracle
from tests.problems import targets_of

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


# ------------------------------------------------------------------ any loss


def judged(loss: str, n: int = 37, outputs: int = 3, dtype: str = "float64") -> tuple:
    """Pre-activations, targets and weights of rows, one of them 0."""
    rng = np.random.default_rng(0)
    z = (2 * rng.normal(size=(n, outputs))).astype(dtype)
    y = targets_of(rng, n, outputs, loss).astype(dtype)
    weights = rng.uniform(0.1, 2, size=n)
    weights[3] = 0
    return z, y, weights


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("loss", oracle.LOSSES)
def test_losses_and_metrics_agree_with_the_oracle(loss, dtype, weighted):
    z, y, weights = judged(loss, dtype=dtype)
    given = weights if weighted else None
    # A sum of z.size terms of one sign; those of cross entropy and Poisson are made of a few that
    # are larger, by 10 at most here.
    tolerance = 10 * (z.size + 8) * EPS
    expected = oracle.mean_loss(z, y, loss, given)
    assert mean_loss(z, y, loss, given) == pytest.approx(expected, rel=tolerance)
    expected = oracle.metric_of(z, y, loss, given)
    assert metric(z, y, loss, given) == pytest.approx(expected, rel=tolerance, abs=tolerance)


@pytest.mark.parametrize("loss", oracle.LOSSES)
def test_losses_of_many_rows_are_those_of_their_parts(loss):
    z, y, weights = judged(loss, n=50_000, outputs=3)
    halves = [
        mean_loss(z[half], y[half], loss, weights[half]) * weights[half].sum()
        for half in (slice(0, 20_000), slice(20_000, None))
    ]
    expected = sum(halves) / weights.sum()
    assert mean_loss(z, y, loss, weights) == pytest.approx(expected, rel=z.size * EPS)


@pytest.mark.parametrize("loss", oracle.LOSSES)
def test_outputs_and_slopes_agree_with_the_oracle(loss):
    z, y, _ = judged(loss)
    a, slope = oracle.LOSSES[loss].output(z), oracle.LOSSES[loss].slope(z, y)
    np.testing.assert_allclose(output_of(z, loss), a, rtol=32 * EPS)
    allowed = 32 * EPS * (np.abs(a) + np.abs(y))
    assert (np.abs(output_slope(z, y, loss) - slope) <= allowed).all()


@pytest.mark.parametrize("loss", oracle.LOSSES)
def test_what_is_given_is_not_changed(loss):
    z, y, weights = judged(loss)
    before = [array.copy() for array in (z, y, weights)]
    for function in (output_slope, mean_loss, metric):
        function(z, y, loss)
    output_of(z, loss)
    for array, copy in zip((z, y, weights), before, strict=True):
        np.testing.assert_array_equal(array, copy)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("size", [50.0, 700.0, 1e4, 1e30])
def test_cross_entropy_stays_finite_and_accurate_far_out(size, dtype):
    z = np.array([[size, 0.0]], dtype)
    with np.errstate(all="raise", under="ignore"):
        wrong = mean_loss(z, np.array([[0, 1]], dtype), "cross_entropy")
        right = mean_loss(z, np.array([[1, 0]], dtype), "cross_entropy")
    assert wrong == pytest.approx(float(z[0, 0]), rel=4 * EPS)
    assert right == pytest.approx(np.exp(-float(z[0, 0])), rel=4 * EPS, abs=0.0)


def test_cross_entropy_of_infinite_z_is_zero_or_infinite():
    z = np.array([[np.inf, 0.0], [-np.inf, 0.0]])
    with np.errstate(all="raise"):
        assert mean_loss(z, np.array([[1.0, 0], [0, 1]]), "cross_entropy") == 0.0
        assert mean_loss(z[1:], np.array([[1.0, 0]]), "cross_entropy") == np.inf
        assert np.isnan(mean_loss(np.array([[np.nan, 0]]), np.array([[1.0, 0]]), "cross_entropy"))


@pytest.mark.parametrize("loss", ["squared_error", "absolute_error", "huber"])
def test_losses_of_regression_of_float32_are_finite_far_out(loss):
    z = np.array([[3e38], [-3e38]], np.float32)
    with np.errstate(all="raise"):
        assert np.isfinite(mean_loss(z, -z, loss))


def test_poisson_near_its_minimum_loses_nothing():
    y = np.array([[1e6]])
    z = np.log(y) + 1e-7
    # y (exp(d) - 1 - d) is y d^2 / 2 to three digits more than asked for; log(1e6) is rounded.
    d = float(z[0, 0] - np.log(y[0, 0]))
    assert mean_loss(z, y, "poisson") == pytest.approx(1e6 * d * d / 2, rel=1e-6)


def test_poisson_of_no_counts_is_the_rate():
    assert mean_loss(np.array([[0.0], [np.log(3.0)]]), np.zeros((2, 1)), "poisson") == (
        pytest.approx(2.0, rel=4 * EPS)
    )


@pytest.mark.parametrize("weighted", [False, True])
def test_r2_is_that_of_scikit_learn(weighted):
    metrics = pytest.importorskip("sklearn.metrics")
    z, y, weights = judged("squared_error")
    y[:, 1] = 2.0  # constant: 0, or 1 where all is right
    z[:, 2] = y[:, 2]
    given = weights if weighted else None
    for a in (z, y):
        expected = metrics.r2_score(y, a, sample_weight=given)
        assert metric(a, y, "squared_error", given) == pytest.approx(expected, rel=100 * EPS)


def test_r2_of_one_row_is_nan():
    assert np.isnan(metric(np.ones((1, 2)), np.ones((1, 2)), "huber"))


def test_the_first_of_equal_outputs_is_taken():
    z, y = np.zeros((1, 3)), np.array([[0, 1.0, 0]])
    assert metric(z, y, "cross_entropy") == 0.0
    assert metric(z, y[:, [1, 0, 2]], "cross_entropy") == 1.0
