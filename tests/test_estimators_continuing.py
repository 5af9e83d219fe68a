"""Trainings that go on: partial_fit of several epochs, pickles, warm starts; and limits of time."""

from __future__ import annotations

import copy
import pickle
import time
import warnings

import numpy as np
import pytest

pytest.importorskip("sklearn")

from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning

import fastbp
from fastbp import MLPClassifier, MLPRegressor

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

KINDS = {
    "adam": {"solver": "adam"},
    "adamw": {"solver": "adamw"},
    "momentum": {"solver": "sgd"},
    "plain": {"solver": "sgd", "momentum": 0.0},
    "invscaling": {"solver": "sgd", "learning_rate": "invscaling"},
    # So little is progress that the rate is lowered on the way.
    "adaptive": {
        "solver": "sgd", "learning_rate": "adaptive", "tol": 100.0, "n_iter_no_change": 2,
        "learning_rate_init": 0.1,
    },
    "dropout": {"dropout": (0.1, 0.4)},
}  # fmt: skip


def _data(dtype=np.float64):
    X = np.random.default_rng(0).standard_normal((70, 6)).astype(dtype)
    return X, np.digitize(X[:, 0], [-0.5, 0.5])


def _model(**parameters):
    settings = {"hidden_layer_sizes": (12,), "batch_size": 16, "random_state": 1, "max_iter": 6}
    return MLPClassifier(**{**settings, **parameters})


def _assert_same_bits(one, other):
    for mine, yours in zip(
        one.coefs_ + one.intercepts_, other.coefs_ + other.intercepts_, strict=True
    ):
        np.testing.assert_array_equal(mine, yours)
    assert one.loss_curve_ == other.loss_curve_
    assert one.t_ == other.t_


def _partly(model, X, y, **keywords):
    return model.partial_fit(X, y, classes=[0, 1, 2], **keywords)


# ------------------------------------------------------------------ partial_fit


@pytest.mark.parametrize("kind", KINDS)
def test_epochs_of_one_call_are_those_of_fit(kind):
    X, y = _data()
    model = _partly(_model(**KINDS[kind]), X, y, epochs=6)
    _assert_same_bits(model, _model(**KINDS[kind]).fit(X, y))
    assert model.n_iter_ == 6


@pytest.mark.parametrize("kind", KINDS)
def test_without_shuffling_epochs_are_calls(kind):
    X, y = _data()
    model = _partly(_model(shuffle=False, **KINDS[kind]), X, y, epochs=5)
    other = _model(shuffle=False, **KINDS[kind])
    for _ in range(5):
        _partly(other, X, y)
    _assert_same_bits(model, other)
    assert model._optimizer.learning_rate == other._optimizer.learning_rate


@pytest.mark.parametrize("epochs", [0, -1, 1.5, "2", None])
def test_epochs_are_a_positive_integer(epochs):
    with pytest.raises((TypeError, ValueError), match="epochs"):
        _partly(_model(), *_data(), epochs=epochs)


def test_a_regressor_takes_epochs_too():
    X, y = _data()
    model = MLPRegressor(hidden_layer_sizes=(5,), random_state=0, max_iter=4)
    _assert_same_bits(clone(model).partial_fit(X, y, epochs=4), clone(model).fit(X, y))


# ------------------------------------------------------------------ pickles


def _copies():
    return {
        "pickle": lambda model: pickle.loads(pickle.dumps(model)),
        "deepcopy": copy.deepcopy,
    }


@pytest.mark.parametrize("how", _copies())
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_copy_goes_on_as_if_it_were_none(kind, how, dtype):
    X, y = _data(dtype)
    model = _partly(_model(**KINDS[kind]), X, y, epochs=3)
    other = _copies()[how](model)
    for one in (model, other):
        _partly(one, X, y)
        _partly(one, X[:40], y[:40], epochs=2)
    _assert_same_bits(model, other)


@pytest.mark.parametrize("goes_on", [False, True])
@pytest.mark.parametrize("which", ["none", "number", "instance"])
def test_a_copy_shuffles_as_the_original(which, goes_on):
    X, y = _data()
    states = {"none": None, "number": 7, "instance": np.random.RandomState(7)}
    model = _model(random_state=states[which], continue_training=goes_on)
    np.random.seed(3)  # noqa: NPY002
    _partly(model, X, y)
    text, state = pickle.dumps(model), np.random.get_state()  # noqa: NPY002
    _partly(model, X, y, epochs=2)
    np.random.set_state(state)  # noqa: NPY002
    other = _partly(pickle.loads(text), X, y, epochs=2)
    _assert_same_bits(model, other)


# ------------------------------------------------------------------ continue_training


@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_two_warm_starts_are_one_training(kind, shuffle):
    X, y = _data()
    parameters = {"shuffle": shuffle, **KINDS[kind]}
    model = _model(warm_start=True, continue_training=True, **parameters).fit(X, y)
    model = pickle.loads(pickle.dumps(model)).set_params(max_iter=4).fit(X, y)
    whole = _model(max_iter=10, **parameters).fit(X, y)
    _assert_same_bits(model, whole)
    assert model._optimizer.learning_rate == whole._optimizer.learning_rate


def test_calls_of_partial_fit_are_one_training():
    X, y = _data()
    model = _model(continue_training=True)
    for epochs in (1, 1, 2, 1, 1):
        _partly(model, X, y, epochs=epochs)
    _assert_same_bits(model, _model().fit(X, y))


@pytest.mark.parametrize("scoring", [None, "loss"])
def test_early_stopping_goes_on_from_the_last_weights_and_keeps_the_best(scoring):
    X, y = _data()
    parameters = {
        "early_stopping": True, "validation_fraction": 0.3, "learning_rate_init": 0.05,
        "n_iter_no_change": 100, "scoring": scoring,
    }  # fmt: skip
    model = _model(warm_start=True, continue_training=True, max_iter=25, **parameters).fit(X, y)
    assert model._course.last is not None
    model.fit(X, y)
    whole = _model(max_iter=50, **parameters).fit(X, y)
    _assert_same_bits(model, whole)
    assert model.validation_scores_ == whole.validation_scores_
    assert model.best_validation_score_ == whole.best_validation_score_


def test_weights_that_the_user_has_put_there_are_gone_on_from():
    X, y = _data()
    parameters = {"early_stopping": True, "warm_start": True, "continue_training": True}
    model = _model(alpha=0.0, batch_size=63, **parameters).fit(X, y)
    for array in model.coefs_ + model.intercepts_:
        array[...] = 0
    model.fit(X, y)
    assert model.loss_curve_[6] == pytest.approx(np.log(3), rel=1e-12)  # before the first step


def test_a_warm_start_begins_with_a_new_optimizer_unless_asked():
    X, y = _data()
    model = _model(warm_start=True).fit(X, y)
    steps = model._optimizer.steps
    assert model.fit(X, y)._optimizer.steps == steps
    assert not hasattr(model, "_course")


def test_training_goes_on_with_other_parameters():
    X, y = _data()
    model = _model(warm_start=True, continue_training=True, solver="sgd").fit(X, y)
    kept = model._optimizer.kept
    model.set_params(learning_rate_init=0.5, momentum=0.1).fit(X, y)
    assert model._optimizer.kept is kept
    assert model._optimizer.learning_rate == 0.5
    assert model._optimizer.rule.momentum == 0.1
    model.set_params(solver="adam").fit(X, y)  # which keeps other things
    assert len(model._optimizer.kept) == 2


def test_training_goes_on_with_other_rows():
    X, y = _data()
    model = _model(warm_start=True, continue_training=True, early_stopping=True).fit(X, y)
    model.fit(X[:50], y[:50])
    assert sorted(np.concatenate(model._course.split)) == list(range(50))
    assert sorted(model._course.order) == sorted(model._course.split[0])


@pytest.mark.parametrize("early_stopping", [False, True])
def test_the_order_of_other_rows_is_not_gone_on_from(early_stopping):
    # As many rows for training as before, but others.
    X, y = _data()
    model = _model(warm_start=True, continue_training=True)
    model.set_params(early_stopping=not early_stopping).fit(*_some(X, y, early_stopping))
    model.set_params(early_stopping=early_stopping).fit(*_some(X, y, not early_stopping))
    expected = model._course.split[0] if early_stopping else range(63)
    assert sorted(model._course.order) == sorted(expected)
    assert len(expected) == 63


def _some(X, y, are_few):
    """63 rows, or 70 of which 63 are trained on with early stopping."""
    return (X[:63], y[:63]) if are_few else (X, y)


# ------------------------------------------------------------------ max_seconds


class _Clock:
    """Time that passes by a second with each look at it."""

    def __init__(self, monkeypatch):
        self.now = 0.0
        monkeypatch.setattr(time, "monotonic", self)

    def __call__(self):
        self.now += 1.0
        return self.now


def test_a_training_ends_with_the_epoch_in_which_its_time_is_up(monkeypatch):
    X, y = _data()
    model = _model(max_seconds=2.5)
    _Clock(monkeypatch)  # looked at when `fit` begins, and after each epoch
    with pytest.warns(ConvergenceWarning, match=r"Maximum time \(max_seconds=2.5\) reached"):
        model.fit(X, y)
    assert model.n_iter_ == 3
    _assert_same_bits(model, _model(max_iter=3).fit(X, y))


def test_partial_fit_ends_without_a_warning(monkeypatch):
    X, y = _data()
    _Clock(monkeypatch)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = _partly(_model(max_seconds=1.5), X, y, epochs=9)
    assert model.n_iter_ == 2


def test_at_least_one_epoch_is_made():
    assert _model(max_seconds=1e-9).fit(*_data()).n_iter_ == 1


def test_lbfgs_ends_too(monkeypatch):
    X, y = _data()
    _Clock(monkeypatch)
    with pytest.warns(ConvergenceWarning, match=r"lbfgs: Maximum time \(max_seconds=2.5\)"):
        model = _model(solver="lbfgs", max_seconds=2.5, max_iter=50).fit(X, y)
    assert model.n_iter_ == 3
    other = _model(solver="lbfgs", max_iter=3).fit(X, y)
    np.testing.assert_array_equal(model.coefs_[0], other.coefs_[0])
    assert model.loss_ == pytest.approx(other.loss_, rel=1e-12)


@pytest.mark.parametrize("seconds", [0, -1.0, "1"])
def test_no_time_is_refused(seconds):
    with pytest.raises(ValueError, match="The 'max_seconds' parameter of MLPClassifier"):
        _model(max_seconds=seconds).fit(*_data())


# ------------------------------------------------------------------ threads


@pytest.mark.parametrize("threads", [1, 2, 64])
def test_calls_run_on_at_most_so_many_threads(threads, monkeypatch):
    from fastbp.engine import threads as engine

    X, y = _data()
    seen = []
    run = engine.run

    def watch(*args, **keywords):
        seen.append(engine.get_num_threads())
        return run(*args, **keywords)

    monkeypatch.setattr(engine, "run", watch)
    most = fastbp.get_num_threads()
    model = _model(threads=threads)
    for call in (
        lambda: model.fit(X, y),
        lambda: _partly(model, X, y),
        lambda: model.predict(X),
        lambda: model.predict_proba(X),
    ):
        seen.clear()
        call()
        assert set(seen) == {min(threads, most)}
        assert fastbp.get_num_threads() == most
    _assert_same_bits(_model(threads=threads).fit(X, y), _model().fit(X, y))


@pytest.mark.parametrize("threads", [0, 1.5, "all"])
def test_no_threads_are_refused(threads):
    with pytest.raises(ValueError, match="The 'threads' parameter of MLPClassifier"):
        _model(threads=threads).fit(*_data())
