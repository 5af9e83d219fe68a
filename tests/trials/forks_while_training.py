"""A process forks while another of its threads trains, and the children train too.

    python -m tests.trials.forks_while_training [forks]    (300 for each layer; some five minutes)

A child that hangs is one that has not trained after PATIENCE seconds, where 0.1 are enough; a wrong
one has other weights than the parent would have got.
"""

from __future__ import annotations

import os
import subprocess
import sys

LAYERS = ("tbb", "omp", "workqueue")
AT_ONCE = 6
PATIENCE = 20.0

PROGRAM = """
import os, signal, sys, threading, time
import numpy as np, fastbp

forks, at_once, patience = int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])
X = np.random.default_rng(0).random((512, 4096), dtype=np.float32)
y = X[:, 0] > 0.5

def trained(seed):
    network = fastbp.Network((4096, 32, 1), seed=seed)
    network.fit(X, y, epochs=1, seed=0)
    return [weight.tobytes() for weight in network.weights]

expected = trained(0)

def train():
    while True:
        trained(1)

threading.Thread(target=train, daemon=True).start()
time.sleep(0.3)

def status(pid, deadline):
    while time.monotonic() < deadline:
        found, how = os.waitpid(pid, os.WNOHANG)
        if found:
            return os.waitstatus_to_exitcode(how)
        time.sleep(0.005)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    return "hung"

statuses = []
while len(statuses) < forks:
    children = []
    for _ in range(min(at_once, forks - len(statuses))):
        pid = os.fork()
        if pid == 0:
            right = False
            try:
                right = trained(0) == expected
            finally:
                os._exit(0 if right else 1)
        children.append(pid)
        time.sleep(0.03)
    deadline = time.monotonic() + patience
    statuses += [status(pid, deadline) for pid in children]
hung = statuses.count("hung")
print(fastbp.show_config()["threading_layer"], hung, forks - hung - statuses.count(0), flush=True)
os._exit(0)
"""


def main(forks: int = 300) -> int:
    failed = False
    for layer in LAYERS:
        done = subprocess.run(
            [sys.executable, "-P", "-c", PROGRAM, str(forks), str(AT_ONCE), str(PATIENCE)],
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "NUMBA_THREADING_LAYER": layer},
        )
        if done.returncode:
            failed = True
            print(f"{layer}: the parent ended with {done.returncode}", flush=True)
            continue
        used, hung, wrong = done.stdout.splitlines()[-1].split()  # layers may have said something
        failed |= (hung, wrong) != ("0", "0")
        print(f"{layer} ({used}): {forks} children, {hung} hung, {wrong} wrong", flush=True)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main(*map(int, sys.argv[1:])))
