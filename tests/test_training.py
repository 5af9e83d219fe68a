"""Training, step by step against the oracle: the same batches give the same weights."""

from __future__ import annotations

import numpy as np
import pytest

from fastbp.kernels.compile import machine
from tests.problems import NARROW, ONE_OF_EACH, WIDE, make_problem
from tests.training import (
    assert_parameters_follow_the_oracle,
    assert_training_follows_the_oracle,
    batches_of,
    bits,
)

SIZES = NARROW + WIDE


@pytest.fixture(autouse=True, params=["small", "larger"])
def methods(request):
    """Train by the methods that there are for networks of such sizes, and for larger ones."""
    if request.param == "larger":
        request.getfixturevalue("no_network_is_small")


# ------------------------------------------------------------------ twenty steps


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("layer_sizes", SIZES, ids=str)
def test_twenty_steps_of_gradient_descent(layer_sizes, dtype):
    problem = make_problem(layer_sizes, dtype=dtype)
    assert_training_follows_the_oracle(problem, batch_size=None, epochs=20)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("layer_sizes", SIZES, ids=str)
def test_twenty_steps_of_stochastic_gradient_descent(layer_sizes, dtype):
    problem = make_problem(layer_sizes, 20, dtype=dtype)
    assert_training_follows_the_oracle(problem, batch_size=1, epochs=1)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("layer_sizes", SIZES, ids=str)
def test_twenty_steps_of_mini_batches_with_a_short_last_one(layer_sizes, dtype):
    problem = make_problem(layer_sizes, 50, dtype=dtype)
    assert_training_follows_the_oracle(problem, batch_size=16, epochs=5)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("batch_size", [None, 1, 16])
@pytest.mark.parametrize("layer_sizes", ONE_OF_EACH, ids=str)
def test_weight_decay_shrinks_the_old_weights_and_no_bias(layer_sizes, batch_size, dtype):
    problem = make_problem(layer_sizes, 20, dtype=dtype)
    epochs = {None: 20, 1: 1, 16: 10}[batch_size]
    assert_training_follows_the_oracle(
        problem, batch_size=batch_size, epochs=epochs, weight_decay=0.05
    )


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("data_dtype", ["float32", "float64", "uint8"])
@pytest.mark.parametrize("fold", ["none", "scalar", "mean", "feature"])
@pytest.mark.parametrize("layer_sizes", [(33, 3, 2, 1), (33, 1), (48, 40, 1)], ids=str)
def test_input_folding_in_training(layer_sizes, fold, data_dtype, dtype):
    problem = make_problem(layer_sizes, 50, dtype=dtype, data_dtype=data_dtype, fold=fold)
    assert_training_follows_the_oracle(problem, batch_size=16, epochs=5, weight_decay=0.01)


@pytest.mark.machine
@pytest.mark.parametrize("data_dtype", ["float32", "uint8"])
def test_shuffled_rows_are_as_good_as_rows_in_order(data_dtype, set_num_threads):
    # Forward, rows become columns of B, fewer than W's rows but more than a thread has of those:
    # they are transposed in pieces, which the bounds of the oracle are too wide to tell apart.
    depth = machine.tiles(4).kc + 300
    problem = make_problem((depth, 220, 1), 400, data_dtype=data_dtype)
    settings = {"batch_size": 200, "epochs": 1, "learning_rate": 0.5, "seed": 11}
    set_num_threads(2)
    shuffled, in_order = problem.network(), problem.network()

    shuffled.fit(problem.X, problem.y, **settings)
    for batch in batches_of(problem, settings):
        in_order.fit(problem.X[batch], problem.y[batch], shuffle=False, **settings)

    assert bits(shuffled) == bits(in_order)


@pytest.mark.parametrize("fold", ["scalar", "feature"])
@pytest.mark.parametrize("batch_size", [None, 1])
@pytest.mark.parametrize("layer_sizes", ONE_OF_EACH, ids=str)
def test_input_folding_in_batches_of_one_and_of_all(layer_sizes, batch_size, fold):
    problem = make_problem(layer_sizes, 20, data_dtype="uint8", fold=fold)
    assert_training_follows_the_oracle(
        problem, batch_size=batch_size, epochs=20 if batch_size is None else 1, weight_decay=0.01
    )


@pytest.mark.parametrize("batch_size", [2, 3, 7, 8, 9, 15, 17, 31, 32, 33, 63, 64, 65, 100, 130])
@pytest.mark.parametrize("layer_sizes", ONE_OF_EACH, ids=str)
def test_any_batch_size(layer_sizes, batch_size):
    problem = make_problem(layer_sizes, 130)
    assert_training_follows_the_oracle(problem, batch_size=batch_size, epochs=1)


@pytest.mark.parametrize("width", [*range(1, 19), 23, 24, 25, 31, 32, 33])
def test_any_width_of_the_first_layer(width):
    problem = make_problem((21, width, 1), 30)
    assert_training_follows_the_oracle(problem, batch_size=8, epochs=3)


@pytest.mark.parametrize("features", [1, 2, 3, 7, 8, 9, 15, 16, 17, 31, 32, 33, 63, 64, 65])
@pytest.mark.parametrize("width", [3, 18])
def test_any_number_of_features(features, width):
    problem = make_problem((features, width, 1), 30, fold="scalar")
    assert_training_follows_the_oracle(problem, batch_size=8, epochs=3)


def test_rows_in_tiles_of_a_batch_larger_than_any_tile():
    problem = make_problem((40, 3, 2, 1), 3000)
    assert_training_follows_the_oracle(problem, batch_size=1400, epochs=2)


def test_deep_network():
    problem = make_problem((20, *range(9, 1, -1), 1), 30)
    assert_training_follows_the_oracle(problem, batch_size=8, epochs=3)


@pytest.mark.parametrize("layer_sizes", [(12288, 3, 2, 1), (12288, 20, 1)], ids=str)
def test_wide_pixels(layer_sizes):
    problem = make_problem(layer_sizes, 24, dtype="float64", data_dtype="uint8")
    assert_training_follows_the_oracle(problem, batch_size=8, epochs=2, learning_rate=0.01)


def test_a_batch_size_larger_than_the_data_is_full_batch():
    problem = make_problem((33, 3, 1), 20)
    everything, larger = problem.network(), problem.network()
    everything.fit(problem.X, problem.y, batch_size=None, epochs=3, shuffle=False)
    larger.fit(problem.X, problem.y, batch_size=1000, epochs=3, shuffle=False)
    assert bits(everything) == bits(larger)


@pytest.mark.parametrize("layer_sizes", ONE_OF_EACH, ids=str)
def test_targets_may_be_probabilities(layer_sizes):
    problem = make_problem(layer_sizes, 30, dtype="float64")
    problem.y = np.random.default_rng(2).uniform(size=problem.y.shape)
    assert_training_follows_the_oracle(problem, batch_size=8, epochs=3)


def test_one_output_may_have_a_vector_of_labels():
    problem = make_problem((33, 3, 1))
    column, vector = problem.network(), problem.network()
    column.fit(problem.X, problem.y, epochs=2, seed=0)
    vector.fit(problem.X, problem.y[:, 0].astype(np.int64), epochs=2, seed=0)
    assert bits(column) == bits(vector)


@pytest.mark.parametrize("data_dtype", ["float32", "uint8"])
@pytest.mark.parametrize("layer_sizes", ONE_OF_EACH, ids=str)
def test_layout_of_X_does_not_matter(layer_sizes, data_dtype):
    problem = make_problem(layer_sizes, 50, data_dtype=data_dtype)
    read_only = problem.X.copy()
    read_only.flags.writeable = False
    wide = np.repeat(np.repeat(problem.X, 2, axis=0), 2, axis=1)
    original = problem.X
    for X in (np.asfortranarray(original), wide[::2, ::2], read_only):
        problem.X = X
        assert_training_follows_the_oracle(problem, batch_size=16, epochs=2)


@pytest.mark.parametrize("layer_sizes", ONE_OF_EACH, ids=str)
def test_training_changes_neither_X_nor_y(layer_sizes):
    problem = make_problem(layer_sizes, fold="feature")
    X, y = problem.X.copy(), problem.y.copy()
    network = problem.network()
    network.fit(X, y, batch_size=8, epochs=2)
    np.testing.assert_array_equal(X, problem.X)
    np.testing.assert_array_equal(y, problem.y)
    np.testing.assert_array_equal(network.input_mean, problem.folding.mean)
    np.testing.assert_array_equal(network.input_scale, problem.folding.scale)


def test_a_second_fit_goes_on_from_the_first():
    problem = make_problem((33, 3, 1), 48)
    at_once, in_parts = problem.network(), problem.network()
    settings = {"batch_size": 16, "shuffle": False}
    at_once.fit(problem.X, problem.y, epochs=4, **settings)
    for _ in range(2):
        in_parts.fit(problem.X, problem.y, epochs=2, **settings)
    batches = batches_of(problem, {**settings, "epochs": 4})
    assert_parameters_follow_the_oracle(in_parts, problem, batches, learning_rate=0.1)
    assert_parameters_follow_the_oracle(at_once, problem, batches, learning_rate=0.1)


def test_arrays_of_the_network_stay_the_same_objects():
    problem = make_problem((33, 3, 1))
    network = problem.network()
    before = [*network.weights, *network.biases]
    network.fit(problem.X, problem.y, epochs=2)
    for old, new in zip(before, [*network.weights, *network.biases], strict=True):
        assert old is new
