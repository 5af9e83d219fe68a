"""The pure NumPy twin of training, against the oracle."""

from __future__ import annotations

import itertools
import subprocess
import sys

import numpy as np
import pytest

from fastbp.activations import ACTIVATIONS
from fastbp.losses import LOSSES
from fastbp.reference import NumpyNetwork, functions
from tests import oracle
from tests.problems import targets_of

# Both sides are float64 and run the same few thousand roundings in another order.
RTOL = 1e4 * np.finfo(np.float64).eps


@pytest.fixture
def problem():
    """50 rows of 7 features, and a 7-5-4-2 network's parameters."""
    random = np.random.default_rng(0)
    sizes = (7, 5, 4, 2)
    weights = [random.normal(size=(n, m)) for m, n in itertools.pairwise(sizes)]
    biases = [random.normal(size=n) for n in sizes[1:]]
    X = random.normal(size=(50, 7))
    y = (random.random((50, 2)) < 0.5).astype(float)
    return X, y, weights, biases


@pytest.mark.parametrize("weight_decay", [0.0, 0.03])
@pytest.mark.parametrize("batch_size", [1, 16, 50, 1000])
def test_training_takes_the_oracles_steps(problem, batch_size, weight_decay):
    X, y, weights, biases = problem
    batches = [np.arange(i, min(i + batch_size, 50)) for i in range(0, 50, batch_size)]
    settings = {"learning_rate": 0.3, "weight_decay": weight_decay}
    first = oracle.train(X, y, weights, biases, batches, **settings)
    expected = oracle.train(X, y, first.weights, first.biases, batches, **settings)

    network = NumpyNetwork(weights, biases)
    history = network.fit(X, y, batch_size=batch_size, epochs=2, shuffle=False, **settings)

    for got, want in zip(network.weights, expected.weights, strict=True):
        np.testing.assert_allclose(got, want, rtol=RTOL, atol=RTOL)
    for got, want in zip(network.biases, expected.biases, strict=True):
        np.testing.assert_allclose(got, want, rtol=RTOL, atol=RTOL)
    np.testing.assert_allclose(history.loss, [first.loss, expected.loss], rtol=RTOL)
    np.testing.assert_allclose(history.accuracy, [first.accuracy, expected.accuracy], rtol=RTOL)
    assert len(history.seconds) == 2


RULES = [
    oracle.Rule(),
    oracle.Rule(momentum=0.9),
    oracle.Rule(momentum=0.9, nesterov=True),
    oracle.Rule("adam", epsilon=1e-3),
    oracle.Rule("adamw", epsilon=1e-3, beta_1=0.8, beta_2=0.9),
    oracle.Rule("adam", epsilon=1e-3, clip_norm=0.1),
    oracle.Rule(clip_norm=0.1),
]
MODELS = [oracle.Model(name, "squared_error") for name in oracle.ACTIVATIONS] + [
    oracle.Model(("tanh", "relu"), loss) for loss in oracle.LOSSES
]


def assert_takes_the_oracles_steps(model, rule, learning_rate=0.05, **settings):
    """Two trainings of an epoch each, the second of which goes on with what is kept."""
    rng = np.random.default_rng(0)
    sizes = (7, 5, 4, 2)
    weights = [rng.normal(size=(n, m)) / 2 for m, n in itertools.pairwise(sizes)]
    biases = [rng.normal(size=n) / 2 for n in sizes[1:]]
    X, y = rng.normal(size=(50, 7)), targets_of(rng, 50, 2, model.loss)
    batches = [np.arange(i, min(i + 16, 50)) for i in range(0, 50, 16)]
    expected = oracle.train(
        X, y, weights, biases, batches * 2, learning_rate=learning_rate, model=model, rule=rule,
        **settings,
    )  # fmt: skip

    network = NumpyNetwork(weights, biases, activation=model.activation, loss=model.loss)
    histories = [
        network.fit(
            X, y, batch_size=16, epochs=1, shuffle=False, learning_rate=learning_rate,
            **rule._asdict(), **settings,
        )
        for _ in range(2)
    ]  # fmt: skip

    for got, want in zip(
        network.weights + network.biases, expected.weights + expected.biases, strict=True
    ):
        np.testing.assert_allclose(got, want, rtol=RTOL, atol=RTOL)
    loss = np.mean([history.loss[0] for history in histories])
    assert loss == pytest.approx(expected.loss, rel=RTOL)
    accuracy = np.mean([history.accuracy[0] for history in histories])
    assert accuracy == pytest.approx(expected.accuracy, rel=RTOL, nan_ok=True)
    metric = oracle.accuracy(X, y, network.weights, network.biases, model)
    assert network.score(X, y) == pytest.approx(metric, rel=RTOL)


@pytest.mark.parametrize("model", MODELS, ids=str)
def test_every_function_takes_the_oracles_steps(model):
    assert_takes_the_oracles_steps(model, oracle.SGD, weight_decay=0.03)


@pytest.mark.parametrize("rule", RULES, ids=str)
def test_every_optimizer_takes_the_oracles_steps(rule):
    model = oracle.Model("tanh", "cross_entropy")
    assert_takes_the_oracles_steps(model, rule, weight_decay=0.03)


def test_rates_of_steps_and_weights_of_rows_are_the_oracles():
    weights = np.random.default_rng(1).uniform(0.1, 2, size=50)
    assert_takes_the_oracles_steps(
        oracle.Model("gelu", "huber"),
        oracle.Rule("adam", epsilon=1e-3),
        learning_rate=lambda step: 0.1 / (1 + step),
        sample_weight=weights,
    )


def test_the_known_functions_are_fastbps():
    assert functions.ACTIVATIONS.keys() == ACTIVATIONS.keys()
    assert functions.LOSSES.keys() == LOSSES.keys()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"activation": "swish"}, "activation must be one of identity, sigmoid"),
        ({"activation": ["relu", "relu"]}, "one for each of 1"),
        ({"loss": "hinge"}, "loss must be one of log_loss, .* got 'hinge'"),
    ],
    ids=str,
)
def test_unknown_functions_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        NumpyNetwork([np.ones((2, 3)), np.ones((1, 2))], [np.ones(2), np.ones(1)], **settings)
    network = NumpyNetwork([np.ones((1, 3))], [np.ones(1)])
    with pytest.raises(ValueError, match=r"optimizer must be .* got 'rmsprop'"):
        network.fit(np.ones((2, 3)), np.ones(2), optimizer="rmsprop")


def test_shuffling_visits_every_row_once_an_epoch(problem):
    # With one batch of all rows, any order gives the same step.
    X, y, weights, biases = problem
    shuffled, straight = NumpyNetwork(weights, biases), NumpyNetwork(weights, biases)
    shuffled.fit(X, y, batch_size=50, epochs=3, shuffle=True, seed=1)
    straight.fit(X, y, batch_size=50, epochs=3, shuffle=False)
    for got, want in zip(shuffled.weights, straight.weights, strict=True):
        np.testing.assert_allclose(got, want, rtol=RTOL, atol=RTOL)


def test_the_seed_decides_the_order(problem):
    X, y, weights, biases = problem
    trained = []
    for seed in (1, 1, 2):
        network = NumpyNetwork(weights, biases)
        network.fit(X, y, batch_size=8, epochs=1, seed=seed)
        trained.append(network.weights[0])
    assert np.array_equal(trained[0], trained[1])
    assert not np.array_equal(trained[0], trained[2])


def test_predictions_are_the_oracles(problem):
    X, y, weights, biases = problem
    network = NumpyNetwork(weights, biases)
    expected = oracle.forward(X, weights, biases).A[-1]
    np.testing.assert_allclose(network.predict_proba(X), expected, rtol=RTOL)
    assert network.score(X, y) == oracle.accuracy(X, y, weights, biases)


def test_given_parameters_are_not_touched(problem):
    X, y, weights, biases = problem
    before = [w.copy() for w in (*weights, *biases)]
    NumpyNetwork(weights, biases).fit(X, y, epochs=1)
    for array, copy in zip((*weights, *biases), before, strict=True):
        assert np.array_equal(array, copy)


def test_saturated_outputs_give_a_finite_loss():
    network = NumpyNetwork([np.full((1, 1), 1e4, np.float32)], [np.zeros(1, np.float32)])
    X = np.array([[1.0], [-1.0]], np.float32)
    history = network.fit(X, np.array([0.0, 1.0]), batch_size=2, epochs=1, learning_rate=1e-6)
    assert history.loss[0] == pytest.approx(1e4)


@pytest.mark.parametrize(
    ("shapes", "message"),
    [
        ([(3, 4), (2, 5)], r"layer 2 has weights of shape \(2, 5\) .* expected \(n, 3\)"),
        ([], "one entry for each layer, got 0 weights"),
    ],
)
def test_shapes_that_do_not_fit_are_refused(shapes, message):
    with pytest.raises(ValueError, match=message):
        NumpyNetwork([np.zeros(s) for s in shapes], [np.zeros(s[0]) for s in shapes])


def test_it_needs_nothing_but_numpy():
    script = (
        "import sys\n"
        "import fastbp.reference\n"
        "own = ('fastbp', 'fastbp._lazy', 'fastbp._version', 'fastbp.reference')\n"
        "others = [name for name in sys.modules if name.startswith('fastbp')"
        " and name not in own and not name.startswith('fastbp.reference.')]\n"
        "print(others + [name for name in ('numba', 'scipy') if name in sys.modules])\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("[]\n", "")
