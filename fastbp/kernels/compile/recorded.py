"""Sizes of object code that were recorded, from which follows how long a kernel compiles.

By ``benchmarks/object_sizes.py``, for vectors of 512 bits (Zen 4) and of 256 (Haswell). Some 18 KB
compile in a second. A test compares them with those of the day, so that compile time
cannot grow unseen.
"""

from __future__ import annotations

__all__ = ["SIZES", "expected_size"]

SIZES: dict[str, tuple[int, int]] = {
    "fastbp.kernels.compile.jit:launch": (8_280, 8_280),
    "fastbp.kernels.functions.elementwise:_float32": (14_464, 10_296),
    "fastbp.kernels.functions.elementwise:_float64": (16_968, 13_112),
    "fastbp.kernels.functions.layers:_float32": (20_976, 17_440),
    "fastbp.kernels.functions.layers:_float64": (24_816, 22_024),
    "fastbp.kernels.functions.outputs:_float32": (10_272, 8_488),
    "fastbp.kernels.functions.outputs:_float64": (12_464, 10_760),
    "fastbp.kernels.functions.softmax:_float32": (4_920, 4_184),
    "fastbp.kernels.functions.softmax:_float64": (5_296, 4_544),
    "fastbp.kernels.functions.updates:_float32": (13_400, 8_496),
    "fastbp.kernels.functions.updates:_float64": (12_640, 8_152),
    "fastbp.kernels.linalg.epilogue:_float32": (10_432, 7_672),
    "fastbp.kernels.linalg.epilogue:_float64": (11_528, 8_624),
    "fastbp.kernels.linalg.macrokernel:_float32": (41_608, 30_880),
    "fastbp.kernels.linalg.macrokernel:_float64": (41_120, 31_864),
    "fastbp.kernels.linalg.product:_float32": (20_072, 20_600),
    "fastbp.kernels.linalg.product:_float64": (20_104, 20_504),
    "fastbp.kernels.linalg.product:run_helped": (5_448, 5_448),
    "fastbp.kernels.linalg.product:start_product": (7_760, 7_760),
    "fastbp.kernels.linalg.reader:_copy_float32": (10_928, 8_464),
    "fastbp.kernels.linalg.reader:_copy_float64": (11_664, 10_432),
    "fastbp.kernels.linalg.reader:_float32_of_float32": (15_440, 12_512),
    "fastbp.kernels.linalg.reader:_float32_of_float64": (18_056, 13_744),
    "fastbp.kernels.linalg.reader:_float32_of_uint8": (15_712, 13_312),
    "fastbp.kernels.linalg.reader:_float64_of_float32": (14_672, 13_256),
    "fastbp.kernels.linalg.reader:_float64_of_float64": (16_064, 14_712),
    "fastbp.kernels.linalg.reader:_float64_of_uint8": (14_592, 13_136),
    "fastbp.kernels.linalg.split_k:_float32": (14_432, 13_808),
    "fastbp.kernels.linalg.split_k:_float64": (14_032, 13_672),
    "fastbp.kernels.linalg.thin:_float32": (56_616, 47_456),
    "fastbp.kernels.linalg.thin:_float64": (55_272, 47_888),
    "fastbp.kernels.narrow.above:_float32": (15_576, 13_048),
    "fastbp.kernels.narrow.above:_float64": (16_232, 13_768),
    "fastbp.kernels.narrow.columns:_float32": (30_392, 26_584),
    "fastbp.kernels.narrow.columns:_float64": (30_136, 26_232),
    "fastbp.kernels.narrow.delayed:_float32": (20_872, 19_304),
    "fastbp.kernels.narrow.delayed:_float64": (20_496, 19_136),
    "fastbp.kernels.narrow.forward:_float32": (26_680, 22_672),
    "fastbp.kernels.narrow.forward:_float64": (27_432, 22_088),
    "fastbp.kernels.narrow.optimize:_float32": (8_072, 7_416),
    "fastbp.kernels.narrow.optimize:_float64": (7_632, 10_040),
    "fastbp.kernels.narrow.rows:_back_float32_of_float32": (26_488, 21_424),
    "fastbp.kernels.narrow.rows:_back_float32_of_float32_folded": (27_832, 22_256),
    "fastbp.kernels.narrow.rows:_back_float32_of_float64_folded": (34_696, 24_176),
    "fastbp.kernels.narrow.rows:_back_float32_of_uint8": (17_400, 12_960),
    "fastbp.kernels.narrow.rows:_back_float64_of_float32_folded": (28_128, 21_672),
    "fastbp.kernels.narrow.rows:_back_float64_of_float64": (25_856, 21_560),
    "fastbp.kernels.narrow.rows:_back_float64_of_float64_folded": (28_160, 22_216),
    "fastbp.kernels.narrow.rows:_back_float64_of_uint8": (16_752, 13_040),
    "fastbp.kernels.narrow.rows:_forward_float32_of_float32": (7_680, 6_120),
    "fastbp.kernels.narrow.rows:_forward_float32_of_float32_folded": (8_560, 6_392),
    "fastbp.kernels.narrow.rows:_forward_float32_of_float64_folded": (9_984, 6_696),
    "fastbp.kernels.narrow.rows:_forward_float32_of_uint8": (8_760, 6_280),
    "fastbp.kernels.narrow.rows:_forward_float64_of_float32_folded": (8_616, 6_656),
    "fastbp.kernels.narrow.rows:_forward_float64_of_float64": (7_560, 6_048),
    "fastbp.kernels.narrow.rows:_forward_float64_of_float64_folded": (8_424, 6_560),
    "fastbp.kernels.narrow.rows:_forward_float64_of_uint8": (8_248, 6_320),
    "fastbp.kernels.narrow.rows:_group_float32_of_float32": (16_464, 16_376),
    "fastbp.kernels.narrow.rows:_group_float32_of_float64": (19_696, 16_616),
    "fastbp.kernels.narrow.rows:_group_float32_of_uint8": (14_328, 13_696),
    "fastbp.kernels.narrow.rows:_group_float64_of_float32": (16_792, 16_208),
    "fastbp.kernels.narrow.rows:_group_float64_of_float64": (16_408, 16_192),
    "fastbp.kernels.narrow.rows:_group_float64_of_uint8": (13_888, 13_928),
    "fastbp.kernels.narrow.shards:_float32": (40_560, 34_976),
    "fastbp.kernels.narrow.shards:_float64": (39_552, 35_152),
    "fastbp.kernels.peaks:_peak_float32": (2_248, 1_624),
    "fastbp.kernels.peaks:_peak_float64": (2_248, 1_624),
    "fastbp.kernels.peaks:read_region": (1_680, 1_472),
    "fastbp.kernels.threads.standby:call_with": (5_216, 5_216),
    "fastbp.kernels.threads.standby:stay": (5_000, 5_000),
    "fastbp.kernels.wide.delayed:_float32": (42_928, 35_128),
    "fastbp.kernels.wide.delayed:_float64": (40_304, 35_208),
    "fastbp.kernels.wide.forward:_float32": (23_360, 18_776),
    "fastbp.kernels.wide.forward:_float64": (22_256, 19_432),
    "fastbp.kernels.wide.gather:_float32": (5_480, 4_968),
    "fastbp.kernels.wide.gather:_float64": (5_368, 4_864),
    "fastbp.kernels.wide.layers:_float32": (20_016, 27_752),
    "fastbp.kernels.wide.layers:_float64": (28_336, 21_904),
    "fastbp.kernels.wide.optimize:_float32": (12_608, 11_840),
    "fastbp.kernels.wide.optimize:_float64": (12_080, 11_848),
    "fastbp.kernels.wide.plain:steps": (1_520, 1_520),
    "fastbp.kernels.wide.sweep:_float32": (35_584, 31_088),
    "fastbp.kernels.wide.sweep:_float64": (34_256, 31_736),
}
"""Bytes for each kernel, by the name under which it is prepared."""

_OF_OTHERS = 20_000


def expected_size(name: str) -> int:
    """Bytes of object code of a kernel, about."""
    return SIZES[name][0] if name in SIZES else _OF_OTHERS
