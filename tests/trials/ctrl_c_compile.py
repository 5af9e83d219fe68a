"""Ctrl-C at random moments while kernels compile: how soon a call ends, and what works after it.

    python -m tests.trials.ctrl_c_compile [interrupts]    (200; some three seconds for ten of them)

Processes with an empty cache make first calls, each again and again until it comes through. Then
as many begin to compile, are interrupted, and end: a crash or a long wait would show.
"""

from __future__ import annotations

import random
import signal
import statistics
import subprocess
import sys
import tempfile
import time

from tests.processes import child_environment

CALLS = """
import sys, time
import numpy as np, fastbp

rng = np.random.default_rng(0)
X = rng.random((200, 300), dtype=np.float32)
y = X[:, 0] > 0.5

def fitted(hidden, dtype, X):
    return fastbp.Network((300, *hidden, 1), seed=0, dtype=dtype).fit(X, y, epochs=2).loss[-1]

def near(values):
    return fastbp.sigmoid(np.float32(values)).tolist()

calls = {
    "matmul": lambda: float(fastbp.matmul(X, X.T).sum()),
    "narrow": lambda: fitted((3, 2), "float32", X),
    "wide": lambda: fitted((40,), "float32", X),
    "narrow64": lambda: fitted((3, 2), "float64", X.astype(float)),
    "matmul64": lambda: float(fastbp.matmul(X.astype(float), X.T.astype(float)).sum()),
}
near([0])
print("ready", flush=True)
for name, call in calls.items():
    while True:
        try:
            result = call()
            print(f"result {name} {result!r}", flush=True)
            break
        except KeyboardInterrupt:
            now = time.monotonic()
            print("interrupted", now, near([0, 1]) == [0.5, 0.7310585975646973], flush=True)
"""

INTERRUPTED_AND_GONE = """
import numpy as np, fastbp
X = np.ones((200, 300), np.float32)
print("ready", flush=True)
fastbp.Network((300, 3, 2, 1), seed=0).fit(X, X[:, 0], epochs=100_000)
"""

LONGEST = 0.6
"""Seconds between two interrupts, at most."""


def start(code: str, cache: str) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-P", "-c", code],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=child_environment(NUMBA_CACHE_DIR=cache),
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n", process.communicate()[1]
    return process


def one_process(cache: str, rng: random.Random, most: int) -> tuple[list[float], int, list[str]]:
    """Interrupt up to `most` times: seconds until each was felt, failures after, results."""
    process = start(CALLS, cache)
    delays: list[float] = []
    failures, results = 0, []
    sent = None
    assert process.stdout is not None
    while True:
        if sent is None and len(delays) < most:
            time.sleep(rng.uniform(0.02, LONGEST))
            if process.poll() is None:
                sent = time.monotonic()
                process.send_signal(signal.SIGINT)
        line = process.stdout.readline()
        if not line:
            break
        word, *rest = line.split()
        if word == "interrupted" and sent is not None:
            delays.append(float(rest[0]) - sent)
            failures += rest[1] != "True"
            sent = None
        else:
            results.append(line.strip())
    errors = process.communicate()[1]
    if process.returncode != 0 and "KeyboardInterrupt" not in errors.splitlines()[-1]:
        failures += 1
        print(errors, file=sys.stderr)
    return delays, failures, results


def interrupts(most: int, rng: random.Random) -> None:
    delays: list[float] = []
    failures = 0
    with tempfile.TemporaryDirectory() as cache:
        right = one_process(cache, rng, 0)[2]
    while len(delays) < most:
        with tempfile.TemporaryDirectory() as cache:
            some, failed, results = one_process(cache, rng, most - len(delays))
        delays += some
        failures += failed + sum(result not in right for result in results)
    print(
        f"{len(delays)} interrupts of compiling: {failures} failures afterwards; felt after"
        f" {statistics.median(delays):.3f} s (median), {max(delays):.3f} s (longest)"
    )


def ends(most: int, rng: random.Random) -> None:
    seconds, crashes = [], 0
    for _ in range(most):
        with tempfile.TemporaryDirectory() as cache:
            process = start(INTERRUPTED_AND_GONE, cache)
            time.sleep(rng.uniform(0.1, 10))
            process.send_signal(signal.SIGINT)
            since = time.monotonic()
            errors = process.communicate()[1]
            seconds.append(time.monotonic() - since)
            if process.returncode != -signal.SIGINT:  # how Python ends after Ctrl-C
                crashes += 1
                print(process.returncode, errors, file=sys.stderr)
    print(
        f"{most} ends of interrupted processes: {crashes} crashes; gone after"
        f" {statistics.median(seconds):.2f} s (median), {max(seconds):.2f} s (longest)"
    )


def main(number: str = "200") -> None:
    rng = random.Random(0)
    interrupts(int(number), rng)
    ends(max(1, int(number) // 10), rng)


if __name__ == "__main__":
    main(*sys.argv[1:])
