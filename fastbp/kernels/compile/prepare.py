"""Regions that are needed together are compiled side by side."""

from __future__ import annotations

from fastbp.kernels.compile.jit import Region

__all__ = ["prepare"]


def prepare(*regions: Region) -> None:
    """Compile regions, or load them from the disk cache."""
    for region in regions:
        region.address  # noqa: B018
