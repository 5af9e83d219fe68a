"""The calls of compiled code that an estimator's epochs are made in."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip("sklearn")

import fastbp
from fastbp.engine.plan import NetworkPlan
from fastbp.estimators import rows

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


@pytest.mark.parametrize(
    ("seconds", "at_once", "first", "second", "left"),
    [
        (0.0005, 100, [12], [12], 100),  # one call, which takes no longer than it may
        (0.04, 100, [12], [2] * 6, 2),
        (0.001, 2, [2, 8, 2], [12], 32),
    ],
)
def test_a_call_takes_a_tenth_of_a_second(seconds, at_once, first, second, left, monkeypatch):
    """With steps that take so many ``seconds`` each."""
    made, plans, now = [], [], [0.0]

    def train(plan, order, start, end, numbers, number):
        plans.append(plan)
        assert len(numbers) == end - start
        made.append(end - start)
        now[0] += seconds * (end - start)

    begin = rows.DenseRows.__init__

    def init(self, *arguments):
        begin(self, *arguments)
        self.plan.steps_at_once = at_once

    monkeypatch.setattr(rows.DenseRows, "__init__", init)
    monkeypatch.setattr(NetworkPlan, "train", train)
    monkeypatch.setattr(rows, "time", SimpleNamespace(perf_counter=lambda: now[0]))
    X = np.arange(120.0)[:, None] / 120
    model = fastbp.MLPClassifier(3, max_iter=2, batch_size=10, random_state=0)
    model.fit(X, X[:, 0] > 0.5)

    assert made == first + second
    assert plans[-1].steps_at_once == left
