"""Python in a process of its own: another environment, a crash, or a deadlock stays in there."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import fastbp

ROOT = Path(__file__).resolve().parent.parent
PATIENCE = 300
"""Seconds after which a process counts as stuck; the slowest takes a tenth of that."""


def child_environment(package_at: Path | None = None, **environment: str | None) -> dict[str, str]:
    """Variables of a process that imports the same fastbp as `run_python`'s."""
    variables = {**os.environ, **environment}
    paths = [package_at or Path(fastbp.__file__).resolve().parent.parent, ROOT]
    variables["PYTHONPATH"] = os.pathsep.join(str(path) for path in paths)
    return {name: value for name, value in variables.items() if value is not None}


def run_python(
    code: str, *args: Any, package_at: Path | None = None, **environment: str | None
) -> str:
    """Run `code` and return what it printed; fail with what it said if it fails or hangs.

    It imports this fastbp, or the copy in the folder `package_at`, and the helpers of the tests.
    `environment` changes the variables of this process: None takes one away.
    """
    done = subprocess.run(
        [sys.executable, "-P", "-c", code, *map(str, args)],  # -P: not what lies in this folder
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        env=child_environment(package_at, **environment),
    )
    assert done.returncode == 0, (
        f"the process ended with {done.returncode}\n{done.stdout}\n{done.stderr}"
    )
    return done.stdout
