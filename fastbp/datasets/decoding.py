"""Pictures as Pillow decodes them: upright, in RGB, of whatever mode the file is."""

from __future__ import annotations

import io
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from fastbp.datasets.common import check_integer
from fastbp.files import open_file

__all__ = ["PictureTooLargeError", "check_max_pixels", "decode", "opened"]

_ORIENTATION = 0x0112  # EXIF's tag
# What Pillow raises for odd EXIF data: the list of its own JPEG reader.
_UNREADABLE_EXIF = (
    struct.error,
    KeyError,
    SyntaxError,
    TypeError,
    ValueError,
    ZeroDivisionError,
)


class PictureTooLargeError(ValueError):
    """A picture has more pixels than are allowed; nothing is known to be wrong with it."""


def check_max_pixels(max_pixels: Any) -> int | None:
    """Return ``max_pixels`` as a positive int or None, or raise TypeError or ValueError."""
    if max_pixels is None:
        return None
    limit = check_integer("max_pixels", max_pixels)
    if limit < 1:
        raise ValueError(f"max_pixels must be positive, got {max_pixels!r}")
    return limit


@contextmanager
def opened(source: Any) -> Iterator[tuple[BinaryIO, str]]:
    """Open a path, or take a binary file object from its start; yield it and what to call it.

    Raises
    ------
    OSError
        If the file cannot be opened, or is none: to read a FIFO or a device may take for ever.
    TypeError
        If ``source`` is neither, or a file opened in text mode.
    """
    if not hasattr(source, "read"):
        with open_file(source) as file:
            yield file, os.fsdecode(source)
        return
    if hasattr(source, "seekable") and source.seekable():
        source.seek(0)
    content = source.read()
    if not isinstance(content, bytes):
        raise TypeError(
            "a picture must be a path or a file opened in binary mode, "
            f"got a file that holds {type(content).__name__}"
        )
    label = getattr(source, "name", None)  # a number, where the file has no path
    yield io.BytesIO(content), label if isinstance(label, str) else "the file object"


def decode(file: BinaryIO, name: str, longest: int, max_pixels: int | None) -> Any:
    """Decode a picture.

    Parameters
    ----------
    file : binary file object
        It can seek, and stands at its start.
    name : str
        What messages call it.
    longest : int
        The longer side that is wanted: a JPEG much larger is decoded at a fraction of its size.
    max_pixels : int or None
        Most pixels of a picture; None is Pillow's own limit.

    Returns
    -------
    PIL.Image.Image
        In mode RGB.

    Raises
    ------
    PictureTooLargeError
        If it has more pixels.
    ValueError
        If the file is no picture, or is damaged.
    """
    from PIL import Image, UnidentifiedImageError

    # Decoders meet damaged files with exceptions of many kinds: SyntaxError, EOFError,
    # struct.error, ... A lack of memory is no fault of the file.
    try:
        with _identify(file) as image:
            _check_pixels(name, image.size, max_pixels)
            # Decoded at a half, quarter or eighth. EXIF may swap the sides, so both are asked to
            # be twice the longer one.
            image.draft(None, (2 * longest,) * 2)
            image.load()
            return _to_rgb(_upright(image))
    except (MemoryError, PictureTooLargeError):
        raise
    except UnidentifiedImageError as error:
        raise ValueError(f"{name} is not a picture in a format that Pillow reads") from error
    except Image.DecompressionBombError as error:
        # Some formats hold sizes that Pillow checks on its own.
        raise PictureTooLargeError(f"{name} is too large: {error}") from error
    except Exception as error:
        raise ValueError(f"{name} is damaged: {error}") from error


def _identify(file: BinaryIO) -> Any:
    """Open as `PIL.Image.open` does, but without its limit, which only a global could change."""
    from PIL import Image, UnidentifiedImageError

    prefix = file.read(16)
    tried: set[str] = set()
    for register in (Image.preinit, Image.init):  # the usual formats, then all of them
        register()
        for name in [name for name in Image.ID if name not in tried]:
            tried.add(name)
            factory, accepts = Image.OPEN[name]
            try:
                answer = accepts is None or accepts(prefix)
                # A str says why this Pillow cannot read the format.
                if answer and not isinstance(answer, str):
                    file.seek(0)
                    return factory(file, "")
            except (SyntaxError, IndexError, TypeError, struct.error):
                continue  # not of this format after all
    raise UnidentifiedImageError("no format accepts the file")


def _check_pixels(name: str, size: tuple[int, int], max_pixels: int | None) -> None:
    from PIL import Image

    limit = max_pixels
    if limit is None and Image.MAX_IMAGE_PIXELS is not None:
        limit = 2 * Image.MAX_IMAGE_PIXELS  # where Pillow's warning becomes an error
    pixels = size[0] * size[1]
    if limit is not None and pixels > limit:
        raise PictureTooLargeError(
            f"{name} is too large: it has {size[0]} x {size[1]} = {pixels:,} pixels, "
            f"but max_pixels is {limit:,}"
        )


def _upright(image: Any) -> Any:
    """Turn a loaded image as the orientation in its EXIF data says, if it can be read.

    `PIL.ImageOps.exif_transpose` writes all EXIF data anew, which fails where any are odd.
    """
    from PIL.Image import Transpose

    try:
        orientation = image.getexif().get(_ORIENTATION)
    except _UNREADABLE_EXIF:
        return image
    method = {
        2: Transpose.FLIP_LEFT_RIGHT,
        3: Transpose.ROTATE_180,
        4: Transpose.FLIP_TOP_BOTTOM,
        5: Transpose.TRANSPOSE,
        6: Transpose.ROTATE_270,
        7: Transpose.TRANSVERSE,
        8: Transpose.ROTATE_90,
    }.get(orientation)
    return image if method is None else image.transpose(method)


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


def _to_8_bits(values: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
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
