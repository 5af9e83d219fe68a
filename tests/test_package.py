"""The package as a whole: what importing it does, and what its metadata says."""

from __future__ import annotations

import importlib.metadata
import os
import pydoc
import re
import subprocess
import sys
from pathlib import Path

import pytest

import fastbp

EXTRAS = {"sklearn", "scipy", "matplotlib", "PIL", "typer", "rich", "torch", "onnx", "pandas"}
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
        "import sys, numba; before = set(sys.modules); from fastbp import *; "
        f"print(sorted({EXTRAS!r} & (sys.modules.keys() - before)))"
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "[]\n", "")


def test_import_compiles_nothing():
    done = run_python(
        "from numba.core import event\n"
        "with event.install_recorder('numba:compile') as record:\n"
        "    from fastbp import *\n"
        "print(len(record.buffer))"
    )
    assert (done.stdout, done.stderr) == ("0\n", "")


def test_import_starts_no_threads():
    done = run_python("from fastbp import *; import threading; print(threading.active_count())")
    assert (done.stdout, done.stderr) == ("1\n", "")


def test_import_alone_loads_neither_numba_nor_numpy():
    done = run_python("import sys, fastbp; print({'numba', 'numpy'} & sys.modules.keys())")
    assert (done.stdout, done.stderr) == ("set()\n", "")


PACKAGES = [fastbp, fastbp.datasets]
# Public too, but no part of a star, which is to need no extra.
NEED_AN_EXTRA = {
    "fastbp": ["MLPClassifier", "MLPRegressor", "MLPSearchCV", "fit_many"],
    "fastbp.datasets": [],
}


@pytest.mark.parametrize("package", PACKAGES, ids=lambda package: package.__name__)
def test_the_public_names_are_listed_before_they_are_loaded(package):
    name = package.__name__
    done = run_python(f"import {name}; print(dir({name}))")
    names = sorted([*package.__all__, *NEED_AN_EXTRA[name]])
    assert (done.stdout, done.stderr) == (f"{names}\n", "")


@pytest.mark.parametrize("package", PACKAGES, ids=lambda package: package.__name__)
def test_any_public_name_may_be_the_first_to_be_used(package):
    name = package.__name__
    for public in package.__all__:
        done = run_python(f"import {name}; print({name}.{public} is {name}.{public})")
        assert (done.stdout, done.stderr) == ("True\n", ""), public


def test_estimators_need_an_extra_that_the_error_names():
    for absent in ("None", "types.SimpleNamespace(__version__='1.6.1')"):
        done = run_python(
            f"import sys, types, fastbp; sys.modules['sklearn'] = {absent}\n"
            "try:\n    fastbp.MLPClassifier\n"
            "except ImportError as error:\n    print(error)"
        )
        assert "pip install" in done.stdout, done.stderr
        assert "'fastbp[sklearn]'" in done.stdout
        assert "1.7" in done.stdout


def test_a_star_imports_the_public_names():
    done = run_python("from fastbp import *; import fastbp; print({*fastbp.__all__} - {*dir()})")
    assert (done.stdout, done.stderr) == ("set()\n", "")


def test_modules_are_found_without_an_import_of_their_own():
    done = run_python("import fastbp; print(fastbp.training.History is fastbp.History)")
    assert (done.stdout, done.stderr) == ("True\n", "")


@pytest.mark.parametrize("package", PACKAGES, ids=lambda package: package.__name__)
@pytest.mark.parametrize("name", ["network_", "Networks", "__wrapped__"])
def test_an_unknown_name_is_an_attribute_error(package, name):
    with pytest.raises(AttributeError, match=rf"module '{package.__name__}' has no .*'{name}'"):
        getattr(package, name)


def test_a_module_that_is_found_but_lacks_another_says_which(monkeypatch):
    monkeypatch.delattr(fastbp, "reference", raising=False)
    for module in [name for name in sys.modules if name.startswith("fastbp.reference")]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, "dataclasses", None)
    with pytest.raises(ModuleNotFoundError, match="dataclasses"):
        fastbp.reference  # noqa: B018


def test_help_shows_the_public_names():
    text = pydoc.plain(pydoc.render_doc(fastbp))
    for name in ("Network", "DivergenceError", "matmul", "warmup"):
        assert re.search(rf"^    (class )?{name}\(", text, re.MULTILINE), name


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
    loud = SOURCE / "estimators" / "verbose.py"  # where a user has asked for it
    quiet = {path for path in SOURCE.rglob("*.py") if SOURCE / "cli" not in path.parents} - {loud}
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


def test_the_readmes_examples_run(tmp_path):
    readme = SOURCE.parent / "README.md"
    if not readme.is_file():
        pytest.skip("there is no README beside an installed package")
    examples = re.findall(r"```python\n(.*?)```", readme.read_text(encoding="utf-8"), re.DOTALL)
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", "\n".join(examples)],
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
    score, best_epoch = done.stdout.splitlines()[-1].split()
    assert float(score) > 0.96
    assert int(best_epoch) > 10


@pytest.mark.parametrize(
    ("call", "library", "message"),
    [
        ("network.to_torch()", "torch", "to_torch needs PyTorch: pip install 'fastbp[torch]'"),
        ("fastbp.from_torch(None, loss='huber')", "torch", "from_torch needs PyTorch: pip install"),
        ("network.to_onnx('x')", "onnx", "to_onnx needs onnx: pip install 'fastbp[onnx]'"),
    ],
)
def test_a_missing_library_is_named_with_its_extra(call, library, message):
    done = run_python(
        f"import sys; sys.modules[{library!r}] = None; import fastbp\n"
        "network = fastbp.Network((2, 1))\n"
        f"try: {call}\nexcept ImportError as error: print(error)"
    )
    assert message in done.stdout, done.stderr
