"""The two inner loops of a narrow first layer, emitted as LLVM instructions.

A few rows of X against a few rows of W, both long and contiguous. Neither is packed: a panel
would be used once. Both kernels read X where it lies, through a table of row offsets (so a
shuffled batch needs no gathering), in its own dtype (bytes are widened in registers), and fold
the preprocessing x * scale + shift in on the way, if ``shift`` is not None.

Arguments shared by both: ``x`` points to X's elements, of any of its dtypes; ``offsets`` to one
int64 for each row, in elements; ``shift`` and ``scale`` to one value for each column, or None.
Columns j0 ... j0 + count are meant; the last of them may be a part of a vector.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic

from fastbp.kernels import machine
from fastbp.kernels.vectors import (
    convert,
    emit_loop,
    emit_prefetch,
    vector_fma,
    vector_load,
    vector_load_part,
    vector_of,
    vector_splat,
    vector_store,
    vector_store_part,
)

__all__ = ["GROUP", "OUTPUTS", "add_outer_products", "add_products"]

GROUP = 4  # rows of X that one pass over W serves
OUTPUTS = 4  # rows of W at most in one pass: GROUP x OUTPUTS accumulators

_WORD = ir.IntType(64)
_LINE = 64 * 8  # bits of a cache line
_TO_LEVEL_2 = 2  # LLVM's degree of locality


class _Rows:
    """Loads vectors of preprocessed rows of X."""

    def __init__(
        self, builder: ir.IRBuilder, x: ir.Value, shift: Any, scale: Any, kind: ir.VectorType
    ):
        self.builder, self.x, self.shift, self.scale, self.kind = builder, x, shift, scale, kind
        self.raw = ir.VectorType(x.type.pointee, kind.count)

    def statistics(self, j: ir.Value, count: ir.Value | None) -> tuple[Any, Any]:
        """shift[j:] and scale[j:], or Nones."""
        if self.shift is None:
            return None, None
        return self._load(self.shift, j, count, self.kind), self._load(
            self.scale, j, count, self.kind
        )

    def load(self, offset: ir.Value, j: ir.Value, count: ir.Value | None, folds: Any) -> ir.Value:
        """Row at ``offset``, columns j and on: x * scale + shift in the type of the product."""
        builder = self.builder
        raw = self._load(self.x, builder.add(offset, j), count, self.raw)
        value = convert(builder, raw, self.kind)
        if folds[0] is not None:
            value = vector_fma(builder, value, folds[1], folds[0])
        return value

    def _load(self, ptr: ir.Value, j: ir.Value, count: Any, kind: ir.VectorType) -> ir.Value:
        address = self.builder.gep(ptr, [j])
        if count is None:
            return vector_load(self.builder, address, kind)
        return vector_load_part(self.builder, address, count, kind)


def _pass_over(
    builder: ir.IRBuilder,
    j0: ir.Value,
    count: ir.Value,
    step: int,
    sums: list[ir.Value],
    body: Any,
) -> list[ir.Value]:
    """Emit ``body`` for each vector of columns j0 ... j0 + count; the last one may be a part."""
    whole = builder.and_(count, _WORD(-step))
    stop = builder.add(j0, whole)
    sums = emit_loop(builder, j0, stop, step, sums, lambda j, s: body(j, None, s))
    rest = builder.sub(count, whole)
    end = builder.add(j0, count)
    # A loop of one turn or none, so that the sums stay phi nodes.
    return emit_loop(builder, stop, end, step, sums, lambda j, s: body(j, rest, s))


def _optional(kind: Any, value: Any) -> Any:
    return None if isinstance(kind, types.NoneType) else value


def _switch(builder: ir.IRBuilder, key: ir.Value, cases: dict[int, Any], name: str) -> None:
    """Emit a switch; ``cases`` maps a key to the function that emits its code."""
    after = builder.append_basic_block(f"{name}.end")
    choose = builder.switch(key, after)
    for value, emit in cases.items():
        block = builder.append_basic_block(name)
        choose.add_case(_WORD(value), block)
        builder.position_at_end(block)
        emit()
        builder.branch(after)
    builder.position_at_end(after)


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
) -> Any:
    """Add to sums[o * GROUP + i] the products, lane by lane, of row i of X and row o of W.

    ``sums`` points to GROUP * outputs vectors, whose lanes add up to the rows' dot products when
    all columns are through: the order of the additions does not depend on how the columns are cut,
    as long as each cut is whole vectors. ``rows`` is 1 ... GROUP, ``outputs`` 1 ... OUTPUTS.
    ``w`` points to row 0 of W, rows ``ldw`` elements apart. With fewer than GROUP rows, one row at
    a time is computed.
    """
    vector = vector_of(w.dtype)

    def codegen(ctx: Any, builder: Any, sig: Any, args: Any) -> Any:
        kind = ctx.get_value_type(vector)
        sums_, x_, offsets_, shift_, scale_, w_, ldw_, j0_, count_, rows_, outputs_ = args
        source = _Rows(builder, x_, _optional(shift, shift_), _optional(scale, scale_), kind)

        def emit(first: ir.Value, height: int, width: int) -> None:
            starts = [
                builder.load(builder.gep(offsets_, [builder.add(first, _WORD(i))]))
                for i in range(height)
            ]
            slots = [
                builder.gep(
                    sums_,
                    [builder.mul(builder.add(first, _WORD(o * GROUP + i)), _WORD(kind.count))],
                )
                for i in range(height)
                for o in range(width)
            ]
            lines = [builder.gep(w_, [builder.mul(ldw_, _WORD(o))]) for o in range(width)]

            def body(j: ir.Value, part: Any, acc: list[ir.Value]) -> list[ir.Value]:
                load = vector_load if part is None else vector_load_part
                extra = [kind] if part is None else [part, kind]
                weights = [load(builder, builder.gep(line, [j]), *extra) for line in lines]
                folds = source.statistics(j, part)
                updated = []
                for i in range(height):
                    value = source.load(starts[i], j, part, folds)
                    for o in range(width):
                        updated.append(vector_fma(builder, value, weights[o], acc[i * width + o]))
                return updated

            acc = [vector_load(builder, slot, kind) for slot in slots]
            acc = _pass_over(builder, j0_, count_, kind.count, acc, body)
            for slot, value in zip(slots, acc, strict=True):
                vector_store(builder, value, slot)

        def one_by_one(width: int) -> None:
            def turn(i: ir.Value, carried: list[ir.Value]) -> list[ir.Value]:
                emit(i, 1, width)
                return carried

            emit_loop(builder, _WORD(0), rows_, 1, [], turn)

        full = builder.icmp_signed("==", rows_, _WORD(GROUP))
        key = builder.add(outputs_, builder.select(full, _WORD(OUTPUTS), _WORD(0)))
        cases: dict[int, Any] = {}
        for width in range(1, OUTPUTS + 1):
            cases[width] = lambda width=width: one_by_one(width)
            cases[width + OUTPUTS] = lambda width=width: emit(_WORD(0), GROUP, width)
        _switch(builder, key, cases, "products")
        return ctx.get_dummy_value()

    word = types.int64
    signature = types.void(sums, x, offsets, shift, scale, w, word, word, word, word, word)
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
) -> Any:
    """target[o, j] <- keep * target[o, j] + factor * sum over rows of delta[o, i] X[i, j].

    ``target`` points to row 0 of a matrix of ``outputs`` (1 ... OUTPUTS) rows, ``ldt`` elements
    apart; keep = 0 means that it is not read. delta[o, i] lies at delta[o * ldd + i]. The sum runs
    over the ``rows`` >= 0 of X in order. With keep = 1 - learning rate * weight decay and factor =
    -learning rate, ``target`` is the weight matrix itself. On the way it asks for the same columns
    of ``later`` more rows, whose offsets follow those of the ``rows``.
    """
    vector = vector_of(target.dtype)
    registers = machine.VECTOR_REGISTERS

    def codegen(ctx: Any, builder: Any, sig: Any, args: Any) -> Any:
        kind = ctx.get_value_type(vector)
        (target_, ldt_, x_, offsets_, shift_, scale_, delta_, ldd_, j0_, count_, rows_, later_,
         outputs_, keep_, factor_) = args  # fmt: skip
        source = _Rows(builder, x_, _optional(shift, shift_), _optional(scale, scale_), kind)
        zero = ir.Constant(kind, [0.0] * kind.count)
        used = builder.fcmp_unordered("!=", keep_, ir.Constant(keep_.type, 0.0))
        keeps, factors = vector_splat(builder, keep_, kind), vector_splat(builder, factor_, kind)

        def emit(j: ir.Value, part: Any, width: int, vectors: int) -> None:
            columns = [builder.add(j, _WORD(v * kind.count)) for v in range(vectors)]
            folds = [source.statistics(column, part) for column in columns]

            def body(i: ir.Value, acc: list[ir.Value]) -> list[ir.Value]:
                start = builder.load(builder.gep(offsets_, [i]))
                values = [
                    source.load(start, column, part, fold)
                    for column, fold in zip(columns, folds, strict=True)
                ]
                updated = []
                for o in range(width):
                    at = builder.gep(delta_, [builder.add(builder.mul(ldd_, _WORD(o)), i)])
                    share = vector_splat(builder, builder.load(at), kind)
                    for v in range(vectors):
                        updated.append(vector_fma(builder, share, values[v], acc[o * vectors + v]))
                return updated

            def ask(i: ir.Value, carried: list[ir.Value]) -> list[ir.Value]:
                start = builder.load(builder.gep(offsets_, [builder.add(rows_, i)]))
                for at in range(0, vectors * kind.count, _LINE // x.dtype.bitwidth):
                    column = builder.add(start, builder.add(j, _WORD(at)))
                    emit_prefetch(builder, builder.gep(x_, [column]), _TO_LEVEL_2)
                return carried

            if vectors > 1:
                emit_loop(builder, _WORD(0), later_, 1, [], ask)
            acc = emit_loop(builder, _WORD(0), rows_, 1, [zero] * (width * vectors), body)
            places = [
                builder.gep(target_, [builder.add(builder.mul(ldt_, _WORD(o)), column)])
                for o in range(width)
                for column in columns
            ]
            with builder.if_else(used) as (update, overwrite):
                with update:
                    for place, value in zip(places, acc, strict=True):
                        if part is None:
                            old = vector_load(builder, place, kind)
                        else:
                            old = vector_load_part(builder, place, part, kind)
                        kept = builder.fmul(keeps, old)
                        put(vector_fma(builder, factors, value, kept), place, part)
                with overwrite:
                    for place, value in zip(places, acc, strict=True):
                        put(builder.fmul(factors, value), place, part)

        def put(value: ir.Value, place: ir.Value, part: Any) -> None:
            if part is None:
                vector_store(builder, value, place)
            else:
                vector_store_part(builder, value, place, part)

        def sweep(width: int) -> None:
            # width * vectors accumulators, the values of X, one delta, keep and factor
            vectors = max(1, min(4, (registers - 1) // (width + 1)))
            wide = vectors * kind.count
            whole = builder.sdiv(count_, _WORD(wide))
            middle = builder.add(j0_, builder.mul(whole, _WORD(wide)))

            def blocks(j: ir.Value, carried: list[ir.Value]) -> list[ir.Value]:
                emit(j, None, width, vectors)
                return carried

            emit_loop(builder, j0_, middle, wide, [], blocks)

            def single(j: ir.Value, part: Any, carried: list[ir.Value]) -> list[ir.Value]:
                emit(j, part, width, 1)
                return carried

            left = builder.sub(builder.add(j0_, count_), middle)
            _pass_over(builder, middle, left, kind.count, [], single)

        cases = {width: (lambda width=width: sweep(width)) for width in range(1, OUTPUTS + 1)}
        _switch(builder, outputs_, cases, "outer")
        return ctx.get_dummy_value()

    word, scalar = types.int64, target.dtype
    signature = types.void(
        target, word, x, offsets, shift, scale, delta, word, word, word, word, word, word,
        scalar, scalar,
    )  # fmt: skip
    return signature, codegen
