"""Loss and metric of an epoch, from what compiled code adds up."""

from __future__ import annotations

import math

import numpy as np
import pytest

from fastbp.measure import Measure

rng = np.random.default_rng(0)
Y = rng.normal(size=(5000, 2))
A = Y + 0.1 * rng.normal(size=Y.shape)
WEIGHTS = rng.uniform(0, 2, 5000)


@pytest.mark.parametrize("weights", [None, WEIGHTS], ids=["alike", "weighted"])
def test_r2_is_one_minus_the_scaled_sum_of_squares(weights):
    metrics = pytest.importorskip("sklearn.metrics")
    measure = Measure(Y, "squared_error", weights)
    mass = np.ones(5000) if weights is None else weights
    total = float((mass[:, None] * measure.scale * (A - Y) ** 2).sum())
    loss, metric = measure.means(3.0, total, float(mass.sum()))
    # Sums of 10,000 terms, whose roundings add up as their root.
    assert metric == pytest.approx(metrics.r2_score(Y, A, sample_weight=weights), rel=1e-13)
    assert loss == 3.0 / mass.sum()


def test_r2_of_a_part_of_the_rows_is_estimated_by_their_share():
    measure = Measure(Y, "squared_error")
    half = float((measure.scale * (A - Y)[:2500] ** 2).sum())
    whole = float((measure.scale * (A - Y) ** 2).sum())
    assert measure.means(0.0, half, 2500.0)[1] == 1 - 2 * half
    assert measure.means(0.0, half, 2500.0)[1] == pytest.approx(1 - whole, abs=0.01)


def test_constant_targets_count_as_explained():
    measure = Measure(np.c_[np.ones(10), np.arange(10.0)], "huber")
    np.testing.assert_array_equal(measure.scale, [0, 1 / (2 * 82.5)])


def test_scales_stay_finite_in_the_network_s_dtype():
    scale = Measure(np.array([[0], [1e-30]], np.float32), "squared_error").scale
    assert scale.dtype == np.float32
    assert np.isfinite(scale).all()


def test_accuracy_is_a_mean_over_weights():
    measure = Measure(np.zeros((4, 1)), "log_loss", np.array([1.0, 1, 0, 2]))
    assert (measure.metric_name, measure.scale) == ("accuracy", None)
    assert measure.means(2.0, 3.0, 4.0) == (0.5, 0.75)


def test_of_no_weight_there_is_no_mean():
    assert all(map(math.isnan, Measure(np.zeros((4, 1)), "log_loss").means(0.0, 0.0, 0.0)))
