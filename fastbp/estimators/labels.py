"""Between labels, which users see, and the columns of 0 and 1 that networks are trained to."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.preprocessing import LabelBinarizer
from sklearn.utils.multiclass import type_of_target, unique_labels
from sklearn.utils.validation import check_array, column_or_1d

from fastbp.estimators.class_weights import weights_of_rows
from fastbp.estimators.scoring import accuracy

__all__ = ["LabelsMixin"]

Array = npt.NDArray[Any]

_ONE_LABEL = ("binary", "multiclass")  # what scikit-learn calls targets of one label a row
_PLAIN_KINDS = "biuU"  # of dtypes, all values of which can be labels


def _plain_classes(y: Any) -> Array | None:
    """The classes of labels, as `unique_labels` gives them; None where they have to be looked at.

    scikit-learn's functions validate y eight times, which took half of a short fit.
    """
    if type(y) is not np.ndarray or y.ndim != 1 or y.dtype.kind not in _PLAIN_KINDS:
        return None
    classes = np.unique(y)
    if 2 * len(classes) > len(y):  # which scikit-learn may warn of
        return None
    return np.array([*classes])  # in native byte order, and of strings as short as may be


def _fitted_to(classes: Array) -> LabelBinarizer:
    """What ``LabelBinarizer().fit(y)`` is after labels of these classes, one a row."""
    made = LabelBinarizer()
    made.y_type_ = _ONE_LABEL[len(classes) > 2]
    made.sparse_input_ = False
    made.classes_ = classes
    return made


def _columns(y: Array, classes: Array) -> Array:
    """A column of bool for each class; for two classes, or one, the second's alone."""
    if len(classes) == 1:
        return np.zeros((len(y), 1), bool)
    return np.asarray(y[:, None] == (classes if len(classes) > 2 else classes[1:]))


class LabelsMixin:
    """What a classifier does with labels."""

    _stratifies = True

    # Of the classifier.
    class_weight: Any
    warm_start: bool
    n_outputs_: int
    out_activation_: str

    def _validate_targets(self, y: Any, *, incremental: bool) -> Array:
        """A column of bool for each output; labels are learned, or compared with those known."""
        found = _plain_classes(y)
        if not hasattr(self, "classes_") or not (self.warm_start or incremental):
            self._label_binarizer = LabelBinarizer().fit(y) if found is None else _fitted_to(found)
            self.classes_ = self._label_binarizer.classes_
        else:
            self._check_labels(unique_labels(y) if found is None else found)
        known = self._label_binarizer
        if found is None or known.y_type_ not in _ONE_LABEL or known.classes_.dtype != found.dtype:
            return np.asarray(known.transform(y).astype(bool))
        return _columns(y, known.classes_)

    def _check_labels(self, classes: Array) -> None:
        if self.warm_start:
            if set(classes) != set(self.classes_):
                raise ValueError(
                    "warm_start can only be used where `y` has the same classes as in the"
                    f" previous call to fit. Previously got {self.classes_}, `y` has {classes}"
                )
        elif len(np.setdiff1d(classes, self.classes_, assume_unique=True)):
            raise ValueError(
                "`y` has classes not in `self.classes_`. "
                f"`self.classes_` has {self.classes_}. 'y' has {classes}."
            )

    def _validate_held_out_targets(self, y: Any, name: str = "y_val") -> Array:
        y = check_array(y, accept_sparse="csr", ensure_2d=False, dtype=None, input_name=name)
        if y.ndim == 2 and y.shape[1] == 1:
            y = column_or_1d(y, warn=True)
        known, kind = self._label_binarizer, type_of_target(y, input_name=name)
        kinds = _ONE_LABEL if known.y_type_ in _ONE_LABEL else (known.y_type_,)
        if kind not in kinds:
            raise ValueError(f"{name} is {kind}, but the network was fitted to {known.y_type_} y")
        unknown = np.setdiff1d(unique_labels(y), self.classes_)
        if len(unknown):
            raise ValueError(
                f"{name} has classes {unknown}, but the network was fitted to {self.classes_}"
            )
        return np.asarray(known.transform(y).astype(bool))

    def _weigh(self, y: Any, sample_weight: Any, *, incremental: bool) -> Any:
        if self.class_weight is None:
            return sample_weight
        of_rows = weights_of_rows(self.class_weight, y, self.classes_, incremental=incremental)
        return of_rows if sample_weight is None else sample_weight * of_rows

    def _labels_of_targets(self, y: Array) -> Any:
        targets = y.astype(np.intp)
        return self._label_binarizer.inverse_transform(
            targets.ravel() if len(y[0]) == 1 else targets
        )

    def _output_activation(self) -> str:
        return "softmax" if self._label_binarizer.y_type_ == "multiclass" else "logistic"

    def _labels(self, values: Array) -> Any:
        """The labels that outputs (n, n_outputs) stand for."""
        kind = self._label_binarizer.y_type_
        if kind == "multiclass":
            return np.asarray(self.classes_[values.argmax(axis=1)])
        if kind == "binary" and len(self.classes_) == 2:
            return np.asarray(self.classes_[(values[:, 0] > 0.5).astype(np.intp)])
        if self.n_outputs_ == 1:
            values = values.ravel()
        return self._label_binarizer.inverse_transform(values)

    def _score_outputs(self, values: Array, y: Array, weights: Array | None) -> float:
        if values.shape[1] == 1:
            right = ((values > 0.5) == y)[:, 0] | (len(self.classes_) == 1)
        elif self.out_activation_ == "softmax":
            right = values.argmax(axis=1) == y.argmax(axis=1)
        else:
            right = ((values > 0.5) == y).all(axis=1)
        return accuracy(right, weights)
