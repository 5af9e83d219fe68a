"""What a file says of a network beside its parameters: checked on the way out as on the way in."""

from __future__ import annotations

import math
import reprlib
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice, pairwise
from typing import Any

from fastbp.activations import check_activation, spread
from fastbp.initializers import canonical_init
from fastbp.labels import check_classes
from fastbp.losses import check_loss
from fastbp.parameters import check_class_count
from fastbp.state import state_shapes
from fastbp.tensor_file import DTYPES

__all__ = [
    "FOLDING",
    "FORMAT_VERSION",
    "STATE",
    "Kind",
    "Record",
    "canonical",
    "check_record",
    "plain_settings",
    "tensor_shapes",
    "upgraded",
]

Record = dict[str, Any]
Kind = tuple[str, tuple[int, ...]]  # a tensor's dtype, as the format calls it, and its shape

FORMAT_VERSION = 2
"""What is written; the versions before it are read, too."""

STATE = "state."
"""What the names of a training state's tensors begin with."""

# What version 2 has and version 1 has not, and what that stands for: sigmoids and log loss.
_SINCE_2: Record = {"loss": "log_loss", "classes": None, "metadata": {}, "state": None}
_KEYS_OF_1 = {
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
_RECORD_KEYS = {1: _KEYS_OF_1, 2: _KEYS_OF_1 | _SINCE_2.keys()}
FOLDING = ("input_mean", "input_scale")
_DEEPEST = 64  # lists and dicts within each other in a setting
_INTEGER_BITS = 1023  # such an integer is a finite float, too
_MENTIONED = 4  # of the fields or tensors that are missing, in a message
_MOST_PADDING = 16_000_000  # bytes by which labels may grow as NumPy has them, each as the longest


def check_record(record: Record, tensors: Mapping[str, Kind]) -> None:
    """Check a network on its way to a file, or from one before anything is allocated for it.

    Parameters
    ----------
    record : dict
        What its metadata say, or will say, of a ``format_version`` that is known.
    tensors : mapping
        Dtype, as the format calls it, and shape of each tensor by name.

    Raises
    ------
    TypeError, ValueError
        If a field is missing, of a wrong type or out of range, or the tensors are not those that
        it calls for.
    """
    version = record["format_version"]
    if record.keys() != _RECORD_KEYS[version]:
        raise ValueError(
            "its metadata has missing or unknown fields: "
            + _listed(sorted(record.keys() ^ _RECORD_KEYS[version]))
        )
    sizes = record["layer_sizes"]
    if (
        not isinstance(sizes, list)
        or len(sizes) < 2
        or any(type(size) is not int or size < 1 for size in sizes)
    ):
        raise ValueError(
            f"layer_sizes must be two or more positive integers, got {reprlib.repr(sizes)}"
        )
    if record["dtype"] not in tuple(DTYPES):
        accepted = " or ".join(DTYPES)
        raise ValueError(f"dtype must be {accepted}, got {reprlib.repr(record['dtype'])}")
    for key in FOLDING:
        if record[key] is not None and not _is_number(record[key]):
            raise ValueError(
                f"{key} must be a finite number or null, got {reprlib.repr(record[key])}"
            )
    seed = record["seed"]
    if seed is not None and not (type(seed) is int and seed >= 0 and _is_number(seed)):
        raise ValueError(
            f"seed must be an integer or null, not negative and of {_INTEGER_BITS} bits at most,"
            f" got {_shown(seed)}"
        )
    for key, check in (("activation", check_activation), ("init", canonical)):
        _plain(record[key], key)  # first: the message may show what this lets pass
        check(record[key])
    plain_settings(record["training_settings"])
    if version == 1:
        if record["activation"] != "sigmoid":
            raise ValueError(
                "activation must be one of: 'sigmoid' in format version 1,"
                f" got {reprlib.repr(record['activation'])}"
            )
    else:
        _check_since_2(record)
    _check_tensors(record, tensors)


def _check_since_2(record: Record) -> None:
    """Check what version 2 has."""
    spread(check_activation(record["activation"]), len(record["layer_sizes"]) - 2)
    for key in ("loss", "classes", "state"):
        _plain(record[key], key)
    loss, outputs = check_loss(record["loss"]), record["layer_sizes"][-1]
    if loss == "cross_entropy" and outputs == 1:
        raise ValueError("loss must be another for one output, got 'cross_entropy'")
    classes = record["classes"]
    if classes is not None:
        if not isinstance(classes, list):
            raise TypeError(f"classes must be a list or null, got {reprlib.repr(classes)}")
        _check_padding(classes)
        check_class_count(check_classes(classes, "classes"), loss, outputs)
    plain_settings(record["metadata"], "metadata")


def _check_padding(classes: list[Any]) -> None:
    lengths = [len(label) for label in classes if isinstance(label, str)]
    padded = 4 * (len(lengths) * max(lengths, default=0) - sum(lengths))
    if padded > _MOST_PADDING:
        raise ValueError(f"classes has a label of {max(lengths)} characters among {len(lengths)}")


def upgraded(record: Record) -> Record:
    """A record that was checked, as version 2 has it."""
    known = {**_SINCE_2, **record} if record["format_version"] == 1 else dict(record)
    activation = known["activation"]
    known["activation"] = tuple(activation) if isinstance(activation, list) else activation
    return known


def _check_tensors(record: Record, tensors: Mapping[str, Kind]) -> None:
    """Compare tensors with what the record calls for, in time that follows from the tensors."""
    names = (name for name, _ in tensor_shapes(record))
    missing = list(islice((name for name in names if name not in tensors), _MENTIONED))
    if missing:
        raise ValueError(f"missing tensors: {_listed(missing)}")
    expected = dict(tensor_shapes(record))  # none is missing: they are no more than there are
    extra = sorted(tensors.keys() - expected.keys())
    if extra:
        raise ValueError(f"unexpected tensors: {_listed(extra)}")
    name_of_dtype = record["dtype"]
    for key, shape in expected.items():
        dtype, found = tensors[key]
        if found != shape:
            raise ValueError(
                f"{key} has shape {reprlib.repr(found)}, but layer_sizes call for"
                f" {reprlib.repr(shape)}"
            )
        if dtype != DTYPES[name_of_dtype] and not (key in FOLDING and dtype == DTYPES["float64"]):
            raise ValueError(
                f"{key} has dtype {reprlib.repr(dtype)[1:-1]},"
                f" expected {DTYPES[name_of_dtype]} ({name_of_dtype})"
            )


def tensor_shapes(record: Record) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Yield name and shape of each tensor that `record` calls for, in the checksum's order."""
    sizes = record["layer_sizes"]
    for key in FOLDING:
        if record[key] is None:
            yield key, (sizes[0],)
    for layer, (below, size) in enumerate(pairwise(sizes)):
        yield f"weights.{layer}", (size, below)
        yield f"biases.{layer}", (size,)
    if record.get("state") is not None:
        for name, shape in state_shapes(record["state"], sizes):
            yield STATE + name, shape


def _listed(names: Iterable[str]) -> str:
    """Some names for a message, which control characters in a file's names must not garble."""
    shown = [reprlib.repr(name)[1:-1] for name in islice(names, _MENTIONED)]
    return ", ".join(shown)


def plain_settings(settings: object, name: str = "training_settings") -> Record:
    """Copy settings, called ``name``, as JSON gives them back, or say which it would not."""
    if not isinstance(settings, dict):
        raise TypeError(f"{name} must be an object (a dict), got {reprlib.repr(settings)}")
    plain = {}
    for key, value in list(settings.items()):
        place = f"{name}[{reprlib.repr(key)}]"
        if not isinstance(key, str):
            raise TypeError(f"{place}: the key must be a str, or it would come back as one")
        plain[key] = _plain(value, place)
    return plain


def _plain(value: object, name: str, depth: int = 0) -> Any:
    """Copy a value as JSON gives it back, tuples as lists; `name` is for messages."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, int | float):
        if not _is_number(value):
            raise ValueError(
                f"{name} must hold finite numbers, integers of {_INTEGER_BITS} bits at most,"
                f" got {_shown(value)}"
            )
        return int(value) if isinstance(value, int) else float(value)
    if not isinstance(value, list | tuple | dict):
        raise TypeError(
            f"{name} must hold what JSON has (None, bool, int, float, str, list, dict),"
            f" got {type(value).__name__}"
        )
    if depth == _DEEPEST:
        raise ValueError(f"{name} is nested more than {_DEEPEST} deep")
    if not isinstance(value, dict):
        return [_plain(item, name, depth + 1) for item in value]
    for key in value:
        if not isinstance(key, str):
            raise TypeError(f"{name} has the key {reprlib.repr(key)}: keys must be str")
    return {str.__str__(key): _plain(item, name, depth + 1) for key, item in value.items()}


def _is_number(value: object) -> bool:
    """Whether it is a finite number, an integer of as many bits as any reader of JSON takes."""
    if isinstance(value, float):
        return math.isfinite(value)
    return (
        type(value) is not bool and isinstance(value, int) and value.bit_length() <= _INTEGER_BITS
    )


def _shown(value: object) -> str:
    if type(value) is int and not _is_number(value):
        return f"one of {value.bit_length()} bits"  # Python refuses to write out the longest
    return reprlib.repr(value)


def canonical(init: object) -> str | float | tuple[str, float]:
    """Return `init` as networks keep it: of a callable, only that it was one."""
    if isinstance(init, str) and init == "callable":
        return "callable"
    try:
        return canonical_init(init)
    except OverflowError:  # an integer that no float holds
        raise ValueError(f"init must be finite, got {_shown(init)}") from None
