"""Model files as their description has them, written without ``fastbp.storage``, right or wrong.

What is written here has a right checksum, unless a test is about the checksum.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import safe_open
from safetensors.numpy import save

import fastbp
from fastbp.optimizers import Optimizer
from fastbp.state import TrainingState
from tests.problems import make_problem

SIZES = (7, 4, 3, 2)


def network_of(fold: str = "none", dtype: str = "float32", **settings: Any) -> fastbp.Network:
    network = make_problem(SIZES, dtype=dtype, fold=fold).network()
    for name, value in settings.items():
        setattr(network, name, value)
    return network


def read_file(path: Path) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """The record of a file, and its tensors."""
    with safe_open(path, framework="numpy") as file:
        record = json.loads(file.metadata()["fastbp"])["network"]
        return record, {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118


def in_order(tensors: dict[str, np.ndarray]) -> list[str]:
    state = [name for name in tensors if name.startswith("state.")]
    layered = sorted(
        (name for name in tensors if "." in name and name not in state),
        key=lambda name: (int(name.split(".")[1]), name.startswith("biases")),
    )
    # Of a state: first, second; weights, biases; then the number of the layer.
    state.sort(key=lambda name: (name.split(".")[1], "biases" in name, int(name.split(".")[3])))
    return [name for name in ("input_mean", "input_scale") if name in tensors] + layered + state


def version_1_of(record: dict[str, Any]) -> dict[str, Any]:
    """The record as it was written before there was a version 2."""
    later = ("loss", "classes", "metadata", "state")
    return {key: value for key, value in record.items() if key not in later} | {"format_version": 1}


def state_of(network: fastbp.Network, kind: str = "adam", **settings: Any) -> TrainingState:
    """A training state with something in it."""
    state = TrainingState.begin(Optimizer(kind, **settings), 7, network.layer_sizes, network.dtype)
    state.steps, state.epochs = 12, 3
    rng = np.random.default_rng(0)
    for array in state.arrays:
        array[...] = rng.normal(size=array.shape)
    return state


def document_of(record: Any, tensors: dict[str, np.ndarray]) -> dict[str, Any]:
    text = json.dumps(record, sort_keys=True, separators=(",", ":"))
    digest = hashlib.blake2b(text.encode(), digest_size=16)
    for name in in_order(tensors):
        digest.update(name.encode())
        digest.update(tensors[name].tobytes())
    return {"checksum": digest.hexdigest(), "network": record}


def file_of(record: Any, tensors: dict[str, np.ndarray]) -> bytes:
    """What the format's description says, with a checksum that is right."""
    return save(tensors, metadata={"fastbp": json.dumps(document_of(record, tensors))})


def write_file(path: Path, record: Any, tensors: dict[str, np.ndarray]) -> None:
    path.write_bytes(file_of(record, tensors))


def with_header(header: str | bytes, data: bytes = b"") -> bytes:
    """A file of the given header, whatever it says, and the bytes after it."""
    encoded = header.encode() if isinstance(header, str) else header
    return len(encoded).to_bytes(8, "little") + encoded + data
