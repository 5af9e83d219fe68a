"""Inner loops of a narrow first layer that pass over its weights, see `narrow_tiles`."""

from __future__ import annotations

import functools
from typing import Any

from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic

from fastbp.kernels.emit import (
    emit_prefetch,
    vector_fma,
    vector_load,
    vector_load_part,
    vector_splat,
    vector_store,
    vector_store_part,
)
from fastbp.kernels.narrow_emit import GROUP, OUTPUTS, WORD, Rows, pass_over, switch
from fastbp.kernels.vectors import vector_of

__all__ = ["scale_weights", "sweep_row"]

_TO_LEVEL_1 = 3  # LLVM's degree of locality


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
                load = vector_load if part is None else vector_load_part
                extra = [kind] if part is None else [part, kind]
                shifts = load(builder, builder.gep(shift_, [j]), *extra)
                scales = load(builder, builder.gep(scale_, [j]), *extra)
                updated = []
                for o in range(width):
                    weight = load(builder, builder.gep(sources[o], [j]), *extra)
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
def sweep_row(
    typingctx: Any,
    sums: Any,
    x: Any,
    last: Any,
    ahead: Any,
    later: Any,
    shift: Any,
    scale: Any,
    w: Any,
    ldw: Any,
    delta: Any,
    ldd: Any,
    j0: Any,
    count: Any,
    outputs: Any,
    updates: Any,
    keep: Any,
    factor: Any,
) -> Any:
    """W[o, j] <- keep * W[o, j] + factor * delta[o] * X[last, j]; sums += W * X[ahead].

    The step of `add_outer_products` and the product of `add_products`, for one row each and in
    one pass. ``last``, ``ahead`` and ``later`` are the rows' offsets; of ``later``, only lines are
    asked for. Without ``updates`` W is left as it is, and ``last`` is not read. The rows are
    preprocessed unless ``scale`` is a null pointer. sums[o * GROUP] is a vector, whose lanes add
    up to the dot product; delta[o] lies at delta[o * ldd].
    """
    vector = vector_of(w.dtype)

    def codegen(ctx: Any, builder: Any, sig: Any, args: Any) -> Any:
        kind = ctx.get_value_type(vector)
        (sums_, x_, last_, ahead_, later_, shift_, scale_, w_, ldw_, delta_, ldd_, j0_, count_,
         outputs_, updates_, keep_, factor_) = args  # fmt: skip
        keeps, factors = vector_splat(builder, keep_, kind), vector_splat(builder, factor_, kind)

        def emit(width: int, updates: bool, folds: bool) -> None:
            source = Rows(builder, x_, shift_ if folds else None, scale_ if folds else None, kind)
            slots = [builder.gep(sums_, [WORD(o * GROUP * kind.count)]) for o in range(width)]
            lines = [builder.gep(w_, [builder.mul(ldw_, WORD(o))]) for o in range(width)]
            slopes = []
            for o in range(width):
                slope = builder.load(builder.gep(delta_, [builder.mul(ldd_, WORD(o))]))
                slopes.append(vector_splat(builder, slope, kind))

            def body(j: ir.Value, part: Any, acc: list[ir.Value]) -> list[ir.Value]:
                load = vector_load if part is None else vector_load_part
                extra = [kind] if part is None else [part, kind]
                emit_prefetch(builder, builder.gep(x_, [builder.add(later_, j)]), _TO_LEVEL_1)
                fold = source.statistics(j, part)
                row = source.load(ahead_, j, part, fold)
                old = source.load(last_, j, part, fold) if updates else None
                updated = []
                for o in range(width):
                    place = builder.gep(lines[o], [j])
                    weight = load(builder, place, *extra)
                    if updates:
                        kept = builder.fmul(keeps, weight)
                        change = builder.fmul(slopes[o], old)
                        weight = vector_fma(builder, factors, change, kept)
                        if part is None:
                            vector_store(builder, weight, place)
                        else:
                            vector_store_part(builder, weight, place, part)
                    updated.append(vector_fma(builder, row, weight, acc[o]))
                return updated

            acc = [vector_load(builder, slot, kind) for slot in slots]
            acc = pass_over(builder, j0_, count_, kind.count, acc, body)
            for slot, value in zip(slots, acc, strict=True):
                vector_store(builder, value, slot)

        folded = builder.icmp_unsigned("!=", builder.ptrtoint(scale_, WORD), WORD(0))
        key = builder.add(outputs_, builder.select(folded, WORD(2 * OUTPUTS), WORD(0)))
        key = builder.add(key, builder.select(updates_, WORD(OUTPUTS), WORD(0)))
        cases: dict[int, Any] = {}
        for width in range(1, OUTPUTS + 1):
            for updates in (False, True):
                for folds in (False, True):
                    case = width + OUTPUTS * updates + 2 * OUTPUTS * folds
                    cases[case] = functools.partial(emit, width, updates, folds)
        switch(builder, key, cases, "row")
        return ctx.get_dummy_value()

    word, scalar = types.int64, w.dtype
    signature = types.void(
        sums, x, word, word, word, shift, scale, w, word, delta, word, word, word, word,
        types.boolean, scalar, scalar,
    )  # fmt: skip
    return signature, codegen
