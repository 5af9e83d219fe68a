"""`fastbp bench`: runs the comparison with peers and says what it found."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fastbp.bench.comparison import Settings, check_settings, run
from fastbp.bench.problems import WORKLOADS
from fastbp.bench.systems import SYSTEMS, SystemSpec
from fastbp.bench.tables import tables
from fastbp.cli.console import UserError, print_table, say, working
from fastbp.cli.targets import check_targets, write_file

__all__ = ["run_bench"]


def run_bench(
    *,
    workloads: Sequence[str],
    systems: str | None,
    threads: int | None,
    rounds: int | None,
    quick: bool,
    json_path: Path | None,
    plot: Path | None,
) -> None:
    """Compare, print tables, and write what was asked for.

    Raises
    ------
    UserError
        For a mistake in the arguments, if a file cannot be written, or if the limits cannot be
        measured.
    """
    settings = _settings(workloads, systems, threads, rounds, quick)
    check_targets(json_path, plot)
    if plot is not None:
        _need_matplotlib()
    try:
        with working("comparing; this takes a while"):
            result = run(settings, _progress)
    except RuntimeError as error:
        raise UserError(str(error)) from error
    if json_path is not None:
        text = json.dumps(result, indent=1) + "\n"
        write_file(json_path, lambda file: file.write(text.encode()))
    _print(result)
    if plot is not None:
        from fastbp.bench.plot import save_plot

        write_file(plot, lambda file: save_plot(file, result))
    for path in (json_path, plot):
        if path is not None:
            say(f"wrote {path}")


def _settings(
    workloads: Sequence[str],
    systems: str | None,
    threads: int | None,
    rounds: int | None,
    quick: bool,
) -> Settings:
    chosen: dict[str, Any] = {"quick": quick}
    if workloads:
        chosen["workloads"] = tuple(WORKLOADS.get(name, name) for name in workloads)
    if systems is not None:
        chosen["systems"] = tuple(_system(name.strip()) for name in systems.split(","))
    if threads is not None:
        chosen["threads"] = threads
    if rounds is not None or quick:
        chosen["rounds"] = 2 if rounds is None else rounds
    settings = Settings(**chosen)
    try:
        check_settings(settings)
    except ValueError as error:
        raise UserError(str(error)) from error
    return settings


def _system(name: str) -> SystemSpec:
    for spec in SYSTEMS:
        if spec.name == name:
            return spec
    names = ", ".join(spec.name for spec in SYSTEMS)
    raise UserError(f"--systems must name some of {names}, got {name!r}")


def _need_matplotlib() -> None:
    """Say before the long work, not after it, that the picture cannot be drawn."""
    import importlib.util

    if importlib.util.find_spec("matplotlib") is None:
        raise UserError("--plot needs matplotlib: pip install 'fastbp[bench]'")


def _progress(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _print(result: dict[str, Any]) -> None:
    machine, settings = result["machine"], result["settings"]
    say(f"{machine['cpu']}, {machine['cores']} cores; {machine['system']}")
    versions = [
        f"{name} {found['version']}"
        for name, found in result["systems"].items()
        if found["version"] is not None
    ]
    say(f"Python {machine['python']}; {', '.join(versions)}")
    say(f"{settings['threads']} threads, {settings['rounds']} rounds, {result['date']}")
    for name, value in result["environment"].items():
        say(f"{name}={value}")
    for table in tables(result):
        say(table.title)
        print_table(table.header, table.rows, whole=True)
    for note in result["notes"]:
        say(f"note: {note}")
