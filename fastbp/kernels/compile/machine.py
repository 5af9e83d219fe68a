"""What this CPU has, and the vector width, tiles and blocks that follow from it by rule.

Everything that depends on the machine is decided here, once, when the module is imported, and
becomes a constant of the compiled code. ``tiles`` holds the rule; the numbers below it are only
its inputs. Each of them can be set to another machine's, to see here what runs there:

    FASTBP_VECTOR_BITS         128, 256 or 512; LLVM splits vectors that the CPU lacks, so that
                               every width runs everywhere
    FASTBP_VECTOR_REGISTERS    16 or 32
    FASTBP_CORES               1 or more; not how many threads are used
    FASTBP_CACHES              bytes of level 1, 2 and 3, with K or M for 1024 or 1024 x 1024, as in
                               ``32K,1M,32M``; 0 for no level 3

Results differ by rounding from one to the other, and kernels are compiled anew for each.
"""

from __future__ import annotations

import functools
import math
import os
import platform
import re
import warnings
from dataclasses import dataclass
from pathlib import Path

import llvmlite.binding as llvm
from numba.core import config

__all__ = [
    "CACHES",
    "CORES",
    "CPU_NAME",
    "VECTOR_BITS",
    "VECTOR_REGISTERS",
    "Caches",
    "Tiles",
    "tiles",
]


@dataclass(frozen=True)
class Caches:
    """Sizes of the data caches in bytes: level 1 and 2 of one core, level 3 as shared, or 0."""

    l1: int
    l2: int
    l3: int


@dataclass(frozen=True)
class Tiles:
    """Tile and block sizes of the matrix product for one element size.

    ``mr`` x ``nr`` is the tile of C held in registers, ``nr`` being ``nv`` vectors. ``row_step`` is
    the granularity of tiles with fewer rows. A block is ``kc`` deep, a panel of B ``kc`` x ``nr``;
    a thread packs blocks of up to ``a_block`` elements of the larger operand, and up to ``b_chunk``
    elements of the smaller one at a time. A product is cut along k into ``splits`` at the most.
    """

    itemsize: int
    lanes: int
    nv: int
    mr: int
    row_step: int
    nr: int
    kc: int
    a_block: int
    b_chunk: int
    splits: int

    @property
    def pw(self) -> int:
        """Rows of a panel of A packed by columns: whole tiles and whole vectors."""
        return math.lcm(self.mr, self.lanes)

    @property
    def partials(self) -> int:
        """Elements of the partial sums of a result that is not computed in its place.

        Room for eight parts of (1024, 128) at 1 MiB of level-2 cache. With half of it steps of
        12288-1024-256-1 on 16 rows took 3 % longer where the cores have no cache in common (0.5 %
        less where they have one), and float64 products of 256 x 256 x 12288 ran at 0.80 of the
        peak instead of 0.85, as they were not cut along k.
        """
        return 8 * self.b_chunk

    @property
    def strip(self) -> int:
        """Rows of A that a thread packs for itself at a time, ``kc`` deep."""
        return min(2 * self.nr, self.a_block // self.kc)


def _target() -> tuple[str, set[str]]:
    """Name and features of the CPU that Numba compiles for (it may not be the one we run on)."""
    name = config.CPU_NAME or llvm.get_host_cpu_name()
    listed = str(config.CPU_FEATURES or "").split(",")
    if not all(item.startswith(("+", "-")) for item in listed if item):
        warnings.warn(
            f"NUMBA_CPU_FEATURES must list features as +avx2,-fma; {config.CPU_FEATURES!r} is"
            " ignored, as LLVM would end the process",
            RuntimeWarning,
            stacklevel=2,
        )
        config.CPU_FEATURES = None
    if config.CPU_FEATURES is not None:
        return name, {item[1:] for item in listed if item.startswith("+")}
    if config.CPU_NAME == "generic":
        return name, set()
    try:
        host = llvm.get_host_cpu_features()
    except RuntimeError:  # LLVM cannot tell on this platform
        return name, set()
    return name, {feature for feature, present in host.items() if present}


def _told(name: str, pattern: str, wanted: str) -> str:
    """What the environment variable `name` says, which matches `pattern`; empty if it is unset."""
    text = os.environ.get(name, "")
    if text and not re.fullmatch(pattern, text):
        raise ValueError(f"{name} must be {wanted}, got {text!r}")
    return text


def _vector_bits(features: set[str]) -> int:
    told = _told("FASTBP_VECTOR_BITS", "128|256|512", "128, 256 or 512")
    if told:
        return int(told)
    if "avx512f" in features and "avx512vl" in features:
        return 512
    if "avx2" in features and "fma" in features:
        return 256
    return 128


def _vector_registers(features: set[str]) -> int:
    told = _told("FASTBP_VECTOR_REGISTERS", "16|32", "16 or 32")
    if told:
        return int(told)
    if "avx512f" in features or platform.machine().lower() in {"arm64", "aarch64"}:
        return 32
    return 16


def _cores() -> int:
    told = _told("FASTBP_CORES", "[1-9][0-9]{0,5}", "a number from 1 to 999999")
    return int(told) if told else os.cpu_count() or 1


def _caches(folder: Path) -> Caches:
    size = "[1-9][0-9]{0,8}[KM]?"
    told = _told("FASTBP_CACHES", f"{size},{size},({size}|0)", "three sizes such as 32K,1M,32M")
    if told:
        return Caches(*map(_bytes, told.split(",")))
    found = _linux_caches(folder)
    if not found:
        return Caches(l1=32 * 1024, l2=512 * 1024, l3=8 * 1024 * 1024)
    # Of these only level 3 may really be missing.
    return Caches(found.get(1) or 32 * 1024, found.get(2) or 512 * 1024, found.get(3, 0))


def _bytes(size: str) -> int:
    """The number that is written as 512, 32K or 2M."""
    unit = {"K": 1024, "M": 1024 * 1024}.get(size[-1:], 1)
    return int(size.rstrip("KM")) * unit


def _linux_caches(folder: Path) -> dict[int, int]:
    """Sizes in bytes of the data caches by their level; empty where Linux does not tell."""
    found: dict[int, int] = {}
    try:
        for index in folder.glob("index*"):
            if (index / "type").read_text().strip() != "Instruction":
                level = int((index / "level").read_text())
                found[level] = _bytes((index / "size").read_text().strip())
    except (OSError, ValueError):
        return {}
    return found


_LINUX_CACHES = Path("/sys/devices/system/cpu/cpu0/cache")

CORES = _cores()
CPU_NAME, _FEATURES = _target()
VECTOR_BITS = _vector_bits(_FEATURES)
VECTOR_REGISTERS = _vector_registers(_FEATURES)
CACHES = _caches(_LINUX_CACHES)


_DEPTH_BYTES = 2048  # of a packed row of A, see kc below


@functools.cache
def tiles(itemsize: int) -> Tiles:
    """Return the tile and block sizes for elements of ``itemsize`` bytes (4 or 8).

    The rule, after Low et al., "Analytical Modeling Is Enough for High-Performance BLIS" (2016):

    * A tile keeps mr * nv accumulators, nv vectors of B and one broadcast element of A in
      registers: mr * nv + nv + 1 <= registers. 16 registers give 6 x 2, 32 give 8 x 3 (11 loads
      for 24 multiply-adds; 6 x 4 ran alike and 12 x 2 slower on AVX-512,
      benchmarks/sweep_blocks.py). Tiles of a fraction of the rows finish ragged edges.
    * kc: long enough that the epilogue of a tile (2 mr nv loads and stores) is small beside its
      kc * mr * nv multiply-adds, short enough that a panel of B, kc * nr elements, stays near, and
      a power of two, which takes sizes that are such in whole chunks of whole blocks: on AMD's Zen
      5 products with k = 1024 ran at 0.90 of the peak with 256 instead of 0.86 with 384 (and 0.88
      with 320 or 352), in float64 at 0.86 instead of 0.81. On Zen 4 float32 ran 1 to 4 % faster
      with 512 than with 256, in float64 with 2 % less speed.
    * a_block: a thread's own packed block, of which there are two, one being packed while the
      other is
      used, is four panels of B if two such blocks take at most three fifths of the level-2 cache,
      else two. Blocks of 256 rows of B ran 3 to 7 % faster with four than with two, whose pieces of
      a matrix's rows are 384 bytes; of 512 rows, two take as much of the cache. Rows of A are long
      pieces anyway: a block of them has half.
    * b_chunk: what is packed of the smaller operand takes five eighths of the level-2 cache, from
      where it is read again for every block of the larger one. Three eighths were 2 to 6 % slower,
      and three quarters no faster.
    * splits: enough for all cores of the machine to have several, whatever number of threads is in
      use. Adding the partial sums up takes its time: 16 of (256, 128) took 3 % of the product that
      they are parts of, which with 8 was 0 to 3 % faster on two cores, in float64 3 to 8 %.
    """
    lanes = VECTOR_BITS // 8 // itemsize
    nv, mr, row_step = (3, 8, 4) if VECTOR_REGISTERS == 32 else (2, 6, 2)
    nr = nv * lanes
    kc = _DEPTH_BYTES // itemsize
    panel = nr * kc
    panels = 4 if 2 * 4 * panel * itemsize <= 0.6 * CACHES.l2 else 2
    return Tiles(
        itemsize=itemsize,
        lanes=lanes,
        nv=nv,
        mr=mr,
        row_step=row_step,
        nr=nr,
        kc=kc,
        a_block=panels * panel,
        b_chunk=max(CACHES.l2 * 5 // 8 // itemsize, kc * max(mr, nr)),
        splits=8 if CORES <= 4 else 16,
    )
