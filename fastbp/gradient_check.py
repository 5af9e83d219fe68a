"""Gradients compared with central differences, for whoever does not believe them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from fastbp.engine.inputs import as_input, quietly
from fastbp.evaluation import l2_penalty, mean_loss
from fastbp.gradients import layers
from fastbp.parameters import arrays_of, is_centred
from fastbp.predictor import Predictor
from fastbp.targets import as_targets, as_weights

__all__ = ["GradientCheck", "check_gradients"]

Array = npt.NDArray[Any]

_KINKED = frozenset({"relu", "leaky_relu"})  # their slopes jump at 0
# The error of a central difference with step h is h^2 / 6 |f'''| + eps / h |f|, about: least
# where h is the cube root of eps.
_STEP = float(np.cbrt(np.finfo(np.float64).eps))


@dataclass(frozen=True)
class GradientCheck:
    """How far gradients are from central differences.

    Attributes
    ----------
    max_relative_error : float
        The largest of `errors`. Of right gradients about 1e-6 or less, as far as differences can
        tell; 0 if nothing could be compared.
    errors : dict of str to float
        Of each array, "weights[0]" and so on: max |g - d| / max(|g|, |d|, 6e-6 max(1, |J|)), both
        maxima over the entries that were compared; gradients g, differences d.
    checked, skipped : int
        Entries that were compared, and that were not: since a step of the difference would have
        crossed a place where a slope jumps.
    """

    max_relative_error: float
    errors: dict[str, float] = field(repr=False)
    checked: int
    skipped: int


@quietly
def check_gradients(
    network: Predictor,
    X: npt.ArrayLike,
    y: npt.ArrayLike,
    *,
    weight_decay: float = 0.0,
    sample_weight: npt.ArrayLike | None = None,
    entries: int = 100,
    seed: int = 0,
) -> GradientCheck:
    """Compare the gradients of a network with central differences of its loss, in float64.

    A network of float32 is compared as one of float64 with the same parameters. With h = 6e-6
    max(1, |p|), 6e-6 being the cube root of eps, the difference for a parameter p is
    d = (J(p + h) - J(p - h)) / (2 h). Entries for which a pre-activation of a relu or leaky relu
    layer, or a - y of absolute error, changes its sign between p - h and p + h, or is 0, are
    skipped: a slope jumps there, and d says nothing.

    Parameters
    ----------
    network : Network
        It is not changed.
    X : array_like of shape (n, n_0)
    y : array_like of shape (n,) or (n, n_L)
        Both as for `Network.loss`; some ten rows are enough.
    weight_decay : float, default 0.0
    sample_weight : array_like of shape (n,), optional
        Both as for `Network.gradients`.
    entries : int, default 100
        How many entries of each array are compared at most, chosen at random. Each costs two
        forward passes.
    seed : int, default 0
        Of the choice.

    Returns
    -------
    GradientCheck

    Raises
    ------
    TypeError, ValueError
        As for `Network.gradients`, or if `entries` is less than 1.
    """
    if entries < 1:
        raise ValueError(f"entries must be at least 1, got {entries}")
    twin = _twin(network)
    slopes = twin.gradients(X, y, weight_decay=weight_decay, sample_weight=sample_weight)
    differences = _Differences(twin, X, y, sample_weight, weight_decay)
    rng = np.random.default_rng(seed)
    errors: dict[str, float] = {}
    checked = skipped = 0
    for layer, pair in enumerate(slopes):
        for name, gradient in zip(("weights", "biases"), pair, strict=True):
            parameter = getattr(twin, name)[layer]
            chosen = np.arange(parameter.size)
            if parameter.size > entries:
                chosen = np.sort(rng.choice(parameter.size, entries, replace=False))
            found = differences.along(parameter.reshape(-1), chosen)
            known = ~np.isnan(found)
            checked += int(known.sum())
            skipped += int((~known).sum())
            errors[f"{name}[{layer}]"] = differences.error(
                gradient.reshape(-1)[chosen[known]], found[known]
            )
    return GradientCheck(max(errors.values()), errors, checked, skipped)


def _twin(network: Predictor) -> Predictor:
    """The same network in float64, with parameters of its own."""
    weights, biases = arrays_of(network)
    return Predictor(
        network.layer_sizes,
        [np.array(weight, np.float64) for weight in weights],
        [np.array(bias, np.float64) for bias in biases],
        activation=network.activation,
        loss_function=network.loss_function,
        dtype="float64",
        input_mean=network.input_mean,
        input_scale=network.input_scale,
        classes=network.classes_,
    )


class _Differences:
    """Central differences of the loss of a network of float64 on some rows."""

    def __init__(
        self,
        network: Predictor,
        X: npt.ArrayLike,
        y: npt.ArrayLike,
        sample_weight: npt.ArrayLike | None,
        weight_decay: float,
    ) -> None:
        self._network, self._decay = network, weight_decay
        self._X = as_input(X, network.layer_sizes[0], network.dtype, exact=is_centred(network))
        self._y = as_targets(network, y, len(self._X))
        self._weights = as_weights(sample_weight, len(self._X))
        self._kinked = [
            layer for layer, name in enumerate(network.layer_activations) if name in _KINKED
        ]
        self._least = _STEP * max(1.0, abs(self._loss()[0]))

    def _loss(self) -> tuple[float, list[Array]]:
        """J, and what must keep its sign for a slope not to jump."""
        network, loss = self._network, self._network.loss_function
        Z, _ = layers(network, self._X)
        jumping = [Z[layer] for layer in self._kinked]
        if loss == "absolute_error":
            jumping.append(Z[-1] - self._y)
        total = mean_loss(Z[-1], self._y, loss, self._weights)
        return total + l2_penalty(network.weights, self._decay), jumping

    def along(self, parameter: Array, entries: Array) -> Array:
        """The difference for each of some entries of a vector; NaN where a slope jumps."""
        found = np.full(len(entries), np.nan)
        for i, entry in enumerate(entries):
            kept = parameter[entry]
            step = _STEP * max(1.0, abs(kept))
            try:
                parameter[entry] = kept + step
                above, after = self._loss()
                parameter[entry] = kept - step
                below, before = self._loss()
            finally:
                parameter[entry] = kept
            if all((a * b > 0).all() for a, b in zip(after, before, strict=True)):
                found[i] = (above - below) / (2 * step)
        return found

    def error(self, gradient: Array, differences: Array) -> float:
        """The largest error, relative to the largest of either."""
        if len(gradient) == 0:
            return 0.0
        size = max(np.abs(gradient).max(), np.abs(differences).max(), self._least)
        return float(np.abs(gradient - differences).max() / size)
