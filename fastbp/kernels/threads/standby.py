"""A second thread that stays awake for a while, for work that cannot wait for one to start.

Numba's threading layer takes about 8 us to get a sleeping thread to work, and 2 us to end. A thread
that looks at a word of memory in a loop is at work in half a microsecond. So after small products,
or brief runs of a network, that come one upon the other a standby keeps looking for some time,
and takes part in the next as worker 1 of its region.

Its mailbox is a few words; the first one tells what it is doing:

    ABSENT -> WAITING                             it looks
    WAITING -> CLAIMED -> POSTED                  a caller writes a job: a region and its context
    POSTED -> RUNNING -> WAITING                  the standby runs it
    POSTED -> WAITING                             it did not come in time: the job is withdrawn
    WAITING -> ABSENT                             it has looked long enough

A region is done when worker 0 has returned, whoever else took part, as long as nobody is in it any
more. So a standby that comes late, or died in a fork, costs nothing but its help.
"""

from __future__ import annotations

from numba import int64

from fastbp.kernels.compile.calls import call_region
from fastbp.kernels.compile.jit import jit
from fastbp.kernels.simd.vectors import pointer
from fastbp.kernels.threads.atomics import exchange_if, read_word, relax, write_word

__all__ = ["ABSENT", "JOBS", "MAILBOX_WORDS", "RUNNING", "WAITING", "call_with", "run_with", "stay"]

MAILBOX_WORDS = 16
ABSENT, WAITING, _CLAIMED, _POSTED, RUNNING = range(5)
_STATE, _REGION, _CONTEXT = 0, 8, 9
JOBS = 10  # the word that counts the jobs that the standby has run


@jit
def run_with(mailbox, region, context):
    """Run a region as worker 0, with the standby as worker 1 if it waits; whether it did."""
    box = pointer(mailbox, int64)
    if not exchange_if(box, _STATE, WAITING, _CLAIMED):
        return False
    box[_REGION], box[_CONTEXT] = region, context
    write_word(box, _STATE, _POSTED)
    call_region(region, context, 0)
    # The job that is withdrawn may be another caller's by now, who does it alone then, as ever.
    if not exchange_if(box, _STATE, _POSTED, WAITING):
        spins = 0
        while read_word(box, _STATE) == RUNNING:
            spins += 1
            relax(spins)
    return True


@jit(cache=True)
def call_with(mailbox: int, region: int, context: int) -> bool:
    """`run_with`, to be called from Python."""
    return run_with(mailbox, region, context)


@jit(cache=True)
def stay(mailbox: int, patience: int) -> None:
    """Be the standby, until no job has come for ``patience`` looks."""
    box = pointer(mailbox, int64)
    if not exchange_if(box, _STATE, ABSENT, WAITING):
        return
    looks = 0
    while True:
        if read_word(box, _STATE) == _POSTED and exchange_if(box, _STATE, _POSTED, RUNNING):
            call_region(box[_REGION], box[_CONTEXT], 1)
            box[JOBS] += 1
            write_word(box, _STATE, WAITING)
            looks = 0
        elif looks > patience and exchange_if(box, _STATE, WAITING, ABSENT):
            return
        else:
            looks += 1
            relax(looks)
