"""The oracle itself: gradients by central differences, stability far out, hand-worked cases."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pytest

from tests import oracle

# Central differences of step h err by h**2/6 |f'''| + eps/h |f|; with the steps and the losses
# (all of order 1) here that is 2e-11 + 4e-11, so 1e-9 leaves room for the sum over many terms.
STEP = 1e-5
DIFFERENCE_ERROR = 1e-9

SHAPES = [(5, 1), (6, 3), (4, 3, 1), (5, 4, 2), (4, 3, 5, 2), (3, 4, 2, 3, 1), (3, 2, 4, 3, 4)]


def random_problem(
    layer_sizes: tuple[int, ...], n: int = 6, seed: int = 0
) -> tuple[np.ndarray, np.ndarray, list[np.ndarray], list[np.ndarray]]:
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, layer_sizes[0]))
    y = rng.integers(0, 2, size=(n, layer_sizes[-1])).astype(float)
    pairs = list(pairwise(layer_sizes))
    weights = [rng.normal(size=(fan_out, fan_in)) for fan_in, fan_out in pairs]
    biases = [rng.normal(size=fan_out) for _, fan_out in pairs]
    return X, y, weights, biases


def central_differences(function: Callable[[], float], parameter: np.ndarray) -> np.ndarray:
    """Slope of `function` along each entry of `parameter`, which it reads and we nudge in place."""
    slopes = np.empty_like(parameter)
    for index in np.ndindex(parameter.shape):
        kept = parameter[index]
        parameter[index] = kept + STEP
        above = function()
        parameter[index] = kept - STEP
        below = function()
        parameter[index] = kept
        slopes[index] = (above - below) / (2 * STEP)
    return slopes


@pytest.mark.parametrize("weight_decay", [0.0, 0.3])
@pytest.mark.parametrize("layer_sizes", SHAPES, ids=str)
def test_gradients_agree_with_central_differences(layer_sizes, weight_decay):
    X, y, weights, biases = random_problem(layer_sizes)

    def loss() -> float:
        return oracle.loss(X, y, weights, biases, weight_decay)

    slopes = oracle.gradients(X, y, weights, biases, weight_decay)

    for parameter, slope in zip(weights + biases, slopes.weights + slopes.biases, strict=True):
        expected = central_differences(loss, parameter)
        np.testing.assert_allclose(slope, expected, rtol=0, atol=DIFFERENCE_ERROR)


def test_gradients_hold_for_targets_between_zero_and_one():
    X, _, weights, biases = random_problem((4, 3, 2))
    y = np.random.default_rng(3).uniform(size=(6, 2))

    slopes = oracle.gradients(X, y, weights, biases)

    expected = central_differences(lambda: oracle.loss(X, y, weights, biases), weights[0])
    np.testing.assert_allclose(slopes.weights[0], expected, rtol=0, atol=DIFFERENCE_ERROR)


def test_sigmoid_derivative_agrees_with_central_differences():
    z = np.linspace(-8, 8, 33)
    expected = (oracle.sigmoid(z + STEP) - oracle.sigmoid(z - STEP)) / (2 * STEP)
    np.testing.assert_allclose(oracle.sigmoid_derivative(z), expected, atol=DIFFERENCE_ERROR)


def test_sigmoid_is_stable_at_huge_arguments():
    z = np.array([-1e308, -1e4, -745.0, -40.0, 0.0, 40.0, 745.0, 1e4, 1e308])
    with np.errstate(all="raise", under="ignore"):
        a = oracle.sigmoid(z)
        slope = oracle.sigmoid_derivative(z)

    assert a[0] == 0.0
    assert a[1] == 0.0
    assert a[4] == 0.5
    assert a[-1] == 1.0
    assert np.all(np.diff(a) >= 0)
    np.testing.assert_allclose(a[3], np.exp(-40.0), rtol=1e-15)
    np.testing.assert_array_equal(slope, slope[::-1])
    np.testing.assert_allclose(slope[3], np.exp(-40.0), rtol=1e-15)


@pytest.mark.parametrize("size", [1e2, 1e4, 1e8, 1e300])
def test_log_loss_is_finite_at_huge_pre_activations(size):
    z = np.array([size, -size])
    with np.errstate(all="raise", under="ignore"):
        assert oracle.log_loss(z, [0.0, 1.0]) == size
        assert oracle.log_loss(z, [1.0, 0.0]) == pytest.approx(np.exp(-size), rel=1e-15, abs=0.0)


def test_log_loss_agrees_with_its_definition_where_that_is_safe():
    rng = np.random.default_rng(1)
    z, y = rng.normal(size=(7, 3)), rng.uniform(size=(7, 3))
    p = 1 / (1 + np.exp(-z))
    defined = -((1 - y) * np.log(1 - p) + y * np.log(p)).sum(axis=1).mean()
    assert oracle.log_loss(z, y) == pytest.approx(defined, rel=1e-14)


def test_forward_of_a_network_worked_by_hand():
    weights = [np.array([[1.0, -1.0], [0.5, 0.5]]), np.array([[2.0, -2.0]])]
    biases = [np.array([0.0, -1.0]), np.array([0.25])]

    Z, A = oracle.forward([[3.0, 3.0]], weights, biases)

    np.testing.assert_array_equal(Z[0], [[0.0, 2.0]])
    hidden = [0.5, 1 / (1 + np.exp(-2.0))]
    np.testing.assert_allclose(Z[1], [[2 * hidden[0] - 2 * hidden[1] + 0.25]], rtol=1e-15)
    assert [a.shape for a in A] == [(1, 2), (1, 2), (1, 1)]


def test_step_uses_the_old_weights_for_every_delta():
    X, y, weights, biases = random_problem((4, 3, 2))
    slopes = oracle.gradients(X, y, weights, biases, weight_decay=0.2)

    result = oracle.step(X, y, weights, biases, learning_rate=0.5, weight_decay=0.2)

    for after, before, slope in zip(result.weights, weights, slopes.weights, strict=True):
        np.testing.assert_allclose(after, before - 0.5 * slope, rtol=1e-14, atol=1e-15)
    for after, before, slope in zip(result.biases, biases, slopes.biases, strict=True):
        np.testing.assert_allclose(after, before - 0.5 * slope, rtol=1e-14, atol=1e-15)


def test_linear_update_is_the_first_layer_of_a_step():
    X, y, weights, biases = random_problem((4, 2))
    delta = (oracle.forward(X, weights, biases).A[-1] - y) / len(X)

    weight, bias = oracle.linear_update(
        weights[0], biases[0], X, delta, learning_rate=0.3, weight_decay=0.1
    )

    expected = oracle.step(X, y, weights, biases, learning_rate=0.3, weight_decay=0.1)
    np.testing.assert_array_equal(weight, expected.weights[0])
    np.testing.assert_array_equal(bias, expected.biases[0])


def test_training_on_all_rows_lowers_the_loss():
    X, y, weights, biases = random_problem((4, 3, 1))
    everything = [np.arange(len(X))] * 50

    result = oracle.train(X, y, weights, biases, everything, learning_rate=0.5)

    after = oracle.loss(X, y, result.weights, result.biases)
    assert after < result.loss < oracle.loss(X, y, weights, biases)


def test_training_averages_over_rows_not_over_batches():
    X, y, weights, biases = random_problem((4, 1), n=5)

    result = oracle.train(X, y, weights, biases, [[0, 1, 2, 3], [4]], learning_rate=0.1)

    first = oracle.step(X[:4], y[:4], weights, biases, learning_rate=0.1)
    second = oracle.step(X[4:], y[4:], first.weights, first.biases, learning_rate=0.1)
    assert result.loss == pytest.approx((4 * first.loss + second.loss) / 5, rel=1e-15)
    np.testing.assert_array_equal(result.weights[0], second.weights[0])


def test_folding_centres_and_scales_each_feature():
    X = np.array([[0, 255], [51, 102]], dtype=np.uint8)
    seen = oracle.fold_input(X, mean=[51.0, 102.0], scale=[1 / 51, 1.0])
    np.testing.assert_allclose(seen, [[-1.0, 153.0], [0.0, 0.0]], rtol=1e-15)


def test_initial_standard_deviations_of_the_first_network():
    assert oracle.initial_std("xavier", 12288, 3) == pytest.approx((2 / 12291) ** 0.5)
    assert oracle.initial_std("he", 12288, 3) == pytest.approx((2 / 12288) ** 0.5)
    assert oracle.initial_std("normal", 12288, 3) == 0.01
