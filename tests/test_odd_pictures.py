"""Pictures that decode although something about them is odd, and what only looks like one."""

from __future__ import annotations

import io
import os
import socket
import struct
import sys
import unicodedata
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from fastbp.datasets import load_image, load_image_folder

Image = pytest.importorskip("PIL.Image", reason="Pillow is not installed")

ORIENTATION, LONG, SHORT, ASCII, RATIONAL, SIGNED_RATIONAL = 0x0112, 4, 3, 2, 5, 10
WIDE = np.zeros((6, 12, 3), np.uint8)
WIDE[:, :6] = 250  # its left half is white


def tiff(*entries: tuple[int, int, int, bytes]) -> bytes:
    """Return EXIF data of these (tag, type, count, bytes), of which ten or fewer lie outside."""
    head, outside = b"", b""
    start = 8 + 2 + 12 * len(entries) + 4
    for tag, kind, count, value in entries:
        if len(value) > 4:
            outside += value
            value = struct.pack("<I", start + len(outside) - len(value))
        head += struct.pack("<HHI", tag, kind, count) + value.ljust(4, b"\0")
    header = b"II*\0" + struct.pack("<IH", 8, len(entries))
    return b"Exif\0\0" + header + head + struct.pack("<I", 0) + outside


def turned(value: int = 6) -> tuple[int, int, int, bytes]:
    return (ORIENTATION, SHORT, 1, struct.pack("<H", value))


def save(path: Path, pixels: np.ndarray = WIDE, **options: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, **options)
    return path


def is_turned(path: Path) -> bool:
    """Whether `WIDE` was loaded with its white half above, not to the left."""
    rows = load_image(path, size=(2, 2)).reshape(2, 2, 3)[..., 0].astype(int)
    return bool(rows[0, 1] > 200)


@pytest.mark.parametrize(
    "exif",
    [
        tiff((0x0100, ASCII, 4, b"abc\0"), turned()),
        tiff(turned(), (0x011A, SIGNED_RATIONAL, 1, struct.pack("<ii", -1, 0))),
        tiff(turned(), (0x011A, RATIONAL, 1, struct.pack("<II", 0, 0))),
        tiff(turned(), (0x9999, 77, 1, b"\1\2\3\4")),
        tiff(turned(), (0x8769, LONG, 1, struct.pack("<I", 5_000))),
        b"Exif\0\0" + tiff(turned()),
    ],
    ids=["letters", "negative", "0 by 0", "no such type", "no such place", "two headers"],
)
@pytest.mark.parametrize("suffix", ["jpg", "png", "webp"])
def test_a_picture_is_turned_whatever_its_other_exif_data(
    tmp_path: Path, exif: bytes, suffix: str
) -> None:
    assert is_turned(save(tmp_path / f"a.{suffix}", exif=exif))


@pytest.mark.parametrize(
    "exif",
    [
        b"Exif\0\0" + b"garbage!" * 4,
        b"Exif\0\0",
        b"Exif\0\0II*",
        tiff(turned())[:20],
        tiff(turned(0)),
        tiff(turned(99)),
        tiff((ORIENTATION, ASCII, 4, b"six\0")),
    ],
    ids=["garbage", "empty", "no header", "cut off", "orientation 0", "99", "six"],
)
@pytest.mark.filterwarnings("ignore::UserWarning:PIL")  # Pillow says that they are corrupt
def test_without_an_orientation_a_picture_is_taken_as_it_lies(tmp_path: Path, exif: bytes) -> None:
    assert not is_turned(save(tmp_path / "a.jpg", exif=exif))


def test_damaged_pixels_are_damage_whatever_the_exif_data(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    path = save(tmp_path / "a.jpg", noise, exif=tiff(turned()))
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(ValueError, match=r"a\.jpg is damaged"):
        load_image(path)


@pytest.mark.parametrize(
    "name",
    [
        "Thumbs.db",
        "THUMBS.DB",
        "ehthumbs.db",
        "desktop.ini",
        "Desktop.ini",
        "Icon\r",
        "._a.png",
        ".DS_Store",
    ],
)
def test_what_systems_leave_behind_is_no_picture(tmp_path: Path, name: str) -> None:
    save(tmp_path / "only" / "a.png")
    (tmp_path / "only" / name).write_bytes(b"no picture")
    X, _, _ = load_image_folder(tmp_path, size=(1, 1))
    assert len(X) == 1


@pytest.mark.parametrize(
    "name", ["__MACOSX", ".git", "@eaDir", "$RECYCLE.BIN", "System Volume Information"]
)
def test_what_systems_leave_behind_is_no_class(tmp_path: Path, name: str) -> None:
    save(tmp_path / "only" / "a.png")
    (tmp_path / name / "only").mkdir(parents=True)
    _, y, class_names = load_image_folder(tmp_path, size=(1, 1))
    assert (y.tolist(), class_names) == ([0], ["only"])


def test_a_picture_too_large_is_not_called_damaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 20)  # 40 and no more; the picture has 72
    path = save(tmp_path / "a.png")
    with pytest.raises(ValueError, match=r"a\.png is too large: .*72 pixels.*max_pixels is 40$"):
        load_image(path)


def test_max_pixels_allows_what_pillow_would_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 20)
    save(tmp_path / "only" / "a.png")
    X, _, _ = load_image_folder(tmp_path, size=(6, 12), max_pixels=72)
    assert_array_equal(X[0].reshape(6, 12, 3), WIDE)


def test_what_pillow_would_warn_of_loads_without_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 71)
    assert load_image(save(tmp_path / "a.png"), size=(1, 1)).shape == (3,)


def test_max_pixels_may_be_lower_than_pillows_limit(tmp_path: Path) -> None:
    save(tmp_path / "only" / "a.png")
    with pytest.raises(ValueError, match=r"a\.png is too large"):
        load_image_folder(tmp_path, max_pixels=71)


def test_max_pixels_is_checked(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="max_pixels must be positive, got 0"):
        load_image_folder(tmp_path, max_pixels=0)
    with pytest.raises(TypeError, match=r"max_pixels must be an integer, got 1\.5"):
        load_image(tmp_path / "a.png", max_pixels=1.5)  # type: ignore[arg-type]


def test_file_objects_are_read_from_their_start(tmp_path: Path) -> None:
    path = save(tmp_path / "a.png")
    in_memory = io.BytesIO(path.read_bytes())
    in_memory.seek(0, io.SEEK_END)  # as it is after saving to it
    with open(path, "rb") as file:
        rows = [load_image(source, size=(6, 12)) for source in (file, in_memory)]
    assert_array_equal(rows[0].reshape(6, 12, 3), WIDE)
    assert_array_equal(rows[1], rows[0])


@pytest.mark.skipif(sys.platform == "win32", reason="needs os.pipe in a thread of its own")
def test_a_file_object_need_not_seek(tmp_path: Path) -> None:
    content = save(tmp_path / "a.png").read_bytes()
    reading, writing = os.pipe()
    os.write(writing, content)  # a few hundred bytes: a pipe holds 4096 and more
    os.close(writing)
    with open(reading, "rb") as file:
        assert_array_equal(load_image(file, size=(6, 12)).reshape(6, 12, 3), WIDE)


def test_file_objects_that_hold_no_picture_are_told(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="the file object is not a picture"):
        load_image(io.BytesIO(b"no picture"))
    with pytest.raises(TypeError, match="opened in binary mode, got a file that holds str"):
        load_image(io.StringIO("text"))  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="int"):
        load_image(3)  # type: ignore[arg-type]


def test_paths_may_be_bytes(tmp_path: Path) -> None:
    path = save(tmp_path / "only" / "a.png")
    X, _, _ = load_image_folder(os.fsencode(tmp_path), size=(6, 12))
    assert_array_equal(load_image(os.fsencode(path), size=(6, 12)), X[0])


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs FIFOs")
def test_a_fifo_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    save(tmp_path / "only" / "a.png")
    os.mkfifo(tmp_path / "only" / "b.png")
    with pytest.raises(OSError, match=r"not a regular file.*b\.png"):
        load_image(tmp_path / "only" / "b.png")
    with pytest.raises(ValueError, match=r"b\.png cannot be read: .*not a regular file"):
        load_image_folder(tmp_path)


@pytest.mark.skipif(sys.platform == "win32", reason="needs sockets in the file system")
def test_devices_and_sockets_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # the path of a socket must be short
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("socket")
        for path in ("socket", "/dev/zero"):
            with pytest.raises(OSError, match="not a regular file"):
                load_image(path)


def test_classes_have_the_same_names_and_order_however_unicode_spells_them(
    tmp_path: Path,
) -> None:
    # Decomposed, "e" + accent, the name sorts before "f"; composed, it sorts after it.
    for form in ("NFC", "NFD"):
        for name in (unicodedata.normalize(form, "\N{LATIN SMALL LETTER E WITH ACUTE}"), "f"):
            save(tmp_path / form / name / "a.png")
    composed, decomposed = (load_image_folder(tmp_path / form)[2] for form in ("NFC", "NFD"))
    assert composed == decomposed == ["f", "\N{LATIN SMALL LETTER E WITH ACUTE}"]


@pytest.mark.skipif(sys.platform == "darwin", reason="the file system takes them for one")
def test_two_spellings_of_a_class_are_told(tmp_path: Path) -> None:
    for form in ("NFC", "NFD"):
        name = unicodedata.normalize(form, "caf\N{LATIN SMALL LETTER E WITH ACUTE}")
        save(tmp_path / name / "a.png")
    with pytest.raises(ValueError, match="two subfolders named caf"):
        load_image_folder(tmp_path)
