"""Weights of classes, as weights of rows."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.utils.class_weight import compute_class_weight, compute_sample_weight
from sklearn.utils.multiclass import type_of_target

__all__ = ["weights_of_rows"]

Array = npt.NDArray[Any]


def weights_of_rows(class_weight: Any, y: Any, classes: Array, *, incremental: bool) -> Array:
    """The weight of each row by its class.

    Parameters
    ----------
    class_weight : "balanced", mapping from label to weight, or list of such
        Of several labels a row, as RandomForestClassifier takes it: the product of the weights of
        all outputs, which a list has a mapping for each of.
    y : array-like
        Labels.
    classes : ndarray
        All labels, sorted.
    incremental : bool
        Whether y are only some of the labels that training will see.

    Raises
    ------
    ValueError
        If the weights do not fit the labels, or leave none a weight.
    """
    if incremental and isinstance(class_weight, str):
        raise ValueError(
            f"class_weight={class_weight!r} is not supported for partial_fit, which sees some of"
            " the rows at a time. Pass what compute_class_weight('balanced', classes=classes, y=y)"
            " of a large enough sample gives, as a dict."
        )
    if type_of_target(y).startswith("multilabel"):
        if isinstance(class_weight, dict):
            raise ValueError(
                "class_weight must be 'balanced' or a list of dicts, one for each output, where y"
                f" has several labels a row, got {class_weight!r}"
            )
        weights = compute_sample_weight(class_weight, y)
    elif isinstance(class_weight, list):
        raise ValueError(
            "class_weight must be 'balanced' or a dict where y has one label a row, got"
            f" {class_weight!r}"
        )
    else:
        of_classes = compute_class_weight(class_weight, classes=classes, y=y)
        weights = of_classes[np.searchsorted(classes, y)]
    if not np.any(weights):
        raise ValueError(f"class_weight leaves no row a weight other than 0, got {class_weight!r}")
    return np.asarray(weights)
