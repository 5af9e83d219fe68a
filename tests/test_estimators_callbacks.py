"""scikit-learn's callbacks, where the installed version has them."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

pytest.importorskip("sklearn.callback", reason="came with scikit-learn 1.9")

from scipy import sparse
from sklearn.base import clone
from sklearn.callback import ProgressBar, ScoringMonitor
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from fastbp import MLPClassifier, MLPRegressor

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


class Recorder:
    """Notes what it is told, and stops training after so many tasks."""

    def __init__(self, stop_after=None):
        self.stop_after = stop_after
        self.events, self.models, self.rows, self.metadata = [], [], [], []

    def setup(self, estimator, context):
        self.events.append("setup")

    def teardown(self, estimator, context):
        self.events.append("teardown")

    def on_fit_task_begin(self, estimator, context):
        self.events.append(("begin", context.task_name, context.max_subtasks))

    def on_fit_task_end(self, estimator, context, *, X, y, metadata, fitted_estimator):
        self.events.append(("end", context.task_name))
        if context.parent is not None:
            self.models.append(fitted_estimator)
            self.rows.append((X, y))
            self.metadata.append(metadata)
        return len(self.models) == self.stop_after


def _data():
    X = np.random.default_rng(0).standard_normal((50, 5))
    return X, np.where(X[:, 0] > 0, "b", "a")


def _model(**parameters):
    settings = {"hidden_layer_sizes": (6,), "max_iter": 4, "random_state": 0, "batch_size": 10}
    return MLPClassifier(**{**settings, **parameters})


@pytest.mark.parametrize("early_stopping", [False, True])
def test_each_epoch_is_a_task(early_stopping):
    X, y = _data()
    recorder = Recorder()
    model = _model(early_stopping=early_stopping).set_callbacks(recorder).fit(X, y)
    assert recorder.events == [
        "setup", ("begin", "fit", 4), *[("begin", "epoch", 0), ("end", "epoch")] * 4,
        ("end", "fit"), "teardown",
    ]  # fmt: skip
    plain = _model(early_stopping=early_stopping).fit(X, y)
    np.testing.assert_array_equal(model.coefs_[0], plain.coefs_[0])


def test_the_estimator_of_a_task_is_that_of_its_epoch():
    X, y = _data()
    recorder = Recorder()
    _model().set_callbacks(recorder).fit(X, y)
    for epochs, model in enumerate(recorder.models, 1):
        expected = _model(max_iter=epochs).fit(X, y)
        np.testing.assert_array_equal(model.coefs_[0], expected.coefs_[0])
        np.testing.assert_array_equal(model.predict(X), expected.predict(X))
        assert model.loss_curve_ == expected.loss_curve_


@pytest.mark.parametrize("container", ["numpy", "sparse", "pandas"])
def test_the_rows_of_a_task_are_those_of_training_as_they_were_given(container):
    X, y = _data()
    if container == "sparse":
        X = sparse.csr_array(X)
    elif container == "pandas":
        pandas = pytest.importorskip("pandas")
        X = pandas.DataFrame(X, columns=list("abcde"))
    weights = np.arange(1.0, 51)
    recorder = Recorder()
    _model(early_stopping=True).set_callbacks(recorder).fit(X, y, weights)
    (seen, labels), metadata = recorder.rows[0], recorder.metadata[0]
    assert type(seen) is type(X)
    assert seen.shape == (45, 5)
    rows = (metadata["sample_weight"] - 1).astype(int)
    np.testing.assert_array_equal(labels, y[rows])
    if container == "pandas":
        assert seen.index.tolist() == rows.tolist()


def test_a_callback_may_stop_a_training():
    X, y = _data()
    model = _model(max_iter=50).set_callbacks(Recorder(stop_after=3)).fit(X, y)
    assert model.n_iter_ == 3
    np.testing.assert_array_equal(model.coefs_[0], _model(max_iter=3).fit(X, y).coefs_[0])


def test_a_callback_may_stop_lbfgs():
    X, y = _data()
    recorder = Recorder(stop_after=3)
    model = _model(max_iter=50, solver="lbfgs").set_callbacks(recorder).fit(X, y)
    assert model.n_iter_ == 3
    expected = _model(max_iter=3, solver="lbfgs").fit(X, y)
    np.testing.assert_array_equal(model.coefs_[0], expected.coefs_[0])
    np.testing.assert_array_equal(recorder.models[2].coefs_[0], expected.coefs_[0])
    assert recorder.models[0].coefs_[0].tolist() != expected.coefs_[0].tolist()


def test_lbfgs_has_a_task_for_each_iteration():
    X, y = _data()
    recorder = Recorder()
    model = _model(max_iter=7, solver="lbfgs", tol=0.0).set_callbacks(recorder).fit(X, y)
    # One more begins than takes place.
    assert recorder.events.count(("begin", "lbfgs-iter", 0)) == model.n_iter_ + 1
    assert recorder.events.count(("end", "lbfgs-iter")) == model.n_iter_ + 1
    assert recorder.models[-1] is None


def test_partial_fit_tells_callbacks_too():
    X, y = _data()
    recorder = Recorder()
    model = _model().set_callbacks(recorder)
    model.partial_fit(X, y, classes=["a", "b"], epochs=3)
    assert recorder.events[1] == ("begin", "partial_fit", 3)
    assert len(recorder.models) == 3
    assert model.n_iter_ == 3


def test_a_training_that_fails_is_torn_down():
    X, y = _data()
    recorder = Recorder()
    model = _model(solver="sgd", learning_rate_init=1e300).set_callbacks(recorder)
    with pytest.raises(ValueError, match="non-finite"):
        model.fit(1e9 * X, y)
    assert recorder.events[-1] == "teardown"
    assert not hasattr(model, "_callback_fit_ctx")


@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
@pytest.mark.filterwarnings("ignore:lbfgs failed")
def test_scikit_learns_monitor_of_scores(solver):
    X, y = _data()
    monitor = ScoringMonitor(scoring="accuracy")
    model = _model(solver=solver).set_callbacks(monitor).fit(X, y)
    scores = [row["accuracy"] for row in monitor.get_logs().data if row["task_name"] != "fit"]
    assert len(scores) == 4
    assert scores[-1] == model.score(X, y)
    assert scores[0] == _model(solver=solver, max_iter=1).fit(X, y).score(X, y)


def test_scikit_learns_progress_bar():
    pytest.importorskip("rich")
    X, y = _data()
    plain = _model().fit(X, y)
    model = _model().set_callbacks(ProgressBar()).fit(X, y)
    np.testing.assert_array_equal(model.coefs_[0], plain.coefs_[0])


def test_callbacks_come_down_from_what_has_the_estimator_as_a_part():
    X, y = _data()
    monitor = ScoringMonitor(scoring="accuracy")
    plain = make_pipeline(StandardScaler(), _model())
    search = GridSearchCV(plain, {"mlpclassifier__alpha": [0.1, 1.0]}, cv=2)
    search.set_callbacks(monitor).fit(X, y)
    expected = clone(search.best_estimator_).fit(X, y)
    np.testing.assert_array_equal(search.best_estimator_[-1].coefs_[0], expected[-1].coefs_[0])


def test_a_regressor_has_callbacks_too():
    X, _ = _data()
    recorder = Recorder()
    MLPRegressor(max_iter=2).set_callbacks(recorder).fit(X, X[:, 0])
    assert len(recorder.models) == 2


def test_what_is_no_callback_is_refused():
    with pytest.raises(TypeError, match="FitCallback"):
        _model().set_callbacks(print)


def test_without_scikit_learns_callbacks_estimators_work():
    code = """
import sys
import numpy as np
import sklearn.model_selection, sklearn.preprocessing  # which import callbacks themselves
sys.modules["sklearn.callback"] = None  # is not there for others
from fastbp import MLPRegressor
X = np.eye(3)
model = MLPRegressor(max_iter=2).partial_fit(X, X)
assert not hasattr(model, "set_callbacks")
print("fitted")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout == "fitted\n", done.stderr
