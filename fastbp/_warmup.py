"""Getting the kernels ready before they are needed."""

from __future__ import annotations

import operator
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from fastbp.engine.inputs import CODES
from fastbp.engine.warm import every_kernel, kernels_of_dtypes, kernels_of_network, make_ready
from fastbp.parameters import check_dtype, check_sizes

__all__ = ["warmup"]


def warmup(
    dtype: npt.DTypeLike = "float32",
    data_dtype: npt.DTypeLike | None = None,
    *,
    layer_sizes: Sequence[int] | None = None,
    batch_size: int = 32,
    everything: bool = False,
) -> None:
    """Compile, or load from the disk cache, what `fit` and `predict` need.

    Some seconds on the first call ever on a machine, a fraction of a second later. Kernels that are
    missing are compiled side by side, in as many processes as cores allow. While the image of a
    container is built, with ``NUMBA_CACHE_DIR`` set to a folder of the image, this saves each start
    of the container the time; so does ``fastbp warmup`` on the command line.

    Parameters
    ----------
    dtype : {"float32", "float64"}, default "float32"
        Of the network.
    data_dtype : {"uint8", "float32", "float64"}, optional
        Of X. By default `dtype`.
    layer_sizes : sequence of int, optional
        The network's, as `Network` takes them: only what it needs is compiled. By default, what
        networks of any sizes need.
    batch_size : int, default 32
        As for `fit`; it counts with `layer_sizes` alone.
    everything : bool, default False
        All kernels for all dtypes, those of `matmul` and its like included.

    Raises
    ------
    TypeError, ValueError
        For a dtype that has no kernels, or sizes that `Network` would not take.
    """
    network_dtype = check_dtype(dtype)
    data = network_dtype if data_dtype is None else np.dtype(data_dtype)
    if data not in CODES:
        names = ", ".join(sorted(one.name for one in CODES))
        raise ValueError(f"data_dtype must be one of {names}, got {data.name!r}")
    sizes = None if layer_sizes is None else check_sizes(layer_sizes)
    rows = operator.index(batch_size)
    if rows < 1:
        raise ValueError(f"batch_size must be at least 1, got {rows}")
    if everything:
        make_ready(every_kernel())
    elif sizes is None:
        make_ready(kernels_of_dtypes(network_dtype.name, data.name))
    else:
        itemsizes = network_dtype.itemsize, data.itemsize
        make_ready(kernels_of_network(sizes, itemsizes, network_dtype.name, data.name, rows))
