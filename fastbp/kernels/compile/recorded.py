"""Sizes of object code that were recorded, from which follows how long a kernel compiles.

By ``benchmarks/object_sizes.py``, for vectors of 512 bits (Emerald Rapids) and of 256 (Haswell).
Some 15 KB compile in a second. A test compares them with those of the day, so that compile time
cannot grow unseen.
"""

from __future__ import annotations

__all__ = ["SIZES", "expected_size"]

SIZES: dict[str, tuple[int, int]] = {
    "fastbp.kernels.compile.jit:launch": (8_280, 8_280),
    "fastbp.kernels.functions.elementwise:_float32": (22_784, 21_160),
    "fastbp.kernels.functions.elementwise:_float64": (24_328, 24_328),
    "fastbp.kernels.functions.layers:_float32": (33_192, 31_240),
    "fastbp.kernels.functions.layers:_float64": (37_448, 35_952),
    "fastbp.kernels.functions.outputs:_float32": (18_224, 18_192),
    "fastbp.kernels.functions.outputs:_float64": (20_392, 21_032),
    "fastbp.kernels.functions.softmax:_float32": (9_936, 10_056),
    "fastbp.kernels.functions.softmax:_float64": (9_696, 10_384),
    "fastbp.kernels.functions.updates:_float32": (18_528, 13_448),
    "fastbp.kernels.functions.updates:_float64": (17_528, 12_760),
    "fastbp.kernels.linalg.epilogue:_float32": (13_512, 12_456),
    "fastbp.kernels.linalg.epilogue:_float64": (12_904, 12_320),
    "fastbp.kernels.linalg.macrokernel:_float32": (49_248, 42_784),
    "fastbp.kernels.linalg.macrokernel:_float64": (48_992, 42_728),
    "fastbp.kernels.linalg.product:_float32": (42_912, 42_816),
    "fastbp.kernels.linalg.product:_float64": (42_800, 42_736),
    "fastbp.kernels.linalg.product:run_helped": (5_448, 5_448),
    "fastbp.kernels.linalg.product:start_product": (7_760, 7_776),
    "fastbp.kernels.linalg.reader:_copy_float32": (16_136, 14_512),
    "fastbp.kernels.linalg.reader:_copy_float64": (14_584, 15_392),
    "fastbp.kernels.linalg.reader:_float32_of_float32": (21_128, 19_240),
    "fastbp.kernels.linalg.reader:_float32_of_float64": (22_920, 19_696),
    "fastbp.kernels.linalg.reader:_float32_of_uint8": (21_600, 22_152),
    "fastbp.kernels.linalg.reader:_float64_of_float32": (19_864, 19_544),
    "fastbp.kernels.linalg.reader:_float64_of_float64": (19_288, 19_736),
    "fastbp.kernels.linalg.reader:_float64_of_uint8": (19_568, 19_192),
    "fastbp.kernels.linalg.split_k:_float32": (31_336, 31_184),
    "fastbp.kernels.linalg.split_k:_float64": (31_032, 30_632),
    "fastbp.kernels.linalg.thin:_float32": (55_176, 49_856),
    "fastbp.kernels.linalg.thin:_float64": (54_528, 46_616),
    "fastbp.kernels.narrow.above:_float32": (26_808, 24_936),
    "fastbp.kernels.narrow.above:_float64": (27_456, 25_976),
    "fastbp.kernels.narrow.columns:_float32": (48_720, 46_808),
    "fastbp.kernels.narrow.columns:_float64": (48_528, 46_880),
    "fastbp.kernels.narrow.delayed:_float32": (37_160, 37_904),
    "fastbp.kernels.narrow.delayed:_float64": (36_768, 37_336),
    "fastbp.kernels.narrow.forward:_float32": (33_824, 32_800),
    "fastbp.kernels.narrow.forward:_float64": (33_840, 33_296),
    "fastbp.kernels.narrow.optimize:_float32": (17_200, 15_048),
    "fastbp.kernels.narrow.optimize:_float64": (16_408, 14_560),
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
    "fastbp.kernels.narrow.shards:_float32": (51_048, 50_632),
    "fastbp.kernels.narrow.shards:_float64": (51_640, 50_048),
    "fastbp.kernels.peaks:_peak_float32": (3_608, 3_160),
    "fastbp.kernels.peaks:_peak_float64": (3_608, 3_160),
    "fastbp.kernels.peaks:read_region": (1_520, 1_472),
    "fastbp.kernels.small.rows:_float32": (42_584, 33_664),
    "fastbp.kernels.small.rows:_float64": (43_392, 35_232),
    "fastbp.kernels.small.steps:_float32": (28_600, 26_624),
    "fastbp.kernels.small.steps:_float64": (28_768, 28_368),
    "fastbp.kernels.threads.standby:call_with": (5_232, 5_232),
    "fastbp.kernels.threads.standby:stay": (5_000, 5_000),
    "fastbp.kernels.wide.delayed:_float32": (47_568, 45_648),
    "fastbp.kernels.wide.delayed:_float64": (46_488, 43_224),
    "fastbp.kernels.wide.forward:_float32": (33_560, 33_808),
    "fastbp.kernels.wide.forward:_float64": (33_920, 34_024),
    "fastbp.kernels.wide.gather:_float32": (13_224, 13_136),
    "fastbp.kernels.wide.gather:_float64": (13_160, 13_136),
    "fastbp.kernels.wide.layers:_float32": (39_064, 40_112),
    "fastbp.kernels.wide.layers:_float64": (48_448, 39_880),
    "fastbp.kernels.wide.optimize:_float32": (29_912, 29_376),
    "fastbp.kernels.wide.optimize:_float64": (29_224, 28_752),
    "fastbp.kernels.wide.plain:steps": (2_960, 2_960),
    "fastbp.kernels.wide.sweep:_float32": (43_760, 45_192),
    "fastbp.kernels.wide.sweep:_float64": (43_976, 44_184),
}
"""Bytes for each kernel, by the name under which it is prepared."""

_OF_OTHERS = 20_000


def expected_size(name: str) -> int:
    """Bytes of object code of a kernel, about."""
    return SIZES[name][0] if name in SIZES else _OF_OTHERS
