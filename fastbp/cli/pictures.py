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
    "PICTURE_SIZE",
    "PictureModel",
    "Pictures",
    "UnreadableError",
    "load_model",
    "load_picture",
    "load_pictures",
]

PICTURE_SIZE = (64, 64)


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
    """A network with what it needs to be told about pictures and to name their classes."""

    network: Network
    class_names: list[str]
    size: tuple[int, int]

    def save(self, path: Path) -> None:
        """Save the network, with its classes and picture size in its metadata."""
        self.network.metadata = {
            **self.network.metadata,
            "class_names": self.class_names,
            "picture_size": list(self.size),
        }
        try:
            self.network.save(path)
        except OSError as error:
            raise UserError(f"cannot write {path}: {error.strerror or error}") from error


def load_pictures(
    folder: Path, *, size: tuple[int, int] = PICTURE_SIZE, max_pixels: int | None = None
) -> Pictures:
    """Read a folder that has one subfolder for each of two classes.

    Raises
    ------
    UserError
        If the folder or one of its pictures cannot be read, or there are not exactly two classes.
    """
    from fastbp.datasets import load_image_folder

    with working(f"reading {folder}"), _as_user_errors(folder):
        X, y, class_names = load_image_folder(folder, size=size, max_pixels=max_pixels)
    if len(class_names) != 2:
        raise UserError(
            f"{folder} has {len(class_names)} class folders ({', '.join(class_names)}), "
            "but a network with one output tells exactly 2 classes apart"
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

    with _as_user_errors(path):
        return load_image(path, size=size, max_pixels=max_pixels)


def load_model(path: Path) -> PictureModel:
    """Read a model that `fastbp train` wrote.

    Raises
    ------
    UserError
        If the file cannot be read, is no model, or does not say which pictures it was trained on.
    """
    import fastbp

    with _as_user_errors(path):
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
    expected = (math.prod((height, width, 3)), 1)
    got = (network.layer_sizes[0], network.layer_sizes[-1])
    if got != expected or len(class_names) != 2:
        raise UserError(
            f"{path} holds a network of {got[0]} inputs and {got[1]} outputs with "
            f"{len(class_names)} class names, but its pictures of {height}x{width} need "
            f"{expected[0]} inputs, 1 output and 2 names"
        )
    return PictureModel(network, class_names, (height, width))


@contextmanager
def _as_user_errors(path: Path) -> Iterator[None]:
    """Turn what reading `path` raises into one line for the user."""
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
