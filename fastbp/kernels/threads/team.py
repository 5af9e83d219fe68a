"""How threads share the work of a region: numbered phases of independent tasks.

Every thread of a region runs the same program. Where the program has work to share it names a
phase, and the threads take the tasks of that phase one by one; a phase ends when each of its tasks
is done, and no thread passes it before. Tasks are cut by the shape of the problem alone, so the
bits of a result do not depend on how many threads there are.

    phase += 1
    task = next_task(team, phase, tasks, False)
    while task >= 0:
        ...
        task = next_task(team, phase, tasks, True)

A thread only ever waits for tasks that another thread is running at that moment. So any number of
threads may take part and each may come late, or never: a threading layer that grants one thread
for two iterations, or starts a worker when all is done, costs time and never a deadlock.

Where a phase works on data that the threads have in their own caches from another phase, they take
its tasks by `claim_near` instead: each begins where its own data are. The result is the same.

A region that is not to go on is abandoned by writing ``ABANDONED`` to the ticket, a phase that no
thread is in: no task is handed out any more, and nobody waits. A thread that just ends a phase may
write the ticket after that, so it has to be written until the region has ended. Tasks that may take
more than some 0.05 s ask now and then whether they `is_abandoned`. What the region was to write is
worth nothing then.

``team`` points to at least ``TEAM_WORDS`` int64, zeroed before the region starts: [0] is the
ticket, phase << 32 | next task (or a bit for each task that is taken, with `claim_near`); [8]
counts the tasks that are done. Each has a cache line. For work whose parts keep to their data there
is `shares`.
"""

from __future__ import annotations

from numba import int64

from fastbp.kernels.compile.jit import jit
from fastbp.kernels.threads.atomics import add_to_word, exchange_if, read_word, relax, write_word

__all__ = [
    "ABANDONED",
    "TEAM_WORDS",
    "TICKET_BITS",
    "claim_near",
    "first_near_task",
    "following_task",
    "is_abandoned",
    "next_task",
    "unclaimed",
    "unclaimed_near",
]

TEAM_WORDS = 16
ABANDONED = 1 << 62  # even, and more than any number of tasks, for `shares`
TICKET_BITS = 32  # tasks that `claim_near` can tell apart
_DONE = 8


@jit
def unclaimed(team, phase, tasks):
    """The task of a phase that will be taken next, by whichever thread, or -1 if none is left."""
    ticket = read_word(team, 0)
    task = ticket & 0xFFFFFFFF
    if ticket >> 32 != phase or task >= tasks:
        return -1
    return task


@jit
def claim(team, phase, tasks):
    """Take a task of a phase if one is left: its number, or -1. Does not wait."""
    while True:
        ticket = read_word(team, 0)
        task = ticket & 0xFFFFFFFF
        if ticket >> 32 != phase or task >= tasks:
            return -1
        if exchange_if(team, 0, ticket, ticket + 1):
            return task


@jit
def is_abandoned(team):
    """Whether a task had better end, as nobody waits for what it does."""
    return read_word(team, 0) == ABANDONED


@jit
def _free_near(ticket, phase, tasks, home):
    """The first task from ``home`` on that nobody has taken, or -1."""
    if ticket >> 32 == phase:
        for i in range(tasks):
            task = (home + i) % tasks
            if ticket >> task & 1 == 0:
                return task
    return -1


@jit
def unclaimed_near(team, phase, tasks, home):
    """The task of a phase that `claim_near` would take now, or -1."""
    if tasks > TICKET_BITS:
        return unclaimed(team, phase, tasks)
    return _free_near(read_word(team, 0), phase, tasks, home)


@jit
def claim_near(team, phase, tasks, home):
    """Like `claim`, but from task ``home`` on if there are no more tasks than a ticket has bits."""
    if tasks > TICKET_BITS:
        return claim(team, phase, tasks)
    while True:
        ticket = read_word(team, 0)
        chosen = _free_near(ticket, phase, tasks, home)
        if chosen < 0 or exchange_if(team, 0, ticket, ticket | 1 << chosen):
            return chosen


@jit
def _wait(team, phase):
    """Return when the phase is over."""
    spins = 0
    while read_word(team, 0) >> 32 == phase:
        spins += 1
        relax(spins)


@jit
def following_task(team, phase, tasks, claimed):
    """Report a task as done, and go on with the one that was claimed meanwhile, if not -1.

    For tasks that want to know in time which one comes next: `claim` it before the work begins.
    Returns ``claimed``; or -1 when the phase is over.
    """
    if add_to_word(team, _DONE, int64(1)) + 1 == tasks:
        # What this thread has written until now, all threads see in the next phase.
        write_word(team, _DONE, 0)
        write_word(team, 0, (phase + 1) << 32)
    elif claimed < 0:
        _wait(team, phase)
    return claimed


@jit
def next_task(team, phase, tasks, completed):
    """Take a task of a phase, after reporting the last one done if ``completed``.

    Returns the number of a task, 0 <= number < tasks, that no other thread gets; or -1 when the
    phase is over. All threads must pass the same ``tasks`` >= 1 for a phase, and phases in turn,
    beginning with 0.
    """
    if completed:
        return following_task(team, phase, tasks, claim(team, phase, tasks))
    task = claim(team, phase, tasks)
    if task < 0:
        _wait(team, phase)
    return task


@jit
def first_near_task(team, phase, tasks, home):
    """Like `next_task` with nothing completed, but beginning with task ``home``: see `claim_near`.

    The tasks that follow are those of `claim_near` and `following_task`. All threads must take the
    tasks of a phase in the same way.
    """
    task = claim_near(team, phase, tasks, home)
    if task < 0:
        _wait(team, phase)
    return task
