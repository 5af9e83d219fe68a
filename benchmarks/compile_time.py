"""Where the time goes that a region takes to compile: Numba's passes by function, and LLVM.

    python benchmarks/compile_time.py                  # the names of all regions
    python benchmarks/compile_time.py thin             # regions whose names have this in them
    python benchmarks/compile_time.py thin --lines 30

Each region is compiled anew, with an empty cache. Times are of the wall clock, so let nothing else
run; that of a pass is its own, without the functions that are compiled on the way. Passes are
Numba's front end, and the translation of the region and its helpers is in the native_lowering of
its outermost function (see `fastbp.kernels.compile.translate`). What is left is LLVM, which
optimises the region with all of its helpers, once, and makes machine code of it.
"""

from __future__ import annotations

import argparse
import collections
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))


def own_times(recorded: list[tuple[float, Any]]) -> collections.Counter[str]:
    """Seconds of each pass, without those of passes within it."""
    found: collections.Counter[str] = collections.Counter()
    inside: list[float] = []  # begin of each pass that runs, moved on by what ran within it
    for now, event in recorded:
        if event.is_start:
            inside.append(now)
        else:
            spent = now - inside.pop()
            found[event.data["name"]] += spent
            inside = [begin + spent for begin in inside]
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="name", help="part of a region's name")
    parser.add_argument("--lines", type=int, default=12, help="passes to list for each region")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        os.environ["NUMBA_CACHE_DIR"] = folder
        from numba.core import event

        from benchmarks.compare_code import regions

        for name, region in regions().items():
            if not options.names:
                print(name)
            if not any(part in name for part in options.names):
                continue
            begin, cpu = time.perf_counter(), time.process_time()
            with event.install_recorder("numba:run_pass") as passes:
                region.address  # noqa: B018  (compiles)
            times = own_times(passes.buffer)
            seconds = time.perf_counter() - begin
            size = len(region._compiled._library._get_compiled_object())
            front = sum(times.values())
            print(
                f"{name}: {seconds:.1f} s ({time.process_time() - cpu:.1f} s of CPU time), of which"
                f" front end {front:.1f} s, LLVM {seconds - front:.1f} s; {size >> 10} KiB of code"
            )
            for what, spent in times.most_common(options.lines):
                print(f"  {spent:6.2f} s  {what}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
