"""Loops over the vectors of a row, one for each of a table of functions of a vector.

As intrinsics that are given the functions, and switch between them: written out, a loop for each
function and the questions which it is took longer to compile than the functions themselves.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic

from fastbp.kernels.compile.translate import call_of
from fastbp.kernels.simd.ir import emit_loop, vector_load, vector_store
from fastbp.kernels.simd.vectors import Vector, element_of, vector_of

__all__ = ["results_by_code", "slopes_by_code", "values_by_code"]

_WORD = ir.IntType(64)
_Body = Callable[[ir.Value], None]
_Caller = Callable[[Any, ir.IRBuilder, Any], Any]


def _caller(typingctx: Any, function: Any, dtype: Any) -> _Caller | None:
    """What emits a call of ``function(vector, dtype)``; None of None."""
    if function is None:
        return None
    element = element_of(dtype)
    return call_of(typingctx, function, vector_of(element), element)


def _load(ctx: Any, builder: ir.IRBuilder, row: Any, j: Any, target: Vector) -> Any:
    return vector_load(builder, builder.gep(row, [j]), ctx.get_value_type(target))


def _emit_loops(
    builder: ir.IRBuilder, code: Any, count: Any, lanes: int, bodies: Mapping[int, _Body]
) -> None:
    """A loop for each code, by its body, of which one runs; none for other codes."""
    end = builder.append_basic_block("end")
    switch = builder.switch(code, end)
    for number, emit in bodies.items():
        block = builder.append_basic_block("code")
        switch.add_case(_WORD(number), block)
        builder.position_at_end(block)

        def body(j: Any, _: Any, emit: _Body = emit) -> list[Any]:
            emit(j)
            return []

        emit_loop(builder, _WORD(0), count, lanes, [], body)
        builder.branch(end)
    builder.position_at_end(end)


def results_by_code(table: Mapping[int, Any]) -> Any:
    """``f(code, source, target, count, dtype)``: target[j] <- g(source[j]), g by the table.

    ``count`` elements are whole vectors.
    """

    @intrinsic
    def give_results(
        typingctx: Any, code: Any, source: Any, target: Any, count: Any, dtype: Any
    ) -> Any:
        kind = vector_of(element_of(dtype))
        calls = {number: _caller(typingctx, f, dtype) for number, f in table.items()}

        def codegen(ctx: Any, builder: Any, sig: Any, args: Any) -> Any:
            code_, source_, target_, count_, _ = args

            def body_of(function: Any) -> _Body:
                def body(j: Any) -> None:
                    result = function(ctx, builder, _load(ctx, builder, source_, j, kind))
                    vector_store(builder, result, builder.gep(target_, [j]))

                return body

            bodies = {number: body_of(function) for number, function in calls.items()}
            _emit_loops(builder, code_, count_, kind.lanes, bodies)
            return ctx.get_dummy_value()

        word = types.int64
        return types.void(word, source, target, word, dtype), codegen

    return give_results


def values_by_code(table: Mapping[int, tuple[Any, Any]]) -> Any:
    """``f(code, c, bias, step, second, count, dtype)``: c[j] <- g(x), x = c[j] + bias[j * step].

    g is the first of the table's functions for a code. The second, unless it is None or ``second``
    points to 0, is its slope: second[j] <- slope(x). ``count`` elements are whole vectors.
    """

    @intrinsic
    def give_values(
        typingctx: Any, code: Any, c: Any, bias: Any, step: Any, second: Any, count: Any, dtype: Any
    ) -> Any:
        target = vector_of(element_of(dtype))
        calls = {
            number: [_caller(typingctx, f, dtype) for f in functions]
            for number, functions in table.items()
        }

        def codegen(ctx: Any, builder: Any, sig: Any, args: Any) -> Any:
            code_, c_, bias_, step_, second_, count_, _ = args
            wanted = builder.icmp_unsigned("!=", builder.ptrtoint(second_, _WORD), _WORD(0))

            def body_of(value: Any, slope: Any) -> _Body:
                def body(j: Any) -> None:
                    beside = _load(ctx, builder, bias_, builder.mul(j, step_), target)
                    x = builder.fadd(_load(ctx, builder, c_, j, target), beside)
                    vector_store(builder, value(ctx, builder, x), builder.gep(c_, [j]))
                    if slope is not None:
                        with builder.if_then(wanted):
                            s = slope(ctx, builder, x)
                            vector_store(builder, s, builder.gep(second_, [j]))

                return body

            bodies = {number: body_of(*pair) for number, pair in calls.items()}
            _emit_loops(builder, code_, count_, target.lanes, bodies)
            return ctx.get_dummy_value()

        word = types.int64
        return types.void(word, c, bias, word, second, word, dtype), codegen

    return give_values


def slopes_by_code(table: Mapping[int, Any]) -> Any:
    """``f(code, target, source, step, a, count, dtype)``.

    target[j] <- source[j * step] * slope(a[j]), for ``count`` elements, which are whole vectors. In
    the table of slopes, None stands for that of which a is the slope itself.
    """

    @intrinsic
    def give_slopes(
        typingctx: Any, code: Any, target: Any, source: Any, step: Any, a: Any, count: Any,
        dtype: Any,
    ) -> Any:  # fmt: skip
        kind = vector_of(element_of(dtype))
        calls = {number: _caller(typingctx, f, dtype) for number, f in table.items()}

        def codegen(ctx: Any, builder: Any, sig: Any, args: Any) -> Any:
            code_, target_, source_, step_, a_, count_, _ = args

            def body_of(slope: Any) -> _Body:
                def body(j: Any) -> None:
                    factor = _load(ctx, builder, a_, j, kind)
                    if slope is not None:
                        factor = slope(ctx, builder, factor)
                    before = _load(ctx, builder, source_, builder.mul(j, step_), kind)
                    vector_store(builder, builder.fmul(before, factor), builder.gep(target_, [j]))

                return body

            bodies = {number: body_of(slope) for number, slope in calls.items()}
            _emit_loops(builder, code_, count_, kind.lanes, bodies)
            return ctx.get_dummy_value()

        word = types.int64
        return types.void(word, target, source, word, a, word, dtype), codegen

    return give_slopes
