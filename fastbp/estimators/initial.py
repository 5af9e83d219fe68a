"""The first weights of a network, as scikit-learn draws them."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from fastbp.engine import memory

__all__ = ["random_layers"]

Array = npt.NDArray[Any]


def random_layers(
    layer_sizes: Sequence[int],
    activation: str,
    dtype: np.dtype[Any],
    random_state: np.random.RandomState,
) -> tuple[list[Array], list[Array]]:
    """Weights (n_out, n_in) and biases of every layer.

    They are uniform between plus and minus sqrt(6 / (n_in + n_out)) (Glorot and Bengio 2010), or
    sqrt(2 / (n_in + n_out)) for the logistic function; biases and the output layer alike. Numbers
    are drawn layer by layer, W as (n_in, n_out) and then b, in float64.
    """
    factor = 2.0 if activation == "logistic" else 6.0
    weights, biases = [], []
    for inputs, outputs in pairwise(layer_sizes):
        bound = np.sqrt(factor / (inputs + outputs))
        weight = memory.empty((outputs, inputs), dtype)
        weight[...] = random_state.uniform(-bound, bound, (inputs, outputs)).T
        weights.append(weight)
        biases.append(random_state.uniform(-bound, bound, outputs).astype(dtype))
    return weights, biases
