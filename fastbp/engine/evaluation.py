"""The outputs of a network for some rows, by a plan that is kept if it pays."""

from __future__ import annotations

from typing import Any

import numpy.typing as npt

from fastbp.engine.plan import NetworkPlan
from fastbp.parameters import Parameters

__all__ = ["evaluate"]

Array = npt.NDArray[Any]

_FEW_ROWS = 256  # whose evaluation takes so little time that making the plan counts


def evaluate(parameters: Parameters, X: Array, *, sigmoid_out: bool) -> Array:
    """`NetworkPlan.forward` for rows as `as_input` gives them, n >= 1.

    The plan for a few rows is kept: making one takes longer than carrying it out. It is of use to
    the thread that made it, for as many rows, while the network's arrays lie where they were. It is
    taken away while in use, so that a call that comes between (from a signal handler, or another
    thread) makes one of its own.
    """
    plan: NetworkPlan | None = parameters.__dict__.pop("_plan", None)
    keep = True
    if plan is None or not plan.take(parameters, X):
        plan = NetworkPlan(parameters, X)
        keep = len(X) <= _FEW_ROWS and plan.reads_in_place(parameters)
    result = plan.forward(sigmoid_out=sigmoid_out)
    if keep:
        parameters.__dict__["_plan"] = plan  # without the checks of `__setattr__`
    return result
