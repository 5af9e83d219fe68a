"""What the options take: every number that a user may write is a number or a plain message."""

from __future__ import annotations

import math
import sys
from itertools import pairwise
from pathlib import Path
from typing import Annotated

import typer

from fastbp.activations import ACTIVATIONS, Activations, check_activation
from fastbp.cli.pictures import LOSSES_OF_CLASSES, PICTURE_SIZE

__all__ = [
    "RATES",
    "check_decay",
    "check_optimizer",
    "check_rate",
    "countable",
    "parse_activation",
    "parse_dropout",
    "parse_hidden",
    "parse_init",
    "parse_loss",
    "parse_sizes",
    "picture_count",
]

RATES = {"sgd": 0.1, "adam": 0.001, "adamw": 0.001}
"""Optimizers, and the learning rate of each unless another is given: as `fastbp.optimizers` has
them, which takes NumPy to import."""

_LARGEST = 2**63 - 1  # that compiled code counts with, and more than a seed needs
_LARGEST_FLOAT32 = (2 - 2.0**-23) * 2.0**127
_INPUTS = 3 * math.prod(PICTURE_SIZE)


def countable(value: int | None) -> int | None:
    """Return `value`, or raise BadParameter if nothing needs to count that far."""
    if value is not None and value > _LARGEST:
        raise typer.BadParameter(f"expected at most {_LARGEST}, got {value}")
    return value


# Options that several commands have, or that are long.
Hidden = Annotated[
    str, typer.Option(help="Sizes of the hidden layers, first to last.", metavar="3,2")
]
Activation = Annotated[
    str,
    typer.Option(
        metavar="NAME[,NAME...]",
        help=f"Of the hidden layers, of all or of each: {', '.join(ACTIVATIONS)}.",
    ),
]
LossName = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="log_loss: one output, for two classes; cross_entropy: an output for each class. By "
        "default log_loss for two class folders, cross_entropy for more.",
    ),
]
OptimizerName = Annotated[str, typer.Option(metavar="NAME", help=f"One of {', '.join(RATES)}.")]
Momentum = Annotated[
    float, typer.Option(metavar="X", help="Of sgd: share of the last step that is kept, below 1.")
]
Nesterov = Annotated[
    bool, typer.Option("--nesterov", help="Look ahead by the momentum, after Nesterov.")
]
Dropout = Annotated[
    str,
    typer.Option(
        metavar="X[,X...]",
        help="Share of each hidden layer's units to drop in a step, below 1; or shares of the "
        "input and of each hidden layer in turn.",
    ),
]
LearningRate = Annotated[
    float | None,
    typer.Option(
        metavar="X",
        help=f"Step along the gradient, more than 0. By default {RATES['sgd']}, of adam and adamw "
        f"{RATES['adam']}.",
    ),
]
WeightDecay = Annotated[
    float, typer.Option(metavar="X", help="lambda of the L2 term lambda/2 |W|^2, 0 or more.")
]
FirstWeights = Annotated[
    str,
    typer.Option(
        metavar="NAME|NUMBER",
        help="First weights: xavier, he, normal, zeros, or a number for all of them; auto is he "
        "for layers like relu and xavier for others.",
    ),
]
Start = Annotated[
    Path | None,
    typer.Option(
        "--from",
        metavar="MODEL",
        help="Go on with a model's training for so many --epochs more, as one longer training "
        "would: with its network, and its settings where no others are given.",
    ),
]
Patience = Annotated[
    int | None,
    typer.Option(
        metavar="N",
        min=1,
        callback=countable,
        help="Stop after so many epochs in a row that did not lower the loss on the pictures of "
        "--test, and keep the network of the best epoch.",
    ),
]
Seconds = Annotated[
    float | None,
    typer.Option(metavar="S", help="Stop after so many seconds, if the epochs take longer."),
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


def parse_init(text: str) -> str | float | None:
    """Return the name or the number that `text` stands for; None is by the activations."""
    if text == "auto":
        return None
    if text in ("xavier", "he", "normal", "zeros"):
        return text
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not abs(value) <= _LARGEST_FLOAT32:  # the network's dtype
        raise typer.BadParameter(
            f"expected auto, xavier, he, normal, zeros or a finite number, got {text!r}",
            param_hint="--init",
        )
    return value


def parse_activation(text: str, hidden: int | None) -> Activations:
    """Return the activation, or that of each hidden layer, that `text` names between commas.

    ``hidden`` is the number of these layers, if it is known.
    """
    names = text.split(",")
    try:
        activation = check_activation(names[0] if len(names) == 1 else names)
    except ValueError:
        raise typer.BadParameter(
            f"expected {', '.join(ACTIVATIONS)}, or one for each hidden layer between commas, "
            f"got {text!r}",
            param_hint="--activation",
        ) from None
    if hidden is not None and len(names) not in (1, hidden):
        raise typer.BadParameter(
            f"expected one name, or one for each of {hidden} hidden layers, got {text!r}",
            param_hint="--activation",
        )
    return activation


def parse_dropout(text: str, hidden: int | None) -> float | tuple[float, ...]:
    """Return the share, or those of the input and each hidden layer, that `text` has.

    ``hidden`` is the number of these layers, if it is known.
    """
    try:
        shares = tuple(float(part) for part in text.split(","))
    except ValueError:
        shares = ()
    wanted = {len(shares)} if hidden is None else {1, hidden + 1}
    if not shares or not all(0 <= share < 1 for share in shares) or len(shares) not in wanted:
        layers = "each hidden layer" if hidden is None else f"each of {hidden} hidden layers"
        raise typer.BadParameter(
            f"expected a share from 0 to below 1, or shares of the input and of {layers} between "
            f"commas, got {text!r}",
            param_hint="--dropout",
        )
    return shares[0] if len(shares) == 1 else shares


def parse_loss(text: str | None) -> str | None:
    """Return `text`, if it is the name of a loss that tells classes apart, or None."""
    if text is not None and text not in LOSSES_OF_CLASSES:
        raise typer.BadParameter(
            f"expected {' or '.join(LOSSES_OF_CLASSES)}, got {text!r}", param_hint="--loss"
        )
    return text


def check_optimizer(name: str, momentum: float, *, nesterov: bool, alone: bool = True) -> None:
    """Raise BadParameter if there is no such optimizer, or it has no momentum.

    Unless these options are `alone`, as a model's training decides too, they need not fit together.
    """
    if name not in RATES:
        raise typer.BadParameter(
            f"expected {', '.join(RATES)}, got {name!r}", param_hint="--optimizer"
        )
    if not 0 <= momentum < 1:
        raise typer.BadParameter(
            f"expected a share from 0 to below 1, got {momentum}", param_hint="--momentum"
        )
    if not alone:
        return
    if name != "sgd" and (momentum > 0 or nesterov):
        option = "--momentum" if momentum > 0 else "--nesterov"
        raise typer.BadParameter(f"{option} is for --optimizer sgd, not {name}")
    if nesterov and momentum == 0:
        raise typer.BadParameter("--nesterov needs a --momentum above 0")


def check_decay(optimizer: str, momentum: float, rate: float, weight_decay: float) -> None:
    """Raise BadParameter if a step would turn the weights around, where it multiplies them."""
    multiplies = optimizer == "adamw" or (optimizer == "sgd" and momentum == 0)
    if multiplies and rate * weight_decay >= 1:
        raise typer.BadParameter(
            f"--learning-rate times --weight-decay must be less than 1, got {rate} * {weight_decay}"
        )


def check_rate(option: str, value: float, *, zero: bool) -> None:
    """Raise BadParameter if `value` is not finite, or not above 0 (or at least 0, if `zero`)."""
    if not (0 < value < math.inf or (zero and value == 0)):
        kind = "a finite number, 0 or more" if zero else "a finite number above 0"
        raise typer.BadParameter(f"expected {kind}, got {value}", param_hint=option)
