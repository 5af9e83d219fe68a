"""Words of a plan: of its recipe and its layers, and where these keep what in scratch memory."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from fastbp.engine.layout import Layout, gradient_width, places_of, whole_lines
from fastbp.engine.memory import address_of
from fastbp.engine.method import Case, Choice
from fastbp.engine.recipe import Recipe, threshold_of
from fastbp.kernels import plan as w
from fastbp.kernels.functions.activations import ACTIVATION_CODES, STORED_SLOPES

__all__ = [
    "fill_layers",
    "fill_recipe",
    "place_activations",
    "place_small",
    "settings_of",
    "stored_slopes",
]

Words = npt.NDArray[np.int64]

_STATE_FIELDS = (w.WEIGHT_1, w.BIAS_1), (w.WEIGHT_2, w.BIAS_2)


@functools.lru_cache(maxsize=256)
def stored_slopes(activations: tuple[str, ...], dropout: tuple[float, ...]) -> tuple[bool, ...]:
    """Of which hidden layers slopes are stored, as they do not follow from the activations."""
    drops = dropout[1:] or (0.0,) * len(activations)
    return tuple(
        ACTIVATION_CODES[name] in STORED_SLOPES or share > 0
        for name, share in zip(activations, drops, strict=True)
    )


def settings_of(recipe: Recipe) -> npt.NDArray[np.float64]:
    """The settings that follow from a recipe, and a rate of 0."""
    settings = np.zeros(w.SETTING_COUNT)
    settings[w.KEEP] = settings[w.LOSS_SHARE] = 1.0
    settings[w.PENALTY] = recipe.penalty
    settings[w.BETA_1 :] = (
        recipe.beta_1, recipe.beta_2, recipe.epsilon, recipe.clip_norm, recipe.loss_cap
    )  # fmt: skip
    return settings


def fill_recipe(words: list[int], recipe: Recipe) -> None:
    """Write how a network is trained, but for the numbers, which are settings."""
    words[w.OPTIMIZER], words[w.SEED] = recipe.optimizer, recipe.seed
    if recipe.row_weights is not None:
        words[w.ROW_WEIGHTS] = address_of(recipe.row_weights)
    if recipe.metric_scale is not None:
        words[w.METRIC_SCALE] = address_of(recipe.metric_scale)
    if recipe.dropout:
        words[w.INPUT_DROPOUT] = threshold_of(recipe.dropout[0])


def fill_layers(
    words: list[int], case: Case, functions: Sequence[int], recipe: Recipe, addresses: Sequence[int]
) -> None:
    """Write what every layer is: ``addresses`` are those of all weights and then of all biases."""
    layers, slopes = len(case.sizes) - 1, case.slopes
    at = w.LAYER
    for layer, (inputs, outputs) in enumerate(pairwise(case.sizes)):
        if layer < layers - 1:
            words[at + w.FUNCTION] = functions[layer]
            words[at + w.SLOPE] = int(slopes[layer]) if slopes else 0
            if recipe.dropout:
                words[at + w.DROPOUT] = threshold_of(recipe.dropout[layer + 1])
        if recipe.state:
            for kept, fields in zip(recipe.state, _STATE_FIELDS, strict=False):
                words[at + fields[0]] = address_of(kept[layer])
                words[at + fields[1]] = address_of(kept[layers + layer])
        words[at + w.WEIGHT] = addresses[layer]
        words[at + w.BIAS] = addresses[layers + layer]
        words[at + w.OUTPUTS], words[at + w.INPUTS] = outputs, inputs
        at += w.LAYER_WORDS


def place_activations(words: Words, case: Case, layout: Layout) -> None:
    """Write where a wide network keeps rows, activations, deltas, slopes and gradients.

    That is behind what all threads share, and each has for itself, see SHARED and PRIVATE.
    """
    address = int(words[w.PRIVATE]) + layout.private * layout.workers
    if layout.gathered:
        words[w.GATHERED] = address
        address += layout.gathered
        words[w.DELAYED] = address
        address += layout.delayed
    fields = (w.ACTIVATION, w.DELTA) if case.training else (w.ACTIVATION,)
    for layer, n in enumerate(case.sizes[1:]):
        stored = (w.SLOPE,) if layer < len(case.slopes) and case.slopes[layer] else ()
        for field in (*fields, *stored):
            words[w.LAYER + layer * w.LAYER_WORDS + field] = address
            address += whole_lines(case.batch * n * case.itemsize)
    if layout.gradient:
        words[w.GRADIENT] = address
        words[w.GRADIENT_WIDTH] = gradient_width(case)


def place_small(words: Words, choice: Choice, layout: Layout) -> None:
    """Write where a small network keeps everything, see `fastbp.kernels.small.sizes`."""
    places, base = places_of(choice), int(words[w.SHARED])
    words[w.SHARD_STEP] = places.shard
    for word, offset in places.in_shared:
        words[word] = base + offset
    for word, offset in places.in_private:  # of the first worker
        words[word] = base + layout.shared + offset
