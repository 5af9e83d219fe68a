"""Warnings of what makes a training useless without an error: nothing is silent.

A saturating first layer, by the scale of its input, is looked for before training; dead relu layers
after the first epoch. Both look at few rows, and cost little beside an epoch.
"""

from __future__ import annotations

import math
import sys
import warnings
from typing import Any

import numpy as np
import numpy.typing as npt

from fastbp.engine.functions import activate
from fastbp.engine.inputs import quietly
from fastbp.engine.layout import multiply_adds
from fastbp.parameters import Parameters, arrays_of
from fastbp.preprocessing import warn_of_pixels

__all__ = ["warn_of_dead_layers", "warn_of_input"]

Array = npt.NDArray[Any]

_ROWS_OF_INPUT, _UNITS_OF_INPUT = 16, 16
# Of rows as wide as pictures four are enough: a look at 16 took 25 us, a tenth of an epoch on 64.
_LEAST_ROWS_OF_INPUT, _VALUES_OF_INPUT = 4, 1 << 16
# Beyond these pre-activations slopes are below 5e-5 and 2e-4: so many times slower is learning.
_SATURATED = {"sigmoid": 10.0, "tanh": 5.0}
_NEARLY_ALL = 0.95
# Xavier's weights make pre-activations of some 1.4 times the input's root mean square, zeros none:
# what is below it saturates nothing but layers that were made to.
_HARMLESS = 4.0
_MOST_ROWS, _LEAST_ROWS, _MOST_WORK = 256, 16, 1 << 22  # multiply-adds of a look at all layers
_FEW_ROWS = 4  # a look at as many as that work allows takes over a millisecond


def warn_of_input(parameters: Parameters, X: Array) -> None:
    """Say so if X is of a scale at which the first layer cannot learn.

    Parameters
    ----------
    parameters : Parameters
    X : ndarray of shape (n, n_0)
        As `fastbp.engine.inputs.as_input` gives it.
    """
    if X.dtype == np.uint8 and warn_of_pixels(X, parameters.input_scale, stacklevel=_stacklevel()):
        return
    activations = parameters.layer_activations
    limit = _SATURATED.get(activations[0]) if activations else None
    if limit is None:
        return
    rows = min(max(_VALUES_OF_INPUT // X.shape[1], _LEAST_ROWS_OF_INPUT), _ROWS_OF_INPUT)
    sample = X[:: -(-len(X) // rows)]
    mean, scale = _largest(parameters.input_mean), _largest(parameters.input_scale)
    if (_size(sample) + mean) * scale <= _HARMLESS:
        return
    activation = activations[0]
    seen = _seen(parameters, sample)
    largest = float(np.abs(seen).max())
    if not _HARMLESS < largest < np.inf:
        return
    share = _saturated(parameters, seen, limit)
    if share > _NEARLY_ALL:
        warnings.warn(
            f"the network sees X as values of up to {largest:.3g}, which saturate {share:.0%} of"
            f" the first layer's {activation} units: it hardly learns; give the network an"
            " input_mean and input_scale that bring X to a mean of 0 and a size of 1, or an"
            " activation that does not saturate, such as 'relu'",
            UserWarning,
            stacklevel=_stacklevel(),
        )


def _largest(part: float | Array) -> float:
    """The largest size of an input_mean or input_scale."""
    return abs(part) if isinstance(part, float) else float(np.abs(part).max())


@quietly
def _size(X: Array) -> float:
    """The root mean square of some rows."""
    values = X.astype(np.float32) if X.dtype == np.uint8 else X
    # Not by BLAS, see below. Of values that are not in a cache already, reading them takes longer.
    return math.sqrt(float(np.einsum("ij,ij->", values, values)) / X.size)


@quietly
def _seen(parameters: Parameters, X: Array) -> Array:
    """Some rows as the network sees them, in float64."""
    return np.asarray((X.astype(np.float64) - parameters.input_mean) * parameters.input_scale)


@quietly
def _saturated(parameters: Parameters, seen: Array, limit: float) -> float:
    """The share of pre-activations, of some rows and units, that are beyond a limit."""
    weight = np.asarray(parameters.weights[0])
    units = slice(None, None, -(-len(weight) // _UNITS_OF_INPUT))
    # Not by BLAS, which starts threads that stay awake for a while.
    z = np.einsum("ij,kj->ik", seen, weight[units].astype(np.float64))
    z += np.asarray(parameters.biases[0])[units]
    return float((np.abs(z) > limit).mean())


def warn_of_dead_layers(parameters: Parameters, X: Array) -> None:
    """Say so if all units of a relu layer are 0 for all rows of a sample: nothing can change that.

    Parameters are those of `warn_of_input`.
    """
    if "relu" not in parameters.layer_activations:
        return
    count = _MOST_WORK // multiply_adds(parameters.layer_sizes)
    rows = X[:: -(-len(X) // min(max(count, _LEAST_ROWS), _MOST_ROWS))]
    # A layer that lives for some rows is not dead: few tell, nearly always.
    dead = _dead_layer(parameters, rows[:_FEW_ROWS])
    if dead is not None and len(rows) > _FEW_ROWS:
        dead = _dead_layer(parameters, rows)
    if dead is not None:
        warnings.warn(
            f"all {parameters.layer_sizes[dead]} relu units of layer {dead} are 0 for all rows that"
            f" were looked at ({len(rows)}): the layer is dead, and neither it nor those before it"
            " learn any more; try a smaller learning_rate, init='he', or an input_mean and"
            " input_scale that bring X to a mean of 0 and a size of 1",
            UserWarning,
            stacklevel=_stacklevel(),
        )


@quietly
def _dead_layer(parameters: Parameters, X: Array) -> int | None:
    """The first layer, counted from 1, of relu units that are all 0 for all rows."""
    below = _seen(parameters, X).astype(parameters.dtype)
    layers = zip(parameters.layer_activations, *arrays_of(parameters), strict=False)
    for layer, (name, weight, bias) in enumerate(layers, 1):
        # Nor here by BLAS: its threads took a core from the next epoch, which lasted twice as long.
        # Nor by kernels of products, which a narrow network compiles for nothing else.
        z = np.einsum("ij,kj->ik", below, weight)
        z += bias
        if name == "relu" and not (z > 0).any() and np.isfinite(z).all():
            return layer
        activate(z, name)
        below = z
    return None


def _stacklevel() -> int:
    """Where fastbp was called, as `warnings.warn` counts it in the function that asks."""
    frame, level = sys._getframe(1), 1
    while frame.f_back is not None and frame.f_globals.get("__name__", "").startswith("fastbp."):
        frame, level = frame.f_back, level + 1
    return level
