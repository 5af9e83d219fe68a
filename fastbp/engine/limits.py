"""Limits on the threads that calls of one thread may use, below the number of the process.

There are two, each for the thread that sets it alone, so that callers side by side cannot undo each
other's: those of `thread_limit`, and that of threadpoolctl, which programs ask to limit every
library at once. The least counts.

threadpoolctl knows libraries by the names of the files that a process has loaded, and asks a
controller for each. fastbp has no such file; llvmlite has, without which there is no kernel, so it
stands for fastbp.
"""

from __future__ import annotations

import contextlib
import contextvars
import operator
import sys
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Any, SupportsIndex

from fastbp._version import __version__

__all__ = [
    "as_count",
    "forget_controlled",
    "in_use",
    "limited",
    "register_controller",
    "thread_limit",
]

in_use = False
"""Whether there has been a limit in this process. Without, as in most, nobody need ask for one,
which takes 0.1 us, where a small product takes 4."""

_FILES = ("libllvmlite", "llvmlite")  # how the library's file begins; the latter on Windows

# The limits that are in force, innermost last; each is no more than the one before. Coroutines of
# one thread have their own.
_limits: contextvars.ContextVar[tuple[int, ...]] = contextvars.ContextVar("_limits", default=())


class _Controlled(threading.local):
    """What threadpoolctl has said in this thread.

    Not in a context: it may be said in a call of its own, for all that follows in the thread.
    """

    count: int | None = None


_controlled = _Controlled()


def as_count(n: SupportsIndex) -> int:
    """A number of threads as an int.

    Raises
    ------
    TypeError
        If it is no integer.
    """
    if isinstance(n, bool):
        raise TypeError("the number of threads must be an integer, got a bool")
    return operator.index(n)


class thread_limit(contextlib.ContextDecorator):
    """Let the calls in a ``with`` block, or of a decorated function, use at most `n` threads.

    It holds for the calling thread alone, and what it calls there: other threads, and coroutines
    beside this one, are as they were. At the end of the block, also by an exception, the limit is
    gone. A limit inside another can lower it and not raise it. Results do not depend on it, to the
    bit.

    Parameters
    ----------
    n : int or None
        At least 1. More than `get_num_threads` is no limit, nor is None.

    Raises
    ------
    TypeError
        If `n` is no integer.
    ValueError
        If `n` is less than 1.

    See Also
    --------
    set_num_threads : The number for the whole process.

    Notes
    -----
    ``threadpoolctl.threadpool_limits`` limits fastbp too, under the name of ``"fastbp"``, once
    the kernels' package is loaded: the first use of a network, an estimator or a function does
    that.

    Examples
    --------
    Two trainings side by side on two cores, each with a thread of its own:

    >>> import fastbp
    >>> from concurrent.futures import ThreadPoolExecutor
    >>> def train(seed):
    ...     network = fastbp.Network((2, 3, 1), seed=seed)
    ...     with fastbp.thread_limit(1):
    ...         network.fit([[0, 0], [0, 1], [1, 0], [1, 1]], [0, 1, 1, 0], epochs=10)
    ...     return network
    >>> with ThreadPoolExecutor(2) as pool:
    ...     networks = list(pool.map(train, [0, 1]))
    """

    def __init__(self, n: SupportsIndex | None) -> None:
        count = sys.maxsize if n is None else as_count(n)
        if count < 1:
            raise ValueError(f"the number of threads must be at least 1, got {count}")
        self._count = count

    # Nothing is kept here but the number: an object may be used again, inside itself too, and by
    # several threads, as that of a decorated function is.
    def __enter__(self) -> None:
        _note_use()
        outer = _limits.get()
        _limits.set((*outer, min((self._count, *outer[-1:]))))

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        _limits.set(_limits.get()[:-1])


def limited(count: int) -> int:
    """What is left of the process's number of threads for a call of this thread."""
    limits, controlled = _limits.get(), _controlled.count
    if limits and limits[-1] < count:
        count = limits[-1]
    return count if controlled is None or controlled >= count else controlled


def _note_use() -> None:
    global in_use
    in_use = True


def forget_controlled() -> None:
    """Forget what threadpoolctl has said in this thread."""
    _controlled.count = None


def register_controller(process_count: Callable[[], int]) -> None:
    """Make fastbp known to threadpoolctl, if that is installed.

    Parameters
    ----------
    process_count : callable
        How many threads fastbp uses where nothing limits it.
    """
    try:
        import threadpoolctl
    except ImportError:
        return
    if not hasattr(threadpoolctl, "register"):  # before 3.2
        return

    class FastbpController(threadpoolctl.LibController):  # type: ignore[misc]
        """fastbp, as threadpoolctl sees it."""

        user_api = internal_api = "fastbp"
        filename_prefixes = _FILES

        def get_num_threads(self) -> int:
            """The least of the process's number and of what was set, `thread_limit` apart.

            What is told here is set again at the end of a block, and must not outlive
            `thread_limit` so.
            """
            count = _controlled.count
            return process_count() if count is None else min(process_count(), count)

        def set_num_threads(self, num_threads: Any) -> None:
            """Limit calls of this thread; the process's number of threads is no limit."""
            _note_use()
            count = max(1, operator.index(num_threads))
            _controlled.count = None if count >= process_count() else count

        def get_version(self) -> str:
            """The version of fastbp."""
            return __version__

    threadpoolctl.register(FastbpController)
