"""Training by a plan, with any optimizer, dropout and weights of rows, beside the oracle's.

`fit` comes to the same; here every number that a plan is told can be chosen by a test.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from fastbp import Network
from fastbp.engine.plan import NetworkPlan
from fastbp.engine.recipe import Recipe
from fastbp.kernels.functions.optimizers import ADAM, MOMENTUM, NESTEROV, SGD
from tests import oracle
from tests.problems import Problem
from tests.tolerance import assert_within
from tests.training import bits

Array = npt.NDArray[Any]


@dataclass
class Settings:
    """How to train; the fields are arguments of `oracle.train`."""

    learning_rate: float | Callable[[int], float] = 0.1
    weight_decay: float = 0.0
    rule: oracle.Rule = oracle.SGD
    sample_weight: Array | None = None
    dropout: tuple[float, ...] | None = None
    seed: int = 0
    penalized: bool = False  # whether plain descent has its weight decay as part of the gradient

    def of_oracle(self) -> dict[str, Any]:
        """The same for `Problem.trained` and `Problem.training_bounds`."""
        return {name: value for name, value in vars(self).items() if name != "penalized"}

    @property
    def optimizer(self) -> int:
        """The optimizer's code."""
        if self.rule.optimizer != "sgd":
            return ADAM
        if self.rule.momentum == 0:
            return SGD
        return NESTEROV if self.rule.nesterov else MOMENTUM

    def rate(self, step: int) -> float:
        """Of a step of the training, counted from 0."""
        return self.learning_rate(step) if callable(self.learning_rate) else self.learning_rate

    @property
    def decouples(self) -> bool:
        """Whether weights are decayed beside the gradient."""
        plain = self.optimizer == SGD and not self.penalized
        return plain or self.rule.optimizer == "adamw"

    def numbers(self, step: int, mass: float) -> list[float]:
        """A row of STEPS: RATE, KEEP, CORRECTION and SHARE of a step, whose rows weigh ``mass``."""
        rate, rule = self.rate(step), self.rule
        keep = 1 - rate * self.weight_decay if self.decouples else 1.0
        correction = 1.0
        if self.optimizer == ADAM:
            rate /= 1 - rule.beta_1 ** (step + 1)
            correction = (1 - rule.beta_2 ** (step + 1)) ** -0.5
        return [rate, keep, correction, 1 / mass if mass else 0.0]


@dataclass
class PlannedTraining:
    """A training of a network by a plan, epoch after epoch."""

    problem: Problem
    batch_size: int
    settings: Settings = field(default_factory=Settings)

    def __post_init__(self) -> None:
        problem, settings, rule = self.problem, self.settings, self.settings.rule
        self.network: Network = problem.network()
        parameters = [*self.network.weights, *self.network.biases]
        kept = {SGD: 0, MOMENTUM: 1, NESTEROV: 1, ADAM: 2}[settings.optimizer]
        self.state = tuple(tuple(map(np.zeros_like, parameters)) for _ in range(kept))
        targets = problem.y.astype(problem.dtype).reshape(len(problem.X), -1)
        given = settings.sample_weight
        self.weights = np.ones(len(targets), problem.dtype)
        if given is not None:
            self.weights = given.astype(problem.dtype)
        adam = settings.optimizer == ADAM
        recipe = Recipe(
            settings.optimizer,
            rule.beta_1 if adam else rule.momentum,
            rule.beta_2 if adam else 0.0,
            rule.epsilon if adam else 0.0,
            0.0 if settings.decouples else settings.weight_decay,
            rule.clip_norm or 0.0,
            self.state,
            settings.dropout or (),
            settings.seed,
            None if given is None else self.weights,
            None,
            is_constant=not callable(settings.learning_rate),
        )
        self.plan = NetworkPlan(
            self.network, problem.X, targets, batch_size=self.batch_size, recipe=recipe
        )
        self.method = self.plan.method.value
        self.batches: list[Array] = []

    def epoch(self, *, shuffled: bool = True, steps_at_once: int | None = None) -> None:
        """Train on every row once, ``steps_at_once`` in each call; all in one without it."""
        rows = len(self.problem.X)
        order = np.random.default_rng(len(self.batches)).permutation(rows)
        if not shuffled:
            order = np.arange(rows)
        batches = [order[i : i + self.batch_size] for i in range(0, rows, self.batch_size)]
        before, steps = len(self.batches), len(batches)
        numbers = np.array([
            self.settings.numbers(before + i, self.weights[batch].sum(dtype=float))
            for i, batch in enumerate(batches)
        ])  # fmt: skip
        at_once = steps_at_once or steps
        for first in range(0, steps, at_once):
            last = min(first + at_once, steps)
            now = numbers[first:last].copy()
            self.plan.train(order if shuffled else None, first, last, now, before + first)
        self.batches += batches

    @property
    def bits(self) -> bytes:
        """Of all that training changes."""
        kept = b"".join(array.tobytes() for arrays in self.state for array in arrays)
        return bits(self.network) + kept + self.plan.totals.tobytes()

    @property
    def constant(self) -> float:
        """What the kernels leave out of the losses of the rows trained on: of Poisson's."""
        y = oracle.as_columns(self.problem.y)
        if self.problem.model.loss != "poisson":
            return 0.0
        rest = np.where(y > 0, y * np.log(np.where(y > 0, y, 1)) - y, 0).sum(axis=1)
        return sum(float(rest[batch] @ self.weights[batch]) for batch in self.batches)

    def check(self) -> None:
        """Assert that parameters, loss and accuracy are the oracle's."""
        problem, settings = self.problem, self.settings.of_oracle()
        exact = problem.trained(self.batches, **settings)
        allowed = problem.training_bounds(self.batches, **settings)
        for layer in range(len(exact.weights)):
            W, b = self.network.weights[layer], self.network.biases[layer]
            assert_within(W, exact.weights[layer], allowed.weights[layer], f"W[{layer}]")
            assert_within(b, exact.biases[layer], allowed.biases[layer], f"b[{layer}]")
        mass = sum(float(self.weights[batch].sum(dtype=float)) for batch in self.batches)
        loss, metric = self.plan.totals
        assert_within((loss + self.constant) / mass, exact.loss, allowed.loss, "loss")
        if oracle.LOSSES[problem.model.loss].is_classification:
            adding = len(problem.X) * float(np.finfo(problem.dtype).eps)
            assert_within(metric / mass, exact.accuracy, adding, "accuracy")


def train_and_check(
    problem: Problem, batch_size: int, method: str, settings: Settings, epochs: int = 1
) -> None:
    """Assert that so many epochs, by the method that the test is about, come to the oracle's."""
    training = PlannedTraining(problem, batch_size, settings)
    assert training.method == method
    for _ in range(epochs):
        training.epoch()
    training.check()


def uneven_weights(rows: int, dtype: Any) -> Array:
    """Weights of rows, as the network has them: some of them 0."""
    rng = np.random.default_rng(rows)
    weights = rng.uniform(0.2, 3.0, size=rows).astype(dtype)
    weights[rng.integers(0, rows, size=rows // 5)] = 0
    return np.asarray(weights)
