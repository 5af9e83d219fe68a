"""Sizes of object code that were recorded, from which follows how long a kernel compiles.

By ``benchmarks/object_sizes.py``, for vectors of 512 bits (Emerald Rapids) and of 256 (Haswell).
Some 15 KB compile in a second. A test compares them with those of the day, so that compile time
cannot grow unseen.
"""

from __future__ import annotations

__all__ = ["SIZES", "expected_size"]

SIZES: dict[str, tuple[int, int]] = {
    "fastbp.kernels.compile.jit:launch": (8_288, 8_280),
    "fastbp.kernels.functions.elementwise:_float32": (8_896, 8_968),
    "fastbp.kernels.functions.elementwise:_float64": (9_136, 9_312),
    "fastbp.kernels.linalg.macrokernel:_float32": (75_992, 62_288),
    "fastbp.kernels.linalg.macrokernel:_float64": (73_944, 62_896),
    "fastbp.kernels.linalg.product:_float32": (72_608, 69_248),
    "fastbp.kernels.linalg.product:_float64": (69_976, 69_480),
    "fastbp.kernels.linalg.product:run_helped": (5_448, 5_448),
    "fastbp.kernels.linalg.product:start_product": (7_496, 7_496),
    "fastbp.kernels.linalg.reader:_float32": (58_888, 54_400),
    "fastbp.kernels.linalg.reader:_float64": (51_960, 51_880),
    "fastbp.kernels.linalg.thin:_float32": (70_624, 63_192),
    "fastbp.kernels.linalg.thin:_float64": (69_656, 60_992),
    "fastbp.kernels.narrow.above:_float32": (21_472, 19_536),
    "fastbp.kernels.narrow.above:_float64": (21_960, 20_640),
    "fastbp.kernels.narrow.columns:_float32": (46_040, 43_928),
    "fastbp.kernels.narrow.columns:_float64": (46_040, 44_232),
    "fastbp.kernels.narrow.delayed:_float32": (37_600, 38_648),
    "fastbp.kernels.narrow.delayed:_float64": (37_560, 38_192),
    "fastbp.kernels.narrow.forward:_float32": (28_792, 27_968),
    "fastbp.kernels.narrow.forward:_float64": (28_416, 28_384),
    "fastbp.kernels.narrow.rows:_back_float32_of_float32": (28_520, 22_792),
    "fastbp.kernels.narrow.rows:_back_float32_of_float32_folded": (30_000, 22_160),
    "fastbp.kernels.narrow.rows:_back_float32_of_float64_folded": (34_992, 25_008),
    "fastbp.kernels.narrow.rows:_back_float32_of_uint8": (19_488, 19_192),
    "fastbp.kernels.narrow.rows:_back_float64_of_float32_folded": (29_208, 21_112),
    "fastbp.kernels.narrow.rows:_back_float64_of_float64": (28_688, 20_680),
    "fastbp.kernels.narrow.rows:_back_float64_of_float64_folded": (29_848, 20_984),
    "fastbp.kernels.narrow.rows:_back_float64_of_uint8": (19_208, 17_216),
    "fastbp.kernels.narrow.rows:_forward_float32_of_float32": (10_072, 10_464),
    "fastbp.kernels.narrow.rows:_forward_float32_of_float32_folded": (10_648, 11_488),
    "fastbp.kernels.narrow.rows:_forward_float32_of_float64_folded": (11_672, 13_216),
    "fastbp.kernels.narrow.rows:_forward_float32_of_uint8": (11_904, 23_592),
    "fastbp.kernels.narrow.rows:_forward_float64_of_float32_folded": (10_752, 11_528),
    "fastbp.kernels.narrow.rows:_forward_float64_of_float64": (9_984, 10_280),
    "fastbp.kernels.narrow.rows:_forward_float64_of_float64_folded": (10_560, 11_016),
    "fastbp.kernels.narrow.rows:_forward_float64_of_uint8": (11_728, 15_256),
    "fastbp.kernels.narrow.rows:_group_float32_of_float32": (20_192, 28_016),
    "fastbp.kernels.narrow.rows:_group_float32_of_float64": (23_328, 31_024),
    "fastbp.kernels.narrow.rows:_group_float32_of_uint8": (17_880, 54_848),
    "fastbp.kernels.narrow.rows:_group_float64_of_float32": (20_424, 26_600),
    "fastbp.kernels.narrow.rows:_group_float64_of_float64": (20_040, 25_480),
    "fastbp.kernels.narrow.rows:_group_float64_of_uint8": (17_664, 32_368),
    "fastbp.kernels.narrow.shards:_float32": (46_336, 46_032),
    "fastbp.kernels.narrow.shards:_float64": (47_144, 45_304),
    "fastbp.kernels.peaks:_peak_float32": (3_600, 3_600),
    "fastbp.kernels.peaks:_peak_float64": (3_600, 3_600),
    "fastbp.kernels.peaks:read_region": (1_520, 1_520),
    "fastbp.kernels.threads.standby:call_with": (5_232, 5_232),
    "fastbp.kernels.threads.standby:stay": (5_000, 5_000),
    "fastbp.kernels.wide.delayed:_float32": (59_600, 55_216),
    "fastbp.kernels.wide.delayed:_float64": (54_568, 51_240),
    "fastbp.kernels.wide.forward:_float32": (37_736, 36_936),
    "fastbp.kernels.wide.forward:_float64": (37_792, 37_736),
    "fastbp.kernels.wide.layers:_float32": (26_856, 26_912),
    "fastbp.kernels.wide.layers:_float64": (28_120, 27_832),
    "fastbp.kernels.wide.plain:steps": (3_344, 3_344),
    "fastbp.kernels.wide.sweep:_float32": (41_888, 41_848),
    "fastbp.kernels.wide.sweep:_float64": (41_384, 41_064),
}
"""Bytes for each kernel, by the name under which it is prepared."""

_OF_OTHERS = 20_000


def expected_size(name: str) -> int:
    """Bytes of object code of a kernel, about."""
    return SIZES[name][0] if name in SIZES else _OF_OTHERS
