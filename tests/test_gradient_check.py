"""`fastbp.check_gradients`: what is right passes, what is wrong is found, kinks are left out."""

from __future__ import annotations

import numpy as np
import pytest

import fastbp
from fastbp import gradients
from tests import oracle
from tests.problems import make_problem

# Rounding of the loss, divided by a step of 6e-6, is 4e-11 of it; third derivatives of order 1
# come to the same, and the smallest of the largest gradients are some 1e-4 of the loss.
RIGHT = 1e-5


def checked(model: oracle.Model, sizes=(6, 5, 4, 3), dtype: str = "float64", **settings):
    problem = make_problem(sizes, 9, dtype=dtype, model=model)
    return fastbp.check_gradients(problem.network(), problem.X, problem.y, **settings)


@pytest.mark.parametrize("loss", oracle.LOSSES)
@pytest.mark.parametrize("activation", oracle.ACTIVATIONS)
def test_gradients_of_every_function_are_right(activation, loss):
    result = checked(oracle.Model(activation, loss), weight_decay=0.1)
    assert 0 < result.max_relative_error < RIGHT
    assert result.checked + result.skipped == 6 * 5 + 5 + 5 * 4 + 4 + 4 * 3 + 3
    assert result.checked > result.skipped
    if activation not in oracle.KINKED and loss != "absolute_error":
        assert result.skipped == 0


@pytest.mark.parametrize("fold", ["scalar", "feature"])
def test_networks_of_float32_and_bytes_are_compared_in_float64(fold):
    problem = make_problem((6, 5, 3), 9, data_dtype="uint8", fold=fold)
    network = problem.network()
    before = [array.copy() for array in network.weights + network.biases]
    weights = np.arange(9)

    result = fastbp.check_gradients(network, problem.X, problem.y, sample_weight=weights)

    assert 0 < result.max_relative_error < RIGHT
    for array, copy in zip(network.weights + network.biases, before, strict=True):
        np.testing.assert_array_equal(array, copy)


def test_labels_are_taken():
    network = fastbp.Network((4, 3, 2), activation="tanh", loss="cross_entropy", seed=0)
    network.classes_ = ["no", "yes"]
    X = np.random.default_rng(0).normal(size=(4, 4))
    result = fastbp.check_gradients(network, X, ["no", "yes", "yes", "no"])
    assert result.max_relative_error < RIGHT


@pytest.mark.parametrize("factor", [0.999, 1.001, -1.0, 0.0])
def test_wrong_gradients_are_found_and_named(monkeypatch, factor):
    right = gradients.output_slope
    monkeypatch.setattr(gradients, "output_slope", lambda *args: factor * right(*args))
    result = checked(oracle.Model("tanh", "squared_error"))
    # All are off by the factor, relative to the larger of the two.
    off = abs(factor - 1) / max(abs(factor), 1)
    assert result.max_relative_error == pytest.approx(off, rel=0.01)
    assert result.max_relative_error == max(result.errors.values())
    assert list(result.errors) == [
        f"{kind}[{i}]" for i in range(3) for kind in ("weights", "biases")
    ]


def test_entries_beside_a_kink_are_skipped():
    network = fastbp.Network((1, 2, 1), activation="relu", loss="squared_error", dtype="float64")
    network.weights[0][...] = [[1.0], [-1.0]]
    network.biases[0][...] = [-1.0, 0.5]  # z is 0 in the first unit, which x = 1 is the kink of
    result = fastbp.check_gradients(network, [[1.0]], [0.3])
    assert result.skipped == 7  # every step looks at a unit that is just at its kink
    assert result.max_relative_error == 0.0
    network.biases[0][0] = -1 + 1e-3
    result = fastbp.check_gradients(network, [[1.0]], [0.3])
    assert (result.checked, result.skipped) == (7, 0)


def test_some_entries_of_large_arrays_are_compared():
    result = checked(oracle.Model("tanh", "huber"), sizes=(40, 30, 2), entries=7)
    assert result.checked == 7 + 7 + 7 + 2
    with pytest.raises(ValueError, match="entries must be at least 1, got 0"):
        checked(oracle.Model("tanh", "huber"), entries=0)
