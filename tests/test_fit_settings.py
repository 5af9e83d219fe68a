"""`fit` against the oracle: what its arguments make of each step."""

from __future__ import annotations

import numpy as np
import pytest

from fastbp.losses import LOSSES
from fastbp.schedules import CosineDecay, WarmUp
from tests import oracle
from tests.oracle import Model, Rule
from tests.problems import make_problem
from tests.tolerance import assert_within
from tests.training import batches_of

SIZES = {"narrow": (30, 5, 3), "wide": (30, 20, 7, 3)}
ROWS = 29
SCHEDULE = WarmUp(CosineDecay(0.1, 8), 3)
OPTIMIZERS = {
    "sgd": ({}, Rule()),
    "momentum": ({"momentum": 0.8}, Rule(momentum=0.8)),
    "nesterov": ({"momentum": 0.8, "nesterov": True}, Rule(momentum=0.8, nesterov=True)),
    "adam": (
        {"optimizer": "adam", "beta_1": 0.8, "beta_2": 0.95, "epsilon": 1e-3},
        Rule("adam", beta_1=0.8, beta_2=0.95, epsilon=1e-3),
    ),
    "adamw": ({"optimizer": "adamw", "epsilon": 1e-3}, Rule("adamw", epsilon=1e-3)),
    "clipped": ({"clip_norm": 0.1}, Rule(clip_norm=0.1)),
}
by_sizes = pytest.mark.parametrize("sizes", SIZES.values(), ids=[*SIZES])


def assert_follows(problem, settings, **of_oracle):
    """Train two epochs, and compare parameters, and the loss of both, with the oracle."""
    settings = {"batch_size": 8, "epochs": 2, "seed": 11, "learning_rate": 0.05, **settings}
    network = problem.network()
    history = network.fit(problem.X, problem.y, **settings)
    told = {"learning_rate": settings["learning_rate"], "seed": 11, **of_oracle}
    batches = batches_of(problem, settings)
    exact, allowed = problem.trained(batches, **told), problem.training_bounds(batches, **told)
    for name in ("weights", "biases"):
        for layer, array in enumerate(getattr(network, name)):
            assert_within(
                array,
                getattr(exact, name)[layer],
                getattr(allowed, name)[layer],
                f"{name}[{layer}]",
            )
    # Both epochs have the same rows.
    assert_within(np.mean(history.loss), exact.loss, allowed.loss, "loss")
    return network, history, exact


@by_sizes
@pytest.mark.parametrize("rate", [0.05, SCHEDULE, lambda step: 0.1 / (1 + step)], ids=str)
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_optimizer_at_every_rate(name, rate, sizes):
    settings, rule = OPTIMIZERS[name]
    problem = make_problem(sizes, ROWS, model=Model("tanh", "squared_error"), dtype="float64")
    assert_follows(
        problem,
        {"weight_decay": 0.1, "learning_rate": rate, **settings},
        weight_decay=0.1,
        rule=rule,
    )


@by_sizes
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("loss", LOSSES)
def test_weights_of_rows_count_in_every_loss(loss, dtype, sizes):
    weights = np.random.default_rng(1).uniform(0, 3, ROWS)
    weights[::4] = 0
    problem = make_problem(sizes, ROWS, model=Model("tanh", loss), dtype=dtype)
    rounded = weights.astype(dtype).astype(float)
    _, history, exact = assert_follows(problem, {"sample_weight": weights}, sample_weight=rounded)
    if LOSSES[loss].metric == "accuracy":
        assert np.mean(history.accuracy) == pytest.approx(exact.accuracy, abs=1e-6)


@by_sizes
@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_dropout_of_input_and_hidden_layers(optimizer, sizes):
    problem = make_problem(sizes, ROWS, model=Model("tanh"), dtype="float64")
    hidden = len(sizes) - 2
    settings, rule = OPTIMIZERS[optimizer]
    for given, shares in (
        (0.4, (0.0, *[0.4] * hidden)),
        ((0.2, *[0.5] * hidden), (0.2, *[0.5] * hidden)),
    ):
        assert_follows(problem, {"dropout": given, **settings}, dropout=shares, rule=rule)


@by_sizes
@pytest.mark.parametrize("optimizer", ["sgd", "momentum", "adam"])
def test_a_batch_of_no_weight_has_gradients_of_zero(optimizer, sizes):
    problem = make_problem(sizes, 24, model=Model("tanh", "squared_error"), dtype="float64")
    weights = np.ones(24)
    weights[8:16] = 0
    settings, rule = OPTIMIZERS[optimizer]
    network = problem.network()
    history = network.fit(
        problem.X, problem.y, batch_size=8, epochs=1, shuffle=False, sample_weight=weights,
        learning_rate=0.05, weight_decay=0.1, **settings,
    )  # fmt: skip

    current, state = (problem.weights, problem.biases), None
    for batch in (slice(0, 8), slice(8, 16), slice(16, 24)):
        slopes = oracle.gradients(problem.X[batch], problem.y[batch], *current, model=problem.model)
        if batch.start == 8:
            slopes = oracle.Gradients(*([0 * g for g in group] for group in slopes))
        *current, state = oracle.updated(*current, slopes, state, rule, 0.05, 0.1)
    for ours, exact in zip(
        network.weights + network.biases, [*current[0], *current[1]], strict=True
    ):
        # Three steps in float64, each of some hundred roundings.
        np.testing.assert_allclose(ours, exact, rtol=0, atol=1000 * np.finfo(float).eps)
    assert np.isfinite(history.loss[0])


@by_sizes
@pytest.mark.parametrize("loss", ["squared_error", "absolute_error", "huber", "poisson"])
def test_r2_of_an_epoch_is_that_of_the_network_before_each_step(loss, sizes):
    """With one batch an epoch, training and `score` judge the same network by the same rows."""
    problem = make_problem(sizes, ROWS, model=Model("tanh", loss), dtype="float64")
    weights = np.random.default_rng(1).uniform(0, 3, ROWS)
    network = problem.network()
    before = (
        network.loss(problem.X, problem.y, sample_weight=weights),
        network.score(problem.X, problem.y, sample_weight=weights),
    )
    history = network.fit(
        problem.X, problem.y, batch_size=None, epochs=1, learning_rate=1e-3, sample_weight=weights
    )
    assert history.metric_name == "r2"
    assert (history.loss[0], history.r2[0]) == pytest.approx(before, rel=1e-10)
    with pytest.raises(AttributeError, match="'r2', not 'accuracy'"):
        history.accuracy  # noqa: B018


@by_sizes
def test_equal_weights_are_none(sizes):
    problem = make_problem(sizes, ROWS)
    one, other = problem.network(), problem.network()
    one.fit(problem.X, problem.y, epochs=2, seed=0)
    other.fit(problem.X, problem.y, epochs=2, seed=0, sample_weight=np.full(ROWS, 1e-30))
    np.testing.assert_array_equal(one.weights[0], other.weights[0])


@pytest.mark.parametrize("scale", [1e-300, 1e-30, 2.0**90, 1e300])
def test_only_the_proportions_of_weights_count(scale):
    problem = make_problem(SIZES["wide"], ROWS)
    weights = np.random.default_rng(1).uniform(0.5, 3, ROWS)
    one, other = problem.network(), problem.network()
    one.fit(problem.X, problem.y, epochs=2, seed=0, sample_weight=weights)
    other.fit(problem.X, problem.y, epochs=2, seed=0, sample_weight=scale * weights)
    np.testing.assert_allclose(one.weights[0], other.weights[0], rtol=1e-4)


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"optimizer": "adagrad"}, ValueError, "one of: 'sgd', 'adam', 'adamw'"),
        ({"dropout": 1.0}, ValueError, "dropout must be less than 1"),
        ({"dropout": "much"}, TypeError, "dropout must be a real number"),
        ({"dropout": [0.1]}, ValueError, "dropout has 1 shares, but there are the input and 2"),
        ({"dropout": [0.1, 0.1, -0.1]}, ValueError, r"dropout\[2\] must not be negative"),
        ({"sample_weight": np.ones(3)}, ValueError, "one weight for each of the 29 rows"),
        ({"sample_weight": -np.ones(29)}, ValueError, "not negative"),
        ({"sample_weight": np.zeros(29)}, ValueError, "must not be 0 for all rows"),
        ({"sample_weight": ["a"] * 29}, TypeError, "real numbers"),
        ({"class_weight": "even"}, ValueError, "None, 'balanced' or a mapping"),
        ({"class_weight": 3}, TypeError, "None, 'balanced' or a mapping"),
        ({"class_weight": {0: -1}}, ValueError, r"class_weight\[0\] must not be negative"),
        ({"class_weight": "balanced"}, ValueError, "class_weight needs one label for each row"),
        ({"validation_split": 1.0}, ValueError, "validation_split must be less than 1"),
        ({"validation_split": 0.99}, ValueError, "leaves none to train on"),
        (
            {"validation_split": 0.5, "validation_data": (1, 2)},
            ValueError,
            "validation_data or validation_split, not both",
        ),
        ({"max_seconds": -1}, ValueError, "max_seconds must be greater than 0"),
        ({"learning_rate": SCHEDULE, "weight_decay": 10.0}, ValueError, "less than 1"),
    ],
    ids=str,
)
def test_bad_arguments_are_refused_before_anything_changes(settings, error, message):
    problem = make_problem(SIZES["wide"], ROWS)
    network = problem.network()
    before = network.weights[0].copy()
    with pytest.raises(error, match=message):
        network.fit(problem.X, problem.y, **settings)
    np.testing.assert_array_equal(network.weights[0], before)
    assert network.training_settings == {}
    assert network.training_state is None


@pytest.mark.parametrize("value", [np.nan, -1.0, 11.0])
def test_a_rate_of_a_callable_that_is_none_ends_training_there(value):
    problem = make_problem(SIZES["wide"], ROWS)
    network = problem.network()
    with pytest.raises(ValueError, match=r"learning_rate"):
        network.fit(
            problem.X, problem.y, batch_size=8, epochs=3, weight_decay=0.1,
            learning_rate=lambda step: value if step == 5 else 0.1,
        )  # fmt: skip
    assert network.training_state.steps == 4  # of the calls before, of an epoch each
