"""Random bits that follow from a key and a number: the same ones whoever asks, and when.

Thirty-two bits of an element are a hash of its number and of a key: two rounds of multiplying and
shifting, with the multipliers of C. Wellons's ``lowbias32``, and the second half of the key added
between them. Keys are mixed by the finaliser of SplitMix64 (Steele, Lea, Flood, "Fast splittable
pseudorandom number generators", 2014). Both are good enough for dropout, and for nothing secret.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic

from fastbp.kernels.simd.ir import vector_splat
from fastbp.kernels.simd.vectors import element_of, vector_of

__all__ = ["kept", "mixed_key"]

_WORD = ir.IntType(64)
_HALF = ir.IntType(32)
_GOLDEN, _FIRST, _SECOND = 0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB


@intrinsic
def mixed_key(typingctx: Any, key: Any, number: Any) -> Any:
    """``mixed_key(key, number)``: another key, for a step, a layer and so on."""

    def codegen(ctx: Any, builder: Any, sig: Any, args: Any) -> Any:
        step = builder.mul(builder.add(args[1], _WORD(1)), _WORD(_GOLDEN))
        z = builder.add(args[0], step)
        for shift, factor in ((30, _FIRST), (27, _SECOND)):
            z = builder.mul(builder.xor(z, builder.lshr(z, _WORD(shift))), _WORD(factor))
        return builder.xor(z, builder.lshr(z, _WORD(31)))

    return types.int64(types.int64, types.int64), codegen


def _round(builder: ir.IRBuilder, x: ir.Value) -> ir.Value:
    """One round of ``lowbias32``."""

    def constant(value: int) -> ir.Constant:
        return ir.Constant(x.type, [value] * x.type.count)

    for shift, factor in ((16, 0x7FEB352D), (15, 0x846CA68B)):
        x = builder.mul(builder.xor(x, builder.lshr(x, constant(shift))), constant(factor))
    return builder.xor(x, builder.lshr(x, constant(16)))


@intrinsic
def kept(
    typingctx: Any, key: Any, index: Any, step: Any, threshold: Any, factor: Any, dtype: Any
) -> Any:
    """``kept(key, index, step, threshold, factor, dtype)``: a vector of 0 and ``factor``.

    Lane i belongs to element index + i * step, and is 0 if its bits are below ``threshold``.
    """
    target = vector_of(element_of(dtype))

    def codegen(ctx: Any, builder: Any, sig: Any, args: Any) -> Any:
        key_, index_, step_, threshold_, factor_, _ = args
        numbers = ir.VectorType(_HALF, target.lanes)

        def splat(value: ir.Value) -> ir.Value:
            return vector_splat(builder, builder.trunc(value, _HALF), numbers)

        iota = ir.Constant(numbers, list(range(target.lanes)))
        x = builder.add(splat(index_), builder.mul(iota, splat(step_)))
        x = _round(builder, builder.add(x, splat(key_)))
        x = _round(builder, builder.add(x, splat(builder.lshr(key_, _WORD(32)))))
        dropped = builder.icmp_unsigned("<", x, splat(threshold_))
        vector = ctx.get_value_type(target)
        value = ctx.cast(builder, factor_, factor, target.element)
        zero = ir.Constant(vector, [0.0] * target.lanes)
        return builder.select(dropped, zero, vector_splat(builder, value, vector))

    word = types.int64
    return target(word, word, word, word, factor, dtype), codegen
