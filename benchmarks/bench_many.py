"""Many networks at once, and one after the other.

    python benchmarks/bench_many.py                    # all
    python benchmarks/bench_many.py pictures --rounds 9
    python benchmarks/bench_many.py digits

``pictures``: an epoch of 4 and of 16 seeds of 12288-3-2-1 on 4,096 pictures, at the estimators'
defaults, by `fit_many` and by `fit` one after the other, in turns; beside them the least time that
the machine could take for the joint work, by what it can do as measured between the rounds, and
what that model predicts for a machine with more cores.

``digits``: a grid of 12 points with 5 folds, by `MLPSearchCV` and by `GridSearchCV(n_jobs=2)` over
the same estimator, in turns; the first round has to start the latter's processes.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import time
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

PIXELS, PICTURES, HIDDEN = 12288, 4096, (3, 2)
CORES, BANDWIDTH = 32, 250e9  # of the machine that is predicted: a server of 2023


def seconds(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def joint_work(models: int, together: int, itemsize: int) -> tuple[int, int]:
    """Operations of an epoch, and bytes of X that it reads: once for so many ``together``."""
    from fastbp.roofline import training_work

    work = training_work((PIXELS, *HIDDEN, 1), PICTURES, itemsize, 1 << 62)
    return work.flops * models, work.nbytes * -(-models // together)


def predict(models: int, itemsize: int, flops: float, bandwidth: float) -> str:
    """What the model says of a machine: one after the other, and together."""
    operations, _ = joint_work(models, models, itemsize)
    alone, joint = (
        max(operations / flops, joint_work(models, at_once, itemsize)[1] / bandwidth)
        for at_once in (1, models)
    )
    return f"{1e3 * alone:.2f} and {1e3 * joint:.2f} ms an epoch, {alone / joint:.1f} x"


def alternate(networks: Sequence[Any], X: Any, y: Any, rounds: int) -> tuple[list[float], ...]:
    """Seconds of `fit` one after the other and of `fit_many`, in turns; operations a second."""
    from sklearn.base import clone

    from fastbp import fit_many, get_num_threads
    from fastbp.engine.peaks import peak_flops

    alone, joint, flops = [], [], []
    for _ in range(rounds):
        some = [clone(network) for network in networks]
        start = time.perf_counter()
        for network in some:
            network.fit(X, y)
        alone.append(time.perf_counter() - start)
        some = [clone(network) for network in networks]
        start = time.perf_counter()
        fit_many(some, X, y)
        joint.append(time.perf_counter() - start)
        flops.append(peak_flops("float32", get_num_threads(), 0.1)[0])
    return alone, joint, flops


def pictures(rounds: int, epochs: int, counts: Sequence[int], dtypes: Sequence[str]) -> None:
    from fastbp import MLPClassifier, get_num_threads
    from fastbp.engine.peaks import measured_bandwidth

    threads = get_num_threads()
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (PICTURES, PIXELS), np.uint8)
    y = rng.integers(0, 2, PICTURES)
    bandwidth = measured_bandwidth(threads)
    for dtype, count in itertools.product(dtypes, counts):
        X = pixels if dtype == "uint8" else (pixels / np.float32(255))
        networks = [
            MLPClassifier(HIDDEN, random_state=i, max_iter=epochs, tol=0) for i in range(count)
        ]
        alone, joint, flops = alternate(networks, X, y, rounds)
        operations, nbytes = joint_work(count, count, X.itemsize)  # the least: one pass for all
        least = epochs * max(operations / max(flops), nbytes / bandwidth)
        medians = statistics.median(alone) / statistics.median(joint)
        print(
            f"{count} seeds, {dtype}: one after the other {1e3 * min(alone) / epochs:.1f} ms an"
            f" epoch, together {1e3 * min(joint) / epochs:.1f}: {min(alone) / min(joint):.2f} x"
            f" (median {medians:.2f} x), {least / min(joint):.2f} of the limit"
        )
        core = max(flops) / threads
        text = predict(count, X.itemsize, core * CORES, BANDWIDTH)
        print(
            f"    predicted for {CORES} cores of {core / 1e9:.0f} GFLOP/s and"
            f" {BANDWIDTH / 1e9:.0f} GB/s, one after the other and together: {text}",
            flush=True,
        )


def digits(rounds: int, max_iter: int) -> None:
    from sklearn.datasets import load_digits
    from sklearn.model_selection import GridSearchCV

    from fastbp import MLPClassifier, MLPSearchCV

    X, y = load_digits(return_X_y=True)
    grid = {"alpha": [1e-5, 1e-4, 1e-3, 1e-2], "learning_rate_init": [3e-4, 1e-3, 3e-3]}
    classifier = MLPClassifier(random_state=0, max_iter=max_iter)
    mine: dict[str, Any] = {}

    def search(kind: Any, **parameters: Any) -> None:
        mine[kind.__name__] = kind(classifier, grid, cv=5, **parameters).fit(X, y)

    for i in range(rounds):
        theirs = seconds(lambda: search(GridSearchCV, n_jobs=2))
        ours = seconds(lambda: search(MLPSearchCV))
        scores = [one.cv_results_["mean_test_score"] for one in mine.values()]
        print(
            f"digits, round {i}: GridSearchCV(n_jobs=2) {theirs:.2f} s, MLPSearchCV {ours:.2f} s:"
            f" {theirs / ours:.2f} x; scores {'equal' if np.array_equal(*scores) else 'DIFFER'}"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", nargs="?", choices=["pictures", "digits", "all"], default="all")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--max-iter", type=int, default=200)
    parser.add_argument("--seeds", type=int, nargs="+", default=[4, 16])
    parser.add_argument("--dtypes", nargs="+", default=["uint8", "float32"])
    given = parser.parse_args()
    warnings.simplefilter("ignore")
    if given.what in ("pictures", "all"):
        pictures(given.rounds, given.epochs, given.seeds, given.dtypes)
    if given.what in ("digits", "all"):
        digits(given.rounds, given.max_iter)


if __name__ == "__main__":
    main()
