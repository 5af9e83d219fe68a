"""Loops over the vectors of a row, for any function of a vector.

As intrinsics that are given the function: one loop for each function in the source of a region took
three times as long to compile as the functions themselves.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic

from fastbp.kernels.simd.ir import emit_loop, vector_load, vector_store
from fastbp.kernels.simd.vectors import element_of, vector_of

__all__ = ["give_slopes", "give_values"]

_WORD = ir.IntType(64)


def _caller(typingctx: Any, function: Any, dtype: Any) -> Callable[[Any, ir.IRBuilder, Any], Any]:
    """What emits a call of ``function(vector, dtype)``."""
    target = vector_of(element_of(dtype))
    signature = function.get_call_type(typingctx, (target, dtype), {})

    def emit(ctx: Any, builder: ir.IRBuilder, x: Any) -> Any:
        compiled = ctx.get_function(function, signature)
        ctx.add_linking_libs(getattr(compiled, "libs", ()))
        return compiled(builder, (x, ctx.get_constant_generic(builder, dtype, None)))

    return emit


def _load(ctx: Any, builder: ir.IRBuilder, row: Any, j: Any, dtype: Any) -> Any:
    kind = ctx.get_value_type(vector_of(element_of(dtype)))
    return vector_load(builder, builder.gep(row, [j]), kind)


@intrinsic
def give_values(
    typingctx: Any, function: Any, slope: Any, c: Any, bias: Any, step: Any, second: Any,
    count: Any, dtype: Any,
) -> Any:  # fmt: skip
    """c[j] <- g(x), x = c[j] + bias[j * step], for ``count`` elements, which are whole vectors.

    And, unless ``slope`` is None or ``second`` points to 0, second[j] <- slope(x).
    """
    call = _caller(typingctx, function, dtype)
    call_slope = None if slope == types.none else _caller(typingctx, slope, dtype)

    def codegen(ctx: Any, builder: Any, sig: Any, args: Any) -> Any:
        _, _, c_, bias_, step_, second_, count_, _ = args
        wanted = builder.icmp_unsigned("!=", builder.ptrtoint(second_, _WORD), _WORD(0))

        def body(j: Any, _: Any) -> list[Any]:
            beside = _load(ctx, builder, bias_, builder.mul(j, step_), dtype)
            x = builder.fadd(_load(ctx, builder, c_, j, dtype), beside)
            vector_store(builder, call(ctx, builder, x), builder.gep(c_, [j]))
            if call_slope is not None:
                with builder.if_then(wanted):
                    vector_store(builder, call_slope(ctx, builder, x), builder.gep(second_, [j]))
            return []

        emit_loop(builder, _WORD(0), count_, vector_of(element_of(dtype)).lanes, [], body)
        return ctx.get_dummy_value()

    word = types.int64
    return types.void(function, slope, c, bias, word, second, word, dtype), codegen


@intrinsic
def give_slopes(
    typingctx: Any, slope: Any, target: Any, source: Any, step: Any, a: Any, count: Any, dtype: Any
) -> Any:
    """target[j] <- source[j * step] * slope(a[j]), for ``count`` elements, whole vectors.

    If ``slope`` is None, a is the slope itself.
    """
    call = None if slope == types.none else _caller(typingctx, slope, dtype)

    def codegen(ctx: Any, builder: Any, sig: Any, args: Any) -> Any:
        _, target_, source_, step_, a_, count_, _ = args

        def body(j: Any, _: Any) -> list[Any]:
            factor = _load(ctx, builder, a_, j, dtype)
            if call is not None:
                factor = call(ctx, builder, factor)
            before = _load(ctx, builder, source_, builder.mul(j, step_), dtype)
            vector_store(builder, builder.fmul(before, factor), builder.gep(target_, [j]))
            return []

        emit_loop(builder, _WORD(0), count_, vector_of(element_of(dtype)).lanes, [], body)
        return ctx.get_dummy_value()

    word = types.int64
    return types.void(slope, target, source, word, a, word, dtype), codegen
