"""Inner loops of a narrow first layer that pass over its weights, see `row_products`."""

from __future__ import annotations

import functools
from typing import Any

from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic

from fastbp.kernels.linalg.row_ir import (
    GROUP,
    OUTPUTS,
    PREFETCHED,
    WORD,
    Rows,
    emit_prefetches,
    load_at,
    pass_over,
    switch,
)
from fastbp.kernels.simd.ir import (
    vector_fma,
    vector_load,
    vector_store,
    vector_store_part,
)
from fastbp.kernels.simd.vectors import vector_of

__all__ = ["PAIRS", "multiply_group", "multiply_row", "scale_weights"]

PAIRS = GROUP * (GROUP - 1) // 2  # of different rows of a group


@intrinsic
def scale_weights(
    typingctx: Any,
    scaled: Any,
    lds: Any,
    constants: Any,
    w: Any,
    ldw: Any,
    shift: Any,
    scale: Any,
    j0: Any,
    count: Any,
    outputs: Any,
) -> Any:
    """scaled[o, j] <- W[o, j] * scale[j]; W[o, j] * shift[j] is added to constants[o].

    For 1 ... OUTPUTS rows of both matrices. ``constants`` points to a vector for each row, whose
    lanes add up to the sum. If ``scaled`` is a null pointer, the sums are all.
    """
    vector = vector_of(w.dtype)

    def codegen(ctx: Any, builder: Any, sig: Any, args: Any) -> Any:
        kind = ctx.get_value_type(vector)
        scaled_, lds_, constants_, w_, ldw_, shift_, scale_, j0_, count_, outputs_ = args

        def emit(width: int, stores: bool) -> None:
            sources = [builder.gep(w_, [builder.mul(ldw_, WORD(o))]) for o in range(width)]
            targets = [builder.gep(scaled_, [builder.mul(lds_, WORD(o))]) for o in range(width)]
            slots = [builder.gep(constants_, [WORD(o * kind.count)]) for o in range(width)]

            def body(j: ir.Value, part: Any, acc: list[ir.Value]) -> list[ir.Value]:
                shifts = load_at(builder, shift_, j, part, kind)
                scales = load_at(builder, scale_, j, part, kind)
                updated = []
                for o in range(width):
                    weight = load_at(builder, sources[o], j, part, kind)
                    place = builder.gep(targets[o], [j])
                    if stores and part is None:
                        vector_store(builder, builder.fmul(weight, scales), place)
                    elif stores:
                        vector_store_part(builder, builder.fmul(weight, scales), place, part)
                    updated.append(vector_fma(builder, weight, shifts, acc[o]))
                return updated

            acc = [vector_load(builder, slot, kind) for slot in slots]
            acc = pass_over(builder, j0_, count_, kind.count, acc, body)
            for slot, value in zip(slots, acc, strict=True):
                vector_store(builder, value, slot)

        stored = builder.icmp_unsigned("!=", builder.ptrtoint(scaled_, WORD), WORD(0))
        key = builder.add(outputs_, builder.select(stored, WORD(OUTPUTS), WORD(0)))
        cases: dict[int, Any] = {}
        for width in range(1, OUTPUTS + 1):
            for stores in (False, True):
                cases[width + OUTPUTS * stores] = functools.partial(emit, width, stores)
        switch(builder, key, cases, "scale")
        return ctx.get_dummy_value()

    word = types.int64
    signature = types.void(scaled, word, constants, w, word, shift, scale, word, word, word)
    return signature, codegen


@intrinsic
def multiply_row(
    typingctx: Any,
    sums: Any,
    x: Any,
    offset: Any,
    shift: Any,
    scale: Any,
    w: Any,
    ldw: Any,
    j0: Any,
    count: Any,
    outputs: Any,
) -> Any:
    """sums[o * GROUP] += W[o] * (X[offset] * scale + shift), lane by lane.

    What `add_products` does, for one row that is preprocessed as it is read; it is much less code
    to compile than another copy of that would be.
    """
    vector = vector_of(w.dtype)

    def codegen(ctx: Any, builder: Any, sig: Any, args: Any) -> Any:
        kind = ctx.get_value_type(vector)
        sums_, x_, offset_, shift_, scale_, w_, ldw_, j0_, count_, outputs_ = args
        source = Rows(builder, x_, shift_, scale_, kind)

        def emit(width: int) -> None:
            slots = [builder.gep(sums_, [WORD(o * GROUP * kind.count)]) for o in range(width)]
            lines = [builder.gep(w_, [builder.mul(ldw_, WORD(o))]) for o in range(width)]

            def body(j: ir.Value, part: Any, acc: list[ir.Value]) -> list[ir.Value]:
                row = source.load(offset_, j, part, source.statistics(j, part))
                return [
                    vector_fma(builder, row, load_at(builder, line, j, part, kind), value)
                    for line, value in zip(lines, acc, strict=True)
                ]

            acc = [vector_load(builder, slot, kind) for slot in slots]
            acc = pass_over(builder, j0_, count_, kind.count, acc, body)
            for slot, value in zip(slots, acc, strict=True):
                vector_store(builder, value, slot)

        cases = {width: functools.partial(emit, width) for width in range(1, OUTPUTS + 1)}
        switch(builder, outputs_, cases, "row")
        return ctx.get_dummy_value()

    word = types.int64
    return types.void(sums, x, word, shift, scale, w, word, word, word, word), codegen


@intrinsic
def multiply_group(
    typingctx: Any,
    sums: Any,
    pairs: Any,
    x: Any,
    offsets: Any,
    shift: Any,
    scale: Any,
    w: Any,
    ldw: Any,
    j0: Any,
    count: Any,
    outputs: Any,
    later: Any,
) -> Any:
    """sums[o * GROUP + r] += W[o] * X[r], lane by lane, for GROUP rows; and rows with rows.

    What `add_products` does, for rows that are preprocessed as they are read, unless ``scale`` is
    a null pointer. Unless ``pairs`` is one, the products of rows (1, 0), (2, 0), (2, 1), (3, 0),
    ... are added to PAIRS vectors there. ``later`` as in `add_products`.
    """
    vector = vector_of(w.dtype)

    def codegen(ctx: Any, builder: Any, sig: Any, args: Any) -> Any:
        kind = ctx.get_value_type(vector)
        sums_, pairs_, x_, offsets_, shift_, scale_, w_, ldw_, j0_, count_, outputs_, later_ = args
        prefetches = x.dtype.bitwidth > 8
        lower = [(r, u) for r in range(GROUP) for u in range(r)]

        def emit(width: int, folds: bool, pairs: bool) -> None:
            source = Rows(builder, x_, shift_ if folds else None, scale_ if folds else None, kind)
            starts = [builder.load(builder.gep(offsets_, [WORD(r)])) for r in range(GROUP)]
            count = PREFETCHED if prefetches else 0
            later_starts = [builder.load(builder.gep(later_, [WORD(i)])) for i in range(count)]
            lines = [builder.gep(w_, [builder.mul(ldw_, WORD(o))]) for o in range(width)]
            slots = [builder.gep(sums_, [WORD(i * kind.count)]) for i in range(width * GROUP)]
            if pairs:
                slots += [builder.gep(pairs_, [WORD(i * kind.count)]) for i in range(PAIRS)]

            def body(j: ir.Value, part: Any, acc: list[ir.Value]) -> list[ir.Value]:
                emit_prefetches(builder, x_, j, later_starts, starts if prefetches else [])
                fold = source.statistics(j, part)
                rows = [source.load(start, j, part, fold) for start in starts]
                weights = [load_at(builder, line, j, part, kind) for line in lines]
                factors = [(weight, row) for weight in weights for row in rows]
                factors += [(rows[r], rows[u]) for r, u in lower if pairs]
                return [
                    vector_fma(builder, *factor, value)
                    for factor, value in zip(factors, acc, strict=True)
                ]

            acc = [vector_load(builder, slot, kind) for slot in slots]
            acc = pass_over(builder, j0_, count_, kind.count, acc, body)
            for slot, value in zip(slots, acc, strict=True):
                vector_store(builder, value, slot)

        key = outputs_
        for bit, address in ((OUTPUTS, scale_), (2 * OUTPUTS, pairs_)):
            given = builder.icmp_unsigned("!=", builder.ptrtoint(address, WORD), WORD(0))
            key = builder.add(key, builder.select(given, WORD(bit), WORD(0)))
        cases: dict[int, Any] = {}
        for width in range(1, OUTPUTS + 1):
            for folds in (False, True):
                for pairs in (False, True):
                    case = width + OUTPUTS * folds + 2 * OUTPUTS * pairs
                    cases[case] = functools.partial(emit, width, folds, pairs)
        switch(builder, key, cases, "group")
        return ctx.get_dummy_value()

    word = types.int64
    signature = types.void(sums, pairs, x, offsets, shift, scale, w, word, word, word, word, later)
    return signature, codegen
