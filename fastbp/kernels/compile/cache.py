"""Compiled kernels on disk: where they are kept, whose are trusted, and that none is ever stale.

Numba's own disk cache knows only the file of the function that it keeps. A changed constant or
helper in another file would leave a stale kernel behind, silently. So fastbp's kernels lie in a
folder named after a fingerprint of every kernel source, the versions of Numba and llvmlite, and
the vector width and tiles: no stale kernel can be found.

What is read is machine code, to be run as it is. So a folder or file that somebody else can write
is refused, and each kernel is one file that begins with a checksum of the rest and of what the
kernel is: a file that was cut or damaged is as good as none, and is replaced. Nor does a cache that
cannot be read or written fail a call: it costs a compilation, and a line says why (see `tell`).
"""

from __future__ import annotations

import collections
import contextlib
import functools
import hashlib
import os
import pickle
import stat
import struct
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import llvmlite
import numba
from numba.core import caching, compiler, config
from numba.core.runtime import rtsys
from numba.core.serialize import dumps

from fastbp.kernels.compile import machine
from fastbp.kernels.compile.locks import locked

__all__ = ["KeptKernel", "KernelCache", "cache_folder", "kept", "tell"]

_PACKAGE = Path(__file__).resolve().parents[2]
_HEADER = struct.Struct("=8sQ32s")  # magic, bytes that follow, checksum
_MAGIC = b"fastbp1\n"
_LONGEST_WAIT = 120.0  # seconds
_REMEDY = "set NUMBA_CACHE_DIR to a folder of your own"
# Numba's settings that change the machine code and that its own key leaves out.
_SETTINGS = ("BOUNDSCHECK", "DEBUGINFO_DEFAULT", "LOOP_VECTORIZE", "SLP_VECTORIZE", "DEBUG_NRT")

_said: set[str] = set()
_waiting: collections.deque[str] = collections.deque()


def _note(message: str) -> None:
    """Have `tell` say, once a process, what is wrong with the cache."""
    if message not in _said:
        _said.add(message)
        _waiting.append(message)


def tell() -> None:
    """Warn of what has been found wrong with the cache since the last call.

    For when a kernel is compiled and kept: even where warnings are errors, the next call works.
    """
    while _waiting:
        warnings.warn(_waiting.popleft(), RuntimeWarning, stacklevel=2)


@functools.cache
def _fingerprint() -> str:
    """Digest of everything that the compiled kernels depend on besides the CPU."""
    digest = hashlib.sha256()
    sources = sorted(_PACKAGE.rglob("*.py"))
    if not sources:  # in an archive, or compiled: changes would go unnoticed
        raise FileNotFoundError(f"there are no sources of the kernels in {_PACKAGE}")
    for source in sources:
        text = source.read_bytes()
        name = source.relative_to(_PACKAGE).as_posix()
        if name.startswith("kernels/") or b"kernels.compile.jit import" in text:
            digest.update(name.encode())
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


def _distrust(status: os.stat_result) -> str | None:
    """Why what lies in such a file or folder may be somebody else's; None if it cannot be.

    The rule of ssh for its keys: it belongs to this user or to root, and nobody else may write it,
    not even the group. fastbp makes its folders and files so whatever the umask, but leaves others
    the right to read that the umask gives them: root may fill a cache that all users share.
    """
    if not hasattr(os, "geteuid"):  # Windows, where the mode says nothing of others
        return None
    if status.st_uid not in {0, os.geteuid()}:
        return f"belongs to another user ({status.st_uid})"
    if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        return f"may be written by others (mode {stat.S_IMODE(status.st_mode):o})"
    return None


class _Folders(NamedTuple):
    """Where to look for kernels, in turn, and where to keep them, or why nowhere."""

    read: list[Path]
    write: Path | None
    trouble: str


def _candidates() -> Iterator[tuple[Path, bool]]:
    """Folders for that of the kernels, the best first, and whether the user has asked for it."""
    if config.CACHE_DIR:
        yield Path(config.CACHE_DIR), True
    yield _PACKAGE / "__pycache__", False
    # expanduser leaves "~" where there is no home folder, which Path.home would raise for.
    home = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    if os.path.isabs(home):
        yield Path(home), False


def _made(folder: Path) -> os.stat_result:
    """Make a folder that only this user can write, if there is none; what there is then."""
    try:
        os.makedirs(folder.parent, exist_ok=True)
        os.mkdir(folder, 0o755)
    except OSError:
        if not os.path.lexists(folder):
            raise
    status = os.lstat(folder)
    if not stat.S_ISDIR(status.st_mode):  # nor a link, which may be anybody's
        raise NotADirectoryError(f"{folder} is not a folder")
    return status


def _can_write(folder: Path) -> bool:
    try:
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError:
        return False


@functools.cache
def _folders() -> _Folders:
    """Take the first folder that can be written, and before it those that can only be read."""
    read: list[Path] = []
    trouble = "there is no folder for them"
    for parent, asked_for in _candidates():
        try:
            folder = Path(os.path.abspath(parent), f"fastbp-{_fingerprint()}")
            status = _made(folder)
        except OSError as error:
            trouble = str(error)
            if asked_for:
                _note(f"NUMBA_CACHE_DIR cannot hold the compiled kernels of fastbp: {error}")
            continue
        reason = _distrust(status)
        if reason is not None:
            _note(
                f"the compiled kernels in {folder} are not used, as it {reason}:"
                f" remove it, or {_REMEDY}"
            )
            trouble = f"{folder} {reason}"
            continue
        if os.access(folder, os.R_OK | os.X_OK):
            read.append(folder)
        if _can_write(folder):
            return _Folders(read, folder, "")
        trouble = f"{folder} cannot be written"
    return _Folders(read, None, trouble)


def cache_folder() -> Path | None:
    """Return the folder where compiled kernels are kept, or None where nothing can be written.

    ``NUMBA_CACHE_DIR`` comes first, then the package's own ``__pycache__``, then the user's cache.
    Kernels that lie in one that cannot be written are used all the same.
    """
    folder = _folders().write
    tell()
    return folder


class KeptKernel(NamedTuple):
    """A compiled kernel on disk.

    Attributes
    ----------
    name : str
        The function, after its module in ``fastbp.kernels``.
    bytes : int
        Of the file.
    folder : Path
        Where it lies.
    """

    name: str
    bytes: int
    folder: Path


def kept() -> list[KeptKernel]:
    """List the compiled kernels that lie where they are looked for, sorted by name.

    Neither reads nor loads them: one may be damaged, or compiled for another CPU.
    """
    kernels = []
    for folder in _folders().read:
        for path in folder.glob("*.kernel"):
            with contextlib.suppress(FileNotFoundError):  # another process may tidy up
                name = path.name.rpartition("-")[0]
                kernels.append(KeptKernel(name, path.stat().st_size, folder))
    tell()
    return sorted(kernels)


class _Damaged(Exception):
    """The file is not a kernel's, or not this one's, or not whole."""


def _checksum(key: bytes, payload: bytes) -> bytes:
    # The key goes first with its length, or bytes could move from the one to the other.
    digest = hashlib.blake2b(len(key).to_bytes(8, "little") + key, digest_size=32)
    digest.update(payload)
    return digest.digest()


def _open_at_once(path: str, flags: int) -> int:
    """Open a file, or a pipe without waiting for its other end."""
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def _read(path: Path, key: bytes) -> bytes | None:
    """What `_write` has put there, or None if there is nothing, or nothing to be trusted."""
    with contextlib.suppress(FileNotFoundError), open(path, "rb", opener=_open_at_once) as file:
        # Of the open file: whoever can write the folder may have replaced it since it was judged.
        status = os.fstat(file.fileno())
        reason = _distrust(status)
        if reason is not None:
            _note(f"the compiled kernel {path} is not used, as it {reason}: remove it")
            return None
        if not stat.S_ISREG(status.st_mode) or status.st_size < _HEADER.size:
            raise _Damaged
        magic, length, checksum = _HEADER.unpack(file.read(_HEADER.size))
        if magic != _MAGIC or length != status.st_size - _HEADER.size:
            raise _Damaged
        payload = file.read(length)
        if _checksum(key, payload) != checksum:
            raise _Damaged
        return payload
    return None


def _write(path: Path, key: bytes, payload: bytes) -> None:
    """Write a file to the side and put it in its place: there is never a part of one."""
    side = path.with_name(f".{path.name}.{os.getpid()}-{os.urandom(4).hex()}.tmp")
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
    number = os.open(side, flags, 0o644)
    try:
        with open(number, "wb") as file:
            file.write(_HEADER.pack(_MAGIC, len(payload), _checksum(key, payload)))
            file.write(payload)
        os.replace(side, path)
    except BaseException:
        side.unlink(missing_ok=True)
        raise


class KernelCache(caching._Cache):
    """The disk cache of one function, as Numba's dispatchers and C callbacks use it.

    The folder is looked for on first use, so that importing fastbp touches no disk.
    """

    def __init__(self, py_func: Callable[..., Any]) -> None:
        self._function = py_func
        self._enabled = True

    @property
    def cache_path(self) -> str | None:
        """The folder where it is kept, or None; for Numba's statistics."""
        folder = _folders().write
        return None if folder is None else str(folder)

    @property
    def _name(self) -> str:
        module = self._function.__module__.removeprefix("fastbp.").removeprefix("kernels.")
        name = f"{module}.{self._function.__qualname__}"
        return name.replace("<", "").replace(">", "")  # which Windows allows in no file's name

    def _place(self, sig: Any, codegen: Any) -> tuple[str, bytes]:
        """Name of the file for a signature and a CPU, and all that its code follows from."""
        function = self._function
        code = function.__code__
        cells = tuple(cell.cell_contents for cell in function.__closure__ or ())
        parts = (
            function.__module__,
            function.__qualname__,
            code.co_firstlineno,
            hashlib.sha256(code.co_code).hexdigest(),
            hashlib.sha256(dumps(cells)).hexdigest() if cells else "",
            sig,
            codegen.magic_tuple(),
            [getattr(config, setting, None) for setting in _SETTINGS],
            sys.implementation.cache_tag,
            getattr(sys, "abiflags", ""),
        )
        key = repr(parts).encode()
        return f"{self._name}-{hashlib.sha256(key).hexdigest()[:16]}.kernel", key

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        """Return the compiled function, or None if it has to be compiled."""
        if not self._enabled:
            return None
        # Memory for results is all that machine code needs. `refresh` would import and register
        # what compiling needs too (it does so itself), SciPy's BLAS among it: twice the time.
        rtsys.initialize(target_context)
        name, key = self._place(sig, target_context.codegen())
        for folder in _folders().read:
            path = folder / name
            try:
                payload = _read(path, key)
                if payload is not None:
                    parts = pickle.loads(payload)
                    return compiler.CompileResult._rebuild(target_context, *parts)
            except OSError as error:
                _note(f"the compiled kernel {path} cannot be read ({error})")
            except _Damaged:
                _note(f"the compiled kernel {path} is damaged: it is compiled again")
            except Exception as error:  # whole, but of no use to this NumPy, say
                _note(f"the compiled kernel {path} cannot be used ({error!r})")
        return None

    def is_kept(self, sig: Any, codegen: Any) -> bool:
        """Whether there is a file of it, damaged or not."""
        name, _ = self._place(sig, codegen)
        return any((folder / name).exists() for folder in _folders().read)

    def save_overload(self, sig: Any, data: Any) -> None:
        """Keep a compiled function, if that can be done."""
        if not self._enabled or data.lifted or data.library.has_dynamic_globals:
            return
        folder = _folders().write
        if folder is None:
            _note(
                "every process has to compile the kernels of fastbp, as they cannot be kept"
                f" ({_folders().trouble}): {_REMEDY}"
            )
            return
        name, key = self._place(sig, data.codegen)
        try:
            _write(folder / name, key, dumps(data._reduce()))
        except Exception as error:  # whatever it is, the kernel in memory is right
            if os.name == "nt" and isinstance(error, PermissionError):
                return  # another process has just written the same file, or reads it
            reason = getattr(error, "strerror", None) or repr(error)
            _note(f"compiled kernels cannot be kept in {folder} ({reason}): {_REMEDY}")

    @contextlib.contextmanager
    def claim(self, sig: Any, codegen: Any) -> Iterator[None]:
        """Keep other processes from compiling the same function meanwhile; or wait for one.

        Not longer than compiling it here would take at the worst: the other one may be stopped.
        """
        folder = _folders().write if self._enabled else None
        if folder is None:
            yield
            return
        name, _ = self._place(sig, codegen)
        with locked(folder / f".{name}.lock", _LONGEST_WAIT):
            yield

    def enable(self) -> None:
        """Load and save from now on."""
        self._enabled = True

    def disable(self) -> None:
        """Neither load nor save from now on."""
        self._enabled = False

    def flush(self) -> None:
        """Remove what is kept of the function, to compile it anew."""
        folder = _folders().write
        if folder is not None:
            for path in folder.glob(f"{self._name}-*.kernel"):
                path.unlink(missing_ok=True)
