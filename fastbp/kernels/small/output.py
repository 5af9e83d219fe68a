"""From Z of the last layer to its delta, or to what the network gives."""

from __future__ import annotations

from numba import int64

from fastbp.kernels import plan as w
from fastbp.kernels.compile.calls import call_region, words_of
from fastbp.kernels.compile.jit import jit
from fastbp.kernels.functions.outputs import Outputs
from fastbp.kernels.linalg.copying import transpose
from fastbp.kernels.plan import layer_word, loss_cap, row_number, step_numbers
from fastbp.kernels.simd.vectors import (
    address_of,
    lanes_of,
    load,
    load_part,
    moved,
    pointer,
    store,
    store_part,
    zeros,
)
from fastbp.kernels.small.layers import (
    apply_sigmoid,
    clear_rows,
    own,
    row_step,
    whole_blocks,
)

__all__ = ["output_delta", "write_outputs"]


@jit
def _share(plan, step):
    """What a row's loss counts in the mean of the step, its weight being 1."""
    if plan[w.ROW_WEIGHTS] != 0:
        return step_numbers(plan, step)[w.SHARE]
    return 1.0 / min(plan[w.BATCH], plan[w.ROWS] - step * plan[w.BATCH])


@jit
def output_delta(plan, worker, tile, totals, judged, dtype):
    """The last layer's DELTA from its Z; loss and metric are added to two vectors at ``totals``.

    Rows become the lanes of vectors at ``judged``, which `functions.outputs` works on.
    """
    lanes, top = lanes_of(dtype), plan[w.LAYERS] - 1
    outputs = layer_word(plan, top, w.OUTPUTS)
    step = row_step(outputs, dtype)
    z = own(plan, worker, top, int64(w.ACTIVATION), dtype)
    delta = own(plan, worker, top, int64(w.DELTA), dtype)
    y, weights = pointer(plan[w.Y], dtype), pointer(plan[w.ROW_WEIGHTS], dtype)
    units = whole_blocks(outputs, dtype)
    own_delta = moved(judged, units * lanes)
    own_weights = moved(own_delta, units * lanes)
    found = moved(own_weights, lanes)
    told_weights = address_of(own_weights) if plan[w.ROW_WEIGHTS] != 0 else int64(0)
    whole = (tile.rows + lanes - 1) // lanes * lanes
    clear_rows(z, tile.rows, whole, outputs, step, dtype)
    clear_rows(delta, tile.rows, whole, outputs, step, dtype)
    for i in range(tile.rows):
        row = row_number(plan, tile.start + i)
        for o in range(0, outputs, lanes):
            store(delta, i * step + o, load_part(y, row * outputs + o, outputs - o, dtype))
    for first in range(0, tile.rows, lanes):
        count = min(lanes, tile.rows - first)
        for o in range(0, outputs, lanes):
            at = first * step + o
            transpose(moved(z, at), step, moved(judged, o * lanes), lanes, dtype)
            transpose(moved(delta, at), step, moved(own_delta, o * lanes), lanes, dtype)
        if plan[w.ROW_WEIGHTS] != 0:
            store(own_weights, 0, zeros(dtype))
            for i in range(count):
                own_weights[i] = weights[row_number(plan, tile.start + first + i)]
        work = Outputs(
            plan[w.LOSS_FUNCTION], address_of(judged), address_of(own_delta), outputs, int64(0),
            count, told_weights, _share(plan, tile.step), address_of(found),
            plan[w.METRIC_SCALE], loss_cap(plan),
        )  # fmt: skip
        call_region(plan[w.OUTPUT_REGION], words_of(work), 0)
        for at in range(0, 2 * lanes, lanes):
            store(totals, at, load(totals, at, dtype) + load(found, at, dtype))
        for o in range(0, outputs, lanes):
            target = moved(delta, first * step + o)
            transpose(moved(own_delta, o * lanes), lanes, target, step, dtype)


@jit
def write_outputs(plan, worker, tile, dtype):
    """OUT <- Z of the last layer, or its sigmoid."""
    lanes = lanes_of(dtype)
    top = plan[w.LAYERS] - 1
    outputs = layer_word(plan, top, w.OUTPUTS)
    step = row_step(outputs, dtype)
    z = own(plan, worker, top, int64(w.ACTIVATION), dtype)
    if plan[w.SIGMOID_OUT] != 0:
        apply_sigmoid(z, tile.rows, outputs, step, dtype)
    out = moved(pointer(plan[w.OUT], dtype), tile.start * outputs)
    for i in range(tile.rows):
        for o in range(0, outputs, lanes):
            store_part(out, i * outputs + o, outputs - o, load(z, i * step + o, dtype))
