"""The rules by which kernels are chosen and cut, asked from Python.

Tests take their shapes from here instead of copying numbers, and assert that a shape takes the
kernel that they are about. Wherever a rule moves, this is the one file that has to follow.
"""

from __future__ import annotations

import types
from typing import Any

import numpy as np
import numpy.typing as npt

from fastbp.engine.plan import NetworkPlan
from fastbp.engine.products import _thin_region
from fastbp.kernels import plan as w
from fastbp.kernels.compile import machine
from fastbp.kernels.linalg import interleave, packing, split_k, thin
from fastbp.kernels.linalg.operand import DTYPE_CODES, Operand
from fastbp.kernels.narrow import exchange, sizes
from fastbp.kernels.narrow.shards import shard_count
from fastbp.kernels.small import sizes as small


def tiles(dtype: Any) -> machine.Tiles:
    return machine.tiles(np.dtype(dtype).itemsize)


def _in_python(function: Any) -> Any:
    """A rule of compiled code as a plain function: ``dtype`` is a NumPy dtype then."""
    if not hasattr(function, "py_func"):
        return function
    code = function.py_func.__code__
    known = dict(function.py_func.__globals__)
    for name in code.co_names:
        if hasattr(known.get(name), "py_func"):
            known[name] = _in_python(known[name])
    known["tile_constant"] = lambda dtype, name: getattr(tiles(dtype), name)
    known["lanes_of"] = lambda dtype: tiles(dtype).lanes
    known["code_of"] = lambda dtype: DTYPE_CODES[np.dtype(dtype).name]
    known["address_of"] = known["int64"] = int
    return types.FunctionType(code, known)


# ------------------------------------------------------------------ products


def split_count(m: int, n: int, k: int, dtype: Any) -> int:
    """How many splits the product of (m, k) by (k, n), m >= n, is cut into; 0 if it is not."""
    return int(_in_python(split_k.split_count)(m, n, k, dtype))


def split_block(n: int, dtype: Any) -> int:
    """How deep the blocks are that splits are made of."""
    return int(_in_python(split_k._block_depth)(n, dtype))


def panel_width(n: int, dtype: Any) -> int:
    """Columns of B in a panel."""
    return int(_in_python(packing.panel_columns)(n, dtype))


def is_packed_by_moves(
    operand: npt.NDArray[Any], rows: int, columns: int, dtype: Any, *, is_a: bool
) -> bool:
    """Whether moves pack the blocks (rows, columns) of an operand without preprocessing."""
    row, column = (stride // operand.itemsize for stride in operand.strides)
    described = Operand(1, DTYPE_CODES[operand.dtype.name], row, column, 0, 0, 0, 0)
    pitch = _in_python(packing.pitch_of)(described, columns, dtype) if is_a else 0
    block = packing.Block(0, rows, 0, columns)
    following = interleave.NextBlock(is_a, pitch, described, False, block, 1)
    return bool(_in_python(interleave.is_direct)(following, dtype))


def is_thin(m: int, n: int, k: int, dtype: Any, a_by_rows: bool, b_by_rows: bool) -> bool:
    """Whether ``fastbp.matmul`` takes the product of contiguous matrices for a thin one."""
    a_steps = (k, 1) if a_by_rows else (1, m)
    b_steps = (n, 1) if b_by_rows else (1, k)
    found, _ = _thin_region(np.dtype(dtype), m, n, k, *a_steps, *b_steps)
    return found is thin.regions[np.dtype(dtype).name]


def thin_depth(rows: int, k: int, dtype: Any, by_rows: bool) -> int:
    """Elements of k that a thin product adds up in one go, its large matrix having so many rows."""
    piece = _in_python(thin._piece_rows)(by_rows, dtype)
    return int(_in_python(thin._split_depth)(rows, k, piece, dtype))


# ------------------------------------------------------------------ steps


def plan_of(problem: Any, batch_size: int) -> NetworkPlan:
    targets = problem.y.astype(problem.dtype).reshape(len(problem.X), -1)
    return NetworkPlan(problem.network(), problem.X, targets, batch_size=batch_size)


def method_of(problem: Any, batch_size: int) -> str:
    """By which method ``fit`` makes steps of so many rows."""
    return plan_of(problem, batch_size).method.value


def group_of(problem: Any, batch_size: int) -> int:
    """How many steps share a pass over W1."""
    return int(plan_of(problem, batch_size).words[w.GROUP])


def chunk_width(n0: int) -> int:
    """Columns of a chunk where steps are cut by columns."""
    return int(_in_python(exchange.chunk_width)(n0))


def rows_of_shard(rows: int, problem: Any) -> int:
    """Rows of a shard of a batch of so many."""
    lanes = tiles(problem.dtype).lanes
    row_bytes = problem.X.shape[1] * problem.X.itemsize
    tile = sizes.tile_rows(row_bytes, lanes, rows, 1)
    each = -(-rows // shard_count(rows, machine.CORES))
    return -(-each // tile) * tile


def rows_of_small_shard(rows: int, problem: Any) -> int:
    """The same for a network of which all layers stay in the cache."""
    step = tiles(problem.dtype).row_step
    each = -(-rows // small.shard_count(rows, machine.CORES))
    return -(-each // step) * step
