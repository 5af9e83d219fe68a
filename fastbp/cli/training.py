"""`fastbp train`, and the training loop that `fastbp demo` shares with it."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from fastbp.cli.console import UserError, compiling, progress_bar, say, shown, working
from fastbp.cli.pictures import (
    COMPILED_FOR,
    PICTURE_SIZE,
    PictureModel,
    Pictures,
    as_user_errors,
    load_pictures,
    output_count,
)
from fastbp.cli.plan import TrainingPlan, resume
from fastbp.cli.signals import postponed
from fastbp.cli.targets import check_targets, write_file
from fastbp.report import Run, save_report

if TYPE_CHECKING:
    from fastbp import History, Network

__all__ = ["compile_training", "run_training", "train_network", "write_plot"]

# About so many lines tell of a training at most, whatever its epochs.
_LINES = 20


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


def make_network(plan: TrainingPlan, pictures: Pictures) -> Network:
    """Make a network for pictures: it sees (pixel - mean of that pixel over them) / 255.

    Raises
    ------
    UserError
        If the plan's loss does not tell so many classes apart.
    """
    import fastbp

    classes = len(pictures.class_names)
    loss = plan.loss or ("log_loss" if classes == 2 else "cross_entropy")
    outputs = output_count(loss, classes)
    if outputs is None:
        raise UserError(
            f"--loss {loss} tells 2 classes apart, and there are {classes} "
            f"({', '.join(pictures.class_names)}): --loss cross_entropy would fit"
        )
    return fastbp.Network(
        (pictures.X.shape[1], *plan.hidden, outputs),
        activation=plan.activation,
        loss=loss,
        init=plan.init,
        seed=plan.seed,
        input_mean=pictures.X.mean(axis=0).astype(np.float32),
        input_scale=1 / 255,
    )


def train_network(
    plan: TrainingPlan,
    pictures: Pictures,
    test: Pictures | None,
    *,
    title: str = "training",
    start: PictureModel | None = None,
) -> TrainedNetwork:
    """Train a network on pictures, with a line for each epoch and a bar.

    It is that of `start`, or a new one, see `make_network`.

    Raises
    ------
    UserError
        If the training diverges, or a setting or the network of `start` is not possible.
    """
    import fastbp

    network = make_network(plan, pictures) if start is None else start.network
    say(f"{title} {_described(network)}, {plan.optimizer}")
    settings = plan.settings()
    settings["validation_data"] = None if test is None else (test.X, test.y)
    compile_training(network, pictures, test, settings)
    state = network.training_state
    begun = 0 if state is None else state.epochs
    if start is not None:
        say(f"going on after epoch {begun}" if begun else "beginning anew with the model's weights")
    lines = EpochLines(plan.epochs)
    with progress_bar(title) as update:
        try:
            history = network.fit(
                pictures.X, pictures.y, **settings, callbacks=(lines,), progress=update
            )
        except KeyboardInterrupt:
            # fit leaves the network as it was after its last whole step: worth keeping.
            return TrainedNetwork(network, None, lines.completed)
        except fastbp.DivergenceError as error:
            raise UserError(
                f"training diverged in epoch {error.epoch}, step {error.step}: "
                f"use a smaller --learning-rate than {plan.rate}; nothing was saved"
            ) from error
        except ValueError as error:  # an output for a test picture is NaN
            raise UserError(f"{error}; nothing was saved") from error
    return TrainedNetwork(network, history, history.epochs)


def compile_training(
    network: Network, pictures: Pictures, test: Pictures | None, settings: dict[str, Any]
) -> None:
    """Have all kernels ready that a training needs, and say so where that takes time.

    Raises
    ------
    UserError
        If a setting is not possible, or an output NaN.
    """
    try:
        with compiling(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the training itself will say what there is to say
            network.fit(pictures.X, pictures.y, **{**settings, "epochs": 0})
        for part in (pictures, test):
            if part is not None:
                with compiling():
                    network.predict(part.X[:COMPILED_FOR])
    except (TypeError, ValueError) as error:
        raise UserError(str(error)) from error


def run_training(
    folder: Path,
    test_folder: Path | None,
    plan: TrainingPlan,
    *,
    out: Path,
    plot: Path | None,
    max_pixels: int | None = None,
    start: Path | None = None,
    given: AbstractSet[str] = frozenset(),
) -> None:
    """Train on a folder of pictures, say how well the network does, and save it.

    `start` is the model to go on with, if any, and `given` what the user has asked for, see
    `resume`.

    Raises
    ------
    UserError
        If a folder or `start` cannot be read or used, if `out` or `plot` cannot be written, or if
        the training diverges.
    """
    check_targets(out, plot)
    model = None
    if start is not None:
        model, plan = resume(start, plan, given)
    size = PICTURE_SIZE if model is None else model.size
    pictures = load_pictures(folder, size=size, max_pixels=max_pixels)
    test = None
    if test_folder is not None:
        test = load_pictures(test_folder, size=size, max_pixels=max_pixels)
    if test is not None and test.class_names != pictures.class_names:
        raise UserError(
            f"{test_folder} has the classes {', '.join(test.class_names)}, "
            f"but {folder} has {', '.join(pictures.class_names)}"
        )
    say(_describe(folder, pictures))
    for label, name in enumerate(pictures.class_names):
        if not np.any(pictures.y == label):
            raise UserError(f"{folder / name} holds no pictures: there must be some of each class")
    if model is not None and start is not None:
        pictures = model.in_its_order(pictures, folder, start)
        test = None if test is None else model.in_its_order(test, folder, start)
    trained = train_network(plan, pictures, test, start=model)
    labels = None if model is None else model.labels
    model = PictureModel(trained.network, pictures.class_names, size, labels)
    with postponed():
        model.save(out)
    say(_describe_result(trained, pictures, test, out))
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
    counts = np.bincount(pictures.y, minlength=len(pictures.class_names))
    classes = ", ".join(
        f"{count} {name}" for count, name in zip(counts, pictures.class_names, strict=True)
    )
    return f"{folder}: {len(pictures.y)} pictures ({classes})"


def _described(network: Network) -> str:
    shape = "-".join(map(str, network.layer_sizes))
    activation = network.activation
    names = activation if isinstance(activation, str) else "-".join(activation)
    return (
        f"{shape}: {network.parameter_count:,} parameters, {names or 'no hidden layer'}, "
        f"{network.loss_function}"
    )


def _describe_result(
    trained: TrainedNetwork, pictures: Pictures, test: Pictures | None, out: Path
) -> str:
    text = f"after {trained.completed_epochs} epochs"
    history = trained.history
    if history is not None and history.stopped_by == "max_seconds":
        text += ", as --seconds are over"
    if history is not None and history.best_epoch not in (None, history.epochs):
        text += f", back to epoch {history.best_epoch}"
    for name, part in (("train", pictures), ("test", test)):
        if part is not None:
            with as_user_errors(out):
                text += f"  {name} accuracy {trained.network.score(part.X, part.y):.4f}"
    return text
