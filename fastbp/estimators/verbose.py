"""What `verbose` prints: the only place below the command line that does."""

from __future__ import annotations

from typing import Any

__all__ = ["say"]


def say(estimator: Any, text: str) -> None:
    """Print a line, if the estimator's user wants it."""
    if estimator.verbose:
        print(text)
