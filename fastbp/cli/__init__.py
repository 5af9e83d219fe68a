"""The `fastbp` command.

`running` runs the command line, `app` holds the commands, `options` what they take, `console`
everything they say, `streams` where it goes, `signals` what stops them, `pictures` what they read,
`targets` what they write, `plan` what is to be trained and how, `training` and `demo` the long
work, `comparison` the timing against pure NumPy, one process a system.
Only this file may be imported without the extra ``cli``.
"""

from __future__ import annotations

import sys

__all__ = ["main"]


def main() -> None:
    """Run the command line on `sys.argv` and exit with its code, see `running.run`."""
    try:
        import rich  # noqa: F401
        import typer  # noqa: F401
    except ModuleNotFoundError as error:
        sys.exit(f"fastbp: the command line needs {error.name}: pip install 'fastbp[cli]'")
    from fastbp.cli.streams import occupy_descriptors

    occupy_descriptors()
    from fastbp.cli.running import run

    sys.exit(run(sys.argv[1:]))
