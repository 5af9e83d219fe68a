"""How threads share work whose parts keep to their data: shares, each with tasks in turn.

Where the threads' data are large and every task comes back to them, phases of tasks that any
thread may take (`team`) would carry the data from core to core. Here the data are cut into shares
once. A share has its tasks 0 ... total - 1 one after another, and a thread of its own, which runs
them as long as it comes; others run them only if it does not. Shares tell each other how far they
are by what they `publish`: a task starts when every share has published as many results as the
task has predecessors.

    share, task = next_in_share(team, shares, total, worker)
    while task >= 0:
        ...
        publish(team, share, task + 1)
        ...  # what the others need not wait for
        finish(team, share, task)
        share, task = next_in_share(team, shares, total, worker)

As in `team`, a thread only ever waits for tasks that another thread is running at that moment: any
number of threads may take part, and each may come late or never. A share in whose word
`state_of_share` someone writes `team.ABANDONED` counts as done.

A share has two cache lines behind the team's own words. In the first: [0] twice the number of its
next task, plus one while that task is running; [1] the last task that its own thread took. In the
second: [8] the results that it has published. The second line is read by all threads for each
task, the first by others only when they have waited for a while.
"""

from __future__ import annotations

from numba import int64

from fastbp.kernels.compile.jit import jit
from fastbp.kernels.threads.atomics import exchange_if, read_word, relax, write_word
from fastbp.kernels.threads.team import TEAM_WORDS

__all__ = ["MOST_SHARES", "SHARE_WORDS", "finish", "next_in_share", "publish", "state_of_share"]

MOST_SHARES = 8
_WORDS = 16
SHARE_WORDS = _WORDS * MOST_SHARES
_STATE, _SEEN, _PUBLISHED = 0, 1, 8
_GLANCE = 64  # spins, about 1 us, between two looks at what the others' threads are doing ...
_PATIENCE = 100  # ... and before their tasks are taken, unless they have missed others already


def state_of_share(share: int) -> int:
    """Which word of the team is [0] of a share."""
    return TEAM_WORDS + _WORDS * share + _STATE


@jit
def _line(share):
    return TEAM_WORDS + _WORDS * share


@jit
def publish(team, share, results):
    """Tell the other shares that this one's first ``results`` results are where they find them."""
    write_word(team, _line(share) + _PUBLISHED, results)


@jit
def finish(team, share, task):
    """Report a task as done: the share's next one may be taken."""
    write_word(team, _line(share) + _STATE, 2 * (task + 1))


@jit
def _take(team, share, shares, total):
    """The share's next task, if nobody runs it and all that it needs is published; or -1."""
    state = read_word(team, _line(share) + _STATE)
    task = state >> 1
    if state & 1 or task >= total:
        return int64(-1)
    for other in range(shares):
        if read_word(team, _line(other) + _PUBLISHED) < task:
            return int64(-1)
    if exchange_if(team, _line(share) + _STATE, state, state + 1):
        return task
    return int64(-1)


@jit
def _take_of_absent(team, home, shares, total, waited):
    """A task of a share whose own thread does not come: (share, task).

    The task is -1 if there is none, and -2 when all shares are done.
    """
    over = read_word(team, _line(home) + _STATE) >= 2 * total
    for i in range(1, shares):
        share = (home + i) % shares
        task = read_word(team, _line(share) + _STATE) >> 1
        if task < total:
            over = False
            if waited or read_word(team, _line(share) + _SEEN) < task - 2:
                task = _take(team, share, shares, total)
                if task >= 0:
                    return share, task
    return int64(-1), int64(-2) if over else int64(-1)


@jit
def next_in_share(team, shares, total, worker):
    """Take a task, of the worker's own share if there is one: (share, task); task -1 at the end.

    There are 1 ... ``MOST_SHARES`` shares. Returns when there is a task, or when all are done.
    """
    home = worker % shares
    spins = int64(0)
    while True:
        task = _take(team, home, shares, total)
        if task >= 0:
            if worker == home:
                write_word(team, _line(home) + _SEEN, task)
            return home, task
        if spins % _GLANCE == _GLANCE - 1:
            share, task = _take_of_absent(team, home, shares, total, spins >= _PATIENCE)
            if task >= 0:
                return share, task
            if task == -2:
                return int64(-1), int64(-1)
        spins += 1
        relax(spins)
