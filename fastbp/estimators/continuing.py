"""What `continue_training` goes on from, besides the weights and the optimizer: random numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["Course"]

Array = npt.NDArray[Any]


@dataclass
class Course:
    """Where a training stands among its random numbers, and the weights it stands at.

    Parameters
    ----------
    random_state : RandomState
        The next epoch is shuffled by it.
    order : ndarray of int64, optional
        Of the rows in the last epoch, on top of which the next one's comes.
    split : tuple of ndarray, optional
        The rows for training, and those for validation, if they were drawn.
    last, best : list of ndarray, optional
        Of a training that put its best weights back: its last ones, and copies of the best.
    """

    random_state: np.random.RandomState
    order: Array | None = None
    split: tuple[Array, Array] | None = None
    last: list[Array] | None = None
    best: list[Array] | None = None

    def split_of(self, rows: int) -> tuple[Array, Array] | None:
        """The split that was drawn, if it was of so many rows."""
        if self.split is None or sum(map(len, self.split)) != rows:
            return None
        return self.split

    def take_split(self, chosen: Array, others: Array) -> tuple[Array, Array]:
        """Have another split, to which the order of the rows does not belong."""
        self.order, self.split = None, (chosen, others)
        return self.split

    def forget_split(self) -> None:
        """Have all rows be trained on."""
        if self.split is not None:
            self.order = self.split = None

    def order_of(self, rows: int) -> Array | None:
        """The order of so many rows, or None if there is none."""
        return None if self.order is None or len(self.order) != rows else self.order

    def take_last(self, arrays: Sequence[Array]) -> None:
        """Put the last weights into ``arrays``, if these are the best, as the training left them.

        Others were put there by the user, who means them.
        """
        if self.last is not None and self.best is not None:
            pairs = zip(arrays, self.best, strict=True)
            if all(np.array_equal(array, best) for array, best in pairs):
                for array, last in zip(arrays, self.last, strict=True):
                    np.copyto(array, last)
        self.last = self.best = None
