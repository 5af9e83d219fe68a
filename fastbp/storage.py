"""Networks on disk, as safetensors files: nothing is pickled, nothing in a file is run.

A file holds the tensors ``weights.0``, ``biases.0``, ``weights.1``, ..., of the network's dtype,
and, where the input is centred or scaled feature by feature, ``input_mean`` and ``input_scale``
(these in float64, if the network keeps them so).
Its metadata has one key, ``fastbp``, with a JSON object::

    {"checksum": "<hex>",
     "network": {"format_version": 1, "layer_sizes": [12288, 3, 2, 1], "activation": "sigmoid",
                 "dtype": "float32", "init": "xavier", "seed": 0,
                 "input_mean": 0.0 or null, "input_scale": 0.00392156862745098 or null,
                 "training_settings": {...}}}

where null stands for "in the tensor of that name". The checksum is BLAKE2b (16 bytes) over the
``network`` object as JSON (sorted keys, no blanks, ASCII) and then, in the order of
`_tensor_shapes`, each tensor's name and its little-endian bytes. It finds accidents and careless
edits; it is no signature.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import secrets
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save as serialize

from fastbp.activations import check_activation
from fastbp.folding import dtype_of_folding
from fastbp.initializers import canonical_init

if TYPE_CHECKING:
    from fastbp.network import Network

__all__ = ["FORMAT_VERSION", "load", "save"]

Array = npt.NDArray[Any]
Record = dict[str, Any]

FORMAT_VERSION = 1

_METADATA_KEY = "fastbp"
_SAFETENSORS_DTYPE = {"float32": "F32", "float64": "F64"}
_RECORD_KEYS = {
    "format_version",
    "layer_sizes",
    "activation",
    "dtype",
    "init",
    "seed",
    "input_mean",
    "input_scale",
    "training_settings",
}


# ------------------------------------------------------------------ saving


def save(network: Network, path: str | os.PathLike[str]) -> None:
    """Write a network to a file.

    The file is written beside `path` and renamed once it is complete and on the disk: `path`
    holds the old file or the new one, never half of one, whatever happens meanwhile. The same
    network gives the same bytes.

    Parameters
    ----------
    network : Network
        What to write: architecture, parameters, input folding, `training_settings`.
    path : str or path-like
        Where to; an existing file is replaced, a symbolic link is followed. By habit the name
        ends in ``.safetensors``; none is added.

    Raises
    ------
    OSError
        If the folder does not exist, may not be written to, or is full.
    TypeError, ValueError
        If ``network.seed`` or ``network.training_settings`` cannot be expressed in JSON.
    """
    record = _describe(network)
    tensors = _tensors(network)
    digest = _Checksum(record)
    for name, tensor in tensors.items():
        digest.add(name, tensor)
    metadata = _json({"checksum": digest.hex(), "network": record})
    _replace_file(path, serialize(tensors, metadata={_METADATA_KEY: metadata}))


def _describe(network: Network) -> Record:
    """Everything about `network` but its tensors, as JSON-able values."""
    init = canonical_init(network.init) if network.init != "callable" else "callable"
    return {
        "format_version": FORMAT_VERSION,
        "layer_sizes": [int(size) for size in network.layer_sizes],
        "activation": network.activation,
        "dtype": network.dtype.name,
        "init": list(init) if isinstance(init, tuple) else init,
        "seed": None if network.seed is None else int(network.seed),
        "input_mean": _scalar_or_none(network.input_mean),
        "input_scale": _scalar_or_none(network.input_scale),
        "training_settings": dict(network.training_settings),
    }


def _scalar_or_none(value: float | Array) -> float | None:
    return float(value) if np.ndim(value) == 0 else None


def _tensors(network: Network) -> dict[str, Array]:
    """Return the tensors of `network` by name, in the order of `_tensor_shapes`."""
    tensors: dict[str, Array] = {}
    for name in ("input_mean", "input_scale"):
        value = getattr(network, name)
        if np.ndim(value) > 0:
            kind = dtype_of_folding(network.dtype, np.asarray(value).dtype)
            tensors[name] = np.ascontiguousarray(value, dtype=kind)
    for layer, (weight, bias) in enumerate(zip(network.weights, network.biases, strict=True)):
        tensors[f"weights.{layer}"] = np.ascontiguousarray(weight)
        tensors[f"biases.{layer}"] = np.ascontiguousarray(bias)
    return tensors


def _json(value: Record) -> str:
    """Canonical JSON. Floats are written by repr, which reads back exactly."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


class _Checksum:
    """The checksum that the module's docstring defines, fed tensor by tensor."""

    def __init__(self, record: Record) -> None:
        self._hash = hashlib.blake2b(_json(record).encode("ascii"), digest_size=16)

    def add(self, name: str, tensor: Array) -> None:
        self._hash.update(name.encode("ascii"))
        little_endian = tensor.astype(tensor.dtype.newbyteorder("<"), copy=False)
        self._hash.update(little_endian.reshape(-1).view(np.uint8).data)

    def hex(self) -> str:
        return self._hash.hexdigest()


def _replace_file(path: str | os.PathLike[str], content: bytes) -> None:
    """Put `content` at `path` in one step, or leave `path` as it was."""
    target = Path(os.path.realpath(path))
    if target.is_dir():
        raise IsADirectoryError(f"cannot write a network to {str(path)!r}: it is a folder")
    temporary = target.with_name(f".{target.name}.{secrets.token_hex(8)}.tmp")
    try:
        # "x": never write through a file or link that somebody else put there.
        with open(temporary, "xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, target)
    except BaseException:  # Ctrl-C too must not leave the temporary file behind
        with suppress(FileNotFoundError):
            temporary.unlink()
        raise
    _sync_folder(target.parent)


def _sync_folder(folder: Path) -> None:
    """Make the renaming itself last through a power cut, where folders can be synced."""
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


# ------------------------------------------------------------------ loading


def load(path: str | os.PathLike[str]) -> Network:
    """Read a network that `save` wrote.

    Parameters
    ----------
    path : str or path-like
        The file.

    Returns
    -------
    Network
        With the saved parameters to the bit, and the saved `init`, `seed` and
        `training_settings`.

    Raises
    ------
    FileNotFoundError
        If there is no such file. Other failures to read are an OSError as usual.
    ValueError
        If the file is not a safetensors file, is truncated, was not written by fastbp, has an
        unknown format version, contradicts itself, or was changed after it was written. The
        message says which.
    """
    name = os.fspath(path)
    with open(name, "rb"):  # a missing or unreadable file fails here, with Python's own words
        pass
    try:
        with safe_open(name, framework="numpy") as file:
            return _read(name, file)
    except SafetensorError as error:
        raise ValueError(
            f"{name!r} is not a safetensors file, or is truncated or damaged: {error}"
        ) from error


def _refuse(name: str, reason: str) -> NoReturn:
    raise ValueError(f"{name!r} is not a valid fastbp network: {reason}")


def _read(name: str, file: Any) -> Network:
    from fastbp.network import Network  # Network.save calls this module: import it late

    checksum, record = _read_metadata(name, file.metadata())
    _check_record(name, record)
    shapes = _tensor_shapes(record)
    _check_tensors(name, file, shapes, record["dtype"])

    digest = _Checksum(record)
    folding = {}
    for key in ("input_mean", "input_scale"):
        folding[key] = record[key]
        if key in shapes:
            folding[key] = file.get_tensor(key)
            digest.add(key, folding[key])
            if not np.isfinite(folding[key]).all():
                _refuse(name, f"{key} is not finite")
    try:
        network = Network(
            tuple(record["layer_sizes"]),
            activation=record["activation"],
            init="zeros",
            dtype=record["dtype"],
            **folding,
        )
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name!r} is not a valid fastbp network: {error}") from error
    for layer in range(len(network.weights)):
        for key, parameters in (("weights", network.weights), ("biases", network.biases)):
            tensor = file.get_tensor(f"{key}.{layer}")
            digest.add(f"{key}.{layer}", tensor)
            parameters[layer][...] = tensor
    if digest.hex() != checksum:
        _refuse(name, "the checksum does not match: the file was changed after it was saved")

    init = record["init"]
    network.init = tuple(init) if isinstance(init, list) else init
    network.seed = record["seed"]
    network.training_settings = record["training_settings"]
    return network


def _read_metadata(name: str, metadata: dict[str, str] | None) -> tuple[str, Record]:
    """Return the checksum and the record, of a format version that this module reads."""
    if not metadata or _METADATA_KEY not in metadata:
        raise ValueError(
            f"{name!r} is a safetensors file, but not a fastbp network: "
            f"its metadata has no key {_METADATA_KEY!r}"
        )
    try:
        document = json.loads(metadata[_METADATA_KEY])
    except (json.JSONDecodeError, RecursionError) as error:
        raise ValueError(
            f"{name!r} is not a valid fastbp network: its metadata is broken JSON: {error}"
        ) from error
    if not isinstance(document, dict) or not isinstance(document.get("network"), dict):
        _refuse(name, "its metadata has no object 'network'")
    checksum, record = document.get("checksum"), document["network"]
    version = record.get("format_version")
    if version != FORMAT_VERSION:
        _refuse(name, f"its format version is {version!r}, and this fastbp reads {FORMAT_VERSION}")
    if not isinstance(checksum, str):
        _refuse(name, "its metadata has no 'checksum'")
    return checksum, record


def _check_record(name: str, record: Record) -> None:
    """Check every field of the metadata, before anything is allocated by it."""
    if record.keys() != _RECORD_KEYS:
        differing = sorted(record.keys() ^ _RECORD_KEYS)
        _refuse(name, f"its metadata has missing or unknown fields: {', '.join(differing)}")
    sizes = record["layer_sizes"]
    if (
        not isinstance(sizes, list)
        or len(sizes) < 2
        or any(type(size) is not int or size < 1 for size in sizes)
    ):
        _refuse(name, f"layer_sizes must be two or more positive integers, got {sizes!r}")
    if record["dtype"] not in tuple(_SAFETENSORS_DTYPE):
        accepted = " or ".join(_SAFETENSORS_DTYPE)
        _refuse(name, f"dtype must be {accepted}, got {record['dtype']!r}")
    if record["seed"] is not None and type(record["seed"]) is not int:
        _refuse(name, f"seed must be an integer or null, got {record['seed']!r}")
    for key in ("input_mean", "input_scale"):
        value = record[key]
        if value is not None and (type(value) not in (int, float) or not math.isfinite(value)):
            _refuse(name, f"{key} must be a finite number or null, got {value!r}")
    if not isinstance(record["training_settings"], dict):
        _refuse(name, f"training_settings must be an object, got {record['training_settings']!r}")
    try:
        check_activation(record["activation"])
        if record["init"] != "callable":
            canonical_init(record["init"])
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name!r} is not a valid fastbp network: {error}") from error


def _tensor_shapes(record: Record) -> dict[str, tuple[int, ...]]:
    """Return name and shape of each tensor that `record` calls for, in the checksum's order."""
    sizes = record["layer_sizes"]
    shapes: dict[str, tuple[int, ...]] = {}
    for key in ("input_mean", "input_scale"):
        if record[key] is None:
            shapes[key] = (sizes[0],)
    for layer in range(len(sizes) - 1):
        shapes[f"weights.{layer}"] = (sizes[layer + 1], sizes[layer])
        shapes[f"biases.{layer}"] = (sizes[layer + 1],)
    return shapes


def _check_tensors(name: str, file: Any, shapes: dict[str, tuple[int, ...]], dtype: str) -> None:
    """Compare the tensors of `file` with what its metadata announces, without reading them."""
    present = set(file.keys())
    missing = [key for key in shapes if key not in present]
    extra = sorted(present - shapes.keys())
    if missing:
        _refuse(name, f"missing tensors: {', '.join(missing)}")
    if extra:
        _refuse(name, f"unexpected tensors: {', '.join(extra)}")
    for key, shape in shapes.items():
        tensor = file.get_slice(key)
        found = tuple(tensor.get_shape())
        if found != shape:
            _refuse(name, f"{key} has shape {found}, but layer_sizes call for {shape}")
        exact = key in ("input_mean", "input_scale") and tensor.get_dtype() == "F64"
        if tensor.get_dtype() != _SAFETENSORS_DTYPE[dtype] and not exact:
            expected = _SAFETENSORS_DTYPE[dtype]
            _refuse(name, f"{key} has dtype {tensor.get_dtype()}, expected {expected} ({dtype})")
