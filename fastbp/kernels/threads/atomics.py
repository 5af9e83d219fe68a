"""Words of memory that several threads read and write, and what a waiting thread does."""

from __future__ import annotations

import sys
from typing import Any

from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic

from fastbp.kernels.compile.jit import jit

__all__ = ["add_to_word", "exchange_if", "read_word", "relax", "write_word"]

_SPINS_BEFORE_YIELD = 2000  # about 50 us: longer than any wait but for a thread that lost its core
_X86 = {"x86_64", "amd64", "i386", "i686"}


@intrinsic
def read_word(typingctx: Any, ptr: Any, index: Any) -> Any:
    """ptr[index]; what its writer wrote before is seen after it."""

    def codegen(ctx: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.load_atomic(builder.gep(args[0], [args[1]]), "acquire", 8)

    return types.int64(ptr, types.int64), codegen


@intrinsic
def write_word(typingctx: Any, ptr: Any, index: Any, value: Any) -> Any:
    """ptr[index] <- value; who reads it sees all that was written before."""

    def codegen(ctx: Any, builder: Any, sig: Any, args: Any) -> Any:
        builder.store_atomic(args[2], builder.gep(args[0], [args[1]]), "release", 8)
        return ctx.get_dummy_value()

    return types.void(ptr, types.int64, types.int64), codegen


@intrinsic
def add_to_word(typingctx: Any, ptr: Any, index: Any, value: Any) -> Any:
    """Add, and return what was there before."""

    def codegen(ctx: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.atomic_rmw("add", builder.gep(args[0], [args[1]]), args[2], "acq_rel")

    return types.int64(ptr, types.int64, types.int64), codegen


@intrinsic
def exchange_if(typingctx: Any, ptr: Any, index: Any, expected: Any, value: Any) -> Any:
    """Write ``value`` if ``expected`` is there; return whether it was."""

    def codegen(ctx: Any, builder: Any, sig: Any, args: Any) -> Any:
        pair = builder.cmpxchg(
            builder.gep(args[0], [args[1]]), args[2], args[3], "acq_rel", "acquire"
        )
        return builder.extract_value(pair, 1)

    return types.boolean(ptr, types.int64, types.int64, types.int64), codegen


@intrinsic
def _pause(typingctx: Any) -> Any:
    """Tell the core that this thread is waiting in a loop."""

    def codegen(ctx: Any, builder: Any, sig: Any, args: Any) -> Any:
        if builder.module.triple.split("-")[0] in _X86:
            kind = ir.FunctionType(ir.VoidType(), [])
            name = "llvm.x86.sse2.pause"
            found = builder.module.globals.get(name)
            builder.call(found or ir.Function(builder.module, kind, name), [])
        return ctx.get_dummy_value()

    return types.void(), codegen


if sys.platform == "win32":
    _yield_core = types.ExternalFunction("SwitchToThread", types.int32())
else:
    _yield_core = types.ExternalFunction("sched_yield", types.int32())


@jit
def relax(spins):
    """Wait a little, for the ``spins``-th time in a row."""
    _pause()
    if spins > _SPINS_BEFORE_YIELD:
        _yield_core()
