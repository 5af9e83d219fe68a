"""A copy of a network's parameters, to go back to when a call of compiled code went wrong.

A step changes parameters in place: where it stopped half way, or made NaN of them, nothing but a
copy from before brings them back.
"""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["Backup"]

Array = npt.NDArray[Any]


class Backup:
    """The values that weights and biases had when they were last looked at.

    Parameters
    ----------
    weights, biases : sequence of ndarray
        Copied at once. The arrays themselves are kept, not the lists that they are in.
    """

    def __init__(self, weights: Sequence[Array], biases: Sequence[Array]) -> None:
        self._arrays = [*weights, *biases]
        self._copies = [array.copy() for array in self._arrays]

    def is_of(self, weights: Sequence[Array], biases: Sequence[Array]) -> bool:
        """Whether these are the arrays that are copied."""
        arrays = [*weights, *biases]
        return len(arrays) == len(self._arrays) and all(map(operator.is_, arrays, self._arrays))

    def refresh(self) -> None:
        """Copy the values of now."""
        for array, copy in zip(self._arrays, self._copies, strict=True):
            np.copyto(copy, array)

    def restore(self) -> None:
        """Put the copied values back where they came from."""
        for array, copy in zip(self._arrays, self._copies, strict=True):
            np.copyto(array, copy)
