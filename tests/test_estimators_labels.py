"""Labels of common types are learned without scikit-learn's functions, to the same effect."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

pytest.importorskip("sklearn")

from sklearn.preprocessing import LabelBinarizer

from fastbp import MLPClassifier
from fastbp.estimators import labels

pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    # Of scikit-learn 1.7.
    pytest.mark.filterwarnings("ignore:The number of unique classes is greater"),
]

N = 30
_NUMBERS = np.arange(N)

PLAIN = {
    "bool": _NUMBERS % 2 == 0,
    "one": np.full(N, 7),
    "two": np.where(_NUMBERS % 3 == 0, 5, -5),
    "many": _NUMBERS % 7,
    "small": (_NUMBERS % 3).astype(np.int8),
    "bytes": (_NUMBERS % 4 + 250).astype(np.uint8),
    "large": (_NUMBERS % 3).astype(np.uint64) + np.uint64(2**63),
    "swapped": (_NUMBERS % 3).astype(np.dtype(np.int32).newbyteorder()),
    "strings": np.array(["no", "yes", "maybe"])[_NUMBERS % 3],
    "wide strings": np.array(["b", "a"], "U20")[_NUMBERS % 2],
    "few rows": np.array([1, 0, 1, 0]),
}


def _classifier(**options):
    return MLPClassifier((3,), max_iter=1, tol=0, n_iter_no_change=9, random_state=0, **options)


def _refuse(*args, **kwargs):
    raise AssertionError("asked scikit-learn")


@pytest.mark.parametrize("y", PLAIN.values(), ids=PLAIN)
def test_plain_labels_are_learned_as_by_scikit_learn(y, monkeypatch):
    expected = LabelBinarizer().fit(y)
    columns = expected.transform(y).astype(bool)
    for name in ("fit", "transform"):
        monkeypatch.setattr(LabelBinarizer, name, _refuse)
    classifier = _classifier()
    made = classifier._validate_targets(y, incremental=False)

    assert made.dtype == bool
    assert made.flags.c_contiguous == columns.flags.c_contiguous
    np.testing.assert_array_equal(made, columns, strict=True)
    binarizer = classifier._label_binarizer
    assert classifier.classes_ is binarizer.classes_
    classes, wanted = (vars(one).pop("classes_") for one in (binarizer, expected))
    np.testing.assert_array_equal(classes, wanted, strict=True)
    assert vars(binarizer) == vars(expected)
    assert {*map(type, vars(binarizer).values())} == {*map(type, vars(expected).values())}


@pytest.mark.parametrize("kind", ["two", "many", "strings"])
def test_labels_that_are_known_become_the_same_columns(kind, monkeypatch):
    y = PLAIN[kind]
    classifier = _classifier(warm_start=True).fit(_NUMBERS[:, None], y)
    some = y[::-2]
    expected = classifier._label_binarizer.transform(some).astype(bool)
    for owner, name in ((LabelBinarizer, "transform"), (labels, "unique_labels")):
        monkeypatch.setattr(owner, name, _refuse)
    made = classifier._validate_targets(some, incremental=True)
    np.testing.assert_array_equal(made, expected, strict=True)


@pytest.mark.parametrize(
    "y",
    [
        PLAIN["two"].astype(float),
        PLAIN["strings"].astype(object),
        np.maximum(_NUMBERS, 12),  # more classes than half of the rows
        (_NUMBERS[:, None] % [2, 3] == 0).astype(int),
    ],
    ids=["floats", "objects", "many classes", "multilabel"],
)
def test_other_labels_are_left_to_scikit_learn(y, monkeypatch):
    asked = []
    fit = LabelBinarizer.fit
    monkeypatch.setattr(LabelBinarizer, "fit", lambda self, y: asked.append(y) or fit(self, y))
    classifier = _classifier().fit(_NUMBERS[:, None], y)
    assert len(asked) == 1
    expected = fit(LabelBinarizer(), y)
    np.testing.assert_array_equal(classifier.classes_, expected.classes_, strict=True)


def test_labels_of_another_type_than_the_known_are_left_to_scikit_learn():
    y = PLAIN["two"]
    classifier = _classifier(warm_start=True).fit(_NUMBERS[:, None], y)
    made = classifier._validate_targets(y.astype(np.int8), incremental=False)
    np.testing.assert_array_equal(made, (y == 5)[:, None], strict=True)


def test_a_classifier_of_plain_labels_can_be_pickled():
    X, y = _NUMBERS[:, None] / N, PLAIN["strings"]
    classifier = _classifier().fit(X, y)
    again = pickle.loads(pickle.dumps(classifier))
    np.testing.assert_array_equal(again.predict(X), classifier.predict(X))
    np.testing.assert_array_equal(again.partial_fit(X, y).classes_, ["maybe", "no", "yes"])
