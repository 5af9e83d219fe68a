"""Losses, their slopes and metrics, of a tile of rows (functions.outputs), against the oracle.

The region is called by address, as training calls it: rows are the lanes of a vector, and there is
one vector for each output.

Bounds, in units of u = eps / 2, with the terms of `functions.losses` and the errors stated in
`simd`: exp is within 1 ULP, 2 u, of exp(x) for the x that it is given, log and log1p within 2 u,
sigmoid within 2 ULP, 4 u. A sum of n terms of sizes s adds n u sum(s). A weight, and the share of
a step, add 2 u each. So every result is within (n + 8) u of the sum of its terms' sizes, which
`sizes` has; e in softmax is off by u |x - max| besides, as is a difference that is rounded.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from fastbp.kernels.compile import machine
from fastbp.kernels.functions import outputs
from fastbp.kernels.functions.losses import LOSS_CODES
from tests import oracle
from tests.strips import address, words_of
from tests.tolerance import assert_within

DTYPES = ["float32", "float64"]
each_dtype = pytest.mark.parametrize("dtype", DTYPES)
each_loss = pytest.mark.parametrize("loss", LOSS_CODES)


def lanes_of(dtype: str) -> int:
    return machine.VECTOR_BITS // 8 // np.dtype(dtype).itemsize


def run(
    loss: str,
    z: np.ndarray,
    y: np.ndarray,
    *,
    weights: np.ndarray | None = None,
    share: float = 1.0,
    scale: np.ndarray | None = None,
    lane: int = 0,
    cap: float = np.inf,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Delta (rows, outputs), and the loss and the metric of each row."""
    rows, count = z.shape
    lanes = lanes_of(str(z.dtype))
    assert lane + rows <= lanes

    def tile(values: np.ndarray) -> np.ndarray:
        found = np.full((values.shape[1], lanes), np.nan, z.dtype)  # what is no row may be anything
        found[:, lane : lane + rows] = values.T
        return found

    z_tile, delta, tally = tile(z), tile(y), np.full((2, lanes), np.nan, z.dtype)
    weight_lanes = None if weights is None else tile(weights[:, None])
    job = outputs.Outputs(
        code=LOSS_CODES[loss],
        z=address(z_tile),
        delta=address(delta),
        outputs=count,
        lane=lane,
        rows=rows,
        weights=address(weight_lanes),
        share=share,
        tally=address(tally),
        scale=address(scale),
        cap=cap,
    )
    words = words_of(job)
    outputs.regions[str(z.dtype)].serial(address(words), 0)
    inside = slice(lane, lane + rows)
    for found in (delta, tally):
        assert (np.delete(found, np.r_[inside], axis=1) == 0).all(), "lanes outside are not 0"
    return delta[:, inside].T, tally[0, inside], tally[1, inside]


def problem(loss: str, rows: int, count: int, dtype: str, spread: float = 3.0) -> tuple[Any, Any]:
    rng = np.random.default_rng(rows + 100 * count)
    z = (spread * rng.normal(size=(rows, count))).astype(dtype)
    if loss == "log_loss":
        y = rng.integers(0, 2, size=z.shape)
        y = np.where(rng.uniform(size=z.shape) < 0.2, 0.25, y)
    elif loss == "cross_entropy":
        y = np.eye(count)[rng.integers(0, count, size=rows)]
    elif loss == "poisson":
        y = rng.poisson(2.0, size=z.shape)
    else:
        y = 3 * rng.normal(size=z.shape)
    return z, y.astype(dtype)


def sizes(loss: str, z: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The sizes of what is added up to a loss and a slope, of each output."""
    z, y = oracle.float64(z), oracle.float64(y)
    if loss == "log_loss":
        return oracle.LOSSES[loss].terms(z, y), oracle.sigmoid(z) + y
    if loss == "cross_entropy":
        far = np.abs(z - z.max(axis=1, keepdims=True))
        others = np.sum(np.where(far > 0, np.exp(-far) * (1 + far / 2), 0), axis=1, keepdims=True)
        a = oracle.softmax(z) * (1 + far + others)
        return y * (far + 2 * others), a * y.sum(axis=1, keepdims=True) + y
    if loss == "poisson":
        log_y = np.log(np.where(y > 0, y, 1))
        return np.exp(z) + y * (1 + np.abs(z) + np.abs(log_y)), np.exp(z) + y
    if loss == "squared_error":
        return 4 * (z - y) ** 2, np.abs(z - y)
    return 2 * np.abs(z - y), np.abs(z - y)


def unit(dtype: str, count: int) -> float:
    return (count + 8) * float(np.finfo(dtype).eps) / 2


@each_dtype
@each_loss
@pytest.mark.parametrize("count", [1, 2, 5, 19])
def test_losses_and_slopes_follow_the_oracle(loss, dtype, count):
    for rows in (1, 2, lanes_of(dtype)):
        z, y = problem(loss, rows, count, dtype)
        delta, row_losses, _ = run(loss, z, y)
        terms, slope = oracle.LOSSES[loss].terms, oracle.LOSSES[loss].slope
        wide_z, wide_y = oracle.float64(z), oracle.float64(y)
        of_loss, of_slope = sizes(loss, z, y)
        expected = terms(wide_z, wide_y).sum(axis=1)
        bound = unit(dtype, count) * of_loss.sum(axis=1)
        if loss == "cross_entropy":
            bound += np.finfo(float).eps  # the oracle's own: log(sum), the sum near 1
        assert_within(row_losses, expected, bound, "loss")
        assert_within(delta, slope(wide_z, wide_y), unit(dtype, count) * of_slope, "delta")


@each_dtype
@each_loss
def test_metrics_follow_the_oracle(loss, dtype):
    rng = np.random.default_rng(5)
    for count in (1, 3, 12):
        z, y = problem(loss, lanes_of(dtype), count, dtype, spread=1.0)
        if oracle.LOSSES[loss].is_classification:
            _, _, metric = run(loss, z, y)
            expected = [oracle.metric_of(z[i : i + 1], y[i : i + 1], loss) for i in range(len(z))]
            assert metric.tolist() == expected
        else:
            scale = rng.uniform(0.5, 2, size=count).astype(dtype)
            for factors in (None, scale):
                _, _, metric = run(loss, z, y, scale=factors)
                a = oracle.LOSSES[loss].output(oracle.float64(z))
                squares = (a - y) ** 2 * (1 if factors is None else oracle.float64(factors))
                # Twice the error of a - y, which is u of both.
                size = squares + 2 * np.abs(a - y) * (np.abs(a) + np.abs(y))
                bound = unit(dtype, count) * size.sum(axis=1) * 2
                assert_within(metric, squares.sum(axis=1), bound, "metric")


def test_equal_outputs_count_as_the_first_of_them():
    z = np.array([[1, 2, 2], [3, 3, 3], [0, 1, 0]], "float32")
    y = np.array([[0, 1, 0], [0, 0, 1], [0.5, 0.5, 0]], "float32")
    assert run("cross_entropy", z, y)[2].tolist() == [1, 0, 0]


@each_dtype
@each_loss
def test_weights_and_the_share_of_a_step(loss, dtype):
    rows, count = lanes_of(dtype) // 2, 3
    z, y = problem(loss, rows, count, dtype)
    plain, plain_losses, plain_metric = run(loss, z, y)
    weights = np.random.default_rng(1).uniform(0, 3, size=rows).astype(dtype)
    weights[0] = 0
    delta, row_losses, metric = run(loss, z, y, weights=weights, share=0.125)  # exact
    np.testing.assert_array_equal(row_losses, plain_losses * weights)
    np.testing.assert_array_equal(metric, plain_metric * weights)
    np.testing.assert_array_equal(delta, plain * (weights[:, None] * np.array(0.125, dtype)))


@each_dtype
@each_loss
def test_a_cap_bounds_what_probabilities_cost(loss, dtype):
    z, y = problem(loss, lanes_of(dtype), 3, dtype, spread=20.0)
    plain, plain_losses, plain_metric = run(loss, z, y)
    delta, row_losses, metric = run(loss, z, y, cap=2.0)
    np.testing.assert_array_equal(delta, plain)
    np.testing.assert_array_equal(metric, plain_metric)
    if loss == "cross_entropy":
        assert (plain_losses > 2).any()
        np.testing.assert_array_equal(row_losses, np.minimum(plain_losses, 2))
    elif loss == "log_loss":
        terms = oracle.LOSSES[loss].terms(oracle.float64(z), oracle.float64(y))
        expected = np.minimum(terms, 2).sum(axis=1)
        assert_within(row_losses, expected, unit(dtype, 3) * terms.sum(axis=1), "loss")
    else:
        np.testing.assert_array_equal(row_losses, plain_losses)


@each_dtype
def test_a_cap_leaves_nan_as_it_is(dtype):
    z = np.array([[np.nan, 1.0, 0.0]], dtype)
    for loss in ("log_loss", "cross_entropy"):
        assert np.isnan(run(loss, z, np.array([[1, 0, 0]], dtype), cap=2.0)[1]).all()


@each_dtype
@each_loss
def test_it_does_not_matter_which_lanes_the_rows_are_in(loss, dtype):
    lanes = lanes_of(dtype)
    z, y = problem(loss, max(1, lanes // 2 - 1), 4, dtype)
    first = run(loss, z, y, weights=np.ones(len(z), dtype))
    for lane in range(lanes - len(z) + 1):
        for one, other in zip(first, run(loss, z, y, lane=lane), strict=True):
            np.testing.assert_array_equal(one, other)


@each_dtype
@each_loss
def test_losses_and_slopes_of_finite_outputs_are_finite(loss, dtype):
    largest = float(np.finfo(dtype).max)
    far = [100.0, 1e4, largest**0.5 / 4, largest / 4]
    for size in far[:-1] if loss == "squared_error" else far:  # the last one's square is infinite
        for z in ([size, 0, 0], [-size, 0, 0], [size, -size, size], [-size, -size, size]):
            for y in ([1, 0, 0], [0, 0, 1]):
                count = 1 if loss == "poisson" else 3  # its losses are as large as numbers can be
                ends = np.array([z[:count]], dtype), np.array([y[:count]], dtype)
                delta, row_losses, _ = run(loss, *ends)
                assert np.isfinite(delta).all(), (z, y)
                assert (np.isfinite(row_losses) & (row_losses >= 0)).all(), (z, y)


@each_dtype
def test_poisson_stops_at_the_largest_number_whatever_is_taken_from_it(dtype):
    largest = float(np.finfo(dtype).max)
    z, y = np.array([[largest / 4]], dtype), np.array([[8]], dtype)  # y z is larger
    delta, row_losses, _ = run("poisson", z, y)
    assert delta[0, 0] == row_losses[0] == largest


@each_dtype
def test_outputs_of_softmax_may_be_as_far_apart_as_numbers_can(dtype):
    largest = float(np.finfo(dtype).max)
    z = np.array([[largest, -largest, 0]], dtype)
    delta, right, _ = run("cross_entropy", z, np.array([[1, 0, 0]], dtype))
    assert right[0] == 0
    np.testing.assert_array_equal(delta, [[0, 0, 0]])
    delta, wrong, _ = run("cross_entropy", z, np.array([[0, 1, 0]], dtype))
    assert wrong[0] == largest
    np.testing.assert_array_equal(delta, [[1, -1, 0]])


@each_dtype
def test_sure_and_right_answers_keep_their_tiny_losses(dtype):
    z = np.array([[0, 50, 1], [60, 0, 0]], dtype)
    y = np.array([[0, 1, 0], [1, 0, 0]], dtype)
    _, row_losses, _ = run("cross_entropy", z, y)
    exact = np.array([np.exp(-50.0) + np.exp(-49.0), 2 * np.exp(-60.0)])
    assert_within(row_losses, exact, unit(dtype, 3) * exact * 2, "loss")
    _, row_losses, _ = run("log_loss", z[:, :2], np.array([[0.5, 1], [1, 0.5]], dtype))
    exact = np.log(2) + np.array([np.exp(-50.0), np.exp(-60.0)])
    assert_within(row_losses, exact, unit(dtype, 2) * exact, "loss")


@each_dtype
@each_loss
@pytest.mark.parametrize("count", [1, 3])
def test_nan_in_an_output_makes_the_loss_nan(loss, dtype, count):
    for position in range(count):
        z, y = problem(loss, 2, count, dtype)
        z[1, position] = np.nan
        delta, row_losses, _ = run(loss, z, y)
        assert np.isnan(row_losses).tolist() == [False, True]
        assert np.isnan(delta[1, position])


@each_dtype
@each_loss
def test_infinite_outputs_are_noticed(loss, dtype):
    for value in (np.inf, -np.inf):
        z, y = np.array([[value, 1]], dtype), np.array([[0, 1]], dtype)
        _, row_losses, _ = run(loss, z, y)
        is_right = value < 0 and loss in ("log_loss", "cross_entropy", "poisson")
        assert np.isfinite(row_losses[0]) == is_right
