"""Limits on threads: `fastbp.thread_limit`, threadpoolctl, and the workers of joblib.

Whatever looks at which threads were started runs in a process of its own.
"""

from __future__ import annotations

import asyncio
import threading

import numpy as np
import pytest

import fastbp
from fastbp.engine import threads
from tests.processes import run_python

# ------------------------------------------------------------------ thread_limit


@pytest.fixture
def four_threads(monkeypatch):
    """As on a machine where fastbp uses four threads; nothing is computed with them here."""
    monkeypatch.setattr(threads._state, "num_threads", 4)
    monkeypatch.setattr(threads._state, "serial_only", False)


@pytest.mark.usefixtures("four_threads")
class TestThreadLimit:
    def test_it_holds_within_the_block_and_no_longer(self):
        for n in (1, 2, np.int64(3)):
            with fastbp.thread_limit(n):
                assert fastbp.get_num_threads() == n
                assert type(fastbp.get_num_threads()) is int
            assert fastbp.get_num_threads() == 4

    @pytest.mark.parametrize("n", [4, 5, 10**30, None])
    def test_more_than_there_are_is_no_limit(self, n):
        with fastbp.thread_limit(n):
            assert fastbp.get_num_threads() == 4
        assert fastbp.get_num_threads() == 4

    def test_an_inner_limit_can_lower_but_not_raise(self):
        with fastbp.thread_limit(3):
            with fastbp.thread_limit(2):
                with fastbp.thread_limit(4):
                    assert fastbp.get_num_threads() == 2
                with fastbp.thread_limit(None):
                    assert fastbp.get_num_threads() == 2
                assert fastbp.get_num_threads() == 2
            assert fastbp.get_num_threads() == 3
        assert fastbp.get_num_threads() == 4

    def test_an_exception_ends_it(self):
        with pytest.raises(KeyError), fastbp.thread_limit(1):
            raise KeyError
        assert fastbp.get_num_threads() == 4

    def test_the_number_of_the_process_may_change_within(self):
        with fastbp.thread_limit(2):
            fastbp.set_num_threads(1)
            assert fastbp.get_num_threads() == 1
        assert fastbp.get_num_threads() == 1

    def test_it_may_be_used_again_and_within_itself(self):
        limit = fastbp.thread_limit(2)
        for _ in range(2):
            with limit, limit:
                assert fastbp.get_num_threads() == 2
            assert fastbp.get_num_threads() == 4

    def test_a_decorated_function_is_limited_at_every_depth(self):
        @fastbp.thread_limit(2)
        def counts(depth):
            found = [fastbp.get_num_threads()]
            return found + counts(depth - 1) if depth else found

        assert counts(2) == [2, 2, 2]
        assert fastbp.get_num_threads() == 4

    def test_other_threads_are_as_they_were(self):
        found = []
        with fastbp.thread_limit(1):
            other = threading.Thread(target=lambda: found.append(fastbp.get_num_threads()))
            other.start()
            other.join()
        assert found == [4]

    def test_blocks_of_two_threads_may_end_in_any_order(self):
        begun, ended = threading.Event(), threading.Event()
        found = []

        def caller():
            with fastbp.thread_limit(2):
                begun.set()
                ended.wait(60)
                found.append(fastbp.get_num_threads())
            found.append(fastbp.get_num_threads())

        with fastbp.thread_limit(1):
            thread = threading.Thread(target=caller)
            thread.start()
            begun.wait(60)
            assert fastbp.get_num_threads() == 1
        assert fastbp.get_num_threads() == 4
        ended.set()
        thread.join()
        assert found == [2, 4]

    def test_coroutines_have_limits_of_their_own(self):
        found = []

        async def limited(n, turn, following):
            with fastbp.thread_limit(n):
                following.set()
                await turn.wait()
                found.append(fastbp.get_num_threads())

        async def both():
            first, second = asyncio.Event(), asyncio.Event()
            await asyncio.gather(limited(1, first, second), limited(3, second, first))
            found.append(fastbp.get_num_threads())

        asyncio.run(both())
        assert sorted(found[:2]) == [1, 3]
        assert found[2] == 4


@pytest.mark.parametrize("n", [0, -1])
def test_a_limit_below_one_is_refused_at_once(n):
    with pytest.raises(ValueError, match=f"must be at least 1, got {n}$"):
        fastbp.thread_limit(n)


@pytest.mark.parametrize("n", [1.0, "1", True, [1]])
def test_a_limit_must_be_an_integer(n):
    with pytest.raises(TypeError):
        fastbp.thread_limit(n)


WORK = """
import numpy as np
import fastbp
from fastbp.engine import threads

rng = np.random.default_rng(0)
X, y = rng.normal(size=(400, 1000)).astype(np.float32), rng.integers(0, 2, 400)


def fitted(hidden):
    network = fastbp.Network((1000, hidden, 1), seed=0)
    network.fit(X, y, batch_size=200, epochs=2, seed=0)
    return network


def answers(network):
    network.fit(X, y, batch_size=200, epochs=1, seed=1)
    return network.predict_proba(X).tobytes()
"""


def test_calls_within_a_limit_of_one_start_no_threads_and_give_the_same_bits():
    printed = run_python(
        WORK + "with fastbp.thread_limit(1):\n"
        "    one = [fitted(n) for n in (3, 40)]\n"
        "    few = [answers(fitted(n)) for n in (3, 40)]\n"
        "assert threads.threading_layer() is None\n"
        # What a network has got ready for one thread is of use for two.
        "assert [answers(network) for network in one] == few\n"
        "assert threads.threading_layer() is not None\n"
        "with fastbp.thread_limit(1):\n"
        "    assert [answers(fitted(n)) for n in (3, 40)] == few\n"
        "print('right')",
        NUMBA_NUM_THREADS="2",
    )
    assert printed == "right\n"


# ------------------------------------------------------------------ threadpoolctl

CONTROLLED = """
import threading
import threadpoolctl
import fastbp


def count():
    return fastbp.get_num_threads()


def own():
    return [found for found in threadpoolctl.threadpool_info() if found["user_api"] == "fastbp"]


assert count() == 3
"""


def run_controlled(code):
    pytest.importorskip("threadpoolctl", minversion="3.2")
    return run_python(CONTROLLED + code, NUMBA_NUM_THREADS="3")


def test_threadpool_info_has_fastbp():
    printed = run_controlled("print([(f['num_threads'], f['version']) for f in own()])")
    assert printed == f"[(3, '{fastbp.__version__}')]\n"


@pytest.mark.parametrize("arguments", ["limits=1", "1, 'fastbp'", "{'fastbp': 1}"])
def test_threadpool_limits_holds_for_fastbp(arguments):
    run_controlled(
        f"with threadpoolctl.threadpool_limits({arguments}):\n"
        "    assert count() == 1\n"
        "    assert own()[0]['num_threads'] == 1\n"
        "    with threadpoolctl.threadpool_limits(2, 'fastbp'):\n"
        "        assert count() == 2\n"
        "    assert count() == 1\n"
        "assert count() == 3\n"
        "with threadpoolctl.threadpool_limits(1, 'blas'):\n"
        "    assert count() == 3\n"
        "with threadpoolctl.threadpool_limits(100, 'fastbp'):\n"
        "    assert count() == 3\n"
    )


def test_threadpool_limits_starts_no_threads_within():
    run_controlled(
        WORK + "with threadpoolctl.threadpool_limits(1):\n"
        "    answers(fitted(40))\n"
        "assert threads.threading_layer() is None\n"
    )


def test_both_limits_hold_and_neither_outlives_its_block():
    run_controlled(
        "with fastbp.thread_limit(1):\n"
        # At its end this sets the numbers of all libraries to what they were told to be.
        "    with threadpoolctl.threadpool_limits(2, 'blas'):\n"
        "        assert count() == 1\n"
        "assert count() == 3\n"
        "with threadpoolctl.threadpool_limits(2), fastbp.thread_limit(1):\n"
        "    assert count() == 1\n"
        "assert count() == 3\n"
    )


def test_the_last_word_counts_between_threadpoolctl_and_set_num_threads():
    run_controlled(
        "fastbp.set_num_threads(1)\n"
        "with threadpoolctl.threadpool_limits(1):\n"
        "    fastbp.set_num_threads(2)\n"
        "    assert count() == 2\n"
        "assert count() == 1\n"
        "fastbp.set_num_threads(3)\n"
        "assert count() == 3\n"
    )


def test_threadpool_limits_is_for_the_thread_that_asks():
    run_controlled(
        "found = []\n"
        "with threadpoolctl.threadpool_limits(1):\n"
        "    other = threading.Thread(target=lambda: found.append(count()))\n"
        "    other.start()\n"
        "    other.join()\n"
        "assert found == [3]\n"
    )


def test_import_leaves_threadpoolctl_alone():
    printed = run_python("import sys, fastbp; print('threadpoolctl' in sys.modules)")
    assert printed == "False\n"


@pytest.mark.parametrize("there", ["None", "types.ModuleType('threadpoolctl')"])
def test_threadpoolctl_may_be_absent_or_too_old(there):
    printed = run_python(
        f"import sys, types; sys.modules['threadpoolctl'] = {there}\n"
        "import fastbp\n"
        "with fastbp.thread_limit(1):\n    print(fastbp.get_num_threads())"
    )
    assert printed == "1\n"


# ------------------------------------------------------------------ joblib

IN_WORKERS = """
import os

import joblib


def job(number):
    import time

    import numpy as np
    import fastbp
    from fastbp.engine import threads

    rng = np.random.default_rng(number)
    X, y = rng.normal(size=(400, 1000)).astype(np.float32), rng.integers(0, 2, 400)
    network = fastbp.Network((1000, 40, 1), seed=0)
    network.fit(X, y, batch_size=200, epochs=2, seed=0)
    time.sleep(0.2)  # so that both workers have some
    return os.getpid(), fastbp.get_num_threads(), threads.threading_layer(), network.weights[0]


def numbers(**settings):
    with joblib.parallel_config("loky", **settings):
        found = joblib.Parallel(n_jobs=2)(joblib.delayed(job)(i) for i in range(4))
    assert len({pid for pid, *_ in found}) == 2
    return found

cores = joblib.cpu_count()
"""


def run_workers(code, **variables):
    pytest.importorskip("joblib")
    # joblib leaves a number alone that is in the environment.
    return run_python(IN_WORKERS + code, **{"NUMBA_NUM_THREADS": None, **variables})


def test_workers_share_the_cores():
    run_workers(
        "found = numbers()\n"
        "share = max(1, cores // 2)\n"
        "assert [n for _, n, *_ in found] == [share] * 4\n"
        "if share == 1:\n"
        "    assert {layer for _, _, layer, _ in found} == {None}  # no threads were started\n"
    )


def test_a_number_in_the_environment_is_that_of_workers():
    run_workers("assert {n for _, n, *_ in numbers()} == {2}", NUMBA_NUM_THREADS="2")


def test_a_worker_may_be_given_threads():
    run_workers(
        "assert {n for _, n, *_ in numbers(inner_max_num_threads=1)} == {1}\n"
        "assert {n for _, n, *_ in numbers(inner_max_num_threads=3)} == {3}\n"
    )


def test_workers_give_the_bits_of_this_process_and_compile_nothing_again():
    run_workers(
        "from fastbp.kernels.compile import cache\n"
        "expected = [job(i)[-1].tobytes() for i in range(4)]\n"
        "def kept():\n"
        "    return sorted(path.name for path in cache.cache_folder().rglob('*'))\n"
        "before = kept()\n"
        "assert [w.tobytes() for *_, w in numbers()] == expected\n"
        "assert kept() == before\n"
    )


SEARCH = """
from sklearn.datasets import load_iris
from sklearn.model_selection import cross_validate

import fastbp


class Counting(fastbp.MLPClassifier):
    def fit(self, X, y):
        self.threads_ = fastbp.get_num_threads()
        return super().fit(X, y)


if __name__ == "__main__":
    X, y = load_iris(return_X_y=True)
    classifier = Counting(learning_rate_init=0.01, max_iter=500, random_state=0)
    found = []
    for jobs in (1, 2):
        made = cross_validate(classifier, X, y, cv=2, n_jobs=jobs, return_estimator=True)
        found.append([[coef.tobytes() for coef in each.coefs_] for each in made["estimator"]])
    assert found[0] == found[1]
    assert {each.threads_ for each in made["estimator"]} == {max(1, joblib.cpu_count() // 2)}
"""


def test_estimators_in_workers_are_those_of_this_process():
    pytest.importorskip("sklearn")
    run_workers(SEARCH)
