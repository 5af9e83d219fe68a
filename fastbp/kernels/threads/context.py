"""What a region is told, whatever it does: the words that every plan begins with."""

from __future__ import annotations

from collections import namedtuple
from typing import NamedTuple

from numba import int64

from fastbp.kernels.compile.jit import jit
from fastbp.kernels.simd.vectors import address_of, pointer

__all__ = ["Header", "Phase", "Workspace", "header_of", "workspace"]


class Header(NamedTuple):
    """The first words. Regions have addresses, or 0 where they are not called."""

    team: int  # address of TEAM_WORDS + shares.SHARE_WORDS int64, zeroed before each call
    shared: int  # address of scratch memory that all threads use
    private: int  # address of scratch memory of worker 0 ...
    private_step: int  # ... and how many bytes further on that of the next worker begins
    operation: int  # what to do, where a region does several things
    workers: int  # threads that the region is started on
    product: int  # the region of `linalg.product`
    block: int  # that of `linalg.macrokernel`
    split: int  # that of `linalg.split_k`
    epilogue: int  # that of `linalg.epilogue`
    copy: int  # that of `linalg.reader` which reads what the product's own type is


class Phase(NamedTuple):
    """Where a region that is called leaves the number of its last phase."""

    number: int


TEAM, SHARED, PRIVATE, PRIVATE_STEP, OPERATION, WORKERS = range(6)
PRODUCT_REGION, BLOCK_REGION, SPLIT_REGION, EPILOGUE_REGION, COPY_REGION = range(6, 11)

Workspace = namedtuple(
    "Workspace",
    ["team", "shared", "private", "worker", "workers", "product", "block", "split", "epilogue",
     "copy"],
)  # fmt: skip
"""Typed pointers to the team's words, the shared buffer, and this thread's own buffer; this
thread's number, and how many threads there are, which must be the same number for all of them; and
the addresses of regions."""


@jit
def workspace(plan, worker, dtype):
    """What the first words of a plan, to which ``plan`` points, say to one worker."""
    private = plan[PRIVATE] + worker * plan[PRIVATE_STEP]
    return Workspace(
        pointer(plan[TEAM], int64), pointer(plan[SHARED], dtype), pointer(private, dtype), worker,
        plan[WORKERS], plan[PRODUCT_REGION], plan[BLOCK_REGION], plan[SPLIT_REGION],
        plan[EPILOGUE_REGION], plan[COPY_REGION],
    )  # fmt: skip


@jit
def header_of(space):
    """The first words for a region that goes on with the same workspace."""
    zero = int64(0)
    return Header(
        address_of(space.team), address_of(space.shared), address_of(space.private), zero, zero,
        space.workers, space.product, space.block, space.split, space.epilogue, space.copy,
    )  # fmt: skip
