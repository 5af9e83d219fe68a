"""The result of a comparison as a picture: throughput against batch size for each system."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, BinaryIO

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["save_plot"]

_TITLES = {
    "matmul": "square matmul {group}",
    "step": "training steps, {group}",
    "epoch": "epochs from bytes, {group}",
    "inference": "predictions from bytes, {group}",
    "networks": "training steps, {group}",
}
_MARKERS = "osv^D*XP"


def save_plot(path: str | os.PathLike[str] | BinaryIO, result: dict[str, Any]) -> None:
    """Draw throughput against batch size, a panel for each network, and write a PNG file.

    Parameters
    ----------
    path : path-like or binary file object
    result : dict
        Of `fastbp.bench.comparison.run`.

    Raises
    ------
    ImportError
        If matplotlib is not installed.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError(
            "fastbp.bench.plot.save_plot needs matplotlib: pip install 'fastbp[bench]'"
        ) from error
    rows = [_panels(workload, result) for workload in result["settings"]["workloads"]]
    rows = [row for row in rows if row]
    columns = max(map(len, rows), default=1)
    figure = Figure(figsize=(4.6 * columns, 3.6 * max(len(rows), 1) + 0.7), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(max(len(rows), 1), columns, squeeze=False)
    for row, panels in zip(axes, rows, strict=False):
        for axis, (title, cases) in zip(row, panels, strict=False):
            _draw(axis, title, cases, list(result["systems"]))
        for axis in row[len(panels) :]:
            axis.set_axis_off()
    handles = {
        label: handle
        for axis in axes.flat
        for handle, label in zip(*axis.get_legend_handles_labels(), strict=True)
    }
    figure.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=8)
    machine, threads = result["machine"], result["settings"]["threads"]
    versions = f"fastbp {result['fastbp']}, {result['date'][:10]}"
    figure.suptitle(f"{machine['cpu']}, {threads} threads; {versions}", fontsize="medium")
    figure.savefig(path, format="png", dpi=120)


def _panels(
    workload: str, result: dict[str, Any]
) -> list[tuple[str, list[tuple[float, dict[str, Any]]]]]:
    """Titles, and the cases of each panel with their place on the x axis."""
    groups: dict[str, list[tuple[float, dict[str, Any]]]] = {}
    for case in result["results"]:
        fields = case["case"]
        if case["workload"] != workload or workload == "estimators":  # those have one batch size
            continue
        if workload != "matmul":
            group, x = "-".join(map(str, fields["sizes"])), fields["batch"]
            if workload == "networks":
                group += f" {fields['activation']} {fields['optimizer']}"
        elif fields["m"] == fields["n"] == fields["k"]:
            group, x = fields["dtype"], fields["m"]
        else:
            continue
        groups.setdefault(group, []).append((x, case))
    return [(_TITLES[workload].format(group=group), cases) for group, cases in groups.items()]


def _throughput(case: dict[str, Any]) -> Callable[[float], float]:
    """From seconds to rows a second, or to GFLOP/s for a product."""
    amount = case["case"].get("batch", case["flops"] / 1e9)
    if case["workload"] == "epoch":
        amount = case["case"]["rows"]
    return lambda seconds: amount / seconds


def _draw(
    axis: Axes, title: str, cases: Sequence[tuple[float, dict[str, Any]]], names: Sequence[str]
) -> None:
    workload = cases[0][1]["workload"]
    product = workload == "matmul"
    rows = "rows a second" if workload == "networks" else "pictures a second"
    limit = [(x, _throughput(case)(case["limit_seconds"])) for x, case in cases]
    axis.plot(*zip(*limit, strict=True), color="0.6", linestyle="--", label="limit")
    for number, name in enumerate(names):
        points = [
            (x, _throughput(case)(case["systems"][name]["median_seconds"]))
            for x, case in cases
            if case["systems"].get(name, {}).get("status") == "ok"
        ]
        if points:
            axis.plot(
                *zip(*points, strict=True),
                color=f"C{number}",
                marker=_MARKERS[number % len(_MARKERS)],
                linewidth=2.5 if name == "fastbp" else 1.2,
                zorder=3 if name == "fastbp" else 2,
                label=name,
            )
    axis.set_xscale("log", base=2)
    if not product:
        axis.set_yscale("log")
    else:
        axis.set_ylim(bottom=0)
    axis.set_xticks([x for x, _ in cases], [f"{x:g}" for x, _ in cases])
    axis.set_xlabel("size" if product else "batch size")
    axis.set_ylabel("GFLOP/s" if product else rows)
    axis.set_title(title, fontsize="medium")
    axis.grid(alpha=0.3)
