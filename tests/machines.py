"""Tests whose sizes follow the machine, run as on other machines: ``python -m tests.machines``.

Such tests have the marker "machine". Each of the MACHINES runs them in a process of its own, with
kernels compiled for it: see `fastbp.kernels.compile.machine` for what it is told. Two run at a
time, as most of it is compiling. Names of machines may be given, and after ``--`` arguments for
pytest.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
AT_A_TIME = 2


def machine(bits: int, registers: int, cores: int, caches: str, threads: int) -> dict[str, str]:
    """Environment variables that make this machine another; `threads` are those in use."""
    return {
        "FASTBP_VECTOR_BITS": str(bits),
        "FASTBP_VECTOR_REGISTERS": str(registers),
        "FASTBP_CORES": str(cores),
        "FASTBP_CACHES": caches,
        "NUMBA_NUM_THREADS": str(threads),
    }


# Every value of each fact beside its neighbours: level-2 caches of 256 KB to 4 MB, level 3 of none
# to 260 MB, 1 to 64 cores, vectors of 128 to 512 bits, and both numbers of registers.
MACHINES = {
    "one core": machine(128, 16, 1, "32K,256K,0", 2),
    "zen 2": machine(256, 16, 4, "32K,512K,16M", 3),
    "arm": machine(128, 32, 16, "64K,1M,0", 4),
    "xeon": machine(512, 32, 64, "48K,2M,260M", 4),
    "large caches": machine(256, 16, 8, "128K,4M,32M", 2),
}


def run(name: str, arguments: list[str]) -> tuple[int, str]:
    """Run the marked tests as on the machine of that name: pytest's status, and what it said."""
    begun = time.monotonic()
    with tempfile.TemporaryDirectory() as kernels:
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-m", "machine"]
        done = subprocess.run(
            [*command, *arguments],
            cwd=ROOT,
            env={**os.environ, **MACHINES[name], "NUMBA_CACHE_DIR": kernels},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
    return done.returncode, f"{name} ({time.monotonic() - begun:.0f} s)\n{done.stdout}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="machine", help=", ".join(MACHINES))
    own, rest = sys.argv[1:], []
    if "--" in own:
        own, rest = own[: own.index("--")], own[own.index("--") + 1 :]
    names = parser.parse_args(own).names or list(MACHINES)
    for name in names:
        if name not in MACHINES:
            parser.error(f"there is no machine {name!r}, only {', '.join(MACHINES)}")
    failed = 0
    with concurrent.futures.ThreadPoolExecutor(AT_A_TIME) as pool:
        for status, said in pool.map(run, names, [rest] * len(names)):
            failed |= status
            print(said, flush=True)
    return int(failed != 0)


if __name__ == "__main__":
    sys.exit(main())
