"""Rows that are kept apart from training, to measure on: a share of the data."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["split_rows"]

Array = npt.NDArray[Any]

_STREAM = 0x5B117  # of random numbers, apart from those of epochs


def split_rows(
    n: int, share: float, seed: int, classes: Array | None = None
) -> tuple[Array, Array]:
    """Numbers of the rows to train on and of those to validate on, at random, each in order.

    ceil(share n) rows are for validation. With classes, each gives its share of them, to a row
    (largest remainders first), but never its last row.

    Parameters
    ----------
    n : int
        Rows of the data.
    share : float
        In (0, 1).
    seed : int
        What the choice depends on, besides the classes.
    classes : ndarray of int, shape (n,), optional
        The number of each row's class.

    Raises
    ------
    ValueError
        If there would be no row to train on.
    """
    wanted = math.ceil(share * n)
    if wanted >= n:
        raise ValueError(
            f"validation_split={share} of {n} rows leaves none to train on: give more rows, or a"
            " smaller share"
        )
    order = np.random.default_rng([seed, _STREAM]).permutation(n)
    if classes is None:
        chosen = order[:wanted]
    else:
        counts = np.bincount(classes)
        exact = wanted * counts / n
        each = np.floor(exact).astype(np.int64)
        rest = wanted - int(each.sum())
        each[np.argsort(each - exact, kind="stable")[:rest]] += 1
        each = np.minimum(each, np.maximum(counts - 1, 0))
        if not each.any():
            raise ValueError(
                f"validation_split={share} of {n} rows leaves none to validate on: each class has"
                " one row"
            )
        shuffled = classes[order]
        chosen = np.concatenate(
            [order[shuffled == number][:count] for number, count in enumerate(each)]
        )
    is_chosen = np.zeros(n, dtype=bool)
    is_chosen[chosen] = True
    return np.flatnonzero(~is_chosen), np.flatnonzero(is_chosen)
