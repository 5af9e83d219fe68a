"""What a region is told, whatever it does: the words that every plan begins with."""

from __future__ import annotations

from collections import namedtuple

from numba import int64

from fastbp.kernels.compile.jit import jit
from fastbp.kernels.simd.vectors import pointer

__all__ = ["Workspace", "workspace"]

TEAM = 0  # address of TEAM_WORDS + shares.SHARE_WORDS int64, zeroed before each call
SHARED = 1  # address of scratch memory that all threads use
PRIVATE = 2  # address of scratch memory of worker 0 ...
PRIVATE_STEP = 3  # ... and how many bytes further on that of the next worker begins
OPERATION = 4  # what to do, where a region does several things
WORKERS = 5  # threads that the region is started on
BLOCK_REGION = 6  # addresses of the regions of `linalg.macrokernel` ...
PRODUCT_REGION = 7  # ... and of `linalg.product`, where they are called

Workspace = namedtuple(
    "Workspace", ["team", "shared", "private", "worker", "workers", "block", "product"]
)
"""Typed pointers to the team's words, the shared buffer, and this thread's own buffer; this
thread's number, and how many threads there are, which must be the same number for all of them; and
the addresses of the two regions."""


@jit
def workspace(plan, worker, dtype):
    """What the first words of a plan, to which ``plan`` points, say to one worker."""
    private = plan[PRIVATE] + worker * plan[PRIVATE_STEP]
    return Workspace(
        pointer(plan[TEAM], int64), pointer(plan[SHARED], dtype), pointer(private, dtype), worker,
        plan[WORKERS], plan[BLOCK_REGION], plan[PRODUCT_REGION],
    )  # fmt: skip
