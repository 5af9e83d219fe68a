"""The comparison: limits, systems, cases, rounds; one dict as the result.

For each workload a process is started for each system and each of its variants. Each case is first
checked: a few steps from the same weights must give the weights that plain float64 NumPy gives, and
an estimator the model that scikit-learn's is, or the variant is reported as wrong and not timed.
Then the processes take turns, round by round, so that a machine that warms up or is disturbed slows
all of them.
"""

from __future__ import annotations

import dataclasses
import datetime
import os
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import numpy.typing as npt

from fastbp.bench import machine
from fastbp.bench.estimators import Estimation
from fastbp.bench.limits import limit_seconds
from fastbp.bench.problems import WORKLOADS, Case, Product, Scale, Training, cases_of
from fastbp.bench.problems import first_parameters as first
from fastbp.bench.processes import CAN_STOP, Failure, SystemProcess, measure_limits
from fastbp.bench.systems import SYSTEMS, SystemSpec, reference_of
from fastbp.bench.verdicts import best_variant, compare_with_peers, difference, disagreement

__all__ = ["SCHEMA", "Settings", "check_settings", "run"]

SCHEMA = 1
"""Version of the result's form; it grows when a field changes its meaning or goes away."""

# Of the threads' time, below which others are noted: two threads had 0.998 of it on a quiet
# machine, and 0.47 with one busy process beside them.
_LEAST_CPU_SHARE = 0.9

Arrays = Mapping[str, npt.NDArray[Any]]
Report = Callable[[str], None]


@dataclass(frozen=True)
class Settings:
    """What to compare.

    Attributes
    ----------
    workloads : tuple of str
        Of "matmul", "step", "epoch", "inference", "networks", "estimators".
    systems : tuple of SystemSpec
        Those that are not installed are left out, and the result says so.
    threads : int
        For each system; from 1 to the number of available cores.
    rounds : int
        How often each system takes its turn in each case.
    quick : bool
        Small sizes and short measurements, which show that all runs and nothing else.
    scale : Scale, optional
        Other sizes than those that `quick` stands for.
    """

    workloads: tuple[str, ...] = tuple(WORKLOADS.values())
    systems: tuple[SystemSpec, ...] = SYSTEMS
    threads: int = field(default_factory=machine.available_cores)
    rounds: int = 5
    quick: bool = False
    scale: Scale | None = None

    @property
    def sizes(self) -> Scale:
        """Sizes of the cases."""
        return self.scale or (Scale.quick() if self.quick else Scale())

    @property
    def round_seconds(self) -> float:
        """How long a turn lasts at least."""
        return 0.005 if self.quick else 0.25


def check_settings(settings: Settings) -> None:
    """Check settings before anything is started.

    Raises
    ------
    ValueError
        If a workload is unknown, no system is named, `threads` is more than the cores there are,
        or `threads` or `rounds` is less than 1.
    """
    cores = machine.available_cores()
    if not 1 <= settings.threads <= cores:
        raise ValueError(f"threads must be from 1 to {cores}, got {settings.threads}")
    if settings.rounds < 1:
        raise ValueError(f"rounds must be at least 1, got {settings.rounds}")
    if not settings.systems:
        raise ValueError("systems must name at least one system")
    for workload in settings.workloads:
        if workload not in WORKLOADS.values():
            names = ", ".join(WORKLOADS.values())
            raise ValueError(f"workloads must be of {names}, got {workload!r}")


def run(settings: Settings, report: Report = lambda text: None) -> dict[str, Any]:
    """Compare, and return everything that was found.

    Parameters
    ----------
    settings : Settings
    report : callable, optional
        Called with a line of text whenever the work moves on.

    Returns
    -------
    dict
        Ready for JSON; times in seconds, memory in bytes. ``schema``, ``fastbp`` (version),
        ``date``, ``machine``, ``settings``, ``environment``, ``limits``; ``systems``, by name, with
        version or why left out; ``results``, a list of cases, each with ``workload``, ``label``,
        ``case``, ``flops``, ``bytes``, ``limit_seconds`` and, by name, ``systems``; ``notes``, a
        list of lines.

    Raises
    ------
    ValueError
        As `check_settings`.
    RuntimeError
        If the limits cannot be measured or the reference fails.
    """
    check_settings(settings)
    notes: list[str] = []
    if not CAN_STOP:
        notes.append("this system cannot stop processes: idle threads of one may disturb others")
    present, systems = _find_systems(settings.systems, notes)
    report("measuring the machine's limits")
    limits = measure_limits(settings.threads, *((0.02, 16) if settings.quick else (0.3, 256)))
    share = limits["threads"][str(settings.threads)]["cpu_share"]
    if share < _LEAST_CPU_SHARE and not settings.quick:
        notes.append(
            f"other programs are running: its own got {share:.0%} of the cores; times vary"
        )
        report(notes[-1])
    results: list[dict[str, Any]] = []
    for workload in dict.fromkeys(settings.workloads):
        results += _Workload(workload, settings, present, limits, notes, report).run()
    return {
        "schema": SCHEMA,
        "fastbp": _own_version(),
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "machine": machine.describe(),
        "settings": {
            "workloads": list(settings.workloads),
            "threads": settings.threads,
            "rounds": settings.rounds,
            "quick": settings.quick,
        },
        "environment": {k: v for k, v in sorted(os.environ.items()) if _matters(k)},
        "limits": limits,
        "systems": systems,
        "results": results,
        "notes": list(dict.fromkeys(notes)),
    }


def _own_version() -> str:
    from fastbp._version import __version__

    return __version__


def _matters(variable: str) -> bool:
    """Whether an environment variable changes how fast a system runs."""
    prefixes = ("OPENBLAS_", "OMP_", "KMP_", "GOMP_", "MKL_", "NUMBA_", "FASTBP_", "XLA_", "JAX_")
    return variable.startswith((*prefixes, "TORCH", "MALLOC_", "GLIBC_TUNABLES", "NPY_"))


def _find_systems(
    specs: Iterable[SystemSpec], notes: list[str]
) -> tuple[list[SystemSpec], dict[str, Any]]:
    """Those that are installed, and for each what the result says of it."""
    present, systems = [], {}
    for spec in specs:
        missing = spec.missing()
        if missing:
            hint = f": pip install 'fastbp[{spec.extra}]'" if spec.extra else ""
            line = f"{spec.name} is left out: {', '.join(missing)} is not installed{hint}"
            notes.append(line)
            systems[spec.name] = {"status": "missing", "version": None, "reason": line}
        else:
            present.append(spec)
            systems[spec.name] = {"status": "present", "version": spec.version(), "reason": None}
    return present, systems


@dataclass
class _Contestant:
    """A process, and what it did in the present case."""

    process: SystemProcess
    status: str = "ok"
    reason: str | None = None
    rounds: list[list[float]] = field(default_factory=list)
    memory: dict[str, int | None] = field(default_factory=dict)

    def attempt(self, do: str, **fields: Any) -> dict[str, Any] | None:
        """The answer to a command, or None if it failed now or something did before."""
        if self.status != "ok":
            return None
        try:
            return self.process.call(do, **fields)
        except Failure as failure:
            self.status, self.reason = "failed", str(failure)
            return None

    def begin(self) -> None:
        """Forget the last case. A process that has ended fails anew, with the same reason."""
        self.status, self.reason, self.rounds, self.memory = "ok", None, [], {}

    def outcome(self, units: float) -> dict[str, Any]:
        """What the result says of this variant."""
        found: dict[str, Any] = {"status": self.status, "reason": self.reason}
        if self.status == "ok":
            rounds = [[seconds / units for seconds in samples] for samples in self.rounds]
            everything = [seconds for samples in rounds for seconds in samples]
            found.update(
                median_seconds=median(everything),
                best_seconds=min(everything),
                round_medians=[median(samples) for samples in rounds],
                samples=len(everything),
                memory=self.memory,
            )
        return found


class _Workload:
    """All cases of one workload, with the processes that do them."""

    def __init__(
        self,
        workload: str,
        settings: Settings,
        specs: Sequence[SystemSpec],
        limits: dict[str, Any],
        notes: list[str],
        report: Report,
    ) -> None:
        self._workload, self._settings, self._limits = workload, settings, limits
        self._specs = [spec for spec in specs if workload in spec.variants]
        self._notes, self._report = notes, report
        self._contestants: list[_Contestant] = []
        self._reference: SystemProcess | None = None

    def run(self) -> list[dict[str, Any]]:
        reference = reference_of(self._workload)
        missing = reference.missing() if reference is not None else []
        if missing:
            self._notes.append(f"{self._workload} is left out: {missing[0]} is not installed")
            return []
        with tempfile.TemporaryDirectory(prefix="fastbp-bench-") as folder:
            try:
                self._start(reference)
                cases = cases_of(self._workload, self._settings.sizes)
                results = []
                for number, case in enumerate(cases, start=1):
                    self._report(f"{self._workload} {number}/{len(cases)}: {case.label}")
                    results.append(self._run_case(case, Path(folder)))
                return results
            finally:
                for contestant in self._contestants:
                    contestant.process.close()
                if self._reference is not None:
                    self._reference.close()

    def _start(self, reference: SystemSpec | None) -> None:
        threads = self._settings.threads
        if reference is not None:
            self._reference = SystemProcess(reference, "", threads)
        for spec in self._specs:
            for variant, count in spec.ways(self._workload, threads).items():
                self._report(f"{self._workload}: starting {_title(spec.name, variant)}")
                try:
                    process = SystemProcess(spec, variant, count)
                except Failure as failure:
                    self._note(spec.name, variant, f"cannot start: {failure}")
                    continue
                self._contestants.append(_Contestant(process))

    def _run_case(self, case: Case, folder: Path) -> dict[str, Any]:
        for contestant in self._contestants:
            contestant.begin()
        self._check(case, folder)
        fields = dataclasses.asdict(case)
        for contestant in self._contestants:
            contestant.attempt("prepare", case=fields)
        for number in range(self._settings.rounds):
            shift = number % max(len(self._contestants), 1)
            for contestant in self._contestants[shift:] + self._contestants[:shift]:
                answer = contestant.attempt("time", seconds=self._settings.round_seconds)
                if answer is not None:
                    contestant.rounds.append(answer["seconds"])
                    contestant.memory = {
                        "before": answer["memory_before"],
                        "peak": answer["memory_peak"],
                    }
        for contestant in self._contestants:
            contestant.attempt("release")
        return self._result(case, fields)

    def _check(self, case: Case, folder: Path) -> None:
        """Mark the contestants whose results are wrong."""
        fields = dataclasses.asdict(case)
        if isinstance(case, Product):
            for contestant in self._contestants:
                answer = contestant.attempt("check", case=fields, path="")
                if answer is not None and not answer["error_of_bound"] <= 1:
                    contestant.status = "wrong"
                    contestant.reason = f"error is {answer['error_of_bound']:.3g} times its bound"
            return
        reference = self._reference_arrays(fields, folder / "reference.npz")
        path = folder / "result.npz"
        for contestant in self._contestants:
            if contestant.attempt("check", case=fields, path=str(path)) is not None:
                with np.load(path) as arrays:
                    reason = _judge(case, dict(arrays), reference)
                if reason is not None:
                    contestant.status, contestant.reason = "wrong", reason

    def _reference_arrays(self, fields: dict[str, Any], path: Path) -> Arrays:
        assert self._reference is not None
        try:
            self._reference.call("check", case=fields, path=str(path))
        except Failure as failure:
            raise RuntimeError(f"the reference failed: {failure}") from failure
        with np.load(path) as arrays:
            return dict(arrays)

    def _result(self, case: Case, fields: dict[str, Any]) -> dict[str, Any]:
        threads = self._settings.threads
        work = case.work(self._limits["cache_bytes"] * threads)
        dtype = case.arithmetic if isinstance(case, Estimation) else case.dtype
        limit = limit_seconds(work, self._limits, threads, dtype)
        by_system: dict[str, dict[str, Any]] = {}
        for contestant in self._contestants:
            spec, variant = contestant.process.spec, contestant.process.variant
            outcome = contestant.outcome(case.units)
            by_system.setdefault(spec.name, {})[variant] = outcome
            if contestant.status != "ok":
                what = f"{contestant.status} in {self._workload} {case.label}: {contestant.reason}"
                self._note(spec.name, variant, what)
        systems = {name: best_variant(variants) for name, variants in by_system.items()}
        compare_with_peers(systems, limit)
        return {
            "workload": self._workload,
            "label": case.label,
            "case": fields,
            "timed_part": case.part if self._workload == "epoch" else 1.0,  # type: ignore[union-attr]
            "flops": work.flops,
            "bytes": work.nbytes,
            "limit_seconds": limit,
            "systems": systems,
        }

    def _note(self, name: str, variant: str, what: str) -> None:
        self._notes.append(f"{_title(name, variant)} {what}")


def _judge(case: Case, arrays: Arrays, reference: Arrays) -> str | None:
    """Why the results of a case are wrong, in a line, or None if they are right."""
    if isinstance(case, Training):
        return disagreement(arrays, reference, _named(case.sizes), kinks=case.has_kinks)
    if not isinstance(case, Estimation):
        return disagreement(arrays, reference, {})
    if case.arithmetic == "float64":
        return difference(arrays, reference)
    kinds: tuple[dict[str, npt.NDArray[Any]], ...] = ({}, {})
    for name, array in reference.items():
        kinds[name.startswith("start ")][name.removeprefix("start ")] = array
    return disagreement(arrays, *kinds, kinks=True)


def _title(name: str, variant: str) -> str:
    return f"{name} ({variant})" if variant else name


def _named(sizes: Sequence[int]) -> Arrays:
    """The first parameters under the names that workers give them."""
    weights, biases = first(sizes)
    named = {f"weights[{i}]": w for i, w in enumerate(weights)}
    return named | {f"biases[{i}]": b for i, b in enumerate(biases)}
