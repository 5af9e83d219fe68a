"""Sizes of object code that were recorded, from which follows how long a kernel compiles."""

from __future__ import annotations

__all__ = ["expected_size"]

_SIZES: dict[str, int] = {}


def expected_size(name: str) -> int:
    """Bytes of object code of a kernel, about."""
    return _SIZES.get(name, 20_000)
