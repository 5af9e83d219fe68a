"""Scratch memory: whose it is, when it goes, and what an exception leaves of it."""

from __future__ import annotations

import ctypes
import threading

import numpy as np
import pytest

import fastbp
from fastbp.engine import plan as plans
from fastbp.engine import products, scratch, threads
from fastbp.engine.scratch import MOST_KEPT, borrow
from tests.processes import run_python

EXBIBYTE = 1 << 60


@pytest.fixture
def space():
    borrowed = borrow()
    yield borrowed
    borrowed.give_back()


def fill(address, nbytes, value):
    ctypes.memset(address, value, nbytes)


def read(address, nbytes):
    return ctypes.string_at(address, nbytes)


# ------------------------------------------------------------------ whose it is


def test_a_thread_gets_the_same_memory_again():
    first = borrow()
    first.give_back()
    again = borrow()
    again.give_back()
    assert again is first


def test_a_call_within_a_call_gets_memory_of_its_own(space):
    fill(space.address(1000), 1000, 1)
    inner = borrow()
    fill(inner.address(1000), 1000, 2)
    inner.give_back()
    assert read(space.address(1000), 1000) == b"\1" * 1000
    assert inner.team != space.team
    assert inner.product[3:] != space.product[3:]


def test_threads_have_memory_of_their_own(space):
    other = []
    thread = threading.Thread(target=lambda: other.append(borrow()))
    thread.start()
    thread.join()
    assert other[0] is not space


def test_what_is_not_given_back_is_not_used_again():
    lost = borrow()  # as an exception between two statements may leave it
    other = borrow()
    other.give_back()
    assert other is not lost
    assert borrow() is other
    other.give_back()


def between(monkeypatch, module, name, act):
    """Do `act` once when compiled code is about to run: a signal may come at any moment."""
    real, acts = getattr(module, name), [act]

    def interrupted(*args, **kwargs):
        if acts:
            acts.pop()()
        return real(*args, **kwargs)

    monkeypatch.setattr(module, name, interrupted)
    return lambda: not acts


def matrices(n, seed):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, n)).astype(np.float32), rng.normal(size=(n, n)).astype(np.float32)


@pytest.mark.parametrize(("name", "n"), [("start_product", 40), ("start_product", 300)])
def test_a_product_within_a_product(monkeypatch, name, n):
    a, b = matrices(n, 0)
    expected = fastbp.matmul(a, b)
    happened = between(monkeypatch, products, name, lambda: fastbp.matmul(*matrices(200, 1)))
    assert np.array_equal(fastbp.matmul(a, b), expected)
    assert happened()


@pytest.mark.parametrize("sizes", [(70, 3, 2, 1), (500, 200, 1)], ids=str)
@pytest.mark.parametrize("rows", [5, 400])
def test_a_prediction_within_a_prediction_of_the_same_network(monkeypatch, sizes, rows):
    network = fastbp.Network(sizes, seed=0)
    X, other = np.random.default_rng(0).random((2, rows, sizes[0])).astype(np.float32)
    expected = network.predict_proba(X)
    happened = between(monkeypatch, threads, "run", lambda: network.predict_proba(other))
    assert np.array_equal(network.predict_proba(X), expected)
    assert happened()


@pytest.mark.parametrize("sizes", [(70, 3, 2, 1), (500, 40, 1)], ids=str)
def test_a_prediction_within_a_step(monkeypatch, sizes):
    X = np.random.default_rng(0).random((60, sizes[0])).astype(np.float32)
    y = X[:, 0] > 0.5
    expected = fastbp.Network(sizes, seed=0)
    expected.fit(X, y, epochs=2, seed=0)
    network, other = fastbp.Network(sizes, seed=0), fastbp.Network((300, 200, 1), seed=1)
    happened = between(
        monkeypatch, threads, "run", lambda: other.predict_proba(np.ones((50, 300), np.float32))
    )
    network.fit(X, y, epochs=2, seed=0)
    assert happened()
    for weight, right in zip(network.weights, expected.weights, strict=True):
        assert np.array_equal(weight, right)


def test_an_elementwise_function_within_another(monkeypatch):
    x = np.linspace(-5, 5, 1000)
    expected = fastbp.sigmoid(x)
    happened = between(monkeypatch, threads, "run", lambda: fastbp.sigmoid_derivative(-x))
    assert np.array_equal(fastbp.sigmoid(x), expected)
    assert happened()


# ------------------------------------------------------------------ exceptions


def test_memory_that_is_not_to_be_had_leaves_no_address_of_what_is_gone(space):
    space.address(100)
    with pytest.raises(MemoryError):
        space.address(EXBIBYTE)
    address = space.address(50)  # less than there was
    fill(address, 50, 7)
    assert space._buffer is not None
    begin = space._buffer.ctypes.data
    assert begin <= address <= begin + space._buffer.nbytes - 50


def test_a_fit_goes_on_after_one_that_had_no_memory():
    printed = run_python(
        "import numpy as np, fastbp, resource\n"
        "network = fastbp.Network((64, 1024, 1), seed=0)\n"
        "X = np.random.default_rng(0).random((512, 64), np.float32)\n"
        "y = X[:, 0] > 0.5\n"
        "network.fit(X, y, epochs=1, batch_size=512)\n"
        "resource.setrlimit(resource.RLIMIT_AS, (4 << 30, 4 << 30))\n"
        "rows = np.broadcast_to(X[:1], (5_000_000, 64))\n"
        "try:\n"
        "    network.fit(rows, np.zeros(len(rows), np.float32), epochs=1, batch_size=None)\n"
        "except MemoryError:\n"
        "    print('no memory')\n"
        "network.fit(X, y, epochs=1, batch_size=256)\n"
        "print('trained')"
    )
    assert printed == "no memory\ntrained\n"


def test_words_that_were_half_written_are_written_again(monkeypatch, set_num_threads):
    network = fastbp.Network((500, 400, 1), seed=0)
    X = np.random.default_rng(0).random((99, 500)).astype(np.float32)
    set_num_threads(1)
    expected = network.predict_proba(X)
    plan = network._plan

    def interrupted(self, *setting):
        self.words[plans.w.OPERATION] = plans.w.TRAIN
        raise KeyboardInterrupt

    set_num_threads(2)
    with monkeypatch.context() as patched:
        patched.setattr(plans.NetworkPlan, "_prepare", interrupted)
        with pytest.raises(KeyboardInterrupt):
            plan.forward(sigmoid_out=True)
    set_num_threads(1)
    assert np.array_equal(plan.forward(sigmoid_out=True), expected)


# ------------------------------------------------------------------ what is kept


def kept() -> int:
    """Bytes that this thread keeps between calls."""
    return sum(space._size for space in scratch._mine.free)


def test_a_fit_gives_large_memory_back():
    network = fastbp.Network((8, 600, 1), seed=0)
    X = np.zeros((30_000, 8), np.float32)
    assert 2 * 4 * 600 * len(X) > MOST_KEPT  # its activations and deltas
    network.fit(X, np.zeros(len(X)), epochs=1, batch_size=None)
    assert kept() <= MOST_KEPT


@pytest.mark.usefixtures("no_network_is_small")
def test_a_fit_that_fails_gives_large_memory_back():
    network = fastbp.Network((8, 600, 1), seed=0)
    X = np.zeros((30_000, 8), np.float32)

    class Fails:
        def on_epoch_end(self, epoch, network, history):
            assert kept() > MOST_KEPT  # the next epoch will need it
            raise LookupError

    with pytest.raises(LookupError):
        network.fit(X, np.zeros(len(X)), epochs=2, batch_size=None, callbacks=[Fails()])
    assert kept() <= MOST_KEPT


def test_a_prediction_gives_large_memory_back():
    network = fastbp.Network((8, 20_000, 1), init="zeros")
    rows = 1024
    assert rows * 20_000 * 4 > MOST_KEPT
    network.predict(np.zeros((rows, 8), np.float32))
    assert kept() <= MOST_KEPT


def test_little_memory_is_kept(space):
    address = space.address(1000)
    space.trim()
    assert space.address(1000) == address
