"""Many fits at once: which ones go in company, which side by side, each in a thread.

Networks that may share passes over X (`fastbp.engine.together`) make a `Company`. All others are
trained side by side, as many as there are threads, each by its share of them: small networks gain
nothing by a second thread, and have no phases to wait for with one.
"""

from __future__ import annotations

import contextvars
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from numbers import Integral
from typing import Any

import numpy as np
import numpy.typing as npt
import sklearn
from sklearn.utils import check_random_state

from fastbp.engine.recipe import Update
from fastbp.engine.threads import get_num_threads, thread_limit
from fastbp.engine.together import may_join
from fastbp.estimators.base import STOCHASTIC_SOLVERS, BaseMLP
from fastbp.estimators.company import LONGEST_WAIT, Company, Seat, Stopped, sit_down
from fastbp.estimators.options import dropout_of, penalty_of

__all__ = ["Job", "run_jobs"]

Array = npt.NDArray[Any]

_LEAST_BYTES = 8 << 20  # of X: an epoch over less takes little longer than a meeting
_MOST_MEMBERS = 32  # of a company, each of which is a thread


@dataclass
class Job:
    """A fit, and what came of it.

    Parameters
    ----------
    estimator : BaseMLP
    X, y : array_like or sparse matrix
        Jobs on the same rows have the same object X.
    weights : ndarray of shape (n,), optional
    outputs : int
        Of the network.
    then : callable, optional
        What to do with the fitted estimator, in the same thread.
    error : BaseException or None
        What has ended the fit.
    result : object
        What ``then`` has returned.
    seconds : float
        That the fit has taken; of a company's, its share.
    """

    estimator: BaseMLP
    X: Any
    y: Any
    weights: Array | None = None
    outputs: int = 1
    then: Callable[[BaseMLP], Any] | None = None
    error: BaseException | None = None
    result: Any = None
    seconds: float = 0.0
    random_state: np.random.RandomState | None = None

    def run(self) -> None:
        """Fit, and what is to be done then."""
        start = time.perf_counter()
        try:
            if self.weights is None:
                self.estimator.fit(self.X, self.y)
            else:
                self.estimator.fit(self.X, self.y, self.weights)
        except BaseException as error:
            self.error = error
            raise
        finally:
            self.seconds = time.perf_counter() - start
        if self.then is not None:
            self.result = self.then(self.estimator)


def run_jobs(
    jobs: Sequence[Job],
    *,
    shares_order: bool,
    raises: bool,
    is_finite: bool = False,
    most: int | None = None,
) -> None:
    """Carry jobs out.

    Parameters
    ----------
    jobs : sequence of Job
    shares_order : bool
        Whether those of a company take the order of rows of the first of them.
    raises : bool
        Whether the first error of a fit stops all and is raised; else it is left in its job.
    is_finite : bool, default False
        Whether X is known to have no NaN and no infinity.
    most : int, optional
        How many are trained side by side; by default as many as there are threads.
    """
    for job in jobs:
        if job.estimator.random_state is None:  # any numbers, but those of a thread to itself
            seed = check_random_state(None).randint(np.iinfo(np.int32).max)
            job.random_state = np.random.RandomState(seed)
    companies, others = _divided(jobs)
    orders: dict[Any, Any] = {}
    for members in companies:
        threads = _Threads(raises=raises, is_finite=is_finite)
        _in_company(members, threads, orders if shares_order else None)
    _side_by_side([*_chains(others)], _Threads(raises=raises, is_finite=is_finite), most)


def _divided(jobs: Sequence[Job]) -> tuple[list[list[Job]], list[Job]]:
    """Those that may go in company, company by company, and those that go by themselves."""
    alike: dict[Any, list[Job]] = {}
    others: list[Job] = []
    for job in jobs:
        key = _key_of(job)
        if key is None:
            others.append(job)
        else:
            alike.setdefault(key, []).append(job)
    companies = []
    for group in alike.values():
        if len(group) == 1:
            others += group
        count = -(-len(group) // _MOST_MEMBERS)
        for i in range(count if len(group) > 1 else 0):
            companies.append(group[i * len(group) // count : (i + 1) * len(group) // count])
    order = {id(job): i for i, job in enumerate(jobs)}
    return companies, sorted(others, key=lambda job: order[id(job)])


def _key_of(job: Job) -> Any:
    """What jobs of one company have in common; None if a job goes by itself."""
    estimator, X = job.estimator, job.X
    state = estimator.random_state
    if (
        estimator.solver not in STOCHASTIC_SOLVERS
        or estimator.early_stopping is not False  # each has rows of its own
        or not isinstance(X, np.ndarray)
        or X.nbytes < _LEAST_BYTES
        or not (state is None or isinstance(state, Integral))
    ):
        return None
    hidden, batch = estimator.hidden_layer_sizes, estimator.batch_size
    try:
        some: Any = hidden if hasattr(hidden, "__iter__") else (hidden,)
        sizes = (X.shape[1], *map(int, some), job.outputs)
        rows = 200 if batch == "auto" else int(batch)
    except (TypeError, ValueError):  # its fit will say so
        return None
    if min(*sizes, rows) < 1:
        return None
    dtype = np.float64 if X.dtype == np.float64 else np.float32
    dropout, has_penalty = dropout_of(estimator, len(sizes) - 2), penalty_of(estimator) > 0
    plain = estimator.solver == "sgd" and estimator.momentum == 0 and not has_penalty
    joins = may_join(
        sizes, X, dtype, rows, Update.DIRECT if plain else Update.PARTS,
        drops_input=any(dropout[:1]), squares=has_penalty,
    )  # fmt: skip
    return (id(X), sizes, batch, type(estimator)) if joins else None


def _chains(jobs: Sequence[Job]) -> Iterator[list[Job]]:
    """Jobs that have to be done one after the other: they draw from the same random numbers."""
    chains: dict[int, list[Job]] = {}
    for job in jobs:
        state = job.estimator.random_state
        if state is None or isinstance(state, Integral):
            yield [job]
        else:
            chains.setdefault(id(state), []).append(job)
    yield from chains.values()


class _Threads:
    """Threads that carry jobs out, in the context of the one that starts them."""

    def __init__(self, *, raises: bool, is_finite: bool) -> None:
        self.stop = threading.Event()
        self._raises, self._is_finite = raises, is_finite
        self._threads: list[tuple[threading.Thread, threading.Event]] = []
        self.error: BaseException | None = None  # the first one

    def start(self, work: Callable[[], None]) -> None:
        """Start a thread."""
        context, config = contextvars.copy_context(), sklearn.get_config()
        if self._is_finite:
            config["assume_finite"] = True

        ended = threading.Event()

        def in_context() -> None:
            try:
                with sklearn.config_context(**config):
                    work()
            finally:
                ended.set()

        thread = threading.Thread(
            target=lambda: context.run(in_context), name="fastbp fit", daemon=True
        )
        thread.start()
        self._threads.append((thread, ended))

    def do(self, job: Job, seat: Seat) -> None:
        """Carry a job out, from one of the threads."""

        def in_seat() -> None:
            sit_down(seat)
            job.run()

        try:
            contextvars.copy_context().run(in_seat)
        except Stopped:
            pass
        except BaseException as error:
            # What is done after a fit is the caller's, and so are its errors.
            if self._raises or error is not job.error or not isinstance(error, Exception):
                self.error = self.error or error
                self.stop.set()

    def join(self) -> None:
        """Wait for all threads."""
        for thread, ended in self._threads:
            # Not by `join` alone: if a signal ends that, Python 3.11 takes the thread for stopped.
            while not ended.wait(LONGEST_WAIT):
                pass
            thread.join()

    def finish(self) -> None:
        """Wait for all threads, and raise the first error."""
        self.join()
        if self.error is not None:
            raise self.error


def _in_company(jobs: list[Job], threads: _Threads, orders: dict[Any, Any] | None) -> None:
    company = Company(len(jobs), threads.stop, orders)
    start = time.perf_counter()

    def work(member: int, job: Job) -> None:
        try:
            threads.do(job, company.seat(member, job.random_state))
        finally:
            company.leave(member)

    try:
        for member, job in enumerate(jobs):
            threads.start(lambda member=member, job=job: work(member, job))  # type: ignore[misc]
        company.serve()
    except BaseException:
        company.end()
        threads.join()
        raise
    threads.finish()
    share = (time.perf_counter() - start) / len(jobs)
    for job in jobs:
        job.seconds = share


def _side_by_side(chains: list[list[Job]], threads: _Threads, most: int | None) -> None:
    if not chains:
        return
    stop = threads.stop
    left, lock = iter(chains), threading.Lock()
    available = get_num_threads()
    beside = min(len(chains), available if most is None else most)

    def work() -> None:
        with thread_limit(max(1, available // beside)):
            while not stop.is_set():
                with lock:
                    chain = next(left, None)
                if chain is None:
                    return
                for job in chain:
                    if not stop.is_set():
                        threads.do(job, Seat(job.random_state, stop))

    try:
        for _ in range(beside):
            threads.start(work)
        threads.join()
    except BaseException:
        stop.set()
        threads.join()
        raise
    threads.finish()
