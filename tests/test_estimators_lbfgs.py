"""solver="lbfgs": the same model as scikit-learn's to 1e-3, and the gradient that it follows."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("sklearn")

import scipy.sparse
import sklearn.neural_network

import fastbp
from fastbp.estimators import lbfgs
from fastbp.estimators.weights import network_of
from tests.estimator_trials import draw

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


def _trial(seed):
    trial = draw(seed)
    trial.parameters.update(solver="lbfgs", max_iter=25, tol=1e-4)
    trial.calls, trial.incremental = 1, False
    return trial


@pytest.mark.parametrize("seed", range(20_000, 20_025))
def test_a_training_at_random_ends_with_the_same_model(seed):
    trial = _trial(seed)
    theirs, mine = trial.fitted(sklearn.neural_network), trial.fitted(fastbp)
    assert theirs.n_iter_ == mine.n_iter_
    assert mine.loss_ == pytest.approx(theirs.loss_, rel=1e-3)
    for one, other in zip(
        theirs.coefs_ + theirs.intercepts_, mine.coefs_ + mine.intercepts_, strict=True
    ):
        np.testing.assert_allclose(other, one, rtol=1e-3, atol=1e-3)


def _objective(monkeypatch, trial, rows_at_once=None):
    estimator = getattr(fastbp, trial.name)(**{**trial.parameters, "max_iter": 1})
    estimator.fit(trial.X, trial.y, trial.weights)
    data = estimator._validate_fit(trial.X, trial.y, trial.weights, incremental=True, reset=False)
    if rows_at_once is not None:
        monkeypatch.setattr(lbfgs, "_LEAST_ROWS", rows_at_once)
        monkeypatch.setattr(lbfgs, "_ACTIVATION_BYTES", 1)
    network = network_of(estimator)
    objective = lbfgs._Objective(network, data, estimator.alpha)
    return objective, objective.start(network)


@pytest.mark.parametrize("seed", range(20_000, 20_020))
def test_the_gradient_is_that_of_the_loss(seed, monkeypatch):
    trial = _trial(seed)
    objective, at = _objective(monkeypatch, trial)
    loss, gradient = objective(at)
    outputs = trial.y.shape[1] if trial.kind == "outputs" else 1
    rng = np.random.default_rng(seed)
    for _ in range(5):
        direction = rng.standard_normal(len(at))
        step = 1e-6
        slope = (objective(at + step * direction)[0] - objective(at - step * direction)[0]) / (
            2 * step
        )
        # scikit-learn's loss is a mean over outputs, its gradient that of the sum.
        if outputs == 1:
            assert slope == pytest.approx(gradient @ direction, rel=1e-4, abs=1e-6)
    assert np.isfinite(loss)


@pytest.mark.parametrize("seed", range(20_000, 20_010))
def test_rows_at_once_make_no_difference_but_rounding(seed, monkeypatch):
    trial = _trial(seed)
    objective, at = _objective(monkeypatch, trial)
    expected_loss, expected = objective(at)
    parts, _ = _objective(monkeypatch, trial, rows_at_once=7)
    assert parts._rows.steps > 1
    loss, gradient = parts(at)
    assert loss == pytest.approx(expected_loss, rel=1e-12)
    np.testing.assert_allclose(gradient, expected, rtol=1e-10, atol=1e-13)


def test_float32_and_bytes_give_float64_weights():
    rng = np.random.default_rng(0)
    X = rng.integers(0, 9, (50, 6)).astype(np.uint8)
    y = X[:, 0] > 4
    models = [
        fastbp.MLPClassifier(4, solver="lbfgs", random_state=1, max_iter=8).fit(rows, y)
        for rows in (X, X.astype(np.float32), scipy.sparse.csr_array(X))
    ]
    for model in models:
        assert model.coefs_[0].dtype == np.float64
        np.testing.assert_allclose(model.coefs_[0], models[0].coefs_[0], rtol=1e-6)
    theirs = sklearn.neural_network.MLPClassifier(
        4,
        solver="lbfgs",
        random_state=1,
        max_iter=8,  # later its float32 stops the line search
    ).fit(X.astype(np.float32), y)
    np.testing.assert_allclose(models[1].coefs_[0], theirs.coefs_[0], atol=1e-3)


def test_a_regressor_s_partial_fit_goes_on_from_the_weights():
    rng = np.random.default_rng(0)
    X = rng.standard_normal((40, 3))
    models = [
        module.MLPRegressor(hidden_layer_sizes=5, solver="lbfgs", random_state=1, max_iter=4)
        .partial_fit(X, X[:, 0])
        .partial_fit(X, X[:, 0])
        for module in (sklearn.neural_network, fastbp)
    ]
    np.testing.assert_allclose(models[1].coefs_[0], models[0].coefs_[0], atol=1e-6)
    assert not hasattr(fastbp.MLPClassifier(solver="lbfgs"), "partial_fit")


def test_the_last_point_is_what_coefs_show_and_is_no_scratch_memory():
    X = np.random.default_rng(0).standard_normal((30, 3))
    model = fastbp.MLPRegressor(
        hidden_layer_sizes=4, solver="lbfgs", random_state=1, max_iter=5
    ).fit(X, X[:, 0])
    before = [coef.copy() for coef in model.coefs_]
    fastbp.MLPRegressor(hidden_layer_sizes=4, solver="lbfgs", random_state=2, max_iter=5).fit(
        X, X[:, 1]
    )
    for coef, was in zip(model.coefs_, before, strict=True):
        np.testing.assert_array_equal(coef, was)
