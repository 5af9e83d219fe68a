"""Kernels that are needed together are compiled side by side, in processes of their own.

Numba compiles one function at a time in a process. So other processes take a part of the work: each
is sent the name of a kernel, compiles it, and leaves it in the disk cache, until none is left. This
process compiles too; what the others have left it loads. Where no process can be started, or none
can hand over what it compiles, this one compiles all, one after the other.
"""

from __future__ import annotations

import atexit
import collections
import contextlib
import json
import os
import subprocess
import sys
import threading
import weakref
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, Protocol

from numba.core import config

from fastbp.kernels.compile import cache
from fastbp.kernels.compile.recorded import expected_size

__all__ = ["Kernel", "compile_on_demand", "prepare", "watch"]


class Kernel(Protocol):
    """What can be prepared: a `jit.Region`, or a function for Python."""

    @property
    def name(self) -> str:
        """Module and name, with a colon between."""

    def is_ready(self) -> bool:
        """Whether it is compiled, or loaded."""

    def load(self) -> bool:
        """Load it from the disk cache; whether it was there."""

    def prepare(self) -> None:
        """Compile it, or load it from the disk cache."""


class Function(Kernel, Protocol):
    """A function for Python."""

    def is_kept(self) -> bool:
        """Whether it lies in the disk cache."""


_MOST_HELPERS = 7  # beside this process; each takes some 150 MB
_WORTH_A_HELPER = 15_000  # bytes of object code: about a second, of which half is its start
# The parent's path comes first, so that it is the same fastbp; -c has put the folder there.
_HELPER = (
    "import sys, json; sys.path[:] = json.loads(sys.stdin.readline());"
    " from fastbp.kernels.compile.prepare import compile_on_demand; compile_on_demand()"
)

_watchers: list[Callable[[list[str]], None]] = []
_CPU_QUOTA = Path("/sys/fs/cgroup/cpu.max")  # of Linux
_helpers: weakref.WeakKeyDictionary[subprocess.Popen[str], int] = weakref.WeakKeyDictionary()


@contextlib.contextmanager
def watch(watcher: Callable[[list[str]], None]) -> Iterator[None]:
    """Have ``watcher`` called with the names of kernels that are about to be compiled."""
    _watchers.append(watcher)
    try:
        yield
    finally:
        _watchers.remove(watcher)


def prepare(*kernels: Kernel, ahead: Iterable[Function] = ()) -> None:
    """Compile kernels, or load them from the disk cache.

    Functions ``ahead`` are not loaded, as that has to wait for the right moment. But if other
    processes are at work, they compile these too.
    """
    missing = [kernel for kernel in dict.fromkeys(kernels) if not kernel.is_ready()]
    if missing:
        missing = [kernel for kernel in missing if not kernel.load()]
    if not missing:
        return
    for watcher in list(_watchers):
        watcher([kernel.name for kernel in missing])
    # The longest first, so that all end at about the same time.
    missing.sort(key=lambda kernel: -expected_size(kernel.name))
    queue = collections.deque(missing)
    later = collections.deque(one for one in ahead if not one.is_ready() and not one.is_kept())
    threads = [
        threading.Thread(target=_feed, args=(queue, later), name="fastbp-compile", daemon=True)
        for _ in range(_useful_helpers(missing))
    ]
    with contextlib.suppress(RuntimeError):  # at the system's limit of threads
        for thread in threads:
            thread.start()
    while queue:
        with contextlib.suppress(IndexError):  # a helper has just taken the last one
            queue.popleft().prepare()
    for thread in threads:
        if thread.ident is not None:
            thread.join()
    for kernel in missing:  # those that the helpers have compiled, or have failed to
        kernel.prepare()


def _useful_helpers(missing: list[Kernel]) -> int:
    """How many processes beside this one find work, and can hand over what they do."""
    if len(missing) < 2 or cache.cache_folder() is None or not sys.executable or _is_frozen():
        return 0
    others = sum(expected_size(kernel.name) for kernel in missing[1:])
    most = min(len(missing) - 1, _usable_cores() - 1, _MOST_HELPERS)
    return min(most, -(-others // _WORTH_A_HELPER) if others > _WORTH_A_HELPER else 0)


def _usable_cores() -> int:
    """How many cores this process may keep busy.

    Those that it may run on, but no more than the group of a container is given time for, nor than
    NUMBA_NUM_THREADS, which joblib sets in its workers so that they do not get in each other's way.
    """
    affinity = getattr(os, "sched_getaffinity", None)
    cores = len(affinity(0)) if affinity else os.cpu_count() or 1
    with contextlib.suppress(OSError, ValueError):
        quota, period = _CPU_QUOTA.read_text().split()
        cores = min(cores, -(-int(quota) // int(period)))  # ValueError where it is "max"
    return int(min(cores, config.NUMBA_NUM_THREADS))


def _is_frozen() -> bool:
    """Whether ``sys.executable`` is a program of its own and no Python."""
    return bool(getattr(sys, "frozen", False))


def _feed(*queues: collections.deque[Any]) -> None:
    """Start a helper and send it names until there are none in the queues."""
    try:
        helper = subprocess.Popen(
            [sys.executable, "-c", _HELPER],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            encoding="ascii",
            creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
        )
    except OSError:
        return
    _helpers[helper] = os.getpid()
    assert helper.stdin is not None
    assert helper.stdout is not None
    with helper:
        with contextlib.suppress(OSError, IndexError):
            helper.stdin.write(json.dumps(sys.path) + "\n")
            helper.stdin.flush()
            while helper.stdout.readline():  # it is ready for another one
                queue = next(filter(None, queues), queues[0])
                helper.stdin.write(queue.popleft().name + "\n")
                helper.stdin.flush()
        helper.kill()  # it waits for a name, and need not tidy up


@atexit.register
def _end() -> None:
    """Leave no helper behind, unless it is that of a process from which this one was forked."""
    for helper, owner in list(_helpers.items()):
        if owner == os.getpid():
            helper.kill()


def compile_on_demand() -> None:
    """Be a helper: compile what the lines of the standard input name, asking for each."""
    import importlib

    answers, sys.stdout = sys.stdout, sys.stderr
    while True:
        answers.write("next\n")
        answers.flush()
        module, _, name = sys.stdin.readline().strip().partition(":")
        if not module:
            return
        kernel: Kernel = getattr(importlib.import_module(module), name)
        kernel.prepare()
