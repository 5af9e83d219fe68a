"""Ctrl-C at random moments of long calls: how soon they end, and whether fastbp works after each.

    python -m tests.trials.ctrl_c_fit [interrupts]    (30 for each kind of call; some three minutes)

For Ctrl-C while kernels compile see `ctrl_c_compile`.
"""

from __future__ import annotations

import os
import random
import signal
import statistics
import sys
import threading
import time
from collections.abc import Callable

import numpy as np

import fastbp

LONGEST = 0.5
"""Seconds from the start of a call to the interrupt, at most."""

ALLOWED = 0.2
"""Seconds from the interrupt to its exception that the project promises; busy machines add some."""


def calls() -> dict[str, Callable[[], object]]:
    """What is interrupted: each takes longer than may pass until an interrupt is felt."""
    rng = np.random.default_rng(0)
    X = rng.random((60_000, 784), dtype=np.float32)
    y = X[:, 0] > 0.5
    wide, narrow = (fastbp.Network((784, hidden, 1), seed=0) for hidden in (1024, 3))
    square, thin = rng.random((4000, 4000), dtype=np.float32), rng.random((4000, 2), np.float32)
    tall = rng.random((200_000, 300), dtype=np.float32)
    return {
        "fit, wide, full batch": lambda: wide.fit(X, y, batch_size=None, epochs=2),
        "fit, wide, batches": lambda: wide.fit(X, y, batch_size=64, epochs=1),
        "fit, narrow, full batch": lambda: narrow.fit(X, y, batch_size=None, epochs=200),
        "fit, narrow, batch of 1": lambda: narrow.fit(X, y, batch_size=1, epochs=2),
        "predict": lambda: wide.predict(X),
        "loss": lambda: wide.loss(X, y),
        "gradients": lambda: wide.gradients(X, y),
        "matmul": lambda: fastbp.matmul(square, square),
        "matmul, a long k": lambda: fastbp.matmul(tall.T, tall),
        "matmul, thin": lambda: [fastbp.matmul(square, thin) for _ in range(100)],
    }


def interrupt(call: Callable[[], object], seconds: float) -> float:
    """Make calls until an interrupt ends one, sent after `seconds`: how long that took."""
    sent: list[float] = []

    def send() -> None:
        sent.append(time.perf_counter())
        os.kill(os.getpid(), signal.SIGINT)

    timer = threading.Timer(seconds, send)
    try:
        timer.start()
        while True:
            call()
    except KeyboardInterrupt:
        return time.perf_counter() - sent[0]


def sample() -> bytes:
    """The bits of one small piece of each kind of work."""
    rng = np.random.default_rng(1)
    X, y = rng.random((64, 300), np.float32), rng.integers(0, 2, 64)
    found = [fastbp.matmul(X, X.T), fastbp.matmul(X, X[:2].T), fastbp.sigmoid(X)]
    for hidden in (3, 40):
        network = fastbp.Network((300, hidden, 1), seed=0)
        network.fit(X, y, batch_size=8, epochs=2, seed=0)
        found += [*network.weights, network.predict_proba(X)]
    return b"".join(np.ascontiguousarray(part).tobytes() for part in found)


def main(interrupts: int = 30) -> int:
    rng = random.Random(0)
    expected = sample()
    failed = late = 0
    for name, call in calls().items():
        taken = []
        for _ in range(interrupts):
            taken.append(interrupt(call, rng.uniform(0, LONGEST)))
            failed += sample() != expected
        late += sum(seconds > ALLOWED for seconds in taken)
        print(
            f"{name}: {interrupts} interrupts, felt after {statistics.median(taken):.3f} s in the"
            f" median, {max(taken):.3f} s at most",
            flush=True,
        )
    print(f"{late} later than {ALLOWED} s, {failed} wrong results after one")
    return int(failed > 0 or late > 0)


if __name__ == "__main__":
    sys.exit(main(*map(int, sys.argv[1:])))
