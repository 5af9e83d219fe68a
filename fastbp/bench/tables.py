"""The result of a comparison as tables of text."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

__all__ = ["Table", "geometric_mean", "tables"]

_TITLES = {
    "matmul": "matmul: milliseconds",
    "step": "training step (float32 data): milliseconds",
    "epoch": "epoch from bytes in memory: thousands of pictures a second",
    "inference": "predict_proba from bytes: milliseconds",
    "networks": "networks, a training step (float32 data): milliseconds",
    "estimators": "estimators at their defaults, an epoch: milliseconds",
}
_PREDICTIONS = "estimators, a prediction: microseconds"
_NONE = "-"


@dataclass(frozen=True)
class Table:
    """A title, the heads of the columns, and rows of text."""

    title: str
    header: list[str]
    rows: list[list[str]]


def tables(result: dict[str, Any]) -> list[Table]:
    """The tables of a result of `fastbp.bench.comparison.run`: limits, workloads, memory, means."""
    found = [_limits(result)]
    for workload in result["settings"]["workloads"]:
        cases = [case for case in result["results"] if case["workload"] == workload]
        single = [case for case in cases if _is_prediction(case)]
        training = [case for case in cases if not _is_prediction(case)]
        found.append(_workload(_TITLES[workload], workload, training, result))
        if single:
            found.append(_workload(_PREDICTIONS, workload, single, result))
        if workload == "epoch":
            found.append(_memory(cases, result))
    means = list(_means(result))
    if means:
        header = ["fastbp, times as fast as (geometric mean)", "cases", "mean", "least"]
        found.append(Table("summary", header, means))
    return found


def _limits(result: dict[str, Any]) -> Table:
    rows = [
        [
            count,
            f"{limit['float32_flops'] / 1e9:.0f}",
            f"{limit['float64_flops'] / 1e9:.0f}",
            f"{limit['read_bytes'] / 1e9:.1f}",
        ]
        for count, limit in result["limits"]["threads"].items()
    ]
    header = ["threads", "float32 GFLOP/s", "float64 GFLOP/s", "reading GB/s"]
    return Table("the machine's limits", header, rows)


def _names(result: dict[str, Any], cases: Sequence[dict[str, Any]]) -> list[str]:
    """Systems that took part in one of the cases, in order."""
    return [name for name in result["systems"] if any(name in case["systems"] for case in cases)]


def _is_prediction(case: dict[str, Any]) -> bool:
    """Whether it is a prediction of an estimator, which takes microseconds."""
    return bool(case["case"].get("task") == "predict")


def _workload(
    title: str, workload: str, cases: Sequence[dict[str, Any]], result: dict[str, Any]
) -> Table:
    names = _names(result, cases)
    header = ["", "limit", *names]
    compared = "fastbp" in names
    if compared:
        header += ["best peer", "ratio", "of limit"]
        if workload == "networks":
            header.append("GFLOP/s a core")
    rows = []
    for case in cases:
        row = [_label(case), _value(case, case["limit_seconds"])]
        row += [_cell(case, case["systems"].get(name)) for name in names]
        if compared:
            row += _verdict(case)
            if workload == "networks":
                row.append(_rate(case, result["settings"]["threads"]))
        rows.append(row)
    return Table(title, header, rows)


def _label(case: dict[str, Any]) -> str:
    part = case["timed_part"]
    return case["label"] if part == 1 else f"{case['label']} ({part:.1%} timed)"


def _value(case: dict[str, Any], seconds: float) -> str:
    if case["workload"] == "epoch":
        return _digits(case["case"]["rows"] / seconds / 1e3)
    return _digits(seconds * (1e6 if _is_prediction(case) else 1e3))


def _digits(value: float) -> str:
    """Three digits, without an exponent."""
    if value == 0 or not math.isfinite(value):
        return f"{value:g}"
    places = max(0, 2 - math.floor(math.log10(abs(value))))
    return f"{value:.{min(places, 5)}f}"


def _cell(case: dict[str, Any], found: dict[str, Any] | None) -> str:
    if found is None:
        return _NONE
    return _value(case, found["median_seconds"]) if found["status"] == "ok" else found["status"]


def _verdict(case: dict[str, Any]) -> list[str]:
    """Name of the best peer, fastbp's ratio to it, and fastbp's fraction of the limit."""
    peers = {
        name: found["median_seconds"]
        for name, found in case["systems"].items()
        if name != "fastbp" and found["status"] == "ok"
    }
    own = case["systems"].get("fastbp")
    if own is None or own["status"] != "ok":
        return [min(peers, key=peers.__getitem__) if peers else _NONE, _NONE, _NONE]
    fraction = f"{own['fraction_of_limit']:.0%}"
    if not peers:
        return [_NONE, _NONE, fraction]
    return [min(peers, key=peers.__getitem__), f"{own['ratio_to_best_peer']:.2f}", fraction]


def _rate(case: dict[str, Any], threads: int) -> str:
    """What fastbp computes a second for each of the cores that it has."""
    own = case["systems"].get("fastbp")
    if own is None or own["status"] != "ok":
        return _NONE
    return _digits(case["flops"] / own["median_seconds"] / threads / 1e9)


def _memory(cases: Sequence[dict[str, Any]], result: dict[str, Any]) -> Table:
    """Peak memory while training, and in brackets how much of it the library takes by itself."""
    names = _names(result, cases)
    rows = []
    for case in cases:
        row = [case["label"]]
        for name in names:
            found = case["systems"].get(name, {"status": "missing"})
            memory = found.get("memory", {})
            if found["status"] != "ok" or memory.get("peak") is None:
                row.append(_NONE)
            else:
                row.append(f"{memory['peak'] / 1e6:.0f} ({memory['before'] / 1e6:.0f})")
        rows.append(row)
    return Table("epoch: peak memory in MB (before the data)", ["", *names], rows)


def _means(result: dict[str, Any]) -> Iterator[list[str]]:
    """How fastbp does against each peer and the best one, by workload and kind of case."""
    for workload in result["settings"]["workloads"]:
        kinds: dict[str, list[dict[str, Any]]] = {}
        for case in result["results"]:
            own = case["systems"].get("fastbp", {})
            if case["workload"] == workload and own.get("status") == "ok":
                kinds.setdefault(_kind(case), []).append(case["systems"])
        for title, cases in kinds.items():
            best = [s["fastbp"]["ratio_to_best_peer"] for s in cases]
            ratios = {"best peer": [value for value in best if value is not None]}
            for name in result["systems"]:
                if name != "fastbp":
                    ratios[name] = [
                        s[name]["median_seconds"] / s["fastbp"]["median_seconds"]
                        for s in cases
                        if s.get(name, {}).get("status") == "ok"
                    ]
            for name, values in ratios.items():
                if values:
                    mean, least = geometric_mean(values), min(values)
                    yield [f"{title}: {name}", str(len(values)), f"{mean:.2f}", f"{least:.2f}"]


def _kind(case: dict[str, Any]) -> str:
    """Of which cases a mean is taken."""
    if case["workload"] == "matmul":
        return f"matmul {case['case']['dtype']}"
    return f"{case['workload']} predict" if _is_prediction(case) else str(case["workload"])


def geometric_mean(values: Sequence[float]) -> float:
    """Of positive numbers, at least one."""
    return math.exp(sum(map(math.log, values)) / len(values))
