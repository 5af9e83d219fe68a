"""Damaged files of compiled kernels: what a process makes of them.

    python -m tests.trials.damaged_caches [trials]    (500; about a second each)

Each trial damages one file of a populated cache and forks a process that calls what is in there.
"""

from __future__ import annotations

import collections
import os
import random
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

import fastbp

X = np.linspace(-30, 30, 1000)
RIGHT = 1 / (1 + np.exp(-X))


def bit(data: bytes, rng: random.Random) -> bytes:
    changed = bytearray(data)
    changed[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def zeros(data: bytes, rng: random.Random) -> bytes:
    at = rng.randrange(len(data))
    return data[:at] + bytes(len(data[at : at + 512])) + data[at + 512 :]


DAMAGES: dict[str, Callable[[bytes, random.Random], bytes]] = {
    "one bit": bit,
    "512 zeros": zeros,
    "cut": lambda data, rng: data[: rng.randrange(len(data))],
    "empty": lambda data, rng: b"",
    "longer": lambda data, rng: data + rng.randbytes(rng.randrange(1, 99)),
    "nothing but zeros": lambda data, rng: bytes(len(data)),
}


def sigmoids() -> str:
    for dtype in (np.float32, np.float64):
        if not np.allclose(fastbp.sigmoid(X.astype(dtype)), RIGHT, rtol=1e-5, atol=1e-7):
            return "wrong"
    return "right"


def in_fork(call: Callable[[], str]) -> str:
    """What a call says in a process of its own; or the exception, or the signal that ended it."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        signal.alarm(120)
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, 1)
        os.dup2(nowhere, 2)
        try:
            said = call()
        except BaseException as error:
            said = f"error {error!r}"[:99]
        os.write(writing, said.encode())
        os._exit(0)
    os.close(writing)
    with open(reading, encoding="utf-8") as file:
        said = file.read()
    status = os.waitpid(child, 0)[1]
    return said if status == 0 else f"signal {signal.Signals(os.WTERMSIG(status)).name}"


def trials(count: int, folder: str) -> collections.Counter[tuple[str, str]]:
    """Damage a cache `count` times: how often which damage had which outcome.

    In a process that has compiled nothing, and whose ``NUMBA_CACHE_DIR`` is `folder`.
    """
    assert in_fork(sigmoids) == "right"
    outcomes: collections.Counter[tuple[str, str]] = collections.Counter()
    rng = random.Random(0)
    with tempfile.TemporaryDirectory() as whole:
        shutil.copytree(folder, whole, dirs_exist_ok=True)
        for trial in range(count):
            shutil.copytree(whole, folder, dirs_exist_ok=True)
            kind = list(DAMAGES)[trial % len(DAMAGES)]
            path = rng.choice([path for path in sorted(Path(folder).rglob("*")) if path.is_file()])
            damaged = DAMAGES[kind](path.read_bytes(), rng)
            path.write_bytes(damaged)
            outcome = in_fork(sigmoids)
            if outcome == "right" and path.read_bytes() == damaged:
                outcome = "not replaced"
            outcomes[kind, outcome] += 1
    return outcomes


def main(number: str = "500") -> None:
    if "NUMBA_CACHE_DIR" not in os.environ or len(sys.argv) < 3:
        with tempfile.TemporaryDirectory() as folder:  # which Numba reads when it is imported
            environment = {**os.environ, "NUMBA_CACHE_DIR": folder}
            command = [sys.executable, "-m", "tests.trials.damaged_caches", number, folder]
            status = os.spawnve(os.P_WAIT, sys.executable, command, environment)
        sys.exit(status)
    outcomes = trials(int(number), sys.argv[2])
    for (kind, outcome), times in sorted(outcomes.items()):
        print(f"{times:5} {kind:20} {outcome}", flush=True)
    sys.exit(any(outcome != "right" for _, outcome in outcomes))


if __name__ == "__main__":
    main(*sys.argv[1:2])
