"""The same weights and batches through PyTorch give the same training, where it is installed."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from tests.problems import Problem, make_problem
from tests.tolerance import assert_within

torch = pytest.importorskip("torch")

ROWS, BATCH, EPOCHS, RATE = 50, 16, 5, 0.5  # 20 steps, every fourth on 2 rows
IN_ORDER = [np.arange(start, min(start + BATCH, ROWS)) for start in range(0, ROWS, BATCH)] * EPOCHS


def trained_by_torch(problem: Problem, weight_decay: float) -> list[torch.nn.Linear]:
    """Train torch.nn.Linear layers with BCEWithLogitsLoss and SGD on the problem's batches."""
    dtype = getattr(torch, problem.dtype.name)
    linears = [
        torch.nn.Linear(fan_in, fan_out, dtype=dtype)
        for fan_in, fan_out in pairwise(problem.layer_sizes)
    ]
    with torch.no_grad():
        for linear, weight, bias in zip(linears, problem.weights, problem.biases, strict=True):
            linear.weight.copy_(torch.from_numpy(weight))
            linear.bias.copy_(torch.from_numpy(bias))
    optimizer = torch.optim.SGD(
        [
            {"params": [linear.weight for linear in linears], "weight_decay": weight_decay},
            {"params": [linear.bias for linear in linears], "weight_decay": 0.0},
        ],
        lr=RATE,
    )
    loss_sum = torch.nn.BCEWithLogitsLoss(reduction="sum")
    X, y = torch.from_numpy(problem.X), torch.from_numpy(problem.y)
    for batch in IN_ORDER:
        values = X[batch]
        for linear in linears[:-1]:
            values = torch.sigmoid(linear(values))
        optimizer.zero_grad()
        (loss_sum(linears[-1](values), y[batch]) / len(batch)).backward()
        optimizer.step()
    return linears


@pytest.mark.parametrize("weight_decay", [0.0, 0.02])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    "layer_sizes", [(33, 3, 2, 1), (33, 40, 1), (48, 5, 3), (20, 18, 17, 2)], ids=str
)
def test_training_agrees_with_torch(layer_sizes, dtype, weight_decay):
    problem = make_problem(layer_sizes, ROWS, dtype=dtype)
    network = problem.network()

    network.fit(
        problem.X,
        problem.y,
        batch_size=BATCH,
        epochs=EPOCHS,
        learning_rate=RATE,
        weight_decay=weight_decay,
        shuffle=False,
    )

    theirs = trained_by_torch(problem, weight_decay)
    allowed = problem.training_bounds(IN_ORDER, learning_rate=RATE, weight_decay=weight_decay)
    for layer, linear in enumerate(theirs):
        # Both round: twice the bound of one.
        weight, bias = linear.weight.detach().numpy(), linear.bias.detach().numpy()
        assert_within(network.weights[layer], weight, 2 * allowed.weights[layer], f"W[{layer}]")
        assert_within(network.biases[layer], bias, 2 * allowed.biases[layer], f"b[{layer}]")
