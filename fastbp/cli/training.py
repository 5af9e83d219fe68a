"""`fastbp train`, and the training loop that `fastbp demo` shares with it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import numpy as np

from fastbp.cli.console import UserError, compiling, progress_bar, say, shown, working
from fastbp.cli.pictures import PICTURE_SIZE, PictureModel, Pictures, load_pictures
from fastbp.cli.signals import postponed
from fastbp.cli.targets import check_targets, write_file
from fastbp.report import Run, save_report

if TYPE_CHECKING:
    from fastbp import History, Network

__all__ = ["TrainingPlan", "run_training", "train_network", "write_plot"]

# About so many lines tell of a training at most, whatever its epochs.
_LINES = 20


@dataclass(frozen=True)
class TrainingPlan:
    """Everything that decides what is trained and how, but the pictures.

    The defaults are in the middle of a wide range that trains networks of both 3-2 and 64 hidden
    units well on photographs and on generated pictures.
    """

    hidden: tuple[int, ...] = (3, 2)
    batch_size: int = 32
    epochs: int = 60
    learning_rate: float = 0.1
    weight_decay: float = 0.003
    init: str | float = "xavier"
    seed: int = 0


class EpochLines:
    """A callback that prints lines on epochs, about `_LINES` of them, and stops at a NaN.

    Parameters
    ----------
    epochs : int
        How many epochs there will be.
    """

    def __init__(self, epochs: int) -> None:
        self.epochs = epochs
        self.every = -(-epochs // _LINES)  # not by floats: epochs may be any number
        self.completed = 0

    def on_epoch_end(self, epoch: int, network: Network, history: History) -> bool:
        """Print loss, accuracies and speed of the epoch."""
        self.completed = epoch
        if epoch == 1 or epoch % self.every == 0 or epoch == self.epochs:
            say(self._line(epoch, history))
        return False

    def _line(self, epoch: int, history: History) -> str:
        line = (
            f"epoch {epoch:{len(str(self.epochs))}}/{self.epochs}"
            f"  loss {history.loss[-1]:.4f}  accuracy {history.accuracy[-1]:.4f}"
        )
        if history.val_loss:
            line += (
                f"  test loss {history.val_loss[-1]:.4f}"
                f"  test accuracy {history.val_accuracy[-1]:.4f}"
            )
        return f"{line}  {history.samples_per_second[-1]:,.0f} pictures/s"


@dataclass(frozen=True)
class TrainedNetwork:
    """What a training leaves. There is no history if Ctrl-C, or a signal like it, ended it."""

    network: Network
    history: History | None
    completed_epochs: int


def train_network(
    plan: TrainingPlan, pictures: Pictures, test: Pictures | None, *, title: str = "training"
) -> TrainedNetwork:
    """Train a network on pictures, with a line for each epoch and a bar.

    The network sees (pixel - mean of that pixel over the training pictures) / 255.

    Raises
    ------
    UserError
        If the training diverges.
    """
    import fastbp

    network = fastbp.Network(
        (pictures.X.shape[1], *plan.hidden, 1),
        init=plan.init,
        seed=plan.seed,
        input_mean=pictures.X.mean(axis=0).astype(np.float32),
        input_scale=1 / 255,
    )
    shape = "-".join(map(str, network.layer_sizes))
    say(f"{title} {shape}: {network.parameter_count:,} parameters")
    with compiling():
        fastbp.warmup(
            network.dtype, "uint8", layer_sizes=network.layer_sizes, batch_size=plan.batch_size
        )
    lines = EpochLines(plan.epochs)
    with progress_bar(title) as update:
        try:
            history = network.fit(
                pictures.X,
                pictures.y,
                batch_size=plan.batch_size,
                epochs=plan.epochs,
                learning_rate=plan.learning_rate,
                weight_decay=plan.weight_decay,
                seed=plan.seed,
                validation_data=None if test is None else (test.X, test.y),
                callbacks=(lines,),
                progress=update,
            )
        except KeyboardInterrupt:
            # fit leaves the network as it was after its last whole step: worth keeping.
            return TrainedNetwork(network, None, lines.completed)
        except fastbp.DivergenceError as error:
            raise UserError(
                f"training diverged in epoch {error.epoch}, step {error.step}: "
                f"use a smaller --learning-rate than {plan.learning_rate}; nothing was saved"
            ) from error
    return TrainedNetwork(network, history, history.epochs)


def run_training(
    folder: Path,
    test_folder: Path | None,
    plan: TrainingPlan,
    *,
    out: Path,
    plot: Path | None,
    max_pixels: int | None = None,
) -> None:
    """Train on a folder of pictures, say how well the network does, and save it.

    Raises
    ------
    UserError
        If a folder cannot be read or its pictures used, if `out` or `plot` cannot be written, or
        if the training diverges.
    """
    check_targets(out, plot)
    pictures = load_pictures(folder, max_pixels=max_pixels)
    test = None if test_folder is None else load_pictures(test_folder, max_pixels=max_pixels)
    if test is not None and test.class_names != pictures.class_names:
        raise UserError(
            f"{test_folder} has the classes {', '.join(test.class_names)}, "
            f"but {folder} has {', '.join(pictures.class_names)}"
        )
    say(_describe(folder, pictures))
    for label, name in enumerate(pictures.class_names):
        if not np.any(pictures.y == label):
            raise UserError(f"{folder / name} holds no pictures: there must be some of each class")
    trained = train_network(plan, pictures, test)
    model = PictureModel(trained.network, pictures.class_names, PICTURE_SIZE)
    with postponed():
        model.save(out)
    say(_describe_result(trained, pictures, test))
    say(f"model: {out}")
    if trained.history is None:
        raise KeyboardInterrupt
    if plot is not None:
        write_plot(plot, [Run("", model.network, trained.history)], model, test or pictures)
        say(f"plot: {plot}")


def write_plot(path: Path, runs: Sequence[Run], model: PictureModel, pictures: Pictures) -> None:
    """Write the PNG of `fastbp.report` on some runs, with predictions of the model.

    Raises
    ------
    UserError
        If matplotlib is missing or the file cannot be written.
    """
    names = [shown(name) for name in model.class_names]

    def draw(file: BinaryIO) -> None:
        save_report(file, runs, pictures.X, pictures.y, class_names=names, size=model.size)

    try:
        with working(f"drawing {path}"):
            write_file(path, draw)
    except ImportError as error:
        raise UserError(str(error)) from error


def _describe(folder: Path, pictures: Pictures) -> str:
    counts = np.bincount(pictures.y, minlength=2)
    classes = ", ".join(
        f"{count} {name}" for count, name in zip(counts, pictures.class_names, strict=True)
    )
    return f"{folder}: {len(pictures.y)} pictures ({classes})"


def _describe_result(trained: TrainedNetwork, pictures: Pictures, test: Pictures | None) -> str:
    text = f"after {trained.completed_epochs} epochs"
    for name, part in (("train", pictures), ("test", test)):
        if part is not None:
            text += f"  {name} accuracy {trained.network.score(part.X, part.y):.4f}"
    return text
