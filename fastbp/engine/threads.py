"""How many threads, on which threading layer, and when none may be started.

Compiled regions (see `fastbp.kernels.threads.team`) run on any number of threads with the same
bits, so everything here is about speed and safety:

* Numba's tbb layer is preferred: it may be called from several threads at once and survives a
  fork. The ``tbb`` wheel puts its library where Numba's loader does not look, so it is loaded
  here, once, before the first parallel call.
* Without tbb Numba takes OpenMP or its own workqueue. GNU OpenMP kills a forked child that
  starts threads again, and workqueue aborts the process when two threads call it at once. So a
  child of a process that had started such a layer runs serially, and so does a call that finds
  workqueue busy. So does the child of a process in which several threads had called tbb.
* Where the system gives the process no more threads, calls run serially.
* A call that may take long runs beside the main thread, which sees Ctrl-C meanwhile.
"""

from __future__ import annotations

import _thread
import ctypes
import functools
import importlib.metadata
import os
import sys
import threading
import time
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import SupportsIndex

import numba
from numba.core import config

from fastbp.engine import limits
from fastbp.engine.limits import thread_limit
from fastbp.engine.scratch import Workspace
from fastbp.engine.standby import standby
from fastbp.kernels.compile.jit import Region, launch

__all__ = [
    "LONG_WORK",
    "get_num_threads",
    "make_ready",
    "run",
    "set_num_threads",
    "thread_limit",
    "threading_layer",
]

_TBB_NAMES = {"linux": "libtbb.so.12", "darwin": "libtbb.12.dylib", "win32": "tbb12.dll"}
_CONCURRENT = {"tbb", "omp"}  # may be called by several threads at once
_SECONDS_BETWEEN_TRIES = 1.0  # to have threads, where there were none
_SHORT_WHILE, _LONGEST_WAIT = 0.001, 0.05  # seconds

LONG_WORK = 1 << 33
"""Multiply-adds of float32 from which on a call looks out for signals: 0.1 s, or 0.2 on slow cores.
Starting a thread for that takes 0.1 ms."""


class _State:
    """What the process has decided about threads."""

    def __init__(self) -> None:
        self.num_threads: int | None = None  # None: as many as Numba would use
        self.serial_only = False  # in a child that must not start threads
        self.child_is_serial = False  # what the next fork makes of that
        self.lock = threading.Lock()  # held by the one call that workqueue can bear
        self.started_by: int | None = None  # the thread that had Numba start its own
        self.next_try = 0.0  # when to ask again for threads that were not to be had


class _Mark:
    """Lives as long as a thread that has launched regions."""


class _Launcher(threading.local):
    """The calling thread, if it has launched regions."""

    mark: _Mark | None = None


_state = _State()
_launcher = _Launcher()
_launchers: weakref.WeakValueDictionary[int, _Mark] = weakref.WeakValueDictionary()


def set_num_threads(n: SupportsIndex) -> None:
    """Set how many threads fastbp uses, in the whole process.

    Results do not depend on it, to the bit. `thread_limit` is for some calls of one thread.

    Parameters
    ----------
    n : int
        From 1 to Numba's own maximum, ``NUMBA_NUM_THREADS`` (by default the number of cores).

    Raises
    ------
    TypeError
        If `n` is not an integer.
    ValueError
        If `n` is out of range.
    """
    count = limits.as_count(n)
    if not 1 <= count <= config.NUMBA_NUM_THREADS:
        raise ValueError(
            f"the number of threads must be from 1 to {config.NUMBA_NUM_THREADS}"
            f" (NUMBA_NUM_THREADS), got {count}"
        )
    _state.num_threads = count
    limits.forget_controlled()  # the last word counts


def get_num_threads() -> int:
    """Return how many threads fastbp uses at most, in calls of this thread.

    ``NUMBA_NUM_THREADS`` unless `set_num_threads` was called, or less within `thread_limit` and
    ``threadpoolctl.threadpool_limits``; 1 in a forked child that must not start threads: one of a
    process in which several threads had computed, or that has no tbb.
    """
    count = _process_count()
    return limits.limited(count) if limits.in_use else count


def _process_count() -> int:
    """How many threads are used where nothing limits the calling thread."""
    if _state.serial_only:
        return 1
    if _state.num_threads is not None:
        return _state.num_threads
    return int(config.NUMBA_NUM_THREADS)


def _tbb_candidates(name: str) -> list[Path]:
    """Where the tbb wheel may have put its library."""
    folders = [Path(sys.prefix, "lib"), Path(sys.prefix, "Library", "bin")]
    found = [folder / name for folder in folders]
    try:
        files = importlib.metadata.files("tbb") or []
    except importlib.metadata.PackageNotFoundError:
        files = []
    found += [Path(str(file.locate())).resolve() for file in files if file.name == name]
    return found


@functools.cache
def _load_tbb() -> None:
    """Load the tbb library for all of the process, if it is installed and not ruled out.

    Finding none is no error: Numba then takes the next layer.
    """
    wanted = str(config.THREADING_LAYER).lower()  # Numba takes any case
    if wanted not in {"default", "tbb", "safe", "threadsafe", "forksafe"}:
        return
    name = _TBB_NAMES.get(sys.platform)
    if name is None:
        return
    for path in _tbb_candidates(name):
        if path.is_file():
            try:
                ctypes.CDLL(str(path), mode=ctypes.RTLD_GLOBAL)
            except OSError:
                continue  # built for another machine; the next layer will do
            return


def threading_layer() -> str | None:
    """Name of Numba's threading layer in use, or None before the first parallel call."""
    try:
        return str(numba.threading_layer())
    except ValueError:
        return None


def run(
    region: Region,
    context: int,
    workers: int,
    *,
    brief: bool = False,
    long: Workspace | None = None,
) -> None:
    """Run a region on ``workers`` threads, or serially where no threads may be started.

    Parameters
    ----------
    region : Region
        What to run.
    context : int
        Address of the region's words; its team must be fresh.
    workers : int
        At least 1. More threads than `get_num_threads` are not started.
    brief : bool, optional
        Whether it takes so little time that starting threads counts: two of them are this one and
        a standby, if that is awake.
    long : Workspace, optional
        Where the region works, if it may take so long that signals should be seen meanwhile. If
        the handler of one raises, as that of Ctrl-C does, the region is abandoned, and what it was
        to write is worth nothing.
    """
    if workers > 1:
        workers = min(workers, get_num_threads())
    if long is not None and threading.get_ident() == threading.main_thread().ident:
        _run_beside(long, lambda: _start(region, context, workers))
    elif brief and workers == 2 and standby.helps(region.address, context):
        return
    else:
        _start(region, context, workers)


def make_ready() -> None:
    """Compile, or load, what starts threads, and have Numba start its own, if several are in use.

    Nothing where no threads may be started.
    """
    if get_num_threads() > 1 and _may_launch():
        launch.prepare()


def _start(region: Region, context: int, workers: int) -> None:
    if workers == 1 or not _may_launch():
        region.serial(context, 0)
    elif threading_layer() in _CONCURRENT:
        launch(region.address, context, workers)
    elif _state.lock.locked():  # by another thread, or by a call that this one has interrupted
        region.serial(context, 0)
    else:
        with _state.lock:
            launch(region.address, context, workers)


def _run_beside(space: Workspace, work: Callable[[], None]) -> None:
    """Do ``work``, which runs a region, on another thread, while this one waits for it.

    The main thread alone sees signals, and not while it is in compiled code.
    """
    go, ended = [True], threading.Lock()  # who takes what is in `go` decides: in one step
    ended.acquire()
    errors: list[BaseException] = []

    def other() -> None:
        try:
            go.pop()
        except IndexError:  # nobody waits any more
            return
        try:
            work()
        except BaseException as error:
            errors.append(error)
        finally:
            ended.release()

    _may_launch()  # for Numba, the thread that starts its threads must be one that stays
    try:
        try:
            # In one step, unlike the methods of `threading.Thread`.
            _thread.start_new_thread(other, ())
        except RuntimeError:  # at the system's limit
            work()
            return
        # A signal that comes just before the waiting begins does not end it.
        while not ended.acquire(timeout=_LONGEST_WAIT):
            pass
    except BaseException:
        try:
            go.pop()
        except IndexError:  # it is at work
            _abandon(space, ended)
        raise
    if errors:
        raise errors[0]


def _abandon(space: Workspace, ended: threading.Lock) -> None:
    """Make an end of a region on another thread: nothing may be left at work in our memory."""
    while True:
        try:
            space.abandon()
            if ended.acquire(timeout=_SHORT_WHILE):
                return
        except KeyboardInterrupt:  # another one: we are at it
            continue


def _may_launch() -> bool:
    """Whether Numba's threads are to be had; the process's first call starts them.

    Layers abort the process, or wait for ever, where the system does not give them the threads that
    they ask for. So it is asked first, by starting as many of our own.
    """
    if _launcher.mark is not None:
        return True
    if _state.started_by is None or threading_layer() == "omp":  # starts some for each caller
        if time.monotonic() < _state.next_try:
            return False
        if not _can_start(int(config.NUMBA_NUM_THREADS)):
            _state.next_try = time.monotonic() + _SECONDS_BETWEEN_TRIES
            return False
    mark = _launchers[threading.get_ident()] = _Mark()
    if _state.started_by is None:
        _load_tbb()
        numba.get_num_threads()
        _state.started_by = threading.get_ident()
    _launcher.mark = mark
    return True


def _can_start(count: int) -> bool:
    """Whether the system gives this process so many threads more."""
    over = threading.Event()
    threads = [threading.Thread(target=over.wait, daemon=True) for _ in range(count)]
    started = 0
    try:
        for thread in threads:
            thread.start()
            started += 1
    except RuntimeError:
        return False
    finally:
        over.set()
        for thread in threads[:started]:
            thread.join()
    return True


def _before_fork() -> None:
    """See whether a child may start threads.

    tbb has to join its threads before a fork. It can neither from another thread than the one that
    started them, nor while others use it: in the child it may then wait for a thread, or a lock,
    that is not there any more. The other layers cannot at all.
    """
    mine = _launcher.mark  # of threads that have ended there are none, and in the child of no other
    others = any(mark is not mine for mark in list(_launchers.values()))
    elsewhere = _state.started_by not in {None, threading.get_ident()}
    other_layer = threading_layer() not in {None, "tbb"}
    _state.child_is_serial = _state.serial_only or others or elsewhere or other_layer


def _after_fork_in_child() -> None:
    _state.serial_only = _state.child_is_serial
    _state.lock = threading.Lock()
    _state.started_by = _launcher.mark = None
    _launchers.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_child=_after_fork_in_child)
limits.register_controller(_process_count)
