"""A copy of what training changes, to go back to when a call of compiled code went wrong.

A step changes parameters, and what its optimizer keeps, in place: where it stopped half way, or
made NaN of them, nothing but a copy from before brings them back.
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
    """The values that some arrays had when they were last looked at.

    Parameters
    ----------
    arrays : sequence of ndarray
        Weights, biases and what an optimizer keeps of them, say. Copied at once; the arrays
        themselves are kept, not the list that they are in.
    """

    def __init__(self, arrays: Sequence[Array]) -> None:
        self.arrays = [*arrays]
        first, *others = self.arrays
        self._free, self._memory = _memory(first.nbytes)
        copy: Array = np.ndarray(first.shape, first.dtype, self._memory)
        np.copyto(copy, first)
        self._copies = [copy, *(array.copy() for array in others)]

    def __del__(self) -> None:
        if not self._free and self._memory.nbytes <= _MOST_KEPT:
            self._free.append(self._memory)

    def is_of(self, arrays: Sequence[Array]) -> bool:
        """Whether these are the arrays that are copied."""
        return len(arrays) == len(self.arrays) and all(map(operator.is_, arrays, self.arrays))

    def refresh(self) -> None:
        """Copy the values of now."""
        for array, copy in zip(self.arrays, self._copies, strict=True):
            np.copyto(copy, array)

    def restore(self) -> None:
        """Put the copied values back where they came from."""
        for array, copy in zip(self.arrays, self._copies, strict=True):
            np.copyto(array, copy)
