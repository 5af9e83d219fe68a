"""Every float32 there is, through every activation and slope: the largest error, and the order.

    python benchmarks/activation_ulp.py               # all 2^32 bit patterns: minutes for each
    python benchmarks/activation_ulp.py --quick       # one of 4096: seconds
    python benchmarks/activation_ulp.py tanh gelu     # some of them only

Compared with the same function of float64, whose own error is 2^-26 of a float32's ULP or less
(``tests/test_activations.py`` holds that against long double). One ULP is the distance from the
float32 nearest to the exact value to the next larger one; among subnormal results it is 2^-149.
Checked besides: NaN stays NaN, every finite number gives a finite one, and, where ``RISE_FROM``
says so, a larger input never gives a smaller result.

Prints what was found; exit code 1 if an error is above ``MOST_ULP`` or anything else is wrong.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from fastbp.kernels.functions.activations import (
    ACTIVATION_CODES,
    MOST_ULP,
    RISE_FROM,
    STORED_SLOPES,
)
from tests import strips

CHUNK = 1 << 20  # bit patterns at a time: some arrays of them stay in the level-2 cache or near
INFINITY = 0x7F80_0000  # bits of +infinity: larger patterns without the sign are NaN
SIGN = 0x8000_0000
# The activations that slopes are computed from; for all other functions, all numbers.
DOMAINS = {
    "sigmoid_slope": (0.0, 1.0),
    "tanh_slope": (-1.0, 1.0),
    "elu_slope": (-1.0, np.inf),
    "softplus_slope": (0.0, np.inf),
}


@dataclass
class Findings:
    """The worst so far, and what is wrong."""

    worst_ulp: float = 0.0
    worst_at: float = 0.0
    checked: int = 0
    falls: int = 0
    last_fall: float = -np.inf
    previous: float = -np.inf
    wrong: list[str] = field(default_factory=list)


def functions() -> dict[str, Callable[[np.ndarray], np.ndarray]]:
    """What training calls, of vectors of float32 or float64, by name."""
    found: dict[str, Callable[[np.ndarray], np.ndarray]] = {}
    for name, code in ACTIVATION_CODES.items():
        found[name] = lambda x, name=name: strips.values(name, x)
        if code in STORED_SLOPES:
            found[f"{name}_slope"] = lambda x, name=name: strips.slopes(name, x)
        elif name != "identity":
            found[f"{name}_slope"] = lambda a, name=name: strips.slopes_from(name, a)
    return found


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


def check_chunk(
    name: str, function: Callable[[np.ndarray], np.ndarray], x: np.ndarray, found: Findings
) -> None:
    """Look at ascending numbers, none of them NaN."""
    result, exact = function(x), function(x.astype(np.float64))
    if not np.isfinite(result[np.isfinite(x)]).all():
        found.wrong.append(f"not finite between {x[0]!r} and {x[-1]!r}")
    size = np.abs(exact)
    with np.errstate(all="ignore"):  # infinities, and 0 / 0: passed over
        if name in ("gelu_slope", "silu_slope"):  # see MOST_ULP
            share = strips.values(name.removesuffix("_slope"), x.astype(np.float64)) / x
            size = np.fmax(size, np.abs(share))
        ulp = np.abs(result - exact) / np.spacing(size.astype(np.float32)).astype(np.float64)
    ulp[result == exact] = 0  # infinities too
    if np.isnan(ulp).any():
        found.wrong.append(f"NaN from {x[np.isnan(ulp).argmax()]!r}")
    worst = int(np.nan_to_num(ulp).argmax())
    if ulp[worst] > found.worst_ulp:
        found.worst_ulp, found.worst_at = float(ulp[worst]), float(x[worst])
    falls = np.flatnonzero(np.diff(result, prepend=np.float32(found.previous)) < 0)
    if len(falls):
        found.falls += len(falls)
        found.last_fall = float(x[falls[-1]])
    found.previous = float(result[-1])
    found.checked += len(x)


def check(name: str, function: Callable[[np.ndarray], np.ndarray], step: int) -> Findings:
    """Look at one function."""
    found = Findings()
    lowest, highest = DOMAINS.get(name, (-np.inf, np.inf))
    for x in numbers_in_order(step):
        inside = x[(x >= lowest) & (x <= highest)]
        if len(inside):
            check_chunk(name, function, inside, found)
    for first in (INFINITY + 1, SIGN + INFINITY + 1):
        bits = np.arange(first, first - INFINITY + (SIGN - 1), max(step, 64), dtype=np.int64)
        if not np.isnan(function(bits.astype(np.uint32).view(np.float32))).all():
            found.wrong.append("a NaN does not stay NaN")
    if found.worst_ulp > MOST_ULP[name]:
        found.wrong.append(f"the error is above {MOST_ULP[name]} ULP")
    if found.last_fall > RISE_FROM.get(name, np.inf):
        found.wrong.append(f"falls at {found.last_fall!r}")
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="function", help=", ".join(functions()))
    parser.add_argument("--quick", action="store_true", help="every 4096th bit pattern")
    options = parser.parse_args()
    failed = False
    for name, function in functions().items():
        if options.names and name not in options.names:
            continue
        found = check(name, function, 4096 if options.quick else 1)
        order = f", last fall at {found.last_fall!r}" if found.falls else ""
        print(
            f"{name}: {found.worst_ulp:.4f} ULP at {found.worst_at!r}, "
            f"{found.checked:,} numbers{order}",
            flush=True,
        )
        for line in found.wrong:
            print(f"WRONG: {line}", flush=True)
        failed |= bool(found.wrong)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
