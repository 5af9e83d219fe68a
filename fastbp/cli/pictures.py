"""What the commands read: folders of pictures, single pictures and models."""

from __future__ import annotations

import math
import os
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastbp.cli.console import UserError, working

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from fastbp import Network

__all__ = [
    "COMPILED_FOR",
    "LOSSES_OF_CLASSES",
    "PICTURE_SIZE",
    "PictureModel",
    "Pictures",
    "UnreadableError",
    "as_user_errors",
    "load_model",
    "load_picture",
    "load_pictures",
    "output_count",
]

PICTURE_SIZE = (64, 64)
COMPILED_FOR = 1024
"""Pictures that are evaluated in the way that any more of them are."""
LOSSES_OF_CLASSES = ("log_loss", "cross_entropy")
"""Those of which each picture has one class."""


class UnreadableError(UserError):
    """A file cannot be read, or is not what it should be."""


@dataclass(frozen=True)
class Pictures:
    """A labelled set of pictures.

    Attributes
    ----------
    X : ndarray of uint8, shape (n, height * width * 3)
        One picture a row.
    y : ndarray of int, shape (n,)
        Indices into `class_names`.
    class_names : list of str
        Names of the subfolders, sorted.
    """

    X: NDArray[np.uint8]
    y: NDArray[np.integer[Any]]
    class_names: list[str]


@dataclass(frozen=True)
class PictureModel:
    """A network with what it needs to be told about pictures and to name their classes.

    Attributes
    ----------
    network : Network
        Its labels are the numbers of the classes here.
    class_names : list of str
        In the order of the outputs; of one output the second is what it is 1 for.
    size : (int, int)
        Height and width of a picture.
    labels : ndarray or None
        The network's own labels in its file.
    """

    network: Network
    class_names: list[str]
    size: tuple[int, int]
    labels: NDArray[Any] | None = None

    def save(self, path: Path) -> None:
        """Save the network, its training state too, with classes and picture size as metadata."""
        network = self.network
        network.metadata = {
            **network.metadata,
            "class_names": self.class_names,
            "picture_size": list(self.size),
        }
        network.classes_ = self.labels
        try:
            network.save(path, training_state=True)
        except OSError as error:
            raise UserError(f"cannot write {path}: {error.strerror or error}") from error
        finally:
            network.classes_ = None

    def in_its_order(self, pictures: Pictures, folder: Path, path: Path) -> Pictures:
        """The pictures of a folder, with the labels of this model, which was read from `path`.

        The folder's labels count its sorted names; a model's may count in another order.

        Raises
        ------
        UserError
            If the classes are others.
        """
        if sorted(pictures.class_names) != sorted(self.class_names):
            raise UserError(
                f"{folder} has the classes {', '.join(pictures.class_names)}, "
                f"but {path} was trained on {', '.join(self.class_names)}"
            )
        import numpy as np

        numbers = np.array([self.class_names.index(name) for name in pictures.class_names])
        return Pictures(pictures.X, numbers[pictures.y], self.class_names)


def output_count(loss: str, classes: int) -> int | None:
    """How many outputs tell so many classes apart; None if a loss cannot."""
    if loss == "cross_entropy":
        return classes
    return 1 if loss == "log_loss" and classes == 2 else None


def load_pictures(
    folder: Path, *, size: tuple[int, int] = PICTURE_SIZE, max_pixels: int | None = None
) -> Pictures:
    """Read a folder that has one subfolder for each of two classes or more.

    Raises
    ------
    UserError
        If the folder or one of its pictures cannot be read, or there is one class only.
    """
    from fastbp.datasets import load_image_folder

    with working(f"reading {folder}"), as_user_errors(folder):
        X, y, class_names = load_image_folder(folder, size=size, max_pixels=max_pixels)
    if len(class_names) < 2:
        raise UserError(
            f"{folder} has one class folder only ({', '.join(class_names)}): "
            "there must be two or more to tell apart"
        )
    return Pictures(X, y, list(class_names))


def load_picture(
    path: Path, *, size: tuple[int, int], max_pixels: int | None = None
) -> NDArray[np.uint8]:
    """Read one picture as a row of pixels.

    Raises
    ------
    UnreadableError
        If it cannot be read.
    UserError
        If no picture can, for want of Pillow.
    """
    from fastbp.datasets import load_image

    with as_user_errors(path):
        return load_image(path, size=size, max_pixels=max_pixels)


def load_model(path: Path) -> PictureModel:
    """Read a model that `fastbp train` wrote.

    Raises
    ------
    UserError
        If the file cannot be read, is no model, or does not say which pictures it was trained on.
    """
    import fastbp

    with as_user_errors(path):
        network = fastbp.load(path)
    # In files of format version 1 they are among the training settings.
    settings = {**network.training_settings, **network.metadata}
    try:
        # As `load_image_folder` spells the names of folders.
        class_names = [unicodedata.normalize("NFC", str(name)) for name in settings["class_names"]]
        height, width = (int(side) for side in settings["picture_size"])
    except (KeyError, OverflowError, TypeError, ValueError) as error:
        raise UserError(
            f"{path} holds a network, but not the class names and picture size "
            "that 'fastbp train' saves with it"
        ) from error
    labels, network.classes_ = network.classes_, None
    if labels is not None and labels.dtype.kind == "U":  # `fit` has learned them since
        class_names = [str(label) for label in labels]
    inputs, classes = math.prod((height, width, 3)), len(class_names)
    outputs = output_count(network.loss_function, classes)
    got = (network.layer_sizes[0], network.layer_sizes[-1])
    if got != (inputs, outputs) or len(set(class_names)) < max(classes, 2):
        needed = "are none that it tells apart" if outputs is None else f"need {outputs} outputs"
        raise UserError(
            f"{path} holds a network of {got[0]} inputs, {got[1]} outputs and "
            f"{network.loss_function}, but its pictures of {height}x{width} need {inputs} inputs, "
            f"and its {classes} class names {needed}"
        )
    return PictureModel(network, class_names, (height, width), labels)


@contextmanager
def as_user_errors(path: Path) -> Iterator[None]:
    """Turn what reading `path`, or computing with what it holds, raises into one line."""
    from fastbp.datasets.decoding import PictureTooLargeError

    try:
        yield
    except OSError as error:
        name = os.fsdecode(error.filename or path)
        raise UnreadableError(f"cannot read {name}: {error.strerror or error}") from error
    except PictureTooLargeError as error:
        raise UnreadableError(f"{error}; see --max-pixels") from error
    except ValueError as error:
        raise UnreadableError(str(error)) from error
    except ImportError as error:
        raise UserError(str(error)) from error
