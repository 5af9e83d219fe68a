"""What is in each generated picture: scenes drawn from (seed, index), described as numbers.

`draw_scenes` decides, `fastbp.datasets.rendering` paints. Picture i depends on the seed and on i
alone: its numbers are a hash of (seed, i, how many were drawn before), never the state of a
generator that other pictures move on. Only +, -, *, / and sqrt are used here: they are rounded
the same way wherever an element stands in an array, so a picture does not depend on how many are
drawn at a time. Sines and cosines are left to the renderer.

Lengths are in units of the picture's shorter side, u to the right and v down from the upper left
corner; colours are display values from 0 to 1.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from fastbp.datasets import balls
from fastbp.datasets.rendering import NO_THING, PERSON, PRISM

__all__ = ["SCENE", "draw_scenes"]

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
Words = npt.NDArray[np.uint64]

SCENE = np.dtype(
    [
        ("key", "u8"),  # of the noise of this picture
        # The camera: v of the horizon at the left edge and its slope; width of an edge in pixels.
        ("horizon", "f8"),
        ("slope", "f8"),
        ("softness", "f8"),
        ("gain", "f8", (3,)),
        ("haze", "f8"),
        ("noise", "f8"),
        # Angles of the stripes and of the two line marks on the floor.
        ("angle", "f8", (3,)),
        # The floor: stripes (duty is their share of a period), boards, blades of grass, patches.
        ("ground", "f8", (3,)),
        ("stripe_frequency", "f8"),
        ("stripe_phase", "f8"),
        ("stripe_duty", "f8"),
        ("stripe_contrast", "f8"),
        ("cross_frequency", "f8"),
        ("board_contrast", "f8"),
        ("grain_frequency", "f8"),
        ("grain_stretch", "f8"),
        ("grain_contrast", "f8"),
        ("patch_frequency", "f8"),
        ("patch_contrast", "f8"),
        ("line_offset", "f8", (2,)),
        ("line_width", "f8", (2,)),
        ("line_strength", "f8", (2,)),
        # What stands behind the floor.
        ("top", "f8", (3,)),
        ("bottom", "f8", (3,)),
        ("cloud_contrast", "f8"),
        ("crowd_contrast", "f8"),
        ("crowd_frequency", "f8"),
        # Up to two things: v of the foot, height; the rest in units of the height.
        ("thing_kind", "i8", (2,)),
        ("thing_u", "f8", (2,)),
        ("thing_v", "f8", (2,)),
        ("thing_height", "f8", (2,)),
        ("thing_width", "f8", (2,)),
        ("thing_taper", "f8", (2,)),
        ("thing_lean", "f8", (2,)),
        ("thing_stride", "f8", (2,)),
        ("thing_hem", "f8", (2,)),
        ("thing_band", "f8", (2, 2)),
        ("thing_colour", "f8", (2, 3)),
        ("thing_second", "f8", (2, 3)),
        ("thing_skin", "f8", (2, 3)),
        # The ball, and the light on it: a unit vector towards the light, z towards the eye.
        ("ball_kind", "i8"),
        ("ball_u", "f8"),
        ("ball_v", "f8"),
        ("ball_radius", "f8"),
        ("ball_first", "f8", (3,)),
        ("ball_second", "f8", (3,)),
        ("seam_width", "f8"),
        ("seam_contrast", "f8"),
        ("rotation", "f8", (3,)),  # three uniforms
        ("light", "f8", (3,)),
        ("ambient", "f8"),
        ("gloss", "f8"),
        ("shadow", "f8", (5,)),  # du, dv from the ball's centre, half axes, strength
    ]
)

# Each row: share of the pictures; red, green, blue; stripe frequency from, to; duty; contrast;
# cross frequency; board contrast; grain frequency, stretch, contrast; patch contrast.
_FLOORS = np.array(
    [
        [0.22, 0.29, 0.52, 0.20, 0.5, 2.0, 0.50, 0.16, 0.0, 0.00, 60, 0.5, 0.35, 0.25],  # grass
        [0.10, 0.24, 0.44, 0.16, 1.0, 1.0, 0.00, 0.00, 0.0, 0.00, 70, 0.4, 0.50, 0.45],  # meadow
        [0.18, 0.14, 0.62, 0.42, 1.0, 1.0, 0.00, 0.00, 0.0, 0.00, 90, 1.0, 0.08, 0.12],  # carpet
        [0.12, 0.74, 0.54, 0.34, 5.0, 11.0, 0.06, -0.4, 0.25, 0.18, 40, 0.1, 0.08, 0.12],  # boards
        [0.10, 0.52, 0.51, 0.49, 1.0, 1.0, 0.00, 0.00, 0.0, 0.00, 80, 1.0, 0.25, 0.30],  # asphalt
        [0.09, 0.72, 0.70, 0.66, 2.5, 5.0, 0.06, -0.35, 1.0, 0.10, 50, 1.0, 0.04, 0.10],  # tiles
        [0.10, 0.22, 0.38, 0.60, 1.0, 1.0, 0.00, 0.00, 0.0, 0.00, 80, 1.0, 0.06, 0.10],  # court
        [0.09, 0.68, 0.55, 0.37, 1.0, 1.0, 0.00, 0.00, 0.0, 0.00, 60, 1.0, 0.25, 0.45],  # sand
    ]
)
# Each row: share; colour at the top; at the bottom; cloud, crowd contrast; crowd frequency.
_BACKDROPS = np.array(
    [
        [0.30, 0.35, 0.58, 0.88, 0.78, 0.87, 0.95, 0.30, 0.00, 1],  # sky
        [0.25, 0.30, 0.28, 0.32, 0.40, 0.36, 0.38, 0.10, 0.75, 26],  # crowd
        [0.25, 0.78, 0.75, 0.68, 0.70, 0.67, 0.62, 0.08, 0.02, 1],  # wall
        [0.20, 0.12, 0.24, 0.12, 0.20, 0.34, 0.15, 0.25, 0.18, 30],  # trees
    ]
)
# Pairs of colours of soccer balls, and of the other kinds: share, hexagons, pentagons.
_SOCCER_COLOURS = np.array(
    [
        [0.76, 0.97, 0.97, 0.97, 0.07, 0.07, 0.08],
        [0.06, 0.95, 0.95, 0.93, 0.10, 0.18, 0.60],
        [0.06, 0.95, 0.94, 0.92, 0.75, 0.10, 0.12],
        [0.04, 0.94, 0.90, 0.25, 0.08, 0.08, 0.10],
        [0.04, 0.94, 0.94, 0.94, 0.08, 0.45, 0.25],
        [0.04, 0.95, 0.50, 0.15, 0.10, 0.08, 0.08],
    ]
)
# Each row: share; kind; the two colours. Black and white ones keep colour from being the answer.
_OTHER_BALLS = np.array(
    [
        [0.08, balls.PLAIN, 0.94, 0.94, 0.93, 0.50, 0.50, 0.50],
        [0.07, balls.PLAIN, 0.12, 0.12, 0.13, 0.50, 0.50, 0.50],
        [0.06, balls.PLAIN, 0.80, 0.15, 0.15, 0.50, 0.50, 0.50],
        [0.06, balls.PLAIN, 0.15, 0.30, 0.75, 0.50, 0.50, 0.50],
        [0.10, balls.BEACH, 0.95, 0.95, 0.92, 0.85, 0.20, 0.15],
        [0.07, balls.BEACH, 0.95, 0.80, 0.15, 0.10, 0.35, 0.75],
        [0.05, balls.BEACH, 0.95, 0.95, 0.95, 0.10, 0.10, 0.12],
        [0.16, balls.BASKETBALL, 0.80, 0.42, 0.16, 0.50, 0.50, 0.50],
        [0.12, balls.TENNIS, 0.78, 0.88, 0.22, 0.95, 0.95, 0.92],
        [0.06, balls.BANDED, 0.95, 0.95, 0.95, 0.12, 0.12, 0.14],
    ]
)
_CLOTHES = np.array(
    [
        [0.25, 0.80, 0.10, 0.12],
        [0.15, 0.12, 0.25, 0.65],
        [0.15, 0.92, 0.92, 0.92],
        [0.20, 0.10, 0.10, 0.12],
        [0.15, 0.90, 0.78, 0.15],
        [0.10, 0.90, 0.45, 0.12],
    ]
)


class _Draws:
    """Random numbers for n pictures at a time, each picture's from a stream of its own.

    The k-th numbers of the stream of key s are ``mix(s + k * step)``: SplitMix64 of Steele, Lea
    and Flood (2014), which is a hash of a counter and so needs no state besides k.
    """

    _STEP = 0x9E3779B97F4A7C15

    def __init__(self, keys: Words) -> None:
        self._keys = keys
        self._count = 0

    @staticmethod
    def mix(bits: Words) -> Words:
        bits = (bits ^ (bits >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        bits = (bits ^ (bits >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return bits ^ (bits >> np.uint64(31))

    @classmethod
    def for_pictures(cls, seed: int, indices: Words) -> _Draws:
        """Make one stream for each index; ``seed`` is 64 bits."""
        return cls(cls.mix(cls.mix(indices * np.uint64(cls._STEP)) ^ np.uint64(seed)))

    def bits(self) -> Words:
        self._count += 1
        return self.mix(self._keys + np.uint64(self._count * self._STEP % 2**64))

    def uniform(self, low: float = 0.0, high: float = 1.0, size: tuple[int, ...] = ()) -> Floats:
        """Return (n, *size) numbers, uniform in [low, high)."""
        count = int(np.prod(size))
        columns = [(self.bits() >> np.uint64(11)).astype(np.float64) for _ in range(count)]
        unit = np.stack(columns, axis=1) * 2.0**-53
        return low + (high - low) * unit.reshape(len(self._keys), *size)

    def chance(self, probability: float) -> npt.NDArray[np.bool_]:
        return self.uniform() < probability

    def row(self, table: Floats) -> Floats:
        """Return a row of ``table`` for each picture, without its first column, the shares."""
        edges = np.cumsum(table[:, 0])
        chosen = np.searchsorted(edges, self.uniform() * edges[-1], side="right")
        rows: Floats = table[np.minimum(chosen, len(table) - 1), 1:]
        return rows

    def tint(self, colour: Floats, amount: float) -> Floats:
        """Return (n, 3) colours near ``colour``: each channel is scaled by 1 +- ``amount``."""
        return colour * self.uniform(1 - amount, 1 + amount, (3,))


def draw_scenes(seed: int, start: int, stop: int, extent: tuple[float, float]) -> tuple[Any, Any]:
    """Draw the scenes of pictures ``start`` to ``stop``, and their labels.

    Parameters
    ----------
    seed : int
        64 bits.
    start, stop : int
        Half-open range of picture indices.
    extent : (float, float)
        Height and width of the picture in units of the shorter one.

    Returns
    -------
    scenes : ndarray of SCENE, shape (stop - start,)
    labels : ndarray of int64, shape (stop - start,)
        1 where there is a soccer ball. Of the pictures 2k and 2k + 1 exactly one has it, and
        which is up to chance: any even number of pictures is balanced.
    """
    indices = np.arange(start, stop, dtype=np.uint64)
    second = _Draws.for_pictures(~seed % 2**64, indices >> np.uint64(1)).bits()
    labels = ((second ^ indices) & np.uint64(1)).astype(np.int64)
    draws = _Draws.for_pictures(seed, indices)
    scenes = np.zeros(stop - start, dtype=SCENE)
    scenes["key"] = draws.bits()
    _set_camera(scenes, draws)
    _set_floor(scenes, draws)
    _set_backdrop(scenes, draws)
    _set_ball(scenes, draws, labels == 1, extent)
    for i in range(2):
        _set_thing(scenes, draws, i, extent)
    return scenes, labels


def _set_camera(scenes: Any, draws: _Draws) -> None:
    # Looking down there is no horizon in sight: far above the picture, the floor is almost flat.
    level = draws.chance(0.5)
    scenes["horizon"] = np.where(level, draws.uniform(-0.1, 0.55), draws.uniform(-3.0, -0.5))
    scenes["slope"] = draws.uniform(-0.12, 0.12) * level
    scenes["softness"] = draws.uniform(1.0, 2.5)
    exposure = draws.uniform(0.75, 1.2)
    scenes["gain"] = draws.tint(np.ones(3), 0.10) * exposure[:, None]
    scenes["haze"] = draws.uniform(-0.06, 0.10)
    scenes["noise"] = draws.uniform(0.01, 0.15)
    scenes["angle"] = draws.uniform(0.0, 2.0 * np.pi, (3,))


def _set_floor(scenes: Any, draws: _Draws) -> None:
    floor = draws.row(_FLOORS)
    scenes["ground"] = draws.tint(floor[:, :3], 0.22)
    low, high = floor[:, 3], floor[:, 4]
    scenes["stripe_frequency"] = low + (high - low) * draws.uniform()
    scenes["stripe_phase"] = draws.uniform()
    scenes["stripe_duty"] = floor[:, 5]
    scenes["stripe_contrast"] = floor[:, 6] * draws.uniform(0.5, 1.3)
    scenes["cross_frequency"] = floor[:, 7]
    scenes["board_contrast"] = floor[:, 8]
    scenes["grain_frequency"] = floor[:, 9] * draws.uniform(0.5, 1.2)
    scenes["grain_stretch"] = floor[:, 10]
    scenes["grain_contrast"] = floor[:, 11] * draws.uniform(0.5, 1.3)
    scenes["patch_frequency"] = draws.uniform(2.0, 7.0)
    scenes["patch_contrast"] = floor[:, 12] * draws.uniform(0.5, 1.5)
    scenes["line_offset"] = draws.uniform(-0.9, 0.9, (2,))
    scenes["line_width"] = draws.uniform(0.02, 0.10, (2,))
    scenes["line_strength"] = draws.uniform(0.5, 1.0, (2,)) * (draws.uniform(size=(2,)) < 0.35)


def _set_backdrop(scenes: Any, draws: _Draws) -> None:
    backdrop = draws.row(_BACKDROPS)
    scenes["top"] = draws.tint(backdrop[:, :3], 0.2)
    scenes["bottom"] = draws.tint(backdrop[:, 3:6], 0.2)
    scenes["cloud_contrast"] = backdrop[:, 6]
    scenes["crowd_contrast"] = backdrop[:, 7]
    scenes["crowd_frequency"] = backdrop[:, 8] * draws.uniform(0.6, 1.4)


def _set_ball(
    scenes: Any, draws: _Draws, positive: npt.NDArray[np.bool_], extent: tuple[float, float]
) -> None:
    height, width = extent
    other, soccer = draws.row(_OTHER_BALLS), draws.row(_SOCCER_COLOURS)
    other_kind = np.where(draws.chance(0.4), other[:, 0].astype(np.int64), balls.NO_BALL)
    scenes["ball_kind"] = np.where(positive, balls.SOCCER, other_kind)
    colours = np.where(positive[:, None], soccer, other[:, 1:])
    scenes["ball_first"] = draws.tint(colours[:, :3], 0.06)
    scenes["ball_second"] = draws.tint(colours[:, 3:], 0.15)
    radius = draws.uniform(0.21, 0.47)
    scenes["ball_radius"] = radius
    # A ball of radius r keeps its centre at least 0.9 r from every edge. Photographers aim: the
    # mean of three uniforms stays near the middle, where a dense network can learn the pattern.
    thirds = draws.uniform(0.0, 1.0 / 3.0, (3, 2))
    aim = thirds[:, 0] + thirds[:, 1] + thirds[:, 2]
    scenes["ball_u"] = 0.9 * radius + (width - 1.8 * radius) * aim[:, 0]
    scenes["ball_v"] = 0.9 * radius + (height - 1.8 * radius) * aim[:, 1]
    scenes["seam_width"] = draws.uniform(0.025, 0.05)
    scenes["seam_contrast"] = draws.uniform(0.3, 0.8)
    scenes["rotation"] = draws.uniform(size=(3,))
    light = np.stack(
        [draws.uniform(-0.8, 0.8), draws.uniform(-1.0, 0.0), draws.uniform(0.35, 1.0)], axis=1
    )
    squares = light * light
    light /= np.sqrt(squares[:, 0] + squares[:, 1] + squares[:, 2])[:, None]
    scenes["light"] = light
    scenes["ambient"] = draws.uniform(0.3, 0.65)
    scenes["gloss"] = draws.uniform(0.0, 0.35)
    on_floor = draws.chance(0.85)
    scenes["shadow"][:, 0] = -0.5 * light[:, 0] * radius
    scenes["shadow"][:, 1] = radius * draws.uniform(0.75, 0.95)
    scenes["shadow"][:, 2] = radius * draws.uniform(0.9, 1.3)
    scenes["shadow"][:, 3] = radius * draws.uniform(0.25, 0.5)
    scenes["shadow"][:, 4] = on_floor * draws.uniform(0.4, 0.85)


def _set_thing(scenes: Any, draws: _Draws, i: int, extent: tuple[float, float]) -> None:
    height, width = extent
    # Where there is no ball, something else is seen more often.
    wanted = np.where(scenes["ball_kind"] == balls.NO_BALL, 0.45, 0.2) > draws.uniform()
    person = draws.chance(0.5)
    kind = np.where(person, PERSON, PRISM)
    scenes["thing_kind"][:, i] = np.where(wanted, kind, NO_THING)
    scenes["thing_u"][:, i] = width * draws.uniform(0.0, 1.0)
    scenes["thing_v"][:, i] = height * draws.uniform(0.5, 1.05)
    # Tall people reach out of the picture: only their legs are seen.
    scenes["thing_height"][:, i] = np.where(
        person, draws.uniform(0.5, 2.4), draws.uniform(0.15, 0.9)
    )
    post = draws.chance(0.3)
    scenes["thing_width"][:, i] = np.where(
        post, draws.uniform(0.03, 0.08), draws.uniform(0.15, 0.7)
    )
    scenes["thing_taper"][:, i] = np.where(draws.chance(0.3) & ~post, 0.9, 0.0)
    scenes["thing_lean"][:, i] = draws.uniform(-0.2, 0.2)
    scenes["thing_stride"][:, i] = draws.uniform(-0.02, 0.15)
    scenes["thing_hem"][:, i] = np.where(draws.chance(0.5), 0.28, 0.08)
    band = draws.uniform(0.1, 0.9)
    scenes["thing_band"][:, i, 0] = band
    scenes["thing_band"][:, i, 1] = band + draws.uniform(-0.1, 0.3)
    anything = draws.uniform(0.05, 0.95, (3,))
    clothes = draws.tint(draws.row(_CLOTHES), 0.15)
    scenes["thing_colour"][:, i] = np.where(person[:, None], clothes, anything)
    scenes["thing_second"][:, i] = draws.tint(draws.row(_CLOTHES), 0.15)
    skin = draws.uniform(0.35, 1.0)
    scenes["thing_skin"][:, i] = skin[:, None] * np.array([0.92, 0.70, 0.58])
