"""How compiled code calls a region that was compiled apart from it, and what it tells it.

A region's code lies at an address that is known only at run time, so a call goes through a pointer,
and everything that the region is to know is written to memory as words of 8 bytes: int64, or
float64. The words of one purpose are a `typing.NamedTuple` whose fields are ``int``, ``float`` or
such tuples themselves, one after another::

    call_region(address, words_of(Job(target, count, 0.5)), worker)      # here
    job = words_at(context, Job)                                         # in the region

`words_of` writes to the caller's stack, where the words stay until the function that it is written
in returns. The same tuples describe words that Python has packed.
"""

from __future__ import annotations

import typing
from typing import Any

from llvmlite import ir
from numba.core import cgutils, types
from numba.core.errors import TypingError
from numba.extending import intrinsic

__all__ = ["call_region", "count_words", "struct_format", "words_at", "words_of", "write_words"]

_WORD = ir.IntType(64)
_KINDS: dict[type, types.Type] = {int: types.int64, float: types.float64}


@intrinsic
def call_region(typingctx: Any, address: Any, context: Any, worker: Any) -> Any:
    """Run the region at ``address`` on this thread, from compiled code."""

    def codegen(ctx: Any, builder: Any, sig: Any, args: Any) -> Any:
        function = ir.FunctionType(ir.VoidType(), [_WORD, _WORD])
        builder.call(builder.inttoptr(args[0], function.as_pointer()), args[1:])
        return ctx.get_dummy_value()

    return types.void(types.int64, types.int64, types.int64), codegen


def _fields(kind: type) -> list[type]:
    """Types of the fields of a tuple: int, float, or tuples of such."""
    return list(typing.get_type_hints(kind).values())


def count_words(kind: type) -> int:
    """How many words of 8 bytes a tuple takes."""
    return sum(1 if field in _KINDS else count_words(field) for field in _fields(kind))


def struct_format(kind: type) -> str:
    """The same words for Python's `struct`, without a byte order."""
    codes = {int: "q", float: "d"}
    return "".join(codes.get(field) or struct_format(field) for field in _fields(kind))


def _type_of(kind: type) -> types.Type:
    """The Numba type of a tuple all of whose numbers are words."""
    members = [_KINDS.get(field) or _type_of(field) for field in _fields(kind)]
    if all(member == members[0] for member in members):
        return types.NamedUniTuple(members[0], len(members), kind)
    return types.NamedTuple(members, kind)


def _load(ctx: Any, builder: ir.IRBuilder, words: ir.Value, at: int, kind: type) -> Any:
    """The tuple at words[at:], and where the next one begins."""
    values = []
    for field in _fields(kind):
        if field in _KINDS:
            place = builder.gep(words, [_WORD(at)])
            if field is float:
                place = builder.bitcast(place, ir.DoubleType().as_pointer())
            values.append(builder.load(place))
            at += 1
        else:
            value, at = _load(ctx, builder, words, at, field)
            values.append(value)
    return ctx.make_tuple(builder, _type_of(kind), values), at


def _store(
    ctx: Any, builder: ir.IRBuilder, words: ir.Value, at: int, kind: type, given: Any, value: Any
) -> int:
    """Write a tuple to words[at:]; where the next one begins."""
    parts = cgutils.unpack_tuple(builder, value)
    for field, part, part_type in zip(_fields(kind), parts, given.types, strict=True):
        if field in _KINDS:
            number = ctx.cast(builder, part, part_type, _KINDS[field])
            place = builder.gep(words, [_WORD(at)])
            if field is float:
                place = builder.bitcast(place, ir.DoubleType().as_pointer())
            builder.store(number, place)
            at += 1
        else:
            at = _store(ctx, builder, words, at, field, part_type, part)
    return at


@intrinsic
def words_at(typingctx: Any, address: Any, kind: Any) -> Any:
    """``words_at(address, Job)``: the words at an address as a named tuple."""
    if not isinstance(kind, types.NamedTupleClass):
        raise TypingError(f"words_at needs the class of a named tuple, got {kind}")
    job = kind.instance_class
    result = _type_of(job)

    def codegen(ctx: Any, builder: Any, sig: Any, args: Any) -> Any:
        words = builder.inttoptr(args[0], _WORD.as_pointer())
        return _load(ctx, builder, words, 0, job)[0]

    return result(types.int64, kind), codegen


@intrinsic
def write_words(typingctx: Any, address: Any, value: Any) -> Any:
    """Write a named tuple as words to an address."""
    if not isinstance(value, types.BaseNamedTuple):
        raise TypingError(f"write_words needs a named tuple, got {value}")

    def codegen(ctx: Any, builder: Any, sig: Any, args: Any) -> Any:
        words = builder.inttoptr(args[0], _WORD.as_pointer())
        _store(ctx, builder, words, 0, value.instance_class, value, args[1])
        return ctx.get_dummy_value()

    return types.void(types.int64, value), codegen


@intrinsic
def words_of(typingctx: Any, value: Any) -> Any:
    """Write a named tuple to the stack as words: their address."""
    if not isinstance(value, types.BaseNamedTuple):
        raise TypingError(f"words_of needs a named tuple, got {value}")
    job = value.instance_class

    def codegen(ctx: Any, builder: Any, sig: Any, args: Any) -> Any:
        with builder.goto_entry_block():  # so that the stack does not grow in a loop
            place = builder.alloca(ir.ArrayType(_WORD, count_words(job)))
        words = builder.bitcast(place, _WORD.as_pointer())
        _store(ctx, builder, words, 0, job, value, args[0])
        return builder.ptrtoint(words, _WORD)

    return types.int64(value), codegen
