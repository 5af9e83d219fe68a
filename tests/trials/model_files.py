"""Model files changed at random, 10,000 by default: which are refused how, and in what memory.

    python -m tests.trials.model_files [N]

Whatever a file holds, ``fastbp.load`` says ValueError or OSError, names the file, and takes less
than ten times the file's size and 50 MB; what it takes for a network can be saved and loaded again.
"""

from __future__ import annotations

import json
import random
import sys
import tempfile
import time
import tracemalloc
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import fastbp
from tests.forging import (
    file_of,
    network_of,
    read_file,
    state_of,
    version_1_of,
    with_header,
    write_file,
)

DEEP = 20_000
VALUES = [
    *("null", "true", "false", "0", "-0", "1", "-1", "7", "0.5", "1e308", "1e999", "-1e-999"),
    *("NaN", "Infinity", "-Infinity", '""', '"callable"', '"zeros"', '"float64"', "[]", "{}"),
    *('"\\ud800"', '"\\u0000\\u001b[2J"', '"caf\\udce9"', "9" * 400, "-" + "9" * 700, "9" * 5000),
    *("1099511627776", '["normal",' + "9" * 400 + "]", "[[],[]]", '["normal",0.5]', "[7,4,3,2.0]"),
    *("[7,4,3,true]", "[" + "1," * 20_000 + "1]", "[" * 70 + "]" * 70, "[" * 500 + "]" * 500),
    *(
        "[" * DEEP + "]" * DEEP,
        '{"a":' * DEEP + "1" + "}" * DEEP,
        '{"a":1,"a":2}',
        "[0,1]",
        '"F32"',
    ),
    *("[" + "[]," * 50_000 + "1]", "[" + '"ab",' * 50_000 + "1]", '"' + "\U0001f600" * 9_000 + '"'),
]


@dataclass
class Outcome:
    """What came of some files."""

    answers: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    most_memory: int = 0  # beyond ten times the file's size
    slowest: float = 0.0


def mutants(rng: random.Random, path: Path) -> Callable[[], bytes]:
    """A function that makes a file, damaged or forged."""
    originals = []
    for fold, dtype in (("none", "float32"), ("feature", "float32"), ("scalar", "float64")):
        network = network_of(fold, dtype, training_settings={"epochs": [3, None], "seed": 3})
        if fold != "none":
            network.activation, network.loss_function = ("gelu", "tanh"), "cross_entropy"
            network.classes_ = ["a", "b"] if fold == "scalar" else [10, 20]
            network.metadata = {"class_names": ["x", "y"]}
            network.training_state = state_of(network)
        network.save(path, training_state=True)
        record, tensors = read_file(path)
        originals.append((path.read_bytes(), record, tensors))
        if fold == "none":
            write_file(path, version_1_of(record), tensors)
            originals.append((path.read_bytes(), version_1_of(record), tensors))
    kinds = [_bytes_changed, _cut, _spliced, _field_replaced, _entry_replaced, _text_changed]

    def make() -> bytes:
        content, record, tensors = rng.choice(originals)
        return rng.choice(kinds)(rng, content, record, tensors)

    return make


def _bytes_changed(rng: random.Random, content: bytes, *_: Any) -> bytes:
    changed = bytearray(content)
    for _ in range(rng.choice((1, 1, 2, 8, 64))):
        # The header is most of what there is to get wrong; its first bytes are its length.
        end = rng.choice((8, 400, len(content)))
        changed[rng.randrange(end)] = rng.choice((rng.randrange(256), *b'0"[]{},:\\ 9'))
    return bytes(changed)


def _cut(rng: random.Random, content: bytes, *_: Any) -> bytes:
    end = rng.randrange(len(content))
    return content[:end] + rng.choice((b"", b"", b"\0", bytes(1000)))


def _spliced(rng: random.Random, content: bytes, *_: Any) -> bytes:
    a, b, c = (rng.randrange(len(content)) for _ in range(3))
    return content[:a] + content[min(b, c) : max(b, c)] * rng.choice((1, 1, 2, 50)) + content[a:]


def _field_replaced(rng: random.Random, _: bytes, record: Any, tensors: Any) -> bytes:
    """A record that says something else, under a right checksum where it has one."""
    changed = json.loads(json.dumps(record))
    mark = "@@"
    place, key = _somewhere(rng, changed)
    place[key] = mark
    value = rng.choice(VALUES)
    try:
        place[key] = json.loads(value)
        return file_of(changed, tensors)
    except (RecursionError, ValueError):  # a value that Python's JSON does not write
        place[key] = mark
        text = json.dumps({"checksum": "0" * 32, "network": changed}).replace(f'"{mark}"', value)
        return _with_metadata(text, file_of(record, tensors))


def _with_metadata(text: str, content: bytes) -> bytes:
    header, data = _parts(content)
    header["__metadata__"]["fastbp"] = text
    return with_header(json.dumps(header), data)


def _parts(content: bytes) -> tuple[dict[str, Any], bytes]:
    end = 8 + int.from_bytes(content[:8], "little")
    return json.loads(content[8:end]), content[end:]


def _somewhere(rng: random.Random, value: Any) -> tuple[Any, Any]:
    """A place within nested dicts and lists that are not empty."""
    while True:
        key = rng.choice(list(value) if isinstance(value, dict) else range(len(value)))
        if not isinstance(value[key], dict | list) or not value[key] or rng.random() < 0.5:
            return value, key
        value = value[key]


def _entry_replaced(rng: random.Random, content: bytes, *_: Any) -> bytes:
    header, data = _parts(content)
    place, key = _somewhere(rng, header)
    place[key] = "@@"
    return with_header(json.dumps(header).replace('"@@"', rng.choice(VALUES)), data)


def _text_changed(rng: random.Random, content: bytes, *_: Any) -> bytes:
    """A header with something put in anywhere, of a length that is right."""
    header, data = _parts(content)
    text = json.dumps(header)
    at = rng.randrange(len(text))
    put = rng.choice((*VALUES, "\\", '"', "{", "}", ",", ":", '\\"'))
    return with_header(text[:at] + put + text[at + rng.choice((0, 0, 1, 5)) :], data)


def try_files(count: int, seed: int = 0) -> Outcome:
    """Load `count` files, each a network's that was changed."""
    outcome = Outcome()
    rng = random.Random(seed)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.safetensors"
        make = mutants(rng, path)
        tracemalloc.start()
        try:
            for number in range(count):
                path.write_bytes(make())
                _try_file(path, number, outcome)
        finally:
            tracemalloc.stop()
    return outcome


def _try_file(path: Path, number: int, outcome: Outcome) -> None:
    before = tracemalloc.get_traced_memory()[0]
    tracemalloc.reset_peak()
    start = time.process_time()
    answer = _answer(path)
    outcome.slowest = max(outcome.slowest, time.process_time() - start)
    memory = tracemalloc.get_traced_memory()[1] - before - 10 * path.stat().st_size
    outcome.most_memory = max(outcome.most_memory, memory)
    outcome.answers[answer] += 1
    if answer not in ("loaded", "ValueError", "OSError") or memory > 50_000_000:
        outcome.wrong.append(f"file {number}: {answer}, {memory} bytes more than ten of its sizes")


def _answer(path: Path) -> str:
    try:
        network = fastbp.load(path)
    except (ValueError, OSError) as error:
        if path.name not in str(error):
            return f"{type(error).__name__} that does not name the file: {error}"
        return "OSError" if isinstance(error, OSError) else "ValueError"
    except Exception as error:  # the point of this program: nothing else may come
        return f"{type(error).__name__}: {error}"
    again = path.with_name("again")
    network.save(again, training_state=True)
    if _told(fastbp.load(again)) != _told(network):
        return "settings that change when they are saved"
    return "loaded"


def _told(network: fastbp.Network) -> list[Any]:
    """What a file tells of a network besides its arrays."""
    state = network.training_state
    return [
        network.activation,
        network.loss_function,
        None if network.classes_ is None else network.classes_.tolist(),
        network.training_settings,
        network.metadata,
        None if state is None else state.as_record(),
    ]


def main() -> int:
    """Try as many files as the command line says, print what came of them, and 1 if any failed."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
    outcome = try_files(count)
    for answer, number in outcome.answers.most_common():
        print(f"{number:7,} {answer}")
    print(
        f"{count:7,} files: at most {outcome.most_memory / 1e6:.1f} MB more than ten times the"
        f" file, {outcome.slowest:.2f} s of a core; {len(outcome.wrong)} wrong"
    )
    print(*outcome.wrong[:20], sep="\n")
    return 1 if outcome.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
