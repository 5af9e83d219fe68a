"""The package as a whole: what importing it does, and what its metadata says."""

from __future__ import annotations

import importlib.metadata
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import fastbp

EXTRAS = {"sklearn", "scipy", "matplotlib", "PIL", "typer", "rich", "torch", "pandas"}
SOURCE = Path(fastbp.__file__).parent


def run_python(code, **environment):
    """Run `code` in an interpreter that finds this fastbp."""
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(SOURCE.parent), **environment},
    )


def test_import_loads_no_extra_and_prints_nothing():
    # Numba brings SciPy itself, where there is one.
    done = run_python(
        "import sys, numba; before = set(sys.modules); import fastbp; "
        f"print(sorted({EXTRAS!r} & (sys.modules.keys() - before)))"
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "[]\n", "")


def test_import_compiles_nothing():
    done = run_python(
        "from numba.core import event\n"
        "with event.install_recorder('numba:compile') as record:\n"
        "    import fastbp\n"
        "print(len(record.buffer))"
    )
    assert (done.stdout, done.stderr) == ("0\n", "")


def test_import_starts_no_threads():
    done = run_python("import fastbp, threading; print(threading.active_count())")
    assert (done.stdout, done.stderr) == ("1\n", "")


def test_every_public_name_exists_and_is_documented():
    for name in fastbp.__all__:
        value = getattr(fastbp, name)
        assert isinstance(value, str) or value.__doc__, name


def test_the_version_is_that_of_the_metadata():
    assert re.fullmatch(r"\d+\.\d+\.\d+((a|b|rc)\d+)?(\.dev\d+)?", fastbp.__version__)
    try:
        installed = importlib.metadata.version("fastbp")
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("fastbp is not installed here, only found on the path")
    assert fastbp.__version__ == installed


def test_type_information_is_shipped():
    assert (SOURCE / "py.typed").is_file()


def test_only_the_command_line_prints():
    quiet = [path for path in SOURCE.rglob("*.py") if SOURCE / "cli" not in path.parents]
    assert quiet
    for path in quiet:
        assert not re.search(r"^\s*print\(", path.read_text(encoding="utf-8"), re.MULTILINE), path


def test_nothing_is_pickled():
    # Numba's compiled functions are: fastbp/kernels/compile/cache.py reads none that others can
    # write.
    paths = [path for path in SOURCE.rglob("*.py") if path.name != "cache.py"]
    text = "".join(path.read_text(encoding="utf-8") for path in paths)
    assert re.findall(r"^\s*(?:import|from) (?:pickle|joblib|shelve)", text, re.MULTILINE) == []
    assert "allow_pickle=True" not in text


def test_the_readmes_example_runs(tmp_path):
    readme = SOURCE.parent / "README.md"
    if not readme.is_file():
        pytest.skip("there is no README beside an installed package")
    (example,) = re.findall(r"```python\n(.*?)```", readme.read_text(encoding="utf-8"), re.DOTALL)
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", example],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(SOURCE.parent)},
    )
    assert (done.returncode, done.stderr) == (0, "")
    loss, accuracy = map(float, done.stdout.splitlines()[0].split())
    assert loss < 0.6
    assert accuracy > 0.7
    assert (tmp_path / "ball.safetensors").is_file()
