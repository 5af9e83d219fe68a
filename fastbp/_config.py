"""What this installation of fastbp runs on."""

from __future__ import annotations

import dataclasses
from typing import Any

import llvmlite.binding as llvm
import numba
import numpy as np

from fastbp._version import __version__
from fastbp.engine import threads
from fastbp.kernels.compile import machine
from fastbp.kernels.compile.cache import cache_folder, kept

__all__ = ["Config", "show_config"]


class Config(dict[str, Any]):
    """A mapping of facts whose string is a table: a fact a line, and a line for each kernel."""

    def __str__(self) -> str:
        width = max(len(key) for key in self)
        facts = {**self, "kernels": _summary(self["kernels"])}
        lines = [f"{key:<{width}}  {value}" for key, value in facts.items()]
        lines += [f"{'':{width}}  {k['bytes']:>11,}  {k['name']}" for k in self["kernels"]]
        return "\n".join(lines)

    __repr__ = __str__


def _summary(kernels: list[dict[str, Any]]) -> str:
    total = sum(kernel["bytes"] for kernel in kernels)
    return f"{len(kernels)} compiled, {total:,} bytes"


def show_config() -> Config:
    """Return what fastbp runs on.

    Returns
    -------
    Config
        A mapping with the keys version, numba, numpy, cpu, vector_bits, tiles (for float32 and
        float64), threading_layer (of Numba; None before the first parallel call), num_threads,
        cache_folder (of the compiled kernels; None if nothing can be written) and kernels: those
        that earlier calls and processes have compiled, with name (of the module and function),
        bytes and folder of each. Nothing is compiled or loaded. Its ``str`` is a table.
    """
    shapes = {"float32": machine.tiles(4), "float64": machine.tiles(8)}
    tiles = {name: dataclasses.asdict(shape) for name, shape in shapes.items()}
    folder = cache_folder()
    return Config(
        version=__version__,
        numba=numba.__version__,
        numpy=np.__version__,
        cpu=machine.CPU_NAME or llvm.get_host_cpu_name(),
        vector_bits=machine.VECTOR_BITS,
        tiles=tiles,
        threading_layer=threads.threading_layer(),
        num_threads=threads.get_num_threads(),
        cache_folder=None if folder is None else str(folder),
        kernels=[{**kernel._asdict(), "folder": str(kernel.folder)} for kernel in kept()],
    )
