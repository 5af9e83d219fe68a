"""The oracle itself: gradients by central differences, stability far out, hand-worked cases."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pytest

from tests import oracle
from tests.problems import targets_of

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


# ------------------------------------------------------------------ any activation, any loss


def away_from_kinks(
    problem: tuple[np.ndarray, np.ndarray, list[np.ndarray], list[np.ndarray]], model: oracle.Model
) -> bool:
    """Whether no step of the differences can cross a place where a slope jumps."""
    X, y, weights, biases = problem
    # A step in a weight or in X moves a Z by its size times what it is multiplied by, layer by
    # layer: by less than 1000 steps here.
    reach = 1000 * STEP
    Z, _ = oracle.forward(X, weights, biases, model)
    names = model.names(len(weights))
    hidden = [z for z, name in zip(Z[:-1], names, strict=True) if name in oracle.KINKED]
    jumps = [*hidden, Z[-1] - y] if model.loss == "absolute_error" else hidden
    return all(np.abs(z).min() > reach for z in jumps)


def problem_of(model: oracle.Model, layer_sizes: tuple[int, ...] = (4, 3, 2)) -> tuple:
    """A random problem with targets of the model's loss, no kink within reach."""
    for seed in range(100):
        X, _, weights, biases = random_problem(layer_sizes, seed=seed)
        y = targets_of(np.random.default_rng(seed), len(X), layer_sizes[-1], model.loss)
        weights = [0.5 * w for w in weights]  # so that exp(z) is of order 1
        problem = X, y, weights, biases
        if away_from_kinks(problem, model):
            return problem
    raise AssertionError("no seed keeps away from kinks")


@pytest.mark.parametrize("loss", oracle.LOSSES)
@pytest.mark.parametrize("activation", oracle.ACTIVATIONS)
def test_gradients_of_any_function_agree_with_central_differences(activation, loss):
    model = oracle.Model(activation, loss)
    X, y, weights, biases = problem_of(model)
    row_weights = np.random.default_rng(7).uniform(0.1, 3, size=len(X))

    slopes = oracle.gradients(X, y, weights, biases, 0.2, model, row_weights)

    def total() -> float:
        return oracle.loss(X, y, weights, biases, 0.2, model, row_weights)

    for parameter, slope in zip(weights + biases, slopes.weights + slopes.biases, strict=True):
        expected = central_differences(total, parameter)
        np.testing.assert_allclose(slope, expected, rtol=0, atol=10 * DIFFERENCE_ERROR)


@pytest.mark.parametrize("loss", oracle.LOSSES)
@pytest.mark.parametrize("activation", ["tanh", "gelu", ("relu", "silu")], ids=str)
def test_input_gradient_agrees_with_central_differences(activation, loss):
    model = oracle.Model(activation, loss)
    sizes = (4, 3, 2) if isinstance(activation, str) else (4, 3, 3, 2)
    X, y, weights, biases = problem_of(model, sizes)

    slopes = oracle.input_gradient(X, y, weights, biases, model)

    # The mean over rows is of rows that do not know each other.
    expected = len(X) * central_differences(
        lambda: oracle.loss(X, y, weights, biases, model=model), X
    )
    np.testing.assert_allclose(slopes, expected, rtol=0, atol=10 * len(X) * DIFFERENCE_ERROR)


def test_gradients_under_dropout_agree_with_central_differences():
    model = oracle.Model(("relu", "gelu"), "cross_entropy")
    X, y, weights, biases = problem_of(model, (4, 5, 4, 3))
    factors = [
        oracle.dropout_factors(1, 2, layer, len(X), n, 0.3) for layer, n in enumerate((4, 5, 4))
    ]

    slopes = oracle.gradients(X, y, weights, biases, model=model, factors=factors)

    for parameter, slope in zip(weights + biases, slopes.weights + slopes.biases, strict=True):
        expected = central_differences(
            lambda: oracle.loss(X, y, weights, biases, model=model, factors=factors), parameter
        )
        np.testing.assert_allclose(slope, expected, rtol=0, atol=10 * DIFFERENCE_ERROR)


@pytest.mark.parametrize("name", oracle.ACTIVATIONS)
def test_slopes_of_activations_agree_with_central_differences(name):
    z = np.linspace(-8, 8, 32)  # not 0
    value, slope = oracle.ACTIVATIONS[name]
    expected = (value(z + STEP) - value(z - STEP)) / (2 * STEP)
    np.testing.assert_allclose(slope(z), expected, atol=DIFFERENCE_ERROR)


@pytest.mark.parametrize("name", oracle.ACTIVATIONS)
def test_activations_are_finite_far_out(name):
    z = np.array([-1e300, -1e4, -800.0, 0.0, 800.0, 1e4, 1e300])
    value, slope = oracle.ACTIVATIONS[name]
    with np.errstate(all="ignore"):
        assert np.isfinite(value(z)).all()
        assert np.isfinite(slope(z)).all()


@pytest.mark.parametrize(
    ("name", "at_one"),
    [
        ("identity", 1.0),
        ("tanh", (np.e - 1 / np.e) / (np.e + 1 / np.e)),
        ("relu", 1.0),
        ("leaky_relu", 1.0),
        ("elu", 1.0),
        ("softplus", np.log(1 + np.e)),
        ("gelu", 0.8413447460685429),  # the normal distribution function at 1
        ("silu", 1 / (1 + np.exp(-1))),
    ],
)
def test_activations_at_one(name, at_one):
    assert oracle.ACTIVATIONS[name].value(np.array([1.0]))[0] == pytest.approx(at_one, rel=1e-14)


def test_losses_agree_with_their_definitions():
    rng = np.random.default_rng(2)
    z, y = rng.normal(size=(7, 3)), rng.uniform(0.1, 1, size=(7, 3))
    shares = y / y.sum(axis=1, keepdims=True)
    a = np.exp(z) / np.exp(z).sum(axis=1, keepdims=True)
    definitions = {
        "cross_entropy": (shares, -shares * np.log(a)),
        "squared_error": (y, (z - y) ** 2 / 2),
        "absolute_error": (y, np.abs(z - y)),
        "poisson": (y, np.exp(z) - y * z + y * np.log(y) - y),
    }
    for loss, (targets, terms) in definitions.items():
        expected = terms.sum(axis=1).mean()
        assert oracle.mean_loss(z, targets, loss) == pytest.approx(expected, rel=1e-13), loss
    assert oracle.mean_loss([[2.0], [0.5]], [[0.0], [0.0]], "huber") == (1.5 + 0.125) / 2
    assert oracle.mean_loss([[0.0]], [[0.0]], "poisson") == 1.0


# ------------------------------------------------------------------ optimizers


def one_parameter(gradients: list[float], rule: oracle.Rule, decay: float = 0.0) -> list[float]:
    """A weight of 1 after each step with rate 0.1; biases of 1 are not decayed, see below."""
    weights, biases, state = [np.array([[1.0]])], [np.array([1.0])], None
    values = []
    for g in gradients:
        slopes = oracle.Gradients([np.array([[g]])], [np.array([g])])
        weights, biases, state = oracle.updated(weights, biases, slopes, state, rule, 0.1, decay)
        values.append(float(weights[0][0, 0]))
    return values


def test_momentum_by_hand():
    # v = -0.1 * 2 = -0.2, then 0.5 * -0.2 - 0.1 * 4 = -0.5
    values = one_parameter([2.0, 4.0], oracle.Rule(momentum=0.5))
    np.testing.assert_allclose(values, [0.8, 0.3], rtol=1e-14)


def test_nesterov_by_hand():
    # v = -0.2: p = 1 + 0.5 * -0.2 - 0.2 = 0.7; v = -0.5: p = 0.7 + 0.5 * -0.5 - 0.4 = 0.05
    values = one_parameter([2.0, 4.0], oracle.Rule(momentum=0.5, nesterov=True))
    np.testing.assert_allclose(values, [0.7, 0.05], rtol=1e-13)


def test_adam_by_hand():
    rule = oracle.Rule("adam", beta_1=0.5, beta_2=0.75, epsilon=0.5)
    # m = 1, m^ = 2; v = 1, v^ = 4; p = 1 - 0.1 * 2 / (2 + 0.5)
    # m = 2.5, m^ = 2.5 / 0.75; v = 0.75 + 4 = 4.75, v^ = 4.75 / 0.4375
    first = 1 - 0.1 * 2 / 2.5
    second = first - 0.1 * (2.5 / 0.75) / ((4.75 / 0.4375) ** 0.5 + 0.5)
    np.testing.assert_allclose(one_parameter([2.0, 4.0], rule), [first, second], rtol=1e-14)


def test_decay_is_in_the_gradient_of_adam_and_beside_that_of_adamw_and_of_descent():
    with_gradient = one_parameter([2.0 + 0.3], oracle.Rule("adam", epsilon=1.0))
    assert one_parameter([2.0], oracle.Rule("adam", epsilon=1.0), 0.3) == with_gradient

    apart = one_parameter([2.0], oracle.Rule("adam", epsilon=1.0))[0]
    decayed = one_parameter([2.0], oracle.Rule("adamw", epsilon=1.0), 0.3)[0]
    assert decayed == pytest.approx(apart - 0.1 * 0.3, rel=1e-14)

    assert one_parameter([2.0], oracle.SGD, 0.3)[0] == pytest.approx(0.97 - 0.2, rel=1e-14)
    momentum = one_parameter([2.0], oracle.Rule(momentum=0.5), 0.3)[0]
    assert momentum == pytest.approx(1 - 0.1 * 2.3, rel=1e-14)


def test_biases_are_not_decayed():
    slopes = oracle.Gradients([np.zeros((1, 1))], [np.zeros(1)])
    for rule in (oracle.SGD, oracle.Rule(momentum=0.9), oracle.Rule("adam"), oracle.Rule("adamw")):
        weights, biases, _ = oracle.updated(
            [np.ones((1, 1))], [np.ones(1)], slopes, None, rule, 0.1, 0.5
        )
        assert biases[0] == 1.0
        assert weights[0] < 1.0


def test_clipping_scales_all_gradients_to_the_norm():
    gradients = [np.array([[3.0]]), np.array([4.0])]
    assert oracle.clipped(gradients, 10.0) == gradients
    shorter = oracle.clipped(gradients, 1.0)
    np.testing.assert_allclose([shorter[0][0, 0], shorter[1][0]], [0.6, 0.8], rtol=1e-15)
    assert oracle.clipped([np.zeros(2)], 1.0)[0].tolist() == [0.0, 0.0]


@pytest.mark.parametrize(
    "rule",
    [
        oracle.SGD,
        oracle.Rule(momentum=0.9),
        oracle.Rule(momentum=0.9, nesterov=True),
        oracle.Rule("adam"),
        oracle.Rule("adamw", clip_norm=0.1),
    ],
    ids=str,
)
def test_training_goes_on_from_its_state(rule):
    X, y, weights, biases = random_problem((4, 3, 1))
    batches = [[0, 1, 2], [3, 4, 5]] * 3
    settings = {"learning_rate": lambda step: 0.1 / (1 + step), "rule": rule, "dropout": (0.2, 0.5)}

    once = oracle.train(X, y, weights, biases, batches, **settings)
    half = oracle.train(X, y, weights, biases, batches[:3], **settings)
    twice = oracle.train(X, y, half.weights, half.biases, batches[3:], state=half.state, **settings)

    for a, b in zip(once.weights + once.biases, twice.weights + twice.biases, strict=True):
        np.testing.assert_array_equal(a, b)


# ------------------------------------------------------------------ dropout


@pytest.mark.parametrize("share", [0.1, 0.5, 0.8])
def test_dropout_drops_its_share_and_keeps_the_mean(share):
    factors = oracle.dropout_factors(3, 5, 1, 200, 500, share)
    n = factors.size
    dropped = np.mean(factors == 0)
    # The share of n independent units has a standard deviation of sqrt(p (1 - p) / n): five of it.
    assert abs(dropped - share) < 5 * (share * (1 - share) / n) ** 0.5
    kept = factors[factors > 0]
    np.testing.assert_allclose(kept, 1 / (1 - share), rtol=1e-9)


def test_dropout_of_nothing_changes_nothing():
    np.testing.assert_array_equal(oracle.dropout_factors(3, 5, 1, 4, 6, 0.0), np.ones((4, 6)))


def test_dropout_differs_by_seed_step_and_layer_alone():
    args = (3, 5, 1)
    base = oracle.dropout_factors(*args, 64, 64, 0.5)
    np.testing.assert_array_equal(base, oracle.dropout_factors(*args, 64, 64, 0.5))
    for place in range(3):
        other = list(args)
        other[place] += 1
        differing = np.mean(base != oracle.dropout_factors(*other, 64, 64, 0.5))
        # Half of 4096 units, with a standard deviation of 1/128.
        assert abs(differing - 0.5) < 5 / 128
    # Fewer rows are the first ones.
    np.testing.assert_array_equal(base[:10], oracle.dropout_factors(*args, 10, 64, 0.5))
