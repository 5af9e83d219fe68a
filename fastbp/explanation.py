"""What is done to a network, why, and how long it takes at the least: `Network.explain`."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from fastbp.checks import check_integer, check_real
from fastbp.engine import peaks, threads
from fastbp.engine.inputs import as_input
from fastbp.engine.layout import FORWARD_ROWS, crew, lay_out, tile_of
from fastbp.engine.method import Case, Choice, Method, choose
from fastbp.engine.recipe import Update
from fastbp.kernels.compile import machine
from fastbp.kernels.functions.activations import ACTIVATION_CODES, STORED_SLOPES
from fastbp.optimizers import KINDS
from fastbp.parameters import Parameters, folding_of, is_centred
from fastbp.roofline import Work, inference_work, least_seconds, training_work

__all__ = ["Explanation", "explain"]

_WIDTH = 80  # of the reasons in a table
_MANY_STEPS = 1000  # more than share a pass over W1


@dataclass(frozen=True)
class Explanation:
    """How a network is trained or evaluated, and what the machine's limit makes of it.

    Its ``str`` is a table.

    Attributes
    ----------
    layer_sizes : tuple of int
    dtype, data_dtype : str
        Of the network, and of X as it is read.
    training : bool
        Whether this is a step of `fit`, or a call of `predict_proba`.
    batch_size : int
        Rows of the step, or of the call.
    method : str
        "small", "dense", "sweep", "delayed", "narrow columns", "narrow shards" or "narrow
        delayed"; of a call "small", "narrow", "sweep" or "dense".
    why : str
        What decided, in sentences.
    group : int
        Steps that share a pass over the weights of the first layer.
    threads : int
        That work on it.
    tile_rows : int or None
        If the network is small, or its first layer narrow: rows that go forward and back together.
    mr, nr, kc : int or None
        Otherwise: rows and columns of a tile of the matrix product, and the depth of its blocks.
    scratch_bytes : int
        Memory for this besides X, y and the parameters.
    flops : int
        Multiplications and additions; see Notes of `Network.explain`.
    data_bytes, weight_bytes : int
        That cross the memory bus for X, and for weights read and written.
    gflops, gbytes : float
        What the machine can do in a second on so many threads: 1e9 operations, 1e9 bytes.
    """

    layer_sizes: tuple[int, ...]
    dtype: str
    data_dtype: str
    training: bool
    batch_size: int
    method: str
    why: str
    group: int
    threads: int
    tile_rows: int | None
    mr: int | None
    nr: int | None
    kc: int | None
    scratch_bytes: int
    flops: int
    data_bytes: int
    weight_bytes: int
    gflops: float
    gbytes: float

    @property
    def nbytes(self) -> int:
        """Bytes that cross the memory bus."""
        return self.data_bytes + self.weight_bytes

    @property
    def seconds_of_flops(self) -> float:
        """What the arithmetic alone takes at the least."""
        return self.flops / (1e9 * self.gflops)

    @property
    def seconds_of_bytes(self) -> float:
        """What moving the bytes alone takes at the least."""
        return self.nbytes / (1e9 * self.gbytes)

    @property
    def seconds(self) -> float:
        """The machine's limit: the larger one of the two."""
        return least_seconds(Work(self.flops, self.nbytes), 1e9 * self.gflops, 1e9 * self.gbytes)

    @property
    def bound(self) -> str:
        """What the limit comes from: "arithmetic" or "memory"."""
        return "arithmetic" if self.seconds_of_flops >= self.seconds_of_bytes else "memory"

    def __str__(self) -> str:
        return "\n".join(f"{name:<12}{text}" for name, text in self._lines())

    def _lines(self) -> list[tuple[str, str]]:
        shape = "-".join(map(str, self.layer_sizes))
        task = "a step of training on" if self.training else "a prediction for"
        if self.tile_rows is None:
            tile = f"{self.mr} x {self.nr} of a product, in blocks {self.kc} deep"
        else:
            tile = f"{_count(self.tile_rows, 'row')} of X"
        reasons = textwrap.wrap(self.why, _WIDTH)
        lines = [
            ("network", f"{shape}, {self.dtype}"),
            ("task", f"{task} {_count(self.batch_size, 'row')} of {self.data_dtype}"),
            ("method", self.method),
            *zip(["why"] + [""] * (len(reasons) - 1), reasons, strict=True),
            ("tile", tile),
        ]
        if self.training:
            lines.append(("group", f"{_count(self.group, 'step')} for each pass over W1"))
        return [
            *lines,
            ("threads", f"{self.threads}"),
            ("scratch", f"{_size(self.scratch_bytes)}"),
            ("arithmetic", f"{self.flops:,} operations: {self._flops_time()}"),
            ("memory", f"{self.data_bytes:,} bytes of X, {self.weight_bytes:,} of weights:"
             f" {self._bytes_time()}"),
            ("limit", f"{_time(self.seconds)}, by {self.bound}"),
        ]  # fmt: skip

    def _flops_time(self) -> str:
        return f"{_time(self.seconds_of_flops)} at {self.gflops:.3g} GFLOP/s"

    def _bytes_time(self) -> str:
        return f"{_time(self.seconds_of_bytes)} at {self.gbytes:.3g} GB/s"


def _count(number: int, name: str) -> str:
    return f"{number:,} {name}" if number == 1 else f"{number:,} {name}s"


def _size(nbytes: int) -> str:
    for unit, size in (("MiB", 1 << 20), ("KiB", 1 << 10)):
        if nbytes >= size:
            return f"{nbytes / size:,.1f} {unit}"
    return f"{nbytes} bytes"


def _time(seconds: float) -> str:
    for unit, size in (("s", 1.0), ("ms", 1e-3), ("us", 1e-6)):
        if seconds >= size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds / 1e-9:.3g} ns"


def explain(
    parameters: Parameters,
    *,
    batch_size: Any,
    rows: Any,
    dtype: npt.DTypeLike | None,
    training: bool,
    optimizer: str,
    gflops: float | None,
    gbytes: float | None,
) -> Explanation:
    """Explain what is done to a network; see `Network.explain` for parameters and formulas."""
    sizes, weights = parameters.layer_sizes, parameters.dtype
    whole = np.empty((0, sizes[0]), weights if dtype is None else dtype)
    data = as_input(whole, sizes[0], weights, exact=is_centred(parameters)).dtype
    if optimizer not in KINDS:
        known = ", ".join(map(repr, KINDS))
        raise ValueError(f"optimizer must be one of: {known}, got {optimizer!r}")
    kept = KINDS[optimizer].kept if training else 0
    batch, count = _rows(batch_size, rows, training=training)
    limits = [_check_limit(gflops, "gflops"), _check_limit(gbytes, "gbytes")]
    choice = choose(
        Case(
            sizes=sizes,
            itemsize=weights.itemsize,
            data_itemsize=data.itemsize,
            is_bytes=data == np.uint8,
            contiguous=True,
            batch=batch if training else min(batch, FORWARD_ROWS),
            rows=count,
            training=training,
            delays=kept == 0,
            update=Update.PARTS if kept else Update.DIRECT,
            slopes=tuple(
                ACTIVATION_CODES[name] in STORED_SLOPES for name in parameters.layer_activations
            )
            if training
            else (),
        )
    )
    folds_bytes = data == np.uint8 and folding_of(parameters, data) is not None
    layout = lay_out(choice, threads.get_num_threads(), folds_bytes=folds_bytes)
    steps = min(-(-count // batch), layout.steps_at_once) if training else 1
    workers = crew(choice, layout, steps, threads.get_num_threads())
    work = _work(choice, batch, workers, kept)
    tiles = machine.tiles(weights.itemsize)
    data_bytes = batch * sizes[0] * data.itemsize
    return Explanation(
        layer_sizes=sizes,
        dtype=weights.name,
        data_dtype=data.name,
        training=bool(training),
        batch_size=batch,
        method=choice.method.value,
        why=choice.why,
        group=choice.group,
        threads=workers,
        tile_rows=_tile_rows(choice, workers),
        mr=None if choice.by_tiles else tiles.mr,
        nr=None if choice.by_tiles else tiles.nr,
        kc=None if choice.by_tiles else tiles.kc,
        scratch_bytes=layout.nbytes,
        flops=work.flops,
        data_bytes=data_bytes,
        weight_bytes=work.nbytes - data_bytes,
        gflops=limits[0] or peaks.measured_flops(weights.name, workers) / 1e9,
        gbytes=limits[1] or peaks.measured_bandwidth(workers) / 1e9,
    )


def _tile_rows(choice: Choice, workers: int) -> int | None:
    if not choice.by_tiles:
        return None
    if choice.method is Method.NARROW_DELAYED:
        return choice.group * choice.case.batch
    return tile_of(choice, workers)[0]


def _rows(batch_size: Any, rows: Any, *, training: bool) -> tuple[int, int]:
    """Rows of a step, or of a call; and of X."""
    count = None if rows is None else check_integer(rows, "rows", 1)
    if batch_size is None:
        if count is None:
            raise ValueError("batch_size=None is all rows: give their number as rows")
        return count, count
    batch = check_integer(batch_size, "batch_size", 1)
    if not training:
        return batch, batch
    if count is None:
        return batch, batch * _MANY_STEPS
    return min(batch, count), count


def _check_limit(value: Any, name: str) -> float | None:
    if value is None:
        return None
    number = check_real(value, name)
    if number <= 0:
        raise ValueError(f"{name} must be greater than 0, got {number}")
    return number


def _work(choice: Choice, batch: int, workers: int, kept: int) -> Work:
    case = choice.case
    caches = machine.CACHES.l2 * workers
    if not case.training:
        return inference_work(case.sizes, batch, case.data_itemsize, caches, itemsize=case.itemsize)
    return training_work(
        case.sizes, batch, case.data_itemsize, caches, itemsize=case.itemsize, group=choice.group,
        kept=kept,
    )  # fmt: skip
