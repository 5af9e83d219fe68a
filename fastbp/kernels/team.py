"""How threads share the work of a region: numbered phases of independent tasks.

Every thread of a region runs the same program. Where the program has work to share it names a
phase, and the threads take the tasks of that phase one by one; a phase ends when each of its tasks
is done, and no thread passes it before. Tasks are cut by the shape of the problem alone, so the
bits of a result do not depend on how many threads there are.

    phase += 1
    task = next_task(team, phase, tasks, False)
    while task >= 0:
        ...
        task = next_task(team, phase, tasks, True)

A thread only ever waits for tasks that another thread is running at that moment. So any number of
threads may take part and each may come late, or never: a threading layer that grants one thread
for two iterations, or starts a worker when all is done, costs time and never a deadlock.

Where each task has data of its own that it comes back to in every phase, `near_task` gives a
thread the same tasks each time, so that they stay in its core's caches; others take them, by
`left_task`, only if it does not come. Such a region begins with phase 0 and has the same tasks in
all of its phases:

    done = 0
    while True:
        task = near_task(team, phase, tasks, shares, worker)
        if task < 0:
            if done > 0 and is_last(team, done, tasks):
                ...  # what needs all tasks of the phase, done by one thread
                close(team, phase)
                break
            done = 0
            task = left_task(team, phase, tasks, shares, worker)
            if task < 0:
                break
        ...
        done += 1

``team`` points to at least ``TEAM_WORDS`` int64, zeroed before the region starts: [0] is the
ticket, phase << 32 | next task; [8] counts the tasks that are done. Each has a cache line. For
`near_task` ``SHARE_WORDS`` more follow, a cache line for each share: [0] counts the claims of its
tasks in all phases, [1] is the last phase in which its own thread took one.
"""

from __future__ import annotations

import sys
from typing import Any

from llvmlite import ir
from numba import int64
from numba.core import types
from numba.extending import intrinsic

from fastbp.kernels.jit import jit

__all__ = [
    "MOST_SHARES",
    "SHARE_WORDS",
    "TEAM_WORDS",
    "claim",
    "close",
    "first_task",
    "following_task",
    "is_last",
    "left_task",
    "near_task",
    "next_task",
    "unclaimed",
]

TEAM_WORDS = 16
_DONE = 8
MOST_SHARES = 8
SHARE_WORDS = 8 * MOST_SHARES
_PATIENCE = 100  # spins before another thread's tasks are taken: 1 to 2 us
_SPINS_BEFORE_YIELD = 2000  # about 50 us: longer than any wait but for a thread that lost its core
_X86 = {"x86_64", "amd64", "i386", "i686"}


@intrinsic
def _read(typingctx: Any, ptr: Any, index: Any) -> Any:
    def codegen(ctx: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.load_atomic(builder.gep(args[0], [args[1]]), "acquire", 8)

    return types.int64(ptr, types.int64), codegen


@intrinsic
def _write(typingctx: Any, ptr: Any, index: Any, value: Any) -> Any:
    def codegen(ctx: Any, builder: Any, sig: Any, args: Any) -> Any:
        builder.store_atomic(args[2], builder.gep(args[0], [args[1]]), "release", 8)
        return ctx.get_dummy_value()

    return types.void(ptr, types.int64, types.int64), codegen


@intrinsic
def _add(typingctx: Any, ptr: Any, index: Any, value: Any) -> Any:
    """Add, and return what was there before."""

    def codegen(ctx: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.atomic_rmw("add", builder.gep(args[0], [args[1]]), args[2], "acq_rel")

    return types.int64(ptr, types.int64, types.int64), codegen


@intrinsic
def _exchange_if(typingctx: Any, ptr: Any, index: Any, expected: Any, value: Any) -> Any:
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
def unclaimed(team, phase, tasks):
    """The task of a phase that will be taken next, by whichever thread, or -1 if none is left."""
    ticket = _read(team, 0)
    task = ticket & 0xFFFFFFFF
    if ticket >> 32 != phase or task >= tasks:
        return -1
    return task


@jit
def claim(team, phase, tasks):
    """Take a task of a phase if one is left: its number, or -1. Does not wait."""
    while True:
        ticket = _read(team, 0)
        task = ticket & 0xFFFFFFFF
        if ticket >> 32 != phase or task >= tasks:
            return -1
        if _exchange_if(team, 0, ticket, ticket + 1):
            return task


@jit
def _wait(team, phase):
    """Return when the phase is over."""
    spins = 0
    while _read(team, 0) >> 32 == phase:
        _pause()
        spins += 1
        if spins > _SPINS_BEFORE_YIELD:
            _yield_core()


@jit
def is_last(team, done, tasks):
    """Report ``done`` tasks. If they are a phase's last ones, the caller must `close` the phase."""
    return _add(team, _DONE, done) + done == tasks


@jit
def close(team, phase):
    """End a phase: what the caller has written until now, all threads see in the next one."""
    _write(team, _DONE, 0)
    _write(team, 0, (phase + 1) << 32)


@jit
def first_task(team, phase, tasks):
    """Like `next_task` with nothing completed."""
    task = claim(team, phase, tasks)
    if task < 0:
        _wait(team, phase)
    return task


@jit
def following_task(team, phase, tasks, claimed):
    """Report a task as done, and go on with the one that was claimed meanwhile, if not -1.

    For tasks that want to know in time which one comes next: `claim` it before the work begins.
    Returns ``claimed``; or -1 when the phase is over.
    """
    if is_last(team, int64(1), tasks):
        close(team, phase)
    elif claimed < 0:
        _wait(team, phase)
    return claimed


@jit
def next_task(team, phase, tasks, completed):
    """Take a task of a phase, after reporting the last one done if ``completed``.

    Returns the number of a task, 0 <= number < tasks, that no other thread gets; or -1 when the
    phase is over. All threads must pass the same ``tasks`` >= 1 for a phase, and phases in turn,
    beginning with 0.
    """
    if completed:
        return following_task(team, phase, tasks, claim(team, phase, tasks))
    return first_task(team, phase, tasks)


@jit
def _claim_from(team, share, shares, phase, tasks):
    """Take a task of a share, or -1."""
    begin = share * tasks // shares
    size = (share + 1) * tasks // shares - begin
    at = TEAM_WORDS + 8 * share
    while True:
        ticket = _read(team, at)
        task = ticket - phase * size
        if task >= size:
            return -1
        if _exchange_if(team, at, ticket, ticket + 1):
            return begin + task


@jit
def near_task(team, phase, tasks, shares, worker):
    """Take a task of the worker's own share of a phase, if one is left: its number, or -1.

    There are 1 ... ``MOST_SHARES`` shares of adjacent tasks, as many as there are workers with
    tasks. Tasks done are reported by `is_last`, all of a share at once: a counter that cores take
    from each other costs 0.15 us each time.
    """
    home = worker % shares
    task = _claim_from(team, home, shares, phase, tasks)
    if task >= 0 and worker == home:
        _write(team, TEAM_WORDS + 8 * home + 1, phase)
    return task


@jit
def left_task(team, phase, tasks, shares, worker):
    """Wait until a phase is over, and return -1; or take a task that its own thread leaves."""
    home = worker % shares
    spins = 0
    while _read(team, 0) >> 32 == phase:
        for i in range(1, shares):
            share = (home + i) % shares
            seen = _read(team, TEAM_WORDS + 8 * share + 1)
            if spins >= _PATIENCE or seen < phase - 1:
                task = _claim_from(team, share, shares, phase, tasks)
                if task >= 0:
                    return task
        _pause()
        spins += 1
        if spins > _SPINS_BEFORE_YIELD:
            _yield_core()
    return -1
