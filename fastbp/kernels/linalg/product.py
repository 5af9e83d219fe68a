"""The region of matrix products, its plan, and how Python and other regions have it carried out.

One region for each dtype does all products, those of the NumPy-compatible functions and those of
training alike; only thin ones have a region of their own (`thin`).
"""

from __future__ import annotations

from typing import NamedTuple

from numba import float32, float64, int64

from fastbp.kernels.compile.calls import (
    call_region,
    count_words,
    words_at,
    words_of,
    write_words,
)
from fastbp.kernels.compile.jit import jit, region
from fastbp.kernels.linalg.epilogue import NOTHING, Epilogue
from fastbp.kernels.linalg.gemm import WITHOUT_SPLIT, gemm
from fastbp.kernels.linalg.macrokernel import BlockTriangle
from fastbp.kernels.linalg.operand import Operand, Product
from fastbp.kernels.simd.vectors import address_of, pointer
from fastbp.kernels.threads.context import WORKERS, Header, Phase, header_of, workspace
from fastbp.kernels.threads.standby import run_with
from fastbp.kernels.threads.team import TEAM_WORDS

__all__ = [
    "HELPED",
    "PRODUCT_WORDS",
    "WANTED_SPLIT",
    "WANTS_SPLIT",
    "ProductPlan",
    "multiply",
    "regions",
    "run_helped",
    "start_product",
]


class ProductPlan(NamedTuple):
    """C <- epilogue(beta C + alpha A B), as words; the first ones are those of any plan."""

    header: Header
    a: Operand
    b: Operand
    c: int  # address of C, the distance of its rows in elements, and the shape
    ldc: int
    m: int
    n: int
    k: int
    alpha: float
    beta: float
    epilogue: int  # its kind, and what it reads: addresses, see `epilogue`
    bias: int
    other: int
    ld_other: int
    triangle: BlockTriangle
    phase: int  # the phase that came before, -1 at first
    phase_out: int  # address for that which came last, or 0
    wants_split: int  # becomes 1, and nothing else is done, if the region of `split_k` is missing


HELPED, WANTED_SPLIT = 1, 2  # what `start_product` returns


PRODUCT_WORDS = count_words(ProductPlan)
WANTS_SPLIT = PRODUCT_WORDS - 1


@jit
def multiply(it, space, phase, dtype):
    """`gemm`, done by the region of products."""
    last = words_of(Phase(phase))
    plan = ProductPlan(
        header_of(space), it.a, it.b, address_of(it.c), it.ldc, it.m, it.n, it.k, it.alpha,
        it.beta, it.epilogue.kind, address_of(it.epilogue.bias), address_of(it.epilogue.other),
        it.epilogue.ld_other, it.triangle, phase, last, int64(0),
    )  # fmt: skip
    call_region(space.product, words_of(plan), space.worker)
    return pointer(last, int64)[0]


@jit
def _run(context, worker, dtype):
    plan = words_at(context, ProductPlan)
    space = workspace(pointer(context, int64), worker, dtype)
    epilogue = Epilogue(
        plan.epilogue, pointer(plan.bias, dtype), pointer(plan.other, dtype), plan.ld_other
    )
    it = Product(
        pointer(plan.c, dtype), plan.ldc, plan.m, plan.n, plan.k, plan.a, plan.b,
        dtype(plan.alpha), dtype(plan.beta), epilogue, plan.triangle,
    )  # fmt: skip
    phase = gemm(it, space, plan.phase, dtype)
    if phase == WITHOUT_SPLIT:
        pointer(context, int64)[WANTS_SPLIT] = 1
    elif plan.phase_out != 0:
        pointer(plan.phase_out, int64)[0] = phase


@region
def _float32(context: int, worker: int) -> None:
    _run(context, worker, float32)


@region
def _float64(context: int, worker: int) -> None:
    _run(context, worker, float64)


regions = {"float32": _float32, "float64": _float64}
"""The region for each dtype of the product; compiled when it is first used."""


@jit(cache=True)
def run_helped(region: int, words: int, workers: int, mailbox: int) -> bool:
    """Run a product with a standby thread if there is a ``mailbox`` and one waits; whether it did.

    If not, the plan at ``words`` is one for ``workers`` threads.
    """
    plan = pointer(words, int64)
    plan[WORKERS] = 2
    helped = mailbox != 0 and run_with(mailbox, region, words)
    plan[WORKERS] = workers
    return helped


@jit(cache=True)
def start_product(
    region: int, block: int, split: int, copy: int, words: int, scratch: int, shared: int,
    private: int, workers: int, mailbox: int, code: int, a: int, a_by_rows: bool, b: int,
    b_by_rows: bool, c: int, m: int, n: int, k: int,
) -> int:  # fmt: skip
    """Write the plan of a product of contiguous matrices of one dtype; run it if no launch is due.

    ``words`` is the address of PRODUCT_WORDS, behind TEAM_WORDS of team; ``region``, ``block``,
    ``split`` and ``copy`` those of regions' code; ``scratch`` that of the shared bytes and of the
    private ones of each worker, of two at least. ``mailbox`` is a standby thread's, or 0. Returns
    HELPED if that took part; it is left to the caller to run the region if not, and workers > 1.
    Or WANTED_SPLIT, if nothing was done for want of ``split``.
    """
    team = words - 8 * TEAM_WORDS
    for i in range(TEAM_WORDS):
        pointer(team, int64)[i] = 0
    a_row, a_column = (k, 1) if a_by_rows else (1, m)
    b_row, b_column = (n, 1) if b_by_rows else (1, k)
    plan = ProductPlan(
        Header(
            team, scratch, scratch + shared, private, 0, workers, 0, block, split, 0, copy
        ),
        Operand(a, code, a_row, a_column, 0, 0, 0, 0),
        Operand(b, code, b_row, b_column, 0, 0, 0, 0),
        c, n, m, n, k, 1.0, 0.0, NOTHING, 0, 0, 0, BlockTriangle(0, 0), -1, 0, 0,
    )  # fmt: skip
    write_words(words, plan)
    helped = run_helped(region, words, workers, mailbox)
    if workers == 1 and not helped:
        call_region(region, words, 0)
    if pointer(words, int64)[WANTS_SPLIT] != 0:
        return WANTED_SPLIT
    return HELPED if helped else 0
