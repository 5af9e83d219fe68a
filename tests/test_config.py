"""``fastbp.show_config`` and ``fastbp.warmup``."""

from __future__ import annotations

import re
from pathlib import Path

import numba
import numpy as np
import pytest

import fastbp
from tests.processes import run_python

KEYS = [
    "version",
    "numba",
    "numpy",
    "cpu",
    "vector_bits",
    "tiles",
    "threading_layer",
    "num_threads",
    "cache_folder",
    "kernels",
]


def test_the_configuration_is_a_mapping_of_facts():
    config = fastbp.show_config()
    assert isinstance(config, dict)
    assert list(config) == KEYS
    assert config["version"] == fastbp.__version__
    assert config["numba"] == numba.__version__
    assert config["numpy"] == np.__version__
    assert isinstance(config["cpu"], str)
    assert config["cpu"]
    assert config["vector_bits"] in {128, 256, 512}
    assert config["num_threads"] == fastbp.get_num_threads()


def test_the_tiles_fit_the_vector_width():
    config = fastbp.show_config()
    assert list(config["tiles"]) == ["float32", "float64"]
    for name, shape in config["tiles"].items():
        assert shape["lanes"] * np.dtype(name).itemsize * 8 == config["vector_bits"]
        assert shape["nr"] == shape["nv"] * shape["lanes"]
        assert shape["mr"] % shape["row_step"] == 0
        assert shape["a_block"] % (shape["kc"] * max(shape["mr"], shape["nr"])) == 0
        assert shape["b_chunk"] >= shape["kc"] * max(shape["mr"], shape["nr"])


def test_it_reads_as_a_table_of_one_fact_a_line():
    config = fastbp.show_config()
    lines = str(config).splitlines()[: len(KEYS)]
    assert [line.split()[0] for line in lines] == KEYS
    kernels = config.pop("kernels")
    total = sum(kernel["bytes"] for kernel in kernels)
    values = [*map(str, config.values()), f"{len(kernels)} compiled, {total:,} bytes"]
    for line, value in zip(lines, values, strict=True):
        assert line.endswith(value)
    assert len({line.index(value) for line, value in zip(lines, values, strict=True)}) == 1


def test_the_table_ends_with_a_line_for_each_kernel():
    config = fastbp.show_config()
    config["kernels"] = [{"name": "wide", "bytes": 1234567}, {"name": "narrow", "bytes": 89}]
    *_, summary, wide, narrow = str(config).splitlines()
    assert summary.split() == ["kernels", "2", "compiled,", "1,234,656", "bytes"]
    assert (wide.split(), narrow.split()) == (["1,234,567", "wide"], ["89", "narrow"])
    assert repr(config) == str(config)


KEPT = """
import fastbp, numpy as np, sys
if sys.argv[1] == "compile":
    fastbp.sigmoid(np.ones(2, np.float32))
for kernel in fastbp.show_config()["kernels"]:
    print(*kernel.values(), *kernel, sep="|")
assert "fastbp.network" not in sys.modules
"""


def test_it_lists_the_kernels_that_are_kept(tmp_path):
    place = str(tmp_path)
    assert run_python(KEPT, "look", NUMBA_CACHE_DIR=place) == ""
    compiled = run_python(KEPT, "compile", NUMBA_CACHE_DIR=place).splitlines()
    files = {path.name.rpartition("-")[0]: path for path in tmp_path.rglob("*.kernel")}
    assert "functions.elementwise._float32" in files
    assert compiled == [
        f"{name}|{path.stat().st_size}|{path.parent}|name|bytes|folder"
        for name, path in sorted(files.items())
    ]
    assert run_python(KEPT, "look", NUMBA_CACHE_DIR=place).splitlines() == compiled


def test_it_follows_the_number_of_threads(set_num_threads):
    for threads in (1, 2):
        set_num_threads(threads)
        assert fastbp.show_config()["num_threads"] == threads


def test_it_prints_nothing(capfd):
    fastbp.show_config()
    assert capfd.readouterr() == ("", "")


def test_the_threading_layer_is_unknown_before_the_first_parallel_call(tmp_path):
    printed = run_python(
        "import fastbp; c = fastbp.show_config(); print(c['threading_layer'], c['cache_folder'])",
        NUMBA_CACHE_DIR=str(tmp_path),
    )
    layer, folder = printed.split()
    assert layer == "None"
    assert Path(folder).parent == tmp_path


WARM = """
import sys
import numpy as np, fastbp
from fastbp.engine.warm import every_kernel

def ready():  # what this process has compiled or loaded from the disk
    return {kernel.name for kernel in every_kernel() if kernel.is_ready()}

dtype, data_dtype = sys.argv[1:]
assert not ready()
fastbp.warmup(dtype, data_dtype)
warm = ready()
rng = np.random.default_rng(0)
for inputs in (40, 1200):
    X, y = rng.integers(0, 2, (600, inputs)).astype(data_dtype), rng.integers(0, 2, 600)
    for hidden in ((3, 2), (40,)):
        for scale in (1.0, 1 / 255):
            network = fastbp.Network((inputs, *hidden, 1), dtype=dtype, input_scale=scale)
            for batch_size in (2, 16, 100, None):
                network.fit(X, y, epochs=1, batch_size=batch_size)
            network.predict(X)
            network.predict(X[:1])
print(ready() - warm)
"""


@pytest.mark.parametrize(
    ("dtype", "data_dtype"), [("float32", "uint8"), ("float32", "float32"), ("float64", "float64")]
)
def test_after_a_warmup_nothing_is_left_to_load(dtype, data_dtype):
    assert run_python(WARM, dtype, data_dtype) == "set()\n"


SIZES = """
import sys
import numpy as np, fastbp
from fastbp.engine.warm import every_kernel

def ready():
    return {kernel.name for kernel in every_kernel() if kernel.is_ready()}

sizes, batch_size = eval(sys.argv[1]), eval(sys.argv[2])
fastbp.warmup("float32", "uint8", layer_sizes=sizes, batch_size=batch_size)
warm = ready()
rng = np.random.default_rng(0)
X, y = rng.integers(0, 256, (200, sizes[0]), dtype=np.uint8), rng.integers(0, 2, 200)
network = fastbp.Network(sizes, input_scale=1 / 255)
network.fit(X, y, epochs=1, batch_size=batch_size, validation_data=(X, y))
network.predict(X[:1])
print(ready() - warm)
print(*sorted(warm))
"""


@pytest.mark.parametrize(
    ("sizes", "batch_size", "without"),
    [
        ((1200, 3, 1), 32, "wide|shards|delayed|product"),
        ((1200, 3, 1), 2, "wide|shards|product"),  # by columns with other optimizers
        ((300, 3, 1), 32, "wide|columns|delayed|product"),
        ((700, 40, 1), 100, "narrow|sweep|delayed"),
    ],
)
def test_a_warmup_for_given_sizes_is_all_that_they_need_and_no_more(sizes, batch_size, without):
    missing, warm = run_python(SIZES, sizes, batch_size).splitlines()
    assert missing == "set()"
    assert not re.search(without, warm)


@pytest.mark.parametrize(
    ("options", "error", "told"),
    [
        ({"data_dtype": "int64"}, ValueError, "int64"),
        ({"layer_sizes": (3,)}, ValueError, "two"),
        ({"layer_sizes": (3, 0)}, ValueError, "0"),
        ({"batch_size": 0}, ValueError, "batch_size"),
        ({"batch_size": 1.5}, TypeError, "float"),
    ],
)
def test_warmup_refuses_what_no_network_takes(options, error, told):
    with pytest.raises(error, match=told):
        fastbp.warmup(**options)


def test_warmup_takes_the_dtypes_of_a_network_only():
    with pytest.raises((TypeError, ValueError), match="dtype"):
        fastbp.warmup("int32")
