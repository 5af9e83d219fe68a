"""What the command imports: no more than it needs, as that is most of what a short one takes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import fastbp
from tests.processes import PATIENCE, child_environment, run_python

pytest.importorskip("typer")
PIL_Image = pytest.importorskip("PIL.Image")

# Prints the modules of the process after what the command has printed, and its exit code.
MODULES = """
import sys
from fastbp.cli import main
try:
    main()
except SystemExit as end:
    print(end.code, *sys.modules, file=sys.stderr)
"""
COMPILING = "numba.np.arraymath"  # one of many that Numba imports when it has to compile
TRAINING = {"fastbp.cli.training", "fastbp.report", "fastbp.cli.comparison"}
NEVER = TRAINING | {"matplotlib", "rich.console", "rich.progress", "fastbp.bench", "sklearn"}
PICTURES = {"PIL", "fastbp.datasets"}


def run(*arguments: str | Path) -> tuple[int, set[str]]:
    """Run the command; return its exit code and which modules it has imported."""
    done = subprocess.run(
        [sys.executable, "-P", "-c", MODULES, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        env=child_environment(),
    )
    code, *modules = done.stderr.splitlines()[-1].split()
    return int(code), set(modules)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A picture and a model, whose kernels are compiled for as many pictures."""
    top = tmp_path_factory.mktemp("start")
    pixels = np.zeros((4, 4, 3), np.uint8)
    PIL_Image.fromarray(pixels).save(top / "picture.png")
    network = fastbp.Network((12288, 3, 2, 1), seed=0, input_scale=1 / 255)
    network.metadata = {"class_names": ["no", "yes"], "picture_size": [64, 64]}
    network.save(top / "model")
    wide = fastbp.Network((12288, 20, 1), seed=0, input_scale=1 / 255)
    wide.metadata = network.metadata
    wide.save(top / "wide")
    classes = fastbp.Network(
        (12288, 3, 2), activation="relu", loss="cross_entropy", seed=0, input_scale=1 / 255
    )
    classes.metadata = network.metadata
    classes.save(top / "classes")
    for name in ("no", "yes"):
        (top / "pictures" / name).mkdir(parents=True)
        PIL_Image.fromarray(pixels).save(top / "pictures" / name / "picture.png")
    assert run("predict", top / "model", top / "picture.png")[0] == 0
    return top


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["--help"], 0),
        (["--version"], 0),
        (["train", "--help"], 0),
        ([], 0),
        (["nonsense"], 2),
        (["predict"], 2),
        (["train", "pictures", "--learning-rate", "nan"], 2),
        (["train", "pictures", "--hidden", "3,x"], 2),
        (["train", "pictures", "--init", "nan"], 2),
        (["train", "pictures", "--activation", "swish"], 2),
        (["train", "pictures", "--optimizer", "lbfgs"], 2),
        (["train", "pictures", "--patience", "3"], 2),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_help_and_mistakes_import_neither_numba_nor_numpy(arguments, code):
    got, modules = run(*arguments)
    assert got == code
    assert not modules & (NEVER | PICTURES | {"numba", "numpy", "scipy"})


def test_info_imports_no_kernels_of_networks_and_loads_none():
    code, modules = run("info")
    assert code == 0
    assert "numba" in modules
    networks = {"fastbp.network", "fastbp.kernels.narrow", "fastbp.kernels.wide"}
    assert not modules & (NEVER | PICTURES | networks | {COMPILING})


def test_predict_imports_pillow_but_nothing_that_draws_trains_or_compiles(folder):
    code, modules = run("predict", folder / "model", folder / "picture.png")
    assert code == 0
    assert {"PIL", "fastbp.network"} <= modules
    assert not modules & (NEVER | {"fastbp.datasets.rendering", "scipy.linalg", COMPILING})


@pytest.mark.parametrize("command", ["predict", "evaluate"])
@pytest.mark.parametrize(
    ("model", "loaded"),
    [
        ("model", "narrow.forward:_float32 narrow.rows:_forward_float32_of_uint8"),
        (
            "classes",
            "functions.layers:_float32 narrow.forward:_float32"
            " narrow.rows:_forward_float32_of_uint8",
        ),
        (
            "wide",
            "linalg.epilogue:_float32 linalg.macrokernel:_float32 linalg.product:_float32"
            " linalg.reader:_copy_float32 linalg.reader:_float32_of_uint8"
            " linalg.split_k:_float32 wide.forward:_float32",
        ),
    ],
)
def test_no_kernel_of_training_is_loaded(folder, command, model, loaded):
    printed = run_python(
        "import sys\n"
        "from fastbp.cli.running import run\n"
        "assert run(sys.argv[1:]) == 0\n"
        "from fastbp.engine.warm import every_kernel\n"
        "print(*sorted(kernel.name for kernel in every_kernel() if kernel.is_ready()))",
        command,
        folder / model,
        folder / ("picture.png" if command == "predict" else "pictures"),
    )
    names = printed.splitlines()[-1].split()
    assert [name.removeprefix("fastbp.kernels.") for name in names] == loaded.split()


def test_the_names_that_must_be_absent_are_those_of_modules():
    # Numba's is imported to compile, and only then; others could be renamed unseen.
    pytest.importorskip("sklearn")
    pytest.importorskip("matplotlib")
    others = NEVER | PICTURES | {"fastbp.datasets.rendering", "scipy.linalg"}
    printed = run_python(
        "import sys, numba\n"
        f"print({COMPILING!r} in sys.modules)\n"
        "numba.njit(lambda x: x)(1)\n"
        f"print({COMPILING!r} in sys.modules)\n"
        f"import {', '.join(sorted(others))}"
    )
    assert printed == "False\nTrue\n"
