"""The preprocessing of the input, as part of the first layer."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from fastbp.parameters import Parameters, arrays_of, folding_of

__all__ = ["folded_arrays"]

Array = npt.NDArray[Any]


def folded_arrays(parameters: Parameters) -> tuple[list[Array], list[Array]]:
    """Weights and biases of the network that sees X itself, in its dtype.

    W (X - mean) scale + b = (W scale) X + (b - (W scale) mean): computed in float64. They are
    copies. Where the mean of a feature is many times its spread, the two terms of the sum are large
    and cancel; in float32 that many times eps are lost.

    Raises
    ------
    ValueError
        If a weight overflows the dtype.
    """
    weights, biases = arrays_of(parameters)
    weights, biases = [w.copy() for w in weights], [b.copy() for b in biases]
    if folding_of(parameters, parameters.dtype) is None:
        return weights, biases
    n0 = parameters.layer_sizes[0]
    mean = np.broadcast_to(np.asarray(parameters.input_mean, np.float64), n0)
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        scaled = weights[0].astype(np.float64) * np.asarray(parameters.input_scale, np.float64)
        weights[0] = scaled.astype(parameters.dtype)
        biases[0] = (biases[0] - scaled @ mean).astype(parameters.dtype)
    if not (np.isfinite(weights[0]).all() and np.isfinite(biases[0]).all()):
        raise ValueError(
            f"weights of the first layer times input_scale are not finite in {parameters.dtype}"
        )
    return weights, biases
