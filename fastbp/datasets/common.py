"""What the data sets share: checks of arguments, and how many threads to use."""

from __future__ import annotations

import operator
import os
from typing import Any

__all__ = ["check_integer", "check_size", "worker_count"]


def check_integer(name: str, value: Any) -> int:
    """Return ``value`` as a Python int, or raise TypeError if it is not an integer."""
    try:
        return operator.index(value)
    except TypeError:
        raise TypeError(f"{name} must be an integer, got {value!r}") from None


def check_size(size: Any) -> tuple[int, int]:
    """Return ``size`` as (height, width), two positive ints.

    Raises
    ------
    TypeError
        If ``size`` is not a pair, or holds something else than integers.
    ValueError
        If it holds another number of values, or one below 1.
    """
    try:
        values = tuple(size)
    except TypeError:
        raise TypeError(f"size must be a pair (height, width), got {size!r}") from None
    if len(values) != 2:
        raise ValueError(f"size must be a pair (height, width), got {size!r}")
    height, width = (check_integer("size", value) for value in values)
    if height < 1 or width < 1:
        raise ValueError(f"size must hold positive integers, got {size!r}")
    return height, width


def worker_count() -> int:
    """Return how many CPUs this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
