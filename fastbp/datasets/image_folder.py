"""Pictures from files: `load_image`, and `load_image_folder` for one subfolder a class."""

from __future__ import annotations

import os
import unicodedata
import warnings
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

from fastbp.datasets.common import check_size, worker_count
from fastbp.datasets.decoding import check_max_pixels, decode, opened
from fastbp.files import AnyPath

__all__ = ["load_image", "load_image_folder"]

Pixels = npt.NDArray[np.uint8]

# What systems and archives leave in folders of pictures, beside names that begin with a dot.
_CLUTTER = frozenset(
    {
        "thumbs.db",
        "ehthumbs.db",
        "ehthumbs_vista.db",
        "desktop.ini",
        "icon\r",
        "__macosx",
        "@eadir",
        "#recycle",
        "$recycle.bin",
        "system volume information",
        "lost+found",
    }
)


def load_image_folder(
    path: AnyPath,
    *,
    size: tuple[int, int] = (64, 64),
    on_error: str = "raise",
    max_pixels: int | None = None,
) -> tuple[Pixels, npt.NDArray[np.int64], list[str]]:
    """Load a folder that holds one subfolder of pictures for each class.

    Every file right inside a subfolder must be a picture in a format that Pillow reads. Files
    beside the subfolders, folders inside them, names that begin with a dot, and what systems and
    archives leave behind (Thumbs.db, desktop.ini, __MACOSX, ...) are ignored.

    Parameters
    ----------
    path : path-like
        The folder.
    size : (int, int), default (64, 64)
        Height and width, in pixels, that pictures are resized to; see `load_image`.
    on_error : {"raise", "skip"}, default "raise"
        What to do about a file that is no picture, damaged or too large: raise, or leave it out and
        warn once, with the number of such files.
    max_pixels : int, optional
        The most pixels that a picture may have; see `load_image`.

    Returns
    -------
    X : ndarray of uint8, shape (n, 3 * height * width), C-contiguous
        One picture a row: row by row, pixel by pixel, red, green, blue. Classes follow each other
        sorted by name, and so do the files of each class (by code points of the composed form,
        NFC, whatever the locale).
    y : ndarray of int64, shape (n,)
        Indices into ``class_names``.
    class_names : list of str
        The names of the subfolders, sorted; also of those that hold no picture. They are in
        Unicode's composed form (NFC), so that a folder copied from a Mac, which may spell names
        decomposed, has the same classes.

    Raises
    ------
    ImportError
        If Pillow is not installed.
    FileNotFoundError, NotADirectoryError
        If ``path`` does not exist, or is not a folder.
    TypeError
        If ``size`` is not a pair of integers, or ``max_pixels`` not an integer.
    ValueError
        If there are no subfolders or no pictures, if two subfolders spell the same name, if a file
        cannot be read (and ``on_error`` is "raise"; the message names the file), or if ``size``,
        ``on_error`` or ``max_pixels`` is not valid.

    Warns
    -----
    UserWarning
        If files were left out.

    Notes
    -----
    Labels are plain indices of sorted names, as in `sklearn.datasets.load_files`. Of two folders
    "ball" and "no_ball" the first is class 0 and the second class 1, while `make_soccer_balls`
    calls a ball 1: a network trained on such folders gives the probability of the *last* name.
    """
    height, width = check_size(size)
    check_max_pixels(max_pixels)
    if on_error not in ("raise", "skip"):
        raise ValueError(f'on_error must be "raise" or "skip", got {on_error!r}')
    _import_pillow("load_image_folder")
    class_names, files, labels = _list_pictures(Path(os.fsdecode(path)))
    X = np.empty((len(files), 3 * height * width), dtype=np.uint8)

    def load(index: int) -> OSError | ValueError | None:
        try:
            X[index] = load_image(files[index], size=(height, width), max_pixels=max_pixels)
        except (OSError, ValueError) as error:
            return error
        return None

    failed: dict[int, OSError | ValueError] = {}
    # Pillow decodes without the GIL. The results come in the order of the files, so that of many
    # unreadable files it is always the first that is named.
    with ThreadPoolExecutor(worker_count()) as pool:
        for index, error in enumerate(pool.map(load, range(len(files)))):
            if error is None:
                continue
            if on_error == "raise":
                pool.shutdown(wait=False, cancel_futures=True)
                raise _naming(files[index], error)
            failed[index] = error
    if failed:
        X, labels = _without(X, labels, failed, files)
    return X, labels, class_names


def load_image(
    path: AnyPath | BinaryIO,
    size: tuple[int, int] = (64, 64),
    *,
    max_pixels: int | None = None,
) -> Pixels:
    """Load one picture as a row of pixels.

    The picture is turned upright if its EXIF data say so, converted to RGB and resized, without
    keeping its proportions, by Pillow's BILINEAR filter: linear interpolation where it enlarges,
    a weighted mean of all the pixels under the new one where it shrinks. A picture that has the
    size already keeps its pixels. Transparent parts are shown on white; values of 16 bits are
    scaled to 8; of an animation the first picture is taken.

    Parameters
    ----------
    path : path-like or binary file object
        The file, in any format that Pillow reads. A file object is read from its start, where it
        can seek.
    size : (int, int), default (64, 64)
        Height and width in pixels.
    max_pixels : int, optional
        The most pixels that the picture may have: a small file may hold a picture too large for
        the memory. By default where Pillow draws the line: twice ``PIL.Image.MAX_IMAGE_PIXELS``,
        178,956,970 pixels unless the program has set another. Some formats keep to Pillow's line
        even if a higher one is given.

    Returns
    -------
    ndarray of uint8, shape (3 * height * width,)
        Row by row, pixel by pixel, red, green, blue.

    Raises
    ------
    ImportError
        If Pillow is not installed.
    OSError
        If the file cannot be opened, as `open` raises it (FileNotFoundError, PermissionError, ...),
        or is not a regular file (a FIFO, a device, a socket).
    TypeError
        If ``path`` is neither, ``size`` is not a pair of integers, or ``max_pixels`` no integer.
    ValueError
        If the file is not a picture that Pillow reads, is damaged, or has more than ``max_pixels``
        (the message names the file); or if a ``size`` or ``max_pixels`` is not positive. EXIF data
        that cannot be read are no damage: the picture is taken as it lies.
    """
    height, width = check_size(size)
    limit = check_max_pixels(max_pixels)
    _import_pillow("load_image")
    from PIL import Image

    with opened(path) as (file, name):
        rgb = decode(file, name, max(height, width), limit)
    if rgb.size != (width, height):
        rgb = rgb.resize((width, height), Image.Resampling.BILINEAR)
    return np.asarray(rgb, dtype=np.uint8).reshape(-1)


def _import_pillow(function: str) -> None:
    try:
        import PIL.Image  # noqa: F401
    except ImportError as error:
        raise ImportError(
            f"fastbp.datasets.{function} needs Pillow: pip install 'fastbp[cli]'"
        ) from error


def _list_pictures(folder: Path) -> tuple[list[str], list[Path], npt.NDArray[np.int64]]:
    """Return the class names, and the files of all classes with their labels, in order."""
    # iterdir raises FileNotFoundError and NotADirectoryError that name the folder.
    classes = _visible(folder, folders=True)
    if not classes:
        raise ValueError(f"{folder} has no subfolders: it must hold one for each class")
    names = [_composed_name(entry) for entry in classes]
    for name, following in pairwise(names):
        if name == following:
            raise ValueError(
                f"{folder} has two subfolders named {name}, one composed and one decomposed "
                "Unicode: merge them"
            )
    files: list[Path] = []
    labels: list[int] = []
    for label, subfolder in enumerate(classes):
        members = _visible(subfolder, folders=False)
        files += members
        labels += [label] * len(members)
    if not files:
        raise ValueError(f"{folder} has no pictures in its {len(classes)} subfolders")
    return names, files, np.array(labels, dtype=np.int64)


def _composed_name(entry: Path) -> str:
    return unicodedata.normalize("NFC", entry.name)


def _visible(folder: Path, *, folders: bool) -> list[Path]:
    entries = [
        entry
        for entry in folder.iterdir()
        if not entry.name.startswith(".")
        and entry.name.lower() not in _CLUTTER
        and entry.is_dir() == folders
    ]
    return sorted(entries, key=lambda entry: (_composed_name(entry), entry.name))


def _naming(file: Path, error: OSError | ValueError) -> ValueError:
    """Return the ValueError for a file of a folder; what `load_image` raises names it already."""
    if isinstance(error, ValueError):
        return error
    named = ValueError(f"{file} cannot be read: {error}")
    named.__cause__ = error
    return named


def _without(
    X: Pixels,
    labels: npt.NDArray[np.int64],
    failed: dict[int, OSError | ValueError],
    files: list[Path],
) -> tuple[Pixels, npt.NDArray[np.int64]]:
    """Leave out the failed rows, in place: a copy could double the memory of a large data set."""
    first = min(failed)
    if len(failed) == len(files):
        raise ValueError(
            f"none of the {len(files)} files can be read as a picture; the first: {failed[first]}"
        ) from failed[first]
    kept = np.delete(np.arange(len(files)), list(failed))
    for target, source in enumerate(kept):
        if target != source:
            X[target] = X[source]
    warnings.warn(
        f"{len(failed)} of {len(files)} files cannot be read as pictures and were left out; "
        f"the first: {failed[first]}",
        UserWarning,
        stacklevel=3,
    )
    return X[: len(kept)], labels[kept]
