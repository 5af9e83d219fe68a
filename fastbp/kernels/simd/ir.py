"""Emitting LLVM instructions: what intrinsics are made of.

Each function adds instructions to a builder at the place where it stands and returns their value.
They know LLVM's types only; `vectors` gives the operations to compiled code.
"""

from __future__ import annotations

from collections.abc import Callable

from llvmlite import ir

__all__ = [
    "bytes_of",
    "convert",
    "emit_loop",
    "emit_prefetch",
    "row_starts",
    "rows_from",
    "vector_between",
    "vector_fma",
    "vector_fold",
    "vector_load",
    "vector_load_part",
    "vector_splat",
    "vector_sqrt",
    "vector_store",
    "vector_store_part",
    "vector_sum",
]


def vector_splat(builder: ir.IRBuilder, scalar: ir.Value, vector: ir.VectorType) -> ir.Value:
    """Emit a vector with ``scalar`` in every lane."""
    undefined = ir.Constant(vector, ir.Undefined)
    first = builder.insert_element(undefined, scalar, ir.Constant(ir.IntType(32), 0))
    mask = ir.Constant(ir.VectorType(ir.IntType(32), vector.count), [0] * vector.count)
    return builder.shuffle_vector(first, undefined, mask)


def _llvm_name(vector: ir.VectorType) -> str:
    kind = {"float": "f32", "double": "f64", "i8": "i8"}[str(vector.element)]
    return f"v{vector.count}{kind}"


def _declare(builder: ir.IRBuilder, name: str, result: ir.Type, args: list[ir.Type]) -> ir.Function:
    """Declare an LLVM function by hand: llvmlite's declare_intrinsic knows no vector types."""
    module = builder.module
    if name in module.globals:
        return module.globals[name]
    return ir.Function(module, ir.FunctionType(result, args), name)


def bytes_of(element: ir.Type) -> int:
    """Bytes of an element of a vector, or of memory."""
    return {"float": 4, "double": 8, "i8": 1, "i64": 8, "i32": 4}[str(element)]


def vector_fma(builder: ir.IRBuilder, a: ir.Value, b: ir.Value, c: ir.Value) -> ir.Value:
    """Emit a * b + c, fused where the CPU has the instruction and two operations where not."""
    kind = a.type
    name = (
        _llvm_name(kind)
        if isinstance(kind, ir.VectorType)
        else {"float": "f32"}.get(str(kind), "f64")
    )
    function = _declare(builder, f"llvm.fmuladd.{name}", kind, [kind] * 3)
    return builder.call(function, [a, b, c])


def vector_sqrt(builder: ir.IRBuilder, a: ir.Value) -> ir.Value:
    """Emit the square root of each lane."""
    function = _declare(builder, f"llvm.sqrt.{_llvm_name(a.type)}", a.type, [a.type])
    return builder.call(function, [a])


def vector_load(builder: ir.IRBuilder, address: ir.Value, kind: ir.VectorType) -> ir.Value:
    """Emit a load of ``kind`` from a pointer to its elements."""
    cast = builder.bitcast(address, kind.as_pointer())
    return builder.load(cast, align=bytes_of(kind.element))


def vector_store(builder: ir.IRBuilder, value: ir.Value, address: ir.Value) -> None:
    """Emit a store of a vector to a pointer to its elements."""
    cast = builder.bitcast(address, value.type.as_pointer())
    builder.store(value, cast, align=bytes_of(value.type.element))


def _first_lanes(builder: ir.IRBuilder, count: ir.Value, lanes: int) -> ir.Value:
    """Mask of the lanes whose number is below ``count``."""
    numbers = ir.VectorType(ir.IntType(64), lanes)
    iota = ir.Constant(numbers, list(range(lanes)))
    return builder.icmp_signed("<", iota, vector_splat(builder, count, numbers))


def vector_between(
    builder: ir.IRBuilder, value: ir.Value, first: ir.Value, last: ir.Value
) -> ir.Value:
    """Emit a vector with the lanes first ... last - 1 of ``value``; the others are zero."""
    kind = value.type
    below, inside = (_first_lanes(builder, count, kind.count) for count in (first, last))
    zero = ir.Constant(kind, [0] * kind.count)
    return builder.select(below, zero, builder.select(inside, value, zero))


def vector_load_part(
    builder: ir.IRBuilder, address: ir.Value, count: ir.Value, kind: ir.VectorType
) -> ir.Value:
    """Emit a load of the first ``count`` lanes from a pointer to elements; the others are zero."""
    mask = _first_lanes(builder, count, kind.count)
    function = _declare(
        builder,
        f"llvm.masked.load.{_llvm_name(kind)}.p0",
        kind,
        [kind.as_pointer(), ir.IntType(32), mask.type, kind],
    )
    cast = builder.bitcast(address, kind.as_pointer())
    align = ir.Constant(ir.IntType(32), bytes_of(kind.element))
    zero = ir.Constant(kind, [0] * kind.count)
    return builder.call(function, [cast, align, mask, zero])


def vector_store_part(
    builder: ir.IRBuilder, value: ir.Value, address: ir.Value, count: ir.Value
) -> None:
    """Emit a store of the first ``count`` lanes of a vector to a pointer to elements."""
    kind = value.type
    mask = _first_lanes(builder, count, kind.count)
    function = _declare(
        builder,
        f"llvm.masked.store.{_llvm_name(kind)}.p0",
        ir.VoidType(),
        [kind, kind.as_pointer(), ir.IntType(32), mask.type],
    )
    cast = builder.bitcast(address, kind.as_pointer())
    align = ir.Constant(ir.IntType(32), bytes_of(kind.element))
    builder.call(function, [value, cast, align, mask])


def convert(builder: ir.IRBuilder, value: ir.Value, to: ir.Type) -> ir.Value:
    """Emit the conversion of bytes or floats, scalar or vector, to another float type."""
    source = getattr(value.type, "element", value.type)
    target = getattr(to, "element", to)
    if str(source) == str(target):
        return value
    if str(source) == "i8":
        return builder.uitofp(value, to)
    if str(source) == "float":
        return builder.fpext(value, to)
    return builder.fptrunc(value, to)


def vector_fold(
    builder: ir.IRBuilder, value: ir.Value, combine: Callable[[ir.Value, ir.Value], ir.Value]
) -> ir.Value:
    """Emit one value of the lanes of a vector: upper half with lower, until one is left."""
    half = value.type.count // 2
    index = ir.IntType(32)
    while half:
        kind = ir.VectorType(index, half)
        low = builder.shuffle_vector(value, value, ir.Constant(kind, list(range(half))))
        high = builder.shuffle_vector(value, value, ir.Constant(kind, list(range(half, 2 * half))))
        value = combine(low, high)
        half //= 2
    return builder.extract_element(value, ir.Constant(index, 0))


def vector_sum(builder: ir.IRBuilder, value: ir.Value) -> ir.Value:
    """Emit the sum of the lanes of a vector."""
    return vector_fold(builder, value, builder.fadd)


def emit_prefetch(builder: ir.IRBuilder, address: ir.Value, locality: int) -> None:
    """Emit a request for the cache line at ``address``; it never faults, wherever that is.

    ``locality`` is LLVM's: 3 asks for the line in the level-1 cache, 2 in level 2.
    """
    byte = ir.IntType(8).as_pointer()
    word = ir.IntType(32)
    function = _declare(builder, "llvm.prefetch.p0", ir.VoidType(), [byte, word, word, word])
    builder.call(function, [builder.bitcast(address, byte), word(0), word(locality), word(1)])


_ROWS_OF_A_START = 3  # an x86 address has a register, and another one times 1 or 2


def row_starts(builder: ir.IRBuilder, first: ir.Value, step: ir.Value, rows: int) -> list[ir.Value]:
    """Emit pointers to every third of some rows ``step`` bytes apart, for `rows_from`."""
    byte = builder.bitcast(first, ir.IntType(8).as_pointer())
    return [
        builder.gep(byte, [builder.mul(step, step.type(i))])
        for i in range(0, rows, _ROWS_OF_A_START)
    ]


def rows_from(
    builder: ir.IRBuilder, starts: list[ir.Value], step: ir.Value, rows: int, kind: ir.Type
) -> list[ir.Value]:
    """Emit pointers to elements of ``kind`` in all rows, few of which need a register.

    With a distance for each row, tiles of 8 rows had more of them than there are registers: each
    was loaded anew in every turn of the loop.
    """
    twice = builder.shl(step, step.type(1))
    within = (step.type(0), step, twice)
    addresses = [
        builder.gep(starts[i // _ROWS_OF_A_START], [within[i % _ROWS_OF_A_START]])
        for i in range(rows)
    ]
    return [builder.bitcast(address, kind.as_pointer()) for address in addresses]


def emit_loop(
    builder: ir.IRBuilder,
    start: ir.Value,
    stop: ir.Value,
    step: int,
    carried: list[ir.Value],
    body: Callable[[ir.Value, list[ir.Value]], list[ir.Value]],
) -> list[ir.Value]:
    """Emit ``for i in range(start, stop, step): carried = body(i, carried)``; return what is left.

    The carried values are phi nodes: LLVM keeps them in registers.
    """
    before = builder.block
    head = builder.append_basic_block("loop.head")
    inside = builder.append_basic_block("loop.body")
    after = builder.append_basic_block("loop.end")
    builder.branch(head)
    builder.position_at_end(head)
    i = builder.phi(start.type)
    i.add_incoming(start, before)
    phis = [builder.phi(value.type) for value in carried]
    for phi, value in zip(phis, carried, strict=True):
        phi.add_incoming(value, before)
    builder.cbranch(builder.icmp_signed("<", i, stop), inside, after)
    builder.position_at_end(inside)
    updated = body(i, list(phis))
    i.add_incoming(builder.add(i, start.type(step)), builder.block)
    for phi, value in zip(phis, updated, strict=True):
        phi.add_incoming(value, builder.block)
    builder.branch(head)
    builder.position_at_end(after)
    return list(phis)
