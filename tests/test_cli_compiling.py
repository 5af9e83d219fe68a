"""What the command line says of compiling: nothing, unless it takes a while."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

pytest.importorskip("typer", reason="the command line needs the extra cli")

from fastbp.cli import console

LONG = 60  # seconds until a test fails that waits in vain


def test_what_is_loaded_at_once_is_not_worth_a_word(monkeypatch, capsys):
    monkeypatch.setattr(console, "_NOTICE", LONG)
    threads = threading.active_count()
    with console.compiling():
        pass
    assert capsys.readouterr() == ("", "")
    assert threading.active_count() == threads


def test_a_log_gets_one_line_once_it_takes_a_while(monkeypatch):
    said, lines = threading.Event(), []
    monkeypatch.setattr(console, "_NOTICE", 0)
    monkeypatch.setattr(console, "_live_console", lambda: None)
    monkeypatch.setattr(console, "report_error", lambda line: (lines.append(line), said.set()))
    with console.compiling():
        assert said.wait(LONG)
    assert lines == ["compiling kernels (first run only) ..."]


def test_a_terminal_gets_a_spinner_that_is_gone_when_the_work_is_done(monkeypatch):
    shown, events = threading.Event(), []

    @contextmanager
    def working(description: str) -> Iterator[None]:
        events.append(description)
        shown.set()
        yield
        events.append("gone")

    monkeypatch.setattr(console, "_NOTICE", 0)
    monkeypatch.setattr(console, "_live_console", object)
    monkeypatch.setattr(console, "working", working)
    with console.compiling():
        assert shown.wait(LONG)
    assert events == ["compiling kernels (first run only)", "gone"]


def test_an_error_ends_the_spinner_too(monkeypatch):
    monkeypatch.setattr(console, "_NOTICE", LONG)
    threads = threading.active_count()
    with pytest.raises(KeyboardInterrupt), console.compiling():
        raise KeyboardInterrupt
    assert threading.active_count() == threads
