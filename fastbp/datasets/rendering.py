"""Compiled code that turns described scenes into pixels; `fastbp.datasets.scenes` describes them.

Contract of `render`: ``scenes`` is an (n,) record array of `scenes.SCENE`, ``workspace`` a (1,)
record array of `WORKSPACE` that no other thread uses meanwhile, ``pictures`` a C-contiguous uint8
array (n, height, width, 3); the last two are overwritten. A pixel is a function of its
scene and its place alone, so pictures may be rendered in any order, by any number of threads.

Lengths are in units of the picture's shorter side, u to the right and v down. Each pixel is
evaluated once, at its centre: edges are softened by their distance from it, over as many pixels
as the scene's softness says.
"""

# What Numba's decorator returns is untyped, and so is what compiled functions return.
# mypy: disable-error-code="no-any-return, untyped-decorator"

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from fastbp.datasets.balls import NO_BALL, paint_ball
from fastbp.datasets.edges import ramp, stripe
from fastbp.kernels.compile.jit import jit

__all__ = ["WORKSPACE", "render"]

# Odd multipliers with well mixed bits: 2**64 / golden ratio, and those of Stafford's "Mix13".
_STEP_X = np.uint64(0x9E3779B97F4A7C15)
_STEP_Y = np.uint64(0xC2B2AE3D27D4EB4F)
_MIX_1 = np.uint64(0xBF58476D1CE4E5B9)
_MIX_2 = np.uint64(0x94D049BB133111EB)
_UNIT_21 = 2.0**-21
# Patches repeat after 16 cells, further than a picture sees: 256 hashes a picture, not 4 a pixel.
_REPEAT = 15

# What one picture needs while it is rendered. A record, and not arrays: at every call that takes
# an array, Numba counts a reference to it, atomically.
WORKSPACE = np.dtype(
    [
        ("colour", "f8", (3,)),  # of the pixel being painted
        ("turn", "f8", (3, 2)),  # cosine and sine of `SCENE.angle`
        ("rotation", "f8", (3, 3)),  # from the picture's axes to the ball's
        ("lattice", "f8", (_REPEAT + 1, _REPEAT + 1)),  # values of the patches at whole places
    ]
)

# What other things there are, as `SCENE.thing_kind` counts them.
NO_THING, PRISM, PERSON = range(3)


@jit
def _cell(key: np.uint64, column: int, row: int) -> np.uint64:
    """Return 63 random bits, the highest, of cell (column, row) of the grid called ``key``.

    Two rounds of multiply and fold: enough that no pattern shows, at less than what a hash without
    any bias would cost at two or three cells a pixel.
    """
    bits = (key ^ (np.uint64(column) * _STEP_X)) + np.uint64(row) * _STEP_Y
    bits = (bits ^ (bits >> np.uint64(32))) * _MIX_1
    return (bits ^ (bits >> np.uint64(29))) * _MIX_2


@jit
def _unit(bits: np.uint64) -> float:
    """Map the highest 21 bits to [0, 1)."""
    return np.int64(bits >> np.uint64(43)) * _UNIT_21


@jit
def _patches(work: Any, x: float, y: float) -> float:
    """Value noise in [-0.5, 0.5): the lattice, repeated over the plane, smoothly interpolated."""
    i, j = np.int64(math.floor(x)), np.int64(math.floor(y))
    right, down = x - i, y - j
    right *= right * (3.0 - 2.0 * right)
    down *= down * (3.0 - 2.0 * down)
    i, i1, j, j1 = i & _REPEAT, (i + 1) & _REPEAT, j & _REPEAT, (j + 1) & _REPEAT
    upper = work.lattice[j, i] + right * (work.lattice[j, i1] - work.lattice[j, i])
    lower = work.lattice[j1, i] + right * (work.lattice[j1, i1] - work.lattice[j1, i])
    return upper + down * (lower - upper)


@jit
def _ground(scene: Any, work: Any, u: float, v: float, rise: float, pixel: float) -> None:
    """Set the colour to that of the floor seen at (u, v); ``rise`` is v of the horizon there.

    The floor is a plane seen in perspective: a pixel covers 1 unit of it for each of its own at
    mid-height, and more towards the horizon.
    """
    near = 0.85 - scene.horizon
    depth = near / (v - rise + 0.35)
    x, y = (u - 0.5) * depth, -near * depth
    softness = pixel * depth
    level = 1.0
    if scene.stripe_contrast != 0.0:
        across = (x * work.turn[0, 0] + y * work.turn[0, 1]) * scene.stripe_frequency
        across += scene.stripe_phase
        blur = softness * scene.stripe_frequency
        band = stripe(across, scene.stripe_duty, blur)
        if scene.cross_frequency > 0.0:
            along = (y * work.turn[0, 0] - x * work.turn[0, 1]) * scene.stripe_frequency
            along *= scene.cross_frequency
            band = max(band, stripe(along, scene.stripe_duty, blur * scene.cross_frequency))
            board = _cell(scene.key, np.int64(math.floor(across)), np.int64(math.floor(along)))
            level += scene.board_contrast * (_unit(board) - 0.5)
        level += band * scene.stripe_contrast
    column = np.int64(math.floor(x * scene.grain_frequency))
    row = np.int64(math.floor(y * scene.grain_frequency * scene.grain_stretch))
    level += scene.grain_contrast * (_unit(_cell(~scene.key, column, row)) - 0.5)
    frequency = scene.patch_frequency
    level += scene.patch_contrast * _patches(work, x * frequency, y * frequency)
    for channel in range(3):
        work.colour[channel] = scene.ground[channel] * level
    for line in range(2):
        if scene.line_strength[line] == 0.0:
            continue
        offset = x * work.turn[line + 1, 0] + y * work.turn[line + 1, 1] - scene.line_offset[line]
        cover = ramp(0.5 * scene.line_width[line] - abs(offset), softness)
        cover *= scene.line_strength[line]
        for channel in range(3):
            work.colour[channel] += cover * (0.95 - work.colour[channel])


@jit
def _backdrop(scene: Any, work: Any, u: float, v: float, rise: float) -> None:
    """Set the colour to that of what stands behind the floor: sky, wall, trees or a crowd."""
    down = max(0.0, min(1.0, v / max(rise, 0.05)))
    frequency = scene.crowd_frequency
    bits = _cell(
        scene.key, np.int64(math.floor(u * frequency)), np.int64(math.floor(v * 0.7 * frequency))
    )
    common = scene.cloud_contrast * _patches(work, u * 4.0, v * 7.0)
    # The people of a crowd differ as much in how light they are as in colour.
    common += 0.6 * scene.crowd_contrast * (_unit(bits << np.uint64(7)) - 0.5)
    for channel in range(3):
        level = scene.top[channel] + down * (scene.bottom[channel] - scene.top[channel])
        work.colour[channel] = level + common + 0.6 * scene.crowd_contrast * (_unit(bits) - 0.5)
        bits <<= np.uint64(21)


@jit
def _capsule(
    x: float, y: float, x0: float, y0: float, x1: float, y1: float, radius: float
) -> float:
    """Return how far (x, y) lies within a thick line from (x0, y0) to (x1, y1)."""
    dx, dy = x1 - x0, y1 - y0
    along = ((x - x0) * dx + (y - y0) * dy) / (dx * dx + dy * dy)
    along = max(0.0, min(1.0, along))
    x -= x0 + along * dx
    y -= y0 + along * dy
    return radius - math.sqrt(x * x + y * y)


@jit
def _blend(work: Any, cover: float, paint: Any, level: float) -> None:
    for channel in range(3):
        work.colour[channel] += cover * (paint[channel] * level - work.colour[channel])


@jit
def _person(scene: Any, work: Any, i: int, x: float, up: float, soft: float) -> None:
    """Paint a person over the colour; x and ``up`` are in units of the person's height.

    ``soft`` is the width of a pixel in those units.
    """
    stride = scene.thing_stride[i]
    skin, shirt, shorts = scene.thing_skin[i], scene.thing_colour[i], scene.thing_second[i]
    side = 1.0 if x >= 0.0 else -1.0
    x *= side
    # Both legs and both arms in one, by symmetry; the side turned from the light is darker.
    level = 0.9 + 0.1 * side
    if up < 0.56 + soft:
        foot = 0.06 + stride
        leg = ramp(_capsule(x, up, 0.06, 0.48, foot, 0.04, 0.055), soft)
        _blend(work, leg, shorts if up > scene.thing_hem[i] else skin, level)
        shoe = ramp(_capsule(x, up, foot, 0.02, foot + 0.05, 0.015, 0.042), soft)
        _blend(work, shoe, shirt, 0.4)
    if up > 0.4 - soft and up < 0.84 + soft:
        arm = ramp(_capsule(x, up, 0.13, 0.77, 0.15 + 0.5 * stride, 0.5, 0.038), soft)
        _blend(work, arm, skin if up < 0.66 else shirt, level)
        trunk = ramp(_capsule(x, up, 0.0, 0.73, 0.0, 0.53, 0.105), soft)
        _blend(work, trunk, shirt, level)
    if up > 0.82 - soft:
        head = ramp(_capsule(x, up, 0.0, 0.91, 0.0, 0.93, 0.062), soft)
        _blend(work, head, skin, level if up < 0.94 else 0.35 * level)


@jit
def _thing(scene: Any, work: Any, i: int, u: float, v: float, pixel: float) -> None:
    """Paint thing ``i`` of the scene (a box, post or cone; a person) over the colour."""
    height = scene.thing_height[i]
    up = (scene.thing_v[i] - v) / height
    if up < -0.1 or up > 1.1:
        return
    x = (u - scene.thing_u[i]) / height - scene.thing_lean[i] * up
    soft = pixel / height
    if scene.thing_kind[i] == PERSON:
        if abs(x) < 0.6:
            _person(scene, work, i, x, up, soft)
        return
    half = scene.thing_width[i] * (1.0 - scene.thing_taper[i] * up)
    cover = ramp(min(half - abs(x), min(up, 1.0 - up)), soft)
    banded = up > scene.thing_band[i, 0] and up < scene.thing_band[i, 1]
    level = 1.0 if x < 0.4 * half else 0.75
    _blend(work, cover, scene.thing_second[i] if banded else scene.thing_colour[i], level)


@jit
def _prepare(scene: Any, work: Any) -> None:
    """Fill the workspace: the rotation from three uniforms (Shoemake, 1992), turns, patches."""
    a, b = math.sqrt(1.0 - scene.rotation[0]), math.sqrt(scene.rotation[0])
    first, second = 2.0 * math.pi * scene.rotation[1], 2.0 * math.pi * scene.rotation[2]
    x, y = a * math.sin(first), a * math.cos(first)
    z, w = b * math.sin(second), b * math.cos(second)
    work.rotation[0, 0] = 1.0 - 2.0 * (y * y + z * z)
    work.rotation[0, 1] = 2.0 * (x * y - w * z)
    work.rotation[0, 2] = 2.0 * (x * z + w * y)
    work.rotation[1, 0] = 2.0 * (x * y + w * z)
    work.rotation[1, 1] = 1.0 - 2.0 * (x * x + z * z)
    work.rotation[1, 2] = 2.0 * (y * z - w * x)
    work.rotation[2, 0] = 2.0 * (x * z - w * y)
    work.rotation[2, 1] = 2.0 * (y * z + w * x)
    work.rotation[2, 2] = 1.0 - 2.0 * (x * x + y * y)
    for i in range(3):
        work.turn[i, 0] = math.cos(scene.angle[i])
        work.turn[i, 1] = math.sin(scene.angle[i])
    for j in range(_REPEAT + 1):
        for i in range(_REPEAT + 1):
            work.lattice[j, i] = _unit(_cell(~scene.key, i, j)) - 0.5


@jit(cache=True)
def render(scenes: Any, workspace: Any, pictures: npt.NDArray[np.uint8]) -> None:
    """Render every scene into its picture; see the contract at the top of this file."""
    height, width = pictures.shape[1], pictures.shape[2]
    side = 1.0 / min(height, width)
    work = workspace[0]
    for p in range(len(scenes)):
        scene = scenes[p]
        _prepare(scene, work)
        pixel = side * scene.softness
        for row in range(height):
            v = (row + 0.5) * side
            for column in range(width):
                u = (column + 0.5) * side
                rise = scene.horizon + scene.slope * u
                if v < rise:
                    _backdrop(scene, work, u, v, rise)
                else:
                    _ground(scene, work, u, v, rise, pixel)
                for i in range(2):
                    if scene.thing_kind[i] != NO_THING:
                        _thing(scene, work, i, u, v, pixel)
                if scene.ball_kind != NO_BALL:
                    dx, dy = u - scene.ball_u, v - scene.ball_v
                    across, down = dx - scene.shadow[0], dy - scene.shadow[1]
                    across /= scene.shadow[2]
                    down /= scene.shadow[3]
                    shade = scene.shadow[4] * (1.0 - across * across - down * down)
                    if shade > 0.0:
                        for channel in range(3):
                            work.colour[channel] *= 1.0 - shade
                    paint_ball(scene, work, dx, dy, pixel)
                # The camera: exposure, sensor noise, clipping.
                bits = _cell(scene.key ^ _STEP_X, row, column)
                for channel in range(3):
                    value = (work.colour[channel] + scene.haze) * scene.gain[channel]
                    value += scene.noise * (_unit(bits) - 0.5)
                    bits <<= np.uint64(21)
                    level = int(255.0 * value + 0.5)
                    pictures[p, row, column, channel] = np.uint8(max(0, min(255, level)))
