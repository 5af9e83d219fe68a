"""What the estimators keep between calls: weights that users change, optimizers, copies."""

from __future__ import annotations

import copy
import pickle
import threading
import warnings

import joblib
import numpy as np
import pytest

pytest.importorskip("sklearn")

import sklearn.neural_network
from sklearn.base import clone

import fastbp
from fastbp.estimators.rows import DenseRows

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

MODULES = sklearn.neural_network, fastbp


def _data(n=60):
    rng = np.random.default_rng(0)
    X = rng.standard_normal((n, 5))
    return X, X[:, 0] + 0.2 * rng.standard_normal(n) > 0


def _assert_same(theirs, mine, tolerance=1e-9):
    for one, other in zip(
        theirs.coefs_ + theirs.intercepts_, mine.coefs_ + mine.intercepts_, strict=True
    ):
        np.testing.assert_allclose(other, one, rtol=tolerance, atol=tolerance)


def _halve(array):
    array *= 0.5
    return array


CHANGES = {
    "in place": _halve,
    "another array": lambda array: array * 0.5,
    "rows contiguous": lambda array: np.ascontiguousarray(array * 0.5),
    "columns contiguous": lambda array: np.asfortranarray(array * 0.5),
    "a view": lambda array: np.repeat(array * 0.5, 2, axis=0)[::2],
    "float32": lambda array: np.float32(array * 0.5).astype(np.float64),
}


@pytest.mark.parametrize("change", CHANGES)
def test_weights_that_a_user_changes_are_predicted_and_trained_with(change):
    X, y = _data()
    models = [
        module.MLPClassifier((4, 3), max_iter=3, random_state=0).fit(X, y) for module in MODULES
    ]
    for model in models:
        model.predict(X[:1])  # so that there is a plan, of the old weights
        for arrays in (model.coefs_, model.intercepts_):
            for i, array in enumerate(arrays):
                arrays[i] = CHANGES[change](array)
    theirs, mine = models
    np.testing.assert_allclose(mine.predict_proba(X), theirs.predict_proba(X), rtol=1e-9)
    np.testing.assert_allclose(mine.predict_proba(X[:1]), theirs.predict_proba(X[:1]), rtol=1e-9)
    for model in models:
        model.partial_fit(X, y).partial_fit(X, y)
    _assert_same(theirs, mine)
    np.testing.assert_allclose(mine.predict_proba(X), theirs.predict_proba(X), rtol=1e-8)


def test_a_list_of_weights_that_was_changed_in_place_counts():
    X, y = _data()
    model = fastbp.MLPClassifier(4, max_iter=2, random_state=0).fit(X, y)
    model.coefs_ = [np.ascontiguousarray(coef) for coef in model.coefs_]
    before = model.predict_proba(X)
    model.coefs_[0][...] = 0  # rows are contiguous: compiled code reads a copy
    assert (model.predict_proba(X) != before).any()
    np.testing.assert_allclose(np.ptp(model.predict_proba(X), axis=0), 0, atol=1e-15)


def test_training_changes_the_arrays_that_coefs_show():
    X, y = _data()
    model = fastbp.MLPClassifier(4, max_iter=2, random_state=0).fit(X, y)
    coef, before = model.coefs_[0], model.coefs_[0].copy()
    model.partial_fit(X, y)
    assert model.coefs_[0] is coef
    assert (coef != before).any()


def test_another_activation_counts_at_once():
    X, y = _data()
    models = [module.MLPClassifier(4, max_iter=2, random_state=0).fit(X, y) for module in MODULES]
    for model in models:
        model.set_params(activation="tanh")
    np.testing.assert_allclose(models[1].predict_proba(X), models[0].predict_proba(X), rtol=1e-9)


@pytest.mark.parametrize("solver", ["sgd", "adam"])
def test_partial_fit_goes_on_with_the_optimizer_of_fit(solver):
    X, y = _data()
    models = [
        module.MLPClassifier(4, max_iter=4, random_state=0, solver=solver).fit(X, y)
        for module in MODULES
    ]
    for model in models:
        model.set_params(learning_rate_init=1.0, momentum=0.1, beta_1=0.1)  # of no effect
        for _ in range(3):
            model.partial_fit(X, y)
    _assert_same(*models)
    rates = [model._optimizer.learning_rate for model in models]
    assert rates[1] == pytest.approx(rates[0], rel=1e-12)


@pytest.mark.parametrize("early_stopping", [False, True])
@pytest.mark.parametrize("learning_rate", ["constant", "invscaling", "adaptive"])
def test_a_warm_start_goes_on_as_scikit_learn_s(learning_rate, early_stopping):
    X, y = _data()
    models = [
        module.MLPClassifier(
            4,
            solver="sgd",
            learning_rate=learning_rate,
            learning_rate_init=0.1,
            max_iter=12,
            n_iter_no_change=2,
            random_state=0,
            warm_start=True,
            early_stopping=early_stopping,
        )
        for module in MODULES
    ]
    for _ in range(4):
        for model in models:
            model.fit(X, y)
        _assert_same(*models)
    assert models[0].t_ == models[1].t_
    assert models[0]._no_improvement_count == models[1]._no_improvement_count
    np.testing.assert_allclose(models[1].loss_curve_, models[0].loss_curve_, rtol=1e-10)


def test_solvers_may_change_between_warm_starts():
    X, y = _data()
    model = fastbp.MLPClassifier(4, solver="lbfgs", max_iter=5, warm_start=True, random_state=0)
    model.fit(X, y)
    loss = model.loss_
    model.set_params(solver="adam").fit(X, y)
    assert len(model.loss_curve_) == 5
    assert model.loss_curve_[0] == pytest.approx(loss, rel=0.2)
    model.set_params(early_stopping=True).fit(X, y)
    assert len(model.validation_scores_) == model.n_iter_


def test_another_number_of_outputs_is_refused_before_anything_changes():
    X, _ = _data()
    model = fastbp.MLPRegressor(max_iter=2, random_state=0).fit(X, X[:, :2])
    before = [coef.copy() for coef in model.coefs_]
    with pytest.raises(ValueError, match=r"y has 3 outputs, but the network was fitted with 2"):
        model.partial_fit(X, X[:, :3])
    assert model.n_outputs_ == 2
    for coef, was in zip(model.coefs_, before, strict=True):
        np.testing.assert_array_equal(coef, was)


def test_other_shapes_of_weights_are_refused_by_partial_fit():
    X, y = _data()
    model = fastbp.MLPClassifier(4, max_iter=2, random_state=0).fit(X, y)
    model.coefs_ = [np.ones((5, 3)), np.ones((3, 1))]
    model.intercepts_ = [np.ones(3), np.ones(1)]
    with pytest.raises(ValueError, match=r"must keep their shapes"):
        model.partial_fit(X, y)


@pytest.mark.parametrize(
    "make", [copy.copy, copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))]
)
def test_a_copy_goes_on_to_the_same_bits(make):
    X, y = _data()
    model = fastbp.MLPClassifier(4, max_iter=3, random_state=0).fit(X, y)
    model.predict(X)
    expected = copy.deepcopy(model).partial_fit(X, y).coefs_
    other = make(model)
    np.testing.assert_array_equal(other.predict_proba(X), model.predict_proba(X))
    for one, two in zip(expected, other.partial_fit(X, y).coefs_, strict=True):
        np.testing.assert_array_equal(one, two)


def test_a_deep_copy_has_weights_of_its_own():
    X, y = _data()
    model = fastbp.MLPClassifier(4, max_iter=3, random_state=0).fit(X, y)
    before = model.predict_proba(X)
    copy.deepcopy(model).partial_fit(X, y)
    np.testing.assert_array_equal(model.predict_proba(X), before)
    assert not hasattr(clone(model), "coefs_")


def test_weights_of_a_file_that_is_mapped_are_copied_when_trained(tmp_path):
    X, y = _data()
    model = fastbp.MLPClassifier(4, max_iter=3, random_state=0).fit(X, y)
    joblib.dump(model, tmp_path / "model")
    mapped = joblib.load(tmp_path / "model", mmap_mode="r")
    np.testing.assert_array_equal(mapped.predict_proba(X), model.predict_proba(X))
    mapped.partial_fit(X, y)
    _assert_same(model.partial_fit(X, y), mapped)


def test_ctrl_c_ends_training_with_a_warning_and_a_usable_model(monkeypatch):
    X, y = _data()
    calls = []
    train = DenseRows.train

    def interrupted(self, *arguments, **keywords):
        calls.append(1)
        train(self, *arguments, **keywords)
        if len(calls) == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(DenseRows, "train", interrupted)
    model = fastbp.MLPClassifier(4, max_iter=9, random_state=0, batch_size=20)
    with pytest.warns(UserWarning, match=r"Training interrupted by user\."):
        model.fit(X, y)
    assert model.n_iter_ == 2
    assert model._optimizer.steps == 9  # those of the interrupted epoch were made
    monkeypatch.undo()
    expected = fastbp.MLPClassifier(4, max_iter=3, random_state=0, batch_size=20).fit(X, y)
    np.testing.assert_array_equal(model.coefs_[0], expected.coefs_[0])


def test_divergence_is_an_error_and_early_stopping_survives_it():
    X, y = _data()
    messages = []
    for module in MODULES:
        parameters = {"solver": "sgd", "learning_rate_init": 1e6, "activation": "identity"}
        model = module.MLPRegressor(random_state=0, max_iter=50, **parameters)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with pytest.raises(ValueError, match="non-finite parameter weights") as caught:
                model.fit(1e3 * X, y)
            stopped = clone(model).set_params(early_stopping=True).fit(1e3 * X, y)
        messages.append(str(caught.value))
        assert np.isnan(stopped.validation_scores_[-1])
        assert np.isfinite(stopped.coefs_[0]).all()
    assert messages[0] == messages[1]


def test_threads_predict_with_one_model_at_once():
    X, y = _data()
    model = fastbp.MLPClassifier(4, max_iter=3, random_state=0).fit(X, y)
    expected = model.predict_proba(X)
    wrong = []

    def work():
        for i in range(300):
            row = i % len(X)
            if (model.predict_proba(X[row : row + 1]) != expected[row]).any():
                wrong.append(row)

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


@pytest.mark.parametrize("name", ["MLPClassifier", "MLPRegressor"])
def test_help_has_every_parameter_of_every_method(name):
    import inspect

    from tests.test_docstrings import undocumented

    estimator = getattr(fastbp, name)
    assert undocumented(estimator.__init__, inspect.getdoc(estimator)) == []
    for method in ("fit", "partial_fit", "predict"):
        assert (
            undocumented(getattr(estimator, method), inspect.getdoc(getattr(estimator, method)))
            == []
        )


@pytest.mark.parametrize("solver", ["sgd", "adam", "lbfgs"])
def test_the_bits_do_not_depend_on_the_number_of_threads(solver, set_num_threads):
    X, y = _data(500)
    X = np.repeat(X, 20, axis=1)
    models = []
    for threads in (1, 2):
        set_num_threads(threads)
        model = fastbp.MLPClassifier((60, 30), max_iter=4, random_state=0, solver=solver)
        models.append(model.fit(X, y))
    for one, other in zip(models[0].coefs_, models[1].coefs_, strict=True):
        np.testing.assert_array_equal(one, other)
