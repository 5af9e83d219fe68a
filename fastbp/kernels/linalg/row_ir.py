"""What the inner loops of `row_products` have in common."""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba.core import types

from fastbp.kernels.simd.ir import (
    bytes_of,
    convert,
    emit_loop,
    emit_prefetch,
    vector_fma,
    vector_load,
    vector_load_part,
)

__all__ = [
    "GROUP",
    "OUTPUTS",
    "PREFETCHED",
    "TO_LEVEL_2",
    "WORD",
    "Rows",
    "emit_prefetches",
    "load_at",
    "optional",
    "pass_over",
    "switch",
]

GROUP = 4  # rows of X that one pass over W serves ...
OUTPUTS = 4  # ... and rows of W at most in one pass: GROUP x OUTPUTS accumulators
PREFETCHED = GROUP // 2  # rows of the next tile that such a pass prefetches, if X are floats
WORD = ir.IntType(64)
TO_LEVEL_1, TO_LEVEL_2 = 3, 2  # LLVM's degrees of locality

_AHEAD = 2048
"""Bytes of each of GROUP rows that are prefetched: a core's own prefetcher follows them less
well than one row. Forward from memory ran at 33 GB/s on a Zen 5 core without, 34 with 512, 36 with
1024, 38 with 2048; on two at 40 GB/s with 4096, where 59 and 60 came of 1024 and 2048."""


class Rows:
    """Loads vectors of preprocessed rows of X."""

    def __init__(
        self, builder: ir.IRBuilder, x: ir.Value, shift: Any, scale: Any, kind: ir.VectorType
    ):
        self.builder, self.x, self.shift, self.scale, self.kind = builder, x, shift, scale, kind
        self.raw = ir.VectorType(x.type.pointee, kind.count)
        if shift is not None:
            self.statistic = ir.VectorType(shift.type.pointee, kind.count)

    def statistics(self, j: ir.Value, count: ir.Value | None) -> tuple[Any, Any]:
        """shift[j:] and scale[j:], or Nones."""
        if self.shift is None:
            return None, None
        return tuple(
            load_at(self.builder, values, j, count, self.statistic)
            for values in (self.shift, self.scale)
        )

    def load(self, offset: ir.Value, j: ir.Value, count: ir.Value | None, folds: Any) -> ir.Value:
        """Row at ``offset``, columns j and on: x * scale + shift in the type of the product.

        Computed in the type of shift and scale, see `folding.folding_pointer`.
        """
        builder = self.builder
        raw = load_at(builder, self.x, builder.add(offset, j), count, self.raw)
        if folds[0] is not None:
            raw = vector_fma(builder, convert(builder, raw, self.statistic), folds[1], folds[0])
        return convert(builder, raw, self.kind)


def load_at(
    builder: ir.IRBuilder, line: ir.Value, j: ir.Value, part: Any, kind: ir.VectorType
) -> ir.Value:
    """The vector at line[j:], or its first ``part`` lanes, if that is not None."""
    address = builder.gep(line, [j])
    if part is None:
        return vector_load(builder, address, kind)
    return vector_load_part(builder, address, part, kind)


def pass_over(
    builder: ir.IRBuilder,
    j0: ir.Value,
    count: ir.Value,
    step: int,
    sums: list[ir.Value],
    body: Any,
) -> list[ir.Value]:
    """Emit ``body`` for each vector of columns j0 ... j0 + count; the last one may be a part."""
    whole = builder.and_(count, WORD(-step))
    stop = builder.add(j0, whole)
    sums = emit_loop(builder, j0, stop, step, sums, lambda j, s: body(j, None, s))
    rest = builder.sub(count, whole)
    end = builder.add(j0, count)
    # A loop of one turn or none, so that the sums stay phi nodes.
    return emit_loop(builder, stop, end, step, sums, lambda j, s: body(j, rest, s))


def emit_prefetches(
    builder: ir.IRBuilder, x: ir.Value, j: ir.Value, later: list[ir.Value], rows: list[ir.Value]
) -> None:
    """Prefetch columns j and on of the rows ``later``, and for those _AHEAD in ``rows``."""
    for start in later:
        emit_prefetch(builder, builder.gep(x, [builder.add(start, j)]), TO_LEVEL_2)
    ahead = builder.add(j, WORD(_AHEAD // bytes_of(x.type.pointee))) if rows else j
    for start in rows:
        emit_prefetch(builder, builder.gep(x, [builder.add(start, ahead)]), TO_LEVEL_1)


def optional(kind: Any, value: Any) -> Any:
    """An argument, or None where None was passed."""
    return None if isinstance(kind, types.NoneType) else value


def switch(builder: ir.IRBuilder, key: ir.Value, cases: dict[int, Any], name: str) -> None:
    """Emit a switch; ``cases`` maps a key to the function that emits its code."""
    after = builder.append_basic_block(f"{name}.end")
    choose = builder.switch(key, after)
    for value, emit in cases.items():
        block = builder.append_basic_block(name)
        choose.add_case(WORD(value), block)
        builder.position_at_end(block)
        emit()
        builder.branch(after)
    builder.position_at_end(after)
