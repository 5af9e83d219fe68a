"""The interpreter exits while a daemon thread computes: with which status, and how often it hangs.

python -m tests.trials.exits_with_busy_daemon [exits]    (40 of each kind; some four minutes)
"""

from __future__ import annotations

import collections
import random
import signal
import subprocess
import sys

PROGRAM = """
import sys, threading, time
import numpy as np, fastbp

kind, seconds = sys.argv[1], float(sys.argv[2])
large, small = np.ones((200, 200), np.float32), np.ones((60, 60), np.float32)
pixels = np.zeros((256, 3000), np.uint8)
wide, narrow = (
    fastbp.Network((3000, hidden, 1), seed=0, input_scale=1 / 255) for hidden in (64, 3)
)
labels = np.zeros(len(pixels))
works = {
    "matmul": lambda: fastbp.matmul(large, large),
    "matmul, one thread": lambda: fastbp.matmul(large, large),
    "matmul, standby": lambda: fastbp.matmul(small, small),
    "fit, wide": lambda: wide.fit(pixels, labels, epochs=1, batch_size=32),
    "fit, narrow": lambda: narrow.fit(pixels, labels, epochs=1, batch_size=32),
    "predict": lambda: wide.predict(pixels),
}
fastbp.set_num_threads(1 if kind == "matmul, one thread" else 2)
work = works[kind]
work()  # compiles

def compute():
    while True:
        work()

threading.Thread(target=compute, daemon=True).start()
time.sleep(seconds)
"""
KINDS = (
    "matmul",
    "matmul, one thread",
    "matmul, standby",
    "fit, wide",
    "fit, narrow",
    "predict",
)
PATIENCE = 120
"""Seconds after which a process hangs; the first of a kind may have to compile."""


def one_exit(kind: str, seconds: float) -> str:
    """Start a process whose main thread ends after `seconds` of computing: how it ended."""
    command = [sys.executable, "-P", "-c", PROGRAM, kind, str(seconds)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE)
    except subprocess.TimeoutExpired:
        return "hung"
    if done.returncode < 0:
        return signal.Signals(-done.returncode).name
    if done.returncode or done.stderr:
        return f"status {done.returncode}: {(done.stderr.strip().splitlines() or [''])[-1]}"
    return "fine"


def main(exits: int = 40) -> int:
    rng = random.Random(0)
    failed = 0
    for kind in KINDS:
        ends = collections.Counter(one_exit(kind, rng.uniform(0.05, 0.1)) for _ in range(exits))
        failed += exits - ends["fine"]
        print(f"{kind}: " + ", ".join(f"{end} {n}" for end, n in ends.most_common()), flush=True)
    print(f"{exits * len(KINDS)} exits, {failed} failed")
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main(*map(int, sys.argv[1:])))
