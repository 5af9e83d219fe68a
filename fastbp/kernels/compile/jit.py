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
import inspect
from collections.abc import Callable
from typing import Any, TypeVar

import numba
from numba.core import config, types
from numba.core.ccallback import CFunc
from numba.core.compiler_lock import global_compiler_lock
from numba.core.registry import CPUDispatcher
from numba.np.ufunc.parallel import _launch_threads

from fastbp.kernels.compile import cache
from fastbp.kernels.compile.background import in_background
from fastbp.kernels.compile.calls import call_region
from fastbp.kernels.compile.linking import HelperCompiler
from fastbp.kernels.compile.translate import entry_of

__all__ = ["Region", "jit", "launch", "region"]

T = TypeVar("T")

_ARGUMENTS = {int: types.int64, bool: types.boolean}

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

    @functools.cached_property
    def _arguments(self) -> tuple[types.Type, ...]:
        """What it is to be called with, by its annotations."""
        kinds = inspect.get_annotations(self.py_func, eval_str=True)
        kinds.pop("return", None)
        return tuple(_ARGUMENTS[kind] for kind in kinds.values())

    @property
    def name(self) -> str:
        """Where it is to be found, for another process."""
        return f"{self.py_func.__module__}:{self.py_func.__name__}"

    def is_ready(self) -> bool:
        """Whether it is compiled, or loaded."""
        return bool(self.overloads)

    def load(self) -> bool:
        """Load it from the disk cache; whether it was there."""
        if not self.overloads:
            _uninterrupted(self._load)
        return bool(self.overloads)

    def _load(self) -> None:
        with global_compiler_lock:
            found = self._cache.load_overload(self._arguments, self.targetctx)
            if found is not None and not self.overloads:
                self.targetctx.insert_user_function(
                    found.entry_point, found.fndesc, [found.library]
                )
                self.add_overload(found)

    def is_kept(self) -> bool:
        """Whether it lies in the disk cache."""
        return self._cache.is_kept(self._arguments, self.targetctx.codegen())

    def prepare(self) -> None:
        """Compile it, or load it from the disk cache."""
        if not self.load():
            self.compile(self._arguments)

    def compile(self, sig: Any) -> Any:
        return _uninterrupted(functools.partial(self._claim_and_compile, sig))

    def _claim_and_compile(self, sig: Any) -> Any:
        with global_compiler_lock, self._cache.claim(sig, self.targetctx.codegen()):
            return super().compile(sig)

    def _compile_for_args(self, *args: Any, **kws: Any) -> Any:
        return _uninterrupted(functools.partial(super()._compile_for_args, *args, **kws))


def _options(**more: Any) -> dict[str, Any]:
    """What ``numba.njit`` hands its dispatcher, unless ``NUMBA_DISABLE_JIT`` is set."""
    return {**_OPTIONS, "nopython": True, "boundscheck": None, **more}


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
        py_func=function, locals={}, targetoptions=options, pipeline_class=HelperCompiler
    )


class _Entry(CFunc):
    """The code of a region."""

    _compiler: Any
    _pyfunc: Callable[[int, int], None]

    def enable_caching(self) -> None:
        self._cache = cache.KernelCache(self._pyfunc)

    def load(self) -> bool:
        """Load it from the disk cache; whether it was there."""
        found = self._cache.load_overload(self._sig, self._targetdescr.target_context)
        if found is None:
            return False
        self._library = found.library
        self._wrapper_name = found.fndesc.llvm_cfunc_wrapper_name
        self._wrapper_address = self._library.get_pointer_to_function(self._wrapper_name)
        self._cache_hits += 1
        return True

    def _compile_uncached(self) -> Any:
        self._compiler.py_func = entry_of(self._pyfunc)
        return super()._compile_uncached()  # type: ignore[misc]

    def claim_and_compile(self) -> None:
        """Compile it, unless another process does: then wait for that and load it."""
        with self._cache.claim(self._sig, self._targetdescr.target_context.codegen()):
            self.compile()


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
        self.prepare()
        return getattr(self, name)

    @property
    def name(self) -> str:
        """Where it is to be found, for another process."""
        return f"{self._function.__module__}:{self.__name__}"

    def is_ready(self) -> bool:
        """Whether it is compiled, or loaded."""
        return "_compiled" in vars(self)

    def load(self) -> bool:
        """Load it from the disk cache; whether it was there."""
        if not self.is_ready():
            _uninterrupted(functools.partial(self._compile, only_load=True))
        return self.is_ready()

    def prepare(self) -> None:
        """Compile it, or load it from the disk cache."""
        if not self.load():
            _uninterrupted(self._compile)

    def _compile(self, *, only_load: bool = False) -> None:
        signature = (types.int64, types.int64), types.void
        with global_compiler_lock:
            if self.is_ready():
                return
            result: Any = _Entry(self._function, signature, {}, dict(_OPTIONS))
            result.enable_caching()
            if only_load:
                if not result.load():
                    return
            else:
                result.claim_and_compile()
            self.address = int(result.address)
            self.serial = result.ctypes
            self._compiled = result


def region(function: Callable[[int, int], None]) -> Region:
    """Make ``function(context, worker)`` an entry point; see `Region`."""
    return Region(function)


class _Launcher(_Dispatcher):
    """Starts Numba's threads before it is compiled or loaded.

    Which would start them in passing, in the background: but tbb can only be shut down before a
    fork by the thread that has started it.
    """

    def prepare(self) -> None:
        _launch_threads()
        super().prepare()

    def _compile_for_args(self, *args: Any, **kws: Any) -> Any:
        _launch_threads()
        return super()._compile_for_args(*args, **kws)


@functools.partial(_Launcher, parallel=True)
def launch(address: int, context: int, workers: int) -> None:
    """Run the region at ``address`` on ``workers`` threads, and wait for all of them."""
    for worker in numba.prange(workers):
        call_region(address, context, numba.int64(worker))
