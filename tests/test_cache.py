"""Files of compiled kernels: damaged, somebody else's, or impossible to write."""

from __future__ import annotations

import errno
import os
import shutil
import stat
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
from numba import int64
from numba.core import config

from fastbp.kernels.compile import cache, jit
from fastbp.kernels.simd.vectors import pointer
from tests.processes import run_python
from tests.trials import damaged_caches

ROOT_AND_USER = (0, 1000)
FOLDER, FILE = stat.S_IFDIR, stat.S_IFREG


@jit.jit
def _add(address, number):
    pointer(address, int64)[0] += number


def _first(context, worker):
    _add(context, 1 + worker)


def _second(context, worker):
    _add(context, 20 + worker)


class Kernel:
    """A region as a process that has just begun would find it."""

    def __init__(self, function):
        self.region = jit.Region(function)

    def adds(self) -> int:
        word = np.zeros(1, np.int64)
        self.region.serial(word.ctypes.data, 0)
        return int(word[0])

    @property
    def was_loaded(self) -> bool:
        return self.region._compiled.cache_hits == 1


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Return the only folder in which kernels are looked for and kept."""
    place = tmp_path / "kernels"
    place.mkdir(mode=0o755)
    monkeypatch.setattr(cache, "_folders", lambda: cache._Folders([place], place, ""))
    monkeypatch.setattr(cache, "_said", set())  # each test is told anew
    return place


def kept(function, folder: Path) -> Path:
    """Compile a region, and return its file."""
    before = set(folder.iterdir())
    Kernel(function).adds()
    (path,) = set(folder.iterdir()) - before
    return path


# ------------------------------------------------------------------ damage


@pytest.mark.skipif(not hasattr(os, "fork"), reason="each trial is a fork")
def test_whatever_is_damaged_is_compiled_again_and_replaced(tmp_path):
    code = """
import sys
from tests.trials.damaged_caches import trials
print(sorted({outcome for _, outcome in trials(6, sys.argv[1])}))
"""
    printed = run_python(code, tmp_path, NUMBA_CACHE_DIR=str(tmp_path))
    assert printed == "['right']\n"


@pytest.mark.parametrize("kind", damaged_caches.DAMAGES)
def test_a_damaged_kernel_is_said_to_be_and_loaded_again_after_that(folder, kind):
    path = kept(_first, folder)
    rng = damaged_caches.random.Random(kind)
    path.write_bytes(damaged_caches.DAMAGES[kind](path.read_bytes(), rng))
    damaged = Kernel(_first)

    with pytest.warns(RuntimeWarning, match=rf"{path.name} is damaged: it is compiled again"):
        assert damaged.adds() == 1

    after = Kernel(_first)
    assert after.adds() == 1
    assert (damaged.was_loaded, after.was_loaded) == (False, True)


def test_every_bit_of_the_header_and_some_of_the_rest_is_checked(folder):
    path = kept(_first, folder)
    key = _key_of(_first)
    data = path.read_bytes()
    assert cache._read(path, key) is not None
    bits = range(8 * cache._HEADER.size)
    for bit in [*bits, *range(bits.stop, 8 * len(data), 9973)]:
        changed = bytearray(data)
        changed[bit // 8] ^= 1 << bit % 8
        path.write_bytes(changed)
        with pytest.raises(cache._Damaged):
            cache._read(path, key)


def _key_of(function) -> bytes:
    compiled = jit.Region(function)._compiled
    return compiled._cache._place(compiled._sig, compiled._library.codegen)[1]


def test_a_kernel_under_the_name_of_another_is_not_run(folder):
    first, second = kept(_first, folder), kept(_second, folder)
    shutil.copy(second, first)
    with pytest.warns(RuntimeWarning, match="damaged"):
        assert Kernel(_first).adds() == 1


def test_a_whole_file_that_cannot_be_rebuilt_is_compiled_again(folder):
    path = kept(_first, folder)
    cache._write(path, _key_of(_first), b"no pickle")
    with pytest.warns(RuntimeWarning, match=r"cannot be used \(UnpicklingError"):
        assert Kernel(_first).adds() == 1
    assert Kernel(_first).was_loaded


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no pipes in folders")
def test_a_pipe_in_the_place_of_a_kernel_is_not_waited_for(folder):
    path = kept(_first, folder)
    path.unlink()
    os.mkfifo(path, 0o600)
    with pytest.warns(RuntimeWarning, match="damaged"):
        assert Kernel(_first).adds() == 1
    assert path.is_file()


def test_where_warnings_are_errors_only_the_first_call_fails(folder):
    path = kept(_first, folder)
    path.write_bytes(b"")
    kernel = Kernel(_first)
    with pytest.raises(RuntimeWarning):  # as everywhere in these tests
        kernel.adds()
    assert kernel.adds() == 1
    assert Kernel(_first).was_loaded


# ------------------------------------------------------------------ writing


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EROFS])
def test_where_a_kernel_cannot_be_written_it_is_used_and_one_line_says_why(
    folder, monkeypatch, number
):
    def replace(source, target):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "replace", replace)
    with pytest.warns(RuntimeWarning, match=os.strerror(number)) as told:
        results = [Kernel(function).adds() for function in (_first, _second)]
    assert results == [1, 20]
    assert len(told) == 1
    assert str(folder) in str(told[0].message)
    assert list(folder.iterdir()) == []  # no part of a file stays behind


def test_what_is_killed_while_it_writes_is_in_nobodys_way(folder):
    path = kept(_first, folder)
    data = path.read_bytes()
    path.rename(folder / f".{path.name}.1-2.tmp")
    assert kept(_first, folder).read_bytes()[:16] == data[:16]


@pytest.mark.skipif(sys.platform == "win32", reason="modes say nothing there")
def test_folders_and_files_are_no_others_to_write_whatever_the_umask(tmp_path):
    before = os.umask(0)
    try:
        made = cache._made(tmp_path / "new" / "kernels")
        cache._write(tmp_path / "file", b"key", b"payload")
    finally:
        os.umask(before)
    modes = made.st_mode, (tmp_path / "file").stat().st_mode
    assert [stat.S_IMODE(mode) for mode in modes] == [0o755, 0o644]


# ------------------------------------------------------------------ trust


@pytest.mark.parametrize(
    ("mode", "owner", "trusted"),
    [
        (FOLDER | 0o755, 1000, True),
        (FOLDER | 0o700, 1000, True),
        (FOLDER | 0o755, 0, True),  # what root has filled for all
        (FILE | 0o644, 0, True),
        (FOLDER | 0o755, 1001, False),
        (FILE | 0o644, 1001, False),
        (FOLDER | 0o775, 1000, False),  # the group may be anybody
        (FOLDER | 0o757, 1000, False),
        (FOLDER | 0o1777, 0, False),  # sticky: but all may add files
        (FILE | 0o666, 0, False),
    ],
)
def test_only_what_no_other_user_can_write_is_trusted(monkeypatch, mode, owner, trusted):
    monkeypatch.setattr(os, "geteuid", lambda: 1000, raising=False)
    status = os.stat_result((mode, 0, 0, 1, owner, 1000, 0, 0, 0, 0))
    assert (cache._distrust(status) is None) is trusted


@pytest.fixture
def candidates(tmp_path, monkeypatch):
    """Return three folders: NUMBA_CACHE_DIR, the package's and the user's."""
    folders = [tmp_path / name for name in ("setting", "package", "user")]
    monkeypatch.setattr(config, "CACHE_DIR", str(folders[0]))
    monkeypatch.setattr(
        cache, "_candidates", lambda: iter(zip(folders, (True, False, False), strict=True))
    )
    monkeypatch.setattr(cache, "_fingerprint", lambda: "0")
    monkeypatch.setattr(cache, "_said", set())
    return [folder / "fastbp-0" for folder in folders]


def found() -> cache._Folders:
    return cache._folders.__wrapped__()


def test_the_first_folder_that_can_be_written_is_the_only_one(candidates):
    assert found() == ([candidates[0]], candidates[0], "")


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="modes say nothing there")
def test_a_folder_that_others_can_write_is_passed_over_with_a_warning(candidates):
    candidates[0].mkdir(parents=True)
    candidates[0].chmod(0o777)
    assert found().read == [candidates[1]]
    with pytest.warns(RuntimeWarning, match=r"may be written by others \(mode 777\)") as told:
        cache.tell()
    assert str(candidates[0]) in str(told[0].message)
    assert "NUMBA_CACHE_DIR" in str(told[0].message)


def test_a_link_to_a_folder_is_passed_over_with_a_warning(candidates, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    candidates[0].parent.mkdir()
    candidates[0].symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    assert found().write == candidates[1]
    with pytest.warns(RuntimeWarning, match="is not a folder"):
        cache.tell()


def test_a_folder_that_can_only_be_read_is_read_and_the_next_one_is_written(
    candidates, monkeypatch
):
    candidates[0].mkdir(parents=True)
    monkeypatch.setattr(cache, "_can_write", lambda folder: folder != candidates[0])
    assert found() == (candidates[:2], candidates[1], "")


def test_a_setting_that_names_a_file_is_passed_over_with_a_warning(candidates):
    candidates[0].parent.write_text("no folder")
    assert found().write == candidates[1]
    with pytest.warns(RuntimeWarning, match="NUMBA_CACHE_DIR cannot hold the compiled kernels"):
        cache.tell()


def test_a_relative_setting_is_meant_from_where_the_process_began_to_compile(
    candidates, monkeypatch, tmp_path
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(cache, "_candidates", lambda: iter([(Path("here"), True)]))
    assert found().write == tmp_path / "here" / "fastbp-0"


def test_without_sources_nothing_is_kept_as_changes_would_go_unnoticed(monkeypatch, tmp_path):
    monkeypatch.setattr(cache, "_PACKAGE", tmp_path)
    with pytest.raises(FileNotFoundError, match="no sources"):
        cache._fingerprint.__wrapped__()


def test_a_file_of_another_user_is_not_read_in_a_folder_that_is_trusted(folder, monkeypatch):
    path = kept(_first, folder)
    path.chmod(0o666)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        kernel = Kernel(_first)
        assert kernel.adds() == 1
    assert kernel.was_loaded is not hasattr(os, "geteuid")
    assert ["may be written by others" in str(line.message) for line in told] == [True]
