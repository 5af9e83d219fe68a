"""The one decorator that owns every JIT option.

``@jit`` compiles a helper that other compiled code calls. ``@region`` marks an entry point: a
function ``(context, worker)`` of two integers that one or many threads run at once; it is
compiled on first use, kept on disk, and called through its address. ``launch`` is the only
parallel loop of the package: it runs one region on n threads, so the cost of compiling a
parallel driver is paid once and not for each kernel.

All three compile in the background, see `fastbp.kernels.compile.background`, and are compiled
whatever ``NUMBA_DISABLE_JIT`` says: as Python they would read and write memory that is not theirs.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable
from typing import Any, TypeVar

import llvmlite.binding as llvm
import numba
from llvmlite import ir
from numba.core import compiler, config, types
from numba.core.ccallback import CFunc
from numba.core.codegen import JITCodeLibrary
from numba.core.compiler_lock import global_compiler_lock
from numba.core.registry import CPUDispatcher
from numba.extending import intrinsic
from numba.np.ufunc.parallel import _launch_threads

from fastbp.kernels.compile import cache
from fastbp.kernels.compile.background import in_background

__all__ = ["Region", "call_region", "jit", "launch", "region"]

T = TypeVar("T")

# Numpy's rules for division by zero; contraction is written out as fma where it is wanted, and
# no fastmath flag is set, so that results are those of the source at every optimisation.
_OPTIONS: dict[str, Any] = {"nogil": True, "error_model": "numpy", "fastmath": False}


def _uninterrupted(call: Callable[[], T]) -> T:
    """What ``call`` compiles, whole even if the caller is interrupted."""
    result = in_background(functools.partial(_jit_enabled, call) if config.DISABLE_JIT else call)
    cache.tell()
    return result


def _jit_enabled(call: Callable[[], T]) -> T:
    """``call()`` without ``NUMBA_DISABLE_JIT``, for Numba's own functions that kernels call."""
    with global_compiler_lock:
        setting, config.DISABLE_JIT = config.DISABLE_JIT, 0
        try:
            return call()
        finally:
            config.DISABLE_JIT = setting


class _Dispatcher(CPUDispatcher):
    """A compiled function to be called from Python, kept on disk."""

    def __init__(self, function: Callable[..., Any], **options: Any) -> None:
        super().__init__(py_func=function, locals={}, targetoptions=_options(**options))
        self._cache = cache.KernelCache(function)

    def compile(self, sig: Any) -> Any:
        return _uninterrupted(functools.partial(super().compile, sig))

    def _compile_for_args(self, *args: Any, **kws: Any) -> Any:
        return _uninterrupted(functools.partial(super()._compile_for_args, *args, **kws))


def _options(**more: Any) -> dict[str, Any]:
    """What ``numba.njit`` hands its dispatcher, unless ``NUMBA_DISABLE_JIT`` is set."""
    return {**_OPTIONS, "nopython": True, "boundscheck": None, **more}


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


class _HelperCompiler(compiler.Compiler):
    """Numba's compiler, with the code of the function put into a `_HelperLibrary`."""

    def __init__(self, typingctx: Any, targetctx: Any, library: Any, *args: Any) -> None:
        if library is None:
            name = f"fastbp.helper.{next(_helper_numbers)}"
            library = _HelperLibrary(targetctx.codegen(), name)
        super().__init__(typingctx, targetctx, library, *args)


_helper_numbers = itertools.count()


def jit(function: Callable[..., Any] | None = None, /, *, cache: bool = False) -> Any:
    """Compile ``function`` for the CPU on first use: serial, without the GIL, without fastmath.

    Parameters
    ----------
    function : callable
        The function, in the subset of Python that Numba compiles.
    cache : bool, default False
        Keep the machine code on disk. Only for functions called from Python; helpers are part of
        whatever calls them.
    """
    if function is None:
        return functools.partial(jit, cache=cache)
    if cache:
        return _Dispatcher(function)
    # LLVM folds constants; kernels have no array expressions, and no branches that cannot be typed
    # for an argument that is None.
    options = _options(no_cpython_wrapper=True, no_cfunc_wrapper=True, no_rewrites=True)
    return CPUDispatcher(
        py_func=function, locals={}, targetoptions=options, pipeline_class=_HelperCompiler
    )


class Region:
    """An entry point ``(context, worker)`` of compiled code, compiled when first asked for.

    Attributes
    ----------
    address : int
        Of the machine code, a C function ``void (int64_t, int64_t)``.
    serial : callable
        The region as a function to call on this thread alone; it runs without the GIL.
    """

    address: int
    serial: Callable[[int, int], None]

    def __init__(self, function: Callable[[int, int], None]) -> None:
        self.__name__ = function.__name__
        self.__doc__ = function.__doc__
        self._function = function

    def __getattr__(self, name: str) -> Any:
        if name not in {"_compiled", "address", "serial"}:
            raise AttributeError(f"a region has no attribute {name!r}")
        _uninterrupted(self._compile)
        return getattr(self, name)

    def _compile(self) -> None:
        signature = (types.int64, types.int64), types.void
        with global_compiler_lock:
            if "_compiled" in vars(self):
                return
            result: Any = CFunc(self._function, signature, {}, dict(_OPTIONS))
            result._cache = cache.KernelCache(self._function)
            result.compile()
            self.address = int(result.address)
            self.serial = result.ctypes
            self._compiled = result


def region(function: Callable[[int, int], None]) -> Region:
    """Make ``function(context, worker)`` an entry point; see `Region`."""
    return Region(function)


@intrinsic
def call_region(typingctx: Any, address: Any, context: Any, worker: Any) -> Any:
    """Run the region at ``address`` on this thread, from compiled code."""

    def codegen(ctx: Any, builder: Any, sig: Any, args: Any) -> Any:
        word = ir.IntType(64)
        function = ir.FunctionType(ir.VoidType(), [word, word])
        builder.call(builder.inttoptr(args[0], function.as_pointer()), args[1:])
        return ctx.get_dummy_value()

    return types.void(types.int64, types.int64, types.int64), codegen


def _launch(address: int, context: int, workers: int) -> None:
    """Run the region at ``address`` on ``workers`` threads, and wait for all of them."""
    for worker in numba.prange(workers):
        call_region(address, context, numba.int64(worker))


class _Launcher(_Dispatcher):
    """Starts Numba's threads before it is compiled or loaded.

    Which would start them in passing, in the background: but tbb can only be shut down before a
    fork by the thread that has started it.
    """

    def _compile_for_args(self, *args: Any, **kws: Any) -> Any:
        _launch_threads()
        return super()._compile_for_args(*args, **kws)


launch = _Launcher(_launch, parallel=True)
