"""Calls that take long see Ctrl-C, and leave everything whole; so do daemon threads, at exit."""

from __future__ import annotations

import ctypes
import signal
import threading

import numpy as np
import pytest

import fastbp
from fastbp.arrays import elementwise
from fastbp.engine import plan as plans
from fastbp.engine import products, threads
from fastbp.kernels.threads.team import ABANDONED
from tests.processes import run_python

pytestmark = pytest.mark.skipif(
    not hasattr(signal, "pthread_kill"), reason="this system sends no signals to threads"
)


class Interrupted(BaseException):
    """What the handler of the signal raises."""


@pytest.fixture
def long_calls(monkeypatch):
    """Every call counts as one that may take long."""
    monkeypatch.setattr(threads, "LONG_WORK", 0)
    monkeypatch.setattr(products, "_LONG_PRODUCT", 0)
    monkeypatch.setattr(elementwise, "_LONG_ELEMENTS", 0)
    monkeypatch.setattr(plans, "_LEAST_LONG_BATCH", 1)


@pytest.fixture
def interrupted(monkeypatch, long_calls):
    """A signal comes as soon as compiled code is to run; the list tells which regions ended."""
    ended, main, start = [], threading.main_thread().ident, threads._start

    def handler(number, frame):
        raise Interrupted

    def started(region, context, workers):
        signal.pthread_kill(main, signal.SIGUSR1)
        team = ctypes.c_int64.from_address(context).value
        ticket = ctypes.c_int64.from_address(team)
        while ticket.value != ABANDONED:  # the caller has seen the signal
            pass
        start(region, context, workers)
        ended.append(region)

    monkeypatch.setattr(threads, "_start", started)
    before = signal.signal(signal.SIGUSR1, handler)
    yield ended
    signal.signal(signal.SIGUSR1, before)


def normal(*shape, dtype=np.float32):
    return np.random.default_rng(0).normal(size=shape).astype(dtype)


# A square, one whose k is cut, a thin one, one that is small.
SHAPES = [(200, 200, 200), (64, 64, 30_000), (500, 2, 3000), (8, 8, 8)]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("workers", [1, 2])
def test_an_abandoned_product_ends_without_its_work_done(
    interrupted, set_num_threads, shape, workers
):
    m, n, k = shape
    set_num_threads(workers)
    out = np.full((m, n), 7, np.float32)
    with pytest.raises(Interrupted):
        fastbp.matmul(normal(m, k), normal(k, n), out=out)
    assert len(interrupted) == 1  # nothing is at work any more
    assert (out == 7).mean() > 0.5  # the rest may have been added up from what was in the memory


def test_an_abandoned_elementwise_function(interrupted):
    x = normal(100_000)
    out = np.full(x.shape, 7, np.float32)
    with pytest.raises(Interrupted):
        fastbp.sigmoid(x, out)
    assert len(interrupted) == 1
    assert (out == 7).all()


NETWORKS = [
    ((700, 300, 20, 1), 128),  # three passes over the layers
    ((3000, 100, 1), 8),  # delayed
    ((700, 3, 2, 1), 128),  # in shards
    ((9000, 3, 2, 1), 32),  # by columns
    ((9000, 3, 2, 1), 2),  # by columns, delayed
]


@pytest.mark.parametrize(("sizes", "batch_size"), NETWORKS, ids=str)
@pytest.mark.parametrize("dtype", ["float32", "uint8"])
def test_an_abandoned_step_was_not_made(interrupted, sizes, batch_size, dtype):
    network = fastbp.Network(sizes, seed=0, input_scale=0.5)
    before = [array.copy() for array in (*network.weights, *network.biases)]
    X = np.random.default_rng(0).integers(0, 3, (256, sizes[0])).astype(dtype)
    with pytest.raises(Interrupted):
        network.fit(X, X[:, 0] > 0, batch_size=batch_size, epochs=1)
    assert len(interrupted) == 1
    for array, old in zip((*network.weights, *network.biases), before, strict=True):
        assert np.array_equal(array, old)


@pytest.mark.parametrize(("sizes", "batch_size"), NETWORKS, ids=str)
def test_an_abandoned_prediction(interrupted, sizes, batch_size):
    network = fastbp.Network(sizes, seed=0)
    with pytest.raises(Interrupted):
        network.predict(normal(300, sizes[0]))
    assert len(interrupted) == 1


@pytest.mark.parametrize(("sizes", "batch_size"), NETWORKS, ids=str)
def test_calls_beside_the_main_thread_give_the_same_bits(
    monkeypatch, long_calls, sizes, batch_size
):
    X = normal(256, sizes[0])
    y = X[:, 0] > 0
    beside = fastbp.Network(sizes, seed=0)
    beside.fit(X, y, batch_size=batch_size, epochs=2, seed=0)
    monkeypatch.undo()
    alone = fastbp.Network(sizes, seed=0)
    alone.fit(X, y, batch_size=batch_size, epochs=2, seed=0)
    assert beside.predict_proba(X).tobytes() == alone.predict_proba(X).tobytes()


def test_an_error_beside_the_main_thread_is_raised_in_it(monkeypatch, long_calls):
    def fails(region, context, workers):
        raise LookupError

    monkeypatch.setattr(threads, "_start", fails)
    with pytest.raises(LookupError):
        fastbp.matmul(normal(99, 99), normal(99, 99))


def test_without_another_thread_the_main_one_does_it_alone(monkeypatch, long_calls):
    def none(*args):
        raise RuntimeError("can't start new thread")

    a, b = normal(99, 99), normal(99, 99)
    expected = fastbp.matmul(a, b)
    monkeypatch.setattr(threads._thread, "start_new_thread", none)
    assert np.array_equal(fastbp.matmul(a, b), expected)


def test_a_signal_before_the_other_thread_has_begun(monkeypatch, long_calls):
    late = []

    def start(function, arguments):
        late.append(function)
        raise Interrupted  # as a handler does, before the next statement

    out = np.full((99, 99), 7, np.float32)
    with monkeypatch.context() as patched:
        patched.setattr(threads._thread, "start_new_thread", start)
        with pytest.raises(Interrupted):
            fastbp.matmul(normal(99, 99), normal(99, 99), out=out)
    late[0]()
    assert (out == 7).all()


# ------------------------------------------------------------------ at exit

BUSY = """
import sys, threading, time
import numpy as np, fastbp

kind, workers = sys.argv[1], int(sys.argv[2])
fastbp.set_num_threads(workers)
large, small = np.ones((200, 200), np.float32), np.ones((60, 60), np.float32)
X = np.zeros((256, 3000), np.uint8)
network = fastbp.Network((3000, 64, 1), seed=0, input_scale=1 / 255)
acts = {
    "large products": lambda: fastbp.matmul(large, large),
    "small products": lambda: fastbp.matmul(small, small),
    "fits": lambda: network.fit(X, np.zeros(256), epochs=1),
}
begun = threading.Event()

def busy():
    while True:
        acts[kind]()
        begun.set()

threading.Thread(target=busy, daemon=True).start()
begun.wait()
time.sleep(0.01)
"""


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("kind", ["large products", "small products", "fits"])
def test_the_interpreter_may_end_while_a_daemon_thread_computes(kind, workers):
    for _ in range(3):
        run_python(BUSY, kind, workers, NUMBA_NUM_THREADS="2")
