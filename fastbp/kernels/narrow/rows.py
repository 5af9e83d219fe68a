"""The only code that reads X where the first layer is narrow: regions for each type of its values.

The methods (`columns`, `delayed`, `shards`, `forward`) know X by its address. They call, by
address too, one of three regions: FORWARD multiplies rows with W1, BACK adds their outer products
with delta to W1 or its gradient, GROUP multiplies rows with W1 and with each other. A region is one
for (dtype of the network, dtype of X, whether X is shifted and scaled as it is read); the inner
loops, emitted as LLVM instructions, are those of `row_products` and `weights`.
"""

from __future__ import annotations

from collections import namedtuple
from typing import NamedTuple

from numba import float32, float64, int64, uint8

from fastbp.kernels import plan as w
from fastbp.kernels.compile.calls import call_region, words_at, words_of
from fastbp.kernels.compile.jit import jit, region
from fastbp.kernels.linalg.row_ir import GROUP, OUTPUTS
from fastbp.kernels.linalg.row_products import add_outer_products, add_products
from fastbp.kernels.narrow.weights import multiply_group, multiply_row
from fastbp.kernels.plan import layer_word
from fastbp.kernels.simd.folding import folding_pointer
from fastbp.kernels.simd.vectors import (
    address_of,
    lanes_of,
    moved,
    pointer,
)

__all__ = ["Change", "TileBack", "add_gradient", "back", "forward", "group", "multiply_rows"]

PRODUCTS, ROW_OF_BYTES, GROUP_OF_STEPS = 0, 1, 2  # what is asked of FORWARD and GROUP


class _Forward(NamedTuple):
    """Add to sums[o * GROUP + i] the products of row i of X and row o of W1, lane by lane."""

    x: int
    shift: int
    scale: int
    offsets: int  # of the rows, in elements of X
    rows: int
    prefetch: int  # of rows to prefetch
    weight: int
    inputs: int
    outputs: int
    sums: int
    pairs: int
    column: int  # columns column ... column + columns
    columns: int


class _Back(NamedTuple):
    """target <- keep target + factor (sum of outer products of delta and rows of X)."""

    x: int
    shift: int
    scale: int
    offsets: int
    rows: int
    later: int  # rows to prefetch, whose offsets follow
    target: int
    inputs: int
    outputs: int
    delta: int
    ldd: int
    column: int
    columns: int
    keep: float
    factor: float
    sums_shift: int
    sums_scale: int
    totals: int


@jit
def multiply_rows(plan, what, offsets, rows, prefetch, weight, sums, pairs, j0, count):
    """Have the FORWARD region (or GROUP, if ``what`` is GROUP_OF_STEPS) multiply rows with W1.

    All but ``what``, ``rows``, ``j0`` and ``count`` are pointers.
    """
    work = _Forward(
        plan[w.X], plan[w.SHIFT], plan[w.SCALE], address_of(offsets), rows, address_of(prefetch),
        address_of(weight), layer_word(plan, 0, w.INPUTS), layer_word(plan, 0, w.OUTPUTS),
        address_of(sums), address_of(pairs), j0, count,
    )  # fmt: skip
    call_region(plan[w.FORWARD_REGION], words_of(work), what)


TileBack = namedtuple("TileBack", ["offsets", "rows", "later", "delta", "ldd"])
"""Rows that go back: where they begin, how many, how many are prefetched whose offsets follow; and
their delta, with the distance of those of two outputs."""

Change = namedtuple("Change", ["keep", "factor", "sums_shift", "sums_scale", "totals"])
"""target <- keep target + factor products; how sums are preprocessed: see `add_outer_products`."""


@jit
def add_gradient(plan, target, tile, change, j0, count):
    """Have the BACK region change ``target``, W1 or its gradient, by a `TileBack`."""
    work = _Back(
        plan[w.X], plan[w.SHIFT], plan[w.SCALE], address_of(tile.offsets), tile.rows, tile.later,
        address_of(target), layer_word(plan, 0, w.INPUTS), layer_word(plan, 0, w.OUTPUTS),
        address_of(tile.delta), tile.ldd, j0, count, change.keep, change.factor,
        address_of(change.sums_shift), address_of(change.sums_scale), address_of(change.totals),
    )  # fmt: skip
    call_region(plan[w.BACK_REGION], words_of(work), 0)


@jit
def _multiply(it, x, shift, scale, dtype):
    """PRODUCTS; ``shift`` and ``scale`` are pointers, or None where X is read as it is."""
    lanes = lanes_of(dtype)
    n0, n1 = it.inputs, it.outputs
    sums, weight = pointer(it.sums, dtype), pointer(it.weight, dtype)
    offsets, prefetch = pointer(it.offsets, int64), pointer(it.prefetch, int64)
    for o in range(0, n1, OUTPUTS):
        add_products(
            moved(sums, o * GROUP * lanes), x, offsets, shift, scale, moved(weight, o * n0), n0,
            it.column, it.columns, it.rows, min(OUTPUTS, n1 - o), prefetch if o == 0 else offsets,
        )  # fmt: skip


@jit
def _forward(context, what, source, dtype):
    it = words_at(context, _Forward)
    _multiply(it, pointer(it.x, source), None, None, dtype)


@jit
def _forward_folded(context, what, source, dtype):
    it = words_at(context, _Forward)
    x = pointer(it.x, source)
    shift, scale = folding_pointer(it.shift, x, dtype), folding_pointer(it.scale, x, dtype)
    _multiply(it, x, shift, scale, dtype)


@jit
def _forward_bytes(context, what, source, dtype):
    it = words_at(context, _Forward)
    x = pointer(it.x, source)
    if what != ROW_OF_BYTES:
        _multiply(it, x, None, None, dtype)
        return
    lanes = lanes_of(dtype)
    n0, n1 = it.inputs, it.outputs
    for o in range(0, n1, OUTPUTS):
        multiply_row(
            moved(pointer(it.sums, dtype), o * GROUP * lanes), x, pointer(it.offsets, int64)[0],
            pointer(it.shift, dtype), pointer(it.scale, dtype),
            moved(pointer(it.weight, dtype), o * n0), n0, it.column, it.columns,
            min(OUTPUTS, n1 - o),
        )  # fmt: skip


@jit
def _group(context, what, source, dtype):
    it = words_at(context, _Forward)
    lanes = lanes_of(dtype)
    n0, n1 = it.inputs, it.outputs
    x = pointer(it.x, source)
    offsets, prefetch = pointer(it.offsets, int64), pointer(it.prefetch, int64)
    none = pointer(int64(0), dtype)
    for o in range(0, n1, OUTPUTS):
        multiply_group(
            moved(pointer(it.sums, dtype), o * GROUP * lanes),
            pointer(it.pairs, dtype) if o == 0 else none, x, offsets,
            folding_pointer(it.shift, x, dtype), folding_pointer(it.scale, x, dtype),
            moved(pointer(it.weight, dtype), o * n0), n0, it.column, it.columns,
            min(OUTPUTS, n1 - o),
            prefetch if o == 0 else offsets,
        )  # fmt: skip


@jit
def _add(it, x, shift, scale, dtype):
    n0, n1 = it.inputs, it.outputs
    for o in range(0, n1, OUTPUTS):
        add_outer_products(
            moved(pointer(it.target, dtype), o * n0), n0, x, pointer(it.offsets, int64), shift,
            scale, moved(pointer(it.delta, dtype), o * it.ldd), it.ldd, it.column, it.columns,
            it.rows, it.later if o == 0 else int64(0), min(OUTPUTS, n1 - o), dtype(it.keep),
            dtype(it.factor), pointer(it.sums_shift, dtype), pointer(it.sums_scale, dtype),
            moved(pointer(it.totals, dtype), o),
        )  # fmt: skip


@jit
def _back(context, what, source, dtype):
    it = words_at(context, _Back)
    _add(it, pointer(it.x, source), None, None, dtype)


@jit
def _back_folded(context, what, source, dtype):
    it = words_at(context, _Back)
    x = pointer(it.x, source)
    shift, scale = folding_pointer(it.shift, x, dtype), folding_pointer(it.scale, x, dtype)
    _add(it, x, shift, scale, dtype)


@region
def _forward_float32_of_float32(context: int, worker: int) -> None:
    _forward(context, worker, float32, float32)


@region
def _forward_float32_of_float32_folded(context: int, worker: int) -> None:
    _forward_folded(context, worker, float32, float32)


@region
def _forward_float32_of_float64_folded(context: int, worker: int) -> None:
    _forward_folded(context, worker, float64, float32)


@region
def _forward_float32_of_uint8(context: int, worker: int) -> None:
    _forward_bytes(context, worker, uint8, float32)


@region
def _forward_float64_of_float64(context: int, worker: int) -> None:
    _forward(context, worker, float64, float64)


@region
def _forward_float64_of_float64_folded(context: int, worker: int) -> None:
    _forward_folded(context, worker, float64, float64)


@region
def _forward_float64_of_float32_folded(context: int, worker: int) -> None:
    _forward_folded(context, worker, float32, float64)


@region
def _forward_float64_of_uint8(context: int, worker: int) -> None:
    _forward_bytes(context, worker, uint8, float64)


@region
def _back_float32_of_float32(context: int, worker: int) -> None:
    _back(context, worker, float32, float32)


@region
def _back_float32_of_float32_folded(context: int, worker: int) -> None:
    _back_folded(context, worker, float32, float32)


@region
def _back_float32_of_float64_folded(context: int, worker: int) -> None:
    _back_folded(context, worker, float64, float32)


@region
def _back_float32_of_uint8(context: int, worker: int) -> None:
    _back(context, worker, uint8, float32)


@region
def _back_float64_of_float64(context: int, worker: int) -> None:
    _back(context, worker, float64, float64)


@region
def _back_float64_of_float64_folded(context: int, worker: int) -> None:
    _back_folded(context, worker, float64, float64)


@region
def _back_float64_of_float32_folded(context: int, worker: int) -> None:
    _back_folded(context, worker, float32, float64)


@region
def _back_float64_of_uint8(context: int, worker: int) -> None:
    _back(context, worker, uint8, float64)


@region
def _group_float32_of_float32(context: int, worker: int) -> None:
    _group(context, worker, float32, float32)


@region
def _group_float32_of_float64(context: int, worker: int) -> None:
    _group(context, worker, float64, float32)


@region
def _group_float32_of_uint8(context: int, worker: int) -> None:
    _group(context, worker, uint8, float32)


@region
def _group_float64_of_float64(context: int, worker: int) -> None:
    _group(context, worker, float64, float64)


@region
def _group_float64_of_float32(context: int, worker: int) -> None:
    _group(context, worker, float32, float64)


@region
def _group_float64_of_uint8(context: int, worker: int) -> None:
    _group(context, worker, uint8, float64)


forward = {
    ("float32", "float32", False): _forward_float32_of_float32,
    ("float32", "float32", True): _forward_float32_of_float32_folded,
    ("float32", "float64", True): _forward_float32_of_float64_folded,
    ("float32", "uint8", False): _forward_float32_of_uint8,
    ("float32", "uint8", True): _forward_float32_of_uint8,
    ("float64", "float64", False): _forward_float64_of_float64,
    ("float64", "float64", True): _forward_float64_of_float64_folded,
    ("float64", "float32", True): _forward_float64_of_float32_folded,
    ("float64", "uint8", False): _forward_float64_of_uint8,
    ("float64", "uint8", True): _forward_float64_of_uint8,
}
"""The FORWARD region for (dtype of the network, dtype of X, whether shift and scale are given).

For floats of another type than the network's there is none without shift and scale: the caller
passes zeros and ones, which leave every value as it is.
"""

back = {
    ("float32", "float32", False): _back_float32_of_float32,
    ("float32", "float32", True): _back_float32_of_float32_folded,
    ("float32", "float64", True): _back_float32_of_float64_folded,
    ("float32", "uint8", False): _back_float32_of_uint8,
    ("float32", "uint8", True): _back_float32_of_uint8,
    ("float64", "float64", False): _back_float64_of_float64,
    ("float64", "float64", True): _back_float64_of_float64_folded,
    ("float64", "float32", True): _back_float64_of_float32_folded,
    ("float64", "uint8", False): _back_float64_of_uint8,
    ("float64", "uint8", True): _back_float64_of_uint8,
}
"""The BACK region, likewise."""

group = {
    ("float32", "float32", False): _group_float32_of_float32,
    ("float32", "float32", True): _group_float32_of_float32,
    ("float32", "float64", True): _group_float32_of_float64,
    ("float32", "uint8", False): _group_float32_of_uint8,
    ("float32", "uint8", True): _group_float32_of_uint8,
    ("float64", "float64", False): _group_float64_of_float64,
    ("float64", "float64", True): _group_float64_of_float64,
    ("float64", "float32", True): _group_float64_of_float32,
    ("float64", "uint8", False): _group_float64_of_uint8,
    ("float64", "uint8", True): _group_float64_of_uint8,
}
"""The GROUP region, likewise."""
