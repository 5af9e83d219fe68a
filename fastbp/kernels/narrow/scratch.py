"""Scratch memory of one thread, or share, for a narrow first layer; and a plan of its own.

In elements of ``dtype``, lanes = L and tile <= L rows:
    offsets, ahead    _ROWS int64 each: where rows of X begin, in elements. Of the tile that goes
                      back, then of rows to prefetch on that way; of the tile that goes forward
    prefetch          _ROWS int64: of rows to prefetch on the way forward, PREFETCHED for each group
    sums              (n1, _ROWS, L)
    act, delta        (units, L), layer 1 first
    tally             see `narrow.update`
    slopes            (units, L), of layers whose slopes do not follow from act
    judged            (3, L): weight, loss and metric of rows
    totals            n1, with room for _ROWS
    changes           (n1, GROUP): what W1 is changed by times each row, see `narrow.delayed`
    plan              a copy of the plan, with a copy of what is above W1, of what the optimizer
                      keeps of that, and of the settings
"""

from __future__ import annotations

import functools
from collections import namedtuple
from itertools import pairwise

from numba import float64, int64

from fastbp.kernels import plan as w
from fastbp.kernels.compile.jit import jit
from fastbp.kernels.linalg.row_ir import GROUP
from fastbp.kernels.narrow.layers import units
from fastbp.kernels.narrow.update import tally_size
from fastbp.kernels.plan import layer_word, plan_words
from fastbp.kernels.simd.vectors import address_of, lanes_of, moved, pointer, recast

__all__ = ["private_bytes", "return_parameters", "scratch", "take_parameters"]

_ROWS = 32  # of a tile and of what is prefetched: twice the lanes of the widest vector
_JUDGED = 3  # vectors: see `Scratch.judged`

Scratch = namedtuple(
    "Scratch",
    [
        "offsets",
        "next_offsets",
        "prefetch",
        "sums",
        "act",
        "delta",
        "slopes",
        "judged",
        "totals",
        "changes",
        "tally",
        "plan",
    ],
)

_plan_words = jit(plan_words)


@functools.cache
def private_bytes(layer_sizes: tuple[int, ...], lanes: int, itemsize: int, kept: int = 0) -> int:
    """Bytes of scratch memory that one thread needs.

    ``kept`` is how many numbers an optimizer keeps of each parameter, at most.
    """
    n1, units = layer_sizes[1], sum(layer_sizes[1:])
    above = sum((a + 1) * b for a, b in pairwise(layer_sizes[1:]))
    vectors = n1 * _ROWS + 3 * units + (n1 + above + 2) + _JUDGED
    words = 3 * _ROWS + plan_words(len(layer_sizes) - 1) + w.SETTING_COUNT
    copies = (1 + kept) * (n1 + above)
    return words * 8 + (vectors * lanes + _ROWS + n1 * GROUP + copies) * itemsize


@jit
def scratch(plan, worker, dtype):
    """The scratch memory of a worker, or of the share with its number."""
    lanes = lanes_of(dtype)
    n1 = layer_word(plan, 0, w.OUTPUTS)
    offsets = pointer(plan[w.PRIVATE] + worker * plan[w.PRIVATE_STEP], int64)
    next_offsets = moved(offsets, _ROWS)
    prefetch = moved(next_offsets, _ROWS)
    sums = recast(moved(prefetch, _ROWS), dtype)
    act = moved(sums, n1 * _ROWS * lanes)
    delta = moved(act, units(plan) * lanes)
    tally = moved(delta, units(plan) * lanes)
    slopes = moved(tally, tally_size(plan, dtype))
    judged = moved(slopes, units(plan) * lanes)
    totals = moved(judged, _JUDGED * lanes)
    changes = moved(totals, _ROWS)
    own_plan = recast(moved(changes, n1 * GROUP), int64)
    return Scratch(
        offsets, next_offsets, prefetch, sums, act, delta, slopes, judged, totals, changes, tally,
        own_plan,
    )  # fmt: skip


@jit
def _copy(source, target, count):
    for i in range(count):
        target[i] = source[i]


@jit
def _field(kind, number):
    """The word of W or b of a layer (``kind``), or of the first or second that is kept of it."""
    if number == 0:
        return kind
    return (w.WEIGHT_1 if kind == w.WEIGHT else w.BIAS_1) + number - 1


@jit
def _take(plan, own, layer, kind, count, copy, dtype):
    """Copy W or b of a layer, and what is kept of it; where the next copy may begin."""
    for number in range(3):
        word = w.LAYER + layer * w.LAYER_WORDS + _field(kind, number)
        if plan[word] != 0:
            _copy(pointer(plan[word], dtype), copy, count)
            own[word] = address_of(copy)
            copy = moved(copy, count)
    return copy


@jit
def _return(plan, own, layer, kind, count, dtype):
    for number in range(3):
        word = w.LAYER + layer * w.LAYER_WORDS + _field(kind, number)
        if plan[word] != 0:
            _copy(pointer(own[word], dtype), pointer(plan[word], dtype), count)


@jit
def take_parameters(plan, own, dtype):
    """Make ``own`` a copy of the plan with settings, b1 and parameters above of its own.

    What an optimizer keeps of these is copied too.
    """
    words = _plan_words(plan[w.LAYERS])
    _copy(plan, own, words)
    settings = recast(moved(own, words), float64)
    _copy(pointer(plan[w.SETTINGS], float64), settings, w.SETTING_COUNT)
    own[w.SETTINGS] = address_of(settings)
    copy = recast(moved(settings, w.SETTING_COUNT), dtype)
    for layer in range(plan[w.LAYERS]):
        outputs = layer_word(plan, layer, w.OUTPUTS)
        copy = _take(plan, own, layer, int64(w.BIAS), outputs, copy, dtype)
        if layer > 0:
            count = outputs * layer_word(plan, layer, w.INPUTS)
            copy = _take(plan, own, layer, int64(w.WEIGHT), count, copy, dtype)


@jit
def return_parameters(plan, own, dtype):
    """Write what `take_parameters` has copied, and what has become of it, back."""
    _copy(pointer(own[w.SETTINGS], float64), pointer(plan[w.SETTINGS], float64), w.SETTING_COUNT)
    for layer in range(plan[w.LAYERS]):
        outputs = layer_word(plan, layer, w.OUTPUTS)
        _return(plan, own, layer, int64(w.BIAS), outputs, dtype)
        if layer > 0:
            count = outputs * layer_word(plan, layer, w.INPUTS)
            _return(plan, own, layer, int64(w.WEIGHT), count, dtype)
