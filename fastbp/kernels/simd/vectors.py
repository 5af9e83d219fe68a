"""SIMD vectors for compiled code: a Numba type, and the operations on it.

``Vector(element, lanes)`` maps to LLVM's ``<lanes x element>``. The number of lanes is fixed by
`machine` for each element type, so one source serves SSE, NEON, AVX2 and AVX-512. Everything
here is an intrinsic or an operator: it becomes one or a few LLVM instructions in its caller, with
nothing to compile, type or inline on its own.

Pointers are Numba's ``CPointer``: made once from an address, and moved by whole elements.
Loads and stores promise LLVM only the alignment of one element, so any NumPy row may be read.
"""

from __future__ import annotations

import operator
from typing import Any

from llvmlite import ir
from numba.core import types
from numba.core.imputils import lower_builtin
from numba.core.typing.templates import AbstractTemplate, infer_global, signature
from numba.extending import intrinsic, models, register_model

from fastbp.kernels.compile import machine
from fastbp.kernels.simd.ir import (
    convert,
    vector_between,
    vector_fma,
    vector_fold,
    vector_load,
    vector_load_part,
    vector_splat,
    vector_sqrt,
    vector_store,
    vector_store_part,
    vector_sum,
)

__all__ = [
    "Vector",
    "absolute",
    "address_of",
    "between",
    "element_of",
    "fma",
    "lanes_of",
    "load",
    "load_part",
    "maximum",
    "minimum",
    "moved",
    "pointer",
    "recast",
    "reduce_add",
    "reduce_maximum",
    "room",
    "select_less",
    "splat",
    "square_root",
    "store",
    "store_part",
    "vector_of",
    "zeros",
]


class Vector(types.Type):
    """The Numba type of ``lanes`` values of type ``element`` in one vector register."""

    def __init__(self, element: types.Type, lanes: int) -> None:
        self.element = element
        self.lanes = lanes
        super().__init__(name=f"Vector({element} x {lanes})")


@register_model(Vector)
class _VectorModel(models.PrimitiveModel):
    def __init__(self, dmm: Any, fe_type: Vector) -> None:
        element = dmm.lookup(fe_type.element).get_value_type()
        super().__init__(dmm, fe_type, ir.VectorType(element, fe_type.lanes))


def vector_of(element: types.Type) -> Vector:
    """The vector type that holds as many ``element`` values as a register of this machine."""
    return Vector(element, machine.VECTOR_BITS // element.bitwidth)


def element_of(dtype: Any) -> types.Type:
    """The Numba type behind a ``dtype`` argument, which is typed as a class of numbers."""
    return dtype.instance_type if isinstance(dtype, types.NumberClass) else dtype


@intrinsic
def pointer(typingctx: Any, address: Any, dtype: Any) -> Any:
    """``pointer(address, dtype)``: a typed pointer from an integer."""
    kind = types.CPointer(element_of(dtype))

    def codegen(ctx: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.inttoptr(args[0], ctx.get_value_type(kind))

    return kind(types.int64, dtype), codegen


@intrinsic
def moved(typingctx: Any, ptr: Any, count: Any) -> Any:
    """``moved(ptr, count)``: the pointer ``count`` elements further on."""

    def codegen(ctx: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.gep(args[0], [args[1]])

    return ptr(ptr, types.int64), codegen


@intrinsic
def address_of(typingctx: Any, ptr: Any) -> Any:
    """``address_of(ptr)``: the integer behind a pointer."""

    def codegen(ctx: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.ptrtoint(args[0], ir.IntType(64))

    return types.int64(ptr), codegen


@intrinsic
def recast(typingctx: Any, ptr: Any, dtype: Any) -> Any:
    """``recast(ptr, dtype)``: the same address as a pointer to another type."""
    kind = types.CPointer(element_of(dtype))

    def codegen(ctx: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.bitcast(args[0], ctx.get_value_type(kind))

    return kind(ptr, dtype), codegen


@intrinsic
def load(typingctx: Any, ptr: Any, index: Any, dtype: Any) -> Any:
    """``load(ptr, index, dtype)``: a vector of dtype read at ptr[index], widened if need be."""
    target = vector_of(element_of(dtype))

    def codegen(ctx: Any, builder: Any, sig: Any, args: Any) -> Any:
        element = ctx.get_value_type(ptr.dtype)
        raw = vector_load(
            builder, builder.gep(args[0], [args[1]]), ir.VectorType(element, target.lanes)
        )
        return convert(builder, raw, ctx.get_value_type(target))

    return target(ptr, types.int64, dtype), codegen


@intrinsic
def store(typingctx: Any, ptr: Any, index: Any, value: Any) -> Any:
    """``store(ptr, index, value)``: write a vector at ptr[index]."""

    def codegen(ctx: Any, builder: Any, sig: Any, args: Any) -> Any:
        vector_store(builder, args[2], builder.gep(args[0], [args[1]]))
        return ctx.get_dummy_value()

    return types.void(ptr, types.int64, value), codegen


@intrinsic
def load_part(typingctx: Any, ptr: Any, index: Any, count: Any, dtype: Any) -> Any:
    """``load_part(ptr, index, count, dtype)``: the first ``count`` lanes read, the others zero."""
    target = vector_of(element_of(dtype))

    def codegen(ctx: Any, builder: Any, sig: Any, args: Any) -> Any:
        kind = ir.VectorType(ctx.get_value_type(ptr.dtype), target.lanes)
        raw = vector_load_part(builder, builder.gep(args[0], [args[1]]), args[2], kind)
        return convert(builder, raw, ctx.get_value_type(target))

    return target(ptr, types.int64, types.int64, dtype), codegen


@intrinsic
def store_part(typingctx: Any, ptr: Any, index: Any, count: Any, value: Any) -> Any:
    """``store_part(ptr, index, count, value)``: write only the first ``count`` lanes."""

    def codegen(ctx: Any, builder: Any, sig: Any, args: Any) -> Any:
        vector_store_part(builder, args[3], builder.gep(args[0], [args[1]]), args[2])
        return ctx.get_dummy_value()

    return types.void(ptr, types.int64, types.int64, value), codegen


@intrinsic
def splat(typingctx: Any, scalar: Any, dtype: Any) -> Any:
    """``splat(scalar, dtype)``: a vector with ``scalar``, converted to dtype, in every lane."""
    target = vector_of(element_of(dtype))

    def codegen(ctx: Any, builder: Any, sig: Any, args: Any) -> Any:
        value = ctx.cast(builder, args[0], scalar, target.element)
        return vector_splat(builder, value, ctx.get_value_type(target))

    return target(scalar, dtype), codegen


@intrinsic
def zeros(typingctx: Any, dtype: Any) -> Any:
    """``zeros(dtype)``: a vector of zeros."""
    target = vector_of(element_of(dtype))

    def codegen(ctx: Any, builder: Any, sig: Any, args: Any) -> Any:
        return ir.Constant(ctx.get_value_type(target), [0.0] * target.lanes)

    return target(dtype), codegen


@intrinsic
def room(typingctx: Any, count: Any, dtype: Any) -> Any:
    """``room(count, dtype)``: a pointer to so many vectors on the stack, a literal number.

    They stay there until the function that it is written in returns.
    """
    if not isinstance(count, types.IntegerLiteral):
        return None
    target = vector_of(element_of(dtype))
    kind = types.CPointer(target.element)

    def codegen(ctx: Any, builder: Any, sig: Any, args: Any) -> Any:
        vectors = ir.ArrayType(ctx.get_value_type(target), count.literal_value)
        with builder.goto_entry_block():  # so that the stack does not grow in a loop
            place = builder.alloca(vectors)
        return builder.bitcast(place, ctx.get_value_type(kind))

    return kind(count, dtype), codegen


@intrinsic
def lanes_of(typingctx: Any, dtype: Any) -> Any:
    """``lanes_of(dtype)``: how many values of dtype a vector holds, a compile-time constant."""
    count = vector_of(element_of(dtype)).lanes

    def codegen(ctx: Any, builder: Any, sig: Any, args: Any) -> Any:
        return ir.Constant(ir.IntType(64), count)

    return types.int64(dtype), codegen


@intrinsic
def fma(typingctx: Any, a: Any, b: Any, c: Any) -> Any:
    """``fma(a, b, c)``: a * b + c, rounded once where the CPU has fused multiply-add."""
    if not (isinstance(a, Vector) and a == b == c):
        return None

    def codegen(ctx: Any, builder: Any, sig: Any, args: Any) -> Any:
        return vector_fma(builder, *args)

    return a(a, b, c), codegen


def _choose(builder: ir.IRBuilder, test: str, a: ir.Value, b: ir.Value) -> ir.Value:
    """``a test b ? a : b``; false for NaN, so that a NaN in b is kept."""
    return builder.select(builder.fcmp_ordered(test, a, b), a, b)


@intrinsic
def maximum(typingctx: Any, a: Any, b: Any) -> Any:
    """``maximum(a, b)``: the larger of each lane, and b where either is NaN."""

    def codegen(ctx: Any, builder: Any, sig: Any, args: Any) -> Any:
        return _choose(builder, ">", *args)

    return a(a, b), codegen


@intrinsic
def minimum(typingctx: Any, a: Any, b: Any) -> Any:
    """``minimum(a, b)``: the smaller of each lane, and b where either is NaN."""

    def codegen(ctx: Any, builder: Any, sig: Any, args: Any) -> Any:
        return _choose(builder, "<", *args)

    return a(a, b), codegen


@intrinsic
def between(typingctx: Any, value: Any, first: Any, last: Any) -> Any:
    """``between(value, first, last)``: lanes first ... last - 1 of a value, the others zero."""

    def codegen(ctx: Any, builder: Any, sig: Any, args: Any) -> Any:
        return vector_between(builder, *args)

    return value(value, types.int64, types.int64), codegen


@intrinsic
def select_less(typingctx: Any, a: Any, b: Any, x: Any, y: Any) -> Any:
    """``select_less(a, b, x, y)``: x where a < b, y elsewhere (also where a or b is NaN)."""

    def codegen(ctx: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.select(builder.fcmp_ordered("<", args[0], args[1]), args[2], args[3])

    return x(a, b, x, y), codegen


def _bits(vector: ir.VectorType) -> ir.VectorType:
    width = 32 if str(vector.element) == "float" else 64
    return ir.VectorType(ir.IntType(width), vector.count)


@intrinsic
def absolute(typingctx: Any, a: Any) -> Any:
    """``absolute(a)``: the lanes of a without their signs."""

    def codegen(ctx: Any, builder: Any, sig: Any, args: Any) -> Any:
        integers = _bits(args[0].type)
        mask = (1 << (integers.element.width - 1)) - 1
        cleared = builder.and_(
            builder.bitcast(args[0], integers), ir.Constant(integers, [mask] * integers.count)
        )
        return builder.bitcast(cleared, args[0].type)

    return a(a), codegen


@intrinsic
def square_root(typingctx: Any, a: Any) -> Any:
    """``square_root(a)``: of each lane, correctly rounded; NaN below 0."""

    def codegen(ctx: Any, builder: Any, sig: Any, args: Any) -> Any:
        return vector_sqrt(builder, args[0])

    return a(a), codegen


@intrinsic
def reduce_add(typingctx: Any, a: Any) -> Any:
    """``reduce_add(a)``: the sum of the lanes, by halving, in an order fixed by their number."""

    def codegen(ctx: Any, builder: Any, sig: Any, args: Any) -> Any:
        return vector_sum(builder, args[0])

    return a.element(a), codegen


@intrinsic
def reduce_maximum(typingctx: Any, a: Any) -> Any:
    """``reduce_maximum(a)``: the largest of the lanes; any of them where one is NaN."""

    def codegen(ctx: Any, builder: Any, sig: Any, args: Any) -> Any:
        return vector_fold(builder, args[0], lambda low, high: _choose(builder, ">", low, high))

    return a.element(a), codegen


def _register_operator(function: Any, emit: str) -> None:
    """Give vectors of one type the operator ``function``, emitted by the builder's ``emit``."""

    @infer_global(function)
    class _Template(AbstractTemplate):
        def generic(self, args: Any, kws: Any) -> Any:
            if len(args) == 2 and isinstance(args[0], Vector) and args[0] == args[1]:
                return signature(args[0], *args)
            return None

    @lower_builtin(function, Vector, Vector)
    def _lower(ctx: Any, builder: Any, sig: Any, args: Any) -> Any:
        return getattr(builder, emit)(*args)


for _function, _emit in (
    (operator.add, "fadd"),
    (operator.sub, "fsub"),
    (operator.mul, "fmul"),
    (operator.truediv, "fdiv"),
    (operator.iadd, "fadd"),
    (operator.imul, "fmul"),
):
    _register_operator(_function, _emit)
