"""The code of helpers is kept as LLVM's IR, and linked into a region when that is compiled."""

from __future__ import annotations

import functools
import itertools
from typing import Any

import llvmlite.binding as llvm
from numba.core import compiler
from numba.core.codegen import JITCodeLibrary

__all__ = ["HelperCompiler"]


class _HelperLibrary(JITCodeLibrary):
    """The code of a helper, left as LLVM found it until the region that calls it is compiled.

    Numba optimises every function and makes machine code of it, and then does both again for each
    function that calls it, level after level. Only regions are ever called from outside, so the
    helpers' turn comes once, inside the region: it compiles in a tenth less of the time, to the
    same code. Nor is a helper linked with those that it calls before that, as each would be copied
    once for every level above it: another tenth less.
    """

    def finalize(self) -> None:
        for library in self._linking_libraries:
            self._reload_init.update(library._reload_init)
        self._finalized = True

    @functools.cached_property
    def own_module(self) -> Any:
        """The helper's own code, as one of possibly several definitions of the same function."""
        for function in self._final_module.functions:
            if not function.is_declaration and function.linkage == llvm.Linkage.external:
                function.linkage = "linkonce_odr"
        return self._final_module

    @functools.cached_property
    def _whole_module(self) -> Any:
        """The helper and all that it calls, directly or not."""
        whole = self.own_module.clone()
        for library in _callers_first(self)[1:]:
            part = (
                library.own_module
                if isinstance(library, _HelperLibrary)
                else library._get_module_for_linking()
            )
            whole.link_in(part, preserve=True)
        return whole

    def _get_module_for_linking(self) -> Any:
        return self._whole_module

    def get_pointer_to_function(self, name: str) -> int:
        self._ensure_finalized()
        return 0  # what Numba takes for "no such symbol"

    @property
    def codegen(self) -> Any:
        return _NoEnvironment()


def _callers_first(helper: _HelperLibrary) -> list[JITCodeLibrary]:
    """Return ``helper`` and all that it links with, each after all that call it.

    LLVM leaves out what may be defined elsewhere and that nothing has asked for so far. Not every
    caller asks: a call that never happens may have been optimised away.
    """
    callees_first: dict[JITCodeLibrary, None] = {}

    def visit(library: JITCodeLibrary) -> None:
        if isinstance(library, _HelperLibrary):  # others hold all that they call
            for callee in library._linking_libraries:
                if callee not in callees_first:
                    visit(callee)
        callees_first[library] = None

    visit(helper)
    return list(reversed(callees_first))


class _NoEnvironment:
    """Stands in where Numba hands a compiled function its globals: a helper has no use for them."""

    def set_env(self, env_name: str, env: Any) -> None:
        """Do nothing: there is no machine code that would look at the environment."""


class HelperCompiler(compiler.Compiler):
    """Numba's compiler, with the code of the function put into a `_HelperLibrary`."""

    def __init__(self, typingctx: Any, targetctx: Any, library: Any, *args: Any) -> None:
        if library is None:
            name = f"fastbp.helper.{next(_helper_numbers)}"
            library = _HelperLibrary(targetctx.codegen(), name)
        super().__init__(typingctx, targetctx, library, *args)


_helper_numbers = itertools.count()
