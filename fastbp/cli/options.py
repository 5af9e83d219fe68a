"""What the options take: every number that a user may write is a number or a plain message."""

from __future__ import annotations

import math
import sys
from itertools import pairwise
from typing import Annotated

import typer

from fastbp.cli.pictures import PICTURE_SIZE

__all__ = ["check_rate", "countable", "parse_hidden", "parse_init", "parse_sizes", "picture_count"]

_LARGEST = 2**63 - 1  # that compiled code counts with, and more than a seed needs
_LARGEST_FLOAT32 = (2 - 2.0**-23) * 2.0**127
_INPUTS = 3 * math.prod(PICTURE_SIZE)


def countable(value: int | None) -> int | None:
    """Return `value`, or raise BadParameter if nothing needs to count that far."""
    if value is not None and value > _LARGEST:
        raise typer.BadParameter(f"expected at most {_LARGEST}, got {value}")
    return value


# Options that several commands have.
Hidden = Annotated[
    str, typer.Option(help="Sizes of the hidden layers, first to last.", metavar="3,2")
]
BatchSize = Annotated[
    int, typer.Option(metavar="N", min=1, callback=countable, help="Pictures for each update.")
]
Epochs = Annotated[
    int,
    typer.Option(
        metavar="N", min=1, callback=countable, help="How often to go through all pictures."
    ),
]
MaxPixels = Annotated[
    int | None,
    typer.Option(
        metavar="N",
        min=1,
        callback=countable,
        help="Pixels that a picture may have; 178,956,970 by default.",
    ),
]
Seed = Annotated[
    int,
    typer.Option(metavar="N", min=0, callback=countable, help="Seed of first weights and order."),
]


def picture_count(value: int) -> int:
    """Return `value`, or raise BadParameter if so many pictures, and a quarter more, have no room.

    What has room in theory may yet be too much for the memory, which is found out later.
    """
    most = sys.maxsize // (2 * _INPUTS)
    if value > most:
        raise typer.BadParameter(f"expected at most {most} pictures, got {value}")
    return value


def parse_hidden(text: str) -> tuple[int, ...]:
    """Return the sizes of the hidden layers that `text` has between commas."""
    try:
        sizes = tuple(int(part) for part in text.split(","))
    except ValueError:
        sizes = ()
    if not sizes or min(sizes) < 1:
        raise typer.BadParameter(
            f"expected sizes of layers between commas, such as 3,2 or 64, got {text!r}",
            param_hint="--hidden",
        )
    count = sum(above * (below + 1) for below, above in pairwise((_INPUTS, *sizes, 1)))
    if count > sys.maxsize // 8:  # of the 8 bytes in which they are drawn
        raise typer.BadParameter(
            f"expected layers that fit into memory, got {text!r}", param_hint="--hidden"
        )
    return sizes


def parse_sizes(text: str) -> tuple[int, ...]:
    """Return the sizes of layers that `text` has between hyphens."""
    try:
        sizes = tuple(int(part) for part in text.split("-"))
    except ValueError:
        sizes = ()
    if len(sizes) < 2 or not 1 <= min(sizes) <= max(sizes) <= _LARGEST:
        raise typer.BadParameter(
            f"expected sizes of two layers or more, such as 12288-3-2-1, got {text!r}",
            param_hint="--sizes",
        )
    return sizes


def parse_init(text: str) -> str | float:
    """Return the name or the number that `text` stands for."""
    if text in ("xavier", "he", "normal", "zeros"):
        return text
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not abs(value) <= _LARGEST_FLOAT32:  # the network's dtype
        raise typer.BadParameter(
            f"expected xavier, he, normal, zeros or a finite number, got {text!r}",
            param_hint="--init",
        )
    return value


def check_rate(option: str, value: float, *, zero: bool) -> None:
    """Raise BadParameter if `value` is not finite, or not above 0 (or at least 0, if `zero`)."""
    if not (0 < value < math.inf or (zero and value == 0)):
        kind = "a finite number, 0 or more" if zero else "a finite number above 0"
        raise typer.BadParameter(f"expected {kind}, got {value}", param_hint=option)
