"""What y may be, by the loss: labels, probabilities, values; and what is refused, with a remedy."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest

from fastbp import Network
from fastbp.parameters import Parameters
from fastbp.targets import as_targets, as_weights, fit_targets


def parameters(loss: str, outputs: int, dtype: str = "float32", classes=None) -> Parameters:
    return Parameters((4, outputs), loss_function=loss, dtype=dtype, classes=classes)


def fitted(loss: str, outputs: int, y, n: int | None = None, **settings):
    return fit_targets(parameters(loss, outputs, **settings), y, len(y) if n is None else n)


# ------------------------------------------------------------------ log loss


@pytest.mark.parametrize("given", [bool, np.uint8, np.int64, np.float16, np.float32, np.float64])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_targets_of_any_real_dtype_become_columns(given, dtype):
    y, classes = fitted("log_loss", 1, np.array([0, 1, 1], dtype=given), dtype=dtype)
    assert classes is None
    assert y.dtype == np.dtype(dtype)
    assert y.flags.c_contiguous
    np.testing.assert_array_equal(y, [[0], [1], [1]])


def test_targets_may_be_lists_columns_and_strided():
    np.testing.assert_array_equal(fitted("log_loss", 1, [0, 1])[0], [[0], [1]])
    np.testing.assert_array_equal(fitted("log_loss", 1, [[0], [1]])[0], [[0], [1]])
    wide = np.asfortranarray(np.eye(6))[::2, ::3]
    checked = fitted("log_loss", 2, wide)[0]
    assert checked.flags.c_contiguous
    np.testing.assert_array_equal(checked, wide)


def test_targets_may_be_probabilities_at_both_ends():
    np.testing.assert_array_equal(
        fitted("log_loss", 1, [0.0, 0.25, 1.0])[0], np.float32([[0], [0.25], [1]])
    )


def test_targets_of_no_rows_pass():
    assert fitted("log_loss", 2, np.zeros((0, 2)))[0].shape == (0, 2)


@pytest.mark.parametrize(
    ("y", "classes"),
    [
        (["no", "yes", "no"], ["no", "yes"]),
        ([2, 1, 2], [1, 2]),
        ([-1, 1, 1], [-1, 1]),
        (np.array([7, 255, 7], np.uint8), [7, 255]),
        (np.array(["no", "yes", "no"], object), ["no", "yes"]),
        ([["b"], ["a"], ["b"]], ["a", "b"]),
        ([0, 2**53 + 1, 0], [0, 2**53 + 1]),
    ],
    ids=str,
)
def test_two_labels_of_any_kind_are_learned(y, classes):
    targets, found = fitted("log_loss", 1, y)
    assert found.tolist() == classes
    assert found.dtype.kind in "iU"
    assert found[targets[:, 0].astype(int)].tolist() == np.reshape(y, -1).tolist()
    known = parameters("log_loss", 1, classes=found)
    np.testing.assert_array_equal(as_targets(known, y, 3), targets)
    again, kept = fit_targets(known, y, 3)
    np.testing.assert_array_equal(again, targets)
    assert kept.tolist() == classes


def test_one_label_is_enough_where_two_are_known():
    known = parameters("log_loss", 1, classes=["no", "yes"])
    assert as_targets(known, ["yes", "yes"], 2).tolist() == [[1], [1]]
    assert fit_targets(known, ["no"], 1)[0].tolist() == [[0]]


@pytest.mark.parametrize("value", [0, 1])
def test_one_of_0_and_1_is_enough(value):
    targets, classes = fitted("log_loss", 1, [value, value])
    assert targets.tolist() == [[value], [value]]
    assert classes is None


@pytest.mark.parametrize(
    ("y", "outputs", "error", "message"),
    [
        (np.zeros(4), 1, ValueError, "X has 3 samples, but y has 4"),
        (np.zeros((3, 2)), 1, ValueError, "y has 2 outputs, but the network has 1"),
        (np.zeros(3), 2, ValueError, "y has 1 outputs, but the network has 2; .*'cross_entropy'"),
        (np.zeros((3, 1, 1)), 1, ValueError, r"1 or 2 dimensions.*\(3, 1, 1\)"),
        (np.float64(1), 1, ValueError, r"1 or 2 dimensions.*\(\)"),
        ([0, 1, np.nan], 1, ValueError, "y contains NaN, first in row 2$"),
        ([[0, 1], [0, np.nan], [0, 0]], 2, ValueError, "first in row 1, column 1"),
        ([0, 1, 2], 1, ValueError, r"y has 3 labels \(0, 1, 2\).* 1 output, .*'cross_entropy'"),
        ([5, 5, 5], 1, ValueError, "y has one label only, 5"),
        (["a", "a", "a"], 1, ValueError, "y has one label only, 'a'"),
        (["a", "b", "c"], 1, ValueError, "3 labels .'a', 'b', 'c'.*'cross_entropy'"),
        (np.arange(3) + 2, 2, ValueError, "y has 1 outputs.*'cross_entropy'"),
        ([[0, 1], [2, 3], [0, 0]], 2, ValueError, "from 0 to 3; for labels, .*'cross_entropy'"),
        ([-0.5, 1, 0], 1, ValueError, r"\[0, 1\], got values from -0.5 to 1.*'squared_error'"),
        ([0, 1, np.inf], 1, ValueError, r"\[0, 1\], got values from 0.0 to inf"),
        ([["a", "b"]] * 3, 2, TypeError, "got dtype <U1: for labels, loss='cross_entropy'"),
        ([0j, 1, 1], 1, TypeError, "got dtype complex128"),
        ([b"a", b"b", b"a"], 1, TypeError, r"got dtype \|S1"),
        (np.array([0, 1, None], dtype=object), 1, ValueError, "y has a missing value in row 2"),
        (np.array(["a", "b", np.nan], object), 1, ValueError, "y has a missing value in row 2"),
        (np.array([0, 1.5, "x"], dtype=object), 1, TypeError, "got dtype object"),
        (np.array([1, 2**64 - 1, 1], np.uint64), 1, ValueError, "int64, got 18446744073709551615"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_bad_targets_of_log_loss_are_refused_with_both_sides(y, outputs, error, message):
    with pytest.raises(error, match=message):
        fitted("log_loss", outputs, y, 3)


@pytest.mark.parametrize(
    ("classes", "y", "error", "message"),
    [
        (["no", "yes"], ["no", "maybe"], ValueError, "label 'maybe' in row 1.*knows 'no', 'yes'"),
        (["no", "yes"], [0, 1], TypeError, "must hold strings, .* got integers"),
        ([1, 2], ["a", "b"], TypeError, "must hold integers, .* got strings"),
        ([1, 2], [1, 3], ValueError, "label 3 in row 1.*knows 1, 2"),
        ([1, 2], [0.5, 1.0], TypeError, "must hold integers, .* got dtype float64"),
        (None, ["no", "yes"], TypeError, "probabilities.*labels are learned by fit"),
        (None, [1, 2], ValueError, r"must lie in \[0, 1\]"),
    ],
    ids=str,
)
def test_labels_that_training_has_not_seen_are_refused(classes, y, error, message):
    with pytest.raises(error, match=message):
        as_targets(parameters("log_loss", 1, classes=classes), y, 2)


def test_messages_call_y_by_its_name():
    with pytest.raises(ValueError, match="X has 3 samples, but validation y has 2"):
        as_targets(parameters("log_loss", 1), [0, 1], 3, "validation y")
    with pytest.raises(ValueError, match="validation y has the label 3"):
        as_targets(parameters("log_loss", 1, classes=[1, 2]), [3, 1], 2, "validation y")


# ------------------------------------------------------------------ cross entropy


@pytest.mark.parametrize(
    "y", [[0, 2, 1, 0], np.array([0, 2, 1, 0], np.uint8), [[0], [2], [1], [0]], [0, 2, 2, 0]]
)
def test_integers_below_the_number_of_outputs_are_classes(y):
    targets, classes = fitted("cross_entropy", 3, y)
    assert classes is None
    assert targets.dtype == np.float32
    np.testing.assert_array_equal(targets, np.eye(3)[np.ravel(y)])
    np.testing.assert_array_equal(as_targets(parameters("cross_entropy", 3), y, 4), targets)


@pytest.mark.parametrize(
    "y", [["b", "a", "c", "a"], [30, 10, 20, 10], [0, 1, 3, 1], [-1, 0, 1, 0]], ids=str
)
def test_as_many_labels_as_outputs_are_learned_in_order(y):
    targets, classes = fitted("cross_entropy", 3, y)
    assert classes.tolist() == sorted(set(y))
    assert classes[targets.argmax(axis=1)].tolist() == y
    assert (targets.sum(axis=1) == 1).all()
    known = parameters("cross_entropy", 3, classes=classes)
    np.testing.assert_array_equal(as_targets(known, y, 4), targets)


def test_labels_that_are_known_keep_their_order():
    known = parameters("cross_entropy", 3, classes=["c", "a", "b"])
    np.testing.assert_array_equal(as_targets(known, ["a", "c", "b"], 3).argmax(axis=1), [1, 0, 2])


@pytest.mark.parametrize("classes", [None, ["a", "b", "c"]])
def test_probabilities_are_taken_with_and_without_labels(classes):
    y = np.random.default_rng(0).dirichlet(np.ones(3), size=5).astype(np.float32)
    network = parameters("cross_entropy", 3, classes=classes)
    np.testing.assert_array_equal(as_targets(network, y, 5), y)
    np.testing.assert_array_equal(as_targets(network, np.eye(3, dtype=bool), 3), np.eye(3))


@pytest.mark.parametrize(
    ("y", "error", "message"),
    [
        (["a", "b", "a"], ValueError, r"2 labels \('a', 'b'\), but .* 3 outputs"),
        (["a", "a", "a"], ValueError, "one label only, 'a'"),
        (list("abcd"), ValueError, "4 labels"),
        ([1, 2, 5], None, ""),
        ([1, 2, 1], None, ""),
        ([3, 3, 3], ValueError, "one label only, 3"),
        ([1, 2, 3, 4], ValueError, r"4 labels \(1, 2, 3, 4\), but .* 3 outputs.*'poisson'"),
        ([0.0, 1.0, 2.0], TypeError, r"got dtype float64: .*y.astype\(int\).*'squared_error'"),
        ([0.0, np.nan, 2.0], ValueError, "NaN, first in row 1"),
        (np.zeros((3, 2)), ValueError, "y has 2 outputs, but the network has 3"),
        ([[0, 0, 1], [0, 1, 1]], ValueError, "sum to 1, got 2 in row 1; .*'log_loss'"),
        ([[0, 0, 1], [-0.5, 0.5, 1]], ValueError, r"\[0, 1\], got values from -0.5"),
        ([list("abc")], TypeError, r"one label a row.*shape \(1, 3\)"),
        ([b"a", b"b", b"c"], TypeError, r"got dtype \|S1"),
    ],
    ids=str,
)
def test_bad_targets_of_cross_entropy_are_refused_with_both_sides(y, error, message):
    if error is None:
        fitted("cross_entropy", 3, y)
        return
    with pytest.raises(error, match=message):
        fitted("cross_entropy", 3, y)


def test_labels_that_cross_entropy_does_not_know_are_refused():
    with pytest.raises(ValueError, match="label 3 in row 1, but the network knows those from 0 to"):
        as_targets(parameters("cross_entropy", 3), [0, 3], 2)
    with pytest.raises(TypeError, match="integers from 0 to 2, got strings: labels are learned"):
        as_targets(parameters("cross_entropy", 3), ["a", "b"], 2)
    known = parameters("cross_entropy", 3, classes=list("abc"))
    with pytest.raises(ValueError, match="label 'd' in row 1, but the network knows 'a', 'b', 'c'"):
        as_targets(known, ["a", "d"], 2)


def test_cross_entropy_needs_two_outputs():
    with pytest.raises(ValueError, match=r"got layer_sizes \(4, 1\): loss='log_loss'"):
        Network((4, 1), loss="cross_entropy")
    network = Network((4, 2), loss="cross_entropy")
    network.layer_sizes = (4, 1)
    with pytest.raises(ValueError, match=r"needs an output for each class.*'log_loss' would fit"):
        as_targets(network, [0, 1], 2)


# ------------------------------------------------------------------ regression


REGRESSION = ["squared_error", "absolute_error", "huber", "poisson"]


@pytest.mark.parametrize("loss", REGRESSION)
@pytest.mark.parametrize("given", [bool, np.uint16, np.int64, np.float32, np.float64])
def test_values_of_any_real_dtype_are_taken(loss, given):
    y = np.array([0, 1, 3], given)
    targets, classes = fitted(loss, 1, y)
    assert classes is None
    np.testing.assert_array_equal(targets[:, 0], y)
    matrix = np.arange(6.0).reshape(3, 2)
    np.testing.assert_array_equal(fitted(loss, 2, matrix, dtype="float64")[0], matrix)


@pytest.mark.parametrize(
    ("loss", "y", "error", "message"),
    [
        ("squared_error", [1.0, np.nan], ValueError, "NaN, first in row 1$"),
        ("huber", [[1.0], [np.inf]], ValueError, "finite, got inf in row 1, column 0"),
        ("huber", [1.0, -np.inf], ValueError, "finite, got -inf in row 1$"),
        ("squared_error", [1.0, 1e39], ValueError, r"got 1e\+39 in row 1, which overflows float32"),
        ("squared_error", ["a", "b"], TypeError, "loss='squared_error', got .*'log_loss' would"),
        ("absolute_error", [[1.0, 2.0]], ValueError, "2 outputs, but the network has 1"),
        ("poisson", [3.0, -1.0], ValueError, "not be negative .* row 1; loss='squared_error'"),
        ("poisson", [1j, 2], TypeError, "got dtype complex128"),
    ],
    ids=str,
)
def test_bad_values_are_refused_with_both_sides(loss, y, error, message):
    with pytest.raises(error, match=message):
        fitted(loss, 1, y)


def test_labels_for_several_outputs_name_cross_entropy():
    with pytest.raises(TypeError, match="loss='cross_entropy' would fit"):
        fitted("squared_error", 3, ["a", "b", "c"])
    with pytest.raises(ValueError, match=r"1 outputs.*loss='cross_entropy' would fit"):
        fitted("squared_error", 3, [0, 1, 2])


# ------------------------------------------------------------------ other containers


def test_series_and_frames_are_taken():
    pandas = pytest.importorskip("pandas")
    words = pandas.Series(["no", "yes", "no"])
    for y in (words, words.astype("category"), words.astype("string")):
        targets, classes = fitted("log_loss", 1, y)
        assert classes.tolist() == ["no", "yes"]
        assert targets[:, 0].tolist() == [0, 1, 0]
    assert fitted("poisson", 1, pandas.Series([1, 2], dtype="Int64"))[0].tolist() == [[1], [2]]
    with pytest.raises(ValueError, match="missing value in row 1"):
        fitted("log_loss", 1, pandas.Series(["no", None, "yes"]))


def test_masked_values_are_refused():
    y = np.ma.masked_array([0.0, 1.0], [False, True])
    with pytest.raises(ValueError, match="y has masked values, the first in row 1"):
        fitted("squared_error", 1, y)


# ------------------------------------------------------------------ weights of rows


def test_weights_are_float64_or_none():
    assert as_weights(None, 3) is None
    weights = as_weights([1, 0, 2], 3)
    assert weights.dtype == np.float64
    assert weights.tolist() == [1, 0, 2]


@pytest.mark.parametrize(
    ("weights", "error", "message"),
    [
        ([1, 2], ValueError, r"each of the 3 rows, got shape \(2,\)"),
        (np.ones((3, 1)), ValueError, r"got shape \(3, 1\)"),
        (2.0, ValueError, r"got shape \(\)"),
        ([1, -2, 1], ValueError, "not negative, got -2 in row 1"),
        ([1, np.nan, 1], ValueError, "got nan in row 1"),
        ([1, np.inf, 1], ValueError, "got inf in row 1"),
        ([0, 0, 0], ValueError, "must not be 0 for all rows"),
        (["a", "b", "c"], TypeError, "got dtype <U1"),
    ],
    ids=str,
)
def test_bad_weights_are_refused(weights, error, message):
    with pytest.raises(error, match=message):
        as_weights(weights, 3)


# ------------------------------------------------------------------ classes_


def test_classes_are_kept_as_a_copy_and_checked_when_assigned():
    network = Network((4, 3), loss="cross_entropy")
    assert network.classes_ is None
    given = np.array([3, 1, 2])
    network.classes_ = given
    given[0] = 9
    assert network.classes_.tolist() == [3, 1, 2]
    network.classes_ = ["x", "y", "z"]
    assert network.classes_.dtype.kind == "U"


@pytest.mark.parametrize(
    ("loss", "outputs", "classes", "error", "message"),
    [
        ("cross_entropy", 3, ["a", "b"], ValueError, "must have 3 labels .* 3 outputs, got 'a'"),
        ("log_loss", 1, ["a", "b", "c"], ValueError, "must have 2 labels"),
        ("log_loss", 2, ["a", "b"], ValueError, "must be None for loss='log_loss' with several"),
        ("squared_error", 1, ["a", "b"], ValueError, "must be None for loss='squared_error'"),
        ("cross_entropy", 3, ["a", "b", "a"], ValueError, "differ from each other"),
        ("cross_entropy", 3, [[1, 2, 3]], ValueError, r"vector .* got shape \(1, 3\)"),
        ("cross_entropy", 3, [1.0, 2.0, 3.0], TypeError, "strings or integers, got"),
        ("cross_entropy", 3, [1, "b", "c"], TypeError, "strings or integers, got"),
        ("cross_entropy", 3, [True, False], TypeError, "strings or integers, got"),
        ("cross_entropy", 3, "abc", ValueError, r"vector .* got shape \(\)"),
        ("cross_entropy", 3, [], TypeError, "at least two labels, got none"),
        ("cross_entropy", 3, ["a"], ValueError, r"at least two labels, got shape \(1,\)"),
    ],
    ids=str,
)
def test_bad_classes_are_refused(loss, outputs, classes, error, message):
    network = Network((4, outputs), loss=loss)
    with pytest.raises(error, match=message):
        network.classes_ = classes
    assert network.classes_ is None


@pytest.mark.parametrize(
    "copied", [copy.copy, copy.deepcopy, lambda n: pickle.loads(pickle.dumps(n))]
)
def test_copies_have_the_same_classes(copied):
    network = Network((4, 1))
    network.classes_ = ["no", "yes"]
    assert copied(network).classes_.tolist() == ["no", "yes"]
