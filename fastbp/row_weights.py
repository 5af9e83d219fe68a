"""Weights of rows in training: those that users give, and those of their classes."""

from __future__ import annotations

import math
import reprlib
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from fastbp.checks import check_real
from fastbp.engine.inputs import quietly

__all__ = [
    "ClassWeight",
    "check_class_weight",
    "class_numbers",
    "plain_class_weight",
    "rounded",
    "shares_of",
    "weights_of_classes",
]

Array = npt.NDArray[Any]
ClassWeight = str | Mapping[Any, float] | None


def check_class_weight(class_weight: Any) -> ClassWeight:
    """None, "balanced", or a mapping from labels to finite weights that are not negative."""
    if class_weight is None or (isinstance(class_weight, str) and class_weight == "balanced"):
        return class_weight
    if isinstance(class_weight, Mapping):
        return {
            label: check_real(weight, f"class_weight[{label!r}]", least=0)
            for label, weight in class_weight.items()
        }
    wanted = "class_weight must be None, 'balanced' or a mapping from label to weight"
    if isinstance(class_weight, str):
        raise ValueError(f"{wanted}, got {class_weight!r}")
    raise TypeError(f"{wanted}, got {class_weight!r}")


def plain_class_weight(class_weight: ClassWeight) -> Any:
    """As it is kept with a network, in what JSON has: a mapping as pairs."""
    if not isinstance(class_weight, Mapping):
        return class_weight
    plain = [(getattr(label, "item", lambda label=label: label)(), weight)
             for label, weight in class_weight.items()]  # fmt: skip
    return [[label, weight] for label, weight in plain]


def class_numbers(targets: Array, loss: str) -> Array | None:
    """The number of each row's class, or None if rows have no class of their own.

    Parameters
    ----------
    targets : ndarray of shape (n, n_L)
        As training takes them.
    loss : str
    """
    if loss == "cross_entropy":
        if ((targets == 0) | (targets == 1)).all() and (targets.sum(axis=1) == 1).all():
            return np.asarray(targets.argmax(axis=1))
    elif loss == "log_loss" and targets.shape[1] == 1 and ((targets == 0) | (targets == 1)).all():
        return targets[:, 0].astype(np.int64)
    return None


def weights_of_classes(
    class_weight: ClassWeight, numbers: Array | None, count: int, labels: Array | None
) -> Array | None:
    """The weight of each row by its class, in float64.

    "balanced" is n / (classes * rows of the class), as in scikit-learn. Classes that a mapping
    leaves out weigh 1.

    Parameters
    ----------
    class_weight : "balanced", mapping or None
    numbers : ndarray of shape (n,), or None
        As `class_numbers` gives them.
    count : int
        How many classes there are.
    labels : ndarray of shape (count,), or None
        What the classes are called, if not by their numbers.

    Raises
    ------
    ValueError
        If rows have no class of their own, a class of the mapping does not exist, or a class that
        is to be balanced has no rows.
    """
    if class_weight is None:
        return None
    if numbers is None:
        raise ValueError(
            "class_weight needs one label for each row, as of loss='cross_entropy', or of"
            " loss='log_loss' with one output; got other targets: give sample_weight instead"
        )
    names = list(range(count)) if labels is None else labels.tolist()
    if isinstance(class_weight, Mapping):
        unknown = [label for label in class_weight if label not in names]
        if unknown:
            raise ValueError(
                f"class_weight has the label {reprlib.repr(unknown[0])}, but the labels are"
                f" {reprlib.repr(names)}"
            )
        of_class = np.array([class_weight.get(name, 1.0) for name in names], dtype=np.float64)
        return np.asarray(of_class[numbers])
    counts = np.bincount(numbers, minlength=count)
    absent = np.flatnonzero(counts == 0)
    if len(absent):
        raise ValueError(
            f"class_weight='balanced' needs rows of each class in the training part, got none of"
            f" {names[absent[0]]!r}"
        )
    return np.asarray((len(numbers) / (count * counts))[numbers])


@quietly
def rounded(weights: Array | None, dtype: np.dtype[Any]) -> Array | None:
    """Weights as compiled code reads them; None if all weigh the same.

    They are multiplied by a power of two, so that the largest is from 1 to 2: means do not change,
    and nothing overflows. What is nothing beside the largest becomes 0.
    """
    if weights is None or not len(weights) or (weights == weights[0]).all():
        return None
    _, exponent = math.frexp(float(weights.max()))
    return np.ldexp(weights, 1 - exponent).astype(dtype)


def shares_of(weights: Array, starts: Array, dtype: np.dtype[Any]) -> npt.NDArray[np.float64]:
    """1 / (sum of the weights) of each step; 0 where that is 0, or beyond the dtype.

    Parameters
    ----------
    weights : ndarray of shape (n,)
        In the order of the epoch.
    starts : ndarray of int
        Where the rows of each step begin.
    dtype : dtype
        The network's.
    """
    sums = np.add.reduceat(weights, starts, dtype=np.float64)
    countable = sums > 1 / float(np.finfo(dtype).max)
    return np.divide(1.0, sums, out=np.zeros_like(sums), where=countable)
