"""A copy of a network's parameters, to go back to when a call of compiled code went wrong.

A step changes parameters in place: where it stopped half way, or made NaN of them, nothing but a
copy from before brings them back.
"""

from __future__ import annotations

import operator
import threading
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["Backup"]

Array = npt.NDArray[Any]


_MOST_KEPT = 16 << 20  # bytes of the largest array, whose memory a thread keeps for the next copy


class _Kept(threading.local):
    """Memory of the last copy of this thread, while no other has it: a list of one, or none."""

    free: list[Array]


_kept = _Kept()


def _memory(nbytes: int) -> tuple[list[Array], Array]:
    """So many bytes, and the list that they go back to.

    Pages that the system has just handed out take longer to touch than a copy takes.
    """
    try:
        free = _kept.free
    except AttributeError:
        free = _kept.free = []
    memory = free.pop() if free else np.empty(0, np.uint8)
    return free, memory if memory.nbytes >= nbytes else np.empty(nbytes, np.uint8)


class Backup:
    """The values that weights and biases had when they were last looked at.

    Parameters
    ----------
    weights, biases : sequence of ndarray
        Copied at once. The arrays themselves are kept, not the lists that they are in.
    """

    def __init__(self, weights: Sequence[Array], biases: Sequence[Array]) -> None:
        self._arrays = [*weights, *biases]
        first, *others = self._arrays
        self._free, self._memory = _memory(first.nbytes)
        copy = self._memory[: first.nbytes].view(first.dtype).reshape(first.shape)
        self._copies = [copy, *map(np.empty_like, others)]
        self.refresh()

    def __del__(self) -> None:
        if not self._free and self._memory.nbytes <= _MOST_KEPT:
            self._free.append(self._memory)

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
