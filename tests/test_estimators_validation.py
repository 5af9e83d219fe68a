"""Validation rows of one's own, their curves, and scorers."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("sklearn")

from scipy import sparse
from sklearn import config_context
from sklearn.base import clone
from sklearn.metrics import (
    accuracy_score,
    get_scorer,
    log_loss,
    max_error,
    mean_poisson_deviance,
    mean_squared_error,
    roc_auc_score,
)
from sklearn.model_selection import train_test_split
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler

from fastbp import MLPClassifier, MLPRegressor

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


def _features(n=120, n_features=6):
    return np.random.default_rng(4).standard_normal((n, n_features))


def _two():
    X = _features()
    return X, np.where(X[:, 0] + 0.5 * X[:, 1] ** 2 > 0.3, "yes", "no")


def _three():
    X = _features()
    return X, np.digitize(X[:, 0] + X[:, 1], [-0.7, 0.7])


def _several():
    X = _features()
    return X, (X[:, :3] > [0, 0.5, -0.5]).astype(int)


def _numbers(outputs=2):
    X = _features()
    y = X[:, :outputs] + 0.1 * X[:, -outputs:] ** 2
    return X, y[:, 0] if outputs == 1 else y


def _counts():
    X = _features()
    return X, np.random.default_rng(0).poisson(np.exp(0.5 * X[:, 0])).astype(float)


def _several_loss(model, X, y, weights):
    p = model.predict_proba(X)
    return sum(
        log_loss(y[:, k], p[:, k], sample_weight=weights, labels=[0, 1]) for k in range(y.shape[1])
    )


def _log_loss(model, X, y, weights):
    return log_loss(y, model.predict_proba(X), sample_weight=weights)


def _half_squares(model, X, y, weights):
    return mean_squared_error(y, model.predict(X), sample_weight=weights) / 2


def _half_deviance(model, X, y, weights):
    return mean_poisson_deviance(y, model.predict(X), sample_weight=weights) / 2


CASES = {  # an estimator, its data, and its loss on some rows
    "two": (MLPClassifier(), _two, _log_loss),
    "three": (MLPClassifier(), _three, _log_loss),
    "several": (MLPClassifier(), _several, _several_loss),
    "numbers": (MLPRegressor(), _numbers, _half_squares),
    "number": (MLPRegressor(), lambda: _numbers(1), _half_squares),
    "counts": (MLPRegressor("poisson"), _counts, _half_deviance),
}


def _model(case, **parameters):
    settings = {"hidden_layer_sizes": (9,), "max_iter": 6, "batch_size": 25, "random_state": 1}
    return clone(CASES[case][0]).set_params(**{**settings, **parameters})


def _halves(case):
    X, y = CASES[case][1]()
    return X[:80], y[:80], X[80:], y[80:]


def _assert_same_bits(one, other):
    for mine, yours in zip(
        one.coefs_ + one.intercepts_, other.coefs_ + other.intercepts_, strict=True
    ):
        np.testing.assert_array_equal(mine, yours)


@pytest.mark.parametrize("is_weighted", [False, True])
@pytest.mark.parametrize("case", CASES)
def test_the_curves_are_those_of_the_model_after_each_epoch(case, is_weighted):
    X, y, X_val, y_val = _halves(case)
    weights = np.random.default_rng(3).uniform(0.2, 2, len(X_val)) if is_weighted else None
    model = _model(case, shuffle=False).fit(
        X, y, X_val=X_val, y_val=y_val, sample_weight_val=weights
    )

    losses, scores = [], []
    step = _model(case, shuffle=False)
    for _ in range(6):
        if isinstance(step, MLPClassifier):
            step.partial_fit(X, y, classes=model.classes_)
        else:
            step.partial_fit(X, y)
        losses.append(CASES[case][2](step, X_val, y_val, weights))
        scores.append(step.score(X_val, y_val, weights))

    _assert_same_bits(model, step)  # validation rows change nothing
    np.testing.assert_allclose(model.validation_loss_curve_, losses, rtol=1e-12)
    np.testing.assert_allclose(model.validation_scores_, scores, rtol=1e-12)
    assert model.best_validation_score_ == max(model.validation_scores_)
    assert model.loss_curve_ == step.loss_curve_


def test_without_validation_rows_there_are_no_curves():
    X, y, *_ = _halves("two")
    model = _model("two").fit(X, y)
    assert model.validation_loss_curve_ is None
    assert model.validation_scores_ is None


def test_early_stopping_splits_off_no_rows_where_there_are_others():
    X, y, X_val, y_val = _halves("three")
    model = _model("three", early_stopping=True, max_iter=100, n_iter_no_change=3, tol=0.01)
    model.fit(X, y, X_val=X_val, y_val=y_val)
    assert model.t_ == model.n_iter_ * len(X)
    assert model.n_iter_ < 100
    # The best weights are those of the first best score.
    best = int(np.argmax(model.validation_scores_))
    assert model.score(X_val, y_val) == model.validation_scores_[best]
    same = _model("three", max_iter=best + 1).fit(X, y)
    _assert_same_bits(model, same)


def test_rows_that_are_split_off_and_the_same_rows_given_have_the_same_curves():
    X, y = _three()
    model = _model("three", early_stopping=True, shuffle=False).fit(X, y)
    weights = _model("three", shuffle=False, max_iter=1).fit(X, y)  # draws what was drawn before
    state = np.random.RandomState(1)
    for coef, intercept in zip(weights.coefs_, weights.intercepts_, strict=True):
        state.uniform(size=coef.size)
        state.uniform(size=intercept.size)
    rows, others = train_test_split(np.arange(len(y)), random_state=state, test_size=0.1)
    given = _model("three", early_stopping=True, shuffle=False)
    given.fit(X[rows], y[rows], X_val=X[others], y_val=y[others])
    assert model.validation_loss_curve_ == given.validation_loss_curve_
    assert model.validation_scores_ == given.validation_scores_
    _assert_same_bits(model, given)


@pytest.mark.parametrize("kind", [sparse.csr_array, sparse.csc_array])
def test_sparse_validation_rows_are_as_dense_ones(kind):
    X, y, X_val, y_val = _halves("two")
    dense = _model("two").fit(X, y, X_val=X_val, y_val=y_val)
    other = _model("two").fit(kind(X), y, X_val=kind(X_val), y_val=y_val)
    np.testing.assert_allclose(
        other.validation_loss_curve_, dense.validation_loss_curve_, rtol=1e-12
    )


def test_the_loss_stops_a_training_whose_accuracy_goes_on():
    X, y, X_val, y_val = _halves("two")
    model = _model("two", scoring="loss", early_stopping=True, tol=0.0, max_iter=400)
    model.set_params(learning_rate_init=0.05)
    model.fit(X, y, X_val=X_val, y_val=y_val)
    losses = model.validation_loss_curve_
    assert [-loss for loss in losses] == model.validation_scores_
    best = int(np.argmin(losses))
    assert len(losses) == best + 1 + model.n_iter_no_change + 1 < 400
    assert log_loss(y_val, model.predict_proba(X_val)) == pytest.approx(losses[best], rel=1e-12)


@pytest.mark.parametrize(
    ("case", "scoring", "score"),
    [
        ("two", "roc_auc", lambda m, X, y: roc_auc_score(y, m.predict_proba(X)[:, 1])),
        ("three", "accuracy", lambda m, X, y: accuracy_score(y, m.predict(X))),
        ("several", "f1_micro", lambda m, X, y: get_scorer("f1_micro")(m, X, y)),
        ("number", "neg_max_error", lambda m, X, y: -max_error(y, m.predict(X))),
    ],
)
def test_a_scorer_scores_what_the_user_gave(case, scoring, score):
    X, y, X_val, y_val = _halves(case)
    model = _model(case, scoring=scoring, early_stopping=True, max_iter=40)
    model.fit(X, y, X_val=X_val, y_val=y_val)
    assert score(model, X_val, y_val) == pytest.approx(max(model.validation_scores_), rel=1e-12)
    by_callable = _model(case, scoring=lambda m, X, y: score(m, X, y), early_stopping=True)
    by_callable.set_params(max_iter=40).fit(X, y, X_val=X_val, y_val=y_val)
    assert by_callable.validation_scores_ == model.validation_scores_


def test_a_scorer_is_given_the_weights_and_no_warning_for_names_of_columns():
    pandas = pytest.importorskip("pandas")
    X, y = map(pandas.DataFrame, _numbers())
    X.columns = [f"x{i}" for i in range(X.shape[1])]
    weights = np.arange(1.0, len(X) + 1)
    seen = []

    def scorer(model, X, y, sample_weight):
        seen.append((model.predict(X), y, sample_weight))
        return len(seen)

    model = _model("numbers", scoring=scorer).fit(
        X[:80], y[:80], X_val=X[80:], y_val=y[80:], sample_weight_val=weights[80:]
    )
    assert model.validation_scores_ == [1, 2, 3, 4, 5, 6]
    np.testing.assert_array_equal(seen[-1][0], model.predict(X[80:]))
    np.testing.assert_array_equal(seen[-1][1], y[80:])
    np.testing.assert_array_equal(seen[-1][2], weights[80:])


def test_a_pipeline_hands_validation_rows_on():
    X, y, X_val, y_val = _halves("three")
    with config_context(enable_metadata_routing=True):
        model = _model("three").set_fit_request(X_val=True, y_val=True)
        pipeline = Pipeline(
            [("scale", StandardScaler()), ("model", model)], transform_input=["X_val"]
        ).fit(X, y, X_val=X_val, y_val=y_val)
    scores = pipeline[-1].validation_scores_
    assert pipeline.score(X_val, y_val) == scores[-1]


@pytest.mark.parametrize("case", ["several", "numbers"])
def test_sparse_targets_are_as_dense_ones(case):
    X, y, X_val, y_val = _halves(case)
    dense = _model(case).fit(X, y, X_val=X_val, y_val=y_val)
    other = _model(case).fit(X, sparse.csr_array(y), X_val=X_val, y_val=sparse.csr_array(y_val))
    assert other.validation_loss_curve_ == dense.validation_loss_curve_


def test_a_training_that_diverges_has_scores_that_are_nan():
    X, y, X_val, y_val = _halves("number")
    model = _model(
        "number", scoring="neg_mean_absolute_error", early_stopping=True, solver="sgd",
        learning_rate_init=1e6, momentum=0.0, max_iter=30, activation="identity",
    )  # fmt: skip
    model.fit(X, y, X_val=X_val, y_val=y_val)
    assert np.isnan(model.validation_scores_[-1])
    assert np.isfinite(model.coefs_[0]).all()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"X_val": 0}, "X_val is provided, but y_val was not provided"),
        ({"y_val": 0}, "y_val is provided, but X_val was not provided"),
        ({"sample_weight_val": 0}, "sample_weight_val is provided, but X_val and y_val were not"),
    ],
)
def test_half_of_the_validation_rows_is_refused(given, message):
    X, y, X_val, y_val = _halves("two")
    values = {"X_val": X_val, "y_val": y_val, "sample_weight_val": np.ones(len(X_val))}
    with pytest.raises(ValueError, match=message):
        _model("two").fit(X, y, **{name: values[name] for name in given})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda X, y, w: (X[:, :4], y, w), "X has 4 features, but MLPClassifier is expecting 6"),
        (lambda X, y, w: (X[1:], y, w), "inconsistent numbers of samples"),
        (lambda X, y, w: (X, np.where(y == "no", "other", y), w), r"y_val has classes \['other'\]"),
        (lambda X, y, w: (X, np.linspace(0, 1, len(y)), w), "y_val is continuous"),
        (lambda X, y, w: (X, y, w[1:]), "sample_weight.shape == "),
        (lambda X, y, w: (X * np.nan, y, w), "contains NaN"),
    ],
)
def test_validation_rows_that_do_not_fit_are_refused(change, message):
    X, y, X_val, y_val = _halves("two")
    X_val, y_val, weights = change(X_val, y_val, np.ones(len(X_val)))
    with pytest.raises(ValueError, match=message):
        _model("two").fit(X, y, X_val=X_val, y_val=y_val, sample_weight_val=weights)


def test_targets_of_another_number_of_outputs_are_refused():
    X, y, X_val, y_val = _halves("numbers")
    with pytest.raises(ValueError, match="y_val has 1 outputs, but y has 2"):
        _model("numbers").fit(X, y, X_val=X_val, y_val=y_val[:, 0])


def test_lbfgs_refuses_validation_rows():
    X, y, X_val, y_val = _halves("two")
    with pytest.raises(ValueError, match="solver='lbfgs', which does not evaluate"):
        _model("two", solver="lbfgs").fit(X, y, X_val=X_val, y_val=y_val)


def test_an_unknown_scorer_is_refused_before_anything_changes():
    X, y, *_ = _halves("two")
    model = _model("two", scoring="precise")
    with pytest.raises(ValueError, match="'precise' is not a valid scoring value"):
        model.fit(X, y)
    assert not hasattr(model, "coefs_")
