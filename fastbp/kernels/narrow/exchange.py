"""What shares of the columns of W1 tell each other: partial products of chunks of columns.

Chunks are cut by the number of columns alone, and their partial products are added up in order: so
the bits do not depend on the number of shares.
"""

from __future__ import annotations

from collections import namedtuple

from fastbp.kernels import plan as w
from fastbp.kernels.compile.jit import jit
from fastbp.kernels.linalg.row_ir import GROUP
from fastbp.kernels.narrow.weights import PAIRS
from fastbp.kernels.plan import layer_word
from fastbp.kernels.simd.vectors import lanes_of, moved, pointer
from fastbp.kernels.threads.shares import MOST_SHARES

__all__ = ["LINE", "chunk_width", "columns_elements", "columns_shares", "common_of", "partial_of"]

LINE = 16  # elements in whole cache lines; as many as a vector has lanes, and n1, at most
_LEAST_WIDTH = 512  # of a chunk
_TILES = 4  # whose partial products are kept: of three at once some may be in use

Common = namedtuple("Common", ["gradient", "partial", "constants"])
"""Typed pointers to the gradient of W1, the partial products, and W1 * shift added up."""


def _chunk_width(n0):
    """Columns of a chunk: whole vectors, and so many that there are at most MOST_SHARES."""
    return max(_LEAST_WIDTH, (n0 + MOST_SHARES * LINE - 1) // (MOST_SHARES * LINE) * LINE)


def _whole_lines(elements):
    return (elements + LINE - 1) // LINE * LINE


def _partial_size(n1, lanes):
    """Elements in whole lines: of a tile's partial products, or of a group's and its PAIRS."""
    return (max(n1 * lanes, n1 * GROUP + PAIRS) + LINE - 1) // LINE * LINE


chunk_width = jit(_chunk_width)
_in_lines = jit(_whole_lines)
_size = jit(_partial_size)


def columns_shares(n0: int, workers: int) -> int:
    """How many shares there are for so many threads."""
    return min(workers, -(-n0 // _chunk_width(n0)))


def columns_elements(n0: int, n1: int, lanes: int) -> int:
    """Elements of scratch memory that all shares use, see `narrow.sizes`."""
    chunks = -(-n0 // _chunk_width(n0))
    return _whole_lines(n0 * n1) + chunks * (_TILES * _partial_size(n1, lanes) + LINE)


@jit
def common_of(plan, chunks, dtype):
    """The scratch memory that all shares use."""
    n0 = layer_word(plan, 0, w.INPUTS)
    n1 = layer_word(plan, 0, w.OUTPUTS)
    gradient = pointer(plan[w.SHARED], dtype)
    partial = moved(gradient, _in_lines(n0 * n1))
    constants = moved(partial, chunks * _TILES * _size(n1, lanes_of(dtype)))
    return Common(gradient, partial, constants)


@jit
def partial_of(plan, common, number, chunks, chunk, dtype):
    """Where the partial products of tile, or group, ``number`` in a chunk are.

    Those of a tile are (n1, lanes); those of a group (n1, GROUP), and then PAIRS of its rows.
    """
    size = _size(layer_word(plan, 0, w.OUTPUTS), lanes_of(dtype))
    return moved(common.partial, (number % _TILES * chunks + chunk) * size)
