"""What training and evaluation take as y: labels, probabilities or values, by the loss.

`fit_targets` learns labels, `as_targets` knows them. Both give what compiled code reads: a matrix
with a column for each output.
"""

from __future__ import annotations

from typing import Any, NoReturn

import numpy as np
import numpy.typing as npt

from fastbp.engine.inputs import as_array, quietly
from fastbp.labels import encode, is_missing, label_kind, shown, taken
from fastbp.parameters import Parameters

__all__ = ["as_targets", "as_weights", "fit_targets"]

Array = npt.NDArray[Any]

# Rows of probabilities may come from arithmetic in float32, or from a file with few digits.
_SUM_TOLERANCE = float(np.sqrt(np.finfo(np.float32).eps))


def fit_targets(
    parameters: Parameters, y: npt.ArrayLike, n_rows: int, name: str = "y"
) -> tuple[Array, Array | None]:
    """Targets of a training, and the labels that they are of.

    Labels are learned where the network knows none, and nothing of the network is changed.

    Parameters
    ----------
    parameters : Parameters
        Sizes, dtype, loss and labels of the network.
    y : array_like of shape (n_rows,) or (n_rows, n_L)
        By the loss:

        * log loss with one output: bool, 0 and 1, or probabilities in [0, 1]; or two labels of
          any kind, strings or integers, of which the larger one is what the output is 1 for;
        * log loss with several outputs: the same, but for labels, in a matrix;
        * cross entropy: labels, of which there are as many as outputs, or integers from 0 up to
          one less than these; or a matrix of probabilities, one-hot or not, whose rows sum to 1;
        * the others: finite numbers, for Poisson not negative.
    n_rows : int
        Rows of the X that `y` belongs to.
    name : str, default "y"
        For messages.

    Returns
    -------
    targets : ndarray of shape (n_rows, n_L)
        C-contiguous, of the network's dtype; shares memory with `y` where that is possible.
    classes : ndarray of shape (2,) or (n_L,), or None
        For `Parameters.classes_`.

    Raises
    ------
    TypeError
        If `y` does not hold what the loss is for.
    ValueError
        If the shape does not fit, a value is NaN, out of range, masked or missing, or there are
        fewer or more labels than outputs for them.
    """
    return _targets(parameters, y, n_rows, name, learns=True)


def as_targets(parameters: Parameters, y: npt.ArrayLike, n_rows: int, name: str = "y") -> Array:
    """Targets by what the network knows of labels; parameters and errors as for `fit_targets`."""
    return _targets(parameters, y, n_rows, name, learns=False)[0]


def as_weights(sample_weight: npt.ArrayLike | None, n_rows: int) -> Array | None:
    """Weights of rows in float64, or None where all weigh the same.

    Raises
    ------
    TypeError
        If they are no real numbers.
    ValueError
        If there is not one for each row, one is negative or not finite, or all are 0.
    """
    return None if sample_weight is None else _weights(sample_weight, n_rows)


@quietly
def _weights(sample_weight: npt.ArrayLike, n_rows: int) -> Array:
    given = as_array(sample_weight, "sample_weight")
    if given.dtype.kind not in "biuf":
        raise TypeError(f"sample_weight must hold real numbers, got dtype {given.dtype}")
    if given.shape != (n_rows,):
        raise ValueError(
            f"sample_weight must have one weight for each of the {n_rows} rows, got shape"
            f" {given.shape}"
        )
    weights = given.astype(np.float64)
    bad = np.flatnonzero(~(np.isfinite(weights) & (weights >= 0)))
    if len(bad):
        raise ValueError(
            "sample_weight must be finite and not negative, got"
            f" {given[bad[0]]} in row {int(bad[0])}"
        )
    if n_rows and not weights.any():
        raise ValueError("sample_weight must not be 0 for all rows")
    return weights


def _targets(
    parameters: Parameters, y: npt.ArrayLike, n_rows: int, name: str, *, learns: bool
) -> tuple[Array, Array | None]:
    given = as_array(y, name)
    if given.ndim not in (1, 2):
        raise ValueError(f"{name} must have 1 or 2 dimensions, got an array of shape {given.shape}")
    if given.shape[0] != n_rows:
        raise ValueError(f"X has {n_rows} samples, but {name} has {given.shape[0]}")
    if given.dtype.kind == "O":
        _check_none_missing(given, name)
    loss = parameters.loss_function
    targets_of = _TARGETS.get(loss, _values)
    return targets_of(parameters, given, name, learns)


def _check_none_missing(y: Array, name: str) -> None:
    for place, label in np.ndenumerate(y):
        if is_missing(label):
            raise ValueError(f"{name} has a missing value in row {place[0]}")


def _finished(parameters: Parameters, y: Array, n_rows: int) -> Array:
    rows = y.reshape((n_rows, parameters.layer_sizes[-1]))
    if rows.dtype == parameters.dtype:
        return np.ascontiguousarray(rows)
    return _converted(rows, parameters.dtype)


@quietly
def _converted(y: Array, dtype: np.dtype[Any]) -> Array:
    return np.ascontiguousarray(y, dtype=dtype)


def _place_of(bad: Array) -> str:
    return ", column ".join(str(int(i)) for i in np.argwhere(bad)[0])


def _check_columns(parameters: Parameters, y: Array, name: str, more: str = "") -> None:
    columns, outputs = 1 if y.ndim == 1 else y.shape[1], parameters.layer_sizes[-1]
    if columns != outputs:
        raise ValueError(f"{name} has {columns} outputs, but the network has {outputs}{more}")


def _check_unit_interval(y: Array, name: str, more: str = "") -> None:
    """That all values lie between 0 and 1."""
    if y.size and y.dtype.kind != "b":
        # In four fifths of the time of the methods; both are NaN if any value is.
        smallest, largest = np.minimum.reduce(y, axis=None), np.maximum.reduce(y, axis=None)
        if smallest >= 0 and largest <= 1:
            return
        if np.isnan(smallest):
            raise ValueError(f"{name} contains NaN, first in row {_place_of(np.isnan(y))}")
        raise ValueError(
            f"{name} must lie in [0, 1], got values from {smallest} to {largest}{more}"
        )


def _learned(labels: Array, outputs: int, n_classes: int, name: str, more: str) -> Array:
    """The labels that there are, in order, if they are as many as the network tells apart."""
    classes = np.unique(labels)
    if len(classes) == 1:
        raise ValueError(
            f"{name} has one label only, {shown(classes)}: there must be rows of"
            f" {n_classes} classes"
        )
    if len(classes) != n_classes:
        raise ValueError(
            f"{name} has {len(classes)} labels ({shown(classes)}), but the network has"
            f" {outputs} {'output' if outputs == 1 else 'outputs'}, for {n_classes} classes{more}"
        )
    return classes


# ------------------------------------------------------------------ log loss


def _binary(
    parameters: Parameters, y: Array, name: str, learns: bool
) -> tuple[Array, Array | None]:
    """Targets of log loss."""
    outputs, classes, n = parameters.layer_sizes[-1], parameters.classes_, len(y)
    column = y.reshape(-1) if outputs == 1 and y.shape[1:] in ((), (1,)) else None
    kind = label_kind(y)
    if column is not None and classes is not None:
        return _finished(parameters, encode(column, classes, name), n), classes
    if column is not None and kind is not None and learns and _are_labels(y, kind):
        labels = taken(column, kind)
        found = _learned(
            labels, 1, 2, name,
            "; loss='cross_entropy' with an output for each class would fit",
        )  # fmt: skip
        return _finished(parameters, encode(labels, found, name), n), found
    if y.dtype.kind not in "biuf":
        remedy = ""
        if kind is not None:
            remedy = (
                ": labels are learned by fit, which this network has not seen any in"
                if column is not None
                else ": for labels, loss='cross_entropy' would fit"
            )
        raise TypeError(
            f"{name} must hold 0 and 1 or probabilities (bool, int or float), got dtype"
            f" {y.dtype}{remedy}"
        )
    more = ""
    if y.ndim == 1:
        more = "; for a label in each row, loss='cross_entropy' would fit"
    _check_columns(parameters, y, name, more)
    more = "; for other real numbers, loss='squared_error' would fit"
    if y.dtype.kind in "iu":
        more = "; for labels, loss='cross_entropy' would fit, for counts loss='poisson'"
    _check_unit_interval(y, name, more)
    return _finished(parameters, y, n), None


def _are_labels(y: Array, kind: str) -> bool:
    """Whether they are labels, and not 0 and 1 themselves."""
    if y.size == 0 or y.dtype.kind == "b":
        return False
    return kind == "U" or y.min() < 0 or y.max() > 1


# ------------------------------------------------------------------ cross entropy


def _categorical(
    parameters: Parameters, y: Array, name: str, learns: bool
) -> tuple[Array, Array | None]:
    """Targets of cross entropy."""
    outputs, classes = parameters.layer_sizes[-1], parameters.classes_
    if outputs == 1:
        raise ValueError(
            "loss='cross_entropy' needs an output for each class, and the network has 1:"
            " loss='log_loss' would fit"
        )
    if y.ndim == 2 and y.shape[1] != 1:
        return _probabilities(parameters, y, name), classes
    column = y.reshape(-1)
    kind = label_kind(column)
    if kind is None and len(column):
        _refuse_labels(column, name)
    if classes is None:
        numbers, classes = _numbers(column, kind or "i", outputs, name, learns)
    else:
        numbers = encode(column, classes, name)
    targets = np.zeros((len(column), outputs), parameters.dtype)
    targets[np.arange(len(column)), numbers] = 1
    return targets, classes


def _refuse_labels(y: Array, name: str) -> NoReturn:
    if y.dtype.kind == "f":
        if np.isnan(y).any():
            raise ValueError(f"{name} contains NaN, first in row {_place_of(np.isnan(y))}")
        raise TypeError(
            f"{name} must hold labels, integers or strings, got dtype {y.dtype}: whole numbers"
            f" become labels by {name}.astype(int), and for other real numbers"
            " loss='squared_error' would fit"
        )
    raise TypeError(f"{name} must hold labels, integers or strings, got dtype {y.dtype}")


def _numbers(
    y: Array, kind: str, outputs: int, name: str, learns: bool
) -> tuple[Array, Array | None]:
    """Numbers of the classes, where the network knows no labels."""
    labels = taken(y, kind)
    if kind == "i":
        if len(labels) == 0 or (labels.min() >= 0 and labels.max() < outputs):
            return labels, None
        if not learns:
            bad = np.flatnonzero((labels < 0) | (labels >= outputs))
            raise ValueError(
                f"{name} has the label {labels[bad[0]]} in row {int(bad[0])}, but the network knows"
                f" those from 0 to {outputs - 1}"
            )
    elif not learns:
        raise TypeError(
            f"{name} must hold integers from 0 to {outputs - 1}, got strings: labels are learned by"
            " fit, which this network has not seen any in"
        )
    more = "" if kind == "U" else "; for counts, loss='poisson' would fit"
    classes = _learned(labels, outputs, outputs, name, more)
    return encode(labels, classes, name), classes


@quietly
def _probabilities(parameters: Parameters, y: Array, name: str) -> Array:
    if y.dtype.kind not in "biuf":
        raise TypeError(
            f"{name} must hold one label a row, or probabilities (bool, int or float), got dtype"
            f" {y.dtype} of shape {y.shape}"
        )
    _check_columns(parameters, y, name)
    _check_unit_interval(y, name)
    sums = y.sum(axis=1, dtype=np.float64)
    bad = np.flatnonzero(np.abs(sums - 1) > _SUM_TOLERANCE)
    if len(bad):
        raise ValueError(
            f"{name} must have rows that sum to 1, got {sums[bad[0]]:g} in row {int(bad[0])}; for"
            " labels that do not exclude each other, loss='log_loss' would fit"
        )
    return _finished(parameters, y, len(y))


# ------------------------------------------------------------------ regression


@quietly
def _values(
    parameters: Parameters, y: Array, name: str, learns: bool
) -> tuple[Array, Array | None]:
    """Targets of losses of regression."""
    loss = parameters.loss_function
    if y.dtype.kind not in "biuf":
        remedy = ""
        if label_kind(y) is not None:
            fits = "log_loss" if parameters.layer_sizes[-1] == 1 else "cross_entropy"
            remedy = f": for labels, loss='{fits}' would fit"
        raise TypeError(
            f"{name} must hold real numbers for loss={loss!r}, got dtype {y.dtype}{remedy}"
        )
    more = ""
    if y.ndim == 1 and y.dtype.kind in "biu":
        more = "; for a label in each row, loss='cross_entropy' would fit"
    _check_columns(parameters, y, name, more)
    targets = _finished(parameters, y, len(y))
    finite = np.isfinite(targets)
    if not finite.all():
        place = _place_of(~np.isfinite(targets if y.ndim == 2 else targets[:, 0]))
        value = y.reshape(targets.shape)[tuple(np.argwhere(~finite)[0])]
        if np.isnan(value):
            raise ValueError(f"{name} contains NaN, first in row {place}")
        overflow = f", which overflows {parameters.dtype}" if np.isfinite(value) else ""
        raise ValueError(f"{name} must be finite, got {value} in row {place}{overflow}")
    if loss == "poisson" and targets.size and targets.min() < 0:
        bad = (targets if y.ndim == 2 else targets[:, 0]) < 0
        raise ValueError(
            f"{name} must not be negative for loss='poisson', got values from {targets.min()} on,"
            f" first in row {_place_of(bad)}; loss='squared_error' would fit"
        )
    return targets, None


_TARGETS = {"log_loss": _binary, "cross_entropy": _categorical}
