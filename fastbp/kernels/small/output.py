"""From Z of the last layer to its delta, or to what the network gives."""

from __future__ import annotations

from numba import int64

from fastbp.kernels import plan as w
from fastbp.kernels.compile.calls import call_region, words_of
from fastbp.kernels.compile.jit import jit
from fastbp.kernels.functions.outputs import Outputs
from fastbp.kernels.plan import layer_word, row_number, step_numbers
from fastbp.kernels.simd.vectors import address_of, lanes_of, load, moved, pointer, store
from fastbp.kernels.small.layers import apply_sigmoid, own, row_step

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
    own_delta = moved(judged, outputs * lanes)
    own_weights = moved(own_delta, outputs * lanes)
    found = moved(own_weights, lanes)
    told_weights = address_of(own_weights) if plan[w.ROW_WEIGHTS] != 0 else int64(0)
    for first in range(0, tile.rows, lanes):
        count = min(lanes, tile.rows - first)
        for i in range(lanes):
            at = first + min(i, count - 1)  # what is no row is a copy of the last one
            row = row_number(plan, tile.start + at)
            for o in range(outputs):
                judged[o * lanes + i] = z[at * step + o]
                own_delta[o * lanes + i] = y[row * outputs + o]
            if plan[w.ROW_WEIGHTS] != 0:
                own_weights[i] = weights[row]
        work = Outputs(
            plan[w.LOSS_FUNCTION], address_of(judged), address_of(own_delta), outputs, int64(0),
            count, told_weights, _share(plan, tile.step), address_of(found),
            plan[w.METRIC_SCALE],
        )  # fmt: skip
        call_region(plan[w.OUTPUT_REGION], words_of(work), 0)
        for at in range(0, 2 * lanes, lanes):
            store(totals, at, load(totals, at, dtype) + load(found, at, dtype))
        for i in range(count):
            for o in range(outputs):
                delta[(first + i) * step + o] = own_delta[o * lanes + i]


@jit
def write_outputs(plan, worker, tile, dtype):
    """OUT <- Z of the last layer, or its sigmoid."""
    top = plan[w.LAYERS] - 1
    outputs = layer_word(plan, top, w.OUTPUTS)
    step = row_step(outputs, dtype)
    z = own(plan, worker, top, int64(w.ACTIVATION), dtype)
    if plan[w.SIGMOID_OUT] != 0:
        apply_sigmoid(z, tile.rows, outputs, step, dtype)
    out = moved(pointer(plan[w.OUT], dtype), tile.start * outputs)
    for i in range(tile.rows):
        for o in range(outputs):
            out[i * outputs + o] = z[i * step + o]
