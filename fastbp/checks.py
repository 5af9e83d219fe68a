"""Checks of single numbers that users give."""

from __future__ import annotations

import math
import operator
from typing import Any

import numpy as np

__all__ = ["check_integer", "check_real", "check_share"]


def check_integer(value: Any, name: str, smallest: int) -> int:
    """A number that is given as an integer, or say what is wrong."""
    if type(value) is int and value >= smallest:  # as nearly always: a good part of a short fit
        return value
    if isinstance(value, bool | np.bool_):
        raise TypeError(f"{name} must be an integer, got {value!r}")
    try:
        number = operator.index(value)
    except TypeError:
        raise TypeError(f"{name} must be an integer, got {value!r}") from None
    if number < smallest:
        raise ValueError(f"{name} must be at least {smallest}, got {number}")
    return number


def check_real(
    value: Any, name: str, *, least: float = -math.inf, above: float = -math.inf
) -> float:
    """A finite number, not below ``least`` and greater than ``above``, or say what is wrong."""
    if type(value) is float and above < value < math.inf and value >= least:
        return value
    if isinstance(value, bool | np.bool_ | str | bytes | complex):
        raise TypeError(f"{name} must be a real number, got {value!r}")
    try:
        number = float(value)
    except TypeError:
        raise TypeError(f"{name} must be a real number, got {value!r}") from None
    if not math.isfinite(number):
        raise ValueError(f"{name} must be finite, got {number}")
    if number <= above:
        raise ValueError(f"{name} must be greater than {above:g}, got {number}")
    if number < least:
        wanted = "not be negative" if least == 0 else f"be at least {least:g}"
        raise ValueError(f"{name} must {wanted}, got {number}")
    return number


def check_share(value: Any, name: str) -> float:
    """A number in [0, 1), or say what is wrong."""
    number = check_real(value, name, least=0)
    if number >= 1:
        raise ValueError(f"{name} must be less than 1, got {number}")
    return number
