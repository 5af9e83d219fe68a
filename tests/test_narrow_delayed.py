"""Steps on few rows that share a pass over a narrow first layer (fastbp.kernels.narrow.delayed).

The twin is `tests.twins.delayed_steps`.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from fastbp.engine import method
from fastbp.kernels.linalg.row_ir import GROUP
from tests import rules, twins
from tests.problems import KINDS, make_problem
from tests.tolerance import InputFolding
from tests.training import assert_parameters_follow_the_twin, assert_training_follows_the_oracle

# ------------------------------------------------------------------ against the twin


@pytest.mark.parametrize(("dtype", "data_dtype", "fold"), KINDS)
@pytest.mark.parametrize("batch_size", [1, 2, 3])
@pytest.mark.parametrize("layer_sizes", [(1024, 1), (1033, 5, 2, 1), (1537, 16, 3)], ids=str)
def test_steps_are_those_of_the_twin(layer_sizes, batch_size, dtype, data_dtype, fold):
    problem = make_problem(layer_sizes, 29, dtype=dtype, data_dtype=data_dtype, fold=fold)
    assert rules.method_of(problem, batch_size) == "narrow delayed"

    def in_groups(now, X, y, batch):
        twins.delayed_steps(now, X, y, batch, rules.group_of(problem, batch))

    assert_parameters_follow_the_twin(
        in_groups, problem, batch_size, learning_rate=0.01, weight_decay=0.2
    )


# ------------------------------------------------------------------ against the oracle


@pytest.mark.parametrize("rows", [1, 2, 3, 4, 5, 7, 8, 41])
@pytest.mark.parametrize("batch_size", [1, 2, 3, 4])
@pytest.mark.parametrize("fold", ["none", "mean", "feature"])
def test_groups_with_a_short_last_one_and_a_short_last_step(fold, batch_size, rows):
    problem = make_problem((1033, 5, 2, 1), rows, dtype="float64", data_dtype="uint8", fold=fold)
    assert_training_follows_the_oracle(
        problem, batch_size=batch_size, epochs=2, learning_rate=1e-3, weight_decay=0.01
    )


@pytest.mark.parametrize("width", range(1, 17))
@pytest.mark.parametrize("batch_size", [1, 2, 4])
@pytest.mark.parametrize("data_dtype", ["float32", "float64", "uint8"])
def test_any_width_of_the_first_layer(data_dtype, batch_size, width):
    dtype = "float32" if data_dtype == "uint8" else data_dtype
    problem = make_problem((1030, width, 1), 30, dtype=dtype, data_dtype=data_dtype)
    assert_training_follows_the_oracle(
        problem, batch_size=batch_size, epochs=1, learning_rate=0.01, weight_decay=0.01
    )


@pytest.mark.filterwarnings("ignore:X holds bytes")
@pytest.mark.parametrize("batch_size", [1, 2, 3, 4])
def test_bytes_as_they_are(batch_size):
    problem = make_problem((1030, 3), 30, dtype="float64", data_dtype="uint8")
    problem = dataclasses.replace(problem, folding=InputFolding())
    problem.weights[0][...] /= 74  # or every sigmoid would saturate
    assert_training_follows_the_oracle(
        problem, batch_size=batch_size, epochs=1, learning_rate=1e-8, weight_decay=0.01
    )


@pytest.mark.parametrize("weight_decay", [0.05, 0.5, 1.9])  # keeps 0.975, 0.75, 0.05 of W
@pytest.mark.parametrize("batch_size", [1, 2])
def test_weight_decay_in_groups(batch_size, weight_decay):
    problem = make_problem((1030, 3, 2, 1), 30)
    assert_training_follows_the_oracle(
        problem, batch_size=batch_size, epochs=1, learning_rate=0.5, weight_decay=weight_decay
    )


@pytest.mark.parametrize("batch_size", [1, 2])
@pytest.mark.parametrize(
    ("data_dtype", "fold"),
    [("float64", "none"), ("uint8", "scalar"), ("uint8", "mean"), ("uint8", "feature")],
)
@pytest.mark.parametrize(
    "layer_sizes", [(1037, 3, 2, 1), (2050, 7, 1), (1024, 3), (1500, 15, 1)], ids=str
)
def test_a_group_differs_from_single_steps_by_rounding_alone(
    layer_sizes, data_dtype, fold, batch_size, monkeypatch
):
    problem = make_problem(layer_sizes, 61, dtype="float64", data_dtype=data_dtype, fold=fold)
    trained = []
    for largest in (GROUP, 1):
        monkeypatch.setattr(
            method, "narrow_group", lambda batch, lanes, most=largest: max(1, most // batch)
        )
        network = problem.network()
        history = network.fit(
            problem.X, problem.y, batch_size=batch_size, epochs=2, learning_rate=0.1,
            weight_decay=0.1, seed=2,
        )  # fmt: skip
        trained.append((network, history))
    (group, of_group), (single, of_single) = trained
    assert group.weights[0].tobytes() != single.weights[0].tobytes()  # else there were no groups
    # Sums of n0 products in other orders, some 60 steps of small rates after each other.
    close = 60 * layer_sizes[0] * np.finfo(float).eps
    for a, b in zip(group.weights + group.biases, single.weights + single.biases, strict=True):
        np.testing.assert_allclose(a, b, rtol=close, atol=close * np.abs(b).max())
    np.testing.assert_allclose(of_group.loss, of_single.loss, rtol=close)
    assert of_group.accuracy == of_single.accuracy


def test_which_steps_are_made_in_groups():
    found = {}
    for batch_size in (1, 2, 3, 4, 5):
        problem = make_problem((1030, 3, 1), 20)
        found[batch_size] = rules.group_of(problem, batch_size)
    assert found == {1: 4, 2: 2, 3: 1, 4: 1, 5: 1}
    assert rules.group_of(make_problem((1000, 3, 1), 20), 1) == 1  # too few columns to cut
    assert rules.group_of(make_problem((1030, 3, 1), 3), 1) == 3  # no more steps than there are
