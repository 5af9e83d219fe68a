"""Labels of classes: strings or integers, each of which stands for an output unit or a side of it.

A network keeps them as an array, in the order of the outputs; files as a list of JSON.
"""

from __future__ import annotations

import reprlib
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["check_classes", "encode", "is_missing", "label_kind", "plain_classes", "shown", "taken"]

Array = npt.NDArray[Any]

_SHOWN = 5  # labels in a message
_WORDS = {"i": "integers", "U": "strings"}


def label_kind(y: Array) -> str | None:
    """What an array holds, as far as it may be labels: "i" integers, "U" strings, or None.

    Arrays of objects are asked one by one; bools are integers.
    """
    if y.dtype.kind in "biu":
        return "i"
    if y.dtype.kind in "UT":
        return "U"
    if y.dtype.kind != "O" or y.size == 0:
        return None
    if all(isinstance(label, str) for label in y.flat):
        return "U"
    if all(isinstance(label, int | np.integer | np.bool_) for label in y.flat):
        return "i"
    return None


def taken(y: Array, kind: str) -> Array:
    """Labels of a kind that `label_kind` has told, as int64 or ``<U``."""
    if kind == "U":
        return y.astype(np.str_) if y.dtype.kind != "U" else y
    if y.dtype == np.int64:
        return y
    limits = np.iinfo(np.int64)
    if y.dtype.kind not in "bi" and y.size and not limits.min <= y.min() <= y.max() <= limits.max:
        raise ValueError(f"labels must fit into int64, got {reprlib.repr(int(y.max()))}")
    return y.astype(np.int64)


def is_missing(label: object) -> bool:
    """Whether it stands for no value, as tables have it."""
    if label is None or type(label).__name__ in ("NAType", "NaTType"):  # those of pandas
        return True
    return isinstance(label, float) and label != label


def check_classes(value: Any, name: str = "classes_") -> Array | None:
    """The labels of classes as a network keeps them; or say what is wrong.

    Parameters
    ----------
    value : array_like of shape (K,) or None
        Strings or integers, no two of them the same, K >= 2.
    name : str, default "classes_"
        For messages.

    Returns
    -------
    ndarray of shape (K,) or None
        A copy, int64 or ``<U``.

    Raises
    ------
    TypeError
        If they are neither strings nor integers.
    ValueError
        If there are fewer than two, or two are the same, or they are no vector.
    """
    if value is None:
        return None
    # NumPy makes "1" of 1 beside strings, and floats of large integers.
    array = np.array(value, object if isinstance(value, list | tuple) else None)
    kind = label_kind(array)
    if kind is None or any(isinstance(label, bool | np.bool_) for label in array.flat):
        raise TypeError(
            f"{name} must hold strings or integers, got {reprlib.repr(value)}"
            if array.size
            else f"{name} must have at least two labels, got none"
        )
    if array.ndim != 1 or len(array) < 2:
        raise ValueError(f"{name} must be a vector of at least two labels, got shape {array.shape}")
    labels = np.array(taken(array, kind))
    if len(np.unique(labels)) < len(labels):
        raise ValueError(f"{name} must differ from each other, got {shown(labels)}")
    return labels


def plain_classes(classes: Array | None) -> list[int] | list[str] | None:
    """The labels of classes as JSON has them."""
    return None if classes is None else classes.tolist()


def shown(labels: Array) -> str:
    """Some labels, for a message."""
    some = ", ".join(reprlib.repr(label) for label in labels[:_SHOWN].tolist())
    return some if len(labels) <= _SHOWN else f"{some}, ... ({len(labels)} in all)"


def encode(y: Array, classes: Array, name: str) -> Array:
    """The number of the class of each label.

    Parameters
    ----------
    y : ndarray of shape (n,)
    classes : ndarray of shape (K,)
        As `check_classes` gives them.
    name : str
        Of y, for messages.

    Returns
    -------
    ndarray of int64, shape (n,)

    Raises
    ------
    TypeError
        If y holds no such kind of labels.
    ValueError
        If a label is none of `classes`.
    """
    kind, expected = label_kind(y), "U" if classes.dtype.kind == "U" else "i"
    if kind != expected and len(y):
        raise TypeError(
            f"{name} must hold {_WORDS[expected]}, as the labels of the network are"
            f" ({shown(classes)}), got {_WORDS.get(kind or '', f'dtype {y.dtype}')}"
        )
    labels = taken(y, expected)
    order = np.argsort(classes, kind="stable")
    places = np.searchsorted(classes, labels, sorter=order)
    numbers = order[np.minimum(places, len(classes) - 1)]
    unknown = np.flatnonzero(classes[numbers] != labels)
    if len(unknown):
        row = int(unknown[0])
        raise ValueError(
            f"{name} has the label {reprlib.repr(labels[row].item())} in row {row}, but the network"
            f" knows {shown(classes)}"
        )
    return numbers.astype(np.int64, copy=False)
