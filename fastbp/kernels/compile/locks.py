"""Files that one process at a time holds, so that two do not do the same work."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator
from pathlib import Path

__all__ = ["locked"]

_LOOK = 0.02  # seconds between looks whether a file is free


def _try_lock(number: int) -> bool:
    """Whether this process has the open file now; an error where files cannot be locked."""
    if os.name == "nt":
        import msvcrt

        try:
            msvcrt.locking(number, msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined, unused-ignore]
        except PermissionError:
            return False
        return True
    import fcntl

    try:
        fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


@contextlib.contextmanager
def locked(path: Path, patience: float) -> Iterator[None]:
    """Hold a file, which is made and removed again; after so many seconds go on without.

    The system lets go of it for a process that dies. Where there are no locks to be had, on some
    network drives, nothing is held: work is done twice then, and never not at all.
    """
    try:
        number = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), 0o644)
    except OSError:
        yield
        return
    held = False
    try:
        end = time.monotonic() + patience
        with contextlib.suppress(OSError):
            while not (held := _try_lock(number)) and time.monotonic() < end:
                time.sleep(_LOOK)
        yield
    finally:
        if held and os.name != "nt":  # Windows removes no open file
            with contextlib.suppress(OSError):
                os.unlink(path)
        os.close(number)
        if held and os.name == "nt":
            with contextlib.suppress(OSError):
                os.unlink(path)
