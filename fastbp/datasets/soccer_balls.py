"""Generated pictures with and without a soccer ball: `make_soccer_balls`."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import numpy.typing as npt

from fastbp.datasets.common import check_integer, check_size, worker_count
from fastbp.datasets.rendering import WORKSPACE, render
from fastbp.datasets.scenes import draw_scenes

__all__ = ["make_soccer_balls"]

# Pictures drawn and rendered at a time: many enough that what a chunk costs in Python is small
# beside rendering it, few enough that they share out evenly.
_CHUNK = 256


def make_soccer_balls(
    n: int, *, seed: int, size: tuple[int, int] = (64, 64)
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
    """Generate pictures for a binary classification: is there a soccer ball in it?

    Each picture is a scene drawn at random and rendered: a floor (grass, carpet, boards, ...),
    often something behind it (sky, a crowd, ...), and sometimes people, boxes, posts or cones.
    In the positive ones there is a soccer ball, a lit sphere with the pattern of a truncated
    icosahedron; in the negative ones there is a ball of another kind or none.

    Parameters
    ----------
    n : int
        How many pictures.
    seed : int
        Not negative. Picture i depends on ``seed``, i and ``size`` alone, so that a longer
        data set of the same seed begins with the shorter one.
    size : (int, int), default (64, 64)
        Height and width of a picture, in pixels.

    Returns
    -------
    X : ndarray of uint8, shape (n, 3 * height * width), C-contiguous
        One picture a row: row by row, pixel by pixel, red, green, blue.
    y : ndarray of int64, shape (n,)
        1 for a picture with a soccer ball, 0 for one without. The classes are of equal size
        (to one picture, if n is odd) and in random order.

    Raises
    ------
    TypeError
        If ``n`` or ``seed`` is not an integer, or ``size`` not a pair of integers.
    ValueError
        If ``n`` or ``seed`` is negative, or a ``size`` not positive.

    Notes
    -----
    The same arguments give the same bytes at any number of CPUs. Another machine or version of
    Numba may differ in the last bit of a sine, and so by a grey level here and there.
    """
    count = check_integer("n", n)
    if count < 0:
        raise ValueError(f"n must not be negative, got {n}")
    number = check_integer("seed", seed)
    if number < 0:
        raise ValueError(f"seed must not be negative, got {seed}")
    return _generate(count, number, check_size(size), _CHUNK, worker_count())


def _generate(
    n: int, seed: int, size: tuple[int, int], chunk: int, workers: int
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
    """Generate ``chunk`` pictures at a time on ``workers`` threads; neither changes the result."""
    height, width = size
    side = min(height, width)
    extent = (height / side, width / side)
    word = int(np.random.SeedSequence(seed).generate_state(1, np.uint64)[0])
    pictures = np.empty((n, height, width, 3), dtype=np.uint8)
    labels = np.empty(n, dtype=np.int64)

    def fill(start: int) -> None:
        stop = min(start + chunk, n)
        scenes, labels[start:stop] = draw_scenes(word, start, stop, extent)
        render(scenes, np.empty(1, WORKSPACE), pictures[start:stop])

    with ThreadPoolExecutor(workers) as pool:
        # Consuming the results raises what a thread raised.
        for _ in pool.map(fill, range(0, n, chunk)):
            pass
    return pictures.reshape(n, height * width * 3), labels
