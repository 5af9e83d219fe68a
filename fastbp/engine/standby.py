"""The thread of `fastbp.kernels.threads.standby`: when it is called, and how it is forgotten."""

from __future__ import annotations

import ctypes
import os
import queue
import threading
import time

import numpy as np
from numba import types

from fastbp.kernels.threads import standby as kernel

__all__ = ["StandbyThread", "standby"]

_LINE = 64
# How often it looks at its mailbox before it sleeps: 2000 looks take about 50 us on AMD's Zen, and
# after those it offers its core to others between looks, which takes 0.1 us at least. Never less
# than twice the time in which calls follow each other: else it would leave before the next one
# came, come again, and be in the way of the threads that were launched instead.
_LOOKS, _NANOSECONDS_A_LOOK = 2000, 50
# Nanoseconds between two calls that missed a standby, up to which it is called. A call that stands
# alone is not worth waking a thread. In longer ones a launch is little; but Linux may leave
# a thread that was launched on its caller's core for the first 50 or 100 calls: with a launch
# squares of 256 in float32 began with 310 us each instead of 178, with a standby they do not.
_SOON = 500_000


class StandbyThread:
    """A daemon thread that sleeps until it is called, and stays awake while there is work.

    Attributes
    ----------
    mailbox : int
        Address of its words, see `fastbp.kernels.threads.standby`.
    """

    def __init__(self) -> None:
        self._memory = np.zeros(kernel.MAILBOX_WORDS + _LINE // 8, np.int64)
        self.mailbox = -(-int(self._memory.ctypes.data) // _LINE) * _LINE
        self._words = (ctypes.c_int64 * kernel.MAILBOX_WORDS).from_address(self.mailbox)
        self._lock = threading.Lock()
        self.forget()

    def forget(self) -> None:
        """Begin anew, in a process that has no standby: after a fork, its thread is gone."""
        ctypes.memset(self.mailbox, 0, 8 * kernel.MAILBOX_WORDS)
        self._lock = threading.Lock()
        self._bell: queue.SimpleQueue[int] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._called = False
        self._last = 0

    @property
    def is_awake(self) -> bool:
        """Whether it waits for a job, or has one."""
        return self._words[0] != kernel.ABSENT

    @property
    def jobs(self) -> int:
        """How many regions it has taken part in."""
        return self._words[kernel.JOBS]

    def prepare(self) -> None:
        """Compile, or load from the disk cache, what the thread runs."""
        kernel.stay.compile((types.int64, types.int64))

    def helps(self, region: int, context: int) -> bool:
        """Run the region at an address with the standby, if it is awake: whether it is.

        The region is one for two workers. If it is not awake, it may be for the next.
        """
        if kernel.call_with(self.mailbox, region, context):
            return True
        self.missed()
        return False

    def missed(self) -> None:
        """Tell that a call had no standby: the second time soon after the first it is called."""
        now = time.perf_counter_ns()
        between = now - self._last
        self._last = now
        if between < _SOON and not self._called:
            self.call(_LOOKS + between // _NANOSECONDS_A_LOOK)

    def call(self, patience: int) -> None:
        """Wake the thread, or start it; it stays for so many looks at its mailbox."""
        with self._lock:
            if self._called:
                return
            self._called = True
            if self._thread is None:
                self.prepare()
                thread = threading.Thread(
                    target=self._live, args=(self._bell,), name="fastbp-standby", daemon=True
                )
                try:
                    thread.start()
                except RuntimeError:  # at the system's limit, or in a process that is ending:
                    return  # there is none, and it counts as called for good
                self._thread = thread
            self._bell.put(patience)

    def _live(self, bell: queue.SimpleQueue[int]) -> None:
        while True:
            kernel.stay(self.mailbox, bell.get())
            self._called = False


standby = StandbyThread()

if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=standby.forget)
