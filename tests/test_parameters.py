"""Parameters that users have put into a network: what is read, what is trained, what is refused."""

from __future__ import annotations

import copy
import pickle
import re

import numpy as np
import pytest

from fastbp import Network
from tests.layouts import LAYOUTS

SIZES = [(70, 3, 2, 1), (70, 20, 1)]  # a narrow first layer, and one that is not
X = np.random.default_rng(0).normal(size=(5, 70)).astype(np.float32)
y = np.array([0, 1, 1, 0, 1], np.float32)[:, None]

READS = {
    "predict_proba": lambda network, X=X: network.predict_proba(X),
    "predict": lambda network, X=X: network.predict(X),
    "score": lambda network, X=X: network.score(X, y),
    "loss": lambda network, X=X: network.loss(X, y, weight_decay=0.1),
    "gradients": lambda network, X=X: network.gradients(X, y),
    "activation_stats": lambda network, X=X: network.activation_stats(X),
}
CALLS = {**READS, "fit": lambda network, X=X: network.fit(X, y)}

# What `fit` cannot change in place, and the words by which it says so.
UNFIT = {
    "fortran": "C-contiguous",
    "padded rows": "C-contiguous",
    "reversed rows": "C-contiguous",
    "read-only": "writable",
    "byte-swapped": "in the machine's byte order",
    "unaligned": "aligned",
}


def make(sizes):
    return Network(sizes, init=("normal", 0.3), seed=3)


def everything_read(network):
    """What all calls that do not train return, as bytes."""
    arrays = [array for pair in network.gradients(X, y) for array in pair]
    arrays += [np.array(READS[name](network)) for name in READS if name != "gradients"]
    return [array.tobytes() for array in arrays]


def bits(network):
    return [array.tobytes() for array in [*network.weights, *network.biases]]


# ------------------------------------------------------------------ layouts


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("sizes", SIZES, ids=str)
def test_parameters_of_any_layout_are_read(sizes, layout):
    network = make(sizes)
    expected = everything_read(network)

    network.weights = [LAYOUTS[layout](weight) for weight in network.weights]
    network.biases = [LAYOUTS[layout](bias[None])[0] for bias in network.biases]

    assert everything_read(network) == expected


@pytest.mark.parametrize("sizes", SIZES, ids=str)
def test_parameters_that_are_mapped_from_a_file_are_read(sizes, tmp_path):
    joblib = pytest.importorskip("joblib")
    network = make(sizes)
    joblib.dump(network, tmp_path / "network")

    shared = joblib.load(tmp_path / "network", mmap_mode="r")

    assert isinstance(shared.weights[0], np.memmap)
    assert everything_read(shared) == everything_read(network)


def test_parameters_of_a_subclass_are_read_as_the_arrays_that_they_are():
    network = make(SIZES[0])
    expected = everything_read(network)
    network.weights = [weight.view(np.matrix) for weight in network.weights]
    assert everything_read(network) == expected


@pytest.mark.parametrize("sizes", SIZES, ids=str)
def test_parameters_that_are_not_contiguous_may_change_between_calls(sizes):
    network = make(sizes)
    network.weights[0] = np.asfortranarray(network.weights[0])
    network.predict_proba(X)

    network.weights[0] *= 2

    contiguous = make(sizes)
    contiguous.weights[0] *= 2
    assert network.predict_proba(X).tobytes() == contiguous.predict_proba(X).tobytes()


@pytest.mark.parametrize(
    "copied", [copy.copy, copy.deepcopy, lambda n: pickle.loads(pickle.dumps(n))]
)
@pytest.mark.parametrize("layout", UNFIT)
def test_copies_have_the_same_parameters(layout, copied):
    network = make(SIZES[0])
    expected = everything_read(network)
    network.weights = [LAYOUTS[layout](weight) for weight in network.weights]
    assert everything_read(copied(network)) == expected


@pytest.mark.parametrize("kind", ["weights", "biases"])
@pytest.mark.parametrize("layout", UNFIT)
def test_fit_refuses_what_it_cannot_change_in_place(layout, kind):
    network = make(SIZES[1])
    if kind == "weights":
        network.weights[0] = LAYOUTS[layout](network.weights[0])
    else:
        other = "strided" if UNFIT[layout] == "C-contiguous" else layout
        network.biases[0] = LAYOUTS[other](network.biases[0][None])[0]
    before = bits(network)

    message = rf"{kind}\[0\] is not {UNFIT[layout]}, and fit changes it in place"
    with pytest.raises(ValueError, match=message):
        network.fit(X, y)

    assert bits(network) == before
    assert network.training_settings == {}


@pytest.mark.parametrize("layout", UNFIT)
def test_the_copy_that_fit_asks_for_is_trained(layout):
    expected, network = make(SIZES[1]), make(SIZES[1])
    network.weights[0] = LAYOUTS[layout](network.weights[0])
    advice = re.escape("numpy.array(network.weights[0], numpy.float32, order='C')")
    with pytest.raises(ValueError, match=f"assign a copy, such as {advice}"):
        network.fit(X, y, seed=0)

    network.weights[0] = np.array(network.weights[0], np.float32, order="C")
    network.fit(X, y, seed=0)

    expected.fit(X, y, seed=0)
    assert bits(network) == bits(expected)


# ------------------------------------------------------------------ what they must be


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("kind", ["weights", "biases"])
@pytest.mark.parametrize(
    ("wrong", "error", "message"),
    [
        (lambda a: None, TypeError, "must be a numpy.ndarray, got NoneType"),
        (lambda a: a.tolist(), TypeError, "must be a numpy.ndarray, got list"),
        (lambda a: np.float32(1), TypeError, "must be a numpy.ndarray, got float32"),
        (np.ma.masked_array, TypeError, "must be a numpy.ndarray, got MaskedArray"),
        (lambda a: a[:-1], ValueError, "must be a float32 array of shape .*, got float32 of shape"),
        (lambda a: a[None], ValueError, "must be a float32 array of shape .*, got float32 of"),
        (lambda a: a.astype(float), ValueError, "must be a float32 array .*, got float64 of shape"),
        (lambda a: a.astype(int), ValueError, "must be a float32 array .*, got int64 of shape"),
        (lambda a: a.astype(object), ValueError, "must be a float32 array .*, got object of"),
    ],
    ids=["None", "list", "scalar", "masked", "short", "3-D", "float64", "int", "objects"],
)
def test_what_is_no_such_array_is_named(call, kind, wrong, error, message):
    network = make(SIZES[0])
    arrays = getattr(network, kind)
    arrays[1] = wrong(arrays[1])
    with pytest.raises(error, match=rf"{kind}\[1\] {message}"):
        CALLS[call](network)


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("kind", ["weights", "biases"])
def test_another_number_of_arrays_is_refused(call, kind):
    network = make(SIZES[0])
    getattr(network, kind).append(np.zeros((1, 1), np.float32))
    with pytest.raises(ValueError, match=r"must have 3 arrays each, got [34] and [34]"):
        CALLS[call](network)


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("kind", ["weights", "biases"])
@pytest.mark.parametrize("value", [None, 0.5], ids=repr)
def test_what_is_no_list_of_arrays_is_named(call, kind, value):
    network = make(SIZES[0])
    setattr(network, kind, value)
    with pytest.raises(TypeError, match=f"{kind} must be a list of arrays, got "):
        CALLS[call](network)


@pytest.mark.parametrize("container", [tuple, np.stack])
def test_other_sequences_of_arrays_are_as_good(container):
    network, listed = Network((20, 20, 20), seed=0), Network((20, 20, 20), seed=0)
    network.weights = container(network.weights)

    for either in (network, listed):
        either.fit(X[:, :20], np.tile(y, 20), epochs=3, seed=0)

    assert bits(network) == bits(listed)


# ------------------------------------------------------------------ shared memory


SQUARE = (20, 20, 20)
rows, targets = X[:, :20].copy(), np.tile(y, 20)


def assert_fit_refuses(network, name, other, X=rows, y=targets):
    message = re.escape(f"{name} shares memory with {other}, and fit changes it in place")
    with pytest.raises(ValueError, match=message):
        network.fit(X, y)


@pytest.mark.parametrize("start", [0, 13], ids=["same", "overlapping"])
def test_fit_refuses_layers_that_share_memory(start):
    network, memory = Network(SQUARE, seed=0), np.zeros(420, np.float32)
    network.weights[1] = memory[:400].reshape(20, 20)
    network.weights[0] = memory[start:][:400].reshape(20, 20)
    assert_fit_refuses(network, "weights[0]", "weights[1]")
    network.weights[0], network.biases[0] = network.weights[0].copy(), memory[start:][:20]
    assert_fit_refuses(network, "weights[1]", "biases[0]")


def test_layers_that_share_memory_are_read():
    network, tied = Network(SQUARE, seed=0), Network(SQUARE, seed=0)
    tied.weights[1] = tied.weights[0]
    network.weights[1] = network.weights[0].copy()
    assert tied.predict_proba(rows).tobytes() == network.predict_proba(rows).tobytes()


def test_fit_refuses_parameters_that_are_part_of_the_data():
    X, y = np.zeros((30, 20), np.float32), np.zeros((30, 20), np.float32)
    network = Network(SQUARE, seed=0)
    network.weights[0] = X[5:25]
    assert_fit_refuses(network, "weights[0]", "X", X, y)
    network.weights[0], network.biases[1] = X[5:25].copy(), y[3]
    assert_fit_refuses(network, "biases[1]", "y", X, y)


def test_parameters_that_lie_side_by_side_are_trained():
    network, apart = Network(SQUARE, seed=0), Network(SQUARE, seed=0)
    flat = np.concatenate([a.ravel() for a in [*network.weights, *network.biases]])
    parts = np.split(flat, [400, 800, 820])
    network.weights = [part.reshape(20, 20) for part in parts[:2]]
    network.biases = parts[2:]

    for either in (network, apart):
        either.fit(rows, targets, epochs=3, seed=0)

    assert flat.tobytes() == b"".join(bits(apart))


def test_parameters_that_lie_between_the_rows_are_trained():
    network, apart = Network(SQUARE, seed=0), Network(SQUARE, seed=0)
    memory = np.zeros((5, 40), np.float32)
    memory[:, :20] = rows
    network.biases = [memory[0, 20:], memory[3, 20:]]

    network.fit(memory[:, :20], targets, epochs=3, seed=0)

    apart.fit(rows, targets, epochs=3, seed=0)
    assert bits(network) == bits(apart)


# ------------------------------------------------------------------ sizes, dtype, preprocessing


def test_sizes_and_dtype_that_are_assigned_are_kept_as_those_given_at_the_start():
    network = make(SIZES[0])
    network.layer_sizes, network.dtype = list(SIZES[0]), "<f4"
    assert network.layer_sizes == SIZES[0]
    assert network.dtype == np.dtype(np.float32)
    assert everything_read(network) == everything_read(make(SIZES[0]))


@pytest.mark.parametrize(
    ("name", "value", "error"),
    [
        ("layer_sizes", (70, 2.5, 1), TypeError),
        ("layer_sizes", (70,), ValueError),
        ("dtype", "int32", ValueError),
        ("input_mean", None, TypeError),
        ("input_mean", np.zeros(69), ValueError),
        ("input_mean", np.nan, ValueError),
        ("input_scale", "wide", TypeError),
        ("input_scale", np.ones((1, 70)), ValueError),
        ("input_scale", np.inf, ValueError),
    ],
    ids=str,
)
def test_what_could_not_be_given_at_the_start_cannot_be_assigned(name, value, error):
    network = make(SIZES[0])
    with pytest.raises(error, match=name):
        setattr(network, name, value)
    assert everything_read(network) == everything_read(make(SIZES[0]))


@pytest.mark.parametrize("call", CALLS)
def test_parameters_that_do_not_follow_the_sizes_or_the_dtype_are_named(call):
    network = make(SIZES[0])
    network.layer_sizes = (70, 4, 2, 1)
    with pytest.raises(ValueError, match=r"weights\[0\] must be .* of shape \(4, 70\), got"):
        CALLS[call](network)
    network.layer_sizes, network.dtype = SIZES[0], "float64"
    with pytest.raises(ValueError, match=r"weights\[0\] must be a float64 array .* got float32"):
        CALLS[call](network)


@pytest.mark.parametrize("value", [0.0, 1.0, 0.1, 3.0, 5e-324, np.float64(-0.25), np.float32(0.5)])
def test_a_number_for_all_features_is_kept_as_a_float(value):
    network = Network((69, 3, 1), seed=0, input_mean=value)
    assert type(network.input_mean) is float
    assert network.input_mean == value


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("name", ["input_mean", "input_scale"])
def test_preprocessing_that_does_not_follow_the_sizes_is_named(call, name):
    network = Network((69, 3, 1), seed=0)
    setattr(network, name, np.ones(69))
    network.layer_sizes = (70, 3, 1)
    network.weights[0] = np.zeros((3, 70), np.float32)
    with pytest.raises(ValueError, match=rf"{name} must .* each of the 70 features, .* \(69,\)"):
        CALLS[call](network)


def test_a_network_may_grow_by_hand():
    network, grown = make((70, 5, 1)), make((70, 20, 1))
    network.predict_proba(X)
    network.layer_sizes = grown.layer_sizes
    network.weights, network.biases = grown.weights, grown.biases
    assert everything_read(network) == everything_read(grown)


@pytest.mark.parametrize("call", CALLS)
def test_data_that_change_the_network_as_they_are_read_are_refused(call):
    network, rows = make(SIZES[0]), X

    class Rows:
        def __array__(self, dtype=None, copy=None):
            network.layer_sizes = (90, 3, 2, 1)
            network.weights[0] = np.zeros((3, 90), np.float32)
            return rows

    with pytest.raises(ValueError, match="X has 70 features, but the network expects 90"):
        CALLS[call](network, Rows())
