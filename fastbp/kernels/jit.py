"""The one decorator that owns every JIT option, and the cache policy.

``@jit`` compiles a helper that other compiled code calls. ``@region`` marks an entry point: a
function ``(context, worker)`` of two integers that one or many threads run at once; it is
compiled on first use, kept on disk, and called through its address. ``launch`` is the only
parallel loop of the package: it runs one region on n threads, so the cost of compiling a
parallel driver is paid once and not for each kernel.

Numba's own disk cache knows only the file of the function that it keeps. A changed constant or
helper in another file would leave a stale kernel behind, silently. The locator below keeps
fastbp's kernels in a folder named after a fingerprint of every kernel source, the versions of
Numba and llvmlite, and the vector width and tiles, so that no stale kernel can be found.
"""

from __future__ import annotations

import functools
import hashlib
import itertools
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import llvmlite
import llvmlite.binding as llvm
import numba
from llvmlite import ir
from numba.core import caching, compiler, config, types
from numba.core.ccallback import CFunc
from numba.core.codegen import JITCodeLibrary
from numba.extending import intrinsic

from fastbp.kernels import machine

__all__ = ["Region", "cache_folder", "call_region", "jit", "launch", "region"]

# Numpy's rules for division by zero; contraction is written out as fma where it is wanted, and
# no fastmath flag is set, so that results are those of the source at every optimisation.
_OPTIONS: dict[str, Any] = {"nogil": True, "error_model": "numpy", "fastmath": False}
_PACKAGE = Path(__file__).resolve().parent.parent


@functools.cache
def _fingerprint() -> str:
    """Digest of everything that the compiled kernels depend on besides the CPU."""
    digest = hashlib.sha256()
    for source in sorted(_PACKAGE.rglob("*.py")):
        text = source.read_bytes()
        if source.parent.name == "kernels" or b"kernels.jit import" in text:
            digest.update(source.relative_to(_PACKAGE).as_posix().encode())
            digest.update(text)
    facts = (
        numba.__version__,
        llvmlite.__version__,
        machine.VECTOR_BITS,
        machine.VECTOR_REGISTERS,
        machine.CORES,
        machine.tiles(4),
        machine.tiles(8),
        config.OPT,
    )
    digest.update(repr(facts).encode())
    return digest.hexdigest()[:16]


@functools.cache
def cache_folder() -> Path | None:
    """Return the folder of the compiled kernels, or None where nothing can be written.

    ``NUMBA_CACHE_DIR`` comes first, then the package's own ``__pycache__``, then the user's cache.
    """
    candidates = []
    if config.CACHE_DIR:
        candidates.append(Path(config.CACHE_DIR))
    else:
        candidates.append(_PACKAGE / "__pycache__")
        # expanduser leaves "~" where there is no home folder, which Path.home would raise for.
        home = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
        if os.path.isabs(home):
            candidates.append(Path(home))
    for candidate in candidates:
        folder = candidate / f"fastbp-{_fingerprint()}"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=folder):
                pass
        except OSError:
            continue
        return folder
    return None


class _Locator(caching._CacheLocator):
    """Tells Numba where the kernels of this package are kept, and how fresh they are."""

    def __init__(self, py_func: Callable[..., Any]) -> None:
        self._name = f"{py_func.__module__}.{py_func.__qualname__}"
        self._line = py_func.__code__.co_firstlineno

    def get_cache_path(self) -> str:
        return str(cache_folder())

    def get_source_stamp(self) -> str:
        return _fingerprint()

    def get_disambiguator(self) -> str:
        return str(self._line)


class _Impl(caching.CompileResultCacheImpl):
    def __init__(self, py_func: Callable[..., Any]) -> None:
        self._locator = _Locator(py_func)
        self._filename_base = self.get_filename_base(
            f"{py_func.__module__}.{py_func.__qualname__}", ""
        )


class _Cache(caching.FunctionCache):
    _impl_class = _Impl


def _cache_for(py_func: Callable[..., Any]) -> Any:
    return caching.NullCache() if cache_folder() is None else _Cache(py_func)


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
    if not cache:
        return numba.njit(
            **_OPTIONS,
            no_cpython_wrapper=True,
            no_cfunc_wrapper=True,
            # LLVM folds constants; kernels have no array expressions, and no branches that cannot
            # be typed for an argument that is None.
            no_rewrites=True,
            pipeline_class=_HelperCompiler,
        )(function)
    dispatcher = numba.njit(**_OPTIONS)(function)
    dispatcher._cache = _LazyCache(function)
    return dispatcher


class _LazyCache(caching._Cache):
    """Looks for the cache folder on first use, so that importing fastbp touches no disk."""

    def __init__(self, py_func: Callable[..., Any]) -> None:
        self._py_func = py_func

    @functools.cached_property
    def _inner(self) -> Any:
        return _cache_for(self._py_func)

    @property
    def cache_path(self) -> Any:
        return self._inner.cache_path

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        return self._inner.load_overload(sig, target_context)

    def save_overload(self, sig: Any, data: Any) -> None:
        self._inner.save_overload(sig, data)

    def enable(self) -> None:
        self._inner.enable()

    def disable(self) -> None:
        self._inner.disable()

    def flush(self) -> None:
        self._inner.flush()


class Region:
    """An entry point ``(context, worker)`` of compiled code, compiled when first asked for."""

    def __init__(self, function: Callable[[int, int], None]) -> None:
        self.__name__ = function.__name__
        self.__doc__ = function.__doc__
        self._function = function

    @functools.cached_property
    def _compiled(self) -> Any:
        result: Any = CFunc(
            self._function, ((types.int64, types.int64), types.void), {}, dict(_OPTIONS)
        )
        result._cache = _LazyCache(self._function)
        result.compile()
        return result

    @functools.cached_property
    def address(self) -> int:
        """Address of the machine code, a C function ``void (int64_t, int64_t)``."""
        return int(self._compiled.address)

    @functools.cached_property
    def serial(self) -> Callable[[int, int], None]:
        """The region as a function to call on this thread alone; it runs without the GIL."""
        return self._compiled.ctypes


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


launch = numba.njit(parallel=True, **_OPTIONS)(_launch)
launch._cache = _LazyCache(_launch)
