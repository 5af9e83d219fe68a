"""Compiled code for edges that do not show the grid of pixels."""

# What Numba's decorator returns is untyped, and so is what compiled functions return.
# mypy: disable-error-code="no-any-return, untyped-decorator"

from __future__ import annotations

import math

from fastbp.kernels.compile.jit import jit

__all__ = ["ramp", "stripe"]


@jit
def ramp(distance: float, width: float) -> float:
    """Return how much of a pixel ``width`` wide lies inside an edge ``distance`` away."""
    inside = 0.5 + distance / width
    if inside < 0.0:
        return 0.0
    return inside if inside < 1.0 else 1.0


@jit
def stripe(place: float, duty: float, softness: float) -> float:
    """Return 1 where ``place`` is within the stripe in the middle of its unit interval, else 0."""
    return ramp(0.5 * duty - abs(place - math.floor(place) - 0.5), softness)
