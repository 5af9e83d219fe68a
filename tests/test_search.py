"""Search by cross-validation (fastbp.estimators.search): GridSearchCV's results."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("sklearn")

import sklearn
from sklearn.base import clone
from sklearn.exceptions import FitFailedWarning
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import make_scorer, mean_absolute_error
from sklearn.model_selection import GridSearchCV, GroupKFold, KFold, ShuffleSplit

from fastbp import MLPClassifier, MLPRegressor, MLPSearchCV
from fastbp.engine.together import Together
from fastbp.estimators import jobs, search

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


def _data(n=90, columns=8, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n, columns))
    return X, np.argmax(X[:, :3] + rng.standard_normal((n, 3)), axis=1)


def _classifier(**parameters):
    return MLPClassifier(**{"hidden_layer_sizes": (6,), "random_state": 0, "max_iter": 4,
                            "batch_size": 32} | parameters)  # fmt: skip


_GRID = {"learning_rate_init": [0.001, 0.1], "alpha": [0, 1e-4, 1]}


def _assert_same(mine, theirs):
    """All results but times."""
    assert mine.cv_results_.keys() == theirs.cv_results_.keys()
    for name, found in mine.cv_results_.items():
        if name.endswith("_time"):
            assert (found >= 0).all()
            assert np.isfinite(found).all()
        elif name == "params":
            assert found == theirs.cv_results_[name]
        else:
            np.testing.assert_array_equal(found, theirs.cv_results_[name])
    for name in ("best_index_", "best_params_", "best_score_", "n_splits_", "multimetric_"):
        assert getattr(mine, name, None) == getattr(theirs, name, None), name
    assert type(mine.scorer_) is type(theirs.scorer_)
    assert hasattr(mine, "best_estimator_") == hasattr(theirs, "best_estimator_")
    if hasattr(mine, "best_estimator_"):
        pairs = zip(mine.best_estimator_.coefs_, theirs.best_estimator_.coefs_, strict=True)
        for one, other in pairs:
            np.testing.assert_array_equal(one, other)


def _both(estimator, grid, X, y, fit=(), **parameters):
    mine, theirs = (
        kind(clone(estimator), grid, **parameters).fit(X, y, **dict(fit))
        for kind in (MLPSearchCV, GridSearchCV)
    )
    _assert_same(mine, theirs)
    return mine, theirs


@pytest.mark.parametrize(
    "parameters",
    [
        {},
        {"cv": 3, "return_train_score": True},
        {"cv": ShuffleSplit(4, test_size=0.4, random_state=1), "scoring": "neg_log_loss"},
        {"scoring": ["accuracy", "f1_macro"], "refit": "f1_macro", "return_train_score": True},
        {"scoring": {"a": "accuracy", "b": "neg_log_loss"}, "refit": False},
        {"scoring": lambda e, X, y: {"x": e.score(X, y), "y": -e.n_iter_}, "refit": "x"},
        {"refit": lambda results: len(results["params"]) - 1},
        {"n_jobs": 1},
        {"n_jobs": -1, "cv": KFold(2)},
    ],
    ids=str,
)
def test_results_are_those_of_grid_search(parameters):
    X, y = _data()
    mine, theirs = _both(_classifier(), _GRID, X, y, **parameters)
    if hasattr(mine, "best_estimator_") and not callable(parameters.get("refit")):
        np.testing.assert_array_equal(mine.predict(X), theirs.predict(X))
        np.testing.assert_array_equal(mine.classes_, theirs.classes_)
        assert mine.score(X, y) == theirs.score(X, y)
        assert mine.n_features_in_ == X.shape[1]
        assert mine.refit_time_ > 0


def test_regressors_and_lists_of_grids():
    X, _ = _data()
    y = X[:, :2] ** 2
    grid = [{"loss": ["squared_error", "poisson"]}, {"solver": ["sgd", "lbfgs"], "alpha": [0.1]}]
    scoring = make_scorer(mean_absolute_error, greater_is_better=False)
    _both(MLPRegressor(hidden_layer_sizes=(5,), random_state=2, max_iter=5), grid, X, y,
          scoring=scoring, cv=2)  # fmt: skip


def test_weights_and_groups_are_split_with_the_rows():
    X, y = _data()
    groups, weights = np.arange(len(X)) % 7, np.linspace(0, 2, len(X))
    fit = {"groups": groups, "sample_weight": weights}
    _both(_classifier(), _GRID, X, y, fit, cv=GroupKFold(3))
    with sklearn.config_context(enable_metadata_routing=True):
        estimator = _classifier().set_fit_request(sample_weight=True)
        estimator.set_score_request(sample_weight=True)
        _both(estimator, _GRID, X, y, fit, cv=GroupKFold(3))


@pytest.mark.parametrize("kind", ["list", "int", "csr", "frame"])
def test_kinds_of_rows(kind):
    X, y = _data()
    X = np.round(3 * X)
    if kind == "list":
        X, y = X.tolist(), y.tolist()
    elif kind == "int":
        X = X.astype(np.int32)
    elif kind == "csr":
        X = pytest.importorskip("scipy.sparse").csr_array(X)
    else:
        X = pytest.importorskip("pandas").DataFrame(X, columns=list("abcdefgh"))
    mine, _ = _both(_classifier(), _GRID, X, y, cv=2)
    assert hasattr(mine, "feature_names_in_") == (kind == "frame")


@pytest.mark.parametrize("memory", [1, 1 << 20])
def test_networks_on_one_fold_are_trained_together(monkeypatch, memory):
    monkeypatch.setattr(jobs, "_LEAST_BYTES", 0)
    monkeypatch.setattr(search, "_MOST_BYTES", memory)
    found = []
    train = Together.train

    def noting(self, order, first, *what):
        if first == 0:  # how an epoch is divided depends on the time that it takes
            found.append(len(self.plans))
        train(self, order, first, *what)

    monkeypatch.setattr(Together, "train", noting)
    X, y = _data(n=100, columns=150)
    _both(_classifier(hidden_layer_sizes=(4,), batch_size=50), _GRID, X, y, cv=2)
    assert found == [3] * (2 * 2 * 4)


def test_errors_of_a_score_are_not_those_of_a_training():
    X, y = _data()

    def score(estimator, X, y):
        raise RuntimeError("no score today")

    for kind in (MLPSearchCV, GridSearchCV):
        search = kind(_classifier(), _GRID, scoring=score, error_score="raise")
        with pytest.raises(RuntimeError, match="no score today"):
            search.fit(X, y)
        search.set_params(error_score=0.5, scoring=score, refit=False)
        with pytest.warns(UserWarning, match="Scoring failed"):
            search.fit(X, y)
        assert (search.cv_results_["mean_test_score"] == 0.5).all()


@pytest.mark.filterwarnings("ignore:One or more of the t:UserWarning")
def test_a_training_that_fails_has_the_error_score():
    X, y = _data()
    grid = {"learning_rate_init": [0.01, 1e300], "solver": ["sgd"]}
    found = []
    for kind in (MLPSearchCV, GridSearchCV):
        estimator = kind(_classifier(), grid, cv=2, scoring=["accuracy", "f1_macro"],
                         refit="accuracy", return_train_score=True)  # fmt: skip
        with pytest.warns(FitFailedWarning, match="2 fits failed out of a total of 4"):
            found.append(_quietly(estimator, X, y))
    _assert_same(*found)
    for kind in (MLPSearchCV, GridSearchCV):
        with pytest.raises(ValueError, match="All the 5 fits failed"):
            _quietly(kind(_classifier(), {"alpha": [-1]}), X, y)
        with pytest.raises(ValueError, match="The 'alpha' parameter"):
            kind(_classifier(), {"alpha": [-1]}, error_score="raise").fit(X, y)


@np.errstate(all="ignore")
def _quietly(estimator, X, y):
    return estimator.fit(X, y)


def test_bad_input_is_refused():
    X, y = _data()
    with pytest.raises(TypeError, match="estimator must be an MLPClassifier or MLPRegressor"):
        MLPSearchCV(LogisticRegression(), {"C": [1]}).fit(X, y)
    with pytest.raises(ValueError, match="The 'error_score' parameter of MLPSearchCV must be"):
        MLPSearchCV(_classifier(), _GRID, error_score="nan").fit(X, y)
    with pytest.raises(ValueError, match="The 'n_jobs' parameter"):
        MLPSearchCV(_classifier(), _GRID, n_jobs=0).fit(X, y)
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        MLPSearchCV(_classifier(), _GRID).fit(X, y[:-1])
    with pytest.raises(ValueError, match="Invalid parameter 'beta'"):
        MLPSearchCV(_classifier(), {"beta": [1]}).fit(X, y)


def test_it_is_a_grid_search():
    search = MLPSearchCV(_classifier(), _GRID, cv=3)
    assert isinstance(search, GridSearchCV)
    copy = clone(search)
    assert copy.get_params()["estimator__max_iter"] == 4
    assert repr(copy).startswith("MLPSearchCV(")


def test_verbose_tells_of_each_training(capsys):
    X, y = _data()
    MLPSearchCV(_classifier(), {"alpha": [0, 1]}, cv=2, verbose=2).fit(X, y)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "Fitting 2 folds for each of 2 candidates, totalling 4 fits"
    assert sum(line.startswith("[CV] END") for line in lines) == 4
