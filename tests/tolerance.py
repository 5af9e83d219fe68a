"""How far a network computed in float32 or float64 may be from the float64 oracle.

Nothing here is picked until green: the bounds follow from the standard model of rounding
(Higham, *Accuracy and Stability of Numerical Algorithms*, 2nd ed., sections 2.2 and 3.1). With
unit roundoff u = eps / 2 and gamma(k) = k u / (1 - k u), a sum of k products computed in any
order, with or without fused multiply-add, obeys

    abs(computed - exact) <= gamma(k) * sum of abs(products)                             (1)

so that every tile size, thread count and summation order passes that adds the right terms. From
(1) the errors go through the network as through the formulas of ``oracle.py``, with E for "bound
on the absolute error of":

    E Z[l]   = gamma(n + c) (abs(A) abs(W)^T + abs(b))  +  E A[l-1] abs(W)^T
    E A[l]   = E Z / 4 + s u A                                as 0 < sigmoid' <= 1/4
    E g'     = E A + (E A)^2 + gamma(4) g'                    g' = a (1 - a), abs(1 - 2a) <= 1
    E A[l]   = STEEPEST E Z + s u (abs(A) + extra)            of other activations
    E g'     = CURVED (E Z + E A) + s u (abs(g') + 1)         and where a kink is within E Z, 1
    E delta, E dW                                             products of the above, in full
    E W'     = alpha E dW + gamma(4) (keep abs(W) + alpha abs(dW))                in one step

Input folding computes Z[1] from X and the mean apart, so there abs(A[0]) is
(abs(X) + abs(mean)) * abs(scale). The oracle must be given the network's own (rounded)
parameters, and X and y as the network gets them; its own rounding, in float64, is part of the
constant c when the network is float64 too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from tests import oracle

Array = npt.NDArray[np.float64]

SUM_EXTRAS = 8
"""Roundings of one product beyond its sum: bias, folding's scale and mean, 1/B, conversions."""

SIGMOID_ROUNDOFFS = 8
"""Relative error allowed to a sigmoid, in units of u: 4 ULP; a good one needs 2."""

FUNCTION_ROUNDOFFS = 16
"""The same for other activations, their slopes, and exp: 8 ULP. ELU and softplus, 1 - exp(-a) and
the like may lose what they subtract, so their slopes have an absolute error of as much, too."""

STEEPEST = 1.13
"""The largest slope of any activation: that of gelu at sqrt(2), 1.129 (silu: 1.0999)."""

CURVED = 1.0
"""The largest change of a slope with z or with a: that of tanh 0.77, gelu 0.80, silu 0.5, softplus
1/4, elu 1 below 0; tanh's with a up to 2 (1 - a^2 from a), which is in the factor of E A."""

TRIALS = 6
"""Perturbed runs of the oracle behind `training_bounds`, half of them with a steady error."""

SAFETY = 3.0
"""How much farther than the farthest of those runs a training may go."""


def gamma(terms: int, dtype: npt.DTypeLike) -> float:
    """Higham's gamma: the relative error of `terms` roundings in a row."""
    product = terms * float(np.finfo(np.dtype(dtype)).eps) / 2
    assert product < 0.1, "too many terms for a bound that says anything"
    return product / (1 - product)


def assert_within(actual: npt.ArrayLike, expected: npt.ArrayLike, bound: Any, what: str) -> None:
    """Assert that each entry of `actual` is within `bound` of `expected`, and say how far not."""
    actual = np.asarray(actual)
    expected = np.asarray(expected, dtype=np.float64)
    assert actual.shape == expected.shape, f"{what}: shape {actual.shape}, not {expected.shape}"
    error = np.abs(actual.astype(np.float64) - expected)
    allowed = np.broadcast_to(bound, error.shape)
    assert np.isfinite(allowed).all(), f"{what}: the bound is not finite"
    if not (error <= allowed).all():  # so written, a NaN fails
        with np.errstate(all="ignore"):  # the bound may be 0
            excess = np.where(error <= allowed, 0, error / allowed)
        worst = np.unravel_index(np.argmax(np.nan_to_num(excess, nan=np.inf)), error.shape)
        raise AssertionError(
            f"{what}: {np.sum(~(error <= allowed))} of {error.size} entries are too far; at "
            f"{tuple(int(i) for i in worst)} got {actual[worst]!r}, expected {expected[worst]!r}: "
            f"off by {error[worst]:.3g}, allowed {allowed[worst]:.3g}"
        )


@dataclass
class Bounds:
    """Error bounds, shaped as what they bound; layer 1 first."""

    Z: list[Array]
    A: list[Array]
    weight_gradients: list[Array]
    bias_gradients: list[Array]
    loss: float


@dataclass
class TrainingBounds:
    """Error bounds after a number of steps."""

    weights: list[Array]
    biases: list[Array]
    loss: float


@dataclass
class InputFolding:
    """Centring and scaling of the input, as the network has them."""

    mean: Any = 0.0
    scale: Any = 1.0

    def magnitude(self, X: npt.ArrayLike) -> Array:
        """Sum of the absolute values of what goes into (X - mean) * scale."""
        return (np.abs(oracle.float64(X)) + np.abs(self.mean)) * np.abs(self.scale)


def _forward_bounds(
    sizes: list[Array],
    forward: oracle.Forward,
    weights: Sequence[Any],
    biases: Sequence[Any],
    dtype: npt.DTypeLike,
    model: oracle.Model,
) -> tuple[list[Array], list[Array]]:
    tiny = float(np.finfo(np.dtype(dtype)).tiny)  # a sigmoid below it may be flushed to 0
    names = (*model.names(len(weights)), _OUTPUTS[model.loss])
    Z_errors: list[Array] = []
    A_errors: list[Array] = [np.zeros_like(sizes[0])]
    for layer, (weight, bias) in enumerate(zip(weights, biases, strict=True)):
        weight, bias = np.abs(oracle.float64(weight)), np.abs(oracle.float64(bias))
        exact = sizes[layer] @ weight.T + bias
        perturbed = (sizes[layer] + A_errors[layer]) @ weight.T + bias
        # 2 n + extras: with folding, the sum over the mean is a second one of n terms.
        rounding = gamma(2 * weight.shape[1] + SUM_EXTRAS, dtype) * perturbed
        Z_errors.append(rounding + (perturbed - exact))
        A_errors.append(_A_error(names[layer], Z_errors[-1], forward.A[layer + 1], dtype) + tiny)
    return Z_errors, A_errors


_OUTPUTS = {
    "log_loss": "sigmoid",
    "cross_entropy": "softmax",
    "squared_error": "identity",
    "absolute_error": "identity",
    "huber": "identity",
    "poisson": "exp",
}


def _A_error(name: str, Z_error: Array, a: Array, dtype: npt.DTypeLike) -> Array:
    if name == "identity":
        return Z_error
    if name == "sigmoid":
        return Z_error / 4 + gamma(SIGMOID_ROUNDOFFS, dtype) * a
    rounding = gamma(FUNCTION_ROUNDOFFS, dtype) * np.abs(a)
    if name == "exp":
        return a * np.expm1(Z_error) + 2 * rounding
    if name == "softmax":
        # Each exp(z - max) is off by the factor exp(E z + E max), and so is their sum.
        most = 2 * Z_error.max(axis=1, keepdims=True)
        terms = gamma(a.shape[1] + 2 * FUNCTION_ROUNDOFFS, dtype)
        return a * np.expm1(2 * most) + 2 * terms * a
    return STEEPEST * Z_error + rounding


def _slope_error(
    name: str, z: Array, slope: Array, Z_error: Array, A_error: Array, dtype: npt.DTypeLike
) -> Array:
    if name == "identity":
        return np.zeros_like(z)
    if name == "sigmoid":
        return A_error + A_error**2 + gamma(4, dtype) * slope
    if name in oracle.KINKED:
        return np.where(np.abs(z) <= Z_error, 1.0, 0.0) + gamma(4, dtype) * slope
    rounding = gamma(FUNCTION_ROUNDOFFS, dtype) * (np.abs(slope) + 1)
    return CURVED * (Z_error + 2 * A_error) + A_error**2 + rounding


def _output_delta_error(
    loss: str, z: Array, y: Array, Z_error: Array, A_error: Array, dtype: npt.DTypeLike
) -> Array:
    """Bound on the slope of the loss with respect to z."""
    slope = np.abs(oracle.LOSSES[loss].slope(z, y))
    if loss == "absolute_error":
        return np.where(np.abs(z - y) <= Z_error, 2.0, 0.0)
    return A_error + gamma(4, dtype) * (slope + np.abs(y))


def _loss_error(
    loss: str, z: Array, y: Array, a: Array, Z_error: Array, dtype: npt.DTypeLike
) -> Array:
    """Bound on the loss of each output of each row: largest slope nearby times E Z, and roundings.

    The terms are what a loss is computed from, without what they cancel of each other.
    """
    far = np.abs(z - y)
    if loss == "log_loss":
        slope, terms = np.ones_like(z), np.abs(z) + np.log1p(np.exp(-np.abs(z)))
    elif loss == "cross_entropy":
        spread = z.max(axis=1, keepdims=True) - z
        # The outputs' errors meet in the sum of exp: the largest one of a row counts for all.
        largest = Z_error.max(axis=1, keepdims=True)
        slope, terms = 2 * y, y * (spread + np.log(z.shape[1]) + 1)
        Z_error = np.broadcast_to(largest, z.shape)
    elif loss == "poisson":
        slope = a * np.exp(Z_error) + y
        terms = a + np.abs(y * z) + np.abs(y * np.log(np.where(y > 0, y, 1))) + y
    else:
        slope, terms = np.maximum(far + Z_error, 1), far * far + far
    return slope * Z_error + gamma(z.shape[0] * z.shape[1] + 2 * SUM_EXTRAS, dtype) * terms


def bounds(
    X: npt.ArrayLike,
    y: npt.ArrayLike,
    weights: Sequence[Any],
    biases: Sequence[Any],
    dtype: npt.DTypeLike,
    *,
    folding: InputFolding | None = None,
    model: oracle.Model = oracle.SIGMOID,
) -> Bounds:
    """Error bounds of one forward and backward pass over raw `X`."""
    folding = folding or InputFolding()
    weights = [oracle.float64(w) for w in weights]
    biases = [oracle.float64(b) for b in biases]
    y = oracle.as_columns(y)
    names = model.names(len(weights))

    forward = oracle.forward(
        oracle.fold_input(X, folding.mean, folding.scale), weights, biases, model
    )
    sizes = [folding.magnitude(X), *map(np.abs, forward.A[1:])]
    Z_errors, A_errors = _forward_bounds(sizes, forward, weights, biases, dtype, model)

    rows, z = y.shape[0], forward.Z[-1]
    delta = oracle.LOSSES[model.loss].slope(z, y) / rows
    delta_error = _output_delta_error(model.loss, z, y, Z_errors[-1], A_errors[-1], dtype) / rows
    weight_bounds: list[Array] = []
    bias_bounds: list[Array] = []
    sum_rounding = gamma(rows + SUM_EXTRAS, dtype)
    for layer in reversed(range(len(weights))):
        size = np.abs(delta)
        perturbed = (size + delta_error).T @ (sizes[layer] + A_errors[layer])
        weight_bounds.insert(0, (1 + sum_rounding) * perturbed - size.T @ sizes[layer])
        perturbed = (size + delta_error).sum(axis=0)
        bias_bounds.insert(0, (1 + sum_rounding) * perturbed - size.sum(axis=0))
        if layer > 0:
            weight = np.abs(weights[layer])
            perturbed = (size + delta_error) @ weight
            rounding = gamma(weight.shape[0] + SUM_EXTRAS, dtype)
            sum_error = (1 + rounding) * perturbed - size @ weight
            name, below = names[layer - 1], forward.Z[layer - 1]
            slope = oracle.ACTIVATIONS[name].slope(below)
            slope_error = _slope_error(
                name, below, slope, Z_errors[layer - 1], A_errors[layer], dtype
            )
            total = delta @ weights[layer]
            delta = total * slope
            delta_error = (
                sum_error * (np.abs(slope) + slope_error)
                + np.abs(total) * slope_error
                + gamma(4, dtype) * np.abs(delta)
            )
    loss_errors = _loss_error(model.loss, z, y, forward.A[-1], Z_errors[-1], dtype)
    loss_bound = float(loss_errors.sum() / rows)
    return Bounds(Z_errors, A_errors[1:], weight_bounds, bias_bounds, loss_bound)


@dataclass
class _View:
    """The data of a training run, as the bounds need it."""

    X: npt.NDArray[Any]
    y: Array
    dtype: npt.DTypeLike
    folding: InputFolding


def _step_errors(
    problem: _View,
    index: npt.NDArray[np.intp],
    state: oracle.Step,
    learning_rate: float,
    weight_decay: float,
) -> tuple[list[Array], list[Array], float]:
    """Bounds on what one step's own arithmetic does to W, to b and to the batch's loss."""
    X, y = problem.X[index], problem.y[index]
    now = bounds(X, y, state.weights, state.biases, problem.dtype, folding=problem.folding)
    seen = oracle.fold_input(X, problem.folding.mean, problem.folding.scale)
    slopes = oracle.gradients(seen, y, state.weights, state.biases)
    keep = abs(1 - learning_rate * weight_decay)
    rounding = gamma(4, problem.dtype)
    weight_errors = [
        learning_rate * error + rounding * (keep * np.abs(w) + learning_rate * np.abs(slope))
        for error, w, slope in zip(now.weight_gradients, state.weights, slopes.weights, strict=True)
    ]
    bias_errors = [
        learning_rate * error + rounding * (np.abs(b) + learning_rate * np.abs(slope))
        for error, b, slope in zip(now.bias_gradients, state.biases, slopes.biases, strict=True)
    ]
    return weight_errors, bias_errors, now.loss


def training_bounds(
    X: npt.ArrayLike,
    y: npt.ArrayLike,
    weights: Sequence[Any],
    biases: Sequence[Any],
    batches: Sequence[npt.ArrayLike],
    dtype: npt.DTypeLike,
    *,
    learning_rate: float,
    weight_decay: float = 0.0,
    folding: InputFolding | None = None,
) -> TrainingBounds:
    """Error allowed to the parameters, and to the mean loss, after one step for each batch.

    A worst case of every step's worst case grows exponentially and soon allows anything. So the
    errors of the steps are carried on as what they are: the oracle is run again, `TRIALS` times,
    with every parameter moved after each step by that step's full bound, up or down at random
    (in half of the trials the same way in every step, as a systematic error would). The largest
    distance from the unmoved run that any parameter of a layer reached, times `SAFETY`, is the
    allowance for that layer: Monte Carlo arithmetic (D. S. Parker, 1997), with bounds in the
    place of roundings.
    """
    view = _View(np.asarray(X), oracle.as_columns(y), dtype, folding or InputFolding())
    seen = oracle.fold_input(view.X, view.folding.mean, view.folding.scale)
    settings = {"learning_rate": learning_rate, "weight_decay": weight_decay}
    rng = np.random.default_rng(0)
    start = oracle.Step(
        [oracle.float64(w) for w in weights], [oracle.float64(b) for b in biases], 0.0, 0.0
    )
    exact, runs = start, [start] * TRIALS
    signs: list[list[Array]] = [[] for _ in range(TRIALS)]
    rows, loss_errors, local_loss = 0, np.zeros(TRIALS), 0.0
    for batch in batches:
        index = np.asarray(batch)
        weight_errors, bias_errors, loss_error = _step_errors(view, index, exact, **settings)
        errors = weight_errors + bias_errors
        exact = oracle.step(seen[index], view.y[index], exact.weights, exact.biases, **settings)
        for trial, run in enumerate(runs):
            if trial % 2 or not signs[trial]:
                signs[trial] = [rng.choice([-1.0, 1.0], size=error.shape) for error in errors]
            after = oracle.step(seen[index], view.y[index], run.weights, run.biases, **settings)
            moved = [
                parameter + sign * error
                for parameter, sign, error in zip(
                    after.weights + after.biases, signs[trial], errors, strict=True
                )
            ]
            layers = len(weight_errors)
            runs[trial] = oracle.Step(moved[:layers], moved[layers:], after.loss, 0.0)
            loss_errors[trial] += len(index) * abs(after.loss - exact.loss)
        rows += len(index)
        local_loss += len(index) * loss_error

    def allowance(parameters: str, layer: int) -> Array:
        centre = getattr(exact, parameters)[layer]
        farthest = max(np.abs(getattr(run, parameters)[layer] - centre).max() for run in runs)
        return np.full(centre.shape, SAFETY * farthest)

    return TrainingBounds(
        [allowance("weights", layer) for layer in range(len(weights))],
        [allowance("biases", layer) for layer in range(len(biases))],
        (SAFETY * loss_errors.max() + local_loss) / max(rows, 1),
    )
