"""Fits that go on side by side, each in a thread of its own, and make steps together.

A fit knows of its company by its `Seat`, which lies in the context of its thread. It is asked
twice: for random numbers, and when the rows are ready and the first epoch is about to begin.

The fits of a `Company` meet at each epoch. The thread that has called them together has the steps
made of all that have come, those of networks that go together in passes over X that they share, one
after the other or some at a time. So what an epoch is but for its steps (orders, losses, stopping)
stays what it is for one fit alone, and a fit that ends leaves the company.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextvars import ContextVar
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from sklearn.utils import check_random_state

from fastbp.engine.plan import NetworkPlan
from fastbp.engine.threads import get_num_threads, thread_limit
from fastbp.engine.together import Together, joined, joins, passes_of
from fastbp.estimators.rows import SECONDS_BETWEEN_SIGNALS, DenseRows, Rows

__all__ = ["LONGEST_WAIT", "Company", "Seat", "Stopped", "random_numbers", "seated", "sit_down"]

Array = npt.NDArray[Any]

LONGEST_WAIT = 0.05
"""Seconds after which a waiting main thread looks for signals: those that other threads have taken
do not end its waiting."""


class Stopped(BaseException):
    """Ends a fit that is of no use any more, wherever it is; what it has trained stays."""


class Seat:
    """The place of a fit among others.

    Parameters
    ----------
    random_state : RandomState, optional
        The fit's random numbers, where its own parameter says none.
    stop : Event
        Ends the fit at its next epoch, when set.
    """

    def __init__(self, random_state: np.random.RandomState | None, stop: threading.Event) -> None:
        self.random_state, self.stop = random_state, stop

    def take(self, rows: Rows, random_state: np.random.RandomState) -> Rows:
        """The rows by which the fit makes its steps."""
        return WatchedRows(rows, self.stop)


_seat: ContextVar[Seat | None] = ContextVar("_seat", default=None)


def sit_down(seat: Seat) -> None:
    """Give the fits of this context a seat."""
    _seat.set(seat)


def random_numbers(random_state: Any) -> np.random.RandomState:
    """What `check_random_state` says, unless that is no more than any numbers."""
    seat = _seat.get()
    if random_state is None and seat is not None and seat.random_state is not None:
        return seat.random_state
    found: np.random.RandomState = check_random_state(random_state)
    return found


def seated(rows: Rows, random_state: np.random.RandomState) -> Rows:
    """The rows by which a fit makes its steps: others if it is in company."""
    seat = _seat.get()
    return rows if seat is None else seat.take(rows, random_state)


class WatchedRows(Rows):
    """Rows of a fit that can be stopped between two epochs."""

    def __init__(self, rows: Rows, stop: threading.Event) -> None:
        super().__init__(rows.rows, rows.batch_size)
        self._rows, self._stop = rows, stop

    @property
    def loss(self) -> float:
        """The sum that `train` has added to."""
        return self._rows.loss

    def clear(self) -> None:
        """Set `loss` to 0."""
        self._rows.clear()

    def train(self, order: Array | None, numbers: Array, number: int, first: int = 0) -> None:
        """Make steps, unless the fit is stopped."""
        if self._stop.is_set():
            raise Stopped
        try:
            self._rows.train(order, numbers, number, first)
        finally:
            self.made = self._rows.made


class _Arrival(NamedTuple):
    """A member is ready for its first epoch."""

    plan: NetworkPlan
    random_state: np.random.RandomState


class _Epoch(NamedTuple):
    """Steps that a member has to make, see `Rows.train`."""

    rows: DenseRows
    order: Array | None
    numbers: Array
    number: int
    first: int


class _CompanyRows(WatchedRows):
    """The rows of a member: its company makes its steps."""

    def __init__(self, rows: DenseRows, company: Company, member: int) -> None:
        super().__init__(rows, company.stop)
        self._dense, self._company, self._member = rows, company, member

    def train(self, order: Array | None, numbers: Array, number: int, first: int = 0) -> None:
        """Have the steps made, together with those of others."""
        self._dense.made = 0
        try:
            self._company.ask(self._member, _Epoch(self._dense, order, numbers, number, first))
        finally:
            self.made = self._dense.made


class _Member(Seat):
    """The seat of a company's member."""

    def __init__(
        self, random_state: np.random.RandomState | None, company: Company, number: int
    ) -> None:
        super().__init__(random_state, company.stop)
        self._company, self._number = company, number

    def take(self, rows: Rows, random_state: np.random.RandomState) -> Rows:
        """The rows by which the fit makes its steps."""
        if not isinstance(rows, DenseRows):
            return super().take(rows, random_state)
        self._company.ask(self._number, _Arrival(rows.plan, random_state))
        return _CompanyRows(rows, self._company, self._number)


class Company:
    """Fits that meet at each epoch.

    Parameters
    ----------
    members : int
        How many there are, from 0 on.
    stop : Event
        Ends all of them, when set.
    orders : dict, optional
        Of states of random numbers that orders are drawn from: members that may go together take
        that of the first of them, here and in other companies with the same ``orders``. Without it,
        those go together that have the same order by themselves.
    """

    def __init__(
        self, members: int, stop: threading.Event, orders: dict[Any, Any] | None = None
    ) -> None:
        self.stop, self._orders = stop, orders
        self._changed = threading.Condition()
        self._present = set(range(members))
        self._asked: dict[int, _Arrival | _Epoch] = {}
        self._together: dict[tuple[int, ...], Together] = {}
        self._pool: ThreadPoolExecutor | None = None

    def seat(self, member: int, random_state: np.random.RandomState | None) -> Seat:
        """The seat of a member."""
        return _Member(random_state, self, member)

    # ------------------------------------------------------------------ of the members' threads

    def ask(self, member: int, what: _Arrival | _Epoch) -> None:
        """Wait until it is done what a member asks for."""
        with self._changed:
            self._asked[member] = what
            self._changed.notify_all()
            while member in self._asked:
                if self.stop.is_set():
                    raise Stopped
                self._changed.wait()

    def leave(self, member: int) -> None:
        """A member's fit has ended, one way or the other."""
        with self._changed:
            self._present.discard(member)
            self._asked.pop(member, None)
            self._changed.notify_all()

    # ------------------------------------------------------------------ of the thread that serves

    def serve(self) -> None:
        """Do what members ask for, as soon as all have asked, until none is left."""
        try:
            while self._do_one_round():
                pass
        except BaseException:
            self.end()
            raise
        finally:
            if self._pool is not None:
                self._pool.shutdown()

    def _do_one_round(self) -> bool:
        """Do what all members that are left have asked for; whether there are any."""
        with self._changed:
            while self._asked.keys() != self._present:
                self._changed.wait(LONGEST_WAIT)
            if not self._present:
                return False
            asked = dict(sorted(self._asked.items()))
        self._do(asked)
        with self._changed:
            self._asked.clear()
            self._changed.notify_all()
        return True

    def end(self) -> None:
        """Stop all members."""
        self.stop.set()
        with self._changed:
            self._changed.notify_all()

    def _do(self, asked: dict[int, _Arrival | _Epoch]) -> None:
        if self._orders is not None:
            for one in asked.values():
                if isinstance(one, _Arrival) and joins(one.plan):
                    numbers = one.random_state
                    state = self._orders.setdefault(one.plan.likeness, numbers.get_state())
                    numbers.set_state(state)
        epochs = {member: one for member, one in asked.items() if isinstance(one, _Epoch)}
        passes = [*_passes(epochs)]
        members = {some for some, _ in passes}
        self._together = {key: one for key, one in self._together.items() if key in members}
        for some, at_a_time in passes:
            if at_a_time == 1:
                self._make([epochs[m] for m in some], some)
        self._make_at_a_time({some: n for some, n in passes if n > 1}, epochs)

    def _make_at_a_time(
        self, passes: dict[tuple[int, ...], int], epochs: dict[int, _Epoch]
    ) -> None:
        """Make the steps of passes beside each other, each on its share of the threads."""
        if not passes:
            return
        workers, at_a_time = get_num_threads(), max(passes.values())
        if self._pool is None:
            self._pool = ThreadPoolExecutor(workers, "fastbp pass")

        def make(members: tuple[int, ...]) -> None:
            with thread_limit(max(1, workers // at_a_time)):
                self._make([epochs[m] for m in members], members)

        left: set[Future[None]] = {self._pool.submit(make, members) for members in passes}
        while left:  # signals do not end a wait without an end
            done, left = wait(left, LONGEST_WAIT)
            for future in done:
                future.result()

    def _make(self, epochs: list[_Epoch], members: tuple[int, ...]) -> None:
        """Make the steps of several members."""
        one = epochs[0]
        if len(epochs) == 1:
            one.rows.train(one.order, one.numbers, one.number, one.first)
            return
        if members not in self._together:
            self._together[members] = joined([epoch.rows.plan for epoch in epochs])
        group = self._together[members]
        try:
            group.train(
                one.order,
                one.first,
                one.first + len(one.numbers),
                [epoch.numbers for epoch in epochs],
                [epoch.number for epoch in epochs],
                SECONDS_BETWEEN_SIGNALS,
                self.stop,
            )
        finally:
            for epoch in epochs:
                epoch.rows.made = group.made


def _passes(epochs: dict[int, _Epoch]) -> Iterator[tuple[tuple[int, ...], int]]:
    """The members whose steps are made together, and how many such passes go on at a time."""
    groups: list[list[int]] = []
    for member, epoch in epochs.items():
        for group in groups:
            if _go_together(epoch, epochs[group[0]]):
                group.append(member)
                break
        else:
            groups.append([member])
    workers = get_num_threads()
    for group in groups:
        count, at_a_time = passes_of(epochs[group[0]].rows.plan, len(group), workers)
        for i in range(count):  # of about the same size
            yield tuple(group[i * len(group) // count : (i + 1) * len(group) // count]), at_a_time


def _go_together(one: _Epoch, other: _Epoch) -> bool:
    """Whether two members' steps can be made in the same passes over X."""
    mine, others = one.rows.plan, other.rows.plan
    if not (joins(mine) and joins(others) and mine.likeness == others.likeness):
        return False
    if one.first != other.first or len(one.numbers) != len(other.numbers):
        return False
    if one.order is None or other.order is None:
        return one.order is other.order
    return np.array_equal(one.order, other.order)
