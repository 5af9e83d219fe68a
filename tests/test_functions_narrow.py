"""Any activation, loss and optimizer, dropout and weights of rows, where the first layer is narrow.

Every method that there is (columns, delayed, shards, and outputs alone) against the oracle.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pytest

from fastbp.engine import layout, plan, threads
from fastbp.engine.plan import NetworkPlan
from fastbp.kernels.linalg.row_ir import GROUP
from tests import oracle, rules
from tests.problems import KINDS, make_problem
from tests.recipes import Training
from tests.tolerance import assert_within

pytestmark = pytest.mark.usefixtures("no_network_is_small")

ALL_KINDS = [*KINDS, ("float64", "uint8", "mean"), ("float32", "float64", "feature")]
TWO_KINDS = [("float64", "float64", "none"), ("float64", "uint8", "feature")]
N0 = rules.chunk_width(1024) * 2 + 5


class Case(NamedTuple):
    """A network's inputs, rows, rows of a step, and by which method these are made."""

    inputs: int
    rows: int
    batch: int
    method: str


# Steps of one tile and of several, with a last one that is shorter; in shards of two and of one.
GRADIENT_CASES = [
    Case(N0, 13, 5, "narrow columns"),
    Case(N0, 75, 33, "narrow columns"),
    Case(33, 24, 5, "narrow shards"),
    Case(65, 90, 40, "narrow shards"),
    Case(33, 300, 260, "narrow shards"),
]
CASES = [
    *GRADIENT_CASES,
    Case(N0, 7, 1, "narrow delayed"),
    Case(N0, 11, 3, "narrow delayed"),
]
IDS = {case: f"{case.method}, {case.batch}" for case in CASES}
RULES = {
    "momentum": oracle.Rule(momentum=0.9),
    "nesterov": oracle.Rule(momentum=0.8, nesterov=True),
    "adam": oracle.Rule("adam"),
    "adamw": oracle.Rule("adamw", beta_1=0.8, beta_2=0.99, epsilon=1e-3),
}
REGRESSION = [name for name, loss in oracle.LOSSES.items() if not loss.is_classification]

of_cases = pytest.mark.parametrize("case", CASES, ids=IDS.get)
of_gradient_cases = pytest.mark.parametrize("case", GRADIENT_CASES, ids=IDS.get)
of_kinds = pytest.mark.parametrize(("dtype", "data_dtype", "fold"), ALL_KINDS)
of_two_kinds = pytest.mark.parametrize(("dtype", "data_dtype", "fold"), TWO_KINDS)


def problem_of(case, hidden, outputs, kind, model=oracle.SIGMOID):
    dtype, data_dtype, fold = kind
    sizes = (case.inputs, *hidden, outputs)
    return make_problem(
        sizes, case.rows, dtype=dtype, data_dtype=data_dtype, fold=fold, model=model
    )


def uneven_weights(rows):
    """Weights of rows that float32 has too, some of them 0."""
    rng = np.random.default_rng(rows)
    weights = rng.uniform(0.2, 3.0, size=rows).astype(np.float32)
    weights[rng.integers(0, rows, size=rows // 5)] = 0
    return weights.astype(np.float64)


# ------------------------------------------------------------------ activations


@pytest.mark.parametrize("activation", oracle.ACTIVATIONS)
@of_kinds
@of_cases
def test_every_activation(case, dtype, data_dtype, fold, activation):
    model = oracle.Model(activation)
    problem = problem_of(case, (5, 3), 2, (dtype, data_dtype, fold), model)
    Training(problem, case.batch, 0.01, 0.1).assert_follows_the_oracle(case.method)


@of_two_kinds
@of_cases
def test_layers_of_different_activations(case, dtype, data_dtype, fold):
    model = oracle.Model(("tanh", "silu", "sigmoid", "relu", "identity"))
    problem = problem_of(case, (7, 3, 6, 1, 2), 1, (dtype, data_dtype, fold), model)
    Training(problem, case.batch, 0.01, 0.1, epochs=2).assert_follows_the_oracle(case.method)


# ------------------------------------------------------------------ losses


@pytest.mark.parametrize("loss", oracle.LOSSES)
@of_kinds
@of_cases
def test_every_loss(case, dtype, data_dtype, fold, loss):
    problem = problem_of(case, (5,), 3, (dtype, data_dtype, fold), oracle.Model("tanh", loss))
    Training(problem, case.batch, 0.01, 0.1).assert_follows_the_oracle(case.method)


@pytest.mark.parametrize("loss", oracle.LOSSES)
@of_two_kinds
@of_cases
def test_every_loss_of_a_single_layer(case, dtype, data_dtype, fold, loss):
    problem = problem_of(case, (), 4, (dtype, data_dtype, fold), oracle.Model(loss=loss))
    Training(problem, case.batch, 0.001, 0.1).assert_follows_the_oracle(case.method)


@pytest.mark.parametrize("loss", REGRESSION)
@of_cases
def test_the_squares_that_r2_is_made_of(case, loss):
    case = case._replace(rows=case.batch)  # one step: all rows are judged by the same network
    problem = problem_of(case, (3,), 3, KINDS[0], oracle.Model("tanh", loss))
    scale = np.array([0.3, 1.0, 2.0])
    weights = uneven_weights(case.rows)
    training = Training(problem, case.batch, sample_weight=weights, metric_scale=scale)
    z = problem.forward().Z[-1]
    a, a_error = oracle.LOSSES[loss].output(z), problem.bounds().A[-1]
    error = a - problem.y
    _, made = training.run()
    assert made.method.value == case.method
    exact = float((weights[:, None] * scale * error**2).sum())
    bound = (weights[:, None] * scale * (2 * np.abs(error) + a_error) * a_error).sum()
    rounding = (error.size + 8) * np.finfo(float).eps * exact
    assert_within(made.totals[1], exact, bound + rounding, "squares")


def test_lanes_that_are_no_rows_do_no_harm():
    # Where there is no row the first layer's Z is 0, and that of the last would be 800: whose
    # exponential is infinite, even of float64.
    case = Case(33, 5, 5, "narrow shards")
    problem = problem_of(case, (3,), 2, KINDS[0], oracle.Model("relu", "poisson"))
    problem.weights[0][...] *= 1e-3
    problem.biases[0][...] = 1
    problem.weights[1][...] = -800 / 3
    problem.biases[1][...] = 800
    Training(problem, case.batch, 1e-6).assert_follows_the_oracle(case.method)


# ------------------------------------------------------------------ optimizers


@pytest.mark.parametrize("rule", RULES)
@of_kinds
@of_gradient_cases
def test_every_optimizer(case, dtype, data_dtype, fold, rule):
    problem = problem_of(case, (5, 3), 2, (dtype, data_dtype, fold), oracle.Model("tanh"))
    Training(problem, case.batch, 0.01, 0.1, RULES[rule], epochs=2).assert_follows_the_oracle(
        case.method
    )


@pytest.mark.parametrize("width", [1, 16])
@pytest.mark.parametrize("rule", RULES)
@of_gradient_cases
def test_every_optimizer_of_a_single_layer(case, rule, width):
    problem = problem_of(case, (), width, KINDS[2])
    Training(problem, case.batch, 0.01, 0.1, RULES[rule], epochs=2).assert_follows_the_oracle(
        case.method
    )


@of_kinds
@of_gradient_cases
def test_a_penalty_in_the_gradient_of_plain_descent(case, dtype, data_dtype, fold):
    problem = problem_of(case, (5,), 2, (dtype, data_dtype, fold))
    Training(problem, case.batch, 0.1, 0.2, penalized=True).assert_follows_the_oracle(case.method)


@pytest.mark.parametrize("rule", ["momentum", "adam"])
def test_an_optimizer_of_more_weights_above_than_go_at_a_time(rule):
    case, hidden, outputs = Case(33, 20, 20, "narrow shards"), (16, 60), 15
    units = sum(hidden) + outputs
    assert units * rules.tiles("float64").lanes < 16 * 60  # a vector for each unit
    problem = problem_of(case, hidden, outputs, KINDS[0], oracle.Model("tanh"))
    Training(problem, case.batch, 0.01, 0.1, RULES[rule], epochs=3).assert_follows_the_oracle(
        case.method
    )


# ------------------------------------------------------------------ steps of their own numbers


def falling(step):
    return 0.05 / (1 + step)


@pytest.mark.parametrize("rule", ["sgd", *RULES])
@of_two_kinds
@of_cases
def test_a_rate_for_each_step(case, dtype, data_dtype, fold, rule):
    if rule != "sgd" and case.method == "narrow delayed":
        case = case._replace(batch=1, method="narrow columns")
    problem = problem_of(case, (5, 3), 2, (dtype, data_dtype, fold))
    training = Training(problem, case.batch, falling, 0.3, RULES.get(rule, oracle.SGD), epochs=2)
    training.assert_follows_the_oracle(case.method)


@of_two_kinds
@of_cases
def test_weights_of_rows(case, dtype, data_dtype, fold):
    for loss in ("log_loss", "cross_entropy", "huber"):
        problem = problem_of(case, (5,), 3, (dtype, data_dtype, fold), oracle.Model(loss=loss))
        weights = uneven_weights(case.rows)
        if case.batch == 1:
            weights[weights == 0] = 1  # or the mean of a step would be one of nothing
        training = Training(problem, case.batch, 0.05, 0.1, sample_weight=weights, epochs=2)
        training.assert_follows_the_oracle(case.method)


@of_cases
def test_a_step_whose_rows_weigh_nothing_decays_weights_and_nothing_else(case):
    case = case._replace(rows=case.batch)
    problem = problem_of(case, (5,), 3, KINDS[0], oracle.Model(loss="squared_error"))
    weights = np.zeros(case.rows)
    network, made = Training(problem, case.batch, 0.5, 0.5, sample_weight=weights).run()
    assert made.method.value == case.method
    for layer in range(2):
        np.testing.assert_array_equal(network.weights[layer], 0.75 * problem.weights[layer])
        np.testing.assert_array_equal(network.biases[layer], problem.biases[layer])
    assert (made.totals == 0).all()


# ------------------------------------------------------------------ dropout


@pytest.mark.parametrize("activation", oracle.ACTIVATIONS)
@of_two_kinds
@of_cases
def test_dropout_of_hidden_layers(case, dtype, data_dtype, fold, activation):
    model = oracle.Model(activation)
    problem = problem_of(case, (5, 6), 2, (dtype, data_dtype, fold), model)
    settings = {"dropout": (0.0, 0.3, 0.5), "seed": -(2**62) + 12345}
    training = Training(problem, case.batch, 0.01, 0.1, **settings, epochs=2)
    training.assert_follows_the_oracle(case.method)


@of_cases
def test_dropout_of_one_layer_of_two(case):
    for dropout in ((0.0, 0.4, 0.0), (0.0, 0.0, 0.4)):
        problem = problem_of(case, (5, 6), 2, KINDS[0])
        training = Training(problem, case.batch, 0.01, 0.1, dropout=dropout, seed=3, epochs=2)
        training.assert_follows_the_oracle(case.method)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_tiles_whose_rows_do_not_begin_in_the_first_lane(dtype, monkeypatch):
    # Where vectors have more lanes than a tile has rows: all those of float32 have.
    monkeypatch.setattr(plan, "tile_of", lambda choice, workers: (GROUP, GROUP))
    case = Case(N0, 40, 33, "narrow columns")
    problem = problem_of(case, (5, 6), 2, (dtype, dtype, "none"), oracle.Model("silu", "huber"))
    training = Training(
        problem, case.batch, 0.05, 0.1, sample_weight=uneven_weights(case.rows),
        dropout=(0.0, 0.3, 0.5), seed=7, epochs=2,
    )  # fmt: skip
    training.assert_follows_the_oracle(case.method)


@of_two_kinds
@of_gradient_cases
def test_all_of_it_together(case, dtype, data_dtype, fold):
    model = oracle.Model(("silu", "tanh"), "cross_entropy")
    problem = problem_of(case, (5, 6), 3, (dtype, data_dtype, fold), model)
    training = Training(
        problem,
        case.batch,
        falling,
        0.2,
        RULES["adamw"],
        uneven_weights(case.rows),
        (0.0, 0.2, 0.4),
        seed=9,
        epochs=3,
    )
    training.assert_follows_the_oracle(case.method)


# ------------------------------------------------------------------ outputs


@pytest.mark.parametrize("activation", oracle.ACTIVATIONS)
@of_kinds
@pytest.mark.parametrize("rows", [1, 3, 50])
def test_outputs_of_every_activation(rows, dtype, data_dtype, fold, activation):
    problem = make_problem(
        (130, 5, 3, 2), rows, dtype=dtype, data_dtype=data_dtype, fold=fold,
        model=oracle.Model(activation),
    )  # fmt: skip
    made = NetworkPlan(problem.network(), problem.X)
    assert made.method.value == "narrow"
    exact, allowed = problem.forward(), problem.bounds()
    assert_within(made.forward(sigmoid_out=False), exact.Z[-1], allowed.Z[-1], "Z")
    assert_within(made.forward(sigmoid_out=True), exact.A[-1], allowed.A[-1], "A")


# ------------------------------------------------------------------ bits


def everything(case, dtype, data_dtype):
    """A training in which all that a step may be told is there, but no gradient if delayed."""
    delayed = case.method == "narrow delayed"
    model = oracle.Model(("silu", "relu"), "cross_entropy")
    problem = problem_of(case, (5, 6), 3, (dtype, data_dtype, "mean"), model)
    weights = uneven_weights(case.rows) + 1
    rule = oracle.SGD if delayed else RULES["adam"]
    training = Training(
        problem, case.batch, 0.01, 0.2, rule, weights, (0.0, 0.2, 0.4), seed=9, epochs=2
    )
    assert training.plan(problem.network()).method.value == case.method
    return training


@pytest.mark.parametrize(("dtype", "data_dtype"), [("float32", "uint8"), ("float64", "float64")])
@of_cases
def test_the_same_bits_with_any_number_of_threads(case, dtype, data_dtype, monkeypatch):
    for limit in ("_SERIAL_WORK", "_SERIAL_WORK_BY_COLUMNS"):  # however little there is to do
        monkeypatch.setattr(layout, limit, 0)
    found = []
    for workers in (1, 2, 3, 8):
        monkeypatch.setattr(threads, "get_num_threads", lambda workers=workers: workers)
        training = everything(case._replace(rows=3 * case.rows), dtype, data_dtype)
        found.append(training.bits())
    assert found == found[:1] * len(found)


@of_cases
def test_the_same_bits_however_an_epoch_is_cut_into_calls(case):
    training = everything(case._replace(rows=5 * case.batch - 1), "float32", "uint8")
    assert training.bits(1) == training.bits(2) == training.bits()
