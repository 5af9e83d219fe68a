"""Weights by class, and rows that are kept apart for validation."""

from __future__ import annotations

import numpy as np
import pytest

from fastbp import Network
from fastbp.row_weights import class_numbers, rounded, shares_of, weights_of_classes
from fastbp.validation import split_rows
from tests.training import bits

rng = np.random.default_rng(0)
X = rng.normal(size=(60, 12)).astype(np.float32)
NUMBERS = np.repeat([0, 1, 2], [30, 20, 10])
LABELS = np.array(["bee", "ant", "cat"])[NUMBERS]
SIZES = (12, 20, 3)


def make(outputs=3, loss="cross_entropy"):
    return Network((12, 20, outputs), activation="tanh", loss=loss, seed=1)


# ------------------------------------------------------------------ classes


def test_balanced_weights_are_those_of_scikit_learn():
    utils = pytest.importorskip("sklearn.utils")
    expected = utils.compute_sample_weight("balanced", NUMBERS)
    np.testing.assert_allclose(
        weights_of_classes("balanced", NUMBERS, 3, None), expected, rtol=1e-15
    )


@pytest.mark.parametrize(
    ("class_weight", "of_labels"),
    [
        ("balanced", {"bee": 60 / 90, "ant": 60 / 60, "cat": 60 / 30}),
        ({"bee": 0.5, "cat": 3}, {"bee": 0.5, "ant": 1, "cat": 3}),
    ],
    ids=str,
)
def test_class_weights_are_weights_of_rows(class_weight, of_labels):
    weights = np.array([of_labels[label] for label in LABELS])
    by_class, by_row = make(), make()
    by_class.fit(X, LABELS, epochs=2, class_weight=class_weight)
    by_row.fit(X, LABELS, epochs=2, sample_weight=weights)
    assert bits(by_class) == bits(by_row)
    # Labels are sorted: ant, bee, cat.
    assert by_class.classes_.tolist() == ["ant", "bee", "cat"]


def test_class_weights_are_multiplied_with_weights_of_rows():
    of_rows = rng.uniform(0, 2, 60)
    both, one = make(), make()
    both.fit(X, NUMBERS, epochs=2, class_weight={1: 4.0}, sample_weight=of_rows)
    one.fit(X, NUMBERS, epochs=2, sample_weight=of_rows * np.where(NUMBERS == 1, 4.0, 1.0))
    assert bits(both) == bits(one)


def test_two_classes_of_one_output_have_weights():
    y = np.array(["no", "yes"])[(NUMBERS == 0).astype(int)]
    by_class, by_row = make(1, "log_loss"), make(1, "log_loss")
    by_class.fit(X, y, epochs=2, class_weight={"no": 3})
    by_row.fit(X, y, epochs=2, sample_weight=np.where(y == "no", 3.0, 1.0))
    assert bits(by_class) == bits(by_row)


@pytest.mark.parametrize(
    ("loss", "y", "class_weight", "message"),
    [
        (
            "cross_entropy",
            LABELS,
            {"dog": 1},
            r"label 'dog', but the labels are \['ant', 'bee'",
        ),
        ("cross_entropy", NUMBERS, {"bee": 1}, r"the label 'bee', but the labels are \[0, 1, 2\]"),
        ("cross_entropy", NUMBERS % 2, "balanced", "needs rows of each class .* none of 2"),
        ("cross_entropy", np.full((60, 3), 1 / 3), "balanced", "needs one label for each row"),
        ("squared_error", X[:, :3], {0: 1}, "needs one label for each row"),
        ("cross_entropy", LABELS, {"ant": 0, "bee": 0, "cat": 0}, "weights of all rows 0"),
    ],
    ids=str,
)
def test_class_weights_that_mean_nothing_are_refused(loss, y, class_weight, message):
    network = make(loss=loss)
    with pytest.raises(ValueError, match=message):
        network.fit(X, y, class_weight=class_weight)
    assert network.classes_ is None
    assert network.training_state is None


def test_class_numbers_are_those_of_hard_targets():
    hard, soft = np.eye(3)[NUMBERS], np.full((60, 3), 1 / 3)
    np.testing.assert_array_equal(class_numbers(hard, "cross_entropy"), NUMBERS)
    assert class_numbers(soft, "cross_entropy") is None
    np.testing.assert_array_equal(class_numbers(hard[:, :1], "log_loss"), NUMBERS == 0)
    assert class_numbers(hard, "log_loss") is None
    assert class_numbers(hard[:, :1] / 2, "log_loss") is None
    assert class_numbers(hard, "squared_error") is None


# ------------------------------------------------------------------ as compiled code takes them


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("largest", [1e-300, 0.7, 1.0, 3.0, 1e300])
def test_rounded_weights_have_the_same_proportions(largest, dtype):
    weights = largest * np.array([1.0, 0.5, 0.3])
    taken = rounded(weights, np.dtype(dtype))
    assert 1 <= taken[0] < 2
    np.testing.assert_allclose(taken / taken[0], [1, 0.5, 0.3], rtol=4 * np.finfo(dtype).eps)


def test_weights_that_are_all_the_same_are_none():
    assert rounded(np.full(5, 0.3), np.dtype("float32")) is None
    assert rounded(None, np.dtype("float32")) is None


def test_shares_are_of_each_step_and_zero_where_nothing_weighs():
    weights = np.array([1, 2, 3, 0, 0, 4, 1e-42], np.float32)
    shares = shares_of(weights, np.array([0, 3, 5, 6]), np.dtype("float32"))
    np.testing.assert_array_equal(shares, [1 / 6, 0, 1 / 4, 0])


# ------------------------------------------------------------------ rows for validation


@pytest.mark.parametrize("n", [2, 5, 60])
@pytest.mark.parametrize("share", [0.1, 0.25, 0.5])
def test_each_row_is_on_one_side(n, share):
    train, apart = split_rows(n, share, seed=3)
    assert len(apart) == int(np.ceil(n * share))
    np.testing.assert_array_equal(np.sort(np.concatenate([train, apart])), np.arange(n))
    assert (np.diff(train) > 0).all()


def test_the_split_follows_from_the_seed():
    splits = [tuple(split_rows(60, 0.3, seed)[1]) for seed in (0, 0, 1)]
    assert splits[0] == splits[1] != splits[2]


@pytest.mark.parametrize("share", [0.05, 0.2, 0.3, 0.5])
def test_each_class_gives_its_share(share):
    train, apart = split_rows(60, share, 0, NUMBERS)
    counts = np.bincount(NUMBERS[apart], minlength=3)
    assert counts.sum() == np.ceil(60 * share)
    assert (np.abs(counts - len(apart) * np.array([30, 20, 10]) / 60) < 1).all()
    assert len(np.unique(NUMBERS[train])) == 3


def test_a_class_keeps_its_last_row_for_training():
    numbers = np.array([0] * 9 + [1])
    for seed in range(20):
        train, apart = split_rows(10, 0.5, seed, numbers)
        assert 9 in train
        assert len(apart) == 5 or len(apart) == 4


def test_classes_of_one_row_leave_nothing_to_validate_on():
    with pytest.raises(ValueError, match="each class has one row"):
        split_rows(3, 0.5, 0, np.arange(3))


@pytest.mark.parametrize("weights", [None, rng.uniform(0, 2, 60)], ids=["alike", "weighted"])
def test_a_split_trains_on_one_part_and_measures_on_the_other(weights):
    split, apart = make(), make()
    train, rest = split_rows(60, 0.25, 7, class_numbers(np.eye(3)[NUMBERS], "cross_entropy"))
    of = (lambda rows: None) if weights is None else (lambda rows: weights[rows])
    history = split.fit(X, NUMBERS, epochs=2, seed=7, validation_split=0.25, sample_weight=weights)
    data = (X[rest], NUMBERS[rest]) if weights is None else (X[rest], NUMBERS[rest], of(rest))
    expected = apart.fit(
        X[train], NUMBERS[train], epochs=2, seed=7, sample_weight=of(train), validation_data=data
    )
    assert bits(split) == bits(apart)
    assert history.val_loss == expected.val_loss
    assert history.val_metric == expected.val_metric
    loss = split.loss(X[rest], NUMBERS[rest], sample_weight=of(rest))
    assert history.val_loss[-1] == pytest.approx(loss, rel=1e-12)


def test_validation_labels_are_those_that_training_learns():
    network = make()
    with pytest.raises(ValueError, match="validation y has the label 'dog'"):
        network.fit(X, LABELS, validation_data=(X[:2], ["ant", "dog"]))
    assert network.classes_ is None
