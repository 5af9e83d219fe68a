"""No kernel computes with what happens to lie in scratch memory.

What is beyond an edge is never used for what is within. But x86 CPUs take some 150 cycles for an
operation with a subnormal number, and whole numbers and addresses, which scratch memory has held
before, are such as floats: steps of 4-32-16-4 on 10,000 rows took 1.3 ms in one process and 12 in
the next. The CPU notes in its control word that an operand was subnormal: here the memory is full
of them, and the data and parameters have none.
"""

from __future__ import annotations

import ctypes
import platform
import sys
from typing import Any

import numpy as np
import pytest

import fastbp
from fastbp.engine import scratch
from fastbp.engine.plan import NetworkPlan
from tests import oracle
from tests.problems import make_problem
from tests.recipes import Training

pytestmark = pytest.mark.skipif(
    not sys.platform.startswith("linux") or platform.machine() != "x86_64",
    reason="reads the control word of an x86 CPU by glibc",
)

_ENVIRONMENT, _CONTROL = 32, 28  # bytes of glibc's fenv_t, and where it has the control word
_FLAGS, _SUBNORMAL_OPERAND = 0x3F, 0x2
_SUBNORMAL = 0x123  # as float32, and twice as float64
_SCRATCH = 16 << 20


class _Control:
    """The control word of this thread's vector unit."""

    def __init__(self) -> None:
        self._library = ctypes.CDLL("libm.so.6")
        self._environment = (ctypes.c_uint8 * _ENVIRONMENT)()

    def _word(self) -> ctypes.c_uint32:
        return ctypes.c_uint32.from_buffer(self._environment, _CONTROL)

    def clear(self) -> None:
        self._library.fegetenv(self._environment)
        self._word().value &= ~_FLAGS
        self._library.fesetenv(self._environment)

    def has_met_subnormals(self) -> bool:
        self._library.fegetenv(self._environment)
        return bool(self._word().value & _SUBNORMAL_OPERAND)


def _spoil() -> None:
    """Fill this thread's scratch memory."""
    space = scratch.borrow()
    words = (ctypes.c_uint32 * (_SCRATCH // 4)).from_address(space.address(_SCRATCH))
    np.ctypeslib.as_array(words)[:] = _SUBNORMAL
    space.give_back()


@pytest.fixture
def meets(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The methods of a plan's calls, in spoilt memory, and whether they met subnormal numbers."""
    control, found = _Control(), []
    run = NetworkPlan._run

    def watched(self: NetworkPlan, *args: Any, **kwargs: Any) -> None:
        _spoil()
        control.clear()
        run(self, *args, **kwargs)
        found.append((self.method.value, control.has_met_subnormals()))

    monkeypatch.setattr(NetworkPlan, "_run", watched)
    with fastbp.thread_limit(1):  # the calling one
        yield found


def test_the_control_word_tells():
    control = _Control()
    control.clear()
    assert not control.has_met_subnormals()
    assert float(np.float64(1e-310) * np.float64(3.0)) > 0
    assert control.has_met_subnormals()


_SIZES = [
    (4, 32, 16, 4), (50, 100, 1), (20, 128, 3), (40, 2, 30, 3), (7, 5, 3), (784, 100, 10),
    (784, 200, 30, 10), (2000, 3, 2, 1), (2000, 16, 3), (2000, 64, 5), (128, 1),
]  # fmt: skip
_MODELS = {
    "sigmoid": (oracle.SIGMOID, oracle.SGD),
    "tanh, adam": (
        oracle.Model(activation="tanh", loss="squared_error"),
        oracle.Rule(optimizer="adam"),
    ),
}


@pytest.mark.parametrize(
    "kind", [("float64", "float64"), ("float32", "float32"), ("float32", "uint8")]
)
@pytest.mark.parametrize("batch", [1, 4, 9, 16, 50, 110])
@pytest.mark.parametrize("model", _MODELS)
@pytest.mark.parametrize("sizes", _SIZES, ids=str)
def test_training_meets_no_subnormal_numbers(sizes, model, batch, kind, meets):
    dtype, data_dtype = kind
    model, rule = _MODELS[model]
    problem = make_problem(
        sizes, batch + batch // 2, dtype=dtype, data_dtype=data_dtype, model=model
    )
    Training(problem, batch, rule=rule, learning_rate=0.01).run()
    assert meets
    assert not any(met for _, met in meets), meets


@pytest.mark.parametrize("sizes", _SIZES, ids=str)
@pytest.mark.parametrize(
    "kind", [("float64", "float64"), ("float32", "float32"), ("float32", "uint8")]
)
def test_outputs_meet_no_subnormal_numbers(sizes, kind, meets):
    dtype, data_dtype = kind
    for rows in (1, 7, 37):
        problem = make_problem(sizes, rows, dtype=dtype, data_dtype=data_dtype)
        problem.network().predict_proba(problem.X)
    assert meets
    assert not any(met for _, met in meets), meets


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    "shape",
    [
        (1, 300, 7),
        (5, 40, 3),
        (9, 33, 130),
        (13, 700, 13),
        (50, 50, 50),
        (101, 20, 203),
        (67, 3000, 5),
    ],
    ids=str,
)
@pytest.mark.parametrize("layout", ["NN", "NT", "TN", "TT"])
def test_products_meet_no_subnormal_numbers(shape, layout, dtype):
    m, k, n = shape
    rng = np.random.default_rng(0)
    a = rng.normal(size=(m, k) if layout[0] == "N" else (k, m)).astype(dtype)
    b = rng.normal(size=(k, n) if layout[1] == "N" else (n, k)).astype(dtype)
    a, b = (x if letter == "N" else x.T for x, letter in zip((a, b), layout, strict=True))
    out = np.empty((m, n), dtype)
    control = _Control()
    with fastbp.thread_limit(1):
        fastbp.matmul(a, b, out=out)  # compiles
        _spoil()
        control.clear()
        fastbp.matmul(a, b, out=out)
        assert not control.has_met_subnormals()
