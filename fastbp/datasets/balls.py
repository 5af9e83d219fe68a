"""Compiled code that paints balls: the patterns on them, and the light.

The surface of a ball is the unit sphere; its x, y and z are the ball's own axes. Patterns are
told in two numbers: the share of the second colour, and of seam, which is darker.
"""

# What Numba's decorator returns is untyped, and so is what compiled functions return.
# mypy: disable-error-code="no-any-return, untyped-decorator"

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from fastbp.datasets.edges import ramp, stripe
from fastbp.kernels.compile.jit import jit

__all__ = ["face_axes", "paint_ball"]

# What kinds of ball there are, as `SCENE.ball_kind` counts them.
NO_BALL, SOCCER, PLAIN, BEACH, BASKETBALL, TENNIS, BANDED = range(7)


def face_axes() -> npt.NDArray[np.float64]:
    """Return the face axes of a truncated icosahedron, each divided by its face's distance.

    Returns
    -------
    ndarray of float64, shape (16, 3)
        Six axes through pentagons, then ten through hexagons; the solid has a face at both ends
        of each. On the sphere around it, a unit normal n lies in the face for which |axis . n|
        is largest: the ray along n leaves the solid through the face plane that it meets first,
        at a distance of 1 / (axis . n).

    Notes
    -----
    With edges of length 1 the pentagons are sqrt((125 + 41 sqrt 5) / 40) = 2.327 from the centre,
    the hexagons sqrt(3) (3 + sqrt 5) / 4 = 2.267, so a hexagon takes more than the points whose
    nearest axis is its own. The pentagons' axes are the corners of an icosahedron, the hexagons'
    those of the dodecahedron that is its dual.
    """
    golden = (1 + math.sqrt(5)) / 2
    pentagons: list[tuple[float, float, float]] = [(0, 1, golden), (0, -1, golden)]
    pentagons += [(1, golden, 0), (-1, golden, 0), (golden, 0, 1), (golden, 0, -1)]
    hexagons: list[tuple[float, float, float]] = [(1, 1, 1), (1, 1, -1), (1, -1, 1), (-1, 1, 1)]
    hexagons += [(0, golden, 1 / golden), (0, golden, -1 / golden)]
    hexagons += [(golden, 1 / golden, 0), (golden, -1 / golden, 0)]
    hexagons += [(1 / golden, 0, golden), (-1 / golden, 0, golden)]
    axes = np.array(pentagons + hexagons, dtype=np.float64)
    axes /= np.linalg.norm(axes, axis=1, keepdims=True)
    axes[:6] /= math.sqrt((125 + 41 * math.sqrt(5)) / 40)
    axes[6:] /= math.sqrt(3) * (3 + math.sqrt(5)) / 4
    return axes


_FACE_AXES = face_axes()
# |axis difference| of neighbouring faces turns a difference of two "axis . n" into an angle.
_PENTAGON_HEXAGON = 0.279
_HEXAGON_HEXAGON = 0.315


@jit
def _soccer_pattern(
    x: float, y: float, z: float, seam: float, softness: float
) -> tuple[float, float]:
    """Return how much of a pixel of the unit sphere at (x, y, z) is pentagon, and how much seam."""
    pentagon = hexagon = neighbour = 0.0
    for face in range(6):
        near = abs(_FACE_AXES[face, 0] * x + _FACE_AXES[face, 1] * y + _FACE_AXES[face, 2] * z)
        pentagon = max(pentagon, near)
    for face in range(6, 16):
        near = abs(_FACE_AXES[face, 0] * x + _FACE_AXES[face, 1] * y + _FACE_AXES[face, 2] * z)
        neighbour = max(neighbour, min(hexagon, near))
        hexagon = max(hexagon, near)
    dark = ramp((pentagon - hexagon) / _PENTAGON_HEXAGON, softness)
    stitched = ramp(seam - (hexagon - neighbour) / _HEXAGON_HEXAGON, softness)
    return dark, stitched * (1.0 - dark)


@jit
def _pattern(
    kind: int, x: float, y: float, z: float, seam: float, softness: float
) -> tuple[float, float]:
    """Return the share of the second colour, and of seam, at (x, y, z) of a ball's surface."""
    if kind == SOCCER:
        return _soccer_pattern(x, y, z, seam, softness)
    if kind == BEACH:
        # Six sectors around z: the sign of sin(3 longitude), as a polynomial.
        distance = (3.0 * x * x * y - y * y * y) / (3.0 * (x * x + y * y) + 1e-9)
        return ramp(distance, softness), 0.0
    if kind == BASKETBALL:
        seams = min(min(abs(x), abs(y)), abs(abs(x) - 0.62))
        return 0.0, ramp(seam - seams, softness)
    if kind == TENNIS:
        # A closed wave around the equator, twice up and twice down.
        return ramp(1.5 * seam - abs(z - 0.85 * (x * x - y * y)) / 1.8, softness), 0.0
    if kind == BANDED:
        return stripe(1.5 * z, 0.5, 1.5 * softness), 0.0
    return 0.0, 0.0


@jit
def paint_ball(scene: Any, work: Any, dx: float, dy: float, pixel: float) -> None:
    """Paint the ball over the colour; (dx, dy) leads from the ball's centre to the pixel.

    Light: ambient + Lambert's cosine, and a highlight after Blinn (1977), the eye on the z axis.
    """
    reach = scene.ball_radius + 0.5 * pixel
    square = dx * dx + dy * dy
    if square >= reach * reach:
        return
    distance = math.sqrt(square)
    soft = pixel / scene.ball_radius
    cover = ramp(scene.ball_radius - distance, pixel)
    # The half pixel beyond the silhouette is painted as the silhouette is.
    scale = 1.0 / max(scene.ball_radius, distance)
    nx, ny = dx * scale, dy * scale
    nz = math.sqrt(max(0.0, 1.0 - nx * nx - ny * ny))
    x = work.rotation[0, 0] * nx + work.rotation[0, 1] * ny + work.rotation[0, 2] * nz
    y = work.rotation[1, 0] * nx + work.rotation[1, 1] * ny + work.rotation[1, 2] * nz
    z = work.rotation[2, 0] * nx + work.rotation[2, 1] * ny + work.rotation[2, 2] * nz
    share, seam = _pattern(scene.ball_kind, x, y, z, scene.seam_width, soft / max(nz, 0.25))
    seam *= scene.seam_contrast
    light = scene.light
    lit = max(0.0, nx * light[0] + ny * light[1] + nz * light[2])
    level = (scene.ambient + (1.0 - scene.ambient) * lit) * (1.0 - seam)
    # Halfway between light and eye: |light + eye|^2 = 2 + 2 light_z, for both are unit vectors.
    shine = max(0.0, nx * light[0] + ny * light[1] + nz * (light[2] + 1.0))
    shine *= shine / (2.0 + 2.0 * light[2])
    for _ in range(3):
        shine *= shine
    shine *= scene.gloss
    for channel in range(3):
        first, second = scene.ball_first[channel], scene.ball_second[channel]
        painted = (first + share * (second - first)) * level + shine
        # What shines up from the floor keeps the underside from going black.
        painted += 0.12 * max(0.0, ny) * scene.ground[channel] * (1.0 - share)
        work.colour[channel] += cover * (painted - work.colour[channel])
