"""Training by a plan alone: how one is told of a rule, weights of rows and dropout."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from fastbp.engine.plan import NetworkPlan
from fastbp.engine.recipe import Recipe
from fastbp.engine.together import joined
from fastbp.kernels import plan as w
from fastbp.kernels.functions.optimizers import ADAM, MOMENTUM, NESTEROV, SGD
from tests import oracle
from tests.problems import Problem
from tests.tolerance import assert_within
from tests.training import bits

Array = npt.NDArray[Any]


@dataclass
class Training:
    """What is trained, and how; most fields but the first two are those of `oracle.train`."""

    problem: Problem
    batch_size: int
    learning_rate: float | Callable[[int], float] = 0.1
    weight_decay: float = 0.0
    rule: oracle.Rule = oracle.SGD
    sample_weight: Array | None = None
    dropout: Sequence[float] | None = None
    seed: int = 0
    epochs: int = 1
    penalized: bool = False  # whether plain descent has its weight decay as part of the gradient
    metric_scale: Array | None = None
    squares_share: float = 0.0  # of the squares of W, which are added up unless it is 0

    def order(self, epoch: int) -> Array:
        """The shuffled rows."""
        return np.random.default_rng([5, epoch]).permutation(len(self.problem.X))

    def batches(self) -> list[Array]:
        rows = len(self.problem.X)
        return [
            self.order(epoch)[start : start + self.batch_size]
            for epoch in range(self.epochs)
            for start in range(0, rows, self.batch_size)
        ]

    def rate(self, step: int) -> float:
        return self.learning_rate(step) if callable(self.learning_rate) else self.learning_rate

    @property
    def _code(self) -> int:
        if self.rule.optimizer != "sgd":
            return ADAM
        if self.rule.momentum == 0:
            return SGD
        return NESTEROV if self.rule.nesterov else MOMENTUM

    @property
    def _decoupled(self) -> bool:
        """Whether weights are decayed beside the gradient."""
        plain = self._code == SGD and not self.penalized
        return plain or self.rule.optimizer == "adamw"

    def recipe(self) -> Recipe:
        rule, code = self.rule, self._code
        dtype, problem = self.problem.dtype, self.problem
        arrays = [*problem.weights, *problem.biases]
        kept = {SGD: 0, MOMENTUM: 1, NESTEROV: 1, ADAM: 2}[code]
        return Recipe(
            optimizer=code,
            beta_1=rule.beta_1 if code == ADAM else rule.momentum,
            beta_2=rule.beta_2,
            epsilon=rule.epsilon,
            penalty=0.0 if self._decoupled else self.weight_decay,
            clip_norm=rule.clip_norm or 0.0,
            state=tuple(tuple(map(np.zeros_like, arrays)) for _ in range(kept)),
            dropout=tuple(self.dropout or ()),
            seed=self.seed,
            row_weights=None if self.sample_weight is None else self.sample_weight.astype(dtype),
            metric_scale=self.metric_scale,
            is_constant=not callable(self.learning_rate) and code != ADAM,
            squares=self.squares_share != 0,
        )

    def numbers(self) -> npt.NDArray[np.float64]:
        """The row of each step, of all epochs."""
        rule, table = self.rule, []
        for step, batch in enumerate(self.batches()):
            rate, correction = self.rate(step), 1.0
            keep = 1 - rate * self.weight_decay if self._decoupled else 1.0
            if self._code == ADAM:
                correction = 1 / np.sqrt(1 - rule.beta_2 ** (step + 1))
                rate = rate / (1 - rule.beta_1 ** (step + 1))
            mass = len(batch) if self.sample_weight is None else self.sample_weight[batch].sum()
            penalty = 0.0 if self._decoupled else self.weight_decay
            share = 1 / mass if mass else 0.0
            table.append((rate, keep, correction, share, penalty, 1.0, self.squares_share))
        return np.array(table)

    def plan(self, network: Any) -> NetworkPlan:
        return NetworkPlan(
            network, self.problem.X, self.problem.y, batch_size=self.batch_size,
            recipe=self.recipe(),
        )  # fmt: skip

    def run(self, groups: int = 1000) -> tuple[Any, NetworkPlan]:
        """Train a network, in calls of so many groups of steps."""
        network = self.problem.network()
        plan, numbers = self.plan(network), self.numbers()
        steps = -(-len(self.problem.X) // self.batch_size)
        assert numbers.shape == (steps * self.epochs, w.STEP_COUNT)
        at_once = groups * plan.group
        for epoch in range(self.epochs):
            for first in range(0, steps, at_once):
                last = min(first + at_once, steps)
                number = epoch * steps + first
                some = np.ascontiguousarray(numbers[number : number + last - first])
                plan.train(self.order(epoch), first, last, some, number)
        return network, plan

    def assert_follows_the_oracle(self, method: str) -> None:
        """Train, and compare parameters and the mean loss with the oracle's."""
        network, plan = self.run()
        assert plan.method.value == method
        self.assert_came_to_what_the_oracle_says(network, plan)

    def assert_came_to_what_the_oracle_says(self, network: Any, plan: NetworkPlan) -> None:
        """Compare what has been trained."""
        settings = {
            "learning_rate": self.learning_rate, "weight_decay": self.weight_decay,
            "rule": self.rule, "sample_weight": self.sample_weight, "dropout": self.dropout,
            "seed": self.seed,
        }  # fmt: skip
        problem, batches = self.problem, self.batches()
        exact = problem.trained(batches, **settings)
        allowed = problem.training_bounds(batches, **settings)
        for layer in range(len(network.weights)):
            for name in ("weights", "biases"):
                assert_within(
                    getattr(network, name)[layer],
                    getattr(exact, name)[layer],
                    getattr(allowed, name)[layer],
                    f"{name}[{layer}]",
                )
        loss, metric = self._means(plan, batches)
        assert_within(loss, exact.loss, allowed.loss, "loss")
        if oracle.LOSSES[problem.model.loss].is_classification:
            adding = len(problem.X) * float(np.finfo(problem.dtype).eps)
            assert_within(metric, exact.accuracy, adding, "accuracy")

    @staticmethod
    def run_together(
        trainings: Sequence[Training], seconds: float = math.inf
    ) -> list[tuple[Any, NetworkPlan]]:
        """Train networks on the rows of the first of them, in calls of about so many seconds."""
        first = trainings[0]
        X = first.problem.X
        for training in trainings:
            training.problem = dataclasses.replace(training.problem, X=X)
        networks = [training.problem.network() for training in trainings]
        plans = [one.plan(network) for one, network in zip(trainings, networks, strict=True)]
        numbers = [training.numbers() for training in trainings]
        group, steps = joined(plans), -(-len(X) // first.batch_size)
        for epoch in range(first.epochs):
            at = epoch * steps
            some = [np.ascontiguousarray(table[at : at + steps]) for table in numbers]
            group.train(first.order(epoch), 0, steps, some, [at] * len(plans), seconds)
        return list(zip(networks, plans, strict=True))

    def bits(self, groups: int = 1000) -> bytes:
        """All that training changes, in calls of so many groups of steps."""
        return self.bits_of(*self.run(groups))

    @staticmethod
    def bits_of(network: Any, plan: NetworkPlan) -> bytes:
        """All that training has changed."""
        kept = [array.tobytes() for arrays in plan.recipe.state for array in arrays]
        return b"".join([bits(network), *kept, plan.totals.tobytes()])

    def _means(self, plan: NetworkPlan, batches: list[Array]) -> Array:
        rows = np.concatenate(batches)
        return plan.totals / (
            len(rows) if self.sample_weight is None else self.sample_weight[rows].sum()
        )
