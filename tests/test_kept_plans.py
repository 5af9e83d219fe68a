"""The plan that a network keeps of its last evaluation (`fastbp.engine.evaluation.evaluate`)."""

from __future__ import annotations

import copy
import gc
import pickle
import threading
import weakref

import numpy as np
import pytest

import fastbp

SIZES = [(70, 3, 2, 1), (70, 20, 1)]  # a narrow first layer, and one that is not


def make(sizes, **settings):
    return fastbp.Network(sizes, seed=3, **settings)


def like_a_new_one(network, X):
    """Whether a network that has evaluated before says what a copy without a past does."""
    fresh = make(
        network.layer_sizes, input_mean=network.input_mean, input_scale=network.input_scale
    )
    fresh.weights, fresh.biases = network.weights, network.biases
    return network.predict_proba(X).tobytes() == fresh.predict_proba(X).tobytes()


def rows(n=5, seed=0, dtype=np.uint8):
    return np.random.default_rng(seed).integers(0, 256, (n, 70)).astype(dtype)


@pytest.mark.parametrize("sizes", SIZES, ids=str)
def test_other_rows(sizes):
    network = make(sizes, input_mean=127.5, input_scale=1 / 255)
    assert network._plan is None
    network.predict_proba(rows())
    kept = network._plan
    assert kept is not None
    assert like_a_new_one(network, rows(seed=1))
    assert network._plan is kept
    for X in (
        rows(n=6), rows(n=5, seed=2), rows(dtype=np.float32), rows(dtype=np.float64), rows()[::-1],
        rows(n=10)[::2], np.asfortranarray(rows()), rows(n=3), rows(n=3)[:1], rows(n=300),
    ):  # fmt: skip
        assert like_a_new_one(network, X)
        assert like_a_new_one(network, X.copy(order="K"))


@pytest.mark.filterwarnings("ignore:X holds bytes")
@pytest.mark.parametrize("sizes", SIZES, ids=str)
def test_parameters_that_are_changed_and_replaced(sizes):
    network, X = make(sizes), rows()
    network.predict_proba(X)
    network.weights[0] *= 2
    assert like_a_new_one(network, X)
    network.weights[0] = network.weights[0] * 2
    assert like_a_new_one(network, X)
    network.biases[-1] = network.biases[-1] + 1
    assert like_a_new_one(network, X)
    network.weights = [weight - 0.01 for weight in network.weights]
    assert like_a_new_one(network, X)
    network.fit(X, np.ones(len(X)), epochs=1)
    assert like_a_new_one(network, X)


@pytest.mark.parametrize("sizes", SIZES, ids=str)
def test_parameters_that_do_not_fit_any_more(sizes):
    network, X = make(sizes), rows()
    network.weights[0] = np.zeros((sizes[1], 70), np.float32)  # which owns its memory
    network.predict_proba(X)
    network.weights[0].resize((2, 2), refcheck=False)
    with pytest.raises(ValueError, match=r"weights\[0\] must be .* shape"):
        network.predict_proba(X)


@pytest.mark.parametrize("sizes", SIZES, ids=str)
def test_parameters_whose_memory_moves(sizes):
    network, X = make(sizes), rows()
    network.weights[0] = weight = np.array(network.weights[0])  # which owns its memory
    expected = network.predict_proba(X).tobytes()
    kept = network._plan

    weight.resize((1000, 1000), refcheck=False)
    others = [np.full((sizes[1], 70), np.nan, np.float32) for _ in range(10)]
    weight.resize((sizes[1], 70), refcheck=False)

    assert len(others) == 10
    assert network.predict_proba(X).tobytes() == expected
    assert network._plan is not kept


@pytest.mark.parametrize("sizes", SIZES, ids=str)
def test_a_layer_that_shrinks_where_it_lies(sizes):
    network, X = make(sizes), rows()
    network.weights = [np.array(weight) for weight in network.weights]  # which own their memory
    network.biases = [np.array(bias) + np.float32(0.5) for bias in network.biases]
    network.predict_proba(X)

    network.weights[0].resize((2, 70), refcheck=False)
    network.biases[0].resize(2, refcheck=False)
    network.weights[1].resize((sizes[2], 2), refcheck=False)
    network.layer_sizes = (70, 2, *sizes[2:])

    assert like_a_new_one(network, X)


@pytest.mark.parametrize("sizes", SIZES, ids=str)
def test_parameters_that_are_frozen_or_views_keep_the_plan(sizes):
    network, X = make(sizes), rows()
    expected = network.predict_proba(X).tobytes()
    kept = network._plan
    network.weights[0].flags.writeable = False
    network.weights[-1] = network.weights[-1].view()
    network.weights = tuple(network.weights)
    assert network.predict_proba(X).tobytes() == expected
    assert network._plan is kept


@pytest.mark.parametrize("sizes", SIZES, ids=str)
def test_a_preprocessing_that_is_changed(sizes):
    network, X = make(sizes), rows()
    network.predict_proba(X)
    network.input_mean = 100.0
    assert like_a_new_one(network, X)
    network.input_scale = 0.25
    assert like_a_new_one(network, X)
    network.input_mean = np.linspace(0, 200, 70, dtype=np.float32)
    assert like_a_new_one(network, X)
    network.input_mean[3] = 0.0
    assert like_a_new_one(network, X)
    network.input_mean, network.input_scale = 0.0, 1.0
    assert like_a_new_one(network, X)


@pytest.mark.parametrize("sizes", SIZES, ids=str)
def test_other_numbers_of_threads_and_more_scratch_memory(sizes, set_num_threads):
    set_num_threads(1)
    network, X = make(sizes), rows(n=200)
    expected = network.predict_proba(X).tobytes()
    for count in (2, 1, 2):
        set_num_threads(count)
        assert network.predict_proba(X).tobytes() == expected
        if sizes == SIZES[1]:  # the other has too little to do for two
            assert network._plan._started == count
        make((70, 900, 1)).predict_proba(rows(n=1000 * count))
        assert network.predict_proba(X).tobytes() == expected


@pytest.mark.parametrize("sizes", SIZES, ids=str)
def test_many_threads_share_a_network(sizes):
    network = make(sizes)
    data = [rows(n=7, seed=seed) for seed in range(6)]
    expected = [network.predict_proba(X).tobytes() for X in data]
    start, wrong = threading.Barrier(len(data)), []

    def evaluate(i):
        start.wait()
        for _ in range(300):
            if network.predict_proba(data[i]).tobytes() != expected[i]:
                wrong.append(i)

    callers = [threading.Thread(target=evaluate, args=(i,)) for i in range(len(data))]
    for thread in callers:
        thread.start()
    for thread in callers:
        thread.join()
    assert not wrong


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda n: pickle.loads(pickle.dumps(n))])
def test_copies_have_no_plan(copied):
    network, X = make(SIZES[0]), rows()
    expected = network.predict_proba(X).tobytes()
    other = copied(network)
    assert other._plan is None
    assert other.predict_proba(X).tobytes() == expected


@pytest.mark.parametrize("sizes", SIZES, ids=str)
def test_nothing_is_kept_alive(sizes):
    network, X = make(sizes), rows()
    network.predict_proba(X)
    data, weight, whole = weakref.ref(X), weakref.ref(network.weights[0]), weakref.ref(network)
    gc.disable()  # no cycle either, which would stay until the collector comes by
    try:
        del X
        assert data() is None
        del network
        assert whole() is None
        assert weight() is None
    finally:
        gc.enable()
