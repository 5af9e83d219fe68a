"""The plan of one bare product, and how Python has it carried out.

Its first words are those of any plan (`plan`: TEAM to WORKERS). Which region carries it out is up
to the caller: `wide.region`'s does all products, `thin`'s those that are thin.
"""

from __future__ import annotations

from numba import float64, int64

from fastbp.kernels import plan as w
from fastbp.kernels.compile.jit import call_region, jit
from fastbp.kernels.linalg.epilogue import NOTHING
from fastbp.kernels.linalg.operand import Operand
from fastbp.kernels.simd.vectors import pointer
from fastbp.kernels.threads.standby import run_with
from fastbp.kernels.threads.team import TEAM_WORDS

__all__ = ["PRODUCT_WORDS", "operands", "run_helped", "start_product"]

OPERAND_WORDS = 7
A = 6  # the operands A and B, so many words each: see `packing.Operand`
B = 13
C = 20  # address of C, the distance of its rows in elements, and the shape
LDC = 21
M = 22
N = 23
K = 24
FACTORS = 25  # address of two float64: alpha and beta
EPILOGUE = 26  # the epilogue's kind, none that reads another matrix, and the address of its bias
BIAS = 27
PRODUCT_WORDS = 28


@jit
def _operand(plan, at):
    return Operand(
        plan[at], plan[at + 1], plan[at + 2], plan[at + 3], plan[at + 4], plan[at + 5],
        plan[at + 6],
    )  # fmt: skip


@jit
def operands(plan):
    """A and B."""
    return _operand(plan, A), _operand(plan, B)


@jit(cache=True)
def run_helped(region, words, workers, mailbox):
    """Run a PRODUCT with a standby if there is a ``mailbox`` and one waits; whether it did.

    If not, the plan at ``words`` is one for ``workers`` threads.
    """
    plan = pointer(words, int64)
    plan[w.WORKERS] = 2
    helped = mailbox != 0 and run_with(mailbox, region, words)
    plan[w.WORKERS] = workers
    return helped


@jit(cache=True)
def start_product(
    region, words, scratch, shared, private, workers, mailbox, code, a, a_by_rows, b, b_by_rows, c,
    m, n, k,
):  # fmt: skip
    """Write a PRODUCT's plan for contiguous matrices of one dtype, and run it if no launch is due.

    ``words`` is the address of PRODUCT_WORDS and two factors, behind TEAM_WORDS of team; ``region``
    that of the region's code; ``scratch`` that of the shared bytes and of the private ones of each
    worker, of two at least. ``mailbox`` is a standby's, or 0. Returns whether the standby took
    part; it is left to the caller to run the region if not, and workers > 1.
    """
    team = words - 8 * TEAM_WORDS
    for i in range(TEAM_WORDS):
        pointer(team, int64)[i] = 0
    plan = pointer(words, int64)
    factors = words + 8 * PRODUCT_WORDS
    plan[w.TEAM], plan[w.SHARED], plan[w.PRIVATE] = team, scratch, scratch + shared
    plan[w.PRIVATE_STEP], plan[w.OPERATION], plan[w.WORKERS] = private, w.PRODUCT, workers
    a_row, a_column = (k, 1) if a_by_rows else (1, m)
    b_row, b_column = (n, 1) if b_by_rows else (1, k)
    plan[A], plan[A + 1], plan[A + 2], plan[A + 3] = a, code, a_row, a_column
    plan[B], plan[B + 1], plan[B + 2], plan[B + 3] = b, code, b_row, b_column
    for i in range(4, OPERAND_WORDS):
        plan[A + i] = plan[B + i] = 0
    plan[C], plan[LDC], plan[M], plan[N], plan[K], plan[FACTORS] = c, n, m, n, k, factors
    plan[EPILOGUE], plan[BIAS] = NOTHING, 0
    pointer(factors, float64)[0] = 1.0
    pointer(factors, float64)[1] = 0.0
    helped = run_helped(region, words, workers, mailbox)
    if workers == 1 and not helped:
        call_region(region, words, 0)
    return helped
