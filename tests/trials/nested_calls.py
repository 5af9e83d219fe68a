"""Signal handlers that call fastbp while the main thread does: are both results right?

    python -m tests.trials.nested_calls [calls]    (1000 for each pair; some two minutes)

A handler that is refused by a RuntimeError counts as such, and is no failure; anything else that
differs from what the same call gives on its own is one.
"""

from __future__ import annotations

import random
import signal
import sys
from collections.abc import Callable

import numpy as np

import fastbp

MOMENT = 0.002
"""Seconds between the end of one handler and the next signal, at most."""


def works() -> dict[str, Callable[[], bytes]]:
    """What is called, outside and in handlers, each giving the same bits every time."""
    rng = np.random.default_rng(0)
    X, y = rng.random((40, 500), np.float32), rng.integers(0, 2, 40)
    left, right = rng.random((90, 500), np.float32), rng.random((500, 70), np.float32)

    def predict(hidden: int) -> Callable[[], bytes]:
        network = fastbp.Network((500, hidden, 1), seed=1)
        return lambda: network.predict_proba(X).tobytes()

    def fit(hidden: int) -> Callable[[], bytes]:
        def trained() -> bytes:
            network = fastbp.Network((500, hidden, 1), seed=1)
            network.fit(X, y, batch_size=8, epochs=2, seed=2)
            return b"".join(weight.tobytes() for weight in network.weights)

        return trained

    network = fastbp.Network((500, 70, 1), seed=1)
    return {
        "predict, wide": predict(200),
        "predict, narrow": predict(3),
        "matmul": lambda: fastbp.matmul(left, right).tobytes(),
        "thin matmul": lambda: fastbp.matmul(left, right[:, :2]).tobytes(),
        "fit, wide": fit(64),
        "fit, narrow": fit(3),
        "gradients": lambda: network.gradients(X, y)[0][0].tobytes(),
        "sigmoid": lambda: fastbp.sigmoid(X).tobytes(),
    }


def nest(outer: Callable[[], bytes], inner: Callable[[], bytes], calls: int) -> list[int]:
    """Make `calls` calls of `inner` from handlers, during calls of `outer`.

    How many calls of `outer` and of `inner` were wrong, and how many of `inner` refused.
    """
    rng = random.Random(0)
    outer_result, inner_result = outer(), inner()
    wrong_outer = wrong_inner = refused = made = 0

    def handler(*_: object) -> None:
        nonlocal wrong_inner, refused, made
        made += 1
        try:
            wrong_inner += inner() != inner_result
        except RuntimeError:
            refused += 1
        signal.setitimer(signal.ITIMER_REAL, rng.uniform(1e-5, MOMENT))

    previous = signal.signal(signal.SIGALRM, handler)
    signal.setitimer(signal.ITIMER_REAL, MOMENT)
    while made < calls:
        wrong_outer += outer() != outer_result
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, previous)
    return [wrong_outer, wrong_inner, refused]


def main(calls: int = 1000) -> int:
    everything = works()
    names = list(everything)
    wrong = 0
    for i, outer in enumerate(names):
        for inner in (outer, names[(i + 1) % len(names)], names[(i + 3) % len(names)]):
            found = nest(everything[outer], everything[inner], calls)
            wrong += found[0] + found[1]
            print(
                f"{inner} within {outer}: {calls} calls, {found[0]} wrong outside,"
                f" {found[1]} wrong inside, {found[2]} refused",
                flush=True,
            )
    print(f"{wrong} wrong")
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main(*map(int, sys.argv[1:])))
