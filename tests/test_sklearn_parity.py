"""The same weights and batches through scikit-learn's MLPClassifier give the same training.

scikit-learn's L2 term is alpha / (rows in the batch), ours is weight_decay, so that
alpha = weight_decay * rows; only batches of one size can agree.
"""

from __future__ import annotations

import numpy as np
import pytest

from tests.problems import Problem, make_problem
from tests.tolerance import assert_within

neural_network = pytest.importorskip("sklearn.neural_network")

SIZES = [(33, 3, 2, 1), (33, 40, 1), (48, 5, 3), (20, 18, 17, 2)]
ROWS, BATCH, EPOCHS, RATE = 48, 12, 5, 0.5  # 20 steps


def trained_by_sklearn(problem: Problem, weight_decay: float) -> neural_network.MLPClassifier:
    """Train scikit-learn's network from the problem's parameters, rows in order."""
    classifier = neural_network.MLPClassifier(
        problem.layer_sizes[1:-1],
        activation="logistic",
        solver="sgd",
        alpha=weight_decay * BATCH,
        batch_size=BATCH,
        learning_rate_init=RATE,
        momentum=0.0,
        shuffle=False,
        random_state=0,
    )
    y = problem.y[:, 0] if problem.layer_sizes[-1] == 1 else problem.y
    X, y = problem.X.astype(np.float64), y.astype(np.int64)
    classes = np.arange(problem.layer_sizes[-1]) if y.ndim == 2 else np.array([0, 1])
    classifier.partial_fit(X, y, classes=classes)  # makes the arrays; their values go
    for layer in range(len(problem.weights)):
        classifier.coefs_[layer][...] = problem.weights[layer].T
        classifier.intercepts_[layer][...] = problem.biases[layer]
    for _ in range(EPOCHS):
        classifier.partial_fit(X, y)
    return classifier


@pytest.mark.parametrize("weight_decay", [0.0, 0.02])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("layer_sizes", SIZES, ids=str)
def test_training_agrees_with_scikit_learn(layer_sizes, dtype, weight_decay):
    problem = make_problem(layer_sizes, ROWS, dtype=dtype)
    network = problem.network()

    network.fit(
        problem.X,
        problem.y,
        batch_size=BATCH,
        epochs=EPOCHS,
        learning_rate=RATE,
        weight_decay=weight_decay,
        shuffle=False,
    )

    theirs = trained_by_sklearn(problem, weight_decay)
    in_order = [np.arange(start, start + BATCH) for start in range(0, ROWS, BATCH)] * EPOCHS
    allowed = problem.training_bounds(in_order, learning_rate=RATE, weight_decay=weight_decay)
    for layer in range(len(network.weights)):
        # Both round: twice the bound of one.
        weight, bias = theirs.coefs_[layer].T, theirs.intercepts_[layer]
        assert_within(network.weights[layer], weight, 2 * allowed.weights[layer], f"W[{layer}]")
        assert_within(network.biases[layer], bias, 2 * allowed.biases[layer], f"b[{layer}]")


@pytest.mark.parametrize("layer_sizes", SIZES, ids=str)
def test_predictions_agree_with_scikit_learn(layer_sizes):
    problem = make_problem(layer_sizes, ROWS, dtype="float64")
    theirs = trained_by_sklearn(problem, weight_decay=0.0)
    problem.weights = [np.ascontiguousarray(coefs.T) for coefs in theirs.coefs_]
    problem.biases = list(theirs.intercepts_)
    network = problem.network()

    expected = theirs.predict_proba(problem.X)
    if layer_sizes[-1] == 1:
        expected = expected[:, 1:]  # scikit-learn gives P(0) and P(1)
    assert_within(
        network.predict_proba(problem.X), expected, 2 * problem.bounds().A[-1], "probabilities"
    )
    np.testing.assert_array_equal(network.predict(problem.X), theirs.predict(problem.X))
