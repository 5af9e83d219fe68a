"""What the commands say: results to standard output, everything else to standard error.

Spinners and bars show on terminals only, so that a log or a pipe holds plain lines. Rich is
imported where it prints, as short commands would take a good part of their time to import it.
"""

from __future__ import annotations

import functools
import os
import sys
import threading
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

__all__ = [
    "UserError",
    "compiling",
    "print_table",
    "progress_bar",
    "report_error",
    "say",
    "say_fields",
    "shown",
    "working",
]

_WIDEST = 300  # columns of a table in a file


@functools.cache
def _console(*, stderr: bool = False) -> Console:
    from rich.console import Console

    return Console(stderr=stderr, highlight=False)


class UserError(Exception):
    """A mistake of the user's: said in one line on standard error, exit code 2."""


def shown(text: str) -> str:
    """Return `text` with what would steer a terminal as escapes: names hold anything.

    Control characters, line ends, changes of the writing direction, and bytes of a name that are
    not of its encoding are written as in a Python string.
    """
    return text if text.isprintable() else "".join(map(_shown_character, text))


def _shown_character(character: str) -> str:
    if unicodedata.category(character) == "Cs":  # of a name; U+DC80 to U+DCFF stand for bytes
        code = ord(character)
        return f"\\x{code - 0xDC00:02x}" if 0xDC80 <= code <= 0xDCFF else f"\\u{code:04x}"
    steers = unicodedata.category(character) in ("Cc", "Zl", "Zp") or unicodedata.bidirectional(
        character
    ) in ("LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI")
    return character.encode("unicode_escape").decode("ascii") if steers else character


def say(text: str = "") -> None:
    """Print a line to standard output, whole: no wrapping, no markup."""
    from rich.text import Text

    _console().print(Text(shown(text)), soft_wrap=True)


def say_fields(*fields: str) -> None:
    """Print fields with tabs between them, as programs read them."""
    print("\t".join(map(shown, fields)))


def print_table(
    header: Sequence[str], rows: Iterable[Sequence[str]], *, whole: bool = False
) -> None:
    """Print a table to standard output: the first column to the left, numbers to the right.

    If `whole`, a file or pipe gets lines as long as they need to be.
    """
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=SIMPLE_HEAD)
    for index, title in enumerate(header):
        table.add_column(Text(shown(title)), justify="right" if index else "left")
    for row in rows:
        table.add_row(*(Text(shown(cell)) for cell in row))
    console = _console()
    if whole and not console.is_terminal:
        console = Console(highlight=False, width=_WIDEST)
    console.print(table)


def report_error(message: str) -> None:
    """Print `message` as one line on standard error, however many lines it has."""
    print(f"fastbp: {shown(' '.join(message.split()))}", file=sys.stderr, flush=True)


def _live_console() -> Console | None:
    """Return the console for what moves: standard output where it is a terminal, or error.

    Only on the console that lines are printed to meanwhile can they appear above it. None where
    neither is a terminal.
    """
    forced = any(map(os.environ.get, ("FORCE_COLOR", "TTY_COMPATIBLE")))  # as rich has it
    if not (forced or sys.stdout.isatty() or sys.stderr.isatty()):
        return None
    for console in (_console(), _console(stderr=True)):
        if console.is_terminal:
            return console
    return None


@contextmanager
def working(description: str) -> Iterator[None]:
    """Show a spinner with `description` while the block runs, on a terminal."""
    console = _live_console()
    if console is None:
        yield
        return
    from rich.text import Text

    with console.status(Text(shown(description))):
        yield


@contextmanager
def compiling() -> Iterator[None]:
    """Say what is compiled while the block runs, if anything is.

    What lies compiled in the cache is loaded in a moment, and not worth a word.
    """
    from fastbp.kernels.compile.prepare import watch

    ended = threading.Event()
    spinners: list[threading.Thread] = []

    def tell(names: list[str]) -> None:
        line = _of_compiling(names)
        if _live_console() is None:
            report_error(f"{line} ...")
            return

        def show() -> None:
            with working(line):
                ended.wait()

        spinner = threading.Thread(target=show, daemon=True)
        spinner.start()
        spinners.append(spinner)

    try:
        with watch(tell):
            yield
    finally:
        ended.set()
        for spinner in spinners:
            spinner.join()  # before anything else is printed


def _of_compiling(names: Sequence[str]) -> str:
    """The line for kernels that are compiled: fastbp.kernels.wide.sweep:_float32 is wide.sweep."""
    parts = dict.fromkeys(name.partition(":")[0].removeprefix("fastbp.kernels.") for name in names)
    many = "1 kernel" if len(names) == 1 else f"{len(names)} kernels"
    return f"compiling {many} (first run only): {', '.join(parts)}"


@contextmanager
def progress_bar(description: str) -> Iterator[Callable[[int, int], None]]:
    """Show a bar while the block runs, on a terminal.

    Yields
    ------
    update : callable
        ``update(done, total)``, as `fastbp.Network.fit` calls its `progress`.
    """
    console = _live_console()
    if console is None:
        yield lambda done, total: None
        return
    from rich.progress import (
        BarColumn,
        Progress,
        TaskProgressColumn,
        TextColumn,
        TimeRemainingColumn,
    )

    bar = Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TaskProgressColumn(),
        TimeRemainingColumn(),
        console=console,
        transient=True,
        redirect_stdout=False,
        redirect_stderr=False,
    )
    with bar:
        task = bar.add_task(description, total=None)

        def update(done: int, total: int) -> None:
            bar.update(task, completed=done, total=total)

        yield update
