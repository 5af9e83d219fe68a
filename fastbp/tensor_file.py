"""The safetensors format, strictly: 8 bytes of length, a header in JSON, the tensors' bytes.

Written here byte by byte as the safetensors library writes it, from the arrays as they are, and
read without a map of the file: one that is cut meanwhile is an error and no bus error. Reading
takes memory in proportion to the file, whatever it holds. The format is described at
https://huggingface.co/docs/safetensors.
"""

from __future__ import annotations

import json
import reprlib
from collections.abc import Mapping
from typing import Any, BinaryIO, NamedTuple

import numpy as np
import numpy.typing as npt

__all__ = [
    "DTYPES",
    "Header",
    "Tensor",
    "little_endian_bytes",
    "parse_json",
    "read_header",
    "read_tensor",
    "write_tensors",
]

Array = npt.NDArray[Any]

DTYPES = {"float32": "F32", "float64": "F64"}
"""The format's names of the dtypes that are read and written here."""

_ITEM_SIZES = {"F32": 4, "F64": 8}
_METADATA = "__metadata__"
_LENGTH = 8  # bytes of the header's length
_MOST_HEADER = 100_000_000  # bytes; other readers of the format refuse more, too
_MOST_DIGITS = 600  # of an integer; Python always reads 640, and more only if its settings say so


class Tensor(NamedTuple):
    """What a header says of a tensor; its bytes are those from `begin` to `end` of the file."""

    dtype: str
    shape: tuple[int, ...]
    begin: int
    end: int


class Header(NamedTuple):
    """Metadata and tensors, by name."""

    metadata: dict[str, str]
    tensors: dict[str, Tensor]


# ------------------------------------------------------------------ JSON


def parse_json(text: str, size: int) -> Any:
    """Parse JSON of a file of `size` bytes, in memory of about four times that at most.

    Raises
    ------
    ValueError
        If `text` is no JSON, gives a key twice, is nested too deeply for Python, holds an integer
        of more than 600 digits, or would take too much memory.
    """
    _check_memory(text, size)
    try:
        return json.loads(text, object_pairs_hook=_object, parse_int=_integer)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def _check_memory(text: str, size: int) -> None:
    """Refuse JSON that makes many more bytes of objects than it has: "[]," makes 80 of three.

    The factors are upper bounds of what CPython takes for a key and its place in a dict, for
    another value, for a list and for a dict. The text itself is there three times at most: its
    string, strings within, and what is decoded of those.
    """
    width = 1 if text.isascii() else 4
    bound = (
        3 * width * len(text)
        + 320 * text.count(":")
        + 72 * text.count(",")
        + 110 * text.count("[")
        + 240 * text.count("{")
    )
    if bound > 24_000_000 + 4 * size:
        raise ValueError(f"it has too many values for a file of {size} bytes")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("it gives a key twice")
    return found


def _integer(digits: str) -> int:
    if len(digits) > _MOST_DIGITS:
        raise ValueError(f"it holds an integer of {len(digits)} digits")
    return int(digits)


# ------------------------------------------------------------------ reading


def read_header(file: BinaryIO, size: int) -> Header:
    """Read and check the header of a file of `size` bytes.

    Raises
    ------
    ValueError
        If it does not describe, without gaps and overlaps, the bytes that follow it.
    """
    length = int.from_bytes(file.read(_LENGTH), "little")
    if size < _LENGTH:
        raise ValueError(f"it has {size} bytes")
    if length > min(size - _LENGTH, _MOST_HEADER):
        raise ValueError(f"its header should have {length} bytes, but the file has {size}")
    document = parse_json(file.read(length).decode("utf-8"), size)
    if not isinstance(document, dict):
        raise ValueError("its header is no object")
    metadata = document.pop(_METADATA, {})
    if not isinstance(metadata, dict) or not all(isinstance(v, str) for v in metadata.values()):
        raise ValueError("its metadata are no strings")
    start = _LENGTH + length
    tensors = {name: _tensor(name, entry, start, size) for name, entry in document.items()}
    end = start
    for name, tensor in sorted(tensors.items(), key=lambda item: item[1][2:]):
        if tensor.begin != end:
            raise ValueError(f"there is a gap or an overlap before {reprlib.repr(name)}")
        end = tensor.end
    if end != size:
        raise ValueError(f"its tensors should end at byte {end}, but the file has {size}")
    return Header(metadata, tensors)


def _tensor(name: str, entry: Any, start: int, size: int) -> Tensor:
    if not isinstance(entry, dict) or entry.keys() != {"dtype", "shape", "data_offsets"}:
        raise ValueError(f"it does not describe {reprlib.repr(name)}")
    dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not (isinstance(dtype, str) and _counts(shape) and _counts(offsets) and len(offsets) == 2):
        raise ValueError(f"it does not describe {reprlib.repr(name)}")
    begin, end = (start + offset for offset in offsets)
    if not begin <= end <= size:
        raise ValueError(f"{reprlib.repr(name)} is not within its {size} bytes")
    if dtype in _ITEM_SIZES:
        expected = _ITEM_SIZES[dtype]
        for n in shape:
            expected *= n
            if expected > size:  # before a product of many factors takes its time
                break
        if expected != end - begin:
            raise ValueError(
                f"{reprlib.repr(name)} has {end - begin} bytes, not those of its shape"
            )
    return Tensor(dtype, tuple(shape), begin, end)


def _counts(value: Any) -> bool:
    return isinstance(value, list) and all(type(n) is int and n >= 0 for n in value)


def read_tensor(file: BinaryIO, tensor: Tensor, out: Array) -> None:
    """Read a tensor into a C-contiguous array of its shape and dtype."""
    file.seek(tensor.begin)
    got = file.readinto(_bytes(out))  # type: ignore[attr-defined]
    if got != out.nbytes:
        raise ValueError("it became shorter while it was read")
    if not _little_endian(out.dtype):
        out.byteswap(inplace=True)


# ------------------------------------------------------------------ writing


def write_tensors(
    file: BinaryIO, tensors: Mapping[str, Array], metadata: Mapping[str, str]
) -> None:
    """Write C-contiguous arrays; a header that `read_header` refuses is refused."""
    document: dict[str, Any] = {_METADATA: dict(metadata)}
    end = 0
    # The larger dtype first, so that all are aligned.
    names = sorted(tensors, key=lambda name: (-tensors[name].itemsize, name))
    for name in names:
        tensor = tensors[name]
        begin, end = end, end + tensor.nbytes
        document[name] = {
            "dtype": DTYPES[tensor.dtype.name],
            "shape": tensor.shape,
            "data_offsets": (begin, end),
        }
    header = json.dumps(document, separators=(",", ":"))
    header += " " * (-len(header) % 8)
    if len(header) > _MOST_HEADER:
        raise ValueError(f"the header would have {len(header)} bytes; {_MOST_HEADER} are allowed")
    _check_memory(header, _LENGTH + len(header) + end)
    file.write(len(header).to_bytes(_LENGTH, "little"))
    file.write(header.encode("ascii"))
    for name in names:
        file.write(little_endian_bytes(tensors[name]))


def little_endian_bytes(tensor: Array) -> memoryview:
    """Return the bytes of a C-contiguous array as files have them."""
    return _bytes(tensor if _little_endian(tensor.dtype) else tensor.byteswap())


def _bytes(array: Array) -> memoryview:
    return array.reshape(-1).view(np.uint8).data


def _little_endian(dtype: np.dtype[Any]) -> bool:
    return dtype.newbyteorder("<") == dtype
