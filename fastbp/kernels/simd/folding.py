"""Values that are preprocessed as they are read: x * scale + shift, rounded to a type."""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic

from fastbp.kernels.simd.ir import convert, vector_fma, vector_load, vector_load_part
from fastbp.kernels.simd.vectors import element_of, vector_of

__all__ = ["folded_element", "folding_pointer", "load_folded"]


def _folding_type(x: Any, dtype: Any) -> types.Type:
    """The type that elements of ``x`` are shifted and scaled in: see `folding_pointer`."""
    return x.dtype if x.dtype == types.float64 else element_of(dtype)


@intrinsic
def folding_pointer(typingctx: Any, address: Any, x: Any, dtype: Any) -> Any:
    """``folding_pointer(address, x, dtype)``: to the shift or the scale of what ``x`` points to.

    They are of the type of the product, but float64 where ``x`` is: of 1,000,001 - 1,000,000,
    rounded to float32 beforehand, a sixteenth may be missing.
    """
    kind = types.CPointer(_folding_type(x, dtype))

    def codegen(ctx: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.inttoptr(args[0], ctx.get_value_type(kind))

    return kind(types.int64, x, dtype), codegen


@intrinsic
def load_folded(
    typingctx: Any, x: Any, at: Any, shift: Any, scale: Any, j: Any, count: Any, dtype: Any
) -> Any:
    """The vector x[at:] * scale[j:] + shift[j:], rounded to ``dtype``: its first ``count`` lanes.

    ``shift`` and ``scale`` as `folding_pointer` gives them; all lanes are meant if ``count`` is
    None.
    """
    target = vector_of(element_of(dtype))

    def codegen(ctx: Any, builder: Any, sig: Any, args: Any) -> Any:
        x_, at_, shift_, scale_, j_, count_, _ = args

        def read(start: Any, index: Any) -> Any:
            address = builder.gep(start, [index])
            kind = ir.VectorType(start.type.pointee, target.lanes)
            if isinstance(count, types.NoneType):
                return vector_load(builder, address, kind)
            return vector_load_part(builder, address, count_, kind)

        scales = read(scale_, j_)
        raw = convert(builder, read(x_, at_), scales.type)
        folded = vector_fma(builder, raw, scales, read(shift_, j_))
        return convert(builder, folded, ctx.get_value_type(target))

    word = types.int64
    return target(x, word, shift, scale, word, count, dtype), codegen


@intrinsic
def folded_element(
    typingctx: Any, x: Any, at: Any, shift: Any, scale: Any, j: Any, dtype: Any
) -> Any:
    """The number x[at] * scale[j] + shift[j], with the bits that `load_folded` gives."""
    target = element_of(dtype)

    def codegen(ctx: Any, builder: Any, sig: Any, args: Any) -> Any:
        x_, at_, shift_, scale_, j_, _ = args
        value, added, factor = (
            builder.load(builder.gep(start, [index]))
            for start, index in ((x_, at_), (shift_, j_), (scale_, j_))
        )
        folded = vector_fma(builder, convert(builder, value, factor.type), factor, added)
        return convert(builder, folded, ctx.get_value_type(target))

    return target(x, types.int64, shift, scale, types.int64, dtype), codegen
