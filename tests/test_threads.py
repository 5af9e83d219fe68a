"""Threads: how many, on which layer, called from many at once, and after a fork.

What could crash or hang runs in a process of its own, under a time limit.
"""

from __future__ import annotations

import importlib.metadata
import os

import numpy as np
import pytest
from numba.core import config

import fastbp
from tests.processes import run_python

LAYERS = ["tbb", "omp", "workqueue"]

# ------------------------------------------------------------------ how many


def test_the_number_of_threads_can_be_set(set_num_threads):
    for n in (1, 2, np.int64(1)):
        set_num_threads(n)
        assert fastbp.get_num_threads() == n
        assert type(fastbp.get_num_threads()) is int


@pytest.mark.parametrize("n", [0, -1, config.NUMBA_NUM_THREADS + 1, 10**30])
def test_a_number_of_threads_out_of_range(n):
    before = fastbp.get_num_threads()
    with pytest.raises(ValueError, match=f"from 1 to {config.NUMBA_NUM_THREADS} .*got {n}$"):
        fastbp.set_num_threads(n)
    assert fastbp.get_num_threads() == before


@pytest.mark.parametrize("n", [1.0, "1", None, True, [1]])
def test_the_number_of_threads_must_be_an_integer(n):
    before = fastbp.get_num_threads()
    with pytest.raises(TypeError):
        fastbp.set_num_threads(n)
    assert fastbp.get_num_threads() == before


@pytest.mark.parametrize("n", ["1", "2", "3"])
def test_numba_num_threads_is_the_default_and_the_maximum(n):
    printed = run_python(
        "import fastbp\n"
        "print(fastbp.get_num_threads())\n"
        "try:\n    fastbp.set_num_threads(4)\nexcept ValueError as error:\n    print(error)",
        NUMBA_NUM_THREADS=n,
    )
    assert (
        printed == f"{n}\nthe number of threads must be from 1 to {n} (NUMBA_NUM_THREADS), got 4\n"
    )


# ------------------------------------------------------------------ every threading layer

PRELUDE = """
import os, sys, threading

import numpy as np
import fastbp
from fastbp.engine import threads

rng = np.random.default_rng(0)
a, b = (rng.normal(size=(300, 300)).astype(np.float32) for _ in range(2))
X, y = rng.normal(size=(400, 1000)).astype(np.float32), rng.integers(0, 2, 400)
wide = rng.normal(size=(40, 10000)).astype(np.float32)


def fitted(hidden, X=X, batch_size=200):
    network = fastbp.Network((X.shape[1], hidden, 1), seed=0)
    network.fit(X, y[: len(X)], batch_size=batch_size, epochs=2, seed=0)
    return network.predict_proba(X).tobytes()


def work():
    '''Every kind of parallel call, far above the sizes that run serially.'''
    return (
        fastbp.matmul(a, b).tobytes(), fitted(3), fitted(40), fitted(3, wide, 1), fitted(3, wide, 8)
    )


fastbp.set_num_threads(1)
expected = work()
assert threads.threading_layer() is None  # nothing has been started so far
fastbp.set_num_threads(2)
"""

MANY_CALLERS = """
start, results, errors = threading.Barrier(6), [], []

def caller():
    try:
        start.wait()
        for _ in range(10):
            results.append(work() == expected)
    except BaseException as error:
        errors.append(error)

callers = [threading.Thread(target=caller) for _ in range(6)]
for thread in callers:
    thread.start()
for thread in callers:
    thread.join()
assert not errors, errors
assert results == [True] * 60, results.count(False)
print(threads.threading_layer())
"""

FORK = """
assert work() == expected  # the threads of this process have run ...

def right_in_a_child(depth):
    '''... which a child that runs again must survive, and its child too.'''
    sys.stdout.flush()
    child = os.fork()
    if child == 0:
        right = all(work() == expected for _ in range(3))
        if depth > 1:
            right = right and right_in_a_child(depth - 1)
        os._exit(0 if right else 1)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0

assert right_in_a_child(2)
assert work() == expected  # and the parent is as it was
print(threads.threading_layer())
"""


EARLY_FORK = """
child = os.fork()
if child == 0:
    right = work() == expected and threads.threading_layer() is not None
    os._exit(0 if right else 1)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
assert work() == expected
print(threads.threading_layer())
"""

PROBE = """
import numba
from fastbp.engine import threads

threads._load_tbb()
try:
    numba.set_num_threads(2)  # starts Numba's threads
except ValueError as error:
    print(error)
"""


def cores() -> int:
    """How many this process may use."""
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1


def run_on_layer(layer: str, code: str) -> None:
    """Run PRELUDE and `code` on a threading layer, or skip the test if Numba has no such layer."""
    if layer == "tbb" and cores() < 2:
        # With more threads than cores, Numba waits for ever when a process ends that has forked,
        # or whose first parallel call came from another thread; without fastbp too (0.68, tbb
        # 2023.2). Numba's own choice of the number of threads never leads there.
        pytest.skip("Numba's tbb layer may not end where there are fewer cores than threads")
    variables = {"NUMBA_THREADING_LAYER": layer, "NUMBA_NUM_THREADS": "2"}
    if complaint := run_python(PROBE, **variables):
        pytest.skip(f"Numba cannot load {layer} here: {complaint}")
    assert run_python(PRELUDE + code, **variables) == f"{layer}\n"


@pytest.mark.parametrize("layer", LAYERS)
def test_many_threads_may_call_at_once(layer):
    run_on_layer(layer, MANY_CALLERS)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
@pytest.mark.parametrize("layer", LAYERS)
def test_a_forked_child_works(layer):
    run_on_layer(layer, FORK)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
@pytest.mark.parametrize("layer", LAYERS)
def test_a_child_forked_before_the_first_call_starts_its_own_threads(layer):
    run_on_layer(layer, "assert threads.threading_layer() is None\n" + EARLY_FORK)


# ------------------------------------------------------------------ tbb


@pytest.mark.parametrize("setting", [None, "tbb", "TBB", "safe"])
def test_the_tbb_wheel_is_found_wherever_it_lies(setting):
    try:
        importlib.metadata.version("tbb")
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("the tbb package is not installed")
    printed = run_python(
        "import numpy as np, fastbp\n"
        "x = np.ones((200, 200), np.float32)\n"
        "assert (fastbp.matmul(x, x) == 200).all()\n"
        "print(fastbp.show_config()['threading_layer'])",
        LD_LIBRARY_PATH=None,
        NUMBA_THREADING_LAYER=setting,
        NUMBA_NUM_THREADS="2",
    )
    assert printed == "tbb\n"


def test_serial_calls_start_no_threads():
    printed = run_python(
        "import numpy as np, fastbp\n"
        "fastbp.matmul(np.ones((20, 20)), np.ones((20, 20)))\n"
        "fastbp.sigmoid(np.ones(1000))\n"
        "fastbp.set_num_threads(1)\n"
        "fastbp.matmul(np.ones((200, 200)), np.ones((200, 200)))\n"
        "print(fastbp.show_config()['threading_layer'])",
        NUMBA_NUM_THREADS="2",
    )
    assert printed == "None\n"


# ------------------------------------------------------------------ forks while others compute

BUSY_FORK = """
over, begun = threading.Event(), threading.Event()

def busy():
    while not over.is_set():
        fitted(40, batch_size=400)  # for which Numba's threads are launched
        begun.set()

work()
thread = threading.Thread(target=busy, daemon=True)
thread.start()
begun.wait()
for _ in range(6):
    child = os.fork()
    if child == 0:
        os._exit(0 if fastbp.get_num_threads() == 1 and work() == expected else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
"""

OTHER_FORK = """
work()
said = []

def forks():
    child = os.fork()
    if child == 0:
        os._exit(0 if fastbp.get_num_threads() == 1 and work() == expected else 1)
    said.append(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))

thread = threading.Thread(target=forks)
thread.start()
thread.join()
assert said == [0]
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
def test_a_child_of_several_threads_that_compute_does_so_alone():
    # Numba's tbb may leave it waiting for a thread that is not there, if rarely: it says so itself.
    run_python(PRELUDE + BUSY_FORK, NUMBA_NUM_THREADS="2")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
def test_a_child_of_another_thread_than_the_first_computes_alone():
    run_python(PRELUDE + OTHER_FORK, NUMBA_NUM_THREADS="2")


# ------------------------------------------------------------------ no threads to be had

NO_THREADS = """
import resource

for call in (fastbp.set_num_threads, lambda n: fastbp.matmul(a, b)):
    call(1)
if os.getuid() == 0:
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)  # the limit does not hold for root
most = resource.getrlimit(resource.RLIMIT_NPROC)[1]
resource.setrlimit(resource.RLIMIT_NPROC, (0, most))
fastbp.set_num_threads(2)
assert work() == expected
assert threads.threading_layer() is None
small = np.ones((60, 60), np.float32)
for _ in range(20):  # soon upon each other, for which a thread would stay awake
    assert (fastbp.matmul(small, small) == 60).all()
"""


@pytest.mark.skipif(not hasattr(os, "setuid"), reason="this system has no such limit")
@pytest.mark.parametrize("layer", LAYERS)
def test_where_no_threads_are_to_be_had_calls_run_on_the_one_there_is(layer):
    run_python(PRELUDE + NO_THREADS, NUMBA_THREADING_LAYER=layer, NUMBA_NUM_THREADS="2")
