"""The process of one system: prepares a case, checks it, and times it, as it is told.

Commands come as lines of JSON on standard input, answers go as lines of JSON to what standard
output was at the start; whatever a library prints goes to standard error. `fastbp.bench.processes`
is the other end.

A peer's process does not import fastbp: only this package and `fastbp.roofline`, which
need NumPy and nothing else.
"""

from __future__ import annotations

import ctypes
import gc
import importlib
import json
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from fastbp.bench.estimators import Estimation, fitted, one_row_runner, results
from fastbp.bench.problems import (
    Case,
    Inference,
    Product,
    Training,
    examples,
    first_parameters,
    operands,
    pictures,
)
from fastbp.bench.systems.base import System

__all__ = ["case_from_json", "main", "product_error"]

Array = npt.NDArray[Any]

_WARM_RUN = 0.5  # seconds: a run that takes longer needs no other one before it to warm up
_CHECKED_LINES = 4  # rows and columns of a product that are computed again in float64
_DIE_WITH_PARENT = 1  # PR_SET_PDEATHSIG of Linux's prctl


def main() -> None:
    """Serve commands until standard input ends. Arguments: module, class, threads, variant."""
    module, class_name, threads, variant = sys.argv[1:]
    _die_with_parent()
    # Libraries may print; the answers keep a channel of their own.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    _serve(_Worker(module, class_name, int(threads), variant), answers)


def _die_with_parent() -> None:
    """Ask Linux to end this process with its parent: stopped, it could not notice by itself."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_DIE_WITH_PARENT, int(signal.SIGKILL))


def _serve(worker: _Worker, answers: IO[str]) -> None:
    for line in sys.stdin:
        command = json.loads(line)
        try:
            answer = getattr(worker, command.pop("do"))(**command)
        except Exception as error:  # the parent reports it, whatever it is, and goes on
            text = str(error).strip() or "no message"
            answer = {"error": f"{type(error).__name__}: {text.splitlines()[0]}"}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


def case_from_json(fields: dict[str, Any]) -> Case:
    """A case from its fields, as `dataclasses.asdict` gives them."""
    kinds: dict[str, Any] = {
        "matmul": Product,
        "inference": Inference,
        "estimators": Estimation,
    }
    if "sizes" in fields:
        fields = {**fields, "sizes": tuple(fields["sizes"])}
    case: Case = kinds.get(fields["workload"], Training)(**fields)
    return case


class _Worker:
    """The commands; each method's arguments are the fields of its command."""

    def __init__(self, module: str, class_name: str, threads: int, variant: str) -> None:
        self._what = module, class_name
        self._settings = threads, variant
        self._system: System | None = None
        self._run: Callable[[], Any] | None = None
        self._memory_before: int | None = None

    def start(self) -> dict[str, Any]:
        """Import the library."""
        module, class_name = self._what
        self._system = getattr(importlib.import_module(module), class_name)(*self._settings)
        return {}

    def check(self, case: dict[str, Any], path: str) -> dict[str, Any]:
        """Do a little of the case and write the results to `path`, or tell a product's error."""
        assert self._system is not None
        problem = case_from_json(case)
        if isinstance(problem, Product):
            a, b = operands(problem)
            result = np.asarray(self._system.product(problem, a, b)())
            return {"error_of_bound": product_error(problem, a, b, result)}
        if isinstance(problem, Estimation):
            arrays = results(self._system.estimators(), problem)
        elif isinstance(problem, Training):
            short = problem.for_check()
            X, y = examples(problem, short.rows)
            trainer = self._system.trainer(short, first_parameters(problem.sizes), X, y)
            trainer.run()
            weights, biases = trainer.parameters()
            arrays = {f"weights[{i}]": np.asarray(w) for i, w in enumerate(weights)}
            arrays.update({f"biases[{i}]": np.asarray(b) for i, b in enumerate(biases)})
        else:
            X, _ = pictures(problem.rows, problem.sizes[0])
            predict = self._system.predictor(first_parameters(problem.sizes), X)
            last = min(problem.rows, 2 * problem.batch)
            parts = [
                np.asarray(predict(i, i + problem.batch)) for i in range(0, last, problem.batch)
            ]
            arrays = {"probabilities": np.concatenate(parts)}
        np.savez(path, **arrays)  # type: ignore[arg-type]
        return {}

    def prepare(self, case: dict[str, Any]) -> dict[str, Any]:
        """Get everything ready and run once, so that all is compiled and touched."""
        assert self._system is not None
        self.release()
        self._memory_before = _memory("VmRSS")
        problem = case_from_json(case)
        if isinstance(problem, Product):
            self._run = self._system.product(problem, *operands(problem))
        elif isinstance(problem, Estimation):
            self._run = _estimation(self._system, problem)
        elif isinstance(problem, Training):
            X, y = examples(problem, problem.rows)
            self._run = self._system.trainer(problem, first_parameters(problem.sizes), X, y).run
            del X, y  # a system that keeps floats need not keep the bytes
        else:
            X, _ = pictures(problem.rows, problem.sizes[0])
            predict = self._system.predictor(first_parameters(problem.sizes), X)
            self._run = _moving_window(predict, problem)
        start = time.perf_counter()
        self._run()
        seconds = time.perf_counter() - start
        _forget_peak()
        return {"first_run_seconds": seconds}

    def time(self, seconds: float) -> dict[str, Any]:
        """Time runs, at least one, until `seconds` are over."""
        assert self._run is not None
        clock, run = time.perf_counter, self._run
        samples: list[float] = []
        start = clock()
        run()
        first = clock() - start
        if first > _WARM_RUN:
            samples.append(first)
        while not samples or sum(samples) < seconds:
            start = clock()
            run()
            samples.append(clock() - start)
        return {
            "seconds": samples,
            "memory_before": self._memory_before,
            "memory_peak": _memory("VmHWM"),
        }

    def release(self) -> dict[str, Any]:
        """Give back the memory of the case."""
        self._run = None
        gc.collect()
        if sys.platform == "linux":
            trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc only
            if trim is not None:
                trim(0)
        return {}


def _estimation(system: System, problem: Estimation) -> Callable[[], Any]:
    classes, (X, y) = system.estimators(), problem.examples()
    if problem.task == "predict":
        return one_row_runner(fitted(classes, problem, X, y), X)
    return lambda: fitted(classes, problem, X, y)


def _moving_window(predict: Callable[[int, int], Any], problem: Inference) -> Callable[[], None]:
    """Predictions for the next `batch` rows each time, so that they come from memory."""
    first = 0

    def run() -> None:
        nonlocal first
        predict(first, first + problem.batch)
        first += problem.batch
        if first + problem.batch > problem.rows:
            first = 0

    return run


def product_error(problem: Product, a: Array, b: Array, result: Array) -> float:
    """Largest error of some rows and columns of a product, over the bound on it.

    The bound is 2 k eps (abs(A) @ abs(B)): Higham, *Accuracy and Stability of Numerical
    Algorithms*, section 3.5, with room for a sum in any order. Above 1 the product is wrong.
    Infinite if the shape, the dtype, or a number is none.
    """
    left = a.T if problem.layout == "TN" else a
    right = b.T if problem.layout == "NT" else b
    if result.shape != (problem.m, problem.n) or result.dtype != problem.dtype:
        return float("inf")
    bound = 2 * problem.k * float(np.finfo(problem.dtype).eps)
    worst = 0.0
    for first, second, product in ((left, right, result), (right.T, left.T, result.T)):
        lines = np.unique(np.linspace(0, len(first) - 1, _CHECKED_LINES).astype(int))
        few = first[lines].astype(np.float64)
        for start in range(0, second.shape[1], 1024):  # so that no float64 copy of it all exists
            part = second[:, start : start + 1024].astype(np.float64)
            error = np.abs(product[lines, start : start + 1024] - few @ part)
            ratio = error / (bound * (np.abs(few) @ np.abs(part)))
            worst = max(worst, float(np.nan_to_num(ratio, nan=np.inf).max()))
    return worst


def _memory(field: str) -> int | None:
    """Bytes of memory that this process holds (VmRSS) or held at most (VmHWM); Linux tells."""
    status = Path("/proc/self/status")
    if status.exists():
        for line in status.read_text().splitlines():
            if line.startswith(field + ":"):
                return int(line.split()[1]) * 1024
    return None


def _forget_peak() -> None:
    """Let VmHWM count from here, where Linux allows it."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return  # then the peak is that of the whole process, which is no less


if __name__ == "__main__":
    main()
