"""The thread that stays awake for small products (fastbp.engine.standby)."""

from __future__ import annotations

import os
import threading
import time

import numpy as np
import pytest

import fastbp
import fastbp.engine.threads
from fastbp.engine import products
from fastbp.engine.standby import StandbyThread, standby
from fastbp.kernels.threads.standby import ABSENT, RUNNING, WAITING, stay
from tests.processes import run_python

CORES = len(getattr(os, "sched_getaffinity", lambda _: range(os.cpu_count() or 1))(0))
needs_two_cores = pytest.mark.skipif(CORES < 2, reason="one core: nobody can help")
LONG = 60.0  # seconds in which anything that takes microseconds has happened


def until(condition, act=lambda: None):
    """Do `act` until `condition` holds."""
    end = time.monotonic() + LONG
    while not condition():
        assert time.monotonic() < end, "it never happened"
        act()


def operands(m, n, k, dtype, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(m, k)).astype(dtype), rng.normal(size=(k, n)).astype(dtype)


def stand_in(monkeypatch, state):
    """A standby that nobody is behind, as if it were in that state."""
    other = StandbyThread()
    other._words[0] = state
    monkeypatch.setattr(products, "standby", other)
    return other


@pytest.fixture
def company(monkeypatch):
    """A standby that hardly sleeps."""
    other, over = StandbyThread(), threading.Event()

    def live():
        while not over.is_set():
            stay(other.mailbox, 100_000)

    for module in (products, fastbp.engine.threads):
        monkeypatch.setattr(module, "standby", other)
    thread = threading.Thread(target=live)
    thread.start()
    yield other
    over.set()
    thread.join()


def assert_the_same_alone_and_in_company(bits, company):
    """`bits` computes something: it must be the same however often the standby takes part."""
    jobs, different = company.jobs, []
    fastbp.set_num_threads(1)
    alone = bits()
    assert company.jobs == jobs
    fastbp.set_num_threads(2)

    def compare():
        if bits() != alone:
            different.append(None)

    until(lambda: company.jobs > jobs + 20, compare)
    assert not different


SHAPES = [(64, 64, 64), (96, 96, 96), (100, 37, 200), (37, 150, 51), (1, 400, 500), (120, 120, 70)]


@needs_two_cores
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_products_have_the_same_bits_with_company(shape, dtype, company, set_num_threads):
    a, b = operands(*shape, dtype)
    strided = np.repeat(a, 2, axis=1)[:, ::2]
    weight = np.ascontiguousarray(b.T)
    calls = [
        lambda: fastbp.matmul(a, b),
        lambda: fastbp.matmul(strided, b),
        lambda: fastbp.linear(a, weight, activation="sigmoid"),
    ]
    for call in calls:
        assert_the_same_alone_and_in_company(lambda call=call: call().tobytes(), company)


@needs_two_cores
@pytest.mark.parametrize("batch_size", [4, 40])
@pytest.mark.parametrize("sizes", [(1100, 3, 2, 1), (600, 3, 1), (600, 40, 1)], ids=str)
def test_networks_have_the_same_bits_with_company(sizes, batch_size, company, set_num_threads):
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(120, sizes[0])), rng.integers(0, 2, 120)

    def trained():
        network = fastbp.Network(sizes, seed=0)
        network.fit(X, y, epochs=3, batch_size=batch_size, seed=0)
        return network.predict_proba(X).tobytes()

    assert_the_same_alone_and_in_company(trained, company)


@pytest.mark.parametrize("state", [ABSENT, WAITING, RUNNING])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_nobody_is_waited_for_who_does_not_come(shape, state, monkeypatch, set_num_threads):
    a, b = operands(*shape, "float32")
    set_num_threads(1)
    alone = fastbp.matmul(a, b)
    set_num_threads(2)
    other = stand_in(monkeypatch, state)
    monkeypatch.setattr(other, "call", lambda patience: None)
    for _ in range(3):
        assert fastbp.matmul(a, b).tobytes() == alone.tobytes()
        assert other._words[0] == state  # a job that was posted is withdrawn
    assert other.jobs == 0


@needs_two_cores
def test_it_goes_to_sleep_and_comes_again(set_num_threads):
    set_num_threads(2)
    a, b = operands(96, 96, 96, "float32")
    for _ in range(3):
        jobs = standby.jobs
        until(lambda jobs=jobs: standby.jobs > jobs, lambda: fastbp.matmul(a, b))
        until(lambda: not standby.is_awake)


def test_it_is_called_by_calls_that_follow_each_other(monkeypatch):
    other, calls = StandbyThread(), []
    monkeypatch.setattr(other, "call", calls.append)
    now = 10**9
    monkeypatch.setattr(time, "perf_counter_ns", lambda: now)
    other.missed()
    now += 10**6
    other.missed()  # a millisecond later: each stands alone
    assert not calls
    now += 10**4
    other.missed()
    now += 4 * 10**5
    other.missed()
    first, second = calls
    assert first < second  # it stays the longer, the longer the next call will take to come


def test_a_process_that_may_start_no_thread_works_alone(monkeypatch, set_num_threads):
    set_num_threads(2)
    other = stand_in(monkeypatch, ABSENT)
    attempts = []

    def start(thread):
        attempts.append(thread)
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", start)
    a, b = operands(64, 64, 64, "float32")
    until(lambda: attempts, lambda: fastbp.matmul(a, b))
    for _ in range(100):
        fastbp.matmul(a, b)
    assert len(attempts) == 1  # and it is not tried with every call
    assert not other.is_awake


def test_products_that_gain_nothing_have_no_company(monkeypatch, set_num_threads):
    set_num_threads(2)
    other = stand_in(monkeypatch, ABSENT)  # so that it is missed wherever it is wanted
    monkeypatch.setattr(other, "missed", lambda: pytest.fail("company was wanted"))
    a, b = operands(8, 8, 8, "float32")
    fastbp.matmul(a, b)
    set_num_threads(1)
    a, b = operands(200, 200, 200, "float32")
    fastbp.matmul(a, b)


PRELUDE = """
import os, sys, threading, time

import numpy as np
import fastbp
from fastbp.engine.standby import standby

fastbp.set_num_threads(2)
rng = np.random.default_rng(0)
a, b = (rng.normal(size=(96, 96)).astype(np.float32) for _ in range(2))
end = time.monotonic() + 60

def right():
    return fastbp.matmul(a, b).tobytes() == expected

def right_until_helped():
    jobs = standby.jobs
    while standby.jobs < jobs + 10:
        if not right() or time.monotonic() > end:
            return False
    return True

fastbp.set_num_threads(1)
expected = fastbp.matmul(a, b).tobytes()
fastbp.set_num_threads(2)
assert right_until_helped()
"""

MANY_CALLERS = """
results = []

def caller():
    results.append(all(right() for _ in range(2000)))

callers = [threading.Thread(target=caller) for _ in range(6)]
for thread in callers:
    thread.start()
for thread in callers:
    thread.join()
assert results == [True] * 6
assert right_until_helped()
"""

FORK = """
for _ in range(20):
    assert right_until_helped()  # awake, at whatever it is doing
    child = os.fork()
    if child == 0:
        os._exit(0 if standby.jobs == 0 and right() and right_until_helped() else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
assert right_until_helped()
"""


@needs_two_cores
def test_many_threads_call_at_once(set_num_threads):
    run_python(PRELUDE + MANY_CALLERS)


@needs_two_cores
@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
def test_a_forked_child_has_its_own(set_num_threads):
    run_python(PRELUDE + FORK)


@needs_two_cores
def test_a_process_ends_while_it_is_awake(set_num_threads):
    for _ in range(10):
        run_python(PRELUDE)
