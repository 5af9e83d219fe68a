"""Products of a matrix by 1 to 8 vectors: NumPy, fastbp as it is, and fastbp without `thin`.

    python benchmarks/sweep_thin.py                            # float32
    python benchmarks/sweep_thin.py --dtype float64 --quick

Checks from which shapes on ``fastbp/kernels/linalg/thin.py`` is worth it: `MOST` and the least
depths. Each system runs in a process of its own, one after the other (--rounds times). Prints, for
each number of vectors and depth k, how often NumPy's time and that of `fastbp.kernels.linalg.gemm`
fastbp's contains: geometric means over matrices of several sizes from either side, first of those
whose rows are contiguous, then of those whose columns are; and the least.
"""

from __future__ import annotations

import argparse
import json
import math
import subprocess
import sys
import time
from collections import defaultdict
from pathlib import Path
from statistics import median

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
SYSTEMS = ("numpy", "gemm", "fastbp")
VECTORS = (1, 2, 3, 4, 6, 8)
DEPTHS = (16, 64, 128, 256, 512, 1024, 4096, 12288)
ROWS = (16, 64, 256, 1024)
LEAST, MOST = 1 << 14, 1 << 24  # elements of the matrix times vectors, elements of the matrix


def shapes(quick: bool) -> list[tuple[int, int, int, bool, bool]]:
    """Rows, vectors, k; whether the matrix's rows are contiguous, and whether it comes second."""
    return [
        (rows, vectors, k, by_rows, second)
        for rows in ROWS
        for vectors in VECTORS
        for k in DEPTHS
        if rows * k * vectors >= LEAST and rows * k <= MOST and not (quick and rows * k > 1 << 16)
        for by_rows in (True, False)
        for second in (False, True)
    ]


def product_of(system: str):
    """The function that multiplies: fastbp is imported by none but its own processes."""
    if system == "numpy":
        return np.matmul
    import fastbp
    from fastbp.engine import products

    if system == "gemm":
        products._LEAST_THIN = 1 << 62
    return fastbp.matmul


def measure(system: str, dtype: str, quick: bool) -> list[float]:
    """Microseconds of each shape, medians."""
    multiply = product_of(system)
    random = np.random.default_rng(0)
    found = []
    for rows, vectors, k, by_rows, second in shapes(quick):
        matrix = random.standard_normal((rows, k) if by_rows else (k, rows)).astype(dtype)
        thin = random.standard_normal((k, vectors)).astype(dtype)
        matrix = matrix if by_rows else matrix.T
        a, b = (thin.T, matrix.T) if second else (matrix, thin)
        out = np.empty((a.shape[0], b.shape[1]), dtype)
        multiply(a, b, out=out)
        times = []
        end = time.perf_counter() + (0.002 if quick else 0.05)
        while time.perf_counter() < end or len(times) < 3:
            start = time.perf_counter()
            multiply(a, b, out=out)
            times.append(time.perf_counter() - start)
        found.append(median(times) * 1e6)
    return found


def run(system: str, options: argparse.Namespace) -> list[float]:
    """`measure` in a process of its own."""
    command = [sys.executable, __file__, "--dtype", options.dtype, "--system", system]
    command += ["--quick"] * options.quick
    done = subprocess.run(command, check=True, capture_output=True, text=True, cwd=ROOT)
    return json.loads(done.stdout)


def geometric_mean(values: list[float]) -> float:
    return math.exp(sum(map(math.log, values)) / len(values))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dtype", choices=("float32", "float64"), default="float32")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--quick", action="store_true", help="small matrices, too few repetitions")
    parser.add_argument("--system", choices=SYSTEMS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.system:
        sys.path.insert(0, str(ROOT))
        print(json.dumps(measure(options.system, options.dtype, options.quick)))
        return
    rounds = [{system: run(system, options) for system in SYSTEMS} for _ in range(options.rounds)]
    times = {
        system: [median(values) for values in zip(*(r[system] for r in rounds), strict=True)]
        for system in SYSTEMS
    }
    for other in SYSTEMS[:-1]:
        ratios = [a / b for a, b in zip(times[other], times["fastbp"], strict=True)]
        print(
            f"{other}, time over fastbp's: {geometric_mean(ratios):.2f} over {len(ratios)} shapes"
        )
        for by_rows in (True, False):
            groups = defaultdict(list)
            for (_, vectors, k, rows_contiguous, _), ratio in zip(
                shapes(options.quick), ratios, strict=True
            ):
                if rows_contiguous == by_rows:
                    groups[vectors, k].append(ratio)
            print(f"  {'rows' if by_rows else 'columns'} contiguous; k along, vectors down")
            print("   " + "".join(f"{k:>12}" for k in DEPTHS))
            for vectors in VECTORS:
                cells = [groups.get((vectors, k)) for k in DEPTHS]
                line = [f"{geometric_mean(c):.2f}/{min(c):.2f}" if c else "-" for c in cells]
                print(f"{vectors:>3}" + "".join(f"{cell:>12}" for cell in line))


if __name__ == "__main__":
    main()
