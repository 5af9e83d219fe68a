"""What the machine has, as it is found and as it is told (fastbp.kernels.compile.machine)."""

from __future__ import annotations

import pytest

from fastbp.kernels.compile import machine
from fastbp.kernels.compile.cache import _fingerprint
from tests.processes import run_python


def linux_caches(folder, *caches):
    """Write what Linux says of caches: level, type and size of each."""
    for number, cache in enumerate(caches):
        index = folder / f"index{number}"
        index.mkdir()
        for name, value in zip(("level", "type", "size"), cache, strict=True):
            (index / name).write_text(f"{value}\n")


# ------------------------------------------------------------------ told


def test_every_fact_can_be_told():
    printed = run_python(
        "from fastbp.kernels.compile.machine import *\n"
        "print(VECTOR_BITS, VECTOR_REGISTERS, CORES, CACHES.l1, CACHES.l2, CACHES.l3)",
        FASTBP_VECTOR_BITS="256",
        FASTBP_VECTOR_REGISTERS="16",
        FASTBP_CORES="64",
        FASTBP_CACHES="48K,2M,260M",
    )
    assert printed == f"256 16 64 {48 << 10} {2 << 20} {260 << 20}\n"


@pytest.mark.parametrize(
    ("text", "expected"),
    [("32K,256K,0", (32 << 10, 256 << 10, 0)), ("1024,4M,999", (1024, 4 << 20, 999))],
)
def test_sizes_of_caches_in_any_unit(monkeypatch, text, expected):
    monkeypatch.setenv("FASTBP_CACHES", text)
    assert machine._caches(machine._LINUX_CACHES) == machine.Caches(*expected)


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("FASTBP_VECTOR_BITS", "64", "128, 256 or 512"),
        ("FASTBP_VECTOR_REGISTERS", "8", "16 or 32"),
        ("FASTBP_VECTOR_REGISTERS", "many", "16 or 32"),
        ("FASTBP_CORES", "0", "a number from 1 to 999999"),
        ("FASTBP_CORES", "-1", "a number from 1 to 999999"),
        ("FASTBP_CORES", "1" * 5000, "a number from 1 to 999999"),
        ("FASTBP_CACHES", "2M", "three sizes such as 32K,1M,32M"),
        ("FASTBP_CACHES", "32K,0,32M", "three sizes such as 32K,1M,32M"),
        ("FASTBP_CACHES", "32k,1M,32M", "three sizes such as 32K,1M,32M"),
        ("FASTBP_CACHES", "32K,1M,1e9", "three sizes such as 32K,1M,32M"),
    ],
)
def test_a_fact_that_cannot_be_is_refused_by_name(monkeypatch, name, value, expected):
    read = {
        "FASTBP_VECTOR_BITS": lambda: machine._vector_bits(set()),
        "FASTBP_VECTOR_REGISTERS": lambda: machine._vector_registers(set()),
        "FASTBP_CORES": machine._cores,
        "FASTBP_CACHES": lambda: machine._caches(machine._LINUX_CACHES),
    }
    monkeypatch.setenv(name, value)
    with pytest.raises(ValueError, match=f"^{name} must be {expected}, got {value!r}$"):
        read[name]()


def test_kernels_of_machines_that_differ_are_kept_apart(monkeypatch):
    monkeypatch.setattr(machine, "tiles", machine.tiles.__wrapped__)  # computed, not remembered
    found = [_fingerprint.__wrapped__()]
    for name, other in [
        ("VECTOR_BITS", 64),
        ("VECTOR_REGISTERS", 8),
        ("CORES", machine.CORES + 1),
        ("CACHES", machine.Caches(32 << 10, 3 << 20, 0)),
    ]:
        with monkeypatch.context() as patch:
            patch.setattr(machine, name, other)
            found.append(_fingerprint.__wrapped__())
    assert len(set(found)) == len(found)


# ------------------------------------------------------------------ found


def test_caches_as_linux_tells_them(tmp_path, monkeypatch):
    monkeypatch.delenv("FASTBP_CACHES", raising=False)
    linux_caches(
        tmp_path,
        (1, "Data", "48K"), (1, "Instruction", "32K"), (2, "Unified", "2048K"),
        (3, "Unified", "266240K"),
    )  # fmt: skip
    assert machine._caches(tmp_path) == machine.Caches(48 << 10, 2 << 20, 260 << 20)


def test_a_cpu_without_a_level_3(tmp_path, monkeypatch):
    monkeypatch.delenv("FASTBP_CACHES", raising=False)
    linux_caches(tmp_path, (1, "Data", "64K"), (2, "Unified", "1M"))
    assert machine._caches(tmp_path) == machine.Caches(64 << 10, 1 << 20, 0)


@pytest.mark.parametrize("size", ["", "unknown", "0K"])
def test_caches_that_linux_does_not_tell_are_taken_to_be_usual_ones(tmp_path, monkeypatch, size):
    monkeypatch.delenv("FASTBP_CACHES", raising=False)
    linux_caches(tmp_path, (1, "Data", "32K"), (2, "Unified", size))
    assert machine._caches(tmp_path).l2 == 512 << 10


# ------------------------------------------------------------------ what follows


@pytest.mark.parametrize("l2", [1, 256 << 10, 512 << 10, 1 << 20, 2 << 20, 4 << 20, 32 << 20])
@pytest.mark.parametrize("registers", [16, 32])
@pytest.mark.parametrize("bits", [128, 256, 512])
@pytest.mark.parametrize("itemsize", [4, 8])
def test_tiles_fit_registers_and_caches(monkeypatch, itemsize, bits, registers, l2):
    monkeypatch.setattr(machine, "VECTOR_BITS", bits)
    monkeypatch.setattr(machine, "VECTOR_REGISTERS", registers)
    monkeypatch.setattr(machine, "CACHES", machine.Caches(32 << 10, l2, 0))
    tiles = machine.tiles.__wrapped__(itemsize)
    assert tiles.mr * tiles.nv + tiles.nv + 1 <= registers
    assert tiles.nr == tiles.nv * bits // 8 // itemsize
    assert tiles.b_chunk >= tiles.kc * max(tiles.mr, tiles.nr)  # a panel of either operand
    assert tiles.strip >= max(tiles.mr, tiles.nr)
    assert tiles.a_block >= tiles.kc * tiles.strip
    if l2 >= 1 << 20:
        assert (2 * tiles.a_block + tiles.b_chunk) * itemsize <= 1.25 * l2
