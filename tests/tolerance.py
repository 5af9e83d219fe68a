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
    E delta, E dW                                             products of the above, in full
    E W'     = alpha E dW + gamma(4) (keep abs(W) + alpha abs(dW))                in one step

and so for other activations and losses, by the figures of `tests.function_errors`. Other rules than
plain descent carry E dW into W' and into what they keep, each rounded as above.

Input folding computes Z[1] from X and the mean apart, so there abs(A[0]) is
(abs(X) + abs(mean)) * abs(scale). The oracle must be given the network's own (rounded)
parameters, and X and y as the network gets them; its own rounding, in float64, is part of the
constant c when the network is float64 too.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from tests import oracle
from tests.function_errors import (
    OUTPUTS,
    activation_error,
    gamma,
    loss_error,
    loss_slope_error,
    slope_error,
)

Array = npt.NDArray[np.float64]

SUM_EXTRAS = 8
"""Roundings of one product beyond its sum: bias, folding's scale and mean, 1/B, conversions."""

TRIALS = 6
"""Perturbed runs of the oracle behind `training_bounds`, half of them with a steady error."""

SAFETY = 3.0
"""How much farther than the farthest of those runs a training may go."""


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
    factors: Sequence[Array],
) -> tuple[list[Array], list[Array]]:
    names = [*model.names(len(weights)), OUTPUTS[model.loss]]
    Z_errors: list[Array] = []
    A_errors: list[Array] = [np.zeros_like(sizes[0])]
    for layer, (weight, bias) in enumerate(zip(weights, biases, strict=True)):
        weight, bias = np.abs(oracle.float64(weight)), np.abs(oracle.float64(bias))
        exact = sizes[layer] @ weight.T + bias
        perturbed = (sizes[layer] + A_errors[layer]) @ weight.T + bias
        # 2 n + extras: with folding, the sum over the mean is a second one of n terms.
        rounding = gamma(2 * weight.shape[1] + SUM_EXTRAS, dtype) * perturbed
        Z_errors.append(rounding + (perturbed - exact))
        dropped = factors[layer + 1]
        a = forward.A[layer + 1]  # by now times dropout, which the error is too
        undropped = a / np.where(dropped > 0, dropped, 1)
        error = activation_error(names[layer], undropped, Z_errors[-1], dtype)
        A_errors.append(dropped * error + gamma(1, dtype) * np.abs(a) * (dropped != 1))
    return Z_errors, A_errors


def bounds(
    X: npt.ArrayLike,
    y: npt.ArrayLike,
    weights: Sequence[Any],
    biases: Sequence[Any],
    dtype: npt.DTypeLike,
    *,
    folding: InputFolding | None = None,
    model: oracle.Model = oracle.SIGMOID,
    sample_weight: npt.ArrayLike | None = None,
    factors: Sequence[Array] | None = None,
) -> Bounds:
    """Error bounds of one forward and backward pass over raw `X`.

    ``factors`` are dropout's, of the input and of each hidden layer.
    """
    folding = folding or InputFolding()
    weights = [oracle.float64(w) for w in weights]
    biases = [oracle.float64(b) for b in biases]
    y = oracle.as_columns(y)
    rows, layers = y.shape[0], len(weights)
    share = np.ones(rows) if sample_weight is None else oracle.float64(sample_weight)
    share = (share / share.sum())[:, np.newaxis]
    dropped: list[Any] = [np.ones(1)] * (layers + 1)
    if factors is not None:
        dropped[:layers] = factors

    seen = oracle.fold_input(X, folding.mean, folding.scale)
    forward = oracle.forward(seen, weights, biases, model, factors)
    sizes = [folding.magnitude(X) * dropped[0], *map(np.abs, forward.A[1:])]
    Z_errors, A_errors = _forward_bounds(sizes, forward, weights, biases, dtype, model, dropped)

    z = forward.Z[-1]
    delta = oracle.LOSSES[model.loss].slope(z, y) * share
    delta_error = loss_slope_error(model.loss, z, y, Z_errors[-1], dtype) * share
    delta_error = delta_error + gamma(2, dtype) * np.abs(delta)  # weight and share
    weight_bounds: list[Array] = []
    bias_bounds: list[Array] = []
    sum_rounding = gamma(rows + SUM_EXTRAS, dtype)
    names = model.names(layers)
    for layer in reversed(range(layers)):
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
            below = layer - 1
            A_error = A_errors[layer] / np.where(dropped[layer] > 0, dropped[layer], 1)
            slope, error = slope_error(
                names[below], forward.Z[below], Z_errors[below], A_error, dtype
            )
            slope, error = slope * dropped[layer], error * dropped[layer]
            total = delta @ weights[layer]
            delta = total * slope
            delta_error = (
                sum_error * (np.abs(slope) + error)
                + np.abs(total) * error
                + gamma(4, dtype) * np.abs(delta)
            )
    row_errors = loss_error(model.loss, z, y, Z_errors[-1], dtype)
    row_losses = np.abs(oracle.LOSSES[model.loss].terms(z, y)).sum(axis=1)
    adding = gamma(rows + 2, dtype)
    loss_bound = float((share[:, 0] * ((1 + adding) * row_errors + adding * row_losses)).sum())
    return Bounds(Z_errors, A_errors[1:], weight_bounds, bias_bounds, loss_bound)


class _Run(NamedTuple):
    """Where a training run has come to: parameters, and what the optimizer keeps of them."""

    parameters: list[Array]  # weights, then biases
    state: oracle.State | None = None
    loss: float = 0.0  # of the last batch, before its update


@dataclass
class _Training:
    """The data and the settings of a training run, as the bounds need them."""

    X: npt.NDArray[Any]
    y: Array
    dtype: npt.DTypeLike
    folding: InputFolding
    model: oracle.Model
    rule: oracle.Rule
    learning_rate: float | Callable[[int], float]
    weight_decay: float
    sample_weight: Array | None
    dropout: Sequence[float] | None
    seed: int
    layers: int

    def batch(self, index: npt.NDArray[np.intp], number: int, run: _Run) -> dict[str, Any]:
        """What the oracle is told of a batch, step ``number`` of all."""
        given: dict[str, Any] = {"model": self.model}
        if self.sample_weight is not None:
            given["sample_weight"] = self.sample_weight[index]
        if self.dropout is not None:
            widths = [self.X.shape[1], *(len(b) for b in run.parameters[self.layers : -1])]
            given["factors"] = [
                oracle.dropout_factors(self.seed, number, layer, len(index), width, share)
                for layer, (width, share) in enumerate(zip(widths, self.dropout, strict=True))
            ]
        return given

    def after(
        self, index: npt.NDArray[np.intp], number: int, run: _Run, moves: Sequence[Array] = ()
    ) -> _Run:
        """One step on, its gradients moved by so much."""
        given = self.batch(index, number, run)
        seen = oracle.fold_input(self.X[index], self.folding.mean, self.folding.scale)
        y, weights, biases = self.y[index], *self._split(run.parameters)
        slopes = oracle.gradients(seen, y, weights, biases, **given)
        if moves:
            flat = [g + move for g, move in zip((*slopes[0], *slopes[1]), moves, strict=True)]
            slopes = oracle.Gradients(*self._split(flat))
        weights, biases, state = oracle.updated(
            weights, biases, slopes, run.state, self.rule, self.rate(number), self.weight_decay
        )
        z = oracle.forward(seen, *self._split(run.parameters), self.model, given.get("factors"))
        loss = oracle.mean_loss(z.Z[-1], y, self.model.loss, given.get("sample_weight"))
        return _Run([*weights, *biases], state, loss)

    def rate(self, number: int) -> float:
        """The learning rate of a step."""
        return self.learning_rate(number) if callable(self.learning_rate) else self.learning_rate

    def _split(self, arrays: Sequence[Array]) -> tuple[list[Array], list[Array]]:
        return list(arrays[: self.layers]), list(arrays[self.layers :])

    def step_errors(
        self, index: npt.NDArray[np.intp], number: int, run: _Run
    ) -> tuple[list[Array], float]:
        """Bounds on what one step's own arithmetic does to the gradients, and to its loss."""
        weights, biases = self._split(run.parameters)
        now = bounds(
            self.X[index], self.y[index], weights, biases, self.dtype, folding=self.folding,
            **self.batch(index, number, run),
        )  # fmt: skip
        return [*now.weight_gradients, *now.bias_gradients], now.loss

    def moved(self, before: _Run, after: _Run, signs: Sequence[Array]) -> _Run:
        """The run after a step, moved by the roundings of its update: those of `gamma` (4).

        They are relative to what is added up in it: of a parameter, itself and its change; of what
        is kept likewise.
        """
        rounding = gamma(4, self.dtype)

        def move(now: Sequence[Array], old: Sequence[Array]) -> list[Array]:
            return [
                a + sign * rounding * (np.abs(b) + np.abs(a - b))
                for a, b, sign in zip(now, old, signs, strict=True)
            ]

        state = after.state
        if state is not None and self.rule != oracle.SGD:
            zeros = [np.zeros_like(p) for p in after.parameters]
            old = before.state or oracle.State(0, zeros, zeros)
            second = [np.maximum(v, 0) for v in move(state.second, old.second)]
            state = oracle.State(state.steps, move(state.first, old.first), second)
        return _Run(move(after.parameters, before.parameters), state, after.loss)


def training_bounds(
    X: npt.ArrayLike,
    y: npt.ArrayLike,
    weights: Sequence[Any],
    biases: Sequence[Any],
    batches: Sequence[npt.ArrayLike],
    dtype: npt.DTypeLike,
    *,
    learning_rate: float | Callable[[int], float],
    weight_decay: float = 0.0,
    folding: InputFolding | None = None,
    model: oracle.Model = oracle.SIGMOID,
    rule: oracle.Rule = oracle.SGD,
    sample_weight: npt.ArrayLike | None = None,
    dropout: Sequence[float] | None = None,
    seed: int = 0,
) -> TrainingBounds:
    """Error allowed to the parameters, and to the mean loss, after one step for each batch.

    A worst case of every step's worst case grows exponentially and soon allows anything. So the
    errors of the steps are carried on as what they are: the oracle is run again, `TRIALS` times,
    with every gradient moved in each step by its full bound, and what follows from it by the
    roundings of the update, up or down at random (in half of the trials the same way in every step,
    as a systematic error would). The largest distance from the unmoved run that any parameter of a
    layer reached, times `SAFETY`, is the allowance for that layer: Monte Carlo arithmetic
    (D. S. Parker, 1997), with bounds in the place of roundings.
    """
    training = _Training(
        np.asarray(X), oracle.as_columns(y), dtype, folding or InputFolding(), model, rule,
        learning_rate, weight_decay,
        None if sample_weight is None else oracle.float64(sample_weight), dropout, seed,
        len(weights),
    )  # fmt: skip
    rng = np.random.default_rng(0)
    start = _Run([oracle.float64(p) for p in (*weights, *biases)])
    exact, runs = start, [start] * TRIALS
    signs: list[list[Array]] = [[] for _ in range(TRIALS)]
    mass, loss_errors, local_loss = 0.0, np.zeros(TRIALS), 0.0
    for number, batch in enumerate(batches):
        index = np.asarray(batch)
        share = len(index) if sample_weight is None else training.sample_weight[index].sum()
        errors, loss_error = training.step_errors(index, number, exact)
        exact = training.after(index, number, exact)
        for trial, run in enumerate(runs):
            if trial % 2 or not signs[trial]:
                signs[trial] = [rng.choice([-1.0, 1.0], size=error.shape) for error in errors]
            # A smaller gradient makes a larger parameter: both move the same way.
            moves = [-sign * error for sign, error in zip(signs[trial], errors, strict=True)]
            after = training.after(index, number, run, moves)
            runs[trial] = training.moved(run, after, signs[trial])
            loss_errors[trial] += share * abs(after.loss - exact.loss)
        mass += share
        local_loss += share * loss_error

    def allowance(at: int) -> Array:
        centre = exact.parameters[at]
        farthest = max(np.abs(run.parameters[at] - centre).max() for run in runs)
        return np.full(centre.shape, SAFETY * farthest)

    allowed = [allowance(at) for at in range(2 * len(weights))]
    loss_bound = (SAFETY * loss_errors.max() + local_loss) / (mass or 1)
    return TrainingBounds(allowed[: len(weights)], allowed[len(weights) :], loss_bound)
