"""Standard output and error that let the work go on when they cannot be written to.

A reader that has gone, a full disk or a closed stream must not cost a model that takes an hour to
train: what cannot be said is dropped, and `run` says so when all is done.
"""

from __future__ import annotations

import errno
import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TextIO

__all__ = ["OutputLostError", "check_output", "lost_output", "occupy_descriptors", "safe_streams"]


class OutputLostError(Exception):
    """Standard output cannot be written to any more, and there is nothing else to do."""


class _Outlet(io.RawIOBase):
    """The bytes' way out: the first failure is kept, and what comes after it is dropped."""

    def __init__(self, target: Any) -> None:
        self._target = target
        self.failure: OSError | None = None
        if target is None:
            self.failure = OSError(errno.EBADF, os.strerror(errno.EBADF))

    def writable(self) -> bool:
        return True

    def isatty(self) -> bool:
        return self._target is not None and bool(self._target.isatty())

    def fileno(self) -> int:
        if self._target is None:
            raise io.UnsupportedOperation("the stream is closed")
        return int(self._target.fileno())

    def write(self, data: Any) -> int:
        if self.failure is None:
            try:
                written: int | None = self._target.write(data)
                if written is not None:
                    return written
                self.failure = BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
            except OSError as error:
                self.failure = error
        return len(data)


class _SafeStream(io.TextIOWrapper):
    """A text stream that drops what cannot be written, and spells what cannot be encoded."""

    def __init__(self, stream: TextIO | None) -> None:
        buffer = getattr(stream, "buffer", None)
        # Below the buffer, which would keep what it failed to write and fail again at exit.
        self.outlet = _Outlet(getattr(buffer, "raw", buffer))
        super().__init__(
            io.BufferedWriter(self.outlet),
            encoding=getattr(stream, "encoding", "utf-8"),
            errors="backslashreplace",
            line_buffering=getattr(stream, "line_buffering", False),
            write_through=getattr(stream, "write_through", False),
        )


def occupy_descriptors() -> None:
    """Put the null device where a standard stream is closed, before a file of ours gets there."""
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free


@contextmanager
def safe_streams() -> Iterator[None]:
    """Make `sys.stdout` and `sys.stderr` safe while the block runs."""
    streams = sys.stdout, sys.stderr
    for stream in streams:
        if stream is not None:
            stream.flush()
    sys.stdout, sys.stderr = (
        stream if stream is not None and not hasattr(stream, "buffer") else _SafeStream(stream)
        for stream in streams
    )
    try:
        yield
    finally:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        sys.stdout, sys.stderr = streams


def lost_output() -> OSError | None:
    """Return why standard output cannot be written to, or None if all is well."""
    sys.stdout.flush()
    return sys.stdout.outlet.failure if isinstance(sys.stdout, _SafeStream) else None


def check_output() -> None:
    """Raise OutputLostError if nobody can get what is printed: for work that is only printed."""
    failure = lost_output()
    if failure is not None:
        raise OutputLostError from failure
