"""Any number in any option, and files that cannot be written: one line, and never a traceback."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fastbp

PIL_Image = pytest.importorskip("PIL.Image", reason="the command line needs the extra cli")
typer = pytest.importorskip("typer", reason="the command line needs the extra cli")

from fastbp.cli import bench, console, demo, training  # noqa: E402
from fastbp.cli.app import app  # noqa: E402
from fastbp.cli.running import run  # noqa: E402

NUMBERS = (
    *("0", "-1", "1", "2.5", "1_000", "1e3", "0x10", "1e-400", "1e400", "-1e400", "1e39"),
    *("nan", "inf", "-inf", "99999999999999999999", "9" * 30, "9" * 400, "9" * 5000),
    *("\N{FULLWIDTH DIGIT ONE}", "\N{ARABIC-INDIC DIGIT THREE}", "\N{SUPERSCRIPT TWO}"),
    *("", " ", "3,99999999999999999999", "1,1,", "12288,4000000000,4000000000"),
)
MINIMAL = {
    "demo": ["--pictures", "64"],
    "train": ["pictures"],
    "evaluate": ["model", "pictures"],
    "predict": ["model", "pictures/blue/0.png"],
    "bench": ["--quick"],
}


PATHS_AND_FLAGS = {"--test", "--out", "--plot", "--json", "--quick", "--from", "--nesterov"}


def options() -> list[tuple[str, str]]:
    """Return command and name of every option that may be a number."""
    commands = typer.main.get_command(app).commands
    return [
        (command, parameter.opts[0])
        for command in MINIMAL
        for parameter in commands[command].params
        if parameter.opts[0].startswith("--") and parameter.opts[0] not in PATHS_AND_FLAGS
    ]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Some pictures and a model of them."""
    top = tmp_path_factory.mktemp("numbers")
    for value, name in ((60, "blue"), (180, "red")):
        (top / "pictures" / name).mkdir(parents=True)
        pixels = np.full((4, 4, 3), value, np.uint8)
        PIL_Image.fromarray(pixels).save(top / "pictures" / name / "0.png")
    network = fastbp.Network((12288, 1), seed=0, input_scale=1 / 255)
    network.metadata = {"class_names": ["blue", "red"], "picture_size": [64, 64]}
    network.save(top / "model")
    return top


@pytest.fixture
def no_long_work(monkeypatch: pytest.MonkeyPatch) -> None:
    """End a training after an epoch, and the demo and the comparison before their work."""

    def refuse(*arguments: Any, **options: Any) -> None:
        raise console.UserError("not done in this test")

    monkeypatch.setattr(training.EpochLines, "on_epoch_end", lambda *_: True)
    monkeypatch.setattr(demo, "train_network", refuse)
    monkeypatch.setattr(bench, "run", refuse)


def complaint(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """Run a command that must be refused; return the one line that it says."""
    code = run(arguments)
    said = capsys.readouterr()
    assert (code, said.out) == (2, "")
    assert len(said.err.splitlines()) == 1
    return said.err


@pytest.mark.usefixtures("no_long_work")
@pytest.mark.parametrize(("command", "option"), options())
def test_any_number_is_taken_or_refused_in_one_line(
    command: str,
    option: str,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(folder)
    if option == "--hidden":  # other kernels for each
        monkeypatch.setattr(training, "compile_training", demo.train_network)
    for number in NUMBERS:
        code = run([command, *MINIMAL[command], option, number])
        errors = capsys.readouterr().err
        lines = [line for line in errors.splitlines() if "(first run only)" not in line]
        assert (code, len(lines)) in ((0, 0), (1, 1), (2, 1)), (option, number, code, errors)


@pytest.mark.parametrize(
    ("option", "number"),
    [
        ("--hidden", "99999999999999999999"),
        ("--hidden", "3000000000,3000000000"),
        ("--init", "nan"),
        ("--init", "1e400"),
        ("--init", "3.5e38"),
        ("--epochs", "9" * 400),
        ("--batch-size", "99999999999999999999"),
        ("--seed", "9" * 400),
    ],
)
def test_what_no_network_can_have_is_refused_before_any_work(
    option: str,
    number: str,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(folder)
    assert option in complaint(capsys, "train", "pictures", option, number)


def test_what_is_too_much_for_this_machine_is_called_so(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(folder)

    def allocate(*arguments: Any, **options: Any) -> None:
        raise MemoryError

    monkeypatch.setattr(fastbp, "Network", allocate)
    assert run(["train", "pictures"]) == 2
    assert capsys.readouterr().err == "fastbp: not enough memory\n"


def test_divergence_is_told_with_the_remedy(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(folder)

    def fit(*arguments: Any, **options: Any) -> None:
        raise fastbp.DivergenceError("the loss is infinite", 2, 3)

    monkeypatch.setattr(training, "compile_training", lambda *_: None)  # which fits too
    monkeypatch.setattr(fastbp.Network, "fit", fit)
    assert run(["train", "pictures", "--out", "new"]) == 2
    said = capsys.readouterr().err
    assert "diverged in epoch 2, step 3: use a smaller --learning-rate than 0.1" in said
    assert not (folder / "new").exists()


# ------------------------------------------------------------------ files


@pytest.mark.skipif(sys.platform != "linux", reason="needs a folder that nobody can write to")
def test_a_model_that_cannot_be_written_is_told_before_training(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(folder)
    assert "cannot write /proc/m" in complaint(capsys, "train", "pictures", "--out", "/proc/m")


@pytest.mark.parametrize("name", ["pictures", "x" * 300, "pictures/blue/0.png/m", "nowhere/m"])
@pytest.mark.parametrize("option", ["--out", "--plot"])
def test_a_file_that_cannot_be_is_told_before_training(
    option: str,
    name: str,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(folder)
    assert "cannot write" in complaint(capsys, "train", "pictures", option, name)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs FIFOs")
def test_a_fifo_is_no_place_for_a_model(
    tmp_path: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    os.mkfifo(tmp_path / "fifo")
    said = complaint(capsys, "train", str(folder / "pictures"), "--out", str(tmp_path / "fifo"))
    assert "FIFO" in said


def test_the_plot_must_not_replace_the_model(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(folder)
    said = complaint(capsys, "train", "pictures", "--out", "new", "--plot", "./new")
    assert "different names" in said


@pytest.mark.usefixtures("no_long_work")
@pytest.mark.parametrize("name", ["pictures", "x" * 300, "nowhere/b", "/proc/b"])
@pytest.mark.parametrize("option", ["--json", "--plot"])
def test_what_bench_cannot_write_is_told_before_the_run(
    option: str,
    name: str,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    if name.startswith("/proc") and sys.platform != "linux":
        pytest.skip("needs a folder that nobody can write to")
    monkeypatch.chdir(folder)
    assert f"cannot write {name}" in complaint(capsys, "bench", "--quick", option, name)
