"""Expressions of a region's functions, translated: see `translate`."""

from __future__ import annotations

import ast
import math
import operator
from collections.abc import Callable, Iterator
from typing import Any

from llvmlite import ir
from numba.core import types
from numba.core.extending import _Intrinsic
from numba.core.registry import CPUDispatcher

from fastbp.kernels.compile.operands import Constant, Operand, Source, Value, Variable

__all__ = ["Expressions"]

_BIT, _WORD = ir.IntType(1), ir.IntType(64)
_COMPARISONS: dict[type[ast.cmpop], tuple[str, Callable[[Any, Any], bool]]] = {
    ast.Eq: ("==", operator.eq),
    ast.NotEq: ("!=", operator.ne),
    ast.Lt: ("<", operator.lt),
    ast.LtE: ("<=", operator.le),
    ast.Gt: (">", operator.gt),
    ast.GtE: (">=", operator.ge),
}
_SIGNS: dict[type[ast.unaryop], Callable[[Any], Any]] = {
    ast.Not: operator.not_,
    ast.USub: operator.neg,
    ast.UAdd: operator.pos,
    ast.Invert: operator.invert,
}
_OPERATORS: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.Pow: operator.pow,
    ast.BitAnd: operator.and_,
    ast.BitOr: operator.or_,
    ast.BitXor: operator.xor,
    ast.LShift: operator.lshift,
    ast.RShift: operator.rshift,
}
_OF_WORDS = {
    ast.Add: "add",
    ast.Sub: "sub",
    ast.Mult: "mul",
    ast.BitAnd: "and_",
    ast.BitOr: "or_",
    ast.BitXor: "xor",
    ast.LShift: "shl",
    ast.RShift: "ashr",
}
_OF_BITS = ast.BitAnd | ast.BitOr | ast.BitXor
_OF_FLOATS = {ast.Add: "fadd", ast.Sub: "fsub", ast.Mult: "fmul", ast.Div: "fdiv"}


class Expressions:
    """The expressions of one function, emitted one after the other where the builder stands."""

    unit: Any  # the `translate.Unit`
    function: Callable[..., Any]
    source: Source
    llvm: ir.Function
    builder: ir.IRBuilder
    context: Any  # Numba's
    locals: dict[str, Operand | Variable]

    def refuse(self, node: Any, reason: str = "") -> NotImplementedError:
        """The error for what is not translated."""
        code = self.function.__code__
        what = reason or f"{type(node).__name__} is not translated"
        return NotImplementedError(f"{code.co_filename}:{node.lineno}: {what}: {ast.unparse(node)}")

    def lookup(self, node: ast.Name) -> Operand:
        """What a name stands for."""
        found = self.locals.get(node.id)
        if isinstance(found, Variable):
            return Value(found.type, self.builder.load(found.place))
        if found is not None:
            return found
        if node.id not in self.source.names:
            raise self.refuse(node, "not known")
        return Constant(self.source.names[node.id])

    def blocks(self, *names: str) -> Iterator[Any]:
        """New blocks, before the function's end."""
        return iter([self.llvm.append_basic_block(name) for name in names])

    # -------------------------------------------------------------- types

    def lowered(self, operand: Operand) -> Value:
        """A number as it is at run time."""
        if isinstance(operand, Value):
            return operand
        number = operand.object
        if isinstance(number, tuple):
            return self.tuple_of([Constant(part) for part in number])
        if isinstance(number, bool):
            return Value(types.boolean, _BIT(int(number)))
        if isinstance(number, int):
            return Value(types.int64, _WORD(number))
        if isinstance(number, float):
            return Value(types.float64, ir.DoubleType()(number))
        raise TypeError(f"{self.function.__name__}: {number!r} is no number")

    def cast(self, operand: Operand, kind: types.Type) -> Value:
        """A number, or a tuple of numbers, as another type; anything else as it is."""
        value = self.lowered(operand)
        if value.type == kind:
            return value
        return Value(kind, self.context.cast(self.builder, value.ir, value.type, kind))

    def common(self, a: Value, b: Value) -> types.Type:
        """The type in which two numbers meet."""
        if a.type == b.type and a.type != types.boolean:
            return a.type
        floats = any(isinstance(one.type, types.Float) for one in (a, b))
        return types.float64 if floats else types.int64

    def truth(self, operand: Operand) -> Any:
        """A condition as one bit."""
        value = self.lowered(operand)
        return value.ir if value.type == types.boolean else self.cast(value, types.boolean).ir

    # -------------------------------------------------------------- expressions

    def evaluate(self, node: ast.expr) -> Operand:
        """Emit an expression."""
        emit = getattr(self, f"_of_{type(node).__name__}", None)
        if emit is None:
            raise self.refuse(node)
        return emit(node)

    def _of_Constant(self, node: ast.Constant) -> Operand:
        return Constant(node.value)

    def _of_Name(self, node: ast.Name) -> Operand:
        return self.lookup(node)

    def _of_Tuple(self, node: ast.Tuple) -> Operand:
        parts = [self.evaluate(one) for one in node.elts]
        if all(isinstance(one, Constant) for one in parts):
            return Constant(tuple(one.object for one in parts))  # type: ignore[union-attr]
        return self.tuple_of(parts)

    def tuple_of(self, parts: list[Operand], named: type | None = None) -> Value:
        """A tuple, or a named one."""
        values = [self.lowered(part) for part in parts]
        kinds = [value.type for value in values]
        if named is None:
            kind: Any = types.BaseTuple.from_types(kinds)
        elif all(one == kinds[0] for one in kinds):
            kind = types.NamedUniTuple(kinds[0], len(kinds), named)
        else:
            kind = types.NamedTuple(kinds, named)
        made = self.context.make_tuple(self.builder, kind, [value.ir for value in values])
        return Value(kind, made)

    def unpacked(self, operand: Operand) -> list[Operand]:
        """The parts of a tuple."""
        if isinstance(operand, Constant):
            return [Constant(part) for part in operand.object]
        return [
            Value(kind, self.builder.extract_value(operand.ir, i))
            for i, kind in enumerate(operand.type.types)
        ]

    def _of_Attribute(self, node: ast.Attribute) -> Operand:
        whole = self.evaluate(node.value)
        if isinstance(whole, Constant):
            return Constant(getattr(whole.object, node.attr))
        i = whole.type.fields.index(node.attr)
        return Value(whole.type.types[i], self.builder.extract_value(whole.ir, i))

    def element(self, node: ast.Subscript) -> tuple[types.Type, Any]:
        """Type and place of pointer[i]."""
        pointer = self.evaluate(node.value)
        if not (isinstance(pointer, Value) and isinstance(pointer.type, types.CPointer)):
            raise self.refuse(node, "only pointers and tuples have elements")
        index = self.cast(self.evaluate(node.slice), types.int64)
        return pointer.type.dtype, self.builder.gep(pointer.ir, [index.ir])

    def _of_Subscript(self, node: ast.Subscript) -> Operand:
        whole = self.evaluate(node.value)
        if isinstance(whole, Value) and isinstance(whole.type, types.BaseTuple):
            index = self.evaluate(node.slice)
            assert isinstance(index, Constant)
            return self.unpacked(whole)[index.object]
        kind, place = self.element(node)
        return Value(kind, self.builder.load(place))

    def _of_UnaryOp(self, node: ast.UnaryOp) -> Operand:
        operand = self.evaluate(node.operand)
        if isinstance(operand, Constant):
            return Constant(_SIGNS[type(node.op)](operand.object))
        if isinstance(node.op, ast.Not):
            return Value(types.boolean, self.builder.not_(self.truth(operand)))
        if isinstance(node.op, ast.USub) and isinstance(operand.type, types.Float):
            return Value(operand.type, self.builder.fneg(operand.ir))
        if isinstance(node.op, ast.USub) and operand.type == types.int64:
            return Value(operand.type, self.builder.neg(operand.ir))
        raise self.refuse(node)

    def _of_BinOp(self, node: ast.BinOp) -> Operand:
        return self.combine(node.op, self.evaluate(node.left), self.evaluate(node.right), node)

    def combine(self, op: ast.operator, a: Operand, b: Operand, node: Any) -> Operand:
        """The result of an operator."""
        if isinstance(a, Constant) and isinstance(b, Constant):
            return Constant(_OPERATORS[type(op)](a.object, b.object))
        a, b = self.lowered(a), self.lowered(b)
        if not all(isinstance(one.type, types.Number | types.Boolean) for one in (a, b)):
            return self.unit.operate(self.builder, _OPERATORS[type(op)], a, b)
        kind: Any = types.float64 if isinstance(op, ast.Div) else types.int64
        if a.type == b.type == types.boolean and isinstance(op, _OF_BITS):
            return Value(types.boolean, getattr(self.builder, _OF_WORDS[type(op)])(a.ir, b.ir))
        if any(isinstance(one.type, types.Float) for one in (a, b)):
            kind = self.common(a, b)
        left, right = self.cast(a, kind).ir, self.cast(b, kind).ir
        if isinstance(kind, types.Float) and type(op) in _OF_FLOATS:
            return Value(kind, getattr(self.builder, _OF_FLOATS[type(op)])(left, right))
        if kind == types.int64 and type(op) in _OF_WORDS:
            return Value(kind, getattr(self.builder, _OF_WORDS[type(op)])(left, right))
        if kind == types.int64 and isinstance(op, ast.FloorDiv | ast.Mod):
            return Value(kind, self.divide(left, right, rest=isinstance(op, ast.Mod)))
        raise self.refuse(node)

    def divide(self, a: Any, b: Any, *, rest: bool) -> Any:
        """The result of a // b or a % b: Python's, but 0 where b is 0, as Numba has it."""
        builder = self.builder
        nothing = builder.icmp_signed("==", b, _WORD(0))
        divisor = builder.select(nothing, _WORD(1), b)
        quotient, over = builder.sdiv(a, divisor), builder.srem(a, divisor)
        wrong = builder.and_(
            builder.icmp_signed("!=", over, _WORD(0)),
            builder.icmp_signed("<", builder.xor(over, divisor), _WORD(0)),
        )
        found = (
            builder.select(wrong, builder.add(over, divisor), over)
            if rest
            else builder.sub(quotient, builder.zext(wrong, _WORD))
        )
        return builder.select(nothing, _WORD(0), found)

    def _of_Compare(self, node: ast.Compare) -> Operand:
        if len(node.ops) != 1:
            raise self.refuse(node, "one comparison at a time is translated")
        op = node.ops[0]
        a, b = self.evaluate(node.left), self.evaluate(node.comparators[0])
        if isinstance(op, ast.Is | ast.IsNot):
            same = isinstance(a, Constant) and isinstance(b, Constant) and a.object is b.object
            return Constant(same == isinstance(op, ast.Is))
        if isinstance(op, ast.In | ast.NotIn) and isinstance(b, Constant):
            return self.one_of(a, b.object, isinstance(op, ast.In))
        if type(op) not in _COMPARISONS:
            raise self.refuse(node)
        sign, known = _COMPARISONS[type(op)]
        if isinstance(a, Constant) and isinstance(b, Constant):
            return Constant(known(a.object, b.object))
        a, b = self.lowered(a), self.lowered(b)
        kind = self.common(a, b)
        left, right = self.cast(a, kind).ir, self.cast(b, kind).ir
        if not isinstance(kind, types.Float):
            return Value(types.boolean, self.builder.icmp_signed(sign, left, right))
        if sign == "!=":
            return Value(types.boolean, self.builder.fcmp_unordered(sign, left, right))
        return Value(types.boolean, self.builder.fcmp_ordered(sign, left, right))

    def one_of(self, operand: Operand, numbers: Any, wanted: bool) -> Operand:
        """Whether a number is one of some that are known, or whether not."""
        if isinstance(operand, Constant):
            return Constant((operand.object in numbers) == wanted)
        found: Any = _BIT(0)
        for number in numbers:
            same = self.builder.icmp_signed("==", operand.ir, operand.ir.type(number))
            found = self.builder.or_(found, same)
        return Value(types.boolean, found if wanted else self.builder.not_(found))

    def _of_BoolOp(self, node: ast.BoolOp) -> Operand:
        """Conditions one after another, up to the one that decides."""
        decides = isinstance(node.op, ast.Or)
        (after,) = self.blocks("decided")
        incoming = []
        for condition in node.values:
            operand = self.evaluate(condition)
            if isinstance(operand, Constant) and bool(operand.object) != decides:
                continue
            incoming.append((self.truth(operand), self.builder.block))
            (further,) = self.blocks("further")
            ways = (after, further) if decides else (further, after)
            self.builder.cbranch(incoming[-1][0], *ways)
            self.builder.position_at_end(further)
        incoming.append((_BIT(not decides), self.builder.block))
        self.builder.branch(after)
        self.builder.position_at_end(after)
        result = self.builder.phi(_BIT)
        for bit, block in incoming:
            result.add_incoming(bit, block)
        return Value(types.boolean, result)

    def _of_IfExp(self, node: ast.IfExp) -> Operand:
        test = self.evaluate(node.test)
        if isinstance(test, Constant):
            return self.evaluate(node.body if test.object else node.orelse)
        then, otherwise, after = self.blocks("then", "else", "after")
        self.builder.cbranch(self.truth(test), then, otherwise)
        found = []
        for block, side in ((then, node.body), (otherwise, node.orelse)):
            self.builder.position_at_end(block)
            found.append((self.lowered(self.evaluate(side)), self.builder.block))
        (a, _), (b, _) = found
        kind = a.type if a.type == b.type else self.common(a, b)
        incoming = []
        for value, block in found:
            self.builder.position_at_end(block)
            incoming.append((self.cast(value, kind).ir, block))
            self.builder.branch(after)
        self.builder.position_at_end(after)
        result = self.builder.phi(incoming[0][0].type)
        for value, block in incoming:
            result.add_incoming(value, block)
        return Value(kind, result)

    # -------------------------------------------------------------- calls

    def _of_Call(self, node: ast.Call) -> Operand:
        callee = self.evaluate(node.func)
        if not isinstance(callee, Constant) or node.keywords:
            raise self.refuse(node)
        function, arguments = callee.object, [self.evaluate(one) for one in node.args]
        if isinstance(function, CPUDispatcher):
            return self.unit.call(self.builder, function, arguments)
        if isinstance(function, _Intrinsic):
            return self.unit.call_intrinsic(self.builder, function, arguments)
        if isinstance(function, types.ExternalFunction):
            return self.unit.call_external(self.builder, function, arguments)
        if isinstance(function, types.Number):
            return self.cast(arguments[0], function)
        if isinstance(function, type) and hasattr(function, "_fields"):
            return self.tuple_of(arguments, function)
        if function in (min, max) and len(arguments) > 1:
            return self.extreme(function, arguments, node)
        if function is math.sqrt:
            number = self.cast(arguments[0], types.float64)
            root = self.builder.module.declare_intrinsic("llvm.sqrt", [ir.DoubleType()])
            return Value(types.float64, self.builder.call(root, [number.ir]))
        raise self.refuse(node)

    def extreme(self, function: Any, arguments: list[Operand], node: Any) -> Operand:
        """The smallest or largest of integers."""
        if all(isinstance(one, Constant) for one in arguments):
            return Constant(function(*(one.object for one in arguments)))  # type: ignore[union-attr]
        values = [self.lowered(one) for one in arguments]
        if any(value.type != types.int64 for value in values):
            raise self.refuse(node, "only of integers")
        best = values[0].ir
        for value in values[1:]:
            chosen = self.builder.icmp_signed("<" if function is min else ">", value.ir, best)
            best = self.builder.select(chosen, value.ir, best)
        return Value(types.int64, best)
