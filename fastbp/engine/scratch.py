"""Scratch memory for compiled code: a workspace is borrowed for each call, and given back.

A thread keeps one workspace between its calls. A call that begins while another one of the same
thread is under way (in a signal handler, a finalizer) finds none and makes one of its own. Who has
borrowed a workspace holds the only reference to it: it stays while compiled code works in it, even
if the interpreter takes the thread's other objects away, as it does with daemon threads at exit;
and one that an exception has left in doubt is not used again.
"""

from __future__ import annotations

import ctypes
import struct
import threading

import numpy as np

from fastbp.engine.memory import address_of
from fastbp.kernels.compile.calls import struct_format
from fastbp.kernels.linalg.product import ProductPlan
from fastbp.kernels.threads.shares import MOST_SHARES, SHARE_WORDS, state_of_share
from fastbp.kernels.threads.team import ABANDONED, TEAM_WORDS

__all__ = ["MOST_KEPT", "Workspace", "borrow", "trim"]

MOST_KEPT = 64 << 20
"""Bytes of scratch memory that a thread may keep when a `fit` or a prediction is over."""

_PAGE = 4096
_LINE = 64


class Workspace:
    """Memory of one call of compiled code: scratch, the words of a team, and of a product's plan.

    Attributes
    ----------
    team : int
        Address of the words of a team, see `new_team`.
    product : tuple
        What `fastbp.engine.products` needs to write a product's plan: ``pack_into``, the buffer and
        where in it to write, and the addresses of the team and the plan. Packing
        words into memory that is kept costs a tenth of making arrays of them.
    """

    # The words of a team, which pad bytes zero, and of a plan.
    _layout = struct.Struct(f"={8 * TEAM_WORDS}x{struct_format(ProductPlan)}")

    def __init__(self, free: list[Workspace]) -> None:
        self._free = free
        self._buffer: np.ndarray[tuple[int], np.dtype[np.uint8]] | None = None
        self._start = self._size = 0
        self._team = np.zeros(TEAM_WORDS + SHARE_WORDS + _LINE // 8, np.int64)
        self.team = -(-address_of(self._team) // _LINE) * _LINE
        self._words = np.zeros(self._layout.size // 8 + _LINE // 8, np.int64)
        start = -address_of(self._words) % _LINE
        team = address_of(self._words) + start
        plan = team + 8 * TEAM_WORDS
        buffer = self._words.data.cast("B")
        self.product = (self._layout.pack_into, buffer, start, team, plan)

    def address(self, nbytes: int) -> int:
        """Address of ``nbytes`` bytes at the start of a page, valid until the next call of this.

        The system hands out pages when they are touched, so a generous request costs nothing.
        """
        if self._size < nbytes:
            self._drop()  # first, so that there are never both
            buffer = np.empty(nbytes + _PAGE, np.uint8)
            self._start = -(-address_of(buffer) // _PAGE) * _PAGE
            self._buffer = buffer
            self._size = nbytes
        return self._start

    def _drop(self) -> None:
        self._size = 0  # first: an exception from here on leaves no address of memory that is gone
        self._buffer = None

    def new_team(self) -> int:
        """Address of zeroed words for a region's team, valid until the next call of this."""
        self._team.fill(0)
        return self.team

    def give_back(self) -> None:
        """Let the thread's next call have the memory. Not called twice, nor used after it."""
        if not self._free:
            self._free.append(self)

    def trim(self) -> None:
        """Give memory beyond `MOST_KEPT` back to the system."""
        if self._size > MOST_KEPT:
            self._drop()

    def abandon(self) -> None:
        """Make the region that works here, on whatever threads, end without its work done.

        To be repeated until it has ended: one of them may just be writing to the same words.
        """
        for team in (self.team, self.product[3]):
            _word.from_address(team).value = ABANDONED
        for share in range(MOST_SHARES):
            _word.from_address(self.team + 8 * state_of_share(share)).value = ABANDONED


class _Mine(threading.local):
    """The calling thread's workspace while no call has it: a list of one, or none."""

    # No __init__: it could be interrupted by a call of the same thread.
    free: list[Workspace]


_mine = _Mine()
_word = ctypes.c_int64


def borrow() -> Workspace:
    """A workspace for one call of compiled code, to be given back when that is over.

    ::

        space = borrow()
        try:
            ...
        finally:
            space.give_back()
    """
    try:
        free = _mine.free
    except AttributeError:
        free = _mine.free = []
    try:
        return free.pop()  # in one step: nothing can come between
    except IndexError:
        return Workspace(free)


def trim() -> None:
    """Give what this thread keeps beyond `MOST_KEPT` back to the system."""
    for space in getattr(_mine, "free", []):
        space.trim()
