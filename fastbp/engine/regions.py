"""The regions that carry out a method, for the types of the network and of its data."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from fastbp.engine.inputs import NAMES
from fastbp.engine.method import Choice, Method
from fastbp.engine.parts import Parts
from fastbp.engine.recipe import Recipe, Update
from fastbp.kernels import plan as w
from fastbp.kernels.compile.jit import Region, launch
from fastbp.kernels.compile.prepare import prepare
from fastbp.kernels.functions import layers as function_layers
from fastbp.kernels.functions import outputs, updates
from fastbp.kernels.functions.activations import IDENTITY, SIGMOID
from fastbp.kernels.linalg import epilogue, macrokernel, product, reader, split_k
from fastbp.kernels.narrow import above, columns, rows, shards
from fastbp.kernels.narrow import delayed as narrow_delayed
from fastbp.kernels.narrow import forward as narrow_forward
from fastbp.kernels.narrow import optimize as narrow_optimize
from fastbp.kernels.small import rows as small_rows
from fastbp.kernels.small import steps as small
from fastbp.kernels.wide import delayed, forward, gather, layers, optimize, plain, sweep
from fastbp.preprocessing import dtype_of_folding

__all__ = [
    "NOTHING",
    "Needs",
    "called_regions",
    "folding_read",
    "found_regions",
    "has_region",
    "needs_of",
    "region_of",
]

Array = npt.NDArray[Any]

_REGIONS: dict[Method, dict[str, Region]] = {
    Method.NARROW: narrow_forward.regions,
    Method.NARROW_COLUMNS: columns.regions,
    Method.NARROW_DELAYED: narrow_delayed.regions,
    Method.NARROW_SHARDS: shards.regions,
    Method.DELAYED: delayed.regions,
    Method.SMALL: small.regions,
}


def region_of(choice: Choice, dtype: str) -> Region:
    """The region that a plan is launched on, for a network of ``dtype``."""
    if choice.method in _REGIONS:
        return _REGIONS[choice.method][dtype]
    if not choice.case.training:
        return forward.regions[dtype]  # whether it gathers rows or not
    return plain.steps if choice.method is Method.DENSE else sweep.regions[dtype]


def has_region(dtype: str, data: str, *, folded: bool) -> bool:
    """Whether a narrow first layer of ``dtype`` reads such data."""
    return (dtype, data, folded) in rows.forward


class Needs(NamedTuple):
    """Which regions of functions are needed, besides what is compiled into the others."""

    layers: bool = False  # activations other than the sigmoid, or dropout
    outputs: bool = False  # losses other than log loss
    updates: bool = False  # optimizers other than plain descent, or clipping
    drops: bool = False  # dropout of the input


NOTHING = Needs()
_INLINE = frozenset({IDENTITY, SIGMOID})  # functions that every region has


def needs_of(functions: Sequence[int], loss: str, recipe: Recipe, *, training: bool) -> Needs:
    """What a network of hidden layers with such ``functions``, their codes, needs."""
    return Needs(
        layers=any(recipe.dropout[1:]) or not _INLINE.issuperset(functions),
        outputs=training
        and (loss != "log_loss" or recipe.row_weights is not None or recipe.loss_cap < math.inf),
        updates=training and recipe.update is not Update.DIRECT,
        drops=training and recipe.drops_input,
    )


def called_regions(
    choice: Choice, dtype: str, data: str, *, folded: bool, needs: Needs = NOTHING
) -> dict[int, Region]:
    """The regions that it calls, by the word of the plan that has their address.

    ``data`` is the dtype of X; ``folded`` whether shift and scale are given; ``needs`` which
    regions of functions are called.
    """
    return _passes(choice, dtype, data, folded=folded) | {
        word: regions[dtype]
        for word, regions, needed in (
            (w.LAYER_REGION, function_layers.regions, needs.layers),
            (w.OUTPUT_REGION, outputs.regions, needs.outputs or _calls_outputs(choice)),
            (w.UPDATE_REGION, updates.regions, needs.updates),
            (w.DROP_REGION, gather.regions, needs.drops),
            (
                w.OPTIMIZE_REGION,
                narrow_optimize.regions if choice.is_narrow else optimize.regions,
                needs.updates and choice.method is not Method.SMALL,
            ),
        )
        if needed
    }


def _calls_outputs(choice: Choice) -> bool:
    """Whether no loss is compiled in."""
    return choice.method is Method.SMALL and choice.case.training


def _passes(choice: Choice, dtype: str, data: str, *, folded: bool) -> dict[int, Region]:
    """The regions of the passes over layers, whatever their functions."""
    training = choice.case.training
    if choice.is_narrow:
        key = dtype, data, folded
        if not training:
            return {w.FORWARD_REGION: rows.forward[key]}
        delays = choice.method is Method.NARROW_DELAYED
        return {
            w.ABOVE_REGION: above.regions[dtype],
            w.FORWARD_REGION: rows.group[key] if delays else rows.forward[key],
            w.BACK_REGION: rows.back[key],
        }
    if choice.method is Method.SMALL:
        called = {w.COPY_REGION: reader.copies[dtype], w.ABOVE_REGION: small_rows.regions[dtype]}
        if folded or data != dtype:
            called[w.X_READER] = reader.readers[dtype, data]
        return called
    called = {
        w.PRODUCT_REGION: product.regions[dtype],
        w.BLOCK_REGION: macrokernel.regions[dtype],
        w.SPLIT_REGION: split_k.regions[dtype],
        w.EPILOGUE_REGION: epilogue.regions[dtype],
        w.COPY_REGION: reader.copies[dtype],
    }
    if folded or data != dtype:
        called[w.X_READER] = reader.readers[dtype, data]
    if training:
        called[w.ABOVE_REGION] = layers.regions[dtype]
    return called


# Per method and types: the region, and the words of a plan that have addresses of others.
_found: dict[tuple[Any, ...], tuple[Region, list[tuple[int, int]]]] = {}


def found_regions(
    choice: Choice,
    data: np.dtype[Any],
    parts: Parts,
    recipe: Recipe,
    *,
    folded: bool,
    launches: bool,
) -> tuple[Region, list[tuple[int, int]]]:
    """The region of a plan, and addresses of those that it calls, by word; compiled if need be.

    ``data`` is the dtype of X, ``folded`` as of `called_regions`; ``launches`` tells whether
    several threads are started on the region.
    """
    training = choice.case.training
    needs = needs_of(parts.functions, parts.loss, recipe, training=training)
    key = choice.method, training, parts.dtype, data, folded, needs
    found = _found.get(key)
    if found is None:
        region = region_of(choice, parts.dtype.name)
        called = called_regions(choice, parts.dtype.name, data.name, folded=folded, needs=needs)
        prepare(region, *called.values(), ahead=[launch] if launches else [])
        found = _found[key] = region, [(word, one.address) for word, one in called.items()]
    return found


def folding_read(choice: Choice, data: np.dtype[Any], parts: Parts) -> tuple[Array, Array] | None:
    """Scale and shift of X's columns, if its reader needs any."""
    if parts.folding is not None or not choice.is_narrow:
        return parts.folding
    if has_region(NAMES[parts.dtype], NAMES[data], folded=False):
        return None
    ones = np.ones(parts.sizes[0], dtype_of_folding(parts.dtype, data))
    return ones, 0 * ones
