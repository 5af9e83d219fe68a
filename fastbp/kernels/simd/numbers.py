"""What functions of vectors are made of: constants, polynomials, and the bits of numbers."""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence
from typing import Any

from llvmlite import ir
from numba.extending import intrinsic

from fastbp.kernels.simd.ir import vector_fma
from fastbp.kernels.simd.vectors import element_of, vector_of

__all__ = [
    "constant",
    "copy_sign",
    "exponent_of",
    "mantissa_of",
    "polynomial",
    "rounded",
    "two_to",
]

# Adding 1.5 * 2^(mantissa bits) rounds to an integer and leaves it in the low bits; with the
# exponent's bias added, a shift to the exponent's place makes 2^k of it.
_ROUNDERS = {32: 1.5 * 2.0**23, 64: 1.5 * 2.0**52}
_BIASES = {32: 127.0, 64: 1023.0}
_PLACES = {32: 23, 64: 52}


def _width(vector: ir.VectorType) -> int:
    return 32 if str(vector.element) == "float" else 64


def _all(vector: ir.VectorType, value: float) -> ir.Constant:
    """A vector with ``value``, rounded to its type, in every lane."""
    if str(vector.element) == "float":
        value = struct.unpack("f", struct.pack("f", value))[0]
    return ir.Constant(vector, [value] * vector.count)


def _integers(vector: ir.VectorType) -> ir.VectorType:
    return ir.VectorType(ir.IntType(_width(vector)), vector.count)


def _bits_of(value: float, width: int) -> int:
    """The bits of a number of so many bits, as an integer."""
    real, whole = ("f", "I") if width == 32 else ("d", "Q")
    return int(struct.unpack(whole, struct.pack(real, value))[0])


def constant(single: float, double: float) -> Any:
    """``f(dtype)``: a vector of ``single`` for float32, of ``double`` for float64."""

    @intrinsic
    def vector(typingctx: Any, dtype: Any) -> Any:
        target = vector_of(element_of(dtype))

        def codegen(ctx: Any, builder: Any, sig: Any, args: Any) -> Any:
            kind = ctx.get_value_type(target)
            return _all(kind, single if _width(kind) == 32 else double)

        return target(dtype), codegen

    return vector


def polynomial(single: Sequence[float], double: Sequence[float]) -> Any:
    """``f(x)``: c[0] + c[1] x + ... by Horner's rule, with the numbers of x's type.

    As an intrinsic, it takes a tenth of the time to compile that a loop over a tuple does.
    """

    @intrinsic
    def value(typingctx: Any, x: Any) -> Any:
        def codegen(ctx: Any, builder: Any, sig: Any, args: Any) -> Any:
            kind = args[0].type
            numbers = single if _width(kind) == 32 else double
            total = _all(kind, numbers[-1])
            for number in reversed(numbers[:-1]):
                total = vector_fma(builder, total, args[0], _all(kind, number))
            return total

        return x(x), codegen

    return value


@intrinsic
def rounded(typingctx: Any, x: Any, factor: Any) -> Any:
    """``rounded(x, factor)``: the integer nearest to x * factor, of less than 2^22 in size."""

    def codegen(ctx: Any, builder: Any, sig: Any, args: Any) -> Any:
        magic = _all(args[0].type, _ROUNDERS[_width(args[0].type)])
        return builder.fsub(vector_fma(builder, args[0], args[1], magic), magic)

    return x(x, factor), codegen


@intrinsic
def two_to(typingctx: Any, k: Any) -> Any:
    """``two_to(k)``: 2^k for integers k, if that is a normal number."""

    def codegen(ctx: Any, builder: Any, sig: Any, args: Any) -> Any:
        kind = args[0].type
        width, integers = _width(kind), _integers(kind)
        biased = builder.fadd(args[0], _all(kind, _ROUNDERS[width] + _BIASES[width]))
        places = ir.Constant(integers, [_PLACES[width]] * kind.count)
        return builder.bitcast(builder.shl(builder.bitcast(biased, integers), places), kind)

    return k(k), codegen


def _exponents(builder: ir.IRBuilder, x: ir.Value) -> tuple[ir.Value, ir.Value]:
    """The bits of x, and the integers k with x / 2^k from sqrt(1/2) up to sqrt(2)."""
    width, integers = _width(x.type), _integers(x.type)

    def all_lanes(value: int) -> ir.Constant:
        return ir.Constant(integers, [value] * integers.count)

    bits = builder.bitcast(x, integers)
    above = builder.sub(bits, all_lanes(_bits_of(math.sqrt(0.5), width)))
    return bits, builder.ashr(above, all_lanes(_PLACES[width]))


@intrinsic
def exponent_of(typingctx: Any, x: Any) -> Any:
    """``exponent_of(x)``: the integer k with x / 2^k from sqrt(1/2) up to sqrt(2), of normal x."""

    def codegen(ctx: Any, builder: Any, sig: Any, args: Any) -> Any:
        kind = args[0].type
        width, integers = _width(kind), _integers(kind)
        _, k = _exponents(builder, args[0])
        rounder = _bits_of(_ROUNDERS[width], width)
        placed = builder.add(k, ir.Constant(integers, [rounder] * kind.count))
        return builder.fsub(builder.bitcast(placed, kind), _all(kind, _ROUNDERS[width]))

    return x(x), codegen


@intrinsic
def mantissa_of(typingctx: Any, x: Any) -> Any:
    """``mantissa_of(x)``: x / 2^k with k as `exponent_of` has it."""

    def codegen(ctx: Any, builder: Any, sig: Any, args: Any) -> Any:
        kind = args[0].type
        integers = _integers(kind)
        bits, k = _exponents(builder, args[0])
        places = ir.Constant(integers, [_PLACES[_width(kind)]] * kind.count)
        return builder.bitcast(builder.sub(bits, builder.shl(k, places)), kind)

    return x(x), codegen


@intrinsic
def copy_sign(typingctx: Any, a: Any, b: Any) -> Any:
    """``copy_sign(a, b)``: the lanes of a, none of them below 0, with the signs of those of b."""

    def codegen(ctx: Any, builder: Any, sig: Any, args: Any) -> Any:
        kind = args[0].type
        integers = _integers(kind)
        mask = ir.Constant(integers, [1 << (_width(kind) - 1)] * kind.count)
        sign = builder.and_(builder.bitcast(args[1], integers), mask)
        return builder.bitcast(builder.or_(builder.bitcast(args[0], integers), sign), kind)

    return a(a, b), codegen
