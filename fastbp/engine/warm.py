"""Which kernels are needed for what, and getting them ready."""

from __future__ import annotations

from fastbp.engine import threads
from fastbp.engine.layout import FORWARD_ROWS
from fastbp.engine.method import Case, choose
from fastbp.engine.recipe import Update
from fastbp.engine.regions import Needs, called_regions, has_region, region_of
from fastbp.kernels.compile.jit import Region, launch
from fastbp.kernels.compile.prepare import Function, Kernel, prepare
from fastbp.kernels.functions import elementwise, outputs, softmax, updates
from fastbp.kernels.functions import layers as function_layers
from fastbp.kernels.linalg import epilogue, macrokernel, product, reader, split_k, thin
from fastbp.kernels.narrow import above, columns, rows, shards
from fastbp.kernels.narrow import delayed as narrow_delayed
from fastbp.kernels.narrow import forward as narrow_forward
from fastbp.kernels.narrow import optimize as narrow_optimize
from fastbp.kernels.small import rows as small_rows
from fastbp.kernels.small import steps as small
from fastbp.kernels.threads import standby
from fastbp.kernels.wide import delayed, forward, gather, layers, optimize, plain, sweep

__all__ = ["every_kernel", "kernels_of_dtypes", "kernels_of_network", "make_ready"]

_BY_DTYPE = (
    product, macrokernel, split_k, epilogue, above, columns, shards, narrow_delayed,
    narrow_forward, delayed, forward, layers, sweep, function_layers, outputs, updates,
    gather, optimize, narrow_optimize, small, small_rows,
)  # fmt: skip
"""Modules with a region for each dtype of a network."""

_FUNCTIONS: list[Function] = [
    product.run_helped, product.start_product, standby.call_with, standby.stay,
]  # fmt: skip
"""What Python calls besides regions."""


def every_kernel() -> list[Kernel]:
    """All that there is."""
    tables = [module.regions for module in (*_BY_DTYPE, thin, elementwise, softmax)]
    tables += [reader.copies, reader.readers, rows.forward, rows.back, rows.group]
    # Some have several keys.
    return list(dict.fromkeys([plain.steps, *(one for table in tables for one in table.values())]))


def kernels_of_dtypes(dtype: str, data: str) -> list[Kernel]:
    """What networks of ``dtype`` need for X of dtype ``data``, whatever their sizes."""
    needed: list[Kernel] = [plain.steps, *(module.regions[dtype] for module in _BY_DTYPE)]
    needed += [reader.copies[dtype], reader.readers[dtype, data]]
    for folded in (False, True):
        if has_region(dtype, data, folded=folded):
            key = dtype, data, folded
            needed += [rows.forward[key], rows.back[key], rows.group[key]]
    return needed


def kernels_of_network(
    sizes: tuple[int, ...], itemsizes: tuple[int, int], dtype: str, data: str, batch_size: int
) -> list[Kernel]:
    """What a network of these sizes needs for training with a batch size, and for outputs.

    Whatever its activations, loss and optimizer, but for dropout of the input and clipping.
    ``itemsizes`` are those of ``dtype`` and of ``data``, that of X.
    """
    needed: list[Region] = []
    for training, batch, update in (
        (True, batch_size, Update.DIRECT),
        (True, batch_size, Update.PARTS),
        (False, 1, Update.DIRECT),
        (False, FORWARD_ROWS, Update.DIRECT),
    ):
        of_optimizer = update is Update.PARTS
        needs = Needs(layers=True, outputs=training, updates=of_optimizer)
        choice = choose(
            Case(
                sizes=sizes,
                itemsize=itemsizes[0],
                data_itemsize=itemsizes[1],
                is_bytes=data == "uint8",
                contiguous=True,
                batch=batch,
                rows=1000 * batch if training else batch,
                training=training,
                delays=not of_optimizer,
                update=update,
            )
        )
        needed.append(region_of(choice, dtype))
        for folded in (False, True):
            if not choice.is_narrow or has_region(dtype, data, folded=folded):
                called = called_regions(choice, dtype, data, folded=folded, needs=needs)
                needed += called.values()
    return list(dict.fromkeys(needed))


def make_ready(kernels: list[Kernel]) -> None:
    """Compile kernels, or load them from the disk cache; start threads, if several are in use."""
    prepare(*kernels, *_FUNCTIONS, ahead=[launch])
    threads.make_ready()
