"""What callbacks do to a network while `fit` runs: training goes on with what they leave."""

from __future__ import annotations

import gc
import weakref

import numpy as np
import pytest

from fastbp import Network
from fastbp.engine import layout, threads

# Some changes leave the preprocessing out.
pytestmark = pytest.mark.filterwarnings("ignore:X holds bytes")

SIZES = [(70, 3, 2, 1), (70, 20, 1)]  # a narrow first layer, and one that is not
X = np.random.default_rng(0).integers(0, 256, (25, 70)).astype(np.uint8)
y = (X[:, 0] > 127).astype(np.float32)
SETTINGS = {"batch_size": 8, "learning_rate": 0.5, "weight_decay": 0.01, "shuffle": False}


def make(sizes):
    return Network(sizes, seed=3, input_mean=127.5, input_scale=1 / 74)


def bits(network):
    return [array.tobytes() for array in [*network.weights, *network.biases]]


class Changes:
    """A callback that makes one change after each epoch."""

    def __init__(self, changes):
        self.changes = changes

    def on_epoch_end(self, epoch, network, history):
        self.changes[epoch - 1](network)


def unchanged(network):
    pass


def trained_at_once(network, changes):
    history = network.fit(X, y, epochs=len(changes), callbacks=[Changes(changes)], **SETTINGS)
    return history.loss, bits(network)


def trained_epoch_by_epoch(network, changes):
    losses = []
    for change in changes:
        losses += network.fit(X, y, epochs=1, **SETTINGS).loss
        change(network)
    return losses, bits(network)


# ------------------------------------------------------------------ changes that are followed


def move(array):
    """Let the memory of an array be elsewhere, and NaN be where it was."""
    shape = array.shape
    array.resize((1000, 1000), refcheck=False)
    others = [np.full(shape, np.nan, array.dtype) for _ in range(10)]
    array.resize(shape, refcheck=False)
    del others


def replace_one_weight(network):
    network.weights[0] = np.clip(network.weights[0], -0.05, 0.05)


def replace_all_weights_in_the_list(network):
    network.weights[:] = [weight * np.float32(0.9) for weight in network.weights]


def replace_the_list_of_weights(network):
    network.weights = [weight - np.float32(0.01) for weight in network.weights]


def replace_a_bias(network):
    network.biases[0] = network.biases[0] + np.float32(0.1)


def replace_the_list_of_biases(network):
    network.biases = [bias * np.float32(0.5) for bias in network.biases]


def replace_by_a_part_of_a_larger_array(network):
    weight = network.weights[-1]
    network.weights[-1] = np.concatenate([weight, -weight])[len(weight) :]


def change_in_place(network):
    network.weights[0] *= 0.9
    network.biases[-1][...] = 0.2


def move_a_weight_to_another_place(network):
    weight = np.array(network.weights[0] * np.float32(0.9))  # which owns its memory
    network.weights[0] = weight
    network.predict_proba(X)
    move(weight)


def set_one_mean(network):
    network.input_mean = 100.0


def set_a_mean_for_each_feature(network):
    network.input_mean = np.linspace(100, 150, 70)


def set_a_scale_for_each_feature(network):
    network.input_scale = np.full(70, 1 / 60)


def change_a_mean_in_place(network):
    network.input_mean = np.asarray(network.input_mean) * np.ones(70)
    network.input_mean[::2] += 1


def leave_out_the_preprocessing(network):
    network.input_mean, network.input_scale = 0.0, 1.0


def freeze_and_unfreeze(network):
    network.weights[0].flags.writeable = False
    network.predict_proba(X)
    network.weights[0].flags.writeable = True


def add_an_inner_unit(network):
    inputs, width, *above = network.layer_sizes
    network.layer_sizes = (inputs, width + 1, *above)
    network.weights[0] = np.pad(network.weights[0], ((0, 1), (0, 0)))
    network.biases[0] = np.pad(network.biases[0], (0, 1))
    network.weights[1] = np.pad(network.weights[1], ((0, 0), (0, 1)), constant_values=0.1)


CHANGES = [
    replace_one_weight,
    replace_all_weights_in_the_list,
    replace_the_list_of_weights,
    replace_a_bias,
    replace_the_list_of_biases,
    replace_by_a_part_of_a_larger_array,
    change_in_place,
    move_a_weight_to_another_place,
    set_one_mean,
    set_a_mean_for_each_feature,
    set_a_scale_for_each_feature,
    change_a_mean_in_place,
    leave_out_the_preprocessing,
    freeze_and_unfreeze,
    add_an_inner_unit,
]


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
@pytest.mark.parametrize("sizes", SIZES, ids=str)
def test_training_goes_on_with_what_a_callback_leaves(sizes, change):
    changes = [unchanged, change, change, unchanged]
    assert trained_at_once(make(sizes), changes) == trained_epoch_by_epoch(make(sizes), changes)


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("sizes", SIZES, ids=str)
def test_any_changes_one_after_the_other(sizes, seed):
    rng = np.random.default_rng(seed)
    changes = [CHANGES[i] for i in rng.integers(0, len(CHANGES), 12)]
    assert trained_at_once(make(sizes), changes) == trained_epoch_by_epoch(make(sizes), changes)


@pytest.mark.parametrize("sizes", SIZES, ids=str)
def test_a_layer_may_grow_where_it_lies(sizes):
    def grow(network):
        for arrays, shape in ((network.weights, (width + 1, 70)), (network.biases, (width + 1,))):
            arrays[0].resize(shape, refcheck=False)
        network.weights[1] = np.pad(network.weights[1], ((0, 0), (0, 1)))
        network.layer_sizes = (70, width + 1, *sizes[2:])

    def own(network):
        network.weights[0], network.biases[0] = (
            np.array(array) for array in (network.weights[0], network.biases[0])
        )

    width = sizes[1]
    changes = [own, grow, unchanged]
    assert trained_at_once(make(sizes), changes) == trained_epoch_by_epoch(make(sizes), changes)


@pytest.mark.parametrize("sizes", SIZES, ids=str)
def test_what_is_replaced_in_the_midst_of_an_epoch_is_trained(sizes, monkeypatch):
    monkeypatch.setattr(layout, "_FIRST_WORK", 1)  # calls of few steps
    network, calls = make(sizes), []

    def replace(done, total):
        if not calls:
            network.weights[0] = np.zeros_like(network.weights[0])
        calls.append(done)

    network.fit(X, y, epochs=1, progress=replace, **SETTINGS)

    assert len(calls) > 1
    assert network.weights[0].any()


# ------------------------------------------------------------------ changes that are refused


def leave_none(network):
    network.weights[0] = None


def leave_a_list(network):
    network.weights[0] = network.weights[0].tolist()


def leave_another_shape(network):
    network.weights[0] = network.weights[0].T.copy()


def leave_another_dtype(network):
    network.weights[0] = network.weights[0].astype(np.float64)


def leave_another_number(network):
    network.biases.append(network.biases[0])


def freeze(network):
    network.weights[0].flags.writeable = False


def transpose_in_memory(network):
    network.weights[0] = np.asfortranarray(network.weights[0])


def tie_to_the_data(network):
    network.biases[0] = y[: len(network.biases[0])]


def resize(network):
    network.weights[0] = np.array(network.weights[0])
    network.weights[0].resize((2, 2), refcheck=False)


def change_the_input(network):
    network.layer_sizes = (60, *network.layer_sizes[1:])
    network.weights[0] = network.weights[0][:, :60].copy()


def change_the_outputs(network):
    network.layer_sizes = (*network.layer_sizes[:-1], 2)
    network.weights[-1] = np.repeat(network.weights[-1], 2, axis=0)
    network.biases[-1] = np.repeat(network.biases[-1], 2)


def change_the_dtype(network):
    network.dtype = "float64"
    network.weights = [weight.astype(np.float64) for weight in network.weights]
    network.biases = [bias.astype(np.float64) for bias in network.biases]


def break_the_mean(network):
    network.input_mean = np.zeros(70)
    network.input_mean[3] = np.nan


REFUSED = [
    (leave_none, TypeError, r"weights\[0\] must be a numpy.ndarray, got NoneType"),
    (leave_a_list, TypeError, r"weights\[0\] must be a numpy.ndarray, got list"),
    (leave_another_shape, ValueError, r"weights\[0\] must be a float32 array of shape"),
    (leave_another_dtype, ValueError, r"weights\[0\] must be a float32 array .* got float64"),
    (leave_another_number, ValueError, "weights and biases must have . arrays each, got . and ."),
    (freeze, ValueError, r"weights\[0\] is not writable, and fit changes it in place"),
    (transpose_in_memory, ValueError, r"weights\[0\] is not C-contiguous, and fit changes it"),
    (tie_to_the_data, ValueError, r"biases\[0\] shares memory with y"),
    (resize, ValueError, r"weights\[0\] must be .* got float32 of shape \(2, 2\)"),
    (change_the_input, ValueError, "X has 70 features, but the network expects 60"),
    (change_the_outputs, ValueError, "y has 1 outputs, but the network has 2"),
    (change_the_dtype, ValueError, "dtype must stay float32 while fit runs, got float64"),
    (break_the_mean, ValueError, r"input_mean .*must be finite"),
]


@pytest.mark.parametrize(
    ("change", "error", "message"), REFUSED, ids=[case[0].__name__ for case in REFUSED]
)
@pytest.mark.parametrize("sizes", SIZES, ids=str)
def test_what_could_not_be_trained_is_refused_before_training_goes_on(
    sizes, change, error, message
):
    network = make(sizes)
    trained = []

    class Change:
        def on_epoch_end(self, epoch, network, history):
            change(network)
            trained.append(epoch)
            self.left = [np.array(bias) for bias in network.biases]

    hook = Change()
    with pytest.raises(error, match=message):
        network.fit(X, y, epochs=3, callbacks=[hook], **SETTINGS)

    assert trained == [1]
    for bias, left in zip(network.biases, hook.left, strict=True):
        np.testing.assert_array_equal(bias, left)


@pytest.mark.parametrize("sizes", SIZES, ids=str)
def test_data_that_change_their_shape_are_refused(sizes):
    data = X.astype(np.float32)  # which owns its memory

    def shrink(network):
        data.resize((5, 70), refcheck=False)

    with pytest.raises(ValueError, match="X and y must keep their shapes"):
        make(sizes).fit(data, y, epochs=3, callbacks=[Changes([shrink] * 3)], **SETTINGS)


@pytest.mark.parametrize("sizes", SIZES, ids=str)
def test_arrays_that_are_trained_live_as_long_as_compiled_code_runs(sizes, monkeypatch):
    network, run, alive = make(sizes), threads.run, []

    def run_while_somebody_replaces_the_arrays(*arguments, **settings):
        old = weakref.ref(network.weights[0])
        network.weights[0] = np.zeros_like(network.weights[0])
        gc.collect()
        alive.append(old() is not None)
        run(*arguments, **settings)

    monkeypatch.setattr(threads, "run", run_while_somebody_replaces_the_arrays)
    network.fit(X, y, epochs=3, progress=lambda done, total: None, **SETTINGS)
    network.predict_proba(X)

    assert alive == [True] * len(alive)
    assert len(alive) >= 4
