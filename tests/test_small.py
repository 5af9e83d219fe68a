"""Networks of which all layers stay in the cache, in shards of rows (fastbp.kernels.small).

Any activation, loss and optimizer, dropout and weights of rows against the oracle; the twin is
`tests.twins.shard_steps`.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pytest

from fastbp.engine import layout, threads
from fastbp.engine.plan import NetworkPlan
from tests import oracle, rules, twins
from tests.problems import KINDS, make_problem, untrained
from tests.recipes import Training
from tests.test_cut import assert_trains_alike
from tests.test_functions_narrow import ALL_KINDS, REGRESSION, RULES, falling, uneven_weights
from tests.tolerance import assert_within
from tests.training import (
    assert_parameters_follow_the_twin,
    assert_training_follows_the_oracle,
    bits,
    bits_of_training_in_calls,
)

TWO_KINDS = [("float64", "float64", "none"), ("float32", "uint8", "feature")]


class Case(NamedTuple):
    """A network's inputs and hidden layers, rows and rows of a step."""

    inputs: int
    hidden: tuple[int, ...]
    rows: int
    batch: int


# Around vectors and tiles of registers, of several tiles of rows, and with shorter last steps.
CASES = [
    Case(1, (17,), 40, 17),
    Case(33, (20, 9), 75, 33),
    Case(16, (32, 16), 130, 64),
    Case(7, (65,), 600, 299),
]
IDS = {case: f"{case.inputs}, {case.hidden}, {case.batch}" for case in CASES}

of_cases = pytest.mark.parametrize("case", CASES, ids=IDS.get)
of_kinds = pytest.mark.parametrize(("dtype", "data_dtype", "fold"), ALL_KINDS)
of_two_kinds = pytest.mark.parametrize(("dtype", "data_dtype", "fold"), TWO_KINDS)


def problem_of(case, outputs, kind, model=oracle.SIGMOID):
    dtype, data_dtype, fold = kind
    sizes = (case.inputs, *case.hidden, outputs)
    return make_problem(
        sizes, case.rows, dtype=dtype, data_dtype=data_dtype, fold=fold, model=model
    )


def assert_follows_the_oracle(training):
    training.assert_follows_the_oracle("small")


# ------------------------------------------------------------------ functions


@pytest.mark.parametrize("activation", oracle.ACTIVATIONS)
@of_kinds
@of_cases
def test_every_activation(case, dtype, data_dtype, fold, activation):
    problem = problem_of(case, 2, (dtype, data_dtype, fold), oracle.Model(activation))
    assert_follows_the_oracle(Training(problem, case.batch, 0.01, 0.1))


@of_two_kinds
def test_layers_of_different_activations(dtype, data_dtype, fold):
    model = oracle.Model(("tanh", "silu", "sigmoid", "relu", "identity"))
    case = Case(20, (18, 5, 33, 1, 8), 90, 40)
    problem = problem_of(case, 1, (dtype, data_dtype, fold), model)
    assert_follows_the_oracle(Training(problem, case.batch, 0.01, 0.1, epochs=2))


@pytest.mark.parametrize("loss", oracle.LOSSES)
@pytest.mark.parametrize("outputs", [2, 17])
@of_kinds
@of_cases
def test_every_loss(case, outputs, dtype, data_dtype, fold, loss):
    kind, model = (dtype, data_dtype, fold), oracle.Model("tanh", loss)
    problem = problem_of(case, outputs, kind, model)
    assert_follows_the_oracle(Training(problem, case.batch, 0.01, 0.1))


@pytest.mark.parametrize("loss", oracle.LOSSES)
@of_two_kinds
def test_every_loss_of_a_single_layer(dtype, data_dtype, fold, loss):
    problem = problem_of(
        Case(30, (), 50, 40), 20, (dtype, data_dtype, fold), oracle.Model(loss=loss)
    )
    assert_follows_the_oracle(Training(problem, 40, 0.001, 0.1))


@pytest.mark.parametrize("loss", REGRESSION)
@of_cases
def test_the_squares_that_r2_is_made_of(case, loss):
    case = case._replace(rows=case.batch)  # one step: all rows are judged by the same network
    problem = problem_of(case, 3, KINDS[0], oracle.Model("tanh", loss))
    scale = np.array([0.3, 1.0, 2.0])
    weights = uneven_weights(case.rows)
    training = Training(problem, case.batch, sample_weight=weights, metric_scale=scale)
    z = problem.forward().Z[-1]
    a, a_error = oracle.LOSSES[loss].output(z), problem.bounds().A[-1]
    error = a - problem.y
    _, made = training.run()
    assert made.method.value == "small"
    exact = float((weights[:, None] * scale * error**2).sum())
    bound = (weights[:, None] * scale * (2 * np.abs(error) + a_error) * a_error).sum()
    rounding = (error.size + 8) * np.finfo(float).eps * exact
    assert_within(made.totals[1], exact, bound + rounding, "squares")


def test_rows_that_are_none_do_no_harm():
    # Where there is no row, memory may hold anything: of the sums of a product NaN, and of the
    # loss infinity.
    problem = problem_of(Case(33, (17,), 21, 17), 2, KINDS[0], oracle.Model("relu", "poisson"))
    problem.weights[0][...] *= 1e-3
    problem.biases[0][...] = 1
    problem.weights[1][...] = -800 / 17
    problem.biases[1][...] = 800
    assert_follows_the_oracle(Training(problem, 17, 1e-6))


# ------------------------------------------------------------------ optimizers


@pytest.mark.parametrize("rule", RULES)
@of_kinds
@of_cases
def test_every_optimizer(case, dtype, data_dtype, fold, rule):
    problem = problem_of(case, 2, (dtype, data_dtype, fold), oracle.Model("tanh"))
    assert_follows_the_oracle(Training(problem, case.batch, 0.01, 0.1, RULES[rule], epochs=2))


@of_two_kinds
@of_cases
def test_a_penalty_in_the_gradient_of_plain_descent(case, dtype, data_dtype, fold):
    problem = problem_of(case, 2, (dtype, data_dtype, fold))
    assert_follows_the_oracle(Training(problem, case.batch, 0.1, 0.2, penalized=True))


@pytest.mark.parametrize("rule", ["sgd", *RULES])
@of_two_kinds
@of_cases
def test_a_rate_for_each_step(case, dtype, data_dtype, fold, rule):
    problem = problem_of(case, 2, (dtype, data_dtype, fold))
    how = RULES.get(rule, oracle.SGD)
    assert_follows_the_oracle(Training(problem, case.batch, falling, 0.3, how, epochs=2))


@of_two_kinds
@of_cases
def test_weights_of_rows(case, dtype, data_dtype, fold):
    for loss in ("log_loss", "cross_entropy", "huber"):
        problem = problem_of(case, 3, (dtype, data_dtype, fold), oracle.Model(loss=loss))
        weights = uneven_weights(case.rows)
        training = Training(problem, case.batch, 0.05, 0.1, sample_weight=weights, epochs=2)
        assert_follows_the_oracle(training)


def test_a_step_whose_rows_weigh_nothing_decays_weights_and_nothing_else():
    case = CASES[1]._replace(rows=CASES[1].batch)
    problem = problem_of(case, 3, KINDS[0], oracle.Model(loss="squared_error"))
    weights = np.zeros(case.rows)
    network, made = Training(problem, case.batch, 0.5, 0.5, sample_weight=weights).run()
    for layer in range(3):
        np.testing.assert_array_equal(network.weights[layer], 0.75 * problem.weights[layer])
        np.testing.assert_array_equal(network.biases[layer], problem.biases[layer])
    assert (made.totals == 0).all()


# ------------------------------------------------------------------ dropout


@pytest.mark.parametrize("activation", oracle.ACTIVATIONS)
@of_two_kinds
def test_dropout_of_hidden_layers(dtype, data_dtype, fold, activation):
    case = CASES[1]
    problem = problem_of(case, 2, (dtype, data_dtype, fold), oracle.Model(activation))
    settings = {"dropout": (0.0, 0.3, 0.5), "seed": -(2**62) + 12345}
    assert_follows_the_oracle(Training(problem, case.batch, 0.01, 0.1, **settings, epochs=2))


def test_dropout_of_one_layer_of_two():
    for dropout in ((0.0, 0.4, 0.0), (0.0, 0.0, 0.4)):
        problem = problem_of(CASES[1], 2, KINDS[0])
        training = Training(problem, 33, 0.01, 0.1, dropout=dropout, seed=3, epochs=2)
        assert_follows_the_oracle(training)


def everything(dtype, data_dtype, rows=180, batch=100):
    """A training in which all that a step may be told is there."""
    model = oracle.Model(("silu", "relu"), "cross_entropy")
    problem = problem_of(Case(33, (20, 9), rows, batch), 3, (dtype, data_dtype, "mean"), model)
    weights = uneven_weights(rows) + 1
    return Training(
        problem, batch, falling, 0.2, RULES["adamw"], weights, (0.0, 0.2, 0.4), seed=9, epochs=2
    )


@of_two_kinds
def test_all_of_it_together(dtype, data_dtype, fold):
    assert_follows_the_oracle(everything(dtype, data_dtype))


def test_dropout_and_clipping_of_what_needs_whole_batches_is_left_to_dense_steps():
    problem = problem_of(CASES[1], 2, KINDS[0])
    for training in (
        Training(problem, 33, 0.01, dropout=(0.2, 0.0, 0.0)),
        Training(problem, 33, 0.01, rule=oracle.Rule("adam", clip_norm=0.1)),
    ):
        training.assert_follows_the_oracle("dense")


# ------------------------------------------------------------------ rows


@pytest.mark.parametrize("data_dtype", ["float32", "float64", "uint8"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_rows_of_any_strides(dtype, data_dtype):
    problem = problem_of(Case(19, (24,), 90, 40), 2, (dtype, data_dtype, "feature"))
    everything = np.zeros((180, 60), data_dtype)
    everything[::2, 3:60:3] = problem.X
    read_only = problem.X.copy()
    read_only.flags.writeable = False
    found = []
    for X in (problem.X, everything[::2, 3:60:3], np.asfortranarray(problem.X), read_only):
        network = problem.network()
        network.fit(X, problem.y, batch_size=40, epochs=2, learning_rate=0.1, seed=0)
        found.append((bits(network), network.predict_proba(X).tobytes()))
    assert found == found[:1] * 4


@pytest.mark.machine
@pytest.mark.parametrize("rows", [17, 31, 32, 33, 255, 511, 512, 1030, 2100])
@pytest.mark.parametrize(("dtype", "data_dtype", "fold"), KINDS)
def test_batches_of_any_number_of_shards_and_tiles(rows, dtype, data_dtype, fold):
    problem = make_problem((21, 19, 4), rows, dtype=dtype, data_dtype=data_dtype, fold=fold)
    assert rules.method_of(problem, rows) == "small"
    assert_training_follows_the_oracle(problem, batch_size=None, epochs=2, weight_decay=0.01)


# ------------------------------------------------------------------ twin


def steps_of(problem):
    def steps(now, X, y, batch):
        twins.shard_steps(now, X, y, batch, lambda rows: rules.rows_of_small_shard(rows, problem))

    return steps


@pytest.mark.parametrize(("dtype", "data_dtype", "fold"), KINDS)
@pytest.mark.parametrize("batch", [17, 33, 256, 1030])
@pytest.mark.parametrize("layer_sizes", [(1, 20), (33, 20, 2, 1), (65, 17, 33)], ids=str)
def test_steps_are_those_of_the_twin(layer_sizes, batch, dtype, data_dtype, fold):
    problem = make_problem(layer_sizes, batch + 20, dtype=dtype, data_dtype=data_dtype, fold=fold)
    assert rules.method_of(problem, batch) == "small"
    assert_parameters_follow_the_twin(steps_of(problem), problem, batch, weight_decay=0.1)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("columns", [9, 67])
@pytest.mark.parametrize("batch", [32, 64, 1024])
def test_gradients_of_shards_are_added_up_in_order(batch, columns, dtype):
    problem = untrained(columns, 20, batch, dtype)
    assert rules.method_of(problem, batch) == "small"
    now = twins.Training(problem.weights, problem.biases, 1.0)
    steps_of(problem)(now, problem.X, problem.y, batch)
    uncut = twins.Training(problem.weights, problem.biases, 1.0)
    twins.shard_steps(uncut, problem.X, problem.y, batch, lambda rows: rows)
    assert (now.weights[0] != uncut.weights[0]).any()  # the cuts show

    network = problem.network()
    network.fit(problem.X, problem.y, batch_size=batch, epochs=1, learning_rate=1.0, shuffle=False)

    np.testing.assert_array_equal(network.weights[0], now.weights[0])


# ------------------------------------------------------------------ bits


@pytest.mark.parametrize(("dtype", "data_dtype"), [("float32", "uint8"), ("float64", "float64")])
@pytest.mark.parametrize("batch", [17, 100, 540])
def test_the_same_bits_with_any_number_of_threads(batch, dtype, data_dtype, monkeypatch):
    monkeypatch.setattr(layout, "_SERIAL_WORK", 0)  # however little there is to do
    found = []
    for workers in (1, 2, 3, 8, 48):
        monkeypatch.setattr(threads, "get_num_threads", lambda workers=workers: workers)
        found.append(everything(dtype, data_dtype, 3 * batch, batch).bits())
    assert found == found[:1] * len(found)


@pytest.mark.parametrize("layer_sizes", [(20, 17, 1), (9, 300, 70)], ids=str)
def test_the_same_bits_whoever_takes_a_shard_or_a_block(layer_sizes, monkeypatch):
    problem = make_problem(layer_sizes, 533, data_dtype="uint8", fold="mean")
    for batch_size in (20, 300):
        assert rules.method_of(problem, batch_size) == "small"
        assert_trains_alike(problem, batch_size, monkeypatch)


def test_the_same_bits_however_an_epoch_is_cut_into_calls():
    training = everything("float32", "uint8", 499)
    assert training.bits(1) == training.bits(2) == training.bits()
    problem = make_problem((20, 17, 1), 100)
    found = [bits_of_training_in_calls(problem, 32, groups) for groups in (1, 2, 100)]
    assert found == found[:1] * 3


# ------------------------------------------------------------------ outputs


@pytest.mark.parametrize("activation", oracle.ACTIVATIONS)
@of_kinds
@pytest.mark.parametrize("rows", [17, 50, 300])
def test_outputs_of_every_activation(rows, dtype, data_dtype, fold, activation):
    problem = make_problem(
        (13, 20, 3, 2), rows, dtype=dtype, data_dtype=data_dtype, fold=fold,
        model=oracle.Model(activation),
    )  # fmt: skip
    made = NetworkPlan(problem.network(), problem.X)
    assert made.method.value == "small"
    exact, allowed = problem.forward(), problem.bounds()
    assert_within(made.forward(sigmoid_out=False), exact.Z[-1], allowed.Z[-1], "Z")
    assert_within(made.forward(sigmoid_out=True), exact.A[-1], allowed.A[-1], "A")
