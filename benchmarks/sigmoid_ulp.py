"""Every float32 there is, through fastbp.sigmoid: its largest error, and that it is monotone.

    python benchmarks/sigmoid_ulp.py            # all 2^32 bit patterns: some minutes on one core
    python benchmarks/sigmoid_ulp.py --quick    # one of 4096: a second

Compared with 1 / (1 + exp(-x)) in float64, whose own error is 2^-28 of a float32's ULP. One ULP is
the distance from the float32 nearest to the exact value to the next larger one; among subnormal
results it is 2^-149. Checked besides: NaN stays NaN, 0 gives exactly 0.5, infinities give exactly
0 and 1, results lie in [0, 1], and a larger input never gives a smaller result.

Prints what was found; exit code 1 if the error is above --most or anything else is wrong.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

import fastbp

CHUNK = 1 << 22  # bit patterns at a time: 16 MB of float32, and some times that of float64
INFINITY = 0x7F80_0000  # bits of +infinity: larger patterns without the sign are NaN
SIGN = 0x8000_0000


@dataclass
class Findings:
    """The worst so far, and what is wrong."""

    worst_ulp: float = 0.0
    worst_at: float = 0.0
    worst_subnormal_ulp: float = 0.0
    last_zero: float = -np.inf
    first_one: float = np.inf
    checked: int = 0
    previous: float = -1.0
    wrong: list[str] = field(default_factory=list)


def numbers_in_order(step: int) -> Iterator[np.ndarray]:
    """All float32 that are not NaN, from -infinity to +infinity, or every `step`-th."""
    # Among negative numbers, larger bits are smaller numbers; -0 comes before +0.
    span = CHUNK * step
    for last in range(SIGN + INFINITY, SIGN - 1, -span):
        bits = np.arange(last, max(last - span, SIGN - 1), -step, dtype=np.int64)
        yield bits.astype(np.uint32).view(np.float32)
    for first in range(0, INFINITY + 1, span):
        bits = np.arange(first, min(first + span, INFINITY + 1), step, dtype=np.int64)
        yield bits.astype(np.uint32).view(np.float32)


def check_chunk(x: np.ndarray, found: Findings) -> None:
    """Look at ascending numbers, none of them NaN."""
    result = fastbp.sigmoid(x)
    with np.errstate(over="ignore"):  # exp(-x) of the far negative: the right 0 comes out
        exact = 1 / (1 + np.exp(-x.astype(np.float64)))
    ulp = np.abs(result - exact) / np.spacing(exact.astype(np.float32)).astype(np.float64)
    if np.isnan(ulp).any():
        found.wrong.append(f"NaN from {x[np.isnan(ulp).argmax()]!r}")
        ulp = np.nan_to_num(ulp, nan=np.inf)
    worst = int(ulp.argmax())
    if ulp[worst] > found.worst_ulp:
        found.worst_ulp, found.worst_at = float(ulp[worst]), float(x[worst])
    subnormal = exact < np.finfo(np.float32).tiny
    if subnormal.any():
        found.worst_subnormal_ulp = max(found.worst_subnormal_ulp, float(ulp[subnormal].max()))
    falls = np.flatnonzero(np.diff(result, prepend=np.float32(found.previous)) < 0)
    if len(falls):
        found.wrong.append(f"falls {len(falls)} times, first at {x[falls[0]]!r}")
    if not ((result >= 0) & (result <= 1)).all():
        found.wrong.append(f"outside [0, 1] between {x[0]!r} and {x[-1]!r}")
    zeros, ones = np.flatnonzero(result == 0), np.flatnonzero(result == 1)
    if len(zeros):
        found.last_zero = max(found.last_zero, float(x[zeros[-1]]))
    if len(ones):
        found.first_one = min(found.first_one, float(x[ones[0]]))
    found.previous = float(result[-1])
    found.checked += len(x)


def check_special_values(step: int, found: Findings) -> None:
    """NaN of every payload (or every `step`-th), the zeros and the infinities."""
    for sign in (0, SIGN):
        for first in range(sign + INFINITY + 1, sign + SIGN, CHUNK * step):
            last = min(first + CHUNK * step, sign + SIGN)
            x = np.arange(first, last, step, dtype=np.int64).astype(np.uint32).view(np.float32)
            if not np.isnan(fastbp.sigmoid(x)).all():
                found.wrong.append(f"a NaN with bits from {first:#x} did not stay NaN")
            found.checked += len(x)
    exact = ((0.0, 0.5), (-0.0, 0.5), (np.inf, 1.0), (-np.inf, 0.0))
    for value, expected in exact:
        got = float(fastbp.sigmoid(np.float32(value)))
        if got != expected:
            found.wrong.append(f"sigmoid({value}) is {got!r}, not {expected!r}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="every 4096th bit pattern")
    parser.add_argument("--most", type=float, default=3.0, help="largest error allowed, in ULP")
    options = parser.parse_args()
    step = 4096 if options.quick else 1
    found = Findings()
    for x in numbers_in_order(step):
        check_chunk(x, found)
    check_special_values(step, found)
    if found.worst_ulp > options.most:
        found.wrong.append(f"an error of {found.worst_ulp:.4f} ULP is above {options.most}")
    print(f"checked {found.checked:,} of {2**32:,} bit patterns")
    print(f"largest error {found.worst_ulp:.4f} ULP at {found.worst_at!r}")
    print(f"largest error of a subnormal result {found.worst_subnormal_ulp:.4f} ULP")
    print(f"0 up to {found.last_zero!r}, 1 from {found.first_one!r}")
    for line in found.wrong:
        print(f"WRONG: {line}")
    return 1 if found.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
