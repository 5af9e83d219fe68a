"""The inner loops of a narrow first layer and of thin products, emitted as LLVM instructions.

A few rows of X against a few rows of W, both long and contiguous. Neither is packed: a panel
would be used once. The kernels read X where it lies, through a table of row offsets (so a
shuffled batch needs no gathering), in its own dtype (bytes are widened in registers), and fold
the preprocessing x * scale + shift in on the way, if ``shift`` is not None.

Arguments that they share: ``x`` points to X's elements, of any of its dtypes; ``offsets`` to one
int64 for each row, in elements; ``shift`` and ``scale`` to one value for each column, or None.
Columns j0 ... j0 + count are meant; the last of them may be a part of a vector.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic

from fastbp.kernels.compile import machine
from fastbp.kernels.linalg.row_ir import (
    GROUP,
    OUTPUTS,
    PREFETCHED,
    TO_LEVEL_2,
    WORD,
    Rows,
    emit_prefetches,
    load_at,
    optional,
    pass_over,
    switch,
)
from fastbp.kernels.simd.ir import (
    emit_loop,
    emit_prefetch,
    vector_fma,
    vector_load,
    vector_load_part,
    vector_splat,
    vector_store,
    vector_store_part,
)
from fastbp.kernels.simd.vectors import vector_of

__all__ = ["GROUP", "OUTPUTS", "add_outer_products", "add_products"]

_LINE = 64 * 8  # bits of a cache line

# Where GROUP rows begin, their deltas for each row of W, and where those begin that they prefetch.
_Held = tuple[list[ir.Value], list[list[ir.Value]], list[ir.Value]]


@intrinsic
def add_products(
    typingctx: Any,
    sums: Any,
    x: Any,
    offsets: Any,
    shift: Any,
    scale: Any,
    w: Any,
    ldw: Any,
    j0: Any,
    count: Any,
    rows: Any,
    outputs: Any,
    later: Any,
) -> Any:
    """Add to sums[o * GROUP + i] the products, lane by lane, of row i of X and row o of W.

    ``sums`` points to GROUP * outputs vectors, whose lanes add up to the rows' dot products when
    all columns are through: the order of the additions does not depend on how the columns are cut,
    as long as each cut is whole vectors. ``rows`` is 1 ... GROUP, ``outputs`` 1 ... OUTPUTS. ``w``
    points to row 0 of W, rows ``ldw`` elements apart. With fewer than GROUP rows, one row at a time
    is computed; with GROUP rows of floats, the same columns of PREFETCHED other rows are
    prefetched, whose offsets ``later`` points to, unless it is None.
    """
    vector = vector_of(w.dtype)

    def codegen(ctx: Any, builder: Any, sig: Any, args: Any) -> Any:
        kind = ctx.get_value_type(vector)
        sums_, x_, offsets_, shift_, scale_, w_, ldw_, j0_, count_, rows_, outputs_, later_ = args
        source = Rows(builder, x_, optional(shift, shift_), optional(scale, scale_), kind)
        # Bytes are few: there, widening takes the time.
        prefetches = x.dtype.bitwidth > 8 and not isinstance(later, types.NoneType)

        def emit(first: ir.Value, height: int, width: int) -> None:
            starts = [
                builder.load(builder.gep(offsets_, [builder.add(first, WORD(i))]))
                for i in range(height)
            ]
            slots = [
                builder.gep(
                    sums_,
                    [builder.mul(builder.add(first, WORD(o * GROUP + i)), WORD(kind.count))],
                )
                for i in range(height)
                for o in range(width)
            ]
            lines = [builder.gep(w_, [builder.mul(ldw_, WORD(o))]) for o in range(width)]
            later_starts = [
                builder.load(builder.gep(later_, [WORD(i)]))
                for i in range(PREFETCHED if prefetches and height > 1 else 0)
            ]

            def body(j: ir.Value, part: Any, acc: list[ir.Value]) -> list[ir.Value]:
                emit_prefetches(
                    builder, x_, j, later_starts, starts if prefetches and height > 1 else []
                )
                weights = [load_at(builder, line, j, part, kind) for line in lines]
                folds = source.statistics(j, part)
                updated = []
                for i in range(height):
                    value = source.load(starts[i], j, part, folds)
                    for o in range(width):
                        updated.append(vector_fma(builder, value, weights[o], acc[i * width + o]))
                return updated

            acc = [vector_load(builder, slot, kind) for slot in slots]
            acc = pass_over(builder, j0_, count_, kind.count, acc, body)
            for slot, value in zip(slots, acc, strict=True):
                vector_store(builder, value, slot)

        def one_by_one(width: int) -> None:
            def turn(i: ir.Value, carried: list[ir.Value]) -> list[ir.Value]:
                emit(i, 1, width)
                return carried

            emit_loop(builder, WORD(0), rows_, 1, [], turn)

        full = builder.icmp_signed("==", rows_, WORD(GROUP))
        key = builder.add(outputs_, builder.select(full, WORD(OUTPUTS), WORD(0)))
        cases: dict[int, Any] = {}
        for width in range(1, OUTPUTS + 1):
            cases[width] = lambda width=width: one_by_one(width)
            cases[width + OUTPUTS] = lambda width=width: emit(WORD(0), GROUP, width)
        switch(builder, key, cases, "products")
        return ctx.get_dummy_value()

    word = types.int64
    signature = types.void(sums, x, offsets, shift, scale, w, word, word, word, word, word, later)
    return signature, codegen


@intrinsic
def add_outer_products(
    typingctx: Any,
    target: Any,
    ldt: Any,
    x: Any,
    offsets: Any,
    shift: Any,
    scale: Any,
    delta: Any,
    ldd: Any,
    j0: Any,
    count: Any,
    rows: Any,
    later: Any,
    outputs: Any,
    keep: Any,
    factor: Any,
    sums_shift: Any,
    sums_scale: Any,
    totals: Any,
) -> Any:
    """target[o, j] <- keep * target[o, j] + factor * sum over rows of delta[o, i] X[i, j].

    ``target`` points to row 0 of a matrix of ``outputs`` (1 ... OUTPUTS) rows, ``ldt`` elements
    apart; keep = 0 means that it is not read. delta[o, i] lies at delta[o * ldd + i]. The sum runs
    over the ``rows`` >= 0 of X in order. With keep = 1 - learning rate * weight decay and factor =
    -learning rate, ``target`` is the weight matrix itself. With keep = factor = 1 the products are
    added to ``target`` one by one. On the way the same columns of ``later`` more rows are
    prefetched, whose offsets follow those of the ``rows``, unless ``later`` is None: in each row's
    turn those of one of them, as a core drops some prefetches that come all at once.

    The preprocessing may be left to the sums: where ``sums_scale`` is not a null pointer, the sum
    over the rows is taken times sums_scale[j]; where ``sums_shift`` is not, sums_shift[j] *
    totals[o] is added to the target, totals[o] being factor * sum over rows of delta[o, i].
    """
    vector = vector_of(target.dtype)
    registers = machine.VECTOR_REGISTERS

    def codegen(ctx: Any, builder: Any, sig: Any, args: Any) -> Any:
        kind = ctx.get_value_type(vector)
        (target_, ldt_, x_, offsets_, shift_, scale_, delta_, ldd_, j0_, count_, rows_, later_,
         outputs_, keep_, factor_, sums_shift_, sums_scale_, totals_) = args  # fmt: skip
        source = Rows(builder, x_, optional(shift, shift_), optional(scale, scale_), kind)
        zero = ir.Constant(kind, [0.0] * kind.count)
        used = builder.fcmp_unordered("!=", keep_, ir.Constant(keep_.type, 0.0))
        scales_sums, shifts_sums = (
            builder.icmp_unsigned("!=", builder.ptrtoint(address, WORD), WORD(0))
            for address in (sums_scale_, sums_shift_)
        )
        prefetches = not isinstance(later, types.NoneType)
        one = ir.Constant(keep_.type, 1.0)
        adds = builder.and_(
            builder.fcmp_ordered("==", keep_, one), builder.fcmp_ordered("==", factor_, one)
        )
        adds = builder.and_(adds, builder.not_(builder.or_(scales_sums, shifts_sums)))
        keeps, factors = vector_splat(builder, keep_, kind), vector_splat(builder, factor_, kind)

        def start_of(i: ir.Value) -> ir.Value:
            return builder.load(builder.gep(offsets_, [i]))

        def deltas_of(i: ir.Value, width: int) -> list[ir.Value]:
            places = [builder.add(builder.mul(ldd_, WORD(o)), i) for o in range(width)]
            deltas = [builder.load(builder.gep(delta_, [place])) for place in places]
            return [vector_splat(builder, delta, kind) for delta in deltas]

        def hold(width: int) -> _Held:
            """GROUP rows, with their deltas and what they prefetch in registers for all columns."""
            numbers = [WORD(i) for i in range(GROUP)]
            later_starts = []
            for i in numbers:  # a row of its own, which is near, where there are fewer others
                other = builder.icmp_signed("<", i, later_)
                later_starts.append(start_of(builder.select(other, builder.add(rows_, i), i)))
            return (
                [start_of(i) for i in numbers],
                [deltas_of(i, width) for i in numbers],
                later_starts,
            )

        def emit(j: ir.Value, part: Any, width: int, vectors: int, held: _Held | None) -> None:
            columns = [builder.add(j, WORD(v * kind.count)) for v in range(vectors)]
            folds = [source.statistics(column, part) for column in columns]
            wide = vectors * kind.count if prefetches and vectors > 1 else 0
            lines = range(0, wide, _LINE // x.dtype.bitwidth)

            def body(i: ir.Value, acc: list[ir.Value]) -> list[ir.Value]:
                if lines:
                    with builder.if_then(builder.icmp_signed("<", i, later_)):
                        prefetch_row(i, [])
                return products(start_of(i), deltas_of(i, width), acc)

            def products(
                start: ir.Value, deltas: list[ir.Value], acc: list[ir.Value]
            ) -> list[ir.Value]:
                values = [
                    source.load(start, column, part, fold)
                    for column, fold in zip(columns, folds, strict=True)
                ]
                terms = [(delta, value) for delta in deltas for value in values]
                return [
                    vector_fma(builder, delta, value, old)
                    for (delta, value), old in zip(terms, acc, strict=True)
                ]

            def prefetch(start: ir.Value, at: int) -> None:
                column = builder.add(start, builder.add(j, WORD(at)))
                emit_prefetch(builder, builder.gep(x_, [column]), TO_LEVEL_2)

            def prefetch_row(i: ir.Value, carried: list[ir.Value]) -> list[ir.Value]:
                for at in lines:
                    prefetch(start_of(builder.add(rows_, i)), at)
                return carried

            def together(held: _Held, acc: list[ir.Value]) -> list[ir.Value]:
                """GROUP rows, each of which prefetches its share of the lines of all."""
                starts, deltas, later_starts = held
                for i in range(GROUP):
                    if lines[i::GROUP]:
                        with builder.if_then(builder.icmp_signed(">", later_, WORD(0))):
                            for at in lines[i::GROUP]:
                                for start in later_starts:
                                    prefetch(start, at)
                    acc = products(starts[i], deltas[i], acc)
                return acc

            places = [
                builder.gep(target_, [builder.add(builder.mul(ldt_, WORD(o)), column)])
                for o in range(width)
                for column in columns
            ]
            before = builder.block
            with builder.if_then(adds):
                old = [get(place, part) for place in places]
                inside = builder.block
            acc = either([zero] * len(places), before, old, inside)
            if lines:  # of rows that are left, where there are fewer to multiply
                emit_loop(builder, rows_, later_, 1, [], prefetch_row)
            if held is None:
                acc = emit_loop(builder, WORD(0), rows_, 1, acc, body)
            else:  # unrolled
                acc = together(held, acc)
            acc = scaled(acc, columns, part)
            with builder.if_else(adds) as (add, change):
                with add:
                    for place, value in zip(places, acc, strict=True):
                        put(value, place, part)
                with change:
                    write(acc, shifts(columns, part, width), places, part)

        def write(
            acc: list[ir.Value], added: list[ir.Value], places: list[ir.Value], part: Any
        ) -> None:
            with builder.if_else(used) as (update, overwrite):
                with update:
                    for place, value, more in zip(places, acc, added, strict=True):
                        kept = vector_fma(builder, keeps, get(place, part), more)
                        put(vector_fma(builder, factors, value, kept), place, part)
                with overwrite:
                    for place, value, more in zip(places, acc, added, strict=True):
                        put(vector_fma(builder, factors, value, more), place, part)

        def get(place: ir.Value, part: Any) -> ir.Value:
            if part is None:
                return vector_load(builder, place, kind)
            return vector_load_part(builder, place, part, kind)

        def put(value: ir.Value, place: ir.Value, part: Any) -> None:
            if part is None:
                vector_store(builder, value, place)
            else:
                vector_store_part(builder, value, place, part)

        def scaled(acc: list[ir.Value], columns: list[ir.Value], part: Any) -> list[ir.Value]:
            before = builder.block
            with builder.if_then(scales_sums):
                scales = [get(builder.gep(sums_scale_, [column]), part) for column in columns]
                products = [
                    builder.fmul(value, scales[i % len(columns)]) for i, value in enumerate(acc)
                ]
                inside = builder.block
            return either(acc, before, products, inside)

        def shifts(columns: list[ir.Value], part: Any, width: int) -> list[ir.Value]:
            before = builder.block
            with builder.if_then(shifts_sums):
                vectors = [get(builder.gep(sums_shift_, [column]), part) for column in columns]
                products = []
                for o in range(width):
                    total = builder.load(builder.gep(totals_, [WORD(o)]))
                    total = vector_splat(builder, total, kind)
                    products += [builder.fmul(value, total) for value in vectors]
                inside = builder.block
            return either([zero] * len(products), before, products, inside)

        def either(
            values: list[ir.Value], before: ir.Block, others: list[ir.Value], inside: ir.Block
        ) -> list[ir.Value]:
            chosen = []
            for value, other in zip(values, others, strict=True):
                phi = builder.phi(kind)
                phi.add_incoming(value, before)
                phi.add_incoming(other, inside)
                chosen.append(phi)
            return chosen

        def sweep(width: int) -> None:
            # width * vectors accumulators, the values of X, one delta
            vectors = max(1, min(4, (registers - 1) // (width + 1)))
            free = registers - vectors * (width + 1)
            if not prefetches or x.dtype.bitwidth == 8 or free < GROUP * width:
                passes(width, vectors, None)
                return
            with builder.if_else(builder.icmp_signed("==", rows_, WORD(GROUP))) as (group, others):
                with group:
                    passes(width, vectors, hold(width))
                with others:
                    passes(width, vectors, None)

        def passes(width: int, vectors: int, held: _Held | None) -> None:
            wide = vectors * kind.count
            whole = builder.sdiv(count_, WORD(wide))
            middle = builder.add(j0_, builder.mul(whole, WORD(wide)))

            def blocks(j: ir.Value, carried: list[ir.Value]) -> list[ir.Value]:
                emit(j, None, width, vectors, held)
                return carried

            emit_loop(builder, j0_, middle, wide, [], blocks)

            def single(j: ir.Value, part: Any, carried: list[ir.Value]) -> list[ir.Value]:
                emit(j, part, width, 1, held)
                return carried

            left = builder.sub(builder.add(j0_, count_), middle)
            pass_over(builder, middle, left, kind.count, [], single)

        cases = {width: (lambda width=width: sweep(width)) for width in range(1, OUTPUTS + 1)}
        switch(builder, outputs_, cases, "outer")
        return ctx.get_dummy_value()

    word, scalar = types.int64, target.dtype
    signature = types.void(
        target, word, x, offsets, shift, scale, delta, word, word, word, word, later, word,
        scalar, scalar, target, target, target,
    )  # fmt: skip
    return signature, codegen
