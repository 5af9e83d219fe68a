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
intrinsics, types (``int64(x)``), ``min`` and ``max`` of integers, and ``math.sqrt``. A variable
keeps the type of its first value. What is known here, such as a dtype or a function, is known to
the code too: an ``if`` on it leaves one branch. Anything else is a NotImplementedError that names
the line. A function whose source is not there, or is another one by now, is left to Numba.
"""

from __future__ import annotations

import ast
import weakref
from collections.abc import Callable, Sequence
from typing import Any

from llvmlite import ir
from numba.core import types
from numba.core.registry import CPUDispatcher
from numba.extending import intrinsic

from fastbp.kernels.compile.expressions import Expressions
from fastbp.kernels.compile.operands import (
    Constant,
    Operand,
    Value,
    Variable,
    is_number,
    source_of,
)

__all__ = ["call_of", "entry_of"]

_WORD = ir.IntType(64)


class _Function(Expressions):
    """One function, for arguments of certain types, becoming one of LLVM's."""

    def __init__(self, unit: _Unit, function: Any, arguments: Sequence[Operand]) -> None:
        self.unit, self.context = unit, unit.context
        self.function = function
        self.source = source_of(function)
        given = [one for one in arguments if isinstance(one, Value)]
        kinds = [unit.context.get_value_type(one.type) for one in given]
        name = f"fastbp.{function.__name__}.{len(unit.functions)}"
        self.llvm = ir.Function(unit.module, ir.FunctionType(ir.VoidType(), kinds), name)
        self.llvm.linkage = "internal"
        entry = self.llvm.append_basic_block("entry")  # for allocations, and nothing else
        body = self.llvm.append_basic_block("body")
        self.end = self.llvm.append_basic_block("end")
        self.builder = ir.IRBuilder(body)
        self.result: Variable | None = None
        self.locals: dict[str, Operand | Variable] = {}
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

    # -------------------------------------------------------------- variables

    def room_for(self, kind: types.Type) -> Variable:
        """A place on the stack; LLVM makes registers of those."""
        with self.builder.goto_entry_block():
            return Variable(kind, self.builder.alloca(self.context.get_value_type(kind)))

    def assign(self, name: str, operand: Operand) -> None:
        """Give a local variable a value."""
        if name in self.source.lasting:
            self.locals[name] = operand
            return
        variable = self.locals.get(name)
        if variable is None:
            variable = self.locals[name] = self.room_for(self.lowered(operand).type)
        assert isinstance(variable, Variable)
        self.keep(operand, variable, name)

    def keep(self, operand: Operand, variable: Variable, name: str) -> None:
        """Store a value where it keeps its meaning: Numba would give the variable a wider type."""
        value = self.lowered(operand)
        widened = variable.type == types.float64 and isinstance(value.type, types.Number)
        if value.type != variable.type and not widened:
            where = f"{self.function.__module__}.{self.function.__name__}"
            raise TypeError(f"{where}: {name} is {variable.type} first, and then {value.type}")
        self.builder.store(self.cast(value, variable.type).ir, variable.place)

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
        # The parts of a tuple need not become one, where names are on the left.
        is_tuple = isinstance(node.value, ast.Tuple)
        parts = [self.evaluate(one) for one in node.value.elts] if is_tuple else []
        whole = None if is_tuple else self.evaluate(node.value)
        for target in node.targets:
            if not isinstance(target, ast.Tuple):
                self.store(target, self.tuple_of(parts) if whole is None else whole)
                continue
            found = parts if whole is None else self.unpacked(whole)
            for one, part in zip(target.elts, found, strict=True):
                self.store(one, part)

    def store(self, target: ast.expr, operand: Operand) -> None:
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
        if not (
            isinstance(call, ast.Call)
            and isinstance(node.target, ast.Name)
            and self.evaluate(call.func) == Constant(range)
        ):
            raise self.refuse(node, "only loops over range are translated")
        limits = [self.cast(self.evaluate(one), types.int64).ir for one in call.args]
        start = limits[0] if len(limits) > 1 else _WORD(0)
        stop = limits[min(1, len(limits) - 1)]
        step = limits[2] if len(limits) > 2 else _WORD(1)
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

    def go_to(self, block: Any) -> None:
        if not self.builder.block.is_terminated:
            self.builder.branch(block)


# ------------------------------------------------------------------ a module of them


class _Unit:
    """What has been translated into one of LLVM's modules."""

    def __init__(self, module: ir.Module, context: Any, typing: Any) -> None:
        self.module, self.context, self.typing = module, context, typing
        self.functions: dict[Any, _Function] = {}

    def call(self, builder: Any, helper: CPUDispatcher, arguments: Sequence[Operand]) -> Operand:
        """Call a ``@jit`` helper, which is translated for such arguments if it was not before."""
        # Numbers that are known are passed like others: the function is the same for all.
        given = [self.number(one) if is_number(one) else one for one in arguments]
        if not _is_translated(helper.py_func):
            return self.call_by_numba(builder, helper, given)
        return self.call_translated(builder, helper.py_func, given)

    def call_translated(
        self, builder: Any, function: Callable[..., Any], given: Sequence[Operand]
    ) -> Operand:
        """Call a function whose source is there."""
        key = function, *(one.type if isinstance(one, Value) else one for one in given)
        if key not in self.functions:
            self.functions[key] = _Function(self, function, given)
        made = self.functions[key]
        result = builder.call(made.llvm, [one.ir for one in given if isinstance(one, Value)])
        return Constant(None) if made.result is None else Value(made.result.type, result)

    def call_by_numba(
        self, builder: Any, helper: CPUDispatcher, given: Sequence[Operand]
    ) -> Operand:
        """Call a helper that Numba compiles."""
        kinds = tuple(self.type_of(one, literal=False) for one in given)
        callee = types.Dispatcher(helper)
        signature: Any = callee.get_call_type(self.typing, kinds, {})
        compiled = self.context.get_function(callee, signature)
        self.context.add_linking_libs(getattr(compiled, "libs", ()))
        dummy = self.context.get_dummy_value()
        values = [one.ir if isinstance(one, Value) else dummy for one in given]
        result = compiled(builder, values)
        if signature.return_type == types.none:
            return Constant(None)
        return Value(signature.return_type, result)

    def number(self, constant: Any) -> Value:
        """A number that is known, as a value."""
        kind = {bool: types.boolean, int: types.int64, float: types.float64}[type(constant.object)]
        return Value(kind, self.context.get_constant(kind, constant.object))

    def operate(self, builder: Any, function: Any, a: Value, b: Value) -> Value:
        """An operator as it was registered with Numba, of vectors say."""
        kind = self.typing.resolve_value_type(function)
        signature = self.typing.resolve_function_type(kind, (a.type, b.type), {})
        emit = self.context.get_function(function, signature)
        return Value(signature.return_type, emit(builder, (a.ir, b.ir)))

    def call_intrinsic(self, builder: Any, function: Any, arguments: Sequence[Operand]) -> Operand:
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
                known = is_number(operand)
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

    def type_of(self, operand: Operand, *, literal: bool) -> Any:
        """Numba's type of an argument."""
        if isinstance(operand, Value):
            return operand.type
        it = operand.object
        if is_number(operand):
            return types.literal(it) if literal else self.number(operand).type
        if isinstance(it, str):
            return types.literal(it)
        if isinstance(it, types.Type):
            return types.NumberClass(it)
        if isinstance(it, CPUDispatcher):
            return types.Dispatcher(it)
        if isinstance(it, type) and hasattr(it, "_fields"):
            return types.NamedTupleClass(it)
        return self.typing.resolve_value_type(it)

    def call_external(self, builder: Any, function: Any, arguments: Sequence[Operand]) -> Operand:
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
    """The one unit of a module."""
    if module not in _units:
        _units[module] = _Unit(module, context, typing)
    return _units[module]


def call_of(typing: Any, helper: CPUDispatcher, kind: Any, dtype: Any) -> Callable[..., Any]:
    """What emits a call of a ``@jit`` helper, for intrinsics that are given one.

    ``emit(context, builder, value)`` returns helper(value, dtype), for a value of such a type.
    """

    def emit(context: Any, builder: ir.IRBuilder, value: Any) -> Any:
        unit = _unit_of(builder.module, context, typing)
        result = unit.call(builder, helper, [Value(kind, value), Constant(dtype)])
        assert isinstance(result, Value)
        return result.ir

    return emit


def _is_translated(function: Callable[..., Any]) -> bool:
    """Whether a function's source is there. If not, Numba compiles it, from its bytecode."""
    try:
        source_of(function)
    except OSError:
        return False
    return True


def entry_of(function: Callable[[int, int], None]) -> Callable[[int, int], None]:
    """A region's function for Numba: it calls what is made of the region's own one here."""
    if not _is_translated(function):
        return function

    @intrinsic
    def translated(typing: Any, context: Any, worker: Any) -> Any:
        def codegen(target: Any, builder: Any, signature: Any, values: Any) -> Any:
            arguments = [Value(types.int64, value) for value in values]
            _unit_of(builder.module, target, typing).call_translated(builder, function, arguments)
            return target.get_dummy_value()

        return types.void(types.int64, types.int64), codegen

    def entry(context: int, worker: int) -> None:
        translated(context, worker)

    for name in ("__module__", "__name__", "__qualname__", "__doc__"):
        setattr(entry, name, getattr(function, name))
    return entry
