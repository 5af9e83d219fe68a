"""Files on disk: replaced whole or not at all, and opened only where they are files."""

from __future__ import annotations

import errno
import os
import re
import secrets
import stat
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import BinaryIO, NamedTuple

if sys.platform != "win32":
    import fcntl

__all__ = ["AnyPath", "check_target", "named_after", "open_file", "replace_file"]

AnyPath = str | bytes | os.PathLike[str] | os.PathLike[bytes]

_KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a FIFO",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a character device",
    stat.S_IFBLK: "a block device",
}

# Short whatever the target is called: the target's own name may be as long as names can be.
_TEMPORARY = ".fastbp-{}.tmp"
_LEFT_BEHIND = re.compile(re.escape(_TEMPORARY).replace(r"\{\}", "[0-9a-f]{16}"))

# What a file system says that cannot sync a file or a folder.
_UNSUPPORTED = {
    errno.EINVAL,
    errno.EPERM,
    errno.EACCES,
    errno.EBADF,
    errno.ENOTSUP,
    errno.EOPNOTSUPP,
    errno.ENOSYS,
}


# ------------------------------------------------------------------ reading


def open_file(path: AnyPath) -> BinaryIO:
    """Open a regular file to read it; nothing else is touched, so nothing else can block.

    Raises
    ------
    OSError
        If the file cannot be opened, or `path` is a folder, a FIFO, a socket or a device.
    """
    name = os.fsdecode(path)
    _check_regular(name, os.stat(name).st_mode)  # first: opening a device or FIFO may be felt
    return open(name, "rb", opener=_open_regular)


def _open_regular(name: str, flags: int) -> int:
    descriptor = os.open(name, flags | getattr(os, "O_NONBLOCK", 0))
    try:
        _check_regular(name, os.fstat(descriptor).st_mode)  # it may be another file by now
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _check_regular(name: str, mode: int) -> None:
    if stat.S_ISREG(mode):
        return
    kind = _KINDS.get(stat.S_IFMT(mode), "something else")
    code = errno.EISDIR if stat.S_ISDIR(mode) else errno.EINVAL
    raise OSError(code, f"it is {kind}, not a regular file", name)


# ------------------------------------------------------------------ writing


def check_target(path: AnyPath) -> None:
    """Find out whether `replace_file` can put a file at `path`; leave everything as it is.

    Parameters
    ----------
    path : str, bytes or path-like
        Where a file is to be written, or replaced.

    Raises
    ------
    OSError
        If `path` is a folder, a FIFO, a socket or a device, if its name is too long, or if its
        folder does not exist or may not be written to. It names `path`.
    """
    target, _ = _find_target(path)
    try:
        probe = _create_named(os.path.dirname(target))
        os.close(probe.descriptor)
        with suppress(FileNotFoundError):  # unlocked, it may be taken for abandoned
            os.unlink(probe.path)
    except OSError as error:
        raise named_after(error, path) from error


def _find_target(path: AnyPath) -> tuple[str, os.stat_result | None]:
    """Return the file that `path` stands for, links followed, and its state if it exists."""
    target = os.path.realpath(os.fsdecode(path))
    try:
        state = os.stat(target)
    except FileNotFoundError:
        return target, None
    except OSError as error:
        raise named_after(error, path) from error
    _check_regular(os.fsdecode(path), state.st_mode)
    return target, state


def named_after(error: OSError, path: AnyPath) -> OSError:
    """`error`, said of the path that the user knows."""
    if error.errno is None:
        return OSError(f"{os.fsdecode(path)!r}: {error}")
    return OSError(error.errno, error.strerror, os.fsdecode(path))


def replace_file(path: AnyPath, write: Callable[[BinaryIO], object]) -> None:
    """Put the file that `write` fills at `path` in one step, or leave `path` as it was.

    The file is written beside `path`, without a name where the system has such files, and renamed
    once it is complete and on the disk. A link is followed; the mode of the file that was there
    is kept, and its owner where that is allowed. What a killed process left here is removed.

    Parameters
    ----------
    path : str, bytes or path-like
        Where to; an existing file is replaced.
    write : callable
        Gets the file, open for writing, once or twice.

    Raises
    ------
    OSError
        As for `check_target`, or if the disk is full. It names `path`.
    """
    target, old = _find_target(path)
    folder = os.path.dirname(target)
    _remove_abandoned(folder)
    try:
        _replace(target, old, write, _create_unnamed)
        _sync_folder(folder)
    except OSError as error:
        raise named_after(error, path) from error


def _replace(
    target: str,
    old: os.stat_result | None,
    write: Callable[[BinaryIO], object],
    create: Callable[[str], _Temporary],
) -> None:
    descriptor, temporary, named = create(os.path.dirname(target))
    try:
        with open(descriptor, "wb") as file:
            write(file)
            file.flush()
            if old is not None:
                _take_over(descriptor, old)
            _sync(descriptor)
            if not named and not _give_name(descriptor, temporary):
                _replace(target, old, write, _create_named)
                return
            if sys.platform == "win32":
                file.close()  # an open file cannot be renamed there
            os.replace(temporary, target)
    except BaseException:  # Ctrl-C too must not leave the temporary file behind
        with suppress(FileNotFoundError):
            os.unlink(temporary)
        raise


class _Temporary(NamedTuple):
    """A file that is being written: locked, so that nobody takes it for abandoned."""

    descriptor: int
    path: str
    named: bool  # whether it is at its path already


def _temporary_path(folder: str) -> str:
    return os.path.join(folder, _TEMPORARY.format(secrets.token_hex(8)))


def _create_named(folder: str) -> _Temporary:
    # O_EXCL: never write through a file or link that somebody else put there.
    flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY | getattr(os, "O_BINARY", 0)
    while True:
        path = _temporary_path(folder)
        descriptor = os.open(path, flags, 0o666)
        _lock(descriptor)
        if os.path.lexists(path):
            return _Temporary(descriptor, path, named=True)
        os.close(descriptor)  # taken for abandoned before it was locked


def _create_unnamed(folder: str) -> _Temporary:
    """Create a file that goes with its process, if it is killed; one with a name if need be."""
    flag = getattr(os, "O_TMPFILE", 0)
    try:
        descriptor = os.open(folder, flag | os.O_WRONLY, 0o666) if flag else -1
    except OSError:  # few file systems have them; if it was something else, this fails too
        descriptor = -1
    if descriptor < 0:
        return _create_named(folder)
    _lock(descriptor)
    return _Temporary(descriptor, _temporary_path(folder), named=False)


def _give_name(descriptor: int, path: str) -> bool:
    """Put an unnamed file at `path`; False where links are refused or there is no /proc."""
    try:
        # With a folder's descriptor, which an absolute path ignores, Python follows the link.
        os.link(f"/proc/self/fd/{descriptor}", path, src_dir_fd=descriptor, follow_symlinks=True)
    except OSError:
        return False
    return True


def _lock(descriptor: int) -> None:
    if sys.platform != "win32":
        with suppress(OSError):  # where there are no locks, nobody finds a file abandoned
            fcntl.flock(descriptor, fcntl.LOCK_EX)


def _remove_abandoned(folder: str) -> None:
    """Remove temporary files whose writers are gone, which their locks tell."""
    if sys.platform == "win32":
        return
    try:
        names = os.listdir(folder)
    except OSError:  # a folder may be writable and yet not readable
        return
    for name in filter(_LEFT_BEHIND.fullmatch, names):
        path = os.path.join(folder, name)
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK)
        except OSError:  # gone by now, or somebody else's
            continue
        with suppress(OSError), open(descriptor, "rb"):  # being written, or not ours to remove
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.unlink(path)


def _take_over(descriptor: int, old: os.stat_result) -> None:
    """Give a file the mode of `old`, and its group and owner, as far as the system allows."""
    if sys.platform == "win32":
        return
    for owner, group in ((-1, old.st_gid), (old.st_uid, -1)):
        with suppress(OSError):  # others' files may be replaced, but not given to them
            os.fchown(descriptor, owner, group)
    with suppress(OSError):  # not every file system has modes
        os.fchmod(descriptor, stat.S_IMODE(old.st_mode))


def _sync(descriptor: int) -> None:
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _UNSUPPORTED:
            raise


def _sync_folder(folder: str) -> None:
    """Make the renaming itself last through a power cut, where folders can be synced."""
    if sys.platform == "win32":
        return
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError:  # a folder may be writable and yet not readable; the file is complete
        return
    try:
        _sync(descriptor)
    finally:
        os.close(descriptor)
