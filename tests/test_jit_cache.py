"""The policy for compiled kernels: where they are kept, and that none is ever stale."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import numba
import pytest
from numba.core import config

import fastbp
from fastbp.kernels.compile import cache, jit, machine
from tests.processes import run_python

PACKAGE = Path(fastbp.__file__).resolve().parent

# The element-wise kernels are the smallest: half a second to compile.
RUN = """
import numpy as np, fastbp
from fastbp.kernels.functions import elementwise
print(fastbp.sigmoid(np.float32([0, 1, -3])).tolist())
"""
CACHE_HITS = """
region = elementwise.regions['float32']
print(region._compiled.cache_hits)
"""
FOLDER = "import fastbp; print(fastbp.show_config()['cache_folder'])"


@pytest.fixture
def package(tmp_path):
    """Return the folder of a copy of fastbp that a test may change."""
    shutil.copytree(PACKAGE, tmp_path / "copy" / "fastbp", ignore=lambda *_: ["__pycache__"])
    return tmp_path / "copy"


def fingerprint() -> str:
    return cache._fingerprint.__wrapped__()  # computed, not remembered


def files(folder: Path) -> set[str]:
    """Names of the kernels below `folder`."""
    return {path.name for path in folder.rglob("*.kernel")}


# ------------------------------------------------------------------ where kernels are kept


def test_importing_touches_no_disk_and_compiles_nothing(tmp_path, package):
    run_python("from fastbp import *", package_at=package, NUMBA_CACHE_DIR=str(tmp_path / "cache"))
    assert not (tmp_path / "cache").exists()
    assert not files(package)


def test_the_cache_folder_is_that_of_numba(tmp_path):
    place = tmp_path / "cache"
    printed = run_python(RUN + FOLDER, NUMBA_CACHE_DIR=str(place))
    folder = Path(printed.splitlines()[-1])
    assert folder.parent == place
    assert files(folder)
    assert files(folder) == files(place)


def test_without_a_setting_kernels_are_kept_beside_the_package(package):
    run_python(RUN, package_at=package, NUMBA_CACHE_DIR=None)
    assert files(package / "fastbp" / "__pycache__")


def test_where_the_package_cannot_be_written_the_users_cache_serves(tmp_path, package):
    (package / "fastbp" / "__pycache__").write_text("in the way, even of the superuser")
    variables = {"NUMBA_CACHE_DIR": None, "PYTHONDONTWRITEBYTECODE": "1"}
    run_python(RUN, package_at=package, XDG_CACHE_HOME=str(tmp_path / "user"), **variables)
    assert files(tmp_path / "user")


@pytest.mark.parametrize("configured", [True, False])
def test_where_nothing_can_be_written_everything_works(tmp_path, package, configured):
    blocked = tmp_path / "file"
    blocked.write_text("no folder can be made below a file")
    (package / "fastbp" / "__pycache__").write_text("in the way")
    variables = {"NUMBA_CACHE_DIR": str(blocked / "cache") if configured else None}
    variables |= {"XDG_CACHE_HOME": str(blocked / "user"), "PYTHONDONTWRITEBYTECODE": "1"}
    printed = run_python(RUN + FOLDER, package_at=package, **variables)
    values, folder = printed.splitlines()
    assert values.startswith("[0.5, 0.73")
    assert folder == "None"
    assert not files(tmp_path)


def test_a_populated_cache_that_can_only_be_read_is_used(tmp_path):
    variables = {"NUMBA_CACHE_DIR": str(tmp_path / "cache"), "XDG_CACHE_HOME": str(tmp_path)}
    run_python(RUN, **variables)
    read_only = """
import errno, tempfile

def refuse(*_, **__):
    raise OSError(errno.EROFS, "Read-only file system")

tempfile.TemporaryFile = refuse
"""
    printed = run_python(read_only + RUN + CACHE_HITS + FOLDER, **variables)
    assert printed.splitlines()[1:] == ["1", "None"]


@pytest.mark.skipif(sys.platform == "win32", reason="there are no limits on files")
def test_a_full_disk_costs_a_compilation_and_one_line(tmp_path):
    full = """
import resource, warnings
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
with warnings.catch_warnings(record=True) as told:
    warnings.simplefilter("always")
"""
    calls = "".join(f"    {line}\n" for line in RUN.strip().splitlines())
    calls += "    fastbp.sigmoid(np.zeros(1))\nprint(*(line.message for line in told))"
    values, line = run_python(full + calls, NUMBA_CACHE_DIR=str(tmp_path)).splitlines()
    assert values.startswith("[0.5, 0.73")
    assert line.startswith(f"compiled kernels cannot be kept in {tmp_path}")
    assert line.count("File too large") == 1
    assert not files(tmp_path)


@pytest.mark.parametrize(
    "variables",
    [
        {"NUMBA_DISABLE_JIT": "1"},
        {"NUMBA_CPU_FEATURES": "nonsense"},  # without + or -, which ends the process in LLVM
        {"NUMBA_CACHE_DIR": __file__},
    ],
    ids=lambda variables: next(iter(variables)),
)
def test_whatever_the_variables_of_numba_say_results_are_right(tmp_path, package, variables):
    variables = {"NUMBA_CACHE_DIR": str(tmp_path), **variables}
    assert run_python(RUN, package_at=package, **variables).startswith("[0.5, 0.73")


# ------------------------------------------------------------------ fresh and stale


def test_the_second_process_loads_what_the_first_compiled(tmp_path):
    place = str(tmp_path / "cache")
    compiled = run_python(RUN + CACHE_HITS, NUMBA_CACHE_DIR=place)
    kept = files(tmp_path)
    loaded = run_python(RUN + CACHE_HITS, NUMBA_CACHE_DIR=place)
    assert compiled.splitlines()[0] == loaded.splitlines()[0]
    assert (compiled.splitlines()[-1], loaded.splitlines()[-1]) == ("0", "1")
    assert files(tmp_path) == kept


OTHERS = """
import sys, numba
print("numba.np.arraymath" in sys.modules)  # imported, among others, to compile
print(fastbp.sigmoid(np.float64([0, 1, -3])).tolist())
print(numba.njit(lambda a: np.linalg.norm(a).item())(np.array([3.0, 4.0])))
"""


def test_what_only_compiling_needs_is_not_imported_to_load_but_to_compile_later(tmp_path):
    run_python(RUN, NUMBA_CACHE_DIR=str(tmp_path))
    loaded, imported, compiled, norm = run_python(
        RUN + OTHERS, NUMBA_CACHE_DIR=str(tmp_path)
    ).splitlines()
    assert imported == "False"
    assert compiled[:11] == loaded[:11] == "[0.5, 0.731"
    assert norm == "5.0"


def test_a_kernel_with_a_changed_constant_elsewhere_is_compiled_anew(tmp_path, package):
    variables = {"package_at": package, "NUMBA_CACHE_DIR": str(tmp_path / "cache")}
    before = run_python(RUN + CACHE_HITS, **variables).splitlines()
    constants = package / "fastbp" / "kernels" / "simd" / "exp.py"
    assert "\n_series = polynomial(" in constants.read_text(encoding="utf-8")
    with constants.open("a", encoding="utf-8") as file:
        file.write("\n_series = polynomial([0.0], [0.0])  # exp(r) is 1 + r\n")

    after = run_python(RUN + CACHE_HITS, **variables).splitlines()

    assert after[-1] == "0"
    assert after[0] != before[0]
    assert after[0].startswith("[0.5, 0.7")


@pytest.mark.parametrize(
    ("source", "matters"),
    [
        ("kernels/simd/vectors.py", True),
        ("kernels/compile/machine.py", True),
        ("kernels/linalg/gemm.py", True),
        ("kernels/linalg/row_ir.py", True),  # imports no decorator
        ("kernels/plan.py", True),
        ("datasets/rendering.py", True),  # holds compiled code of its own
        ("arrays.py", False),
        ("network.py", False),
    ],
)
def test_the_fingerprint_changes_if_and_only_if_compiled_code_does(
    package, monkeypatch, source, matters
):
    monkeypatch.setattr(cache, "_PACKAGE", package / "fastbp")
    before = fingerprint()
    with (package / "fastbp" / source).open("a", encoding="utf-8") as file:
        file.write("\n# a change\n")
    assert (fingerprint() != before) is matters


@pytest.mark.parametrize(
    ("module", "name", "other"),
    [
        (machine, "VECTOR_BITS", 64),
        (machine, "CORES", 3),
        (machine, "tiles", lambda itemsize: "other tiles"),
        (config, "OPT", 1),
    ],
)
def test_the_fingerprint_knows_the_machine_and_the_compiler(monkeypatch, module, name, other):
    before = fingerprint()
    monkeypatch.setattr(module, name, other)
    assert fingerprint() != before


# ------------------------------------------------------------------ helpers


def test_helpers_are_linked_whoever_calls_them_and_however_often():
    @jit.jit
    def leaf(x):
        return min(x, 100) * 3  # `min` is compiled by Numba, and not as a helper

    @jit.jit
    def left(x):
        return leaf(x) + 1

    @jit.jit
    def right(x):
        return leaf(left(x)) + left(x)

    @numba.njit
    def both(x):
        return right(x) - leaf(x) + left(left(x))

    @jit.jit
    def outer(x):
        return both(x) + leaf(x)  # calls what holds copies of the same helpers

    @numba.njit
    def most(x):
        return outer(x) - both(x) + right(x)

    # leaf 15, left 16, right 48 + 16, left(left) 49, both 98
    assert (both(5), most(5)) == (98, 15 + 64)


def test_a_helper_is_linked_where_another_of_its_callers_is_never_called():
    @jit.jit
    def shared(x):
        return x + 1

    @jit.jit
    def never(x):
        return shared(x) * 2

    @jit.jit
    def between(x):
        return shared(x) * 3

    @jit.jit
    def called(x):
        return between(x)

    @jit.jit
    def root(x, flag):
        if flag is not None:  # False, and LLVM leaves it out
            x += never(x)
        return called(x)

    @numba.njit
    def python(x):
        return root(x, None)

    assert python(6) == 21
