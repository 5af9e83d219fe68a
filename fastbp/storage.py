"""Networks on disk, as safetensors files: nothing is pickled, nothing in a file is run.

A file holds the tensors ``weights.0``, ``biases.0``, ``weights.1``, ..., of the network's dtype,
and, where the input is centred or scaled feature by feature, ``input_mean`` and ``input_scale``
(these in float64, if the network keeps them so).
Its metadata has one key, ``fastbp``, with a JSON object::

    {"checksum": "<hex>",
     "network": {"format_version": 2, "layer_sizes": [12288, 64, 5], "activation": "relu",
                 "loss": "cross_entropy", "classes": ["cat", "dog", ...] or [10, 20, ...] or null,
                 "dtype": "float32", "init": "he", "seed": 0,
                 "input_mean": 0.0 or null, "input_scale": 0.00392156862745098 or null,
                 "training_settings": {...}, "metadata": {...}, "state": {...} or null}}

where null of the input stands for "in the tensor of that name", and a list of activations has one
for each hidden layer. If there is a training state, its tensors are called ``state.`` and then as
`fastbp.state.state_shapes` lists them. Version 1 had no loss, classes, metadata and state, and only
sigmoids: it is read as the log loss it was. The checksum is BLAKE2b (16 bytes) over the
``network`` object as JSON (sorted keys, no blanks, ASCII) and then, in the order of
`fastbp.record.tensor_shapes`, each tensor's name and its little-endian bytes. It finds accidents
and careless edits; it is no signature.
"""

from __future__ import annotations

import hashlib
import json
import os
import reprlib
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from fastbp.engine import memory
from fastbp.files import AnyPath, check_target, named_after, open_file, replace_file
from fastbp.labels import check_classes, plain_classes
from fastbp.parameters import (
    Parameters,
    check_dtype,
    check_parameters,
    check_seed,
    check_sizes,
)
from fastbp.preprocessing import check_folding, scale_and_shift
from fastbp.record import (
    FOLDING,
    FORMAT_VERSION,
    STATE,
    Kind,
    Record,
    canonical,
    check_record,
    plain_settings,
    tensor_shapes,
    upgraded,
)
from fastbp.state import TrainingState, state_shapes
from fastbp.tensor_file import (
    DTYPES,
    Header,
    little_endian_bytes,
    parse_json,
    read_header,
    read_tensor,
    write_tensors,
)

__all__ = ["FORMAT_VERSION", "Description", "check_target", "load", "save"]

Array = npt.NDArray[Any]

_METADATA_KEY = "fastbp"


# ------------------------------------------------------------------ saving


@dataclass
class Description:
    """What a file says of a network besides its parameters."""

    init: str | float | tuple[str, float]
    seed: int | None
    training_settings: dict[str, Any]
    metadata: dict[str, Any]
    training_state: TrainingState | None = None


def save(path: AnyPath, parameters: Parameters, description: Description) -> None:
    """Write a network's parameters, and what else is known of it, to a file; see `Network.save`."""
    record, tensors = _copy(parameters, description)
    check_record(record, {name: _kind(tensor) for name, tensor in tensors.items()})
    digest = _Checksum(record)
    for name, _ in tensor_shapes(record):
        digest.add(name, tensors[name])
    metadata = {_METADATA_KEY: _json({"checksum": digest.hex(), "network": record})}
    replace_file(path, lambda file: write_tensors(file, tensors, metadata))


def _copy(parameters: Parameters, description: Description) -> tuple[Record, dict[str, Array]]:
    """Return what a file says of a network, as JSON-able values, and copies of its tensors."""
    sizes, dtype = check_sizes(parameters.layer_sizes), check_dtype(parameters.dtype)
    with np.errstate(all="ignore"):  # what overflows is refused, whatever NumPy is told to say
        mean = check_folding(parameters.input_mean, "input_mean", sizes[0], dtype)
        scale = check_folding(parameters.input_scale, "input_scale", sizes[0], dtype)
        scale_and_shift(mean, scale, sizes[0], dtype, dtype)
    weights = _copies("weights", parameters.weights)
    biases = _copies("biases", parameters.biases)
    check_parameters(weights, biases, sizes, dtype)

    folding = {"input_mean": mean, "input_scale": scale}
    tensors = {name: value for name, value in folding.items() if isinstance(value, np.ndarray)}
    for layer, (weight, bias) in enumerate(zip(weights, biases, strict=True)):
        tensors[f"weights.{layer}"] = weight
        tensors[f"biases.{layer}"] = bias
    state = description.training_state
    if state is not None:
        state = state.copy()
        tensors |= {STATE + name: tensor for name, tensor in state.as_tensors().items()}
    init, activation = canonical(description.init), parameters.activation
    record = {
        "format_version": FORMAT_VERSION,
        "layer_sizes": list(sizes),
        "activation": list(activation) if isinstance(activation, tuple) else activation,
        "loss": parameters.loss_function,
        "classes": plain_classes(check_classes(parameters.classes_)),
        "dtype": dtype.name,
        "init": list(init) if isinstance(init, tuple) else init,
        "seed": check_seed(description.seed),
        **{name: None if name in tensors else value for name, value in folding.items()},
        "training_settings": plain_settings(description.training_settings),
        "metadata": plain_settings(description.metadata, "metadata"),
        "state": None if state is None else state.as_record(),
    }
    return record, tensors


def _copies(name: str, arrays: Iterable[object]) -> list[Array]:
    """Copies of parameters, which nobody else changes, in C order and the machine's bytes."""
    copies = []
    for layer, array in enumerate(arrays):
        if not isinstance(array, np.ndarray) or isinstance(array, np.ma.MaskedArray):
            raise TypeError(f"{name}[{layer}] must be a numpy.ndarray, got {type(array).__name__}")
        copies.append(np.array(array, array.dtype.newbyteorder("="), order="C"))
    return copies


def _kind(tensor: Array) -> Kind:
    return DTYPES[tensor.dtype.name], tensor.shape


def _json(value: Record) -> str:
    """Canonical JSON. Floats are written by repr, which reads back exactly."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


class _Checksum:
    """The checksum that the module's docstring defines, fed tensor by tensor."""

    def __init__(self, record: Record) -> None:
        self._hash = hashlib.blake2b(_json(record).encode("ascii"), digest_size=16)

    def add(self, name: str, tensor: Array) -> None:
        self._hash.update(name.encode("ascii"))
        self._hash.update(little_endian_bytes(tensor))

    def hex(self) -> str:
        return self._hash.hexdigest()


# ------------------------------------------------------------------ loading


def load(path: AnyPath) -> tuple[Parameters, Description]:
    """Read what `save` wrote; see `fastbp.load`."""
    name = os.fsdecode(path)
    with open_file(path) as file:
        try:
            return _read(name, file)
        except OSError as error:
            raise named_after(error, path) from error


def _read(name: str, file: BinaryIO) -> tuple[Parameters, Description]:
    size = os.fstat(file.fileno()).st_size
    try:
        header = read_header(file, size)
    except ValueError as error:
        raise ValueError(
            f"{name!r} is not a safetensors file, or is truncated or damaged: {error}"
        ) from error
    if _METADATA_KEY not in header.metadata:
        raise ValueError(
            f"{name!r} is a safetensors file, but not a fastbp network: "
            f"its metadata has no key {_METADATA_KEY!r}"
        )
    try:
        checksum, record = _read_metadata(header.metadata[_METADATA_KEY], size)
        kinds = {key: (tensor.dtype, tensor.shape) for key, tensor in header.tensors.items()}
        check_record(record, kinds)
        return _read_network(file, header, record, checksum)
    except (TypeError, ValueError) as error:
        # Shortened, as some messages show a value of the file, which may have any length.
        raise ValueError(f"{name!r} is not a valid fastbp network: {error!s:.400}") from error


def _read_metadata(text: str, size: int) -> tuple[str, Record]:
    """Return the checksum and the record, of a format version that this module reads."""
    try:
        document = parse_json(text, size)
    except ValueError as error:
        raise ValueError(f"its metadata is broken JSON: {error}") from error
    if not isinstance(document, dict) or not isinstance(document.get("network"), dict):
        raise ValueError("its metadata has no object 'network'")
    checksum, record = document.get("checksum"), document["network"]
    version = record.get("format_version")
    if type(version) is not int or not 1 <= version <= FORMAT_VERSION:
        raise ValueError(
            f"its format version is {reprlib.repr(version)}, and this fastbp reads those from 1 to"
            f" {FORMAT_VERSION}"
        )
    if not isinstance(checksum, str):
        raise ValueError("its metadata has no 'checksum'")
    return checksum, record


def _read_network(
    file: BinaryIO, header: Header, record: Record, checksum: str
) -> tuple[Parameters, Description]:
    """Make the parameters of a header that was checked, and read its tensors into them."""
    digest = _Checksum(record)

    def read(key: str, out: Array) -> Array:
        read_tensor(file, header.tensors[key], out)
        digest.add(key, out)
        return out

    known = upgraded(record)
    sizes, dtype = record["layer_sizes"], np.dtype(record["dtype"])
    folding = {}
    for key in FOLDING:
        folding[key] = record[key]
        if folding[key] is None:
            exact = header.tensors[key].dtype == DTYPES["float64"]
            folding[key] = read(key, np.empty(sizes[0], np.float64 if exact else dtype))
            if not np.isfinite(folding[key]).all():
                raise ValueError(f"{key} is not finite")
    with np.errstate(all="ignore"):  # as in `_copy`
        parameters = Parameters(
            sizes,
            activation=known["activation"],
            loss_function=known["loss"],
            classes=known["classes"],
            dtype=dtype,
            **folding,
        )
    for layer, (below, size) in enumerate(pairwise(parameters.layer_sizes)):
        weight = read(f"weights.{layer}", memory.empty((size, below), dtype))
        parameters.weights.append(weight)
        parameters.biases.append(read(f"biases.{layer}", np.empty(size, dtype)))
    state = None
    if known["state"] is not None:
        tensors = {
            name: read(STATE + name, np.empty(shape, dtype))
            for name, shape in state_shapes(known["state"], sizes)
        }
        state = TrainingState.from_tensors(known["state"], tensors, sizes, dtype)
    if digest.hex() != checksum:
        raise ValueError("the checksum does not match: the file was changed after it was saved")
    description = Description(
        canonical(known["init"]),
        known["seed"],
        known["training_settings"],
        known["metadata"],
        state,
    )
    return parameters, description
