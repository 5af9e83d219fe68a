"""What a process pays before its first step, and what training needs of memory.

asv runs the classes. By itself, ``python -m benchmarks.bench_start`` prints what the command takes
and what of that is above ``import numba``: medians of processes in turns, with kernels in the
cache. Other work on the machine disturbs the wall clock: look at the CPU time beside it then.
"""

from __future__ import annotations

import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

import fastbp
from benchmarks.problems import FEATURES, pictures

_ROUNDS = 9
_SMALL_FIT = """
import numpy as np, fastbp
X, y = np.zeros((64, 12288), np.float32), np.zeros(64, np.float32)
fastbp.Network((12288, 3, 2, 1), seed=0).fit(X, y, epochs=1)
"""
_COMMAND = """
import contextlib, io, sys
from fastbp.cli import main
sys.argv[1:] = {!r}
with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(SystemExit):
    main()
"""
_NETWORKS = {"3-2": (3, 2), "64": (64,)}


def _commands(folder: Path) -> dict[str, str]:
    """Code of each command, with what `predict` needs put into the folder."""
    from PIL import Image

    pixels = np.random.default_rng(0).integers(0, 256, (480, 640, 3), np.uint8)
    Image.fromarray(pixels).save(folder / "picture.jpg")
    commands = {"--help": ["--help"], "info": ["info"]}
    for name, hidden in _NETWORKS.items():
        network = fastbp.Network((FEATURES, *hidden, 1), seed=0, input_scale=1 / 255)
        network.training_settings = {"class_names": ["no", "yes"], "picture_size": [64, 64]}
        network.save(folder / f"{name}.safetensors")
        files = [str(folder / f"{name}.safetensors"), str(folder / "picture.jpg")]
        commands[f"predict {FEATURES}-{name}-1"] = ["predict", *files]
    return {name: _COMMAND.format(arguments) for name, arguments in commands.items()}


class Start:
    """Whole processes, with kernels in the cache: imports, a small fit, and the command."""

    def setup_cache(self) -> dict[str, str]:
        fastbp.warmup()
        commands = _commands(Path.cwd())
        for code in commands.values():
            _seconds(code)
        return commands

    def timeraw_import_numba(self, commands: dict[str, str]) -> str:
        return "import numba"

    def timeraw_import_fastbp(self, commands: dict[str, str]) -> str:
        return "import fastbp"

    def timeraw_import_and_small_fit(self, commands: dict[str, str]) -> str:
        return _SMALL_FIT

    def timeraw_help(self, commands: dict[str, str]) -> str:
        return commands["--help"]

    def timeraw_info(self, commands: dict[str, str]) -> str:
        return commands["info"]

    def timeraw_predict_narrow(self, commands: dict[str, str]) -> str:
        return commands[f"predict {FEATURES}-3-2-1"]

    def timeraw_predict_wide(self, commands: dict[str, str]) -> str:
        return commands[f"predict {FEATURES}-64-1"]


class Memory:
    """Peaks of whole processes: what a fit from bytes adds to the data is little."""

    def peakmem_data_alone(self) -> None:
        pictures(16384, "uint8")

    def peakmem_data_and_fit(self) -> None:
        X, y = pictures(16384, "uint8")
        network = fastbp.Network((FEATURES, 64, 1), seed=0, input_mean=127.5, input_scale=1 / 255)
        network.fit(X, y, epochs=1, batch_size=256)


def _seconds(code: str) -> tuple[float, float]:
    """By the clock, and of CPU time, that a process takes."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    before = time.perf_counter(), usage.ru_utime + usage.ru_stime
    subprocess.run([sys.executable, "-c", code], check=True)
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.perf_counter() - before[0], usage.ru_utime + usage.ru_stime - before[1]


def main() -> None:
    """Print the table."""
    with tempfile.TemporaryDirectory() as folder:
        numba = "import numba"
        codes = {numba: numba, **_commands(Path(folder))}
        for code in codes.values():  # the kernels, and the files, into their caches
            _seconds(code)
        taken: dict[str, list[tuple[float, float]]] = {name: [] for name in codes}
        for _ in range(_ROUNDS):
            for name, code in codes.items():
                taken[name].append(_seconds(code))
    medians = {
        name: [statistics.median(column) for column in zip(*rows, strict=True)]
        for name, rows in taken.items()
    }
    print(f"{'seconds':24} {'clock':>7} {'above':>7} {'CPU':>7} {'above':>7}")
    for name, (clock, cpu) in medians.items():
        above = clock - medians[numba][0], cpu - medians[numba][1]
        print(f"{name:24} {clock:7.3f} {above[0]:+7.3f} {cpu:7.3f} {above[1]:+7.3f}")


if __name__ == "__main__":
    main()
