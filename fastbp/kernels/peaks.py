"""Two regions that do nothing but meet the machine's limits: multiply-adds, and reading.

The contexts are int64 words, given with each region. See `fastbp.engine.peaks` for who calls them.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import float32, float64, int64
from numba.core import types
from numba.extending import intrinsic

from fastbp.kernels.compile import machine
from fastbp.kernels.compile.jit import jit, region
from fastbp.kernels.simd.ir import emit_loop, vector_fma, vector_load, vector_store
from fastbp.kernels.simd.vectors import lanes_of, load, moved, pointer, store, vector_of

__all__ = ["ACCUMULATORS", "READ_STEP", "multiply_add_regions", "read_region"]

# Sums that do not wait for each other. A core needs latency times throughput of them, at most 10
# on today's CPUs (5 cycles, 2 a cycle); two more registers hold the factors.
ACCUMULATORS = 12 if machine.VECTOR_REGISTERS == 16 else 24
_READ_VECTORS = 8
READ_STEP = _READ_VECTORS * machine.VECTOR_BITS // 32
"""float32 values that one turn of the reading loop takes."""


@intrinsic
def _multiply_adds(typingctx: Any, values: Any, turns: Any) -> Any:
    """``_multiply_adds(values, turns)``: ``turns`` times a <- a * x + y for each accumulator a.

    ``values`` points to ACCUMULATORS + 2 vectors: the accumulators, read and written, then x and y.
    The accumulators must start from different values: LLVM would merge those that are alike.
    """
    vector = vector_of(values.dtype)

    def codegen(ctx: Any, builder: Any, sig: Any, args: Any) -> Any:
        kind = ctx.get_value_type(vector)
        word = ir.IntType(64)
        addresses = [
            builder.gep(args[0], [word(i * vector.lanes)]) for i in range(ACCUMULATORS + 2)
        ]
        *sums, x, y = (vector_load(builder, address, kind) for address in addresses)

        def body(_: ir.Value, sums: list[ir.Value]) -> list[ir.Value]:
            return [vector_fma(builder, a, x, y) for a in sums]

        sums = emit_loop(builder, word(0), args[1], 1, sums, body)
        for address, value in zip(addresses, sums, strict=False):
            vector_store(builder, value, address)
        return ctx.get_dummy_value()

    return types.void(values, types.int64), codegen


@jit
def _peak(context, worker, dtype):
    words = pointer(context, int64)
    values = pointer(words[0], dtype)
    _multiply_adds(moved(values, worker * words[1]), words[2])


@region
def _peak_float32(context: int, worker: int) -> None:
    """Words: [0] address of the values, [1] elements between workers' values, [2] turns."""
    _peak(context, worker, float32)


@region
def _peak_float64(context: int, worker: int) -> None:
    """As `_peak_float32`."""
    _peak(context, worker, float64)


@region
def read_region(context: int, worker: int) -> None:
    """Read a part of an array for each worker, and leave the sum of it.

    Words: [0] address of float32 values, [1] how many each worker reads (a multiple of READ_STEP),
    [2] address of READ_STEP values for each worker's sums.
    """
    words = pointer(context, int64)
    count = words[1]
    data = moved(pointer(words[0], float32), worker * count)
    sums = moved(pointer(words[2], float32), worker * READ_STEP)
    lanes = lanes_of(float32)
    s0 = s1 = s2 = s3 = s4 = s5 = s6 = s7 = load(sums, 0, float32)
    for i in range(0, count, READ_STEP):
        s0 = s0 + load(data, i, float32)
        s1 = s1 + load(data, i + lanes, float32)
        s2 = s2 + load(data, i + 2 * lanes, float32)
        s3 = s3 + load(data, i + 3 * lanes, float32)
        s4 = s4 + load(data, i + 4 * lanes, float32)
        s5 = s5 + load(data, i + 5 * lanes, float32)
        s6 = s6 + load(data, i + 6 * lanes, float32)
        s7 = s7 + load(data, i + 7 * lanes, float32)
    store(sums, 0, ((s0 + s1) + (s2 + s3)) + ((s4 + s5) + (s6 + s7)))


multiply_add_regions = {"float32": _peak_float32, "float64": _peak_float64}
