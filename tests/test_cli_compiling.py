"""What the command line says of compiling, and the command that does nothing else."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

pytest.importorskip("typer", reason="the command line needs the extra cli")

import fastbp
from fastbp.cli import console
from fastbp.cli.running import run
from fastbp.kernels.compile import prepare
from tests.processes import run_python

NAMES = ["fastbp.kernels.wide.sweep:_float32", "fastbp.kernels.linalg.product:_float32"]


def tell(names: list[str]) -> None:
    for watcher in prepare._watchers:
        watcher(names)


def test_what_is_loaded_is_not_worth_a_word(capsys):
    threads = threading.active_count()
    with console.compiling():
        pass
    assert capsys.readouterr() == ("", "")
    assert threading.active_count() == threads
    assert not prepare._watchers


def test_a_log_gets_one_line_of_what_is_compiled(capsys):
    with console.compiling():
        tell(NAMES)
    line = "fastbp: compiling 2 kernels (first run only): wide.sweep, linalg.product ..."
    assert capsys.readouterr() == ("", f"{line}\n")


def test_a_terminal_gets_a_spinner_that_is_gone_when_the_work_is_done(monkeypatch):
    shown, events = threading.Event(), []

    @contextmanager
    def working(description: str) -> Iterator[None]:
        events.append(description)
        shown.set()
        yield
        events.append("gone")

    monkeypatch.setattr(console, "_live_console", object)
    monkeypatch.setattr(console, "working", working)
    with console.compiling():
        tell(NAMES[:1])
        assert shown.wait(60)
    assert events == ["compiling 1 kernel (first run only): wide.sweep", "gone"]


def interrupted_after_telling() -> None:
    tell(NAMES)
    raise KeyboardInterrupt


def test_an_error_ends_the_spinner_too(monkeypatch):
    monkeypatch.setattr(console, "_live_console", object)
    monkeypatch.setattr(console, "working", lambda _: contextmanager(lambda: (yield))())
    threads = threading.active_count()
    with pytest.raises(KeyboardInterrupt), console.compiling():
        interrupted_after_telling()
    assert threading.active_count() == threads


COMMAND = """
import contextlib, io, sys
from fastbp.cli.running import run
with contextlib.redirect_stderr(io.StringIO()) as errors:
    code = run(["warmup", "--sizes", "1200-2-1"])
print(errors.getvalue(), end="")
sys.exit(code)
"""
READY = r"ready after \d+\.\d s: (\d+) kernels, \d+\.\d MB, in (.*)"


def test_warmup_says_what_it_compiles_and_the_second_time_that_all_is_there(tmp_path):
    place = {"NUMBA_CACHE_DIR": str(tmp_path), "NUMBA_NUM_THREADS": "1"}

    line, compiling = run_python(COMMAND, **place).splitlines()
    (again,) = run_python(COMMAND, **place).splitlines()

    first = re.fullmatch(READY, line)
    assert first
    assert first[2].startswith(str(tmp_path))
    assert int(first[1]) == len(list(tmp_path.rglob("*.kernel")))
    told = r"fastbp: compiling \d+ kernels \(first run only\): .*narrow\.columns"
    assert re.match(told, compiling)
    assert re.fullmatch(READY, again)[1] == first[1]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--sizes", "12288"], "two layers"),
        (["--sizes", "12288-0-1"], "two layers"),
        (["--sizes", "a-b"], "two layers"),
        (["--dtype", "int8"], "dtype"),
        (["--data-dtype", "int64"], "uint8"),
        (["--batch-size", "0"], "batch-size"),
    ],
)
def test_mistakes_are_told(arguments: list[str], told: str, capsys: Any):
    assert run(["warmup", *arguments]) == 2
    assert told in capsys.readouterr().err


def test_the_command_asks_for_what_its_options_say(monkeypatch, capsys):
    asked: list[Any] = []
    monkeypatch.setattr(fastbp, "warmup", lambda *args, **options: asked.append((args, options)))
    assert run(["warmup", "--sizes", "9-2-1", "--batch-size", "7", "--dtype", "float64"]) == 0
    assert run(["warmup", "--everything"]) == 0
    assert asked == [
        (
            ("float64", "uint8"),
            {"layer_sizes": (9, 2, 1), "batch_size": 7, "everything": False},
        ),
        (("float32", "uint8"), {"layer_sizes": None, "batch_size": 32, "everything": True}),
    ]
    assert "ready after" in capsys.readouterr().out
