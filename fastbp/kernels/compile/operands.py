"""What the translation of a region's functions works on: values, constants, and their sources."""

from __future__ import annotations

import ast
import builtins
import functools
import linecache
import weakref
from collections.abc import Callable
from types import CodeType
from typing import Any, NamedTuple

__all__ = ["Constant", "Operand", "Source", "Value", "Variable", "is_number", "source_of"]


class Value(NamedTuple):
    """What is known at run time, and its type."""

    type: Any
    ir: Any


class Constant(NamedTuple):
    """What is known now: a number, a type, a function, a module, None."""

    object: Any


Operand = Value | Constant


class Variable(NamedTuple):
    """A place on the stack for a local variable; LLVM makes registers of those."""

    type: Any
    place: Any


class Source(NamedTuple):
    """A function's syntax tree, and the names that are no locals of it."""

    tree: ast.FunctionDef
    names: dict[str, Any]
    lasting: frozenset[str]  # locals that are assigned once, where every use comes after it


def is_number(operand: Operand) -> bool:
    """Whether it is a number that is known."""
    return isinstance(operand, Constant) and isinstance(operand.object, int | float)


_sources: weakref.WeakKeyDictionary[Callable[..., Any], Source] = weakref.WeakKeyDictionary()


def source_of(function: Callable[..., Any]) -> Source:
    """A function's source; OSError where there is none, or where the file has changed meanwhile."""
    if function not in _sources:
        code = function.__code__
        lines = linecache.getlines(code.co_filename, function.__globals__)
        trees, codes = _file(code.co_filename, "".join(lines))
        place = code.co_name, code.co_firstlineno
        if codes.get(place) != code:
            raise OSError(f"{code.co_filename} is not what {code.co_name} was compiled from")
        cells = zip(code.co_freevars, function.__closure__ or (), strict=True)
        names = {**vars(builtins), **function.__globals__}
        names.update((name, cell.cell_contents) for name, cell in cells)
        _sources[function] = Source(trees[place], names, _assigned_once(trees[place]))
    return _sources[function]


_Place = tuple[str, int]  # a function's name and first line


@functools.lru_cache(maxsize=128)
def _file(name: str, text: str) -> tuple[dict[_Place, ast.FunctionDef], dict[_Place, CodeType]]:
    """The functions of a file, as syntax trees and as what Python compiles of them."""
    try:
        tree = ast.parse(text, name)
        module = compile(text, name, "exec", dont_inherit=True)
    except SyntaxError as error:  # in the middle of an edit
        raise OSError(f"{name} cannot be read: {error}") from error
    trees = {
        (node.name, min(one.lineno for one in (node, *node.decorator_list))): node
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef)
    }
    codes: dict[_Place, CodeType] = {}
    found = [module]
    while found:
        code = found.pop()
        codes[code.co_name, code.co_firstlineno] = code
        found += [one for one in code.co_consts if isinstance(one, CodeType)]
    return trees, codes


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
