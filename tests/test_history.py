"""What a training tells of itself: speed, limits, curves."""

from __future__ import annotations

import pickle
from itertools import pairwise

import numpy as np
import pytest

from fastbp import History
from fastbp.engine import peaks
from fastbp.roofline import Work, training_work
from tests.problems import ONE_OF_EACH, make_problem


@pytest.mark.parametrize("layer_sizes", ONE_OF_EACH, ids=str)
def test_speed_follows_from_operations_and_seconds(layer_sizes):
    problem = make_problem(layer_sizes, 50)
    history = problem.network().fit(problem.X, problem.y, batch_size=16, epochs=2)
    weights = sum(a * b for a, b in pairwise(layer_sizes))
    flops = 2 * 50 * (3 * weights - layer_sizes[0] * layer_sizes[1])
    assert [work.flops for work in history.work] == [flops] * 2
    for gflops, seconds in zip(history.gflops, history.seconds, strict=True):
        assert gflops == pytest.approx(1e-9 * flops / seconds)


def test_the_fraction_of_the_limit_is_measured_when_it_is_asked_for(monkeypatch):
    problem = make_problem((33, 40, 1), 50)
    history = problem.network().fit(problem.X, problem.y, epochs=2)
    asked = []
    monkeypatch.setattr(peaks, "measured_flops", lambda *machine: asked.append(machine) or 1e9)
    monkeypatch.setattr(peaks, "measured_bandwidth", lambda workers: 1e30)
    fractions = history.limit_fraction
    assert fractions == pytest.approx(history.gflops)  # of 1 GFLOP/s
    assert asked == [("float32", history.machine.threads)]
    assert History().limit_fraction == []


def test_bytes_of_what_an_optimizer_keeps_cross_the_bus_too():
    sizes = 1000, 100, 1
    weights = 1000 * 100 + 100
    plain = training_work(sizes, 10, 4, 0)
    adam = training_work(sizes, 10, 4, 0, kept=2)
    assert adam == Work(plain.flops, plain.nbytes + 2 * 2 * 4 * weights)
    assert training_work(sizes, 30, 4, 0, steps=3) == plain.times(3)


def test_a_history_can_be_pickled():
    problem = make_problem((33, 3, 1))
    history = problem.network().fit(problem.X, problem.y, epochs=2)
    assert pickle.loads(pickle.dumps(history)) == history


def test_learning_rates_are_those_of_the_last_steps():
    problem = make_problem((33, 3, 1), 40)
    history = problem.network().fit(
        problem.X, problem.y, batch_size=10, epochs=3, learning_rate=lambda step: 1 / (1 + step)
    )
    assert history.learning_rate == [1 / 4, 1 / 8, 1 / 12]


def test_curves_have_an_axis_for_the_loss_and_one_for_the_metric(tmp_path):
    pytest.importorskip("matplotlib")
    problem = make_problem((33, 3, 1))
    history = problem.network().fit(
        problem.X, problem.y, epochs=3, validation_data=(problem.X, problem.y), early_stopping=True
    )
    figure = history.plot()
    loss, metric = figure.axes
    assert (loss.get_ylabel(), metric.get_ylabel()) == ("loss", "accuracy")
    np.testing.assert_array_equal(loss.lines[0].get_ydata(), history.loss)
    np.testing.assert_array_equal(metric.lines[1].get_ydata(), history.val_accuracy)
    figure.savefig(tmp_path / "curves.png")
    assert (tmp_path / "curves.png").stat().st_size > 1000
    History().plot()
