"""Where files may be put and what is read: nothing else is replaced, waited for or left behind."""

from __future__ import annotations

import errno
import os
import socket
import stat
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import fastbp
from fastbp import files, storage
from fastbp.cli.console import UserError
from fastbp.cli.pictures import PictureModel, load_model
from tests.forging import SIZES, network_of
from tests.processes import run_python

posix_only = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such files")
ABANDONED = ".fastbp-0123456789abcdef.tmp"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "net.safetensors"


@pytest.fixture(params=["unnamed", "named", "no-links"])
def any_temporary(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Temporary files without a name, if this system has them, and the two ways around."""
    if request.param == "named":
        monkeypatch.delattr(os, "O_TMPFILE", raising=False)
    if request.param == "no-links":
        monkeypatch.setattr(os, "link", refuse(errno.EPERM))


def refuse(code: int) -> Callable[..., None]:
    def fail(*_: object, **__: object) -> None:
        raise OSError(code, os.strerror(code), "the temporary file")

    return fail


def names_in(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


# ------------------------------------------------------------------ what is no file


def make_socket(path: Path) -> None:
    # A socket's name may have a hundred bytes, and temporary folders have longer ones.
    folder = os.open(path.parent, os.O_RDONLY)
    with socket.socket(socket.AF_UNIX) as bound:
        try:
            bound.bind(f"/proc/self/fd/{folder}/{path.name}")
        except OSError:
            pytest.skip("this system does not take the name of a socket in a folder so deep")
        finally:
            os.close(folder)


def make_device(path: Path) -> None:
    try:
        os.mknod(path, 0o666 | stat.S_IFCHR, os.makedev(1, 3))
    except OSError:
        pytest.skip("only root can make devices, and not everywhere")


@pytest.fixture(params=["folder", "FIFO", "socket", "device"])
def no_file(request: pytest.FixtureRequest, path: Path) -> tuple[Path, str]:
    """A path at which there is something else than a file, and what it is called."""
    if sys.platform == "win32" and request.param != "folder":
        pytest.skip("Windows has no such files")
    if request.param == "folder":
        path.mkdir()
    else:
        {"FIFO": os.mkfifo, "socket": make_socket, "device": make_device}[request.param](path)
    return path, request.param


def test_save_replaces_nothing_but_files(no_file):
    path, kind = no_file
    before = path.stat()

    with pytest.raises(OSError, match=kind) as caught:
        network_of().save(path)

    assert caught.value.filename == str(path)
    assert stat.S_IFMT(path.stat().st_mode) == stat.S_IFMT(before.st_mode)
    assert path.stat().st_ino == before.st_ino
    assert names_in(path.parent) == [path.name]


def test_load_reads_nothing_but_files_and_waits_for_none(no_file):
    path, kind = no_file
    with pytest.raises(OSError, match=f"{kind}.*{path.name}"):
        fastbp.load(path)


def test_models_of_the_command_line_replace_and_read_nothing_but_files(no_file):
    path, kind = no_file
    before = path.stat()
    with pytest.raises(UserError, match=f"cannot write .*{path.name}: .*{kind}"):
        PictureModel(network_of(), ["a", "b"], (64, 64)).save(path)
    with pytest.raises(UserError, match=f"cannot read .*{path.name}: .*{kind}"):
        load_model(path)
    assert path.stat().st_ino == before.st_ino


@posix_only
def test_a_link_to_a_fifo_is_a_fifo(path):
    fifo = path.with_name("fifo")
    os.mkfifo(fifo)
    path.symlink_to(fifo)
    with pytest.raises(OSError, match="FIFO"):
        network_of().save(path)
    assert stat.S_ISFIFO(fifo.stat().st_mode)


@posix_only
def test_file_that_becomes_a_fifo_before_it_is_opened_is_not_waited_for(path, monkeypatch):
    network_of().save(path)
    state = os.stat(path)
    path.unlink()
    os.mkfifo(path)
    monkeypatch.setattr(os, "stat", lambda *_, **__: state)
    with pytest.raises(OSError, match="FIFO"):
        fastbp.load(path)


def test_disk_that_cannot_be_read_is_reported_of_the_file(path, monkeypatch):
    network_of().save(path)
    monkeypatch.setattr(storage, "read_tensor", refuse(errno.EIO))
    with pytest.raises(OSError, match=os.strerror(errno.EIO)) as caught:
        fastbp.load(path)
    assert (caught.value.errno, caught.value.filename) == (errno.EIO, str(path))


# ------------------------------------------------------------------ before the work


def test_check_of_a_target_leaves_nothing_and_changes_nothing(path):
    storage.check_target(path)
    assert names_in(path.parent) == []
    path.write_bytes(b"old")
    storage.check_target(path)
    assert path.read_bytes() == b"old"
    assert names_in(path.parent) == [path.name]


def test_check_of_a_target_refuses_what_save_refuses(no_file):
    path, kind = no_file
    with pytest.raises(OSError, match=kind) as caught:
        storage.check_target(path)
    assert caught.value.filename == str(path)


@pytest.mark.parametrize(
    ("name", "error"),
    [("nowhere/net", errno.ENOENT), ("file/net", errno.ENOTDIR), ("n" * 256, errno.ENAMETOOLONG)],
    ids=["no folder", "file for a folder", "long name"],
)
@pytest.mark.skipif(sys.platform == "win32", reason="other errors there")
def test_path_that_cannot_be_is_refused_with_its_name(tmp_path, name, error):
    (tmp_path / "file").touch()
    target = tmp_path / name
    for refused in (storage.check_target, network_of().save):
        with pytest.raises(OSError, match=os.strerror(error)) as caught:
            refused(target)
        assert (caught.value.errno, caught.value.filename) == (error, str(target))


def test_folder_that_may_not_be_written_to_is_refused_with_the_name_of_the_target(
    path, monkeypatch
):
    network = network_of()
    with monkeypatch.context() as patched:
        patched.setattr(os, "open", refuse(errno.EACCES))
        for refused in (storage.check_target, network.save):
            with pytest.raises(PermissionError) as caught:
                refused(path)
            assert caught.value.filename == str(path)


@posix_only
def test_links_in_a_circle_are_an_os_error(path):
    path.symlink_to(path.with_name("other"))
    path.with_name("other").symlink_to(path)
    for refused in (storage.check_target, network_of().save, fastbp.load):
        with pytest.raises(OSError, match=path.name):
            refused(path)


# ------------------------------------------------------------------ names


@pytest.mark.parametrize("name", ["n" * 255, "n" * 243 + ".safetensors", "мяч" * 42], ids=len)
@posix_only
def test_names_may_be_as_long_as_files_have_them(tmp_path, name, any_temporary):
    network_of().save(tmp_path / name)
    assert fastbp.load(tmp_path / name).layer_sizes == SIZES


class BytesPath:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __fspath__(self) -> bytes:
        return os.fsencode(self.path)


@pytest.mark.parametrize("kind", [str, os.fsencode, BytesPath], ids=["str", "bytes", "path-like"])
def test_paths_of_every_kind_are_taken(path, kind):
    storage.check_target(kind(path))
    network_of().save(kind(path))
    assert names_in(path.parent) == [path.name]
    assert fastbp.load(kind(path)).layer_sizes == SIZES


@pytest.mark.parametrize("kind", [str, os.fsencode, BytesPath], ids=["str", "bytes", "path-like"])
def test_errors_name_paths_of_every_kind(path, kind):
    path.write_bytes(b"something else")
    with pytest.raises(ValueError, match=r"'.*net\.safetensors' is not a safetensors file"):
        fastbp.load(kind(path))


# ------------------------------------------------------------------ modes


@posix_only
@pytest.mark.parametrize("mode", [0o600, 0o664, 0o444], ids=oct)
def test_mode_of_the_file_that_is_replaced_is_kept(path, mode, any_temporary):
    network_of().save(path)
    path.chmod(mode)
    network_of("scalar").save(path)
    assert stat.S_IMODE(path.stat().st_mode) == mode
    assert fastbp.load(path).input_scale != 1


@posix_only
def test_new_file_has_the_mode_that_the_umask_leaves(path, any_temporary):
    before = os.umask(0o027)
    try:
        network_of().save(path)
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


@posix_only
@pytest.mark.skipif(getattr(os, "geteuid", int)() != 0, reason="only root can give files away")
def test_owner_of_the_file_that_is_replaced_is_kept(path):
    network_of().save(path)
    os.chown(path, 12345, 23456)
    network_of().save(path)
    assert (path.stat().st_uid, path.stat().st_gid) == (12345, 23456)


@posix_only
def test_file_that_cannot_be_given_the_old_mode_and_owner_is_saved(path, monkeypatch):
    network_of().save(path)
    for name in ("fchown", "fchmod"):
        monkeypatch.setattr(os, name, refuse(errno.EPERM))
    network_of("scalar").save(path)
    assert fastbp.load(path).input_scale != 1


# ------------------------------------------------------------------ syncing


@pytest.fixture
def folder_syncs_with(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    def answer(code: int) -> None:
        real = os.fsync

        def fsync(descriptor: int) -> None:
            if stat.S_ISDIR(os.fstat(descriptor).st_mode):
                raise OSError(code, os.strerror(code))
            real(descriptor)

        monkeypatch.setattr(os, "fsync", fsync)

    return answer


@posix_only
@pytest.mark.parametrize("code", [errno.EINVAL, errno.EPERM, errno.ENOTSUP, errno.EACCES])
def test_folder_that_cannot_be_synced_is_no_error(path, folder_syncs_with, code):
    folder_syncs_with(code)
    network_of().save(path)
    assert fastbp.load(path).layer_sizes == SIZES


@posix_only
def test_folder_that_a_broken_disk_does_not_sync_is_an_error(path, folder_syncs_with):
    folder_syncs_with(errno.EIO)
    with pytest.raises(OSError, match=os.strerror(errno.EIO)) as caught:
        network_of().save(path)
    assert caught.value.filename == str(path)


@posix_only
def test_folder_that_may_be_written_to_and_not_read_is_no_error(path, monkeypatch):
    real = os.open

    def without_reading(name: str, flags: int, *args: int) -> int:
        if os.path.isdir(name) and flags & os.O_ACCMODE == os.O_RDONLY:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), name)
        return real(name, flags, *args)

    with monkeypatch.context() as patched:
        patched.setattr(os, "open", without_reading)
        patched.setattr(os, "listdir", refuse(errno.EACCES))
        network_of().save(path)
    assert fastbp.load(path).layer_sizes == SIZES


@pytest.mark.parametrize("step", ["fsync", "replace"])
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EIO], ids=os.strerror)
def test_disk_that_fails_leaves_the_old_file_and_is_reported_of_it(
    path, monkeypatch, step, code, any_temporary
):
    network_of().save(path)
    before = path.read_bytes()

    with monkeypatch.context() as patched:
        patched.setattr(os, step, refuse(code))
        with pytest.raises(OSError, match=os.strerror(code)) as caught:
            network_of("scalar").save(path)

    assert (caught.value.errno, caught.value.filename) == (code, str(path))
    assert path.read_bytes() == before
    assert names_in(path.parent) == [path.name]


# ------------------------------------------------------------------ writers that were killed


@posix_only
def test_what_a_killed_writer_left_is_removed_by_the_next_save(path):
    path.with_name(ABANDONED).write_bytes(b"half a network")
    network_of().save(path)
    assert names_in(path.parent) == [path.name]


@posix_only
def test_what_another_process_is_writing_is_left_alone(path):
    import fcntl

    with open(path.with_name(ABANDONED), "wb") as writing:
        fcntl.flock(writing, fcntl.LOCK_EX)
        network_of().save(path)
    assert names_in(path.parent) == [ABANDONED, path.name]


@posix_only
def test_temporary_file_that_is_removed_before_it_is_locked_is_made_again(path, monkeypatch):
    removed: list[str] = []

    def lock_too_late(_: int) -> None:
        if not removed:
            removed.extend(names_in(path.parent))
            path.with_name(removed[0]).unlink()

    monkeypatch.delattr(os, "O_TMPFILE", raising=False)
    monkeypatch.setattr(files, "_lock", lock_too_late)
    network_of().save(path)

    assert len(removed) == 1
    assert fastbp.load(path).layer_sizes == SIZES


@posix_only
@pytest.mark.parametrize(
    "name", [".fastbp-notes.tmp", ABANDONED + "x", "net.safetensors.tmp"], ids=str
)
def test_files_of_other_names_are_left_alone(path, name):
    path.with_name(name).touch()
    network_of().save(path)
    assert name in names_in(path.parent)


@posix_only
def test_a_link_in_place_of_what_was_left_is_not_followed(path):
    mine = path.with_name("mine")
    mine.write_bytes(b"precious")
    path.with_name(ABANDONED).symlink_to(mine)
    network_of().save(path)
    assert mine.read_bytes() == b"precious"


def test_threads_that_save_to_one_path_leave_a_whole_file_and_nothing_else(path, any_temporary):
    networks = [network_of("scalar", seed=i) for i in range(4)]

    def save(network: fastbp.Network) -> None:
        for _ in range(10):
            network.save(path)

    with ThreadPoolExecutor(len(networks)) as threads:
        list(threads.map(save, networks))  # raises what they raised

    assert fastbp.load(path).seed in range(4)
    assert names_in(path.parent) == [path.name]


KILLED = """
import os, signal, sys
from tests.forging import network_of

def kill(*args):
    os.kill(os.getpid(), signal.SIGKILL)

def save_and_be_killed_in(step):
    child = os.fork()
    if child == 0:
        setattr(os, step, kill)
        network_of("scalar").save(sys.argv[1])
        os._exit(0)
    assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGKILL

network_of().save(sys.argv[1])
for step in ("fsync", "replace"):
    save_and_be_killed_in(step)
"""


@posix_only
def test_after_kills_at_the_worst_moments_the_old_file_is_whole_and_the_next_save_tidies(path):
    run_python(KILLED, path)

    assert fastbp.load(path).input_scale == 1
    network_of("scalar").save(path)
    assert names_in(path.parent) == [path.name]
