"""Sizes of object code that are recorded (fastbp.kernels.compile.recorded)."""

import pytest

from benchmarks.object_sizes import kernels, size
from fastbp.kernels.compile import machine
from fastbp.kernels.compile.recorded import SIZES, expected_size

COLUMNS = {512: 0, 256: 1}
# CPUs of the same vectors differ in what LLVM unrolls: by up to 6 % between those tried.
ALLOWED = 1.25


def test_every_kernel_has_a_recorded_size():
    assert sorted(SIZES) == sorted(kernels())


@pytest.mark.skipif(machine.VECTOR_BITS not in COLUMNS, reason="such sizes are not recorded")
@pytest.mark.parametrize("name", sorted(SIZES))
def test_object_code_is_as_large_as_was_recorded(name):
    recorded = SIZES[name][COLUMNS[machine.VECTOR_BITS]]
    found = size(kernels()[name])
    assert recorded / ALLOWED < found < recorded * ALLOWED, (
        f"{name} has {found} bytes of object code, and {recorded} are recorded: if that is meant,"
        " run benchmarks/object_sizes.py and bring fastbp/kernels/compile/recorded.py up to date"
    )


def test_what_is_not_recorded_has_a_size_all_the_same():
    assert expected_size("no such kernel") > 0
