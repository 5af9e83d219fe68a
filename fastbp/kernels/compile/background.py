"""Work that Ctrl-C must not cut short is done by a thread that Ctrl-C does not reach.

Python raises KeyboardInterrupt in the main thread, wherever that is. In the middle of Numba's
compiler it leaves half-built types, libraries and locks behind, and fastbp unusable; and it waits
for LLVM, which may take seconds. So a thread compiles while the caller waits. An interrupt ends the
waiting, at once; the work goes on, and whoever asks for its result next finds it, or waits for it.

A thread that is inside LLVM when the interpreter ends would take the process down, and one that is
there when the process forks would leave the child a compiler that is locked for ever. So the end
stops the work between two passes of the compiler, and a fork waits for it.
"""

from __future__ import annotations

import _thread
import atexit
import contextlib
import os
import time
from collections.abc import Callable
from typing import Any, Generic, TypeVar

from numba.core import event
from numba.core.compiler_lock import global_compiler_lock

__all__ = ["in_background"]

T = TypeVar("T")

_LOOK = 0.1
"""Seconds between looks whether the work is done, where no signal ends the waiting for a lock."""

_at_work: set[int] = set()  # the threads, by their numbers
_ending = False


class _Work(Generic[T]):
    """One call, carried out by a thread of its own."""

    def __init__(self, call: Callable[[], T]) -> None:
        self._call = call
        self._done = False
        self._error: BaseException | None = None
        self._result: T
        self._process = os.getpid()
        self._latch = _thread.allocate_lock()
        self._latch.acquire()

    def carry_out(self) -> None:
        """Make the call, in a thread that `start` has made."""
        number = _thread.get_ident()
        _at_work.add(number)
        try:
            if not _ending:
                self._result = self._call()
                self._done = True
        except BaseException as error:
            self._error = error
            self._done = True
        finally:
            _at_work.discard(number)
            self._latch.release()

    def result(self) -> T:
        """Wait for the result, and return or raise it."""
        # A look at the flag, and not the lock alone: an interrupt may come between its two calls.
        while not self._done:
            if self._latch.acquire(timeout=_LOOK):
                self._latch.release()
            elif self._process != os.getpid():  # forked in a signal handler: no thread came along
                return self._call()
        if self._error is not None:
            try:
                raise self._error
            finally:
                self._error = None  # which holds this frame, which holds the work
        return self._result


def in_background(call: Callable[[], T]) -> T:
    """Return ``call()``, made where no KeyboardInterrupt can cut it short.

    Parameters
    ----------
    call : callable
        Does nothing if an earlier call has done it or does it: after an interrupt it is made again.
        Where there is no thread to be had, or this thread holds Numba's lock, it is made here.
    """
    if _ending or _thread.get_ident() in _at_work or global_compiler_lock.is_locked():
        return call()
    work = _Work(call)
    try:
        # In one call, so that no interrupt can come between a thread's start and the note of it.
        _thread.start_new_thread(work.carry_out, ())
    except RuntimeError:
        return call()
    return work.result()


class _Stop(event.Listener):
    """Ends the work of the threads at the next pass of the compiler."""

    def on_start(self, _: Any) -> None:
        if _thread.get_ident() in _at_work:
            raise SystemExit

    def on_end(self, _: Any) -> None:
        pass


def _end() -> None:
    global _ending
    _ending = True
    if _at_work:
        with event.install_listener("numba:run_pass", _Stop()):
            while _at_work:
                with contextlib.suppress(KeyboardInterrupt):  # some press Ctrl-C until it helps
                    time.sleep(0.01)


def _after_fork_in_child() -> None:
    _at_work.clear()
    _after_fork()


def _after_fork() -> None:
    if global_compiler_lock.is_locked():  # unless an interrupt ended the waiting for it
        global_compiler_lock.release()


atexit.register(_end)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=global_compiler_lock.acquire,
        after_in_parent=_after_fork,
        after_in_child=_after_fork_in_child,
    )
