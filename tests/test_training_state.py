"""Training goes on where it stopped: twice n epochs are once 2 n, to the bit."""

from __future__ import annotations

import copy
import json
import pickle

import numpy as np
import pytest

from fastbp import EarlyStopping, Network
from fastbp.schedules import CosineDecay
from fastbp.state import TrainingState, state_shapes
from tests.training import bits

SIZES = {"narrow": (12, 5, 3), "wide": (12, 20, 6, 3)}
rng = np.random.default_rng(0)
X = rng.normal(size=(45, 12)).astype(np.float32)
Y = np.eye(3, dtype=np.float32)[rng.integers(0, 3, 45)]
WEIGHTS = rng.uniform(0, 2, 45)

WAYS = {
    "sgd": {"weight_decay": 0.1},
    "momentum": {"momentum": 0.9, "weight_decay": 0.1},
    "nesterov": {"momentum": 0.9, "nesterov": True},
    "adam": {"optimizer": "adam", "weight_decay": 0.1},
    "adamw": {"optimizer": "adamw", "weight_decay": 0.1},
    "clipped": {"optimizer": "adam", "clip_norm": 0.01},
    "dropped": {"optimizer": "adam", "dropout": 0.3},
    "input dropped": {"dropout": (0.2, 0.3)},
    "weighted": {"momentum": 0.5, "sample_weight": WEIGHTS},
    "scheduled": {"learning_rate": CosineDecay(0.5, 20)},
    "called": {"learning_rate": lambda step: 0.5 / (1 + step)},
    "as they come": {"shuffle": False, "optimizer": "adam"},
}


def settings_of(way, sizes):
    settings = {"batch_size": 8, **WAYS[way]}
    if way == "input dropped":
        settings["dropout"] = (0.2, *[0.3] * (len(sizes) - 2))
    return settings


def make(sizes, seed=1):
    return Network(sizes, activation="tanh", loss="cross_entropy", seed=seed)


def through_pickle(network):
    return pickle.loads(pickle.dumps(network))


def through_record(network):
    state, record = (
        network.training_state,
        json.loads(json.dumps(network.training_state.as_record())),
    )
    tensors = {name: tensor.tolist() for name, tensor in state.as_tensors().items()}
    network.training_state = TrainingState.from_tensors(
        record, tensors, network.layer_sizes, network.dtype
    )
    return network


@pytest.mark.parametrize("sizes", SIZES.values(), ids=[*SIZES])
@pytest.mark.parametrize("way", WAYS)
def test_twice_is_once(way, sizes):
    settings = settings_of(way, sizes)
    once, twice = make(sizes), make(sizes)

    whole = once.fit(X, Y, epochs=5, **settings)
    first = twice.fit(X, Y, epochs=2, **settings)
    second = twice.fit(X, Y, epochs=3, **settings)

    assert bits(once) == bits(twice)
    assert first.loss + second.loss == whole.loss
    assert first.learning_rate + second.learning_rate == whole.learning_rate
    for one, other in zip(once.training_state.arrays, twice.training_state.arrays, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(
    "through", [copy.deepcopy, through_pickle, through_record], ids=lambda f: f.__name__
)
def test_copies_go_on_as_the_network_would(through):
    once, other = make(SIZES["wide"]), make(SIZES["wide"])
    settings = settings_of("dropped", SIZES["wide"])
    once.fit(X, Y, epochs=4, **settings)
    other.fit(X, Y, epochs=2, **settings)
    left = bits(other)

    copied = through(other)
    copied.fit(X, Y, epochs=2, **settings)

    assert bits(copied) == bits(once)
    if copied is not other:
        assert bits(other) == left
        assert other.training_state.steps == 12


def test_the_first_fit_begins_a_state():
    network = make(SIZES["wide"])
    assert network.training_state is None
    network.fit(X, Y, epochs=3, batch_size=8, optimizer="adam")
    state = network.training_state
    assert (state.steps, state.epochs, state.seed) == (18, 3, 1)
    shapes = {name: tensor.shape for name, tensor in state.as_tensors().items()}
    assert dict(state_shapes(state.as_record(), network.layer_sizes)) == shapes
    assert len(shapes) == 12


def test_without_any_seed_training_goes_on_with_its_own():
    network = make(SIZES["wide"], seed=None)
    network.fit(X, Y, epochs=1)
    seed = network.training_state.seed
    network.fit(X, Y, epochs=1)
    assert network.training_state.seed == seed == network.training_settings["seed"]
    assert network.training_state.epochs == 2


@pytest.mark.parametrize(
    "other",
    [
        {"optimizer": "sgd"},
        {"optimizer": "adamw"},
        {"momentum": 0.9, "optimizer": "sgd"},
        {"seed": 2},
    ],
    ids=str,
)
def test_another_training_begins_anew(other):
    network = make(SIZES["wide"])
    network.fit(X, Y, epochs=2, optimizer="adam")
    fresh = copy.deepcopy(network)
    fresh.training_state = None
    settings = {"optimizer": "adam", **other}

    network.fit(X, Y, epochs=1, **settings)
    fresh.fit(X, Y, epochs=1, **settings)

    assert network.training_state.epochs == 1
    assert bits(network) == bits(fresh)


def test_resetting_begins_anew():
    network = make(SIZES["wide"])
    network.fit(X, Y, epochs=2, optimizer="adam")
    network.reset_training()
    assert network.training_state is None
    network.fit(X, Y, epochs=1, optimizer="adam")
    assert network.training_state.epochs == 1


@pytest.mark.parametrize("change", ["sizes", "dtype"])
def test_other_arrays_begin_anew(change):
    network = make(SIZES["wide"])
    network.fit(X, Y, epochs=2, optimizer="adam")
    dtype = "float64" if change == "dtype" else "float32"
    sizes = (12, 21, 6, 3) if change == "sizes" else SIZES["wide"]
    other = Network(sizes, dtype=dtype, seed=0)
    network.dtype, network.layer_sizes = other.dtype, sizes
    network.weights, network.biases = other.weights, other.biases
    network.fit(X, Y, epochs=1, optimizer="adam")
    assert network.training_state.epochs == 1
    assert {array.dtype.name for array in network.training_state.arrays} == {dtype}


def test_other_parameters_of_the_optimizer_go_on():
    network = make(SIZES["wide"])
    network.fit(X, Y, epochs=2, optimizer="adam")
    network.fit(X, Y, epochs=1, optimizer="adam", beta_1=0.8, learning_rate=0.1, batch_size=5)
    assert network.training_state.steps == 2 * 2 + 9
    assert network.training_state.optimizer.beta_1 == 0.8


def test_what_is_refused_leaves_the_state():
    network = make(SIZES["wide"])
    network.fit(X, Y, epochs=2, optimizer="adam")
    state, left = network.training_state, copy.deepcopy(network.training_state)
    with pytest.raises(ValueError, match="batch_size"):
        network.fit(X, Y, optimizer="adam", batch_size=0)
    with pytest.raises(TypeError, match="progress"):
        network.fit(X, Y, optimizer="adam", progress="yes")
    assert network.training_state is state
    assert state.as_record() == left.as_record()


def test_a_layer_that_a_callback_changes_begins_with_nothing_kept():
    class Grow:
        def on_epoch_end(self, epoch, network, history):
            if epoch == 2:
                network.layer_sizes = (12, 21, 6, 3)
                network.weights[0] = np.pad(network.weights[0], ((0, 1), (0, 0)))
                network.biases[0] = np.pad(network.biases[0], (0, 1))
                network.weights[1] = np.pad(network.weights[1], ((0, 0), (0, 1)))

    grown, apart = make(SIZES["wide"]), make(SIZES["wide"])
    settings = {"batch_size": 8, "optimizer": "adam", "shuffle": False}
    grown.fit(X, Y, epochs=4, callbacks=[Grow()], **settings)
    apart.fit(X, Y, epochs=2, **settings)
    Grow().on_epoch_end(2, apart, None)
    apart.fit(X, Y, epochs=2, **settings)

    assert bits(grown) == bits(apart)
    assert grown.training_state.kept_since == 12


@pytest.mark.parametrize("batch_size", [1, 8])
@pytest.mark.parametrize("sizes", SIZES.values(), ids=[*SIZES])
def test_a_bad_row_takes_back_the_state_too(sizes, batch_size):
    bad, good = make(sizes), make(sizes)
    data = X.copy()
    data[40, 3] = np.nan
    settings = {"batch_size": batch_size, "optimizer": "adam", "shuffle": False}
    good.fit(X[:40], Y[:40], epochs=1, **settings)

    with pytest.raises(ValueError, match="row 40, column 3"):
        bad.fit(data, Y, epochs=2, **settings)

    assert bad.training_state.steps == good.training_state.steps == 40 // batch_size
    assert bits(bad) == bits(good)
    for one, other in zip(bad.training_state.arrays, good.training_state.arrays, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("calls", [1, 3])
def test_an_interrupt_leaves_the_steps_that_were_made(calls):
    network, done = make(SIZES["wide"]), []

    def interrupt(samples, total):
        done.append(samples)
        if len(done) == calls:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        network.fit(X, Y, batch_size=5, epochs=9, optimizer="adam", progress=interrupt)
    assert network.training_state.steps == done[-1] // 5


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda record, tensors: record.pop("seed"), "described by"),
        (lambda record, tensors: record.update(steps=-1), "steps must be at least 0"),
        (lambda record, tensors: record.update(kept_since=99), "kept_since must be at most"),
        (lambda record, tensors: tensors.popitem(), "has the arrays"),
        (
            lambda record, tensors: tensors.update({"first.biases.0": np.zeros(3)}),
            r"first.biases.0 must have shape \(20,\), got \(3,\)",
        ),
        (
            lambda record, tensors: tensors["second.weights.1"].fill(np.nan),
            "second.weights.1 holds values that are NaN",
        ),
    ],
)
def test_a_record_that_is_broken_is_refused(change, message):
    network = make(SIZES["wide"])
    network.fit(X, Y, epochs=1, optimizer="adam")
    record, tensors = network.training_state.as_record(), network.training_state.as_tensors()
    change(record, tensors)
    with pytest.raises(ValueError, match=message):
        TrainingState.from_tensors(record, tensors, network.layer_sizes, network.dtype)


# ------------------------------------------------------------------ early stopping


@pytest.mark.parametrize(
    "monitor", ["loss", "metric", lambda network: -abs(len(seen) - 3)], ids=str
)
@pytest.mark.parametrize("way", ["sgd", "adam"])
def test_early_stopping_goes_back_to_the_best_epoch(way, monitor):
    settings = {**settings_of(way, SIZES["wide"]), "validation_data": (X[:20], Y[::-1][:20])}
    stopped, short = make(SIZES["wide"]), make(SIZES["wide"])
    seen.clear()

    class Count:
        def on_epoch_end(self, epoch, network, history):
            seen.append(epoch)

    history = stopped.fit(
        X, Y, epochs=200, learning_rate=0.2, callbacks=[Count()],
        early_stopping=EarlyStopping(monitor, patience=3), **settings,
    )  # fmt: skip

    assert history.stopped_early
    assert history.stopped_by == "early_stopping"
    assert history.epochs == history.best_epoch + 3
    values = {"loss": np.negative(history.val_loss), "metric": history.val_metric}.get(
        monitor if isinstance(monitor, str) else "", [-abs(i - 3) for i in range(history.epochs)]
    )
    assert history.best_epoch == 1 + int(np.argmax(values))
    short.fit(X, Y, epochs=history.best_epoch, learning_rate=0.2, **settings)
    assert bits(stopped) == bits(short)
    assert stopped.training_state.as_record() == short.training_state.as_record()
    for one, other in zip(stopped.training_state.arrays, short.training_state.arrays, strict=True):
        np.testing.assert_array_equal(one, other)


seen: list[int] = []  # epochs that a callback has seen


def test_without_restoring_the_last_epoch_stays():
    stopped, short = make(SIZES["wide"]), make(SIZES["wide"])
    rule = EarlyStopping(patience=2, min_delta=10.0, restore_best=False)
    history = stopped.fit(X, Y, epochs=50, early_stopping=rule)
    assert (history.epochs, history.best_epoch) == (3, 1)
    short.fit(X, Y, epochs=3)
    assert bits(stopped) == bits(short)


def test_a_training_that_becomes_better_to_the_end_is_whole():
    network = make(SIZES["wide"])
    history = network.fit(X, Y, epochs=5, early_stopping=True)
    assert (history.epochs, history.best_epoch, history.stopped_early) == (5, 5, False)
    assert network.training_settings["early_stopping"] == {
        "monitor": "loss", "patience": 10, "min_delta": 0.0, "restore_best": True
    }  # fmt: skip


@pytest.mark.parametrize(
    ("rule", "error"),
    [
        (lambda: EarlyStopping("acc"), ValueError),
        (lambda: EarlyStopping(3), TypeError),
        (lambda: EarlyStopping(patience=0), ValueError),
        (lambda: EarlyStopping(min_delta=-1.0), ValueError),
        (lambda: EarlyStopping(restore_best=1), TypeError),
        (lambda: make((12, 3)).fit(X, Y, early_stopping="yes"), TypeError),
        (lambda: make((12, 3)).fit(X, Y, max_seconds=0), ValueError),
    ],
)
def test_rules_that_are_none_are_refused(rule, error):
    with pytest.raises(error):
        rule()


def test_time_that_is_over_ends_training_with_a_history():
    network = make(SIZES["wide"])
    history = network.fit(X, Y, epochs=10**6, batch_size=1, max_seconds=1e-9)
    assert (history.stopped_by, history.epochs) == ("max_seconds", 1)
    assert np.isfinite(history.loss[0])
    assert network.training_state.epochs == 1
    assert network.training_state.steps <= 45
