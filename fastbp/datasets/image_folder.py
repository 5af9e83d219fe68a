"""Pictures from files: `load_image`, and `load_image_folder` for one subfolder a class."""

from __future__ import annotations

import os
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from fastbp.datasets.common import check_size, worker_count

__all__ = ["load_image", "load_image_folder"]

Pixels = npt.NDArray[np.uint8]


def load_image_folder(
    path: str | os.PathLike[str], *, size: tuple[int, int] = (64, 64), on_error: str = "raise"
) -> tuple[Pixels, npt.NDArray[np.int64], list[str]]:
    """Load a folder that holds one subfolder of pictures for each class.

    Every file right inside a subfolder must be a picture in a format that Pillow reads. Files
    beside the subfolders, folders inside them, and names that begin with a dot are ignored.

    Parameters
    ----------
    path : path-like
        The folder.
    size : (int, int), default (64, 64)
        Height and width, in pixels, that pictures are resized to; see `load_image`.
    on_error : {"raise", "skip"}, default "raise"
        What to do about a file that cannot be read as a picture: raise, or leave it out and
        warn once, with the number of such files.

    Returns
    -------
    X : ndarray of uint8, shape (n, 3 * height * width), C-contiguous
        One picture a row: row by row, pixel by pixel, red, green, blue. Classes follow each other
        sorted by name, and so do the files of each class (by code points, whatever the locale).
    y : ndarray of int64, shape (n,)
        Indices into ``class_names``.
    class_names : list of str
        The names of the subfolders, sorted; also of those that hold no picture.

    Raises
    ------
    ImportError
        If Pillow is not installed.
    FileNotFoundError, NotADirectoryError
        If ``path`` does not exist, or is not a folder.
    TypeError
        If ``size`` is not a pair of integers.
    ValueError
        If there are no subfolders or no pictures, if a file cannot be read (and ``on_error`` is
        "raise"; the message names the file), or if ``size`` or ``on_error`` is not valid.

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
    if on_error not in ("raise", "skip"):
        raise ValueError(f'on_error must be "raise" or "skip", got {on_error!r}')
    _import_pillow("load_image_folder")
    class_names, files, labels = _list_pictures(Path(path))
    X = np.empty((len(files), 3 * height * width), dtype=np.uint8)

    def load(index: int) -> OSError | ValueError | None:
        try:
            X[index] = load_image(files[index], size=(height, width))
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


def load_image(path: str | os.PathLike[str], size: tuple[int, int] = (64, 64)) -> Pixels:
    """Load one picture as a row of pixels.

    The picture is turned upright if its EXIF data say so, converted to RGB and resized, without
    keeping its proportions, by Pillow's BILINEAR filter: linear interpolation where it enlarges,
    a weighted mean of all the pixels under the new one where it shrinks. A picture that has the
    size already keeps its pixels. Transparent parts are shown on white; values of 16 bits are
    scaled to 8; of an animation the first picture is taken.

    Parameters
    ----------
    path : path-like
        The file, in any format that Pillow reads.
    size : (int, int), default (64, 64)
        Height and width in pixels.

    Returns
    -------
    ndarray of uint8, shape (3 * height * width,)
        Row by row, pixel by pixel, red, green, blue.

    Raises
    ------
    ImportError
        If Pillow is not installed.
    OSError
        If the file cannot be opened, as `open` raises it: FileNotFoundError, PermissionError, ...
    TypeError
        If ``size`` is not a pair of integers.
    ValueError
        If the file is not a picture that Pillow reads, or is damaged (the message names the
        file); or if a ``size`` is not positive.
    """
    height, width = check_size(size)
    _import_pillow("load_image")
    from PIL import Image, ImageOps, UnidentifiedImageError

    with open(path, "rb") as file:
        # Decoders meet damaged files with exceptions of many kinds: SyntaxError, EOFError,
        # struct.error, DecompressionBombError, ... A lack of memory is no fault of the file.
        try:
            with Image.open(file) as opened:
                # A JPEG much larger than needed is decoded at a half, quarter or eighth. EXIF may
                # swap the sides, so both are asked to be twice the longer one.
                opened.draft(None, (2 * max(height, width),) * 2)
                upright = ImageOps.exif_transpose(opened)
                rgb = _to_rgb(upright)
        except MemoryError:
            raise
        except UnidentifiedImageError as error:
            name = os.fspath(path)
            raise ValueError(f"{name} is not a picture in a format that Pillow reads") from error
        except Exception as error:
            raise ValueError(f"{os.fspath(path)} is damaged: {error}") from error
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


def _to_rgb(image: Any) -> Any:
    """Convert a Pillow image of any mode to RGB, by what its pixels look like."""
    from PIL import Image

    if image.mode == "F" or image.mode.startswith("I"):
        return Image.fromarray(_to_8_bits(np.asarray(image))).convert("RGB")
    if image.has_transparency_data:
        # Merely dropping alpha would show what the file hides under transparent pixels.
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image)
    return image.convert("RGB")


def _to_8_bits(values: npt.NDArray[Any]) -> Pixels:
    """Scale grey values to 0..255, where Pillow would clip them.

    Integers are of 16 bits, also where the file or Pillow keeps them in 32, unless none is
    above 255. Floating-point values are from 0 to 1, unless one is above 1: then from 0 to 255.
    """
    levels = values.astype(np.float64)
    if values.dtype.kind == "f":
        scale = 255.0 if levels.max(initial=0.0) <= 1.0 else 1.0
    else:
        short = values.dtype.itemsize == 2 or levels.max(initial=0.0) > 255
        scale = 255.0 / 65535.0 if short else 1.0
    return np.rint(np.clip(np.nan_to_num(levels) * scale, 0, 255)).astype(np.uint8)


def _list_pictures(folder: Path) -> tuple[list[str], list[Path], npt.NDArray[np.int64]]:
    """Return the class names, and the files of all classes with their labels, in order."""
    # iterdir raises FileNotFoundError and NotADirectoryError that name the folder.
    classes = sorted(_visible(folder, folders=True), key=lambda entry: entry.name)
    if not classes:
        raise ValueError(f"{folder} has no subfolders: it must hold one for each class")
    files: list[Path] = []
    labels: list[int] = []
    for label, subfolder in enumerate(classes):
        members = sorted(_visible(subfolder, folders=False), key=lambda entry: entry.name)
        files += members
        labels += [label] * len(members)
    if not files:
        raise ValueError(f"{folder} has no pictures in its {len(classes)} subfolders")
    return [entry.name for entry in classes], files, np.array(labels, dtype=np.int64)


def _visible(folder: Path, *, folders: bool) -> list[Path]:
    return [
        entry
        for entry in folder.iterdir()
        if not entry.name.startswith(".") and entry.is_dir() == folders
    ]


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
