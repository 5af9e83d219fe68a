"""Around the steps: order of the rows, history, callbacks, interruption, what is refused."""

from __future__ import annotations

import gc
from itertools import pairwise

import numpy as np
import pytest

from fastbp import History, Network
from fastbp.backup import Backup
from fastbp.engine import threads
from fastbp.guard import Guard
from fastbp.training import Training, batch_indices
from tests.problems import ONE_OF_EACH, make_problem
from tests.tolerance import assert_within
from tests.training import (
    assert_parameters_follow_the_oracle,
    batches_of,
    bits,
    bits_of_training_in_calls,
)

# ------------------------------------------------------------------ order and determinism


@pytest.mark.parametrize("shuffle", [True, False])
@pytest.mark.parametrize(("n", "batch_size"), [(10, 3), (12, 4), (5, 1), (5, 5), (5, 9), (7, None)])
def test_batches_hold_every_row_once(n, batch_size, shuffle):
    batches = batch_indices(n, batch_size, shuffle=shuffle, seed=3, epoch=2)
    size = min(n, batch_size or n)
    assert [len(b) for b in batches] == [size] * (n // size) + [n % size] * (n % size > 0)
    np.testing.assert_array_equal(np.sort(np.concatenate(batches)), np.arange(n))


def test_batches_are_in_order_without_shuffling():
    batches = batch_indices(10, 4, shuffle=False, seed=3, epoch=5)
    np.testing.assert_array_equal(np.concatenate(batches), np.arange(10))


def test_shuffling_follows_from_seed_and_epoch():
    def order(seed: int, epoch: int) -> tuple[int, ...]:
        batches = batch_indices(200, 32, shuffle=True, seed=seed, epoch=epoch)
        return tuple(np.concatenate(batches).tolist())

    pairs = [(seed, epoch) for seed in range(4) for epoch in range(4)]
    orders = [order(*pair) for pair in pairs]
    assert orders == [order(*pair) for pair in pairs]
    assert len(set(orders)) == len(pairs)
    assert tuple(range(200)) not in orders


def test_shuffling_is_fair():
    """Each row is as likely in each place: chi-squared over 4,000 orders of 8 rows."""
    places = np.zeros((8, 8))
    for seed in range(4000):
        order = np.concatenate(batch_indices(8, 3, shuffle=True, seed=seed, epoch=0))
        places[np.arange(8), order] += 1
    chi_squared = ((places - 500) ** 2 / 500).sum()
    # 49 degrees of freedom: mean 49, standard deviation 9.9; seeds are fixed, so no lottery.
    assert chi_squared < 49 + 5 * 9.9


@pytest.mark.parametrize("layer_sizes", ONE_OF_EACH, ids=str)
def test_the_same_seed_gives_the_same_bits(layer_sizes):
    problem = make_problem(layer_sizes, 50)
    networks = [problem.network() for _ in range(3)]
    for network, seed in zip(networks, (7, 7, 8), strict=True):
        network.fit(problem.X, problem.y, batch_size=16, epochs=3, seed=seed)
    first, second, other = map(bits, networks)
    assert first == second
    assert first != other


@pytest.mark.parametrize("batch_size", [1, 16, 130, None])
@pytest.mark.parametrize(
    "layer_sizes",
    [(130, 3, 2, 1), (130, 40, 1), (700, 5, 1), (700, 65, 3), (3400, 40, 1), (9001, 5, 2)],
    ids=str,
)
def test_the_same_bits_with_any_number_of_threads(layer_sizes, batch_size, set_num_threads):
    problem = make_problem(layer_sizes, 400, data_dtype="uint8", fold="feature")
    results = []
    for count in (1, 2, 1):
        set_num_threads(count)
        network = problem.network()
        history = network.fit(
            problem.X, problem.y, batch_size=batch_size, epochs=2, seed=1, weight_decay=0.01
        )
        results.append((bits(network), history.loss, history.accuracy))
    assert results[0] == results[1] == results[2]


@pytest.mark.parametrize("batch_size", [1, 2, 3, 7, 16, 40])
@pytest.mark.parametrize("layer_sizes", [(130, 3, 1), (1030, 3, 1), (130, 40, 1)], ids=str)
def test_the_same_bits_however_steps_are_divided_among_calls(layer_sizes, batch_size):
    problem = make_problem(layer_sizes, 90, data_dtype="uint8", fold="feature")
    results = [bits_of_training_in_calls(problem, batch_size, groups) for groups in (1, 2, 3, 1000)]
    assert len(set(results)) == 1


@pytest.mark.parametrize("batch_size", [1, 16, 130])
@pytest.mark.parametrize("layer_sizes", [(9001, 5, 1), (3400, 40, 1)], ids=str)
def test_the_work_of_threads_that_never_come_is_done(
    layer_sizes, batch_size, set_num_threads, monkeypatch
):
    problem = make_problem(layer_sizes, 150)
    set_num_threads(1)
    alone, deserted = problem.network(), problem.network()
    alone.fit(problem.X, problem.y, batch_size=batch_size, epochs=2, seed=1)
    set_num_threads(2)
    asked = []

    def start_one_only(region, context, workers, **how):
        asked.append(workers)
        region.serial(context, 0)

    monkeypatch.setattr(threads, "run", start_one_only)
    deserted.fit(problem.X, problem.y, batch_size=batch_size, epochs=2, seed=1)
    assert max(asked) == 2
    assert bits(deserted) == bits(alone)


# ------------------------------------------------------------------ history


@pytest.mark.parametrize("layer_sizes", ONE_OF_EACH, ids=str)
@pytest.mark.parametrize("batch_size", [None, 1, 8])
def test_loss_and_accuracy_of_an_epoch_are_means_over_its_rows(layer_sizes, batch_size):
    problem = make_problem(layer_sizes, 21, dtype="float64")
    settings = {"batch_size": batch_size, "epochs": 3, "seed": 4, "learning_rate": 0.5}

    history = problem.network().fit(problem.X, problem.y, **settings)

    for epoch in range(3):
        before = batches_of(problem, {**settings, "epochs": epoch})
        through = batches_of(problem, {**settings, "epochs": epoch + 1})
        exact = problem.trained(through, learning_rate=0.5)
        earlier = problem.trained(before, learning_rate=0.5)
        # Means over all rows so far, so this epoch's is a difference.
        loss = (epoch + 1) * exact.loss - epoch * earlier.loss
        accuracy = (epoch + 1) * exact.accuracy - epoch * earlier.accuracy
        allowed = problem.training_bounds(through, learning_rate=0.5).loss * (epoch + 1)
        assert_within(history.loss[epoch], loss, allowed, f"loss of epoch {epoch}")
        assert history.accuracy[epoch] == pytest.approx(accuracy, abs=1e-9)


def test_history_has_one_entry_an_epoch():
    problem = make_problem((33, 3, 1))
    history = problem.network().fit(problem.X, problem.y, epochs=4)
    assert isinstance(history, History)
    assert history.epochs == 4
    for name in ("loss", "accuracy", "seconds", "samples_per_second"):
        assert len(getattr(history, name)) == 4
        assert all(type(value) is float for value in getattr(history, name))
    assert all(seconds >= 0 for seconds in history.seconds)
    assert all(rate > 0 for rate in history.samples_per_second)
    assert history.val_loss == []
    assert history.val_accuracy == []
    assert history.stopped_early is False


def test_validation_is_after_the_epoch():
    problem, other = make_problem((33, 3, 2)), make_problem((33, 3, 2), 29, seed=1)
    network = problem.network()
    seen = []

    class Measure:
        def on_epoch_end(self, epoch, network, history):
            seen.append((network.loss(other.X, other.y), network.score(other.X, other.y)))

    history = network.fit(
        problem.X, problem.y, epochs=3, validation_data=(other.X, other.y), callbacks=[Measure()]
    )

    assert list(zip(history.val_loss, history.val_accuracy, strict=True)) == seen


def test_validation_does_not_change_training():
    problem, other = make_problem((33, 3, 1)), make_problem((33, 3, 1), 29, seed=1)
    with_it, without = problem.network(), problem.network()
    with_it.fit(problem.X, problem.y, epochs=3, seed=0, validation_data=(other.X, other.y))
    without.fit(problem.X, problem.y, epochs=3, seed=0)
    assert bits(with_it) == bits(without)


def test_training_lowers_the_loss_on_separable_data():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(300, 20)).astype(np.float32)
    y = X[:, 0] + X[:, 1] > 0
    network = Network((20, 5, 1), seed=0)
    history = network.fit(X, y, batch_size=16, epochs=30, learning_rate=1.0, seed=0)
    assert history.loss[-1] < 0.2 < history.loss[0]
    assert network.score(X, y) > 0.95


def test_nothing_of_a_training_waits_for_the_garbage_collector():
    network, X = Network((4, 3, 1), seed=0), np.random.default_rng(0).random((8, 4))
    gc.collect()
    gc.disable()
    try:
        network.fit(X, X[:, 0], epochs=1, validation_data=(X, X[:, 0]))
        kept = {type(found) for found in gc.get_objects()}
    finally:
        gc.enable()
    assert not kept & {Training, Guard, Backup}


def test_training_settings_are_remembered():
    problem = make_problem((33, 3, 1))
    network = problem.network()
    network.fit(problem.X, problem.y, batch_size=8, epochs=2, learning_rate=0.3, weight_decay=0.1)
    settings = network.training_settings
    assert settings["batch_size"] == 8
    assert settings["epochs"] == 2
    assert settings["learning_rate"] == 0.3
    assert settings["weight_decay"] == 0.1


# ------------------------------------------------------------------ callbacks, progress, Ctrl-C


class Recorder:
    """Remembers what it was told; stops training after `last` epochs if given."""

    def __init__(self, last: int | None = None) -> None:
        self.last = last
        self.calls: list[tuple[int, int, bytes]] = []

    def on_epoch_end(self, epoch: int, network: Network, history: History) -> bool | None:
        self.calls.append((epoch, history.epochs, bits(network)))
        return True if epoch == self.last else None


def test_callbacks_see_every_epoch():
    problem = make_problem((33, 3, 1))
    network, recorder = problem.network(), Recorder()
    network.fit(problem.X, problem.y, epochs=3, callbacks=[recorder])
    assert [(epoch, epochs) for epoch, epochs, _ in recorder.calls] == [(1, 1), (2, 2), (3, 3)]
    assert recorder.calls[-1][2] == bits(network)
    states = [state for *_, state in recorder.calls]
    assert all(a != b for a, b in pairwise(states))


def test_callback_stops_training_after_its_epoch():
    problem = make_problem((33, 3, 1))
    stopped, whole = problem.network(), problem.network()
    other = Recorder()

    history = stopped.fit(
        problem.X, problem.y, epochs=10, seed=0, callbacks=[Recorder(last=2), other]
    )

    whole.fit(problem.X, problem.y, epochs=2, seed=0)
    assert history.epochs == 2
    assert history.stopped_early is True
    assert len(other.calls) == 2
    assert bits(stopped) == bits(whole)


def test_error_in_a_callback_comes_through():
    problem = make_problem((33, 3, 1))

    class Broken:
        def on_epoch_end(self, epoch, network, history):
            raise RuntimeError("out of paper")

    with pytest.raises(RuntimeError, match="out of paper"):
        problem.network().fit(problem.X, problem.y, epochs=2, callbacks=[Broken()])


@pytest.mark.parametrize("callback", [object(), print, 3], ids=repr)
def test_callback_without_on_epoch_end_is_refused_before_training(callback):
    problem = make_problem((33, 3, 1))
    network = problem.network()
    before = bits(network)
    with pytest.raises(TypeError, match="on_epoch_end"):
        network.fit(problem.X, problem.y, callbacks=[callback])
    assert bits(network) == before


def test_progress_counts_up_to_the_total():
    problem = make_problem((33, 3, 1), 50)
    calls = []
    problem.network().fit(
        problem.X,
        problem.y,
        batch_size=8,
        epochs=3,
        progress=lambda done, total: calls.append((done, total)),
    )
    done = [d for d, _ in calls]
    assert {total for _, total in calls} == {150}
    assert done == sorted(done)
    assert done[-1] == 150


def test_progress_does_not_change_training():
    problem = make_problem((33, 3, 1), 50)
    with_it, without = problem.network(), problem.network()
    with_it.fit(problem.X, problem.y, epochs=3, seed=0, progress=lambda done, total: None)
    without.fit(problem.X, problem.y, epochs=3, seed=0)
    assert bits(with_it) == bits(without)


@pytest.mark.parametrize("calls_before", [1, 2, 3])
@pytest.mark.parametrize("fold", ["none", "feature"])
@pytest.mark.parametrize("layer_sizes", ONE_OF_EACH, ids=str)
def test_interrupt_leaves_the_state_after_whole_steps(layer_sizes, fold, calls_before):
    problem = make_problem(layer_sizes, 48, dtype="float64", fold=fold)
    network = problem.network()
    settings = {"batch_size": 8, "epochs": 6, "seed": 2}
    done = []

    def interrupt(samples_done: int, samples_total: int) -> None:
        done.append(samples_done)
        if len(done) == calls_before:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        network.fit(problem.X, problem.y, learning_rate=0.5, progress=interrupt, **settings)

    assert done[-1] % 8 == 0
    batches = batches_of(problem, settings)[: done[-1] // 8]
    assert_parameters_follow_the_oracle(network, problem, batches, learning_rate=0.5)


# ------------------------------------------------------------------ what is refused


@pytest.mark.parametrize(
    ("settings", "error"),
    [
        ({"batch_size": 0}, ValueError),
        ({"batch_size": -1}, ValueError),
        ({"batch_size": True}, TypeError),
        ({"batch_size": 8.0}, TypeError),
        ({"batch_size": "8"}, TypeError),
        ({"epochs": -1}, ValueError),
        ({"epochs": 2.0}, TypeError),
        ({"epochs": True}, TypeError),
        ({"epochs": None}, TypeError),
        ({"learning_rate": -0.1}, ValueError),
        ({"learning_rate": 0.0}, ValueError),
        ({"learning_rate": float("nan")}, ValueError),
        ({"learning_rate": float("inf")}, ValueError),
        ({"learning_rate": "fast"}, TypeError),
        ({"learning_rate": True}, TypeError),
        ({"weight_decay": -0.1}, ValueError),
        ({"weight_decay": float("nan")}, ValueError),
        ({"weight_decay": float("inf")}, ValueError),
        ({"weight_decay": "strong"}, TypeError),
        ({"seed": -1}, ValueError),
        ({"seed": 0.5}, TypeError),
    ],
    ids=str,
)
def test_bad_hyper_parameters_are_refused_before_anything_changes(settings, error):
    problem = make_problem((33, 3, 1))
    network = problem.network()
    before = bits(network)
    (name,) = settings
    with pytest.raises(error, match=name):
        network.fit(problem.X, problem.y, **settings)
    assert bits(network) == before
    assert network.training_settings == {}


def test_weight_decay_that_turns_the_weights_around_is_refused():
    problem = make_problem((33, 3, 1))
    network = problem.network()
    before = bits(network)
    with pytest.raises(ValueError, match=r"learning_rate \* weight_decay must be less than 1"):
        network.fit(problem.X, problem.y, learning_rate=0.5, weight_decay=2.0)
    assert bits(network) == before


@pytest.mark.parametrize(
    ("X", "y", "error", "message"),
    [
        (np.zeros((9, 32)), np.zeros(9), ValueError, "32 features, but the network expects 33"),
        (np.zeros((9, 33)), np.zeros(8), ValueError, "X has 9 samples, but y has 8"),
        (np.zeros((9, 33)), np.zeros((9, 2)), ValueError, "y has 2 outputs"),
        (np.zeros((9, 33)), np.full(9, 2.5), ValueError, r"\[0, 1\]"),
        (np.zeros((9, 33)), np.full(9, "ball"), ValueError, "y has one label only"),
        (np.zeros((9, 33), complex), np.zeros(9), TypeError, "X"),
        (np.zeros((9, 33), object), np.zeros(9), TypeError, "X"),
        (np.zeros((0, 33)), np.zeros(0), ValueError, "X has no rows"),
    ],
    ids=["features", "rows", "outputs", "range", "strings", "complex", "object", "empty"],
)
def test_bad_data_is_refused_before_anything_changes(X, y, error, message):
    network = Network((33, 3, 1), seed=0)
    before = bits(network)
    with pytest.raises(error, match=message):
        network.fit(X, y)
    assert bits(network) == before


@pytest.mark.parametrize(
    "validation_data",
    [(np.zeros((4, 32)), np.zeros(4)), (np.zeros((4, 33)), np.zeros(5)), (np.zeros((4, 33)),), 3],
    ids=["features", "rows", "no-y", "number"],
)
def test_bad_validation_data_is_refused_before_anything_changes(validation_data):
    problem = make_problem((33, 3, 1))
    network = problem.network()
    before = bits(network)
    with pytest.raises((TypeError, ValueError)):
        network.fit(problem.X, problem.y, validation_data=validation_data)
    assert bits(network) == before


def test_no_epochs_change_nothing():
    problem = make_problem((33, 3, 1))
    network = problem.network()
    before = bits(network)
    history = network.fit(problem.X, problem.y, epochs=0)
    assert history.epochs == 0
    assert history.loss == []
    assert bits(network) == before


def test_numpy_numbers_are_hyper_parameters():
    problem = make_problem((33, 3, 1))
    plain, numpy = problem.network(), problem.network()
    plain.fit(problem.X, problem.y, batch_size=8, epochs=2, learning_rate=0.5, seed=1)
    numpy.fit(
        problem.X,
        problem.y,
        batch_size=np.int64(8),
        epochs=np.int32(2),
        learning_rate=np.float64(0.5),
        seed=np.int64(1),
    )
    assert bits(plain) == bits(numpy)
