"""Signals that end the process: they do as Ctrl-C does, so that what was trained is kept."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

__all__ = ["as_interrupts", "postponed"]

_Handler = Callable[[int, FrameType | None], Any]


@contextmanager
def as_interrupts() -> Iterator[list[int]]:
    """Turn the first SIGTERM or SIGHUP into a KeyboardInterrupt while the block runs.

    Yields
    ------
    received : list of int
        Grows by every such signal.
    """
    received: list[int] = []

    def interrupt(number: int, frame: FrameType | None) -> None:
        received.append(number)
        if len(received) == 1:  # what comes later must not break off what is being saved
            raise KeyboardInterrupt

    # One that is ignored stays so, as nohup would have it.
    names = ("SIGTERM", "SIGHUP")
    numbers = [number for number in _numbers(names) if signal.getsignal(number) is signal.SIG_DFL]
    with _handled(numbers, interrupt):
        yield received


@contextmanager
def postponed() -> Iterator[None]:
    """Let signals wait until the block has ended, which is short and must be whole."""
    received: list[int] = []
    names = ("SIGINT", "SIGTERM", "SIGHUP")
    numbers = [number for number in _numbers(names) if callable(signal.getsignal(number))]
    with _handled(numbers, lambda number, frame: received.append(number)):
        yield
    for number in received:
        signal.raise_signal(number)


def _numbers(names: tuple[str, ...]) -> list[signal.Signals]:
    """Return those of the signals that there are on this system."""
    return [getattr(signal, name) for name in names if hasattr(signal, name)]


@contextmanager
def _handled(numbers: list[signal.Signals], handler: _Handler) -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread may set handlers, and only it is interrupted
        return
    before = {number: signal.signal(number, handler) for number in numbers}
    try:
        yield
    finally:
        for number, previous in before.items():
            signal.signal(number, previous)
