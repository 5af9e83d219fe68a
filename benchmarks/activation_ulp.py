"""Every float32 there is, through every activation and slope: the largest error, and the order.

    python benchmarks/activation_ulp.py               # all 2^32 bit patterns: 10 to 80 s each
    python benchmarks/activation_ulp.py --quick       # one of 4096: seconds
    python benchmarks/activation_ulp.py tanh gelu     # some of them only

Compared with the same function of float64, the yardstick. How far that is off is looked at first,
by long double's formulas in ``tests/exact.py``: of every `SAMPLED`-th float32, and of float64s in
a row where the functions bend (``--quick``: of these only). One ULP is the distance from the
float32 nearest to the exact value to the next larger one; among subnormal results it is 2^-149.
Checked besides: NaN stays NaN, every finite number gives a finite one, and, where ``RISE_FROM``
says so, a larger input never gives a smaller result. Of slopes that are computed from activations,
all activations there can be are looked at, see ``DOMAINS``.

All 2^32 on a Zen 4, largest errors in ULP: identity 0.0000, sigmoid 1.5526, sigmoid_slope 1.4998,
tanh 1.9429, tanh_slope 1.4999, relu 0.0000, relu_slope 0.0000, leaky_relu 0.8400, leaky_relu_slope
0.2400, elu 0.8720, elu_slope 0.5000, softplus 1.5072, softplus_slope 0.8720, gelu 4.3746,
gelu_slope 4.1806, silu 1.7141, silu_slope 5.2016, sigmoid_derivative and tanh_derivative 4.2167,
elu_derivative 1.0593. The yardstick was within 7e-7 ULP.

Prints what was found; exit code 1 if an error is above ``MOST_ULP`` or anything else is wrong.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numba
import numpy as np
import numpy.typing as npt

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import fastbp
from fastbp.kernels.functions import layers
from fastbp.kernels.functions.activations import (
    ACTIVATION_CODES,
    MOST_ULP,
    RISE_FROM,
    STORED_SLOPES,
)
from tests import exact, strips

Array = npt.NDArray[Any]

CHUNK = 1 << 15  # bit patterns at a time: the arrays of them stay in the level-2 cache
BLOCK = 1 << 10  # results that are looked at one by one if there may be something new
SAMPLED = 61
WORST_YARDSTICK = 1e-6  # ULP of float32: whatever is found below is true to as much
INFINITY = 0x7F80_0000  # bits of +infinity: larger patterns without the sign are NaN
SIGN = 0x8000_0000
# The activations that slopes are computed from; for all other functions, all numbers.
DOMAINS = {
    "sigmoid_slope": (0.0, 1.0),
    "tanh_slope": (-1.0, 1.0),
    "elu_slope": (-1.0, np.inf),
    "softplus_slope": (0.0, np.inf),
}
# Those that are neither a slope nor another function.
DERIVATIVES = ("sigmoid_derivative", "tanh_derivative", "elu_derivative")
BENDS = (1e-300, 1e-38, 1e-3, 0.25, 0.5, 0.7517916, 1, 1.2784645, 2, 3, 4, 13, 15, 26, 38, 88, 103)


class Results(NamedTuple):
    """What a function gives, and what its ULP are of, unless that is the result itself."""

    values: Array
    factor: Array | None = None


Function = Callable[[Array], Results]


@dataclass
class Findings:
    """The worst so far, and what is wrong."""

    worst_ulp: float = 0.0
    worst_at: float = 0.0
    yardstick_ulp: float = 0.0
    checked: int = 0
    last_fall: float = -np.inf
    previous: float = -np.inf
    wrong: list[str] = field(default_factory=list)


class Calls:
    """Calls of the region of one function, in memory that lies ready: no more than CHUNK numbers.

    Results stay there until the next call with numbers of the same dtype.
    """

    def __init__(self, name: str, what: int, *, stored: bool = False) -> None:
        self.code = ACTIVATION_CODES[name]
        self.what = what
        self.stored = stored  # whether the slope is what is asked for
        self.prepared: dict[tuple[str, int], tuple[Array, Array, Array]] = {}

    def _prepare(self, dtype: str, count: int) -> tuple[Array, Array, Array]:
        c, beside = np.ones((2, 1, count), dtype)
        told = {"code": self.code, "ld": count}
        if self.what == layers.BACK:
            told["other"] = strips.address(beside)
        elif self.stored:
            told["second"] = strips.address(beside)
        return c, beside, strips.words_of_strip(c, **told)

    def __call__(self, x: Array) -> Results:
        key = str(x.dtype), len(x)
        if key not in self.prepared:
            self.prepared[key] = self._prepare(*key)
        c, beside, words = self.prepared[key]
        c[0] = 1.0 if self.what == layers.BACK else x
        beside[0] = x
        layers.regions[key[0]].serial(strips.address(words), self.what)
        if not self.stored:
            return Results(c[0])
        if x.dtype == np.float32:
            return Results(beside[0])
        with np.errstate(all="ignore"):  # 0 / 0 and infinities: passed over
            return Results(beside[0], c[0] / x)  # the value's factor of x: see MOST_ULP


def functions() -> dict[str, Function]:
    """What training calls, of vectors of float32 or float64, by name; and other derivatives."""
    found: dict[str, Function] = {}
    for name, code in ACTIVATION_CODES.items():
        found[name] = Calls(name, layers.FORWARD)
        if code in STORED_SLOPES:
            found[f"{name}_slope"] = Calls(name, layers.FORWARD, stored=True)
        elif name != "identity":
            found[f"{name}_slope"] = Calls(name, layers.BACK)
    for name in DERIVATIVES:
        found[name] = lambda x, name=name: Results(getattr(fastbp, name)(x))
    return found


def numbers_in_order(step: int) -> Iterator[Array]:
    """All float32 that are not NaN, from -infinity to +infinity, or every `step`-th."""
    # Among negative numbers, larger bits are smaller numbers; -0 comes before +0.
    offsets = np.arange(CHUNK, dtype=np.uint32) * np.uint32(step)
    for first in range(0, INFINITY + 1, CHUNK * step):
        count = min(CHUNK, -(-(INFINITY + 1 - first) // step))
        yield (np.uint32(SIGN + INFINITY - first) - offsets[:count]).view(np.float32)
    for first in range(0, INFINITY + 1, CHUNK * step):
        count = min(CHUNK, -(-(INFINITY + 1 - first) // step))
        yield (np.uint32(first) + offsets[:count]).view(np.float32)


def numbers_in_domain(name: str, step: int) -> Iterator[Array]:
    """Those of them that a function is meant for."""
    lowest, highest = DOMAINS.get(name, (-np.inf, np.inf))
    for x in numbers_in_order(step):
        first, last = np.searchsorted(x, lowest), np.searchsorted(x, highest, side="right")
        if first < last:
            yield x[first:last]


# ------------------------------------------------------------------ the yardstick


def edges(name: str) -> Array:
    """Numbers of float64 in a row, on both sides of where a function bends, is 0, 1 or x."""
    lowest, highest = DOMAINS.get(name, (-np.inf, np.inf))
    rows = [np.array(bend).view(np.int64) + np.arange(-1000, 1000) for bend in BENDS]
    x = np.concatenate(rows).view(np.float64)
    x = np.concatenate([-x, x])
    return x[(x >= lowest) & (x <= highest)]


def yardstick_error(name: str, x: Array, results: Results) -> float:
    """How far the function of float64 is off, in ULP of float32, at the most."""
    value = exact.exact(name, x)
    size = np.abs(value)
    if results.factor is not None:
        size = np.fmax(size, np.abs(results.factor))
    with np.errstate(all="ignore"):  # infinities, whose difference and ULP are NaN
        ulp = np.spacing(np.minimum(size, np.finfo(np.float32).max).astype(np.float32))
        error = np.abs(results.values - value) / ulp
    error[results.values == value] = 0
    return float(error.max())


def check_yardstick(name: str, function: Function, quick: bool, found: Findings) -> None:
    """Compare float64's results with those of long double."""
    if not exact.HAS_LONG_DOUBLE:
        found.wrong.append("there is no long double here to check the yardstick with")
        return
    samples = [edges(name)]
    if not quick:
        samples = [*samples, *(x.astype(float) for x in numbers_in_domain(name, SAMPLED))]
    for x in samples:
        error = yardstick_error(name, x, function(x))
        found.yardstick_ulp = max(error, found.yardstick_ulp)
    if not found.yardstick_ulp <= WORST_YARDSTICK:
        found.wrong.append(f"the yardstick is off by {found.yardstick_ulp:.2g} ULP")


# ------------------------------------------------------------------ the comparison


@numba.njit(nogil=True, error_model="numpy")  # type: ignore[untyped-decorator]
def count_news(
    result: Array, wanted: Array, size: Array, ulp: Array, worst: float, rises: bool
) -> int:
    """How many results may be worse than any before, below the one before, or no numbers.

    ``ulp`` gets the ULP of ``size``. In a loop of integers' sums that LLVM makes vectors of.
    """
    nearest = size.astype(np.float32)
    above = (nearest.view(np.int32) + np.int32(1)).view(np.float32)
    news = 0
    for i in range(len(result)):
        ulp[i] = np.float64(above[i]) - np.float64(nearest[i])
        news += not abs(result[i] - wanted[i]) <= worst * ulp[i]
    if rises:
        for i in range(1, len(result)):
            news += result[i] < result[i - 1]
    return news


@numba.njit(nogil=True, error_model="numpy")  # type: ignore[untyped-decorator]
def compare(
    x: Array, result: Array, wanted: Array, size: Array, worst: float, previous: float, rises: bool
) -> tuple[float, int, int, int, int]:
    """Compare ascending numbers' results with float64's; ``size`` is of what the ULP are.

    Returns the largest error in ULP, or ``worst`` if that is larger, and the indices of: that
    error; a result that is NaN; one that is infinite for a finite number; the last one that is
    below the one before, where that is to be looked for. They are -1 where there is none.
    """
    ulp = np.empty(BLOCK)
    worst_at, nan_at, infinite_at, last_fall = -1, -1, -1, -1
    for begin in range(0, len(x), BLOCK):
        end = min(begin + BLOCK, len(x))
        news = count_news(result[begin:end], wanted[begin:end], size[begin:end], ulp, worst, rises)
        if rises and result[begin] < previous:
            last_fall = begin
        previous = result[end - 1]
        if news == 0:
            continue
        for i in range(begin, end):
            r = result[i]
            if not np.isfinite(r) and np.isfinite(x[i]):
                infinite_at = i
            if rises and i > begin and r < result[i - 1]:
                last_fall = i
            error = abs(r - wanted[i])
            if r != wanted[i] and not error <= worst * ulp[i - begin]:
                if error >= 0 and ulp[i - begin] > 0:
                    worst, worst_at = error / ulp[i - begin], i
                else:
                    nan_at = i
    return worst, worst_at, nan_at, infinite_at, last_fall


def check_chunk(function: Function, x: Array, found: Findings, *, rises: bool) -> None:
    """Look at ascending numbers, none of them NaN."""
    result, (wanted, factor) = function(x).values, function(x.astype(np.float64))
    size = np.abs(wanted)
    if factor is not None:
        size = np.fmax(size, np.abs(factor))
    found.worst_ulp, worst_at, nan_at, infinite_at, last_fall = compare(
        x, result, wanted, size, found.worst_ulp, found.previous, rises
    )
    if infinite_at >= 0:
        found.wrong.append(f"not finite for {x[infinite_at]!r}")
    if nan_at >= 0:
        found.wrong.append(f"NaN from {x[nan_at]!r}")
    if worst_at >= 0:
        found.worst_at = float(x[worst_at])
    if last_fall >= 0:
        found.last_fall = float(x[last_fall])
    found.previous = float(result[-1])
    found.checked += len(x)


def check_nan(function: Function, step: int, found: Findings) -> None:
    """Look at the bit patterns that are no numbers."""
    for sign in (0, SIGN):
        for first in range(INFINITY + 1, SIGN, CHUNK * step):
            bits = np.arange(first, min(first + CHUNK * step, SIGN), step, dtype=np.int64) + sign
            if not np.isnan(function(bits.astype(np.uint32).view(np.float32)).values).all():
                found.wrong.append("a NaN does not stay NaN")
            found.checked += len(bits)


def check(name: str, function: Function, quick: bool) -> Findings:
    """Look at one function."""
    found = Findings()
    step = 4096 if quick else 1
    check_yardstick(name, function, quick, found)
    for x in numbers_in_domain(name, step):
        check_chunk(function, x, found, rises=name in RISE_FROM)
    check_nan(function, step, found)
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
    unknown = set(options.names) - set(functions())
    if unknown:
        parser.error(f"no such function: {', '.join(sorted(unknown))}; {', '.join(functions())}")
    failed = False
    fastbp.set_num_threads(1)
    for name, function in functions().items():
        if options.names and name not in options.names:
            continue
        begin = time.process_time()
        found = check(name, function, options.quick)
        order = f", last fall at {found.last_fall!r}" if found.last_fall > -np.inf else ""
        print(
            f"{name}: {found.worst_ulp:.4f} ULP at {found.worst_at!r}{order}; "
            f"{found.checked:,} numbers, yardstick within {found.yardstick_ulp:.1e} ULP, "
            f"{time.process_time() - begin:.0f} s of CPU time",
            flush=True,
        )
        for line in dict.fromkeys(found.wrong):
            print(f"WRONG: {line}", flush=True)
        failed |= bool(found.wrong)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
