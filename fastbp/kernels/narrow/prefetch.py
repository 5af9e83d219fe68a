"""Which rows of X a tile prefetches, on its way forward and on its way back.

Memory delivers a row of floats in about the time that going forward and back with it takes, so it
must never rest: half of the next tile's rows are prefetched on the way forward and half on the way
back, for the level-2 cache. All on the way back is more than memory delivers in that time.
"""

from __future__ import annotations

from numba import int64

from fastbp.kernels import plan as w
from fastbp.kernels.compile.jit import jit
from fastbp.kernels.linalg.operand import DTYPE_CODES
from fastbp.kernels.linalg.row_ir import GROUP, PREFETCHED
from fastbp.kernels.plan import row_number

__all__ = ["list_prefetch"]

_BYTES = DTYPE_CODES["uint8"]


@jit
def list_prefetch(plan, own, start, count, offsets, rows, behind, again):
    """List the rows ``start`` ... ``start`` + ``count`` of the epoch: the next tile.

    ``offsets`` are those of the ``rows`` of the tile that goes forward, of which each whole group
    prefetches PREFETCHED rows in own.prefetch: its own first row, which costs nothing, where there
    is no other. Returns how many the way back prefetches: in own.offsets, after the ``behind`` rows
    of the tile that takes it, the others or, if ``again``, all.
    """
    groups = rows // GROUP if plan[w.X_DTYPE] != _BYTES else int64(0)
    for i in range(groups * PREFETCHED):
        own.prefetch[i] = offsets[i // PREFETCHED * GROUP]
    left = int64(0)
    for i in range(count):
        group, place = i // GROUP, i % GROUP
        offset = row_number(plan, start + i) * plan[w.X_ROW]
        on_the_way = place < PREFETCHED and group < groups
        if on_the_way:
            own.prefetch[group * PREFETCHED + place] = offset
        if again or not on_the_way:
            own.offsets[behind + left] = offset
            left += 1
    return left
