"""Network against the oracle: forward, loss, gradients, statistics, symmetry."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from fastbp import Network
from fastbp.training import batch_indices
from tests import oracle
from tests.problems import NARROW, WIDE, make_problem
from tests.tolerance import assert_within, gamma

DTYPES = ["float32", "float64"]
SIZES = NARROW + WIDE


# ------------------------------------------------------------------ what a network is


def test_first_network_has_36878_parameters():
    network = Network((12288, 3, 2, 1))
    assert network.parameter_count == 36_878
    assert network.parameter_count == 3 * 12288 + 14


@pytest.mark.parametrize("layer_sizes", SIZES, ids=str)
def test_parameter_count_is_the_number_of_values(layer_sizes):
    network = Network(layer_sizes)
    assert network.parameter_count == sum(a.size for a in network.weights + network.biases)


@pytest.mark.parametrize("dtype", DTYPES)
def test_parameters_are_contiguous_arrays_of_the_networks_dtype(dtype):
    network = Network([9, 5, 2], dtype=dtype)
    assert network.layer_sizes == (9, 5, 2)
    assert network.dtype == np.dtype(dtype)
    assert network.activation == "sigmoid"
    assert [w.shape for w in network.weights] == [(5, 9), (2, 5)]
    assert [b.shape for b in network.biases] == [(5,), (2,)]
    for array in network.weights + network.biases:
        assert array.dtype == np.dtype(dtype)
        assert array.flags.c_contiguous
        assert array.flags.writeable


def test_the_same_seed_makes_the_same_network():
    first, second, other = (Network((9, 5, 2), seed=seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first.weights[0], second.weights[0])
    assert not np.array_equal(first.weights[0], other.weights[0])


def test_init_reaches_the_weights():
    assert (Network((4, 2), init=0.5).weights[0] == 0.5).all()
    assert not Network((4, 2), init="zeros").weights[0].any()


def test_fresh_network_has_no_training_settings():
    assert Network((4, 2)).training_settings == {}


def test_input_folding_is_kept_as_given():
    scalar = Network((3, 1), input_mean=2, input_scale=0.5)
    assert (type(scalar.input_mean), scalar.input_mean) == (float, 2.0)
    assert (type(scalar.input_scale), scalar.input_scale) == (float, 0.5)

    features = Network((3, 1), input_mean=[1, 2, 3], input_scale=np.array([1.0, 2.0, 4.0]))
    np.testing.assert_array_equal(features.input_mean, [1, 2, 3])
    assert features.input_mean.dtype == features.dtype
    assert features.input_scale.dtype == features.dtype


# ------------------------------------------------------------------ against the oracle


def assert_network_follows_the_oracle(problem, X=None) -> None:
    network = problem.network()
    X = problem.X if X is None else X
    allowed = problem.bounds()

    p = network.predict_proba(X)
    assert p.dtype == problem.dtype
    assert_within(p, problem.forward().A[-1], allowed.A[-1], "p")

    loss = network.loss(X, problem.y)
    assert isinstance(loss, float)
    expected = oracle.loss(problem.seen, problem.y, problem.weights, problem.biases)
    assert_within(loss, expected, allowed.loss, "loss")

    exact = oracle.gradients(problem.seen, problem.y, problem.weights, problem.biases)
    slopes = network.gradients(X, problem.y)
    assert len(slopes) == len(problem.weights)
    for layer, (dW, db) in enumerate(slopes):
        assert dW.dtype == db.dtype == problem.dtype
        assert_within(dW, exact.weights[layer], allowed.weight_gradients[layer], f"dW[{layer}]")
        assert_within(db, exact.biases[layer], allowed.bias_gradients[layer], f"db[{layer}]")


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("data_dtype", ["float32", "float64", "uint8"])
@pytest.mark.parametrize("layer_sizes", SIZES, ids=str)
def test_forward_loss_and_gradients(layer_sizes, data_dtype, dtype):
    assert_network_follows_the_oracle(make_problem(layer_sizes, dtype=dtype, data_dtype=data_dtype))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n", [1, 2, 5, 8, 31, 64, 97, 300])
@pytest.mark.parametrize("layer_sizes", [(33, 3, 2, 1), (33, 40, 3, 2)], ids=str)
def test_any_number_of_rows(layer_sizes, n, dtype):
    assert_network_follows_the_oracle(make_problem(layer_sizes, n, dtype=dtype))


@pytest.mark.parametrize("features", [1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 32, 33, 63, 64, 65])
@pytest.mark.parametrize("width", [3, 18])
def test_any_number_of_features(features, width):
    assert_network_follows_the_oracle(make_problem((features, width, 1), 19))


@pytest.mark.parametrize("width", [*range(1, 19), 23, 24, 25, 31, 32, 33, 47, 48, 49])
def test_any_width_of_the_first_layer(width):
    assert_network_follows_the_oracle(make_problem((21, width, 2), 19))


def test_deep_network():
    assert_network_follows_the_oracle(make_problem((20, *range(12, 1, -1), 1)))


@pytest.mark.parametrize("data_dtype", ["float32", "uint8"])
@pytest.mark.parametrize("layer_sizes", [(12288, 3, 2, 1), (12288, 20, 1)], ids=str)
def test_wide_input_in_float64(layer_sizes, data_dtype):
    assert_network_follows_the_oracle(
        make_problem(layer_sizes, 9, dtype="float64", data_dtype=data_dtype)
    )


def layouts(X: np.ndarray) -> dict[str, np.ndarray]:
    """The same values as `X`, laid out in memory in ways that a caller may bring."""
    n, m = X.shape
    every_other = np.zeros((2 * n, 2 * m), X.dtype)
    every_other[::2, ::2] = X
    padded = np.zeros((n, m + 5), X.dtype)
    padded[:, 2:-3] = X
    read_only = X.copy()
    read_only.flags.writeable = False
    swapped = X.astype(X.dtype.newbyteorder())
    unaligned = np.zeros(X.nbytes + 1, np.uint8)[1:].view(X.dtype).reshape(X.shape)
    unaligned[...] = X
    return {
        "fortran": np.asfortranarray(X),
        "strided": every_other[::2, ::2],
        "padded rows": padded[:, 2:-3],
        "reversed": X[::-1, ::-1].copy()[::-1, ::-1],
        "read-only": read_only,
        "byte-swapped": swapped,
        "unaligned": unaligned,
    }


@pytest.mark.parametrize("data_dtype", ["float32", "float64", "uint8"])
@pytest.mark.parametrize("layer_sizes", [(33, 3, 2, 1), (33, 40, 1)], ids=str)
@pytest.mark.parametrize(
    "layout",
    ["fortran", "strided", "padded rows", "reversed", "read-only", "byte-swapped", "unaligned"],
)
def test_layout_of_X_does_not_matter(layer_sizes, data_dtype, layout):
    problem = make_problem(layer_sizes, data_dtype=data_dtype)
    X = layouts(problem.X)[layout]
    np.testing.assert_array_equal(X, problem.X)
    assert_network_follows_the_oracle(problem, X)


def test_broadcast_rows_are_rows():
    problem = make_problem((12, 3, 1), 6)
    problem.X = np.broadcast_to(problem.X[0], problem.X.shape)
    assert_network_follows_the_oracle(problem)


def test_X_and_y_may_be_lists():
    problem = make_problem((7, 3, 1))
    network = problem.network()
    from_lists = network.loss(problem.X.tolist(), problem.y[:, 0].tolist())
    from_arrays = network.loss(problem.X, problem.y)
    assert_within(from_lists, from_arrays, 2 * problem.bounds().loss, "loss")


def test_targets_of_one_output_may_be_a_vector_of_any_real_dtype():
    problem = make_problem((7, 3, 1))
    network = problem.network()
    expected = network.gradients(problem.X, problem.y)
    for dtype in (bool, np.uint8, np.int64, np.float32, np.float64):
        slopes = network.gradients(problem.X, problem.y[:, 0].astype(dtype))
        for (dW, db), (expected_dW, expected_db) in zip(slopes, expected, strict=True):
            np.testing.assert_array_equal(dW, expected_dW)
            np.testing.assert_array_equal(db, expected_db)


def test_targets_may_be_probabilities():
    problem = make_problem((7, 3, 2), dtype="float64")
    problem.y = np.random.default_rng(5).uniform(size=problem.y.shape)
    assert_network_follows_the_oracle(problem)


def test_nothing_that_is_passed_in_is_changed():
    problem = make_problem((33, 4, 1), fold="feature")
    network = problem.network()
    X, y = problem.X.copy(), problem.y.copy()
    parameters = [a.copy() for a in network.weights + network.biases]
    network.predict_proba(X)
    network.loss(X, y, weight_decay=0.1)
    network.gradients(X, y)
    network.activation_stats(X)
    np.testing.assert_array_equal(X, problem.X)
    np.testing.assert_array_equal(y, problem.y)
    for before, after in zip(parameters, network.weights + network.biases, strict=True):
        np.testing.assert_array_equal(before, after)


def test_changing_a_weight_in_place_shows_at_once():
    problem = make_problem((33, 4, 1), fold="scalar")
    network = problem.network()
    network.predict_proba(problem.X)
    problem.weights[0] *= 2
    network.weights[0] *= 2
    assert_within(
        network.predict_proba(problem.X), problem.forward().A[-1], problem.bounds().A[-1], "p"
    )


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("weight_decay", [0.01, 3.0])
def test_loss_with_weight_decay_adds_half_of_it_times_the_squares(weight_decay, dtype):
    problem = make_problem((33, 4, 2), dtype=dtype)
    network = problem.network()
    penalty = network.loss(problem.X, problem.y, weight_decay=weight_decay) - network.loss(
        problem.X, problem.y
    )
    expected = oracle.l2_penalty(problem.weights, weight_decay)
    values = sum(w.size for w in problem.weights)
    assert penalty == pytest.approx(expected, rel=gamma(values + 8, dtype), abs=1e-12)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("size", [60.0, 1e3, 1e6])
def test_loss_stays_finite_for_pre_activations_of_any_size(size, dtype):
    network = Network((1, 1), init=1.0, dtype=dtype)
    X = np.array([[size], [-size]], dtype=dtype)
    assert network.loss(X, [0, 1]) == pytest.approx(size, rel=gamma(8, dtype))
    p = network.predict_proba(X)
    assert np.isfinite(p).all()
    assert p[0, 0] == 1.0
    assert 0.0 <= p[1, 0] < 1e-25


@pytest.mark.parametrize("layer_sizes", [(130, 4, 2), (130, 40, 1)], ids=str)
def test_the_same_bits_with_any_number_of_threads(layer_sizes, set_num_threads):
    problem = make_problem(layer_sizes, 300)
    network = problem.network()
    results = []
    for threads in (1, 2):
        set_num_threads(threads)
        slopes = [a for pair in network.gradients(problem.X, problem.y) for a in pair]
        results.append([network.predict_proba(problem.X), *slopes])
    for one, two in zip(*results, strict=True):
        np.testing.assert_array_equal(one, two)


# ------------------------------------------------------------------ input folding


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("data_dtype", ["float32", "float64", "uint8"])
@pytest.mark.parametrize("fold", ["scalar", "mean", "feature"])
@pytest.mark.parametrize("layer_sizes", [(33, 3, 2, 1), (33, 1), (48, 40, 2)], ids=str)
def test_folding_follows_the_oracle(layer_sizes, fold, data_dtype, dtype):
    assert_network_follows_the_oracle(
        make_problem(layer_sizes, dtype=dtype, data_dtype=data_dtype, fold=fold)
    )


@pytest.mark.parametrize("mean", [0.0, 100.0, "feature"])
@pytest.mark.parametrize("scale", [1.0, 1 / 255, "feature"])
def test_folding_equals_preprocessing_the_data(mean, scale):
    problem = make_problem((33, 5, 2), data_dtype="uint8", dtype="float64", fold="feature")
    if mean != "feature":
        problem.folding.mean = mean
    if scale != "feature":
        problem.folding.scale = scale
    problem.weights[0] *= 0.1  # unscaled pixels would saturate every unit
    folded = problem.network()
    plain = make_problem(problem.layer_sizes, dtype="float64")
    plain.X, plain.y = problem.seen, problem.y
    plain.weights, plain.biases = problem.weights, problem.biases

    allowed = problem.bounds()
    pairs = zip(
        folded.gradients(problem.X, problem.y),
        plain.network().gradients(plain.X, plain.y),
        strict=True,
    )
    for layer, ((dW, db), (plain_dW, plain_db)) in enumerate(pairs):
        # Both are within one bound of the oracle, so within two of each other.
        assert_within(dW, plain_dW, 2 * allowed.weight_gradients[layer], f"dW[{layer}]")
        assert_within(db, plain_db, 2 * allowed.bias_gradients[layer], f"db[{layer}]")


# ------------------------------------------------------------------ labels and score


def test_predict_gives_labels_at_one_half():
    network = Network((1, 1), init=1.0)
    labels = network.predict(np.array([[-2.0], [0.0], [2.0]], dtype=np.float32))
    assert labels.dtype == np.int64
    np.testing.assert_array_equal(labels, [0, 1, 1])


@pytest.mark.parametrize("layer_sizes", [(33, 3, 1), (33, 3, 4)], ids=str)
def test_predict_agrees_with_probabilities(layer_sizes):
    problem = make_problem(layer_sizes, 200)
    network = problem.network()
    expected = (network.predict_proba(problem.X) >= 0.5).astype(np.int64)
    labels = network.predict(problem.X)
    assert labels.dtype == np.int64
    np.testing.assert_array_equal(labels, expected[:, 0] if layer_sizes[-1] == 1 else expected)


@pytest.mark.parametrize("outputs", [1, 3])
def test_score_is_the_share_of_rows_with_every_output_right(outputs):
    problem = make_problem((33, 5, outputs), 200)
    network = problem.network()
    right = network.predict(problem.X).reshape(200, outputs)
    y = right.copy()
    y[:30, 0] ^= 1
    y[20:50, -1] ^= 1
    wrong = np.any(y != right, axis=1).sum()
    score = network.score(problem.X, y)
    assert isinstance(score, float)
    assert score == pytest.approx(1 - wrong / 200, rel=1e-12)
    assert network.score(problem.X, right) == 1.0


# ------------------------------------------------------------------ statistics and symmetry


def entry(stats: Any, name: str) -> float:
    return float(stats[name] if isinstance(stats, Mapping) else getattr(stats, name))


@pytest.mark.parametrize("fold", ["none", "feature"])
@pytest.mark.parametrize("layer_sizes", [(33, 3, 2, 1), (33, 40, 3, 2)], ids=str)
def test_activation_stats_follow_the_oracle(layer_sizes, fold):
    problem = make_problem(layer_sizes, fold=fold)

    stats = problem.network().activation_stats(problem.X)

    allowed = problem.bounds()
    expected = oracle.activation_stats(problem.seen, problem.weights, problem.biases)
    Z, A = problem.forward()
    assert len(stats) == len(expected)
    for layer, (got, exact) in enumerate(zip(stats, expected, strict=True)):
        for kind, values, errors in (
            ("z", Z[layer], allowed.Z[layer]),
            ("a", A[layer + 1], allowed.A[layer]),
        ):
            # Mean and deviation move by at most the largest error of a value, and their own
            # sums of N terms round.
            bound = errors.max() + gamma(values.size + 8, "float32") * np.abs(values).max()
            for statistic in (f"{kind}_mean", f"{kind}_std"):
                assert_within(entry(got, statistic), exact[statistic], bound, statistic)


def test_xavier_keeps_the_level_that_a_small_normal_loses():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(64, 200))
    sizes = (200, 150, 150, 150)
    xavier = Network(sizes, init="xavier", seed=0).activation_stats(X)
    small = Network(sizes, init="normal", seed=0).activation_stats(X)
    # A[2]'s level is 0.5 in both, so Z[3] spreads by sqrt(150 (0.25 + var)) std: 0.53 and 0.06.
    assert entry(xavier[2], "z_std") > 0.3
    assert entry(small[2], "z_std") < 0.1


@pytest.mark.parametrize("constant", [0.0, 0.125, -0.5])
@pytest.mark.parametrize("layer_sizes", [(20, 5, 4, 1), (20, 33, 18, 1)], ids=str)
def test_equal_weights_stay_equal_through_training(layer_sizes, constant):
    problem = make_problem(layer_sizes, 40)
    network = Network(layer_sizes, init=constant)
    problem.weights = [w.copy() for w in network.weights]
    problem.biases = [b.copy() for b in network.biases]

    network.fit(problem.X, problem.y, batch_size=8, epochs=5, learning_rate=1.0, seed=0)

    batches = [batch for epoch in range(5) for batch in batch_indices(40, 8, seed=0, epoch=epoch)]
    allowed = problem.training_bounds(batches, learning_rate=1.0)
    for layer, weight in enumerate(network.weights):
        assert not np.array_equal(weight, problem.weights[layer])
        # Units may sit in different tiles, so equal means: both within a bound of the same.
        assert_within(
            weight,
            np.broadcast_to(weight[0], weight.shape),
            2 * allowed.weights[layer],
            f"W[{layer}]",
        )


@pytest.mark.parametrize("layer_sizes", [(20, 5, 4, 1), (20, 33, 18, 1)], ids=str)
def test_xavier_breaks_the_symmetry(layer_sizes):
    problem = make_problem(layer_sizes, 40)
    network = Network(layer_sizes, init="xavier", seed=0)
    network.fit(problem.X, problem.y, batch_size=8, epochs=5, learning_rate=1.0, seed=0)
    for weight in network.weights[:-1]:
        distances = np.abs(weight[:, None] - weight[None]).max(axis=-1)
        assert distances[~np.eye(len(weight), dtype=bool)].min() > 0.01 * np.abs(weight).max()
