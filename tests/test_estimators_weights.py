"""Weights of classes: as weights of rows."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("sklearn")

from scipy import sparse
from sklearn.utils.class_weight import compute_class_weight, compute_sample_weight

from fastbp import MLPClassifier

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

LABELS = {
    "two": np.array([7, 3]),
    "three": np.array(["one", "three", "two"]),
    "bool": np.array([False, True]),
}


def _data(labels, n=90, dtype=np.float64):
    rng = np.random.default_rng(5)
    X = rng.standard_normal((n, 6)).astype(dtype)
    p = np.linspace(1, 3, len(labels))
    return X, labels[rng.choice(len(labels), n, p=p / p.sum())]


def _classifier(**parameters):
    return MLPClassifier((8,), max_iter=4, batch_size=32, random_state=0, **parameters)


def _assert_same_bits(one, other):
    for mine, yours in zip(
        one.coefs_ + one.intercepts_, other.coefs_ + other.intercepts_, strict=True
    ):
        np.testing.assert_array_equal(mine, yours)
    assert one.loss_ == other.loss_


@pytest.mark.parametrize("solver", ["adam", "sgd", "adamw", "lbfgs"])
@pytest.mark.parametrize("kind", LABELS)
def test_balanced_is_the_same_as_its_weights_of_rows(kind, solver):
    X, y = _data(LABELS[kind])
    weighted = _classifier(solver=solver, class_weight="balanced").fit(X, y)
    plain = _classifier(solver=solver).fit(X, y, compute_sample_weight("balanced", y))
    _assert_same_bits(weighted, plain)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_classes_and_rows_are_weighed_together(dtype):
    X, y = _data(LABELS["three"], dtype=dtype)
    rows = np.random.default_rng(1).uniform(0.5, 2, len(y)).astype(dtype)
    by_class = {"one": 3.0, "two": 0.25}  # and 1 for the third
    weighted = _classifier(class_weight=by_class).fit(X, y, rows)
    factors = np.array([by_class.get(label, 1.0) for label in y])
    _assert_same_bits(weighted, _classifier().fit(X, y, rows * factors))


def test_rows_that_are_set_aside_are_weighed_as_well():
    X, y = _data(LABELS["two"])
    parameters = {"early_stopping": True, "validation_fraction": 0.3}
    weighted = _classifier(class_weight={7: 9, 3: 1}, **parameters).fit(X, y)
    plain = _classifier(**parameters).fit(X, y, np.where(y == 7, 9.0, 1.0))
    _assert_same_bits(weighted, plain)
    assert weighted.validation_scores_ == plain.validation_scores_


@pytest.mark.parametrize("container", [np.asarray, sparse.csr_array])
@pytest.mark.parametrize("class_weight", ["balanced", [{0: 1, 1: 4}, {0: 2, 1: 1}, {0: 1, 1: 1}]])
def test_of_several_labels_a_row_the_weights_are_multiplied(class_weight, container):
    X, _ = _data(LABELS["two"])
    y = np.random.default_rng(2).integers(0, 2, (len(X), 3))
    weighted = _classifier(class_weight=class_weight).fit(container(X), y)
    plain = _classifier().fit(container(X), y, compute_sample_weight(class_weight, y))
    _assert_same_bits(weighted, plain)


def test_partial_fit_takes_weights_of_classes_that_it_does_not_see():
    X, y = _data(LABELS["three"])
    some = y != "two"
    by_class = {"one": 2.0, "two": 7.0}
    weighted = _classifier(class_weight=by_class)
    weighted.partial_fit(X[some], y[some], classes=LABELS["three"])
    plain = _classifier()
    plain.partial_fit(
        X[some], y[some], np.where(y[some] == "one", 2.0, 1.0), classes=LABELS["three"]
    )
    _assert_same_bits(weighted, plain)


@pytest.mark.parametrize(
    ("class_weight", "message"),
    [
        ({7: 1, 5: 2}, r"The classes, \[3\], are not in class_weight"),
        ([{7: 1}], "class_weight must be 'balanced' or a dict where y has one label a row, got"),
        ({7: 0, 3: 0}, "class_weight leaves no row a weight other than 0, got"),
        ("balance", "The 'class_weight' parameter of MLPClassifier must be"),
        (3, "The 'class_weight' parameter of MLPClassifier must be"),
    ],
)
def test_weights_that_do_not_fit_are_refused(class_weight, message):
    X, y = _data(LABELS["two"])
    with pytest.raises(ValueError, match=message):
        _classifier(class_weight=class_weight).fit(X, y)


def test_a_dict_for_several_labels_is_refused():
    X, _ = _data(LABELS["two"])
    with pytest.raises(ValueError, match="a list of dicts, one for each output"):
        _classifier(class_weight={0: 1, 1: 2}).fit(X, np.eye(2, dtype=int)[np.arange(len(X)) % 2])


def test_balanced_is_refused_where_only_some_rows_are_seen():
    X, y = _data(LABELS["two"])
    with pytest.raises(ValueError, match="'balanced' is not supported for partial_fit"):
        _classifier(class_weight="balanced").partial_fit(X, y, classes=[3, 7])
    weights = compute_class_weight("balanced", classes=np.array([3, 7]), y=y)
    weighted = _classifier(class_weight=dict(zip([3, 7], weights, strict=True)))
    weighted.partial_fit(X, y, classes=[3, 7])
