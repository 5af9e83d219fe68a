"""Helpers of the tests that train: which batches, and how far from the oracle."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from fastbp import Network
from fastbp.engine.plan import NetworkPlan
from fastbp.training import batch_indices
from tests import oracle
from tests.problems import Problem
from tests.tolerance import assert_within
from tests.twins import Training


def batches_of(problem: Problem, settings: dict[str, Any]) -> list[np.ndarray]:
    """The batches that ``fit`` takes under `settings`, one after the other."""
    return [
        batch
        for epoch in range(settings["epochs"])
        for batch in batch_indices(
            len(problem.X),
            settings["batch_size"],
            shuffle=settings.get("shuffle", True),
            seed=settings.get("seed"),
            epoch=epoch,
        )
    ]


def assert_parameters_follow_the_oracle(
    network: Network, problem: Problem, batches: list[np.ndarray], **rates: float
) -> None:
    exact = problem.trained(batches, **rates)
    allowed = problem.training_bounds(batches, **rates)
    for layer in range(len(network.weights)):
        weight, bias = network.weights[layer], network.biases[layer]
        assert weight.dtype == bias.dtype == problem.dtype
        assert_within(weight, exact.weights[layer], allowed.weights[layer], f"W[{layer}]")
        assert_within(bias, exact.biases[layer], allowed.biases[layer], f"b[{layer}]")


def assert_training_follows_the_oracle(problem: Problem, **settings: Any) -> None:
    settings = {"learning_rate": 0.5, "seed": 11, **settings}
    network = problem.network()

    history = network.fit(problem.X, problem.y, **settings)

    batches = batches_of(problem, settings)
    rates = {name: settings[name] for name in ("learning_rate", "weight_decay") if name in settings}
    assert len(history.loss) == settings["epochs"]
    assert_parameters_follow_the_oracle(network, problem, batches, **rates)


def assert_parameters_follow_the_twin(
    steps: Callable[..., None], problem: Problem, batch_size: int, **rates: float
) -> None:
    """Train for one epoch, and assert that a twin's `steps` from `tests.twins` come to the same.

    The twin computes in float64 from what the network has and sees.
    """
    rates = {"learning_rate": 0.5, **rates}
    network = problem.network()
    network.fit(problem.X, problem.y, batch_size=batch_size, epochs=1, shuffle=False, **rates)

    parameters = ([oracle.float64(p) for p in group] for group in (problem.weights, problem.biases))
    twin = Training(*parameters, **rates)
    steps(twin, problem.seen, oracle.float64(problem.y), batch_size)

    rows = len(problem.X)
    batches = [np.arange(i, min(i + batch_size, rows)) for i in range(0, rows, batch_size)]
    allowed = problem.training_bounds(batches, **rates)
    for layer in range(len(network.weights)):
        weight, bias = network.weights[layer], network.biases[layer]
        assert_within(weight, twin.weights[layer], allowed.weights[layer], f"W[{layer}]")
        assert_within(bias, twin.biases[layer], allowed.biases[layer], f"b[{layer}]")


def bits(network: Network) -> bytes:
    return b"".join(a.tobytes() for a in network.weights + network.biases)


def bits_of_training_in_calls(
    problem: Problem, batch_size: int, groups: int
) -> tuple[bytes, bytes]:
    """Parameters, and loss and accuracy, after an epoch of which each call makes some groups."""
    network = problem.network()
    rows = len(problem.X)
    targets = problem.y.astype(network.dtype).reshape(rows, -1)
    plan = NetworkPlan(network, problem.X, targets, batch_size=batch_size)
    plan.settings[:2] = 0.01, 0.1
    steps = -(-rows // batch_size)
    at_once = groups * plan.group
    for first in range(0, steps, at_once):
        plan.train(None, first, min(first + at_once, steps))
    return bits(network), plan.settings.tobytes()
