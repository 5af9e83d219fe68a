"""Try block sizes of the matrix product: kc, strip, the share of the level-2 cache, the tile.

    python benchmarks/sweep_blocks.py                          # each alone, around the present rule
    python benchmarks/sweep_blocks.py --kc 256,384,512 --strip 1,2,4 --grid
    python benchmarks/sweep_blocks.py --tile 8x3,6x4,12x2 --threads 1 --dtype float64

The rule in ``fastbp/kernels/compile/machine.py`` is checked with this; nothing in the package
changes. Every setting runs in processes of its own, which replace `machine.tiles` before the
kernels are imported and keep what they compile in a folder of this run. The processes take turns
(--rounds). Prints GFLOP/s, medians, for each shape and their geometric mean, the best setting
first.
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import json
import math
import os
import subprocess
import sys
import tempfile
import time
import types
from pathlib import Path
from statistics import median
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
# Layout, m, n, k: squares, and the products of training 12288-128 and 12288-1024.
SHAPES = (
    ("NN", 1024, 1024, 1024),
    ("NN", 2048, 2048, 2048),
    ("NT", 1024, 128, 12288),
    ("TN", 128, 12288, 1024),
    ("NT", 1024, 1024, 12288),
    ("TN", 1024, 12288, 1024),
    ("NN", 1024, 1024, 256),
)
QUICK_SHAPES = (("NN", 256, 256, 256),)
AROUND = {  # tried unless others are named; strip in tiles' widths, share of the level-2 cache
    "kc": (192, 256, 320, 384, 512, 768),
    "strip": (1, 2, 3, 4, 6, 8),
    "share": (0.25, 0.375, 0.5, 0.625, 0.75),
}

Setting = dict[str, Any]


def parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    numbers = {"kc": int, "strip": int, "share": float}
    for name, kind in numbers.items():
        parser.add_argument(
            f"--{name}", type=lambda text, kind=kind: [kind(part) for part in text.split(",")]
        )
    parser.add_argument(
        "--tile",
        type=lambda text: [tuple(map(int, part.split("x"))) for part in text.split(",")],
        help="mr x nv, such as 8x3,6x4",
    )
    parser.add_argument("--grid", action="store_true", help="all combinations of what is named")
    parser.add_argument("--dtype", choices=("float32", "float64"), default="float32")
    parser.add_argument("--threads", type=int, help="all cores by default")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=0.3, help="for each shape in each round")
    parser.add_argument("--quick", action="store_true", help="one small shape: does it run?")
    return parser.parse_args()


def settings_to_try(options: argparse.Namespace) -> list[Setting]:
    """The present rule, which is the empty setting, and what the options ask for."""
    named = {
        name: getattr(options, name)
        for name in ("kc", "strip", "share", "tile")
        if getattr(options, name)
    }
    if options.grid:
        return [{}, *(dict(zip(named, v, strict=True)) for v in itertools.product(*named.values()))]
    ranges = named or AROUND
    return [{}, *({name: value} for name, values in ranges.items() for value in values)]


def replaced_tiles(machine: Any, setting: Setting, itemsize: int) -> Any:
    """The present rule's tiles, with what the setting names in the place of its own."""
    tiles = machine.tiles(itemsize)
    panels = setting.get("strip", tiles.a_block // (tiles.nr * tiles.kc))
    if "tile" in setting:
        mr, nv = setting["tile"]
        step = mr // 2 if mr % 2 == 0 else mr
        nr = nv * tiles.lanes
        tiles = dataclasses.replace(
            tiles,
            mr=mr,
            nv=nv,
            nr=nr,
            row_step=step,
        )
    kc = setting.get("kc", tiles.kc)
    least = kc * max(tiles.mr, tiles.nr)
    chunk = max(tiles.b_chunk, least)
    if "share" in setting:
        chunk = max(int(machine.CACHES.l2 * setting["share"]) // itemsize, least)
    return dataclasses.replace(
        tiles,
        kc=kc,
        a_block=panels * tiles.nr * kc,
        b_chunk=chunk,
    )


def import_with(setting: Setting) -> Any:
    """Import fastbp with other tiles. They are constants to the kernels from their import on."""
    # An empty package lets `machine` be imported before everything else of fastbp.
    package = types.ModuleType("fastbp")
    package.__path__ = [str(ROOT / "fastbp")]
    sys.modules["fastbp"] = package
    from fastbp.kernels.compile import machine

    tiles = {itemsize: replaced_tiles(machine, setting, itemsize) for itemsize in (4, 8)}
    machine.tiles = tiles.__getitem__
    del sys.modules["fastbp"]
    import fastbp

    used = fastbp.show_config()["tiles"]["float32"]
    assert used | dataclasses.asdict(tiles[4]) == used, "the kernels did not get the tiles"
    return fastbp


def measure(task: dict[str, Any]) -> list[float]:
    """In a process of its own: seconds of each shape, medians."""
    fastbp = import_with(task["setting"])
    import numpy as np

    fastbp.set_num_threads(task["threads"])
    random = np.random.default_rng(0)
    dtype = np.dtype(task["dtype"]).type
    medians = []
    for layout, m, n, k in task["shapes"]:
        a = random.standard_normal((k, m) if layout == "TN" else (m, k), dtype)
        b = random.standard_normal((n, k) if layout == "NT" else (k, n), dtype)
        a, b = a.T if layout == "TN" else a, b.T if layout == "NT" else b
        out = np.zeros((m, n), dtype)
        fastbp.matmul(a, b, out=out)
        if not np.allclose(out[:: m // 4], a[:: m // 4] @ b, rtol=1e-2, atol=1e-2 * math.sqrt(k)):
            raise AssertionError(f"{task['setting']} gives wrong products")
        times: list[float] = []
        while sum(times) < task["seconds"]:
            start = time.perf_counter()
            fastbp.matmul(a, b, out=out)
            times.append(time.perf_counter() - start)
        medians.append(median(times))
    return medians


def run_process(task: dict[str, Any], cache: str) -> list[float]:
    """`measure` in a new process, with this folder for compiled kernels."""
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH", "")]))
    done = subprocess.run(
        [sys.executable, __file__, "--measure", json.dumps(task)],
        capture_output=True,
        text=True,
        env={**os.environ, "NUMBA_CACHE_DIR": cache, "PYTHONPATH": path},
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"{task['setting']}: {done.stderr.strip()}")
    medians: list[float] = json.loads(done.stdout)
    return medians


def described(setting: Setting) -> str:
    parts = (
        f"{name}={'x'.join(map(str, value)) if name == 'tile' else value}"
        for name, value in setting.items()
    )
    return " ".join(parts) or "the present rule"


def main() -> int:
    if sys.argv[1:2] == ["--measure"]:
        print(json.dumps(measure(json.loads(sys.argv[2]))))
        return 0
    options = parse_options()
    shapes = QUICK_SHAPES if options.quick else SHAPES
    settings = settings_to_try(options)
    affinity = getattr(os, "sched_getaffinity", None)
    cores = len(affinity(0)) if affinity else os.cpu_count() or 1
    task = {
        "shapes": shapes,
        "dtype": options.dtype,
        "threads": options.threads or cores,
        "seconds": 0.01 if options.quick else options.seconds,
    }
    rounds: list[list[list[float]]] = [[] for _ in settings]
    with tempfile.TemporaryDirectory(prefix="fastbp-sweep-") as cache:
        for number in range(1 if options.quick else options.rounds):
            for setting, found in zip(settings, rounds, strict=True):
                print(f"round {number + 1}: {described(setting)}", file=sys.stderr, flush=True)
                found.append(run_process({**task, "setting": setting}, cache))
    flops = [2 * m * n * k for _, m, n, k in shapes]
    rows = []
    for setting, found in zip(settings, rounds, strict=True):
        speeds = [
            work / median(times) / 1e9
            for work, times in zip(flops, zip(*found, strict=True), strict=True)
        ]
        mean = math.exp(sum(map(math.log, speeds)) / len(speeds))
        rows.append((mean, described(setting), speeds))
    width = max(len(name) for _, name, _ in rows)
    names = [f"{layout} {m}x{n}x{k}" for layout, m, n, k in shapes]
    print(f"GFLOP/s, {options.dtype}, {task['threads']} threads")
    print(f"{'':<{width}}  {'mean':>7}", *(f"{name:>18}" for name in names))
    for mean, name, speeds in sorted(rows, reverse=True):
        print(f"{name:<{width}}  {mean:7.1f}", *(f"{speed:18.1f}" for speed in speeds))
    return 0


if __name__ == "__main__":
    sys.exit(main())
