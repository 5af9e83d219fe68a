"""What becomes of a command line: the command that it names, and the exit code."""

from __future__ import annotations

import signal
import warnings
from collections.abc import Sequence
from typing import cast

import typer

from fastbp.cli.app import app
from fastbp.cli.console import UserError, report_error
from fastbp.cli.signals import as_interrupts
from fastbp.cli.streams import OutputLostError, lost_output, safe_streams

__all__ = ["run"]

# What typer raises for a bad command line; some of its versions bring click, some their own.
_UsageError = cast("type[typer.BadParameter]", typer.BadParameter.__mro__[2])

# What a shell expects after Ctrl-C, and what typer itself returns.
_INTERRUPTED = 128 + signal.SIGINT
_ENDINGS: dict[int, str] = {signal.SIGINT: "interrupted", signal.SIGTERM: "terminated"}


def run(arguments: Sequence[str]) -> int:
    """Run the command line and return its exit code.

    Parameters
    ----------
    arguments : sequence of str
        What stands after ``fastbp``.

    Returns
    -------
    int
        0; 1 if `predict` could not read a file or standard output could not be written to, though
        the rest was done; 2 for a user's mistake; 130 after Ctrl-C, 143 after SIGTERM, 129 after
        SIGHUP. The reason is one line on standard error.

    Notes
    -----
    That standard output cannot be written to stops nothing but what is only printed. A reader
    that has gone, as `head` does, is no error.
    """
    with safe_streams(), as_interrupts() as received, warnings.catch_warnings():
        # What Pillow thinks of a picture that it reads is no news, nor are letters that the font
        # of a plot lacks.
        warnings.filterwarnings("ignore", module=r"PIL\.")
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        warnings.showwarning = _report_warning
        code = _run_command(arguments)
        if code == _INTERRUPTED:
            number = received[0] if received else signal.SIGINT
            code = 128 + number
            report_error(_ENDINGS.get(number, "hung up"))
        lost = lost_output()
        if lost is not None and not isinstance(lost, BrokenPipeError):
            report_error(f"cannot write to standard output: {lost.strerror}")
            code = code or 1
    return code


def _report_warning(message: Warning | str, *_: object, **__: object) -> None:
    """Say what a training warns of as the command says all else: in one line."""
    report_error(f"warning: {message}")


def _run_command(arguments: Sequence[str]) -> int:
    """Run the command line and return its exit code, 130 for all that interrupts it."""
    command = typer.main.get_command(app)
    try:
        code = command.main(
            args=list(arguments) or ["--help"], prog_name="fastbp", standalone_mode=False
        )
    except UserError as error:
        report_error(str(error))
        return 2
    except MemoryError as error:
        report_error(f"not enough memory: {error}" if str(error) else "not enough memory")
        return 2
    except (typer.Abort, KeyboardInterrupt):
        return _INTERRUPTED
    except OutputLostError:
        return 0  # `run` says why
    except _UsageError as error:
        report_error(f"{error.format_message()}{_help_hint(error)}")
        return 2
    return code if isinstance(code, int) else 0


def _help_hint(error: BaseException) -> str:
    context = getattr(error, "ctx", None)
    return f" (see '{context.command_path} --help')" if context is not None else ""
