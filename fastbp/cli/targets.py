"""Where the commands write: checked before the work, which may be long."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from fastbp.cli.console import UserError
from fastbp.files import check_target, replace_file

__all__ = ["check_targets", "write_file"]


def check_targets(*paths: Path | None) -> None:
    """Check that a file can be written at each path that is not None.

    Raises
    ------
    UserError
        If one cannot, or two of them are the same.
    """
    seen: dict[str, Path] = {}
    for path in paths:
        if path is None:
            continue
        try:
            if not path.is_dir() and not path.parent.is_dir():
                raise UserError(f"cannot write {path}: there is no folder {path.parent}")
            check_target(path)
        except OSError as error:
            raise _user_error(path, error) from error
        other = seen.setdefault(os.path.realpath(path), path)
        if other is not path:
            raise UserError(f"cannot write two files at {path}: give them different names")


def write_file(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """Put what `write` writes at `path`, in one step.

    Raises
    ------
    UserError
        If it cannot be written.
    """
    try:
        replace_file(path, write)
    except OSError as error:
        raise _user_error(path, error) from error


def _user_error(path: Path, error: OSError) -> UserError:
    return UserError(f"cannot write {path}: {error.strerror or error}")
