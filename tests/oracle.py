"""The whole mathematics of a dense network, in plain float64 NumPy.

Every kernel and every training step of fastbp is tested against this file, and this file is
tested by central differences (``test_oracle.py``). It imports nothing of fastbp, knows nothing
of tiles, threads or folding, and never tries to be fast: each function is its formula.

Rows are examples. ``X`` is (B, n0), ``weights[l]`` is (n_l, n_{l-1}), ``biases[l]`` is (n_l,)::

    Z[l] = A[l-1] W[l]^T + b[l]        A[l] = g(Z[l])        A[0] = (X - mean) * scale
    J    = weighted mean over rows of the sum over outputs of the loss  (+ lambda/2 sum of W**2)
    delta[L]   = (slope of the loss with respect to Z[L]) * weight / sum of the weights
    delta[l-1] = (delta[l] W[l]) * g'(Z[l-1])
    dW[l] = delta[l]^T A[l-1]          db[l] = column sums of delta[l]

Which g and which loss is a `Model`; how parameters follow from gradients is a `Rule`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]


def float64(values: npt.ArrayLike) -> Array:
    """Return `values` as a float64 array of its own."""
    return np.array(values, dtype=np.float64)


# ------------------------------------------------------------------ activations


def sigmoid(z: npt.ArrayLike) -> Array:
    """Logistic function 1 / (1 + exp(-z)), without overflow for any finite z."""
    z = float64(z)
    small = np.exp(-np.abs(z))  # in (0, 1], so neither branch can overflow
    return np.where(z >= 0, 1.0 / (1.0 + small), small / (1.0 + small))


def sigmoid_derivative(z: npt.ArrayLike) -> Array:
    """Slope sigmoid(z) * sigmoid(-z); exact in both tails, where 1 - sigmoid(z) is not."""
    return sigmoid(z) * sigmoid(-float64(z))


def softmax(z: npt.ArrayLike) -> Array:
    """exp(z) over its sum along the last axis, which the largest z is taken from before."""
    z = float64(z)
    e = np.exp(z - z.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def _phi(z: Array) -> Array:
    """The standard normal distribution function (1 + erf(z / sqrt(2))) / 2."""
    return 0.5 * np.vectorize(math.erfc, otypes=[float])(-z / math.sqrt(2.0))


def _density(z: Array) -> Array:
    return np.exp(-z * z / 2) / math.sqrt(2 * math.pi)


class Activation(NamedTuple):
    """A function of Z, and its slope."""

    value: Callable[[Array], Array]
    slope: Callable[[Array], Array]


ACTIVATIONS: dict[str, Activation] = {
    "identity": Activation(lambda z: z, np.ones_like),
    "sigmoid": Activation(sigmoid, sigmoid_derivative),
    "tanh": Activation(np.tanh, lambda z: 1 / np.cosh(np.minimum(np.abs(z), 350)) ** 2),
    "relu": Activation(lambda z: np.maximum(z, 0), lambda z: np.where(z > 0, 1.0, 0.0)),
    "leaky_relu": Activation(
        lambda z: np.where(z > 0, z, 0.01 * z), lambda z: np.where(z > 0, 1.0, 0.01)
    ),
    "elu": Activation(
        lambda z: np.where(z > 0, z, np.expm1(np.minimum(z, 0))),
        lambda z: np.where(z > 0, 1.0, np.exp(np.minimum(z, 0))),
    ),
    "softplus": Activation(lambda z: np.logaddexp(0, z), sigmoid),
    "gelu": Activation(lambda z: z * _phi(z), lambda z: _phi(z) + z * _density(z)),
    "silu": Activation(lambda z: z * sigmoid(z), lambda z: sigmoid(z) * (1 + z * sigmoid(-z))),
}
"""Clevert et al. 2016 (elu), Hendrycks and Gimpel 2016 (gelu, silu); relu has a slope of 0 at 0."""

KINKED = ("relu", "leaky_relu")
"""Those whose slope jumps at 0, where central differences say nothing."""


# ------------------------------------------------------------------ losses


def _log_loss_terms(z: Array, y: Array) -> Array:
    return (np.maximum(z, 0.0) - y * z) + np.log1p(np.exp(-np.abs(z)))


def _cross_entropy_terms(z: Array, y: Array) -> Array:
    far = z - z.max(axis=1, keepdims=True)
    return y * (np.log(np.exp(far).sum(axis=1, keepdims=True)) - far)


def _huber_terms(z: Array, y: Array) -> Array:
    far = np.abs(z - y)
    return np.where(far <= 1, far * far / 2, far - 0.5)


def _poisson_terms(z: Array, y: Array) -> Array:
    """Half the deviance: exp(z) - y z + (y log y - y), the last of which is 0 at y = 0."""
    rest = np.where(y > 0, y * np.log(np.where(y > 0, y, 1)) - y, 0)
    return np.exp(z) - y * z + rest


class Loss(NamedTuple):
    """The output's activation, the loss of each output of each row from Z, and its slope."""

    output: Callable[[Array], Array]
    terms: Callable[[Array, Array], Array]
    slope: Callable[[Array, Array], Array]
    is_classification: bool


LOSSES: dict[str, Loss] = {
    "log_loss": Loss(sigmoid, _log_loss_terms, lambda z, y: sigmoid(z) - y, True),
    "cross_entropy": Loss(
        softmax,
        _cross_entropy_terms,
        lambda z, y: softmax(z) * y.sum(axis=1, keepdims=True) - y,
        True,
    ),
    "squared_error": Loss(lambda z: z, lambda z, y: (z - y) ** 2 / 2, lambda z, y: z - y, False),
    "absolute_error": Loss(
        lambda z: z, lambda z, y: np.abs(z - y), lambda z, y: np.sign(z - y), False
    ),
    "huber": Loss(lambda z: z, _huber_terms, lambda z, y: np.clip(z - y, -1, 1), False),
    "poisson": Loss(np.exp, _poisson_terms, lambda z, y: np.exp(z) - y, False),
}


class Model(NamedTuple):
    """The activation of the hidden layers, one name or one for each, and the loss."""

    activation: str | tuple[str, ...] = "sigmoid"
    loss: str = "log_loss"

    def activations(self, layers: int) -> list[Callable[[Array], Array]]:
        """The function of each of so many layers, the last one's by the loss."""
        hidden = [ACTIVATIONS[name].value for name in self.names(layers)]
        return [*hidden, LOSSES[self.loss].output]

    def names(self, layers: int) -> tuple[str, ...]:
        if isinstance(self.activation, str):
            return (self.activation,) * (layers - 1)
        assert len(self.activation) == layers - 1
        return self.activation


SIGMOID = Model()


# ------------------------------------------------------------------ one layer


def linear(x: npt.ArrayLike, weight: npt.ArrayLike, bias: npt.ArrayLike | None = None) -> Array:
    """Weighted sums x W^T + b of one layer."""
    z = float64(x) @ float64(weight).T
    return z if bias is None else z + float64(bias)


def fold_input(X: npt.ArrayLike, mean: npt.ArrayLike = 0.0, scale: npt.ArrayLike = 1.0) -> Array:
    """What the network sees: (X - mean) * scale, both scalars or one value a feature."""
    return (float64(X) - float64(mean)) * float64(scale)


def initial_std(name: str, fan_in: int, fan_out: int) -> float:
    """Return the standard deviation of initial weights: Glorot 2010, eq. 12; He 2015, eq. 10."""
    formulas = {
        "zeros": 0.0,
        "normal": 0.01,
        "xavier": float(np.sqrt(2.0 / (fan_out + fan_in))),
        "he": float(np.sqrt(2.0 / fan_in)),
    }
    return formulas[name]


# ------------------------------------------------------------------ the network


class Forward(NamedTuple):
    """Pre-activations `Z` (layers 1..L) and activations `A` (A[0] is the network's input)."""

    Z: list[Array]
    A: list[Array]


class Gradients(NamedTuple):
    """Partial derivatives of the loss, layer 1 first."""

    weights: list[Array]
    biases: list[Array]


class Step(NamedTuple):
    """Parameters after one update, and what the batch gave before it."""

    weights: list[Array]
    biases: list[Array]
    loss: float
    accuracy: float
    state: State | None = None


def as_columns(y: npt.ArrayLike) -> Array:
    """Return targets as (n, n_L): a vector becomes one column."""
    y = float64(y)
    return y[:, None] if y.ndim == 1 else y


def forward(
    X: npt.ArrayLike,
    weights: Sequence[Any],
    biases: Sequence[Any],
    model: Model = SIGMOID,
    factors: Sequence[Array] | None = None,
) -> Forward:
    """Pre-activations and activations of every layer.

    ``factors``, of the input and of each hidden layer, are what A is multiplied by: dropout.
    """
    Z: list[Array] = []
    A: list[Array] = [float64(X) if factors is None else float64(X) * factors[0]]
    functions = model.activations(len(weights))
    for layer, (weight, bias) in enumerate(zip(weights, biases, strict=True)):
        Z.append(linear(A[-1], weight, bias))
        a = functions[layer](Z[-1])
        if factors is not None and layer + 1 < len(weights):
            a = a * factors[layer + 1]
        A.append(a)
    return Forward(Z, A)


def log_loss(z: npt.ArrayLike, y: npt.ArrayLike) -> float:
    """Mean over rows of the summed log loss, from the output's pre-activations.

    With p = sigmoid(z): -(1 - y) log(1 - p) - y log p = softplus(z) - y z, and
    softplus(z) = max(z, 0) + log1p(exp(-abs(z))).
    """
    return mean_loss(z, y, "log_loss")


def mean_loss(
    z: npt.ArrayLike, y: npt.ArrayLike, loss: str, sample_weight: npt.ArrayLike | None = None
) -> float:
    """Weighted mean over rows of a loss summed over outputs, from pre-activations."""
    z, y = as_columns(z), as_columns(y)
    rows = LOSSES[loss].terms(z, y).sum(axis=1)
    return float(np.average(rows, weights=sample_weight))


def metric_of(
    z: npt.ArrayLike, y: npt.ArrayLike, loss: str, sample_weight: npt.ArrayLike | None = None
) -> float:
    """Accuracy (all outputs right, or the largest one), or R^2 averaged over outputs."""
    z, y = as_columns(z), as_columns(y)
    a = LOSSES[loss].output(z)
    if loss == "log_loss":
        right = np.all((a >= 0.5) == (y >= 0.5), axis=1)
    elif loss == "cross_entropy":
        right = z.argmax(axis=1) == y.argmax(axis=1)
    else:
        w = np.ones(len(y)) if sample_weight is None else float64(sample_weight)
        centre = np.average(y, axis=0, weights=w)
        squares = (w[:, None] * (a - y) ** 2).sum(axis=0)
        return float(np.mean(1 - squares / (w[:, None] * (y - centre) ** 2).sum(axis=0)))
    return float(np.average(right, weights=sample_weight))


def l2_penalty(weights: Sequence[Any], weight_decay: float) -> float:
    """Return lambda/2 times the sum of squares of all weights; biases are not decayed."""
    return 0.5 * weight_decay * float(sum(np.sum(float64(w) ** 2) for w in weights))


def loss(
    X: npt.ArrayLike,
    y: npt.ArrayLike,
    weights: Sequence[Any],
    biases: Sequence[Any],
    weight_decay: float = 0.0,
    model: Model = SIGMOID,
    sample_weight: npt.ArrayLike | None = None,
    factors: Sequence[Array] | None = None,
) -> float:
    """J, or with a weight decay J_L2."""
    z = forward(X, weights, biases, model, factors).Z[-1]
    return mean_loss(z, y, model.loss, sample_weight) + l2_penalty(weights, weight_decay)


def accuracy(
    X: npt.ArrayLike,
    y: npt.ArrayLike,
    weights: Sequence[Any],
    biases: Any,
    model: Model = SIGMOID,
    sample_weight: npt.ArrayLike | None = None,
) -> float:
    """The metric that goes with the loss: of log loss, the share of rows all outputs of which
    fall on their target's side of 0.5."""
    z = forward(X, weights, biases, model).Z[-1]
    return metric_of(z, y, model.loss, sample_weight)


def gradients(
    X: npt.ArrayLike,
    y: npt.ArrayLike,
    weights: Sequence[Any],
    biases: Sequence[Any],
    weight_decay: float = 0.0,
    model: Model = SIGMOID,
    sample_weight: npt.ArrayLike | None = None,
    factors: Sequence[Array] | None = None,
) -> Gradients:
    """Gradients of `loss` by the chain rule, layer 1 first."""
    Z, A = forward(X, weights, biases, model, factors)
    w = np.ones(len(A[0])) if sample_weight is None else float64(sample_weight)
    delta = LOSSES[model.loss].slope(Z[-1], as_columns(y)) * w[:, None] / w.sum()
    names = model.names(len(Z))
    weight_gradients: list[Array] = []
    bias_gradients: list[Array] = []
    for layer in reversed(range(len(Z))):
        weight = float64(weights[layer])
        weight_gradients.insert(0, delta.T @ A[layer] + weight_decay * weight)
        bias_gradients.insert(0, delta.sum(axis=0))
        if layer > 0:
            delta = (delta @ weight) * ACTIVATIONS[names[layer - 1]].slope(Z[layer - 1])
            if factors is not None:
                delta = delta * factors[layer]
    return Gradients(weight_gradients, bias_gradients)


def input_gradient(
    X: npt.ArrayLike,
    y: npt.ArrayLike,
    weights: Sequence[Any],
    biases: Sequence[Any],
    model: Model = SIGMOID,
) -> Array:
    """Gradient of each row's own loss with respect to what the network sees of it."""
    Z, _ = forward(X, weights, biases, model)
    delta = LOSSES[model.loss].slope(Z[-1], as_columns(y))
    names = model.names(len(Z))
    for layer in reversed(range(len(Z))):
        delta = delta @ float64(weights[layer])
        if layer > 0:
            delta = delta * ACTIVATIONS[names[layer - 1]].slope(Z[layer - 1])
    return delta


def activation_stats(
    X: npt.ArrayLike, weights: Sequence[Any], biases: Sequence[Any], model: Model = SIGMOID
) -> list[dict[str, float]]:
    """Mean and (population) standard deviation of Z and A over rows and units of each layer."""
    Z, A = forward(X, weights, biases, model)
    return [
        {
            "z_mean": float(z.mean()),
            "z_std": float(z.std()),
            "a_mean": float(a.mean()),
            "a_std": float(a.std()),
        }
        for z, a in zip(Z, A[1:], strict=True)
    ]


# ------------------------------------------------------------------ training


def linear_update(
    weight: npt.ArrayLike,
    bias: npt.ArrayLike,
    x: npt.ArrayLike,
    delta: npt.ArrayLike,
    *,
    learning_rate: float,
    weight_decay: float = 0.0,
) -> tuple[Array, Array]:
    """Return W <- (1 - alpha lambda) W - alpha delta^T x and b <- b - alpha sum(delta)."""
    weight, bias, x, delta = map(float64, (weight, bias, x, delta))
    decayed = (1.0 - learning_rate * weight_decay) * weight
    return decayed - learning_rate * (delta.T @ x), bias - learning_rate * delta.sum(axis=0)


class Rule(NamedTuple):
    """How parameters follow from gradients: Sutskever et al. 2013, Kingma and Ba 2015, Loshchilov
    and Hutter 2019."""

    optimizer: str = "sgd"  # "sgd", "adam" or "adamw"
    momentum: float = 0.0
    nesterov: bool = False
    beta_1: float = 0.9
    beta_2: float = 0.999
    epsilon: float = 1e-8
    clip_norm: float | None = None


SGD = Rule()


class State(NamedTuple):
    """Steps made, and what an optimizer keeps: as many arrays as there are weights and biases."""

    steps: int
    first: list[Array]
    second: list[Array]


def clipped(gradients: list[Array], clip_norm: float | None) -> list[Array]:
    """Gradients, scaled down to a global norm (Pascanu et al. 2013)."""
    if clip_norm is None:
        return gradients
    norm = math.sqrt(sum(float(np.sum(g * g)) for g in gradients))
    return [g * min(1.0, clip_norm / norm) if norm > 0 else g for g in gradients]


def updated(
    weights: Sequence[Any],
    biases: Sequence[Any],
    slopes: Gradients,
    state: State | None,
    rule: Rule,
    learning_rate: float,
    weight_decay: float,
) -> tuple[list[Array], list[Array], State]:
    """Parameters and state after one update. ``slopes`` are without the L2 term.

    The norm that is clipped is that of the gradients with the L2 term, where that is in them.
    """
    layers = len(weights)
    parameters = [float64(p) for p in (*weights, *biases)]
    is_weight = [True] * layers + [False] * layers
    decays = [weight_decay * float(w) for w in is_weight]
    plain = rule.optimizer == "sgd" and rule.momentum == 0
    decoupled = plain or rule.optimizer == "adamw"
    gradients = [*slopes.weights, *slopes.biases]
    if not decoupled:
        gradients = [g + d * p for g, d, p in zip(gradients, decays, parameters, strict=True)]
    gradients = clipped(gradients, rule.clip_norm)
    if state is None:
        state = State(
            0, [np.zeros_like(p) for p in parameters], [np.zeros_like(p) for p in parameters]
        )
    t = state.steps + 1
    if decoupled:
        parameters = [(1 - learning_rate * d) * p for d, p in zip(decays, parameters, strict=True)]
    first, second = state.first, state.second
    if plain:
        changes = [-learning_rate * g for g in gradients]
    elif rule.optimizer == "sgd":
        first = [
            rule.momentum * m - learning_rate * g for m, g in zip(first, gradients, strict=True)
        ]
        changes = first
        if rule.nesterov:
            changes = [
                rule.momentum * m - learning_rate * g for m, g in zip(first, gradients, strict=True)
            ]
    else:
        b1, b2 = rule.beta_1, rule.beta_2
        first = [b1 * m + (1 - b1) * g for m, g in zip(first, gradients, strict=True)]
        second = [b2 * v + (1 - b2) * g * g for v, g in zip(second, gradients, strict=True)]
        changes = [
            -learning_rate * (m / (1 - b1**t)) / (np.sqrt(v / (1 - b2**t)) + rule.epsilon)
            for m, v in zip(first, second, strict=True)
        ]
    parameters = [p + c for p, c in zip(parameters, changes, strict=True)]
    return parameters[:layers], parameters[layers:], State(t, first, second)


def _mixed(key: int, number: int) -> int:
    """SplitMix64's finaliser: a key from a key and a number."""
    mask = 2**64 - 1
    z = (key + 0x9E3779B97F4A7C15 * (number + 1)) & mask
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & mask
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & mask
    return z ^ (z >> 31)


def dropout_factors(seed: int, step: int, layer: int, rows: int, units: int, share: float) -> Array:
    """0 for what is dropped of layer ``layer`` (0: the input) in a step, 1 / (1 - p) for the rest.

    Bits of unit j in row i of the batch are a hash of i * units + j and of a key for (seed, step,
    layer); steps are counted from 0 over the whole training.
    """
    threshold = min(round(share * 2.0**32), 2**32 - 1)
    if threshold == 0:
        return np.ones((rows, units))
    key = _mixed(_mixed(seed, step), layer)
    x = np.arange(rows * units, dtype=np.uint64)
    low = np.uint64(2**32 - 1)
    for half in (key & (2**32 - 1), key >> 32):
        x = (x + np.uint64(half)) & low
        x = ((x ^ (x >> np.uint64(16))) * np.uint64(0x7FEB352D)) & low
        x = ((x ^ (x >> np.uint64(15))) * np.uint64(0x846CA68B)) & low
        x = x ^ (x >> np.uint64(16))
    kept = x.reshape(rows, units) >= threshold
    return np.where(kept, 1 / (1 - threshold / 2.0**32), 0.0)


def step(
    X: npt.ArrayLike,
    y: npt.ArrayLike,
    weights: Sequence[Any],
    biases: Sequence[Any],
    *,
    learning_rate: float,
    weight_decay: float = 0.0,
    model: Model = SIGMOID,
    rule: Rule = SGD,
    state: State | None = None,
    sample_weight: npt.ArrayLike | None = None,
    factors: Sequence[Array] | None = None,
) -> Step:
    """One update on one batch: every delta comes from the old weights.

    The returned loss is the batch's before the update, without the L2 term.
    """
    slopes = gradients(
        X, y, weights, biases, model=model, sample_weight=sample_weight, factors=factors
    )
    new_weights, new_biases, state = updated(
        weights, biases, slopes, state, rule, learning_rate, weight_decay
    )
    z = forward(X, weights, biases, model, factors).Z[-1]
    metric = (
        metric_of(z, y, model.loss, sample_weight)
        if LOSSES[model.loss].is_classification
        else math.nan
    )
    return Step(new_weights, new_biases, mean_loss(z, y, model.loss, sample_weight), metric, state)


def train(
    X: npt.ArrayLike,
    y: npt.ArrayLike,
    weights: Sequence[Any],
    biases: Sequence[Any],
    batches: Iterable[npt.ArrayLike],
    *,
    learning_rate: float | Callable[[int], float],
    weight_decay: float = 0.0,
    model: Model = SIGMOID,
    rule: Rule = SGD,
    state: State | None = None,
    sample_weight: npt.ArrayLike | None = None,
    dropout: Sequence[float] | None = None,
    seed: int = 0,
) -> Step:
    """One step for each array of row indices in `batches`, in that order.

    The returned loss and accuracy are means over all rows seen, each row judged by the network
    as it was before the row's own update. ``learning_rate`` may be a function of the step's number,
    from 0; ``dropout`` has a share for the input and for each hidden layer, ``seed`` is its.
    """
    X, y = float64(X), float64(y)
    weight_of_rows = np.ones(len(X)) if sample_weight is None else float64(sample_weight)
    start = 0 if state is None else state.steps
    current = Step([float64(w) for w in weights], [float64(b) for b in biases], 0.0, 0.0, state)
    rows, loss_sum, accuracy_sum = 0.0, 0.0, 0.0
    for number, batch in enumerate(batches, start):
        index = np.asarray(batch)
        factors = None
        if dropout is not None:
            widths = [X.shape[1], *(len(b) for b in biases[:-1])]
            factors = [
                dropout_factors(seed, number, layer, len(index), units, share)
                for layer, (units, share) in enumerate(zip(widths, dropout, strict=True))
            ]
        current = step(
            X[index],
            y[index],
            current.weights,
            current.biases,
            learning_rate=learning_rate(number) if callable(learning_rate) else learning_rate,
            weight_decay=weight_decay,
            model=model,
            rule=rule,
            state=current.state,
            sample_weight=weight_of_rows[index],
            factors=factors,
        )
        mass = float(weight_of_rows[index].sum())
        rows += mass
        loss_sum += mass * current.loss
        accuracy_sum += mass * current.accuracy
    if rows == 0:
        return current
    return Step(
        current.weights, current.biases, loss_sum / rows, accuracy_sum / rows, current.state
    )
