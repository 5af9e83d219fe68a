"""`fastbp warmup`: kernels compiled before they are needed."""

from __future__ import annotations

import time
from collections.abc import Sequence

import fastbp
from fastbp.cli.console import UserError, compiling, say

__all__ = ["run_warmup"]


def run_warmup(
    layer_sizes: Sequence[int] | None,
    batch_size: int,
    dtype: str,
    data_dtype: str,
    *,
    everything: bool,
) -> None:
    """Compile what is missing, and say how much lies where then."""
    begin = time.perf_counter()
    with compiling():
        try:
            fastbp.warmup(
                dtype,
                data_dtype,
                layer_sizes=layer_sizes,
                batch_size=batch_size,
                everything=everything,
            )
        except (TypeError, ValueError) as error:
            raise UserError(str(error)) from error
    seconds = time.perf_counter() - begin
    config = fastbp.show_config()
    total = sum(kernel["bytes"] for kernel in config["kernels"])
    say(
        f"ready after {seconds:.1f} s: {len(config['kernels'])} kernels,"
        f" {total / 1e6:.1f} MB, in {config['cache_folder']}"
    )
