"""Judging what systems computed: whether it is right, which variant counts, how it compares."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["best_variant", "compare_with_peers", "difference", "disagreement"]

# How far weights may be from the reference: a share of the farthest that training moved them, and
# roundings of the weights themselves; and how far a probability. float32 needs a hundredth of it.
_OF_MOVEMENT = 1e-3
_OF_WEIGHT = 16 * float(np.finfo(np.float32).eps)
_OF_PROBABILITY = 1e-5
# Where a rounding error may switch a unit off for a row, its weights lose that row's share of a
# step, which is much of it if the batch is small; so some weights may, but not the mean of them.
_OF_MOVEMENT_AT_KINKS = 0.25
# How far the same model, made in float64 in another order of sums, may be from scikit-learn's after
# some thousand steps, where its numbers are about 1.
_SAME_MODEL = 1e-7

Arrays = Mapping[str, npt.NDArray[Any]]


def disagreement(
    arrays: Arrays, reference: Arrays, start: Arrays, *, kinks: bool = False
) -> str | None:
    """Why results are wrong, in a line, or None if they are right.

    Parameters
    ----------
    arrays, reference : mapping of str to ndarray
        What a system computed, and what plain float64 NumPy did: parameters after the same few
        steps, or ``probabilities``.
    start : mapping of str to ndarray
        The parameters that the training began with; empty for predictions. A share of how far
        training moved them is the tolerance, so that no training at all counts as wrong.
    kinks : bool, default False
        Whether activations have kinks: then the tolerance is for the mean over an array, and a
        quarter of the way for each number.
    """
    for name, expected in reference.items():
        if name not in arrays or arrays[name].shape != expected.shape:
            return f"{name} should have shape {expected.shape}"
        error = np.abs(arrays[name] - expected)
        if name not in start:
            checks = {"": (float(error.max()), _OF_PROBABILITY)}
        else:
            moved, size = np.abs(expected - start[name]), np.abs(expected)
            largest = _OF_MOVEMENT_AT_KINKS if kinks else _OF_MOVEMENT
            checks = {"": (float(error.max()), _allowed(largest, moved.max(), size.max()))}
            if kinks:
                mean = _allowed(_OF_MOVEMENT, moved.mean(), size.mean())
                checks[" in the mean"] = float(error.mean()), mean
        for where, (found, allowed) in checks.items():
            if not found <= allowed:  # so written, a NaN is wrong
                return f"{name} is off by {found:.3g}{where}, where {allowed:.3g} is allowed"
    return None


def difference(arrays: Arrays, reference: Arrays) -> str | None:
    """Why a model is another than the reference's, in a line, or None if it is the same.

    Parameters
    ----------
    arrays, reference : mapping of str to ndarray
        Coefficients and losses after the same epochs, or predictions.
    """
    for name, expected in reference.items():
        if name not in arrays or arrays[name].shape != expected.shape:
            return f"{name} should have shape {expected.shape}"
        error = float(np.abs(arrays[name] - expected).max())
        allowed = _SAME_MODEL * max(1.0, float(np.abs(expected).max()))
        if not error <= allowed:  # so written, a NaN is wrong
            return f"{name} is off by {error:.3g}, where {allowed:.3g} is allowed"
    return None


def _allowed(share: float, moved: np.floating[Any], size: np.floating[Any]) -> float:
    return share * float(moved) + _OF_WEIGHT * float(size)


def best_variant(variants: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """The fastest variant that is right, with all of them beside it."""
    right = {name: found for name, found in variants.items() if found["status"] == "ok"}
    if right:
        name = min(right, key=lambda name: right[name]["median_seconds"])
    else:
        name = next(iter(variants))
    return {"variant": name, **variants[name], "variants": variants}


def compare_with_peers(systems: dict[str, dict[str, Any]], limit: float) -> None:
    """Add the ratio to the best peer, above 1 if faster, and the fraction of the limit."""
    peers = [
        found["median_seconds"]
        for name, found in systems.items()
        if name != "fastbp" and found["status"] == "ok"
    ]
    for found in systems.values():
        if found["status"] == "ok":
            own = found["median_seconds"]
            found["ratio_to_best_peer"] = min(peers) / own if peers else None
            found["fraction_of_limit"] = limit / own
