"""How many threads, on which threading layer, and when none may be started.

Compiled regions (see `fastbp.kernels.team`) run on any number of threads with the same bits, so
everything here is about speed and safety:

* Numba's tbb layer is preferred: it may be called from several threads at once and survives a
  fork. The ``tbb`` wheel puts its library where Numba's loader does not look, so it is loaded
  here, once, before the first parallel call.
* Without tbb Numba takes OpenMP or its own workqueue. GNU OpenMP kills a forked child that
  starts threads again, and workqueue aborts the process when two threads call it at once. So a
  child of a process that had started such a layer runs serially, and so does a call that finds
  workqueue busy.
"""

from __future__ import annotations

import ctypes
import functools
import importlib.metadata
import operator
import os
import sys
import threading
from pathlib import Path
from typing import SupportsIndex

import numba
import numpy as np
from numba.core import config

from fastbp.companion import companion
from fastbp.kernels.jit import Region, launch
from fastbp.kernels.shares import SHARE_WORDS
from fastbp.kernels.team import TEAM_WORDS

__all__ = ["get_num_threads", "run", "scratch", "set_num_threads", "threading_layer"]

_TBB_NAMES = {"linux": "libtbb.so.12", "darwin": "libtbb.12.dylib", "win32": "tbb12.dll"}
_PAGE = 4096


class _State:
    """What the process has decided about threads."""

    def __init__(self) -> None:
        self.num_threads: int | None = None  # None: as many as Numba would use
        self.serial_only = False  # in a child that must not start threads
        self.lock = threading.Lock()  # held by the one call that workqueue can bear


_state = _State()


class _Scratch(threading.local):
    """Scratch memory of one calling thread: kept between calls, grown when needed."""

    def __init__(self) -> None:
        self.buffer = np.empty(0, np.uint8)
        self.start = self.size = 0
        self.team = np.zeros(TEAM_WORDS + SHARE_WORDS + 8, np.int64)
        self.team_start = -(-int(self.team.ctypes.data) // 64) * 64

    def address(self, nbytes: int) -> int:
        if self.size < nbytes:
            self.buffer = np.empty(0, np.uint8)  # let the old one go first
            self.buffer = np.empty(nbytes + _PAGE, np.uint8)
            self.start = -(-self.buffer.ctypes.data // _PAGE) * _PAGE
            self.size = nbytes
        return self.start

    def new_team(self) -> int:
        self.team.fill(0)
        return self.team_start


_scratch = _Scratch()


def scratch(nbytes: int) -> int:
    """Address of ``nbytes`` bytes of scratch memory, at the start of a page.

    It belongs to the calling thread and is valid until that thread's next call of `scratch`.
    The system hands out pages when they are touched, so a generous request costs nothing.
    """
    return _scratch.address(nbytes)


def new_team() -> int:
    """Address of zeroed words for a region's team; valid until this thread's next call."""
    return _scratch.new_team()


def set_num_threads(n: SupportsIndex) -> None:
    """Set how many threads fastbp uses, in the whole process.

    Results do not depend on it, to the bit.

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
    if isinstance(n, bool):
        raise TypeError("the number of threads must be an integer, got a bool")
    count = operator.index(n)
    if not 1 <= count <= config.NUMBA_NUM_THREADS:
        raise ValueError(
            f"the number of threads must be from 1 to {config.NUMBA_NUM_THREADS}"
            f" (NUMBA_NUM_THREADS), got {count}"
        )
    _state.num_threads = count


def get_num_threads() -> int:
    """Return how many threads fastbp uses at most.

    ``NUMBA_NUM_THREADS`` unless `set_num_threads` was called; 1 in a forked child that must not
    start threads.
    """
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


def run(region: Region, context: int, workers: int, *, brief: bool = False) -> None:
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
        a companion, if that is awake.
    """
    workers = min(workers, get_num_threads())
    if workers == 1:
        region.serial(context, 0)
        return
    if brief and workers == 2 and companion.helps(region.address, context):
        return
    _load_tbb()
    if threading_layer() == "tbb":
        launch(region.address, context, workers)
        return
    # The layer is unknown before the first call, and only tbb and OpenMP bear two at once.
    if not _state.lock.acquire(blocking=False):
        region.serial(context, 0)
        return
    try:
        launch(region.address, context, workers)
    finally:
        _state.lock.release()


def _after_fork_in_child() -> None:
    _state.lock = threading.Lock()
    if threading_layer() not in {None, "tbb"}:
        _state.serial_only = True


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
