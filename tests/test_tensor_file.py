"""The safetensors format: the bytes that its library writes, and what is not one is refused."""

from __future__ import annotations

import io
import json
import tracemalloc
from typing import Any

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import save

import fastbp
from fastbp import tensor_file
from fastbp.tensor_file import parse_json, read_header, read_tensor, write_tensors
from tests.forging import file_of, network_of, read_file, with_header
from tests.trials.model_files import try_files

MB = 1_000_000


def written(tensors: dict[str, np.ndarray], metadata: dict[str, str]) -> bytes:
    file = io.BytesIO()
    write_tensors(file, tensors, metadata)
    return file.getvalue()


def header_of(content: bytes) -> Any:
    return read_header(io.BytesIO(content), len(content))


def entry(*, begin: int = 0, end: int = 8, **changes: Any) -> dict[str, Any]:
    return {"dtype": "F32", "shape": [2], "data_offsets": [begin, end], **changes}


# ------------------------------------------------------------------ as the library has it


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("text", ["", "x", 'quoted "text" \\ \\n', "{}" * 1000], ids=len)
def test_bytes_are_those_of_the_library(dtype, text):
    tensors = {f"weights.{i}": np.full((i + 1, 3), i, dtype) for i in range(12)}
    assert written(tensors, {"fastbp": text}) == save(tensors, metadata={"fastbp": text})


def test_what_the_library_writes_is_read():
    tensors = {"a": np.arange(6.0).reshape(2, 3), "b": np.arange(5, dtype=np.float32)}
    content = save(tensors, metadata={"key": "text", "other": "мяч"})

    header = header_of(content)

    assert header.metadata == {"key": "text", "other": "мяч"}
    for name, tensor in tensors.items():
        out = np.empty_like(tensor)
        read_tensor(io.BytesIO(content), header.tensors[name], out)
        np.testing.assert_array_equal(out, tensor)


def test_the_library_reads_what_is_saved(tmp_path):
    network = network_of("feature")
    network.save(tmp_path / "net")
    with safe_open(tmp_path / "net", framework="numpy") as file:
        np.testing.assert_array_equal(file.get_tensor("weights.1"), network.weights[1])


def test_a_file_that_ends_while_it_is_read_is_refused():
    content = written({"a": np.zeros(8)}, {})
    header = header_of(content)
    with pytest.raises(ValueError, match="shorter"):
        read_tensor(io.BytesIO(content[:-1]), header.tensors["a"], np.empty(8))


# ------------------------------------------------------------------ what is refused


@pytest.mark.parametrize(
    "tensors",
    [
        {"a": entry(begin=8, end=16)},
        {"a": entry(), "b": entry()},
        {"a": entry(), "b": entry(begin=4, end=12)},
        {"a": entry(), "b": entry(begin=12, end=20)},
        {"a": entry(end=4)},
        {"a": entry(begin=8, end=0)},
        {"a": entry(begin=-8, end=0)},
        {"a": entry(begin=0.0)},
        {"a": entry(begin=False)},
        {"a": entry(end=10**100)},
        {"a": entry(data_offsets=[0])},
        {"a": entry(data_offsets=None)},
        {"a": entry(shape=[3])},
        {"a": entry(shape=[-1, -2])},
        {"a": entry(shape=[True, 2])},
        {"a": entry(shape=[2.0])},
        {"a": entry(shape="2")},
        {"a": entry(shape=[10**599] * 1000)},
        {"a": entry(dtype="F64")},
        {"a": entry(dtype=32)},
        {"a": entry(colour="red")},
        {"a": {"dtype": "F32"}},
        {"a": None},
        {"a": entry(), "__metadata__": {"fastbp": 1}},
        {"a": entry(), "__metadata__": ["fastbp"]},
        [],
        "a",
        None,
    ],
    ids=lambda tensors: json.dumps(tensors)[:60],
)
def test_header_that_does_not_describe_the_bytes_is_refused(tensors):
    # As many bytes as the first well-formed tensors would need.
    for data in (bytes(8), bytes(16), bytes(20)):
        with pytest.raises(ValueError):  # noqa: PT011 - each says it in its own words
            header_of(with_header(json.dumps(tensors), data))


@pytest.mark.parametrize(
    "header",
    [
        f'{{"a":{json.dumps(entry())},"a":{json.dumps(entry())}}}',
        '{"a":{"dtype":"F32","shape":[2],"shape":[2],"data_offsets":[0,8]}}',
        f'{{"__metadata__":{{"k":"1","k":"2"}},"a":{json.dumps(entry())}}}',
        json.dumps({"a": entry()}) + "x",
        json.dumps({"a": entry()}).encode("utf-16"),
        b'{"\xff":' + json.dumps(entry()).encode() + b"}",
        '{"a":' * 100_000,
        "9" * 100_000,
        "",
    ],
    ids=lambda header: str(header[:40]),
)
def test_header_that_is_not_plain_json_is_refused(header):
    with pytest.raises(ValueError):  # noqa: PT011 - each says it in its own words
        header_of(with_header(header, bytes(8)))


@pytest.mark.parametrize("length", [3, 2**32, 2**63, 2**64 - 1])
def test_header_longer_than_the_file_is_refused(length):
    with pytest.raises(ValueError, match="header should have"):
        header_of(length.to_bytes(8, "little") + b"{}")


def test_files_changed_at_random_are_refused_by_name_in_memory_of_their_size():
    outcome = try_files(300)
    assert outcome.wrong == []
    assert outcome.answers["ValueError"] > 250


# ------------------------------------------------------------------ memory


@pytest.fixture
def memory_of():
    """Bytes that a call takes at most, and what it raises or returns."""

    def measured(call: Any) -> int:
        before = tracemalloc.get_traced_memory()[0]
        tracemalloc.reset_peak()
        call()
        return tracemalloc.get_traced_memory()[1] - before

    tracemalloc.start()
    yield measured
    tracemalloc.stop()


VALUES = ["[]", "[1]", "[[[]]]", "{}", '{"a":1}', "1", "-256,257", "1.5", '"ab"', '"é"']


@pytest.mark.parametrize("value", VALUES, ids=str)
def test_json_that_is_taken_fits_into_the_memory_that_is_allowed(memory_of, value):
    text = longest_that_is_taken("[{}]", [value] * 400_000)
    assert memory_of(lambda: parse_json(text, len(text))) <= 24 * MB + 4 * len(text)


def test_keys_that_are_taken_fit_into_the_memory_that_is_allowed(memory_of):
    text = longest_that_is_taken("{{{}}}", [f'"{i:x}":1' for i in range(100_000)])
    assert memory_of(lambda: parse_json(text, len(text))) <= 24 * MB + 4 * len(text)


def longest_that_is_taken(frame: str, values: list[str]) -> str:
    """JSON of as many of the values as are taken, to within a hundredth."""
    low, high = 1000, len(values)
    while high - low > low // 100:
        middle = (low + high) // 2
        text = frame.format(",".join(values[:middle]))
        try:
            tensor_file._check_memory(text, len(text))
            low = middle
        except ValueError:
            high = middle
    assert high < len(values)  # more were refused
    return frame.format(",".join(values[:low]))


def test_five_million_layers_without_tensors_take_no_memory_beyond_the_file(tmp_path, memory_of):
    path = tmp_path / "net.safetensors"
    network_of().save(path)
    record, tensors = read_file(path)
    content = file_of(record, tensors)
    sizes = b"[" + b"1," * 5_000_000 + b"1]"
    end = 8 + int.from_bytes(content[:8], "little")
    header = content[8:end].replace(b"[7, 4, 3, 2]", sizes)
    path.write_bytes(with_header(header, content[end:]))

    def refused() -> None:
        with pytest.raises(ValueError, match=r"net\.safetensors"):
            fastbp.load(path)

    assert len(header) > 10 * MB
    assert memory_of(refused) < 10 * path.stat().st_size + 50 * MB


def test_loading_takes_the_weights_once(tmp_path, memory_of):
    network = fastbp.Network((4096, 256, 1), init="zeros")
    network.save(tmp_path / "net")
    weights = network.weights[0].nbytes
    assert memory_of(lambda: fastbp.load(tmp_path / "net")) < 1.2 * weights


def test_saving_takes_the_weights_once(tmp_path, memory_of):
    network = fastbp.Network((4096, 256, 1), init="zeros")
    weights = network.weights[0].nbytes
    assert memory_of(lambda: network.save(tmp_path / "net")) < 1.2 * weights
