"""Regions are made into LLVM's IR by one walk over the syntax trees of their functions.

Numba interprets a function's bytecode, infers types and lowers them in some twenty passes: three
hundredths of a second or more for each helper, however small, and two thirds of the time that a
region took to compile. But kernels use so little of Python that a walk over the tree does all of
that. A region's function, and every ``@jit`` helper that it calls, is translated here. All else is
Numba's: types, what intrinsics emit, operators of types that are no numbers, LLVM itself, and the
functions that Python calls, which may call the same helpers.

What is translated: assignments, also to ``pointer[i]`` and tuples; ``if``, ``while``, ``for`` over
``range`` with a step above 0, ``break``, ``continue``, ``return``; arithmetic, comparisons and
conditions on int64, float32, float64, booleans and vectors; named tuples; calls of helpers,
intrinsics, types (``int64(x)``), ``min`` and ``max`` of integers, and ``math.sqrt``. A variable keeps
the type of its first value. What is known here, such as a dtype or a function, is known to the code
too: an ``if`` on it leaves one branch. Anything else is a NotImplementedError that names the line.
"""

from __future__ import annotations

import ast
import builtins
import inspect
import math
import operator
import textwrap
import weakref
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from llvmlite import ir
from numba.core import types
from numba.core.extending import _Intrinsic
from numba.core.registry import CPUDispatcher
from numba.extending import intrinsic

__all__ = ["call_of", "entry_of", "is_translated"]

_BIT, _WORD = ir.IntType(1), ir.IntType(64)
_COMPARISONS: dict[type[ast.cmpop], tuple[str, Callable[[Any, Any], bool]]] = {
    ast.Eq: ("==", operator.eq),
    ast.NotEq: ("!=", operator.ne),
    ast.Lt: ("<", operator.lt),
    ast.LtE: ("<=", operator.le),
    ast.Gt: (">", operator.gt),
    ast.GtE: (">=", operator.ge),
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


class Value(NamedTuple):
    """What is known at run time, and its type."""

    type: types.Type
    ir: Any


class Constant(NamedTuple):
    """What is known now: a number, a type, a function, a module, None."""

    object: Any


_Operand = Value | Constant


class _Variable(NamedTuple):
    """A local variable that is assigned more than once, or not at the outermost level."""

    type: types.Type
    place: Any


class _Source(NamedTuple):
    """A function's syntax tree, and the names that are no locals of it."""

    tree: ast.FunctionDef
    names: dict[str, Any]
    lasting: frozenset[str]  # locals that are assigned once, where every use comes after it


_sources: weakref.WeakKeyDictionary[Any, _Source] = weakref.WeakKeyDictionary()


def _source_of(function: Any) -> _Source:
    """Read a function's source; OSError where it is not there."""
    if function not in _sources:
        tree = ast.parse(textwrap.dedent(inspect.getsource(function))).body[0]
        assert isinstance(tree, ast.FunctionDef)
        ast.increment_lineno(tree, function.__code__.co_firstlineno - 1)
        cells = zip(function.__code__.co_freevars, function.__closure__ or (), strict=True)
        names = {**vars(builtins), **function.__globals__}
        names.update((name, cell.cell_contents) for name, cell in cells)
        _sources[function] = _Source(tree, names, _assigned_once(tree))
    return _sources[function]


def _stored(node: ast.AST) -> list[str]:
    return [
        one.id
        for one in ast.walk(node)
        if isinstance(one, ast.Name) and isinstance(one.ctx, ast.Store)
    ]


def _assigned_once(tree: ast.FunctionDef) -> frozenset[str]:
    """Arguments that are never assigned, and what one statement of the outermost level assigns."""
    stored = [argument.arg for argument in tree.args.args] + _stored(tree)
    outer = {argument.arg for argument in tree.args.args}
    for statement in tree.body:
        if isinstance(statement, ast.Assign):
            outer.update(_stored(statement))
    return frozenset(name for name in outer if stored.count(name) == 1)


# ------------------------------------------------------------------ one function


class _Function:
    """One function, for arguments of certain types, becoming one of LLVM's."""

    def __init__(self, unit: _Unit, function: Any, arguments: Sequence[_Operand]) -> None:
        self.unit, self.context = unit, unit.context
        self.function = function
        self.source = _source_of(function)
        given = [one for one in arguments if isinstance(one, Value)]
        kinds = [unit.context.get_value_type(one.type) for one in given]
        name = f"fastbp.{function.__name__}.{len(unit.functions)}"
        self.llvm = ir.Function(unit.module, ir.FunctionType(ir.VoidType(), kinds), name)
        self.llvm.linkage = "internal"
        entry = self.llvm.append_basic_block("entry")  # for allocations, and nothing else
        body = self.llvm.append_basic_block("body")
        self.end = self.llvm.append_basic_block("end")
        self.builder = ir.IRBuilder(body)
        self.result: _Variable | None = None
        self.locals: dict[str, _Operand | _Variable] = {}
        self.loops: list[tuple[Any, Any]] = []  # where `continue` and `break` go
        incoming = iter(self.llvm.args)
        names = [argument.arg for argument in self.source.tree.args.args]
        if len(names) != len(arguments):
            raise TypeError(f"{function.__name__} takes {len(names)} arguments: {len(arguments)}")
        for argument, operand in zip(names, arguments, strict=True):
            if isinstance(operand, Value):
                operand = Value(operand.type, next(incoming))
            self.assign(argument, operand)
        self.statements(self.source.tree.body)
        if not self.builder.block.is_terminated:
            self.builder.branch(self.end)
        ir.IRBuilder(entry).branch(body)
        self._finish()

    def _finish(self) -> None:
        builder = ir.IRBuilder(self.end)
        if self.result is None:
            builder.ret_void()
            return
        builder.ret(builder.load(self.result.place))
        # The type of what is returned is known only now.
        kind = ir.FunctionType(self.result.place.type.pointee, self.llvm.ftype.args)
        self.llvm.ftype, self.llvm.type = kind, kind.as_pointer()
        self.llvm.return_value = ir.ReturnValue(self.llvm, kind.return_type)

    def refuse(self, node: Any, reason: str = "") -> NotImplementedError:
        """The error for what is not translated."""
        code = self.function.__code__
        what = reason or f"{type(node).__name__} is not translated"
        return NotImplementedError(f"{code.co_filename}:{node.lineno}: {what}: {ast.unparse(node)}")

    # -------------------------------------------------------------- variables

    def room_for(self, kind: types.Type) -> _Variable:
        """A place on the stack; LLVM makes registers of those."""
        with self.builder.goto_entry_block():
            return _Variable(kind, self.builder.alloca(self.context.get_value_type(kind)))

    def assign(self, name: str, operand: _Operand) -> None:
        """Give a local variable a value."""
        if name in self.source.lasting:
            self.locals[name] = operand
            return
        variable = self.locals.get(name)
        if variable is None:
            variable = self.locals[name] = self.room_for(self.lowered(operand).type)
        assert isinstance(variable, _Variable)
        self.keep(operand, variable, name)

    def keep(self, operand: _Operand, variable: _Variable, name: str) -> None:
        """Store a value where it keeps its meaning: Numba would give the variable a wider type."""
        value = self.lowered(operand)
        widened = variable.type == types.float64 and isinstance(value.type, types.Number)
        if value.type != variable.type and not widened:
            where = f"{self.function.__module__}.{self.function.__name__}"
            raise TypeError(f"{where}: {name} is {variable.type} first, and then {value.type}")
        self.builder.store(self.cast(value, variable.type).ir, variable.place)

    def lookup(self, node: ast.Name) -> _Operand:
        """What a name stands for."""
        found = self.locals.get(node.id)
        if isinstance(found, _Variable):
            return Value(found.type, self.builder.load(found.place))
        if found is not None:
            return found
        if node.id not in self.source.names:
            raise self.refuse(node, "not known")
        return Constant(self.source.names[node.id])

    # -------------------------------------------------------------- types

    def lowered(self, operand: _Operand) -> Value:
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

    def cast(self, operand: _Operand, kind: types.Type) -> Value:
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

    def truth(self, operand: _Operand) -> Any:
        """A condition as one bit."""
        value = self.lowered(operand)
        return value.ir if value.type == types.boolean else self.cast(value, types.boolean).ir

    # -------------------------------------------------------------- statements

    def statements(self, body: list[ast.stmt]) -> None:
        """Emit one after the other, up to one that is the last to run."""
        for statement in body:
            if self.builder.block.is_terminated:
                return
            emit = getattr(self, f"on_{type(statement).__name__}", None)
            if emit is None:
                raise self.refuse(statement)
            emit(statement)

    def on_Expr(self, node: ast.Expr) -> None:
        if not isinstance(node.value, ast.Constant):  # a docstring
            self.evaluate(node.value)

    def on_Pass(self, node: ast.Pass) -> None:
        pass

    def on_Assign(self, node: ast.Assign) -> None:
        value = self.evaluate(node.value) if not isinstance(node.value, ast.Tuple) else None
        parts = None
        if value is None:
            parts = [self.evaluate(one) for one in node.value.elts]  # type: ignore[attr-defined]
        for target in node.targets:
            if isinstance(target, ast.Tuple):
                if parts is None:
                    assert value is not None
                    parts = self.unpacked(value)
                for one, part in zip(target.elts, parts, strict=True):
                    self.store(one, part)
            else:
                self.store(target, value if parts is None else self.tuple_of(parts))

    def store(self, target: ast.expr, operand: _Operand) -> None:
        """Put a value where an assignment wants it."""
        if isinstance(target, ast.Name):
            self.assign(target.id, operand)
        elif isinstance(target, ast.Subscript):
            element, place = self.element(target)
            self.builder.store(self.cast(operand, element).ir, place)
        else:
            raise self.refuse(target)

    def on_AugAssign(self, node: ast.AugAssign) -> None:
        if isinstance(node.target, ast.Name):
            before = self.lookup(ast.copy_location(ast.Name(node.target.id), node))
            after = self.combine(node.op, before, self.evaluate(node.value), node)
            self.assign(node.target.id, after)
        else:
            assert isinstance(node.target, ast.Subscript)
            element, place = self.element(node.target)
            old = Value(element, self.builder.load(place))
            after = self.combine(node.op, old, self.evaluate(node.value), node)
            self.builder.store(self.cast(after, element).ir, place)

    def on_Return(self, node: ast.Return) -> None:
        if node.value is not None:
            value = self.lowered(self.evaluate(node.value))
            if self.result is None:
                self.result = self.room_for(value.type)
            self.keep(value, self.result, "what is returned")
        self.builder.branch(self.end)

    def on_If(self, node: ast.If) -> None:
        test = self.evaluate(node.test)
        if isinstance(test, Constant):
            self.statements(node.body if test.object else node.orelse)
            return
        then, otherwise, after = self.blocks("then", "else", "after")
        self.builder.cbranch(self.truth(test), then, otherwise)
        for block, body in ((then, node.body), (otherwise, node.orelse)):
            self.builder.position_at_end(block)
            self.statements(body)
            self.go_to(after)
        self.builder.position_at_end(after)

    def on_While(self, node: ast.While) -> None:
        head, body, after = self.blocks("head", "body", "after")
        self.builder.branch(head)
        self.builder.position_at_end(head)
        self.builder.cbranch(self.truth(self.evaluate(node.test)), body, after)
        self.loop_body(node, body, head, after)

    def on_For(self, node: ast.For) -> None:
        call = node.iter
        ranged = isinstance(call, ast.Call) and isinstance(call.func, ast.Name)
        if not (ranged and call.func.id == "range" and isinstance(node.target, ast.Name)):  # type: ignore[attr-defined]
            raise self.refuse(node, "only loops over range are translated")
        limits = [self.cast(self.evaluate(one), types.int64).ir for one in call.args]  # type: ignore[attr-defined]
        start, stop, step = {
            1: lambda: (_WORD(0), limits[0], _WORD(1)),
            2: lambda: (*limits, _WORD(1)),
            3: lambda: tuple(limits),
        }[len(limits)]()
        head, body, further, after = self.blocks("head", "body", "further", "after")
        before = self.builder.block
        self.builder.branch(head)
        self.builder.position_at_end(head)
        i = self.builder.phi(_WORD)
        i.add_incoming(start, before)
        self.builder.cbranch(self.builder.icmp_signed("<", i, stop), body, after)
        self.builder.position_at_end(further)
        i.add_incoming(self.builder.add(i, step, flags=["nsw"]), further)
        self.builder.branch(head)
        self.builder.position_at_end(body)
        self.assign(node.target.id, Value(types.int64, i))
        self.loop_body(node, body, further, after)

    def loop_body(self, node: ast.While | ast.For, body: Any, again: Any, after: Any) -> None:
        """Emit what a loop repeats, from the builder's place or ``body`` on."""
        if node.orelse:
            raise self.refuse(node, "a loop's else is not translated")
        self.builder.position_at_end(body)
        self.loops.append((again, after))
        self.statements(node.body)
        self.loops.pop()
        self.go_to(again)
        self.builder.position_at_end(after)

    def on_Break(self, node: ast.Break) -> None:
        self.builder.branch(self.loops[-1][1])

    def on_Continue(self, node: ast.Continue) -> None:
        self.builder.branch(self.loops[-1][0])

    def blocks(self, *names: str) -> Iterator[Any]:
        """New blocks, before the function's end."""
        return iter([self.llvm.append_basic_block(name) for name in names])

    def go_to(self, block: Any) -> None:
        if not self.builder.block.is_terminated:
            self.builder.branch(block)

    # -------------------------------------------------------------- expressions

    def evaluate(self, node: ast.expr) -> _Operand:
        """Emit an expression."""
        emit = getattr(self, f"of_{type(node).__name__}", None)
        if emit is None:
            raise self.refuse(node)
        return emit(node)  # type: ignore[no-any-return]

    def of_Constant(self, node: ast.Constant) -> _Operand:
        return Constant(node.value)

    def of_Name(self, node: ast.Name) -> _Operand:
        return self.lookup(node)

    def of_Tuple(self, node: ast.Tuple) -> _Operand:
        parts = [self.evaluate(one) for one in node.elts]
        if all(isinstance(one, Constant) for one in parts):
            return Constant(tuple(one.object for one in parts))  # type: ignore[union-attr]
        return self.tuple_of(parts)

    def tuple_of(self, parts: list[_Operand], named: type | None = None) -> Value:
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

    def unpacked(self, operand: _Operand) -> list[_Operand]:
        """The parts of a tuple."""
        if isinstance(operand, Constant):
            return [Constant(part) for part in operand.object]
        return [
            Value(kind, self.builder.extract_value(operand.ir, i))
            for i, kind in enumerate(operand.type.types)
        ]

    def of_Attribute(self, node: ast.Attribute) -> _Operand:
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

    def of_Subscript(self, node: ast.Subscript) -> _Operand:
        whole = self.evaluate(node.value)
        if isinstance(whole, Value) and isinstance(whole.type, types.BaseTuple):
            index = self.evaluate(node.slice)
            assert isinstance(index, Constant)
            return self.unpacked(whole)[index.object]
        kind, place = self.element(node)
        return Value(kind, self.builder.load(place))

    def of_UnaryOp(self, node: ast.UnaryOp) -> _Operand:
        operand = self.evaluate(node.operand)
        if isinstance(operand, Constant):
            return Constant(eval(compile(ast.Expression(  # noqa: S307  (an operator and a number)
                ast.copy_location(ast.UnaryOp(node.op, ast.copy_location(
                    ast.Constant(operand.object), node)), node)), "", "eval")))
        if isinstance(node.op, ast.Not):
            return Value(types.boolean, self.builder.not_(self.truth(operand)))
        if isinstance(node.op, ast.USub) and isinstance(operand.type, types.Float):
            return Value(operand.type, self.builder.fneg(operand.ir))
        if isinstance(node.op, ast.USub) and operand.type == types.int64:
            return Value(operand.type, self.builder.neg(operand.ir))
        raise self.refuse(node)

    def of_BinOp(self, node: ast.BinOp) -> _Operand:
        return self.combine(node.op, self.evaluate(node.left), self.evaluate(node.right), node)

    def combine(self, op: ast.operator, a: _Operand, b: _Operand, node: Any) -> _Operand:
        """The result of an operator."""
        if isinstance(a, Constant) and isinstance(b, Constant):
            return Constant(_OPERATORS[type(op)](a.object, b.object))
        a, b = self.lowered(a), self.lowered(b)
        if not all(isinstance(one.type, types.Number | types.Boolean) for one in (a, b)):
            return self.unit.operate(self.builder, _OPERATORS[type(op)], a, b)
        kind = types.float64 if isinstance(op, ast.Div) else types.int64
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
        """a // b or a % b as Python has it, but 0 where b is 0, as Numba has it then."""
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

    def of_Compare(self, node: ast.Compare) -> _Operand:
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

    def one_of(self, operand: _Operand, numbers: Any, wanted: bool) -> _Operand:
        """Whether a number is one of some that are known, or whether not."""
        if isinstance(operand, Constant):
            return Constant((operand.object in numbers) == wanted)
        found: Any = _BIT(0)
        for number in numbers:
            same = self.builder.icmp_signed("==", operand.ir, operand.ir.type(number))
            found = self.builder.or_(found, same)
        return Value(types.boolean, found if wanted else self.builder.not_(found))

    def of_BoolOp(self, node: ast.BoolOp) -> _Operand:
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

    def of_IfExp(self, node: ast.IfExp) -> _Operand:
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

    def of_Call(self, node: ast.Call) -> _Operand:
        callee = self.evaluate(node.func)
        if not isinstance(callee, Constant) or node.keywords:
            raise self.refuse(node)
        function, arguments = callee.object, [self.evaluate(one) for one in node.args]
        if isinstance(function, CPUDispatcher):
            return self.unit.call(self.builder, function.py_func, arguments)
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

    def extreme(self, function: Any, arguments: list[_Operand], node: Any) -> _Operand:
        """min or max of integers."""
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


# ------------------------------------------------------------------ a module of them


class _Unit:
    """What has been translated into one of LLVM's modules."""

    def __init__(self, module: ir.Module, context: Any, typing: Any) -> None:
        self.module, self.context, self.typing = module, context, typing
        self.functions: dict[Any, _Function] = {}

    def call(self, builder: Any, function: Any, arguments: Sequence[_Operand]) -> _Operand:
        """Call a helper, which is translated for such arguments first if it was not before."""
        # Numbers that are known are passed like others: the function is the same for all.
        given = [
            self.number(one) if isinstance(getattr(one, "object", None), int | float) else one
            for one in arguments
        ]
        key = function, *(one.type if isinstance(one, Value) else one for one in given)
        if key not in self.functions:
            self.functions[key] = _Function(self, function, given)
        made = self.functions[key]
        result = builder.call(made.llvm, [one.ir for one in given if isinstance(one, Value)])
        return Constant(None) if made.result is None else Value(made.result.type, result)

    def number(self, constant: Any) -> Value:
        """A number that is known, as a value."""
        kind = {bool: types.boolean, int: types.int64, float: types.float64}[
            type(constant.object)
        ]
        return Value(kind, self.context.get_constant(kind, constant.object))

    def operate(self, builder: Any, function: Any, a: Value, b: Value) -> Value:
        """An operator as it was registered with Numba, of vectors say."""
        kind = self.typing.resolve_value_type(function)
        signature = self.typing.resolve_function_type(kind, (a.type, b.type), {})
        emit = self.context.get_function(function, signature)
        return Value(signature.return_type, emit(builder, (a.ir, b.ir)))

    def call_intrinsic(
        self, builder: Any, function: Any, arguments: Sequence[_Operand]
    ) -> _Operand:
        """Have an intrinsic emit its instructions."""
        kinds = [self.type_of(one, literal=False) for one in arguments]
        found = function._defn(self.typing, *kinds)
        if found is None:  # it may want to know a number
            kinds = [self.type_of(one, literal=True) for one in arguments]
            found = function._defn(self.typing, *kinds)
        if found is None:
            raise TypeError(f"{function._name} does not take {kinds}")
        signature, codegen = found
        values = []
        for operand, kind, wanted in zip(arguments, kinds, signature.args, strict=True):
            if isinstance(operand, Constant):
                known = isinstance(operand.object, int | float)
                value = self.number(operand).ir if known else self.context.get_dummy_value()
                kind = types.unliteral(kind) if known else wanted
            else:
                value = operand.ir
            plain = types.unliteral(wanted)
            if plain != kind:
                value = self.context.cast(builder, value, kind, plain)
            values.append(value)
        result = codegen(self.context, builder, signature, values)
        if signature.return_type == types.void:
            return Constant(None)
        return Value(signature.return_type, result)

    def type_of(self, operand: _Operand, *, literal: bool) -> Any:
        """Numba's type of an argument."""
        if isinstance(operand, Value):
            return operand.type
        it = operand.object
        if isinstance(it, int | float):
            if literal and isinstance(it, int):
                return types.literal(it)
            return self.number(operand).type
        if isinstance(it, str):
            return types.literal(it)
        if isinstance(it, types.Type):
            return types.NumberClass(it)
        if isinstance(it, CPUDispatcher):
            return types.Dispatcher(it)
        if isinstance(it, type) and hasattr(it, "_fields"):
            return types.NamedTupleClass(it)
        return self.typing.resolve_value_type(it)

    def call_external(
        self, builder: Any, function: Any, arguments: Sequence[_Operand]
    ) -> _Operand:
        """Call a function of C."""
        signature = function.sig
        known = self.module.globals.get(function.symbol)
        if known is None:
            kinds = [self.context.get_value_type(kind) for kind in signature.args]
            kind = ir.FunctionType(self.context.get_value_type(signature.return_type), kinds)
            known = ir.Function(self.module, kind, function.symbol)
        given = [one if isinstance(one, Value) else self.number(one) for one in arguments]
        return Value(signature.return_type, builder.call(known, [one.ir for one in given]))


_units: weakref.WeakKeyDictionary[ir.Module, _Unit] = weakref.WeakKeyDictionary()


def _unit_of(module: ir.Module, context: Any, typing: Any) -> _Unit:
    if module not in _units:
        _units[module] = _Unit(module, context, typing)
    return _units[module]


def call_of(typing: Any, function: Any, kind: types.Type, *constants: Any) -> Callable[..., Any]:
    """What emits a call of a ``@jit`` helper, for intrinsics that are given one.

    ``emit(context, builder, value)`` returns helper(value, *constants), for a value of a type.
    """
    if not is_translated(function.py_func):
        return _numba_call_of(typing, function, kind, constants)

    def emit(context: Any, builder: ir.IRBuilder, value: Any) -> Any:
        unit = _unit_of(builder.module, context, typing)
        arguments = [Value(kind, value), *(Constant(one) for one in constants)]
        result = unit.call(builder, function.py_func, arguments)
        assert isinstance(result, Value)
        return result.ir

    return emit


def _numba_call_of(
    typing: Any, function: Any, kind: types.Type, constants: Sequence[Any]
) -> Callable[..., Any]:
    """The same for a helper that Numba compiles."""
    of_function = types.Dispatcher(function)
    others = [types.NumberClass(one) for one in constants]
    signature = of_function.get_call_type(typing, (kind, *others), {})

    def emit(context: Any, builder: ir.IRBuilder, value: Any) -> Any:
        compiled = context.get_function(of_function, signature)
        context.add_linking_libs(getattr(compiled, "libs", ()))
        return compiled(builder, (value, *(context.get_dummy_value() for _ in others)))

    return emit


def is_translated(function: Callable[..., Any]) -> bool:
    """Whether a function's source is there. If not, Numba compiles it, from its bytecode."""
    try:
        _source_of(function)
    except OSError:
        return False
    return True


def entry_of(function: Callable[[int, int], None]) -> Callable[[int, int], None]:
    """A region's function for Numba: it calls what is made of the region's own one here."""
    if not is_translated(function):
        return function

    @intrinsic
    def translated(typing: Any, context: Any, worker: Any) -> Any:
        def codegen(target: Any, builder: Any, signature: Any, values: Any) -> Any:
            arguments = [Value(types.int64, value) for value in values]
            _unit_of(builder.module, target, typing).call(builder, function, arguments)
            return target.get_dummy_value()

        return types.void(types.int64, types.int64), codegen

    def entry(context: int, worker: int) -> None:
        translated(context, worker)

    for name in ("__module__", "__name__", "__qualname__", "__doc__"):
        setattr(entry, name, getattr(function, name))
    return entry
