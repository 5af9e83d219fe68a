"""Generated pictures of soccer balls, and folders of pictures."""

from __future__ import annotations

import os
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from fastbp.datasets import (
    balls,
    load_image,
    load_image_folder,
    make_soccer_balls,
    rendering,
    scenes,
)
from fastbp.datasets.soccer_balls import _generate

Image = pytest.importorskip("PIL.Image", reason="Pillow is not installed")

# Lossy formats: how far a flat colour may be off, in grey levels.
JPEG_ERROR = 3


def save(path: Path, pixels: np.ndarray, **options: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, **options)
    return path


def flat(colour: tuple[int, ...] | int, shape: tuple[int, int] = (8, 8)) -> np.ndarray:
    return np.full((*shape, len(colour)) if isinstance(colour, tuple) else shape, colour, np.uint8)


# Generated pictures


def test_pictures_are_rows_of_bytes_with_a_label_each() -> None:
    X, y = make_soccer_balls(7, seed=0)
    assert (X.shape, X.dtype, X.flags.c_contiguous) == ((7, 12288), np.uint8, True)
    assert (y.shape, y.dtype) == ((7,), np.int64)


def test_same_arguments_give_the_same_bytes() -> None:
    first, second = make_soccer_balls(40, seed=3), make_soccer_balls(40, seed=3)
    assert_array_equal(first[0], second[0])
    assert_array_equal(first[1], second[1])


def test_a_longer_data_set_begins_with_the_shorter() -> None:
    X, y = make_soccer_balls(10, seed=5)
    longer_X, longer_y = make_soccer_balls(301, seed=5)
    assert_array_equal(longer_X[:10], X)
    assert_array_equal(longer_y[:10], y)


@pytest.mark.parametrize(("chunk", "workers"), [(1, 1), (7, 2), (64, 3), (1000, 1)])
def test_neither_chunks_nor_threads_change_the_pictures(chunk: int, workers: int) -> None:
    X, y = make_soccer_balls(101, seed=8, size=(16, 16))
    other_X, other_y = _generate(101, 8, (16, 16), chunk, workers)
    assert_array_equal(other_X, X)
    assert_array_equal(other_y, y)


def test_seeds_give_different_pictures_and_labels() -> None:
    seeds = [0, 1, 2**32, 2**64, 2**64 + 1, 2**100]
    sets = [make_soccer_balls(64, seed=seed, size=(8, 8)) for seed in seeds]
    assert len({X.tobytes() for X, _ in sets}) == len(seeds)
    assert len({y.tobytes() for _, y in sets}) == len(seeds)


def test_no_picture_comes_twice() -> None:
    X, _ = make_soccer_balls(500, seed=0, size=(16, 16))
    assert len(np.unique(X, axis=0)) == 500


def test_classes_are_balanced_and_in_no_order() -> None:
    _, y = make_soccer_balls(4001, seed=1, size=(1, 1))
    assert abs(int(y.sum()) - 2000.5) == 0.5
    pairs = y[:-1].reshape(-1, 2)
    assert_array_equal(pairs.sum(axis=1), 1)
    # Which of a pair is the ball is a fair coin: 2000 throws, five standard deviations.
    assert abs(int(pairs[:, 0].sum()) - 1000) < 5 * np.sqrt(2000) / 2


def test_only_positive_scenes_hold_a_soccer_ball() -> None:
    described, y = scenes.draw_scenes(17, 0, 2000, (1.0, 1.0))
    assert_array_equal(described["ball_kind"] == balls.SOCCER, y == 1)
    kinds = set(described["ball_kind"][y == 0].tolist())
    assert kinds == {
        balls.NO_BALL, balls.PLAIN, balls.BEACH, balls.BASKETBALL, balls.TENNIS, balls.BANDED
    }  # fmt: skip


def test_size_is_height_and_width() -> None:
    X, _ = make_soccer_balls(64, seed=2, size=(20, 40))
    assert X.shape == (64, 3 * 20 * 40)
    # Read in the right shape, neighbours across a row or a column are alike; read transposed, the
    # ones above each other are half a row apart.
    values = X.astype(np.float64)
    upright, transposed = values.reshape(64, 20, 40, 3), values.reshape(64, 40, 20, 3)
    vertical = np.abs(np.diff(upright, axis=1)).mean()
    assert vertical < 0.75 * np.abs(np.diff(transposed, axis=1)).mean()


@pytest.mark.parametrize("size", [(1, 1), (3, 200), (np.int32(5), 7), [9, 9]])
def test_any_size_can_be_rendered(size: tuple[int, int]) -> None:
    X, _ = make_soccer_balls(3, seed=0, size=size)
    assert X.shape == (3, 3 * size[0] * size[1])
    assert len(np.unique(X)) > 1


def test_no_pictures_are_empty_arrays() -> None:
    X, y = make_soccer_balls(0, seed=0)
    assert (X.shape, X.dtype) == ((0, 12288), np.uint8)
    assert (y.shape, y.dtype) == ((0,), np.int64)


@pytest.mark.parametrize(
    ("n", "seed", "size", "error", "message"),
    [
        (-1, 0, (64, 64), ValueError, "n must not be negative, got -1"),
        (2.0, 0, (64, 64), TypeError, "n must be an integer, got 2.0"),
        ("2", 0, (64, 64), TypeError, "n must be an integer, got '2'"),
        (2, 1.5, (64, 64), TypeError, "seed must be an integer, got 1.5"),
        (2, None, (64, 64), TypeError, "seed must be an integer, got None"),
        (2, -1, (64, 64), ValueError, "seed must not be negative, got -1"),
        (2, 0, 64, TypeError, "size must be a pair"),
        (2, 0, (64,), ValueError, "size must be a pair"),
        (2, 0, (64, 64, 3), ValueError, "size must be a pair"),
        (2, 0, (0, 64), ValueError, "size must hold positive integers"),
        (2, 0, (64, -1), ValueError, "size must hold positive integers"),
        (2, 0, (64, 6.4), TypeError, "size must be an integer, got 6.4"),
    ],
)
def test_bad_arguments_are_told(
    n: int, seed: int, size: tuple[int, int], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        make_soccer_balls(n, seed=seed, size=size)


def test_the_pattern_is_a_truncated_icosahedron() -> None:
    axes = balls.face_axes()
    units = axes / np.linalg.norm(axes, axis=1, keepdims=True)
    angles = np.degrees(np.arccos(np.clip(np.abs(units @ units.T), 0, 1)))
    np.fill_diagonal(angles, 180)
    # Supplements of the solid's dihedral angles, 142.62 and 138.19 degrees.
    assert angles[:6, 6:].min(axis=1) == pytest.approx(180 - 142.6226, abs=1e-3)
    assert angles[6:, 6:].min(axis=1) == pytest.approx(180 - 138.1897, abs=1e-3)
    # Where an edge between two hexagons meets a pentagon, all three faces are equally near.
    faces = np.concatenate([axes, -axes])
    pentagon = axes[0]
    around = faces[np.argsort(-(faces @ pentagon))]
    hexagons = [face for face in around if np.linalg.norm(face) > np.linalg.norm(pentagon)][:5]
    corners = 0
    for i in range(5):
        for j in range(i):
            corner = np.linalg.solve(np.array([pentagon, hexagons[i], hexagons[j]]), np.ones(3))
            # The circumradius of the solid with edges of length 1.
            corners += abs(np.linalg.norm(corner) - 2.478018659) < 1e-8
    assert corners == 5


def render_with_and_without_ball() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return 100 positive scenes, their pictures, those without the ball, pixels to centre."""
    described, y = scenes.draw_scenes(4, 0, 200, (1.0, 1.0))
    described = described[y == 1]
    pictures, empty = np.zeros((2, 100, 64, 64, 3), np.uint8)
    work = np.zeros(1, rendering.WORKSPACE)
    rendering.render(described, work, pictures)
    without = described.copy()
    without["ball_kind"] = balls.NO_BALL
    rendering.render(without, work, empty)
    centre = (np.arange(64) + 0.5) / 64
    across = centre[None, None, :] - described["ball_u"][:, None, None]
    down = centre[None, :, None] - described["ball_v"][:, None, None]
    return described, pictures, empty, np.hypot(across, down)


def test_a_ball_is_seen_where_the_scene_says_and_nowhere_else() -> None:
    described, pictures, empty, distance = render_with_and_without_ball()
    changed = (pictures != empty).any(axis=3)
    radius = described["ball_radius"][:, None, None]
    inside = distance < radius - 2 / 64
    # A shadow lies within the ellipse that the scene tells, moved and at most 1.3 radii long.
    outside = distance > 2.2 * radius + 2 / 64
    assert changed[inside].mean() > 0.95
    assert not changed[outside].any()


def test_pentagons_take_their_share_of_the_ball() -> None:
    # By solid angle the pentagons take 28.16% (a sum over 2 million random directions).
    normals = np.random.default_rng(0).standard_normal((20_000, 3))
    nearest = np.abs(normals @ balls.face_axes().T).argmax(axis=1)
    spread = np.sqrt(0.2816 * (1 - 0.2816) / 20_000)
    assert abs(np.mean(nearest < 6) - 0.2816) < 4 * spread


def test_pictures_can_be_learnt_but_not_by_a_glance() -> None:
    X, y = make_soccer_balls(3000, seed=12, size=(16, 16))
    values = X / 255.0 - 0.5
    train, test = slice(0, 2000), slice(2000, 3000)
    # Ridge regression on the pixels: what a network without hidden units could do.
    design = np.c_[values, np.ones(3000)]
    gram = design[train].T @ design[train] + 100.0 * np.eye(design.shape[1])
    weight = np.linalg.solve(gram, design[train].T @ (2.0 * y[train] - 1.0))
    accuracy = np.mean((design[test] @ weight > 0) == y[test])
    assert 0.6 < accuracy < 0.9
    # Brightness and contrast of the whole picture are not the answer.
    for summary in (values.mean(axis=1), values.std(axis=1)):
        threshold = np.median(summary[train])
        assert abs(np.mean((summary[test] > threshold) == y[test]) - 0.5) < 0.25


# Folders of pictures


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two classes, listed by the file system in whatever order, and what must be ignored."""
    root = tmp_path / "pictures"
    save(root / "dog" / "b.png", flat((10, 20, 30)))
    save(root / "dog" / "a.png", flat((40, 50, 60)))
    save(root / "cat" / "10.png", flat((70, 80, 90)))
    save(root / "cat" / "9.png", flat((100, 110, 120)))
    save(root / "cat" / "B.png", flat((130, 140, 150)))
    save(root / "beside.png", flat((1, 1, 1)))
    save(root / "cat" / "inner" / "c.png", flat((2, 2, 2)))
    save(root / ".hidden" / "d.png", flat((3, 3, 3)))
    (root / "dog" / ".DS_Store").write_bytes(b"not a picture")
    (root / "README.md").write_text("not a picture")
    return root


def test_classes_and_files_come_sorted_by_name(folder: Path) -> None:
    X, y, class_names = load_image_folder(folder, size=(2, 2))
    assert class_names == ["cat", "dog"]
    assert_array_equal(X[:, 0], [70, 100, 130, 40, 10])
    assert_array_equal(y, [0, 0, 0, 1, 1])
    assert (X.dtype, y.dtype, X.flags.c_contiguous) == (np.uint8, np.int64, True)


def test_a_row_is_height_by_width_by_rgb(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (3, 5, 3), dtype=np.uint8)
    save(tmp_path / "a" / "a.png", pixels)
    X, _, _ = load_image_folder(str(tmp_path), size=(3, 5))
    assert_array_equal(X[0].reshape(3, 5, 3), pixels)


def test_many_files_keep_their_order(tmp_path: Path) -> None:
    for i in range(200):
        # Files of very different sizes, so that threads finish out of order.
        save(tmp_path / "only" / f"{i:03}.png", flat((i, 0, 0), (1 + 97 * i % 256,) * 2))
    X, _, _ = load_image_folder(tmp_path, size=(1, 1))
    assert_array_equal(X[:, 0], np.arange(200))


@pytest.mark.parametrize(
    ("name", "error"), [("p.png", 0), ("p.bmp", 0), ("p.tif", 0), ("p.jpg", JPEG_ERROR)]
)
def test_formats_are_told_by_content(tmp_path: Path, name: str, error: int) -> None:
    path = save(tmp_path / name, flat((200, 100, 50)))
    path = path.rename(tmp_path / "without_suffix")
    row = load_image(path, size=(4, 4)).astype(int)
    assert np.abs(row.reshape(16, 3) - [200, 100, 50]).max() <= error


def test_a_gif_gives_its_first_picture(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    assert_array_equal(load_image(tmp_path / "a.gif", size=(1, 1)), [255, 0, 0])


def test_grey_is_repeated_in_three_channels(tmp_path: Path) -> None:
    path = save(tmp_path / "a.png", flat(77))
    assert_array_equal(load_image(path, size=(1, 1)), [77, 77, 77])


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_16_bits_are_scaled_and_not_clipped(tmp_path: Path, suffix: str) -> None:
    values = np.array([[0, 256, 257], [32768, 65279, 65535]], dtype=np.uint16)
    path = save(tmp_path / f"a.{suffix}", values)
    expected = np.rint(values / 257).astype(np.uint8)
    assert_array_equal(load_image(path, size=(2, 3)).reshape(2, 3, 3)[..., 0], expected)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (np.float32([[0.0, 0.5, 1.0]]), [0, 128, 255]),
        (np.float32([[0.0, 200.0, 300.0]]), [0, 200, 255]),
        (np.int32([[0, 257, 65535]]), [0, 1, 255]),
        (np.int32([[0, 7, 255]]), [0, 7, 255]),
    ],
)
def test_wide_grey_values_are_scaled_by_their_range(
    tmp_path: Path, values: np.ndarray, expected: list[int]
) -> None:
    path = save(tmp_path / "a.tif", values)
    assert_array_equal(load_image(path, size=(1, 3)).reshape(3, 3)[:, 1], expected)


def test_transparent_parts_are_white_and_half_transparent_ones_mixed(tmp_path: Path) -> None:
    path = save(tmp_path / "a.png", np.uint8([[[9, 9, 9, 255], [9, 9, 9, 0], [0, 0, 0, 128]]]))
    assert_array_equal(load_image(path, size=(1, 3)).reshape(3, 3)[:, 0], [9, 255, 127])


def test_a_transparent_palette_entry_is_white(tmp_path: Path) -> None:
    image = Image.new("P", (2, 1))
    image.putpalette([200, 10, 20, 30, 40, 50])
    image.putpixel((1, 0), 1)
    image.save(tmp_path / "a.png", transparency=0)
    assert_array_equal(load_image(tmp_path / "a.png", size=(1, 2)), [255, 255, 255, 30, 40, 50])


def test_cmyk_becomes_rgb(tmp_path: Path) -> None:
    Image.new("CMYK", (8, 8), (0, 255, 255, 0)).save(tmp_path / "a.jpg")
    row = load_image(tmp_path / "a.jpg", size=(1, 1)).astype(int)
    assert np.abs(row - [255, 0, 0]).max() <= JPEG_ERROR


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_undone(tmp_path: Path, orientation: int) -> None:
    upright = np.repeat(np.arange(0, 240, 40, dtype=np.uint8).reshape(2, 3, 1), 3, axis=2)
    # What a camera stores, so that the display operation of this orientation gives `upright`.
    stored = {
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.transpose(1, 0, 2),
        6: np.rot90(upright, 1),
        7: np.rot90(upright, 2).transpose(1, 0, 2),
        8: np.rot90(upright, -1),
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = save(tmp_path / "a.png", np.ascontiguousarray(stored), exif=exif)
    assert_array_equal(load_image(path, size=(2, 3)).reshape(2, 3, 3), upright)


def test_shrinking_averages_all_pixels(tmp_path: Path) -> None:
    stripes = np.zeros((64, 64, 3), np.uint8)
    stripes[:, ::4] = 255
    path = save(tmp_path / "a.png", stripes)
    row = load_image(path, size=(4, 4)).astype(int)
    # Single pixels would give 0, 128 or 255; a mean over 16 is within one pixel's weight of 64.
    assert np.abs(row - 255 / 4).max() <= 255 / 16


def test_a_large_jpeg_is_shrunk_like_its_png(tmp_path: Path) -> None:
    slope = np.linspace(0, 255, 1024).astype(np.uint8)
    pixels = np.stack(np.broadcast_arrays(slope, slope[:, None], 128), axis=2).astype(np.uint8)
    jpeg = load_image(save(tmp_path / "a.jpg", pixels, quality=95), size=(16, 16))
    png = load_image(save(tmp_path / "a.png", pixels), size=(16, 16))
    assert np.abs(jpeg.astype(int) - png).max() <= JPEG_ERROR


def test_a_missing_folder_and_a_file_in_its_place(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="nowhere"):
        load_image_folder(tmp_path / "nowhere")
    file = save(tmp_path / "a.png", flat(0))
    with pytest.raises(NotADirectoryError, match=r"a\.png"):
        load_image_folder(file)


def test_a_folder_without_classes_or_pictures(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="has no subfolders"):
        load_image_folder(tmp_path)
    (tmp_path / "ball").mkdir()
    with pytest.raises(ValueError, match="has no pictures in its 1 subfolders"):
        load_image_folder(tmp_path)


def test_an_empty_class_keeps_its_label(folder: Path) -> None:
    (folder / "ant").mkdir()
    _, y, class_names = load_image_folder(folder, size=(1, 1))
    assert class_names == ["ant", "cat", "dog"]
    assert_array_equal(y, [1, 1, 1, 2, 2])


def test_an_unreadable_file_is_named(folder: Path) -> None:
    (folder / "cat" / "broken.png").write_bytes(b"no picture at all")
    (folder / "dog" / "later.png").write_bytes(b"nor this")
    with pytest.raises(ValueError, match=r"broken\.png is not a picture") as caught:
        load_image_folder(folder)
    assert caught.value.__cause__ is not None


@pytest.mark.parametrize("name", ["a.png", "a.jpg"])
def test_a_truncated_file_is_named(tmp_path: Path, name: str) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    path = save(tmp_path / "only" / name, noise)
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(ValueError, match=rf"{name} is damaged"):
        load_image_folder(tmp_path)


def test_a_file_that_cannot_be_opened_is_named(folder: Path) -> None:
    (folder / "cat" / "dangling.png").symlink_to(folder / "nowhere")
    with pytest.raises(ValueError, match=r"dangling\.png cannot be read") as caught:
        load_image_folder(folder)
    assert isinstance(caught.value.__cause__, FileNotFoundError)


def test_skipping_warns_once_with_the_number(folder: Path) -> None:
    expected_X, expected_y, _ = load_image_folder(folder, size=(2, 2))
    for name in ("cat/0.png", "cat/A.png", "dog/z.png"):
        (folder / name).write_bytes(b"no picture")
    with pytest.warns(UserWarning, match=r"3 of 8 files .*0\.png") as caught:
        X, y, class_names = load_image_folder(folder, size=(2, 2), on_error="skip")
    assert len(caught) == 1
    assert caught[0].filename == __file__
    assert_array_equal(X, expected_X)
    assert_array_equal(y, expected_y)
    assert X.flags.c_contiguous
    assert class_names == ["cat", "dog"]


def test_skipping_nothing_does_not_warn(folder: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        X, _, _ = load_image_folder(folder, size=(1, 1), on_error="skip")
    assert len(X) == 5


def test_skipping_everything_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "a.png").write_bytes(b"")
    with pytest.raises(ValueError, match="none of the 1 files"):
        load_image_folder(tmp_path, on_error="skip")


def test_bad_options_are_told(folder: Path) -> None:
    with pytest.raises(ValueError, match='on_error must be "raise" or "skip", got \'ignore\''):
        load_image_folder(folder, on_error="ignore")
    with pytest.raises(ValueError, match="positive"):
        load_image_folder(folder, size=(0, 64))
    with pytest.raises(TypeError, match="pair"):
        load_image_folder(folder, size=64)  # type: ignore[arg-type]


def test_one_picture_missing_or_not_a_picture(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        load_image(tmp_path / "nowhere.png")
    (tmp_path / "text.txt").write_text("hello")
    with pytest.raises(ValueError, match=r"text\.txt is not a picture"):
        load_image(tmp_path / "text.txt")


def test_without_pillow_the_extra_is_named(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    for name in ("PIL", "PIL.Image"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ImportError, match=r"load_image_folder needs Pillow.*fastbp\[cli\]"):
        load_image_folder(folder)
    with pytest.raises(ImportError, match="load_image needs Pillow"):
        load_image(folder / "dog" / "a.png")


def test_real_pictures_load_in_order_at_full_size() -> None:
    default = Path(__file__).resolve().parents[2] / "shared" / "data"
    root = Path(os.environ.get("FASTBP_TEST_DATA", default)) / "soccer_close" / "test"
    if not root.is_dir():
        pytest.skip(f"no pictures in {root}")
    X, y, class_names = load_image_folder(root)
    assert class_names == ["ball", "no_ball"]
    assert X.shape == (400, 12288)
    assert_array_equal(y, np.repeat([0, 1], 200))
    assert_array_equal(X[0], load_image(root / "ball" / "00000.jpg"))
    # What the data set's own page tells of its pixels.
    assert_array_equal(np.round(X.reshape(-1, 3).mean(axis=0) / 255, 3), [0.335, 0.428, 0.274])
