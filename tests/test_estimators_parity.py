"""The same seed gives the same model as in scikit-learn, by sgd and adam.

Many more trainings: ``python -m tests.trials.estimators``.
"""

from __future__ import annotations

import warnings

import numpy as np
import pytest

pytest.importorskip("sklearn")

import sklearn.neural_network
from sklearn.base import BaseEstimator, clone
from sklearn.exceptions import ConvergenceWarning

import fastbp
from tests.estimator_trials import KINDS, difference, draw

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


@pytest.mark.parametrize("seed", range(10_000, 10_060))
def test_a_training_at_random_ends_with_the_same_model(seed):
    assert difference(draw(seed)) is None


def test_trainings_at_random_are_of_all_kinds():
    trials = [draw(seed) for seed in range(10_000, 10_060)]
    assert {trial.kind for trial in trials} == set(KINDS)
    assert {trial.container for trial in trials} == {"C", "F", "csr", "csc"}
    assert {trial.incremental for trial in trials} == {True, False}
    for name in ("solver", "activation", "learning_rate", "shuffle", "early_stopping"):
        assert len({trial.parameters[name] for trial in trials}) >= 2, name


def _data(n=60, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n, 7))
    return X, X[:, 0] + 0.1 * rng.standard_normal(n) > 0


def _both(name, X, y, calls=("fit",), **parameters):
    for module in (sklearn.neural_network, fastbp):
        estimator = getattr(module, name)(random_state=3, **parameters)
        for call in calls:
            getattr(estimator, call)(X, y)
        yield estimator


def _assert_same(theirs, mine, tolerance=1e-7):
    assert theirs.n_iter_ == mine.n_iter_
    for one, other in zip(
        theirs.coefs_ + theirs.intercepts_, mine.coefs_ + mine.intercepts_, strict=True
    ):
        np.testing.assert_allclose(other, one, rtol=tolerance, atol=tolerance)


def test_the_defaults_give_the_same_model():
    X, y = _data()
    theirs, mine = _both("MLPClassifier", X, y)
    _assert_same(theirs, mine)
    np.testing.assert_allclose(mine.loss_curve_, theirs.loss_curve_, rtol=1e-10)


@pytest.mark.parametrize("solver", ["sgd", "adam"])
@pytest.mark.parametrize(
    ("features", "hidden", "batch_size"),
    [
        (1500, (3, 2), 1),
        (1500, (3, 2), 40),
        (1500, (3, 2), 130),
        (700, (70, 20), 3),
        (700, (70, 20), 130),
        (300, (300,), 60),
    ],
)
def test_every_method_of_training_gives_the_same_model(features, hidden, batch_size, solver):
    rng = np.random.default_rng(features)
    X = rng.standard_normal((130, features)) / np.sqrt(features)
    y = np.argsort(np.argsort(X[:, :9].sum(axis=1))) * 3 // 130
    for weights in (None, rng.uniform(0.5, 2, len(X))):
        theirs, mine = (
            module.MLPClassifier(
                hidden, solver=solver, batch_size=batch_size, max_iter=3, alpha=0.1, random_state=1
            ).fit(X, y, weights)
            for module in (sklearn.neural_network, fastbp)
        )
        _assert_same(theirs, mine)
        np.testing.assert_allclose(mine.loss_curve_, theirs.loss_curve_, rtol=1e-9)
        np.testing.assert_allclose(mine.predict_proba(X), theirs.predict_proba(X), rtol=1e-7)


def test_a_random_state_goes_on_from_call_to_call():
    X, y = _data()
    states = [np.random.RandomState(5), np.random.RandomState(5)]
    models = [
        module.MLPClassifier(max_iter=4, random_state=state, early_stopping=True)
        for module, state in zip((sklearn.neural_network, fastbp), states, strict=True)
    ]
    for model in models:
        model.fit(X, y)
        model.fit(X, y)
    _assert_same(*models)
    assert states[0].random_sample() == states[1].random_sample()


def test_the_global_generator_is_used_without_a_random_state():
    X, y = _data()
    models = []
    for module in (sklearn.neural_network, fastbp):
        np.random.seed(8)  # noqa: NPY002
        models.append(module.MLPClassifier(max_iter=3).fit(X, y))
    _assert_same(*models)


def test_parameters_and_defaults_are_scikit_learn_s():
    for name in ("MLPClassifier", "MLPRegressor"):
        theirs, mine = getattr(sklearn.neural_network, name), getattr(fastbp, name)
        expected = theirs().get_params()
        assert {key: mine().get_params()[key] for key in expected} == expected
        assert mine().loss == theirs().loss
    assert fastbp.MLPRegressor("poisson", (3,), "tanh").hidden_layer_sizes == (3,)


def test_parameters_are_told_without_a_look_at_the_signature_each_time(monkeypatch):
    class Narrow(fastbp.MLPClassifier):
        def __init__(self, alpha=0.5):
            super().__init__(alpha=alpha)

    for kind in (fastbp.MLPClassifier, fastbp.MLPRegressor, Narrow):
        expected = BaseEstimator.get_params(kind(alpha=0.25), deep=False)
        kind().get_params(deep=False)
        with monkeypatch.context() as patch:
            patch.delattr(BaseEstimator, "get_params")
            found = kind(alpha=0.25).get_params(deep=False)
        assert [*found.items()] == [*expected.items()]
    assert Narrow().get_params() == {"alpha": 0.5}
    assert isinstance(clone(Narrow(alpha=1.0)), Narrow)


def test_all_public_attributes_are_there():
    X, y = _data()
    for early_stopping in (False, True):
        theirs, mine = _both("MLPClassifier", X, y, early_stopping=early_stopping, max_iter=5)
        public = {name for name in vars(theirs) if not name.startswith("_")}
        added = mine.get_params().keys() - theirs.get_params().keys() | {"validation_loss_curve_"}
        assert public | added == {name for name in vars(mine) if not name.startswith("_")}


def test_negative_weights_are_taken():
    X, y = _data()
    weights = np.where(np.arange(len(X)) % 5 == 0, -0.5, 1.0)
    models = [
        module.MLPClassifier(random_state=0, max_iter=10).fit(X, y, weights)
        for module in (sklearn.neural_network, fastbp)
    ]
    _assert_same(*models)


def test_weights_of_any_size_count_by_their_ratios():
    X, y = _data()
    weights = np.random.default_rng(1).uniform(0.5, 2, len(X))
    one = fastbp.MLPClassifier(random_state=0, alpha=0, max_iter=5).fit(X, y, weights)
    for scale in (1e-307, 1e307):
        other = fastbp.MLPClassifier(random_state=0, alpha=0, max_iter=5)
        other.fit(X, y, weights * scale)
        np.testing.assert_allclose(other.coefs_[0], one.coefs_[0], rtol=1e-12)


def test_a_batch_that_weighs_nothing_is_a_step_by_momentum_alone():
    X, y = _data(40)
    weights = np.repeat([1.0, 0.0], 20)
    parameters = {"batch_size": 20, "shuffle": False, "momentum": 0.0, "solver": "sgd"}
    model = fastbp.MLPClassifier(random_state=0, max_iter=3, **parameters).fit(X, y, weights)
    half = fastbp.MLPClassifier(random_state=0, max_iter=3, **parameters).fit(X[:20], y[:20])
    np.testing.assert_array_equal(model.coefs_[0], half.coefs_[0])


@pytest.mark.parametrize("solver", ["sgd", "adam"])
@pytest.mark.parametrize("classes", [2, 3])
def test_the_loss_is_capped_where_scikit_learn_clips_probabilities(classes, solver):
    X, y = _data()
    y = y * (1 + np.arange(len(y)) % (classes - 1))
    # So far out that no probability is between 1 - 1e-10 and 1, where theirs are rounded.
    theirs, mine = _both(
        "MLPClassifier", 1e6 * X, y, solver=solver, learning_rate_init=1e-4, max_iter=3
    )
    _assert_same(theirs, mine)
    np.testing.assert_allclose(mine.loss_curve_, theirs.loss_curve_, rtol=1e-10)


def test_the_squared_error_of_several_outputs_is_the_mean_of_the_installed_version():
    X, _ = _data()
    theirs, mine = _both("MLPRegressor", X, X[:, :3], max_iter=3, alpha=0)
    np.testing.assert_allclose(mine.loss_curve_, theirs.loss_curve_, rtol=1e-12)


def test_what_is_printed_is_the_same(capsys):
    X, y = _data()
    printed = []
    for module in (sklearn.neural_network, fastbp):
        for parameters in (
            {"early_stopping": True},
            {"learning_rate": "adaptive", "solver": "sgd", "tol": 10.0},
            {"solver": "sgd", "tol": 10.0},
        ):
            module.MLPClassifier(
                random_state=0, max_iter=40, n_iter_no_change=2, verbose=True, **parameters
            ).fit(X, y)
        printed.append(capsys.readouterr().out)
    assert "Setting learning rate to" in printed[0]
    assert printed[0] == printed[1]


def test_the_same_warnings_are_given():
    X, y = _data()
    found = []
    for module in (sklearn.neural_network, fastbp):
        with warnings.catch_warnings(record=True) as seen:
            warnings.simplefilter("always")
            module.MLPClassifier(batch_size=1000, max_iter=2).fit(X, y)
        found.append([(one.category, str(one.message)) for one in seen])
    assert found[0] == found[1]
    assert [category for category, _ in found[1]] == [UserWarning, ConvergenceWarning]
