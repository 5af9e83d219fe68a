"""Regions are translated to what Python means (fastbp.kernels.compile.translate)."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import pytest
from numba import float32, float64, int64

from fastbp.kernels.compile import machine, operands
from fastbp.kernels.compile.jit import jit, region
from fastbp.kernels.simd.vectors import lanes_of, load, pointer, splat, store

SEVEN = 7
EVEN = (0, 2, 4, 6)


class Pair(NamedTuple):
    first: int
    second: float


def words(*numbers: int) -> np.ndarray:
    return np.array(numbers, np.int64)


def run(kernel, array: np.ndarray, worker: int = 0) -> np.ndarray:
    kernel.serial(array.ctypes.data, worker)
    return array


@jit
def _divided(a, b):
    return a // b, a % b


@region
def _divide(context: int, worker: int) -> None:
    it = pointer(context, int64)
    it[2], it[3] = _divided(it[0], it[1])


@pytest.mark.parametrize("a", [-9, -8, -1, 0, 1, 7, 8])
@pytest.mark.parametrize("b", [-4, -3, 3, 4])
def test_integers_are_divided_as_in_python(a, b):
    assert run(_divide, words(a, b, 0, 0))[2:].tolist() == [a // b, a % b]


def test_a_division_by_zero_is_zero():
    assert run(_divide, words(5, 0, 1, 1))[2:].tolist() == [0, 0]


@region
def _integers(context: int, worker: int) -> None:
    it = pointer(context, int64)
    a, b = it[0], it[1]
    it[2] = (a & b) + (a | b) * 2 + (a ^ b) * 3
    it[3] = (a << 3) - (b >> 1) + -a
    it[4] = min(a, b, 3) * 10 + max(a, SEVEN)
    it[5] = int64(a < b) + 2 * int64(a <= b) + 4 * int64(a == b) + 8 * int64(a != b)
    it[6] = 1 if a in EVEN and not (b > 5 or b == 3) else 0


@pytest.mark.parametrize("b", [-6, 3, 4, 5, 9])
@pytest.mark.parametrize("a", [-5, 3, 4, 6])
def test_integers(a, b):
    expected = [
        (a & b) + (a | b) * 2 + (a ^ b) * 3,
        (a << 3) - (b >> 1) + -a,
        min(a, b, 3) * 10 + max(a, SEVEN),
        (a < b) + 2 * (a <= b) + 4 * (a == b) + 8 * (a != b),
        int(a in EVEN and not (b > 5 or b == 3)),
    ]
    assert run(_integers, words(a, b, 0, 0, 0, 0, 0))[2:].tolist() == expected


@jit
def _first_multiple(of, start, stop):
    for i in range(start, stop, 2):
        if i % of == 0:
            return i
    return -1


@region
def _loops(context: int, worker: int) -> None:
    it = pointer(context, int64)
    n = it[0]
    total, i = 0, 0
    while True:
        i += 1
        if i > n:
            break
        if i % 3 == 0:
            continue
        total += i
    it[1] = total
    for j in range(n):
        j += 1  # the loop's own count goes on
        it[2] += j
    for _ in range(n, 0):  # none
        it[2] += 1000
    it[3] = _first_multiple(worker, 1, n)


@pytest.mark.parametrize("n", [0, 1, 2, 7, 12])
def test_loops(n):
    found = run(_loops, words(n, 0, 0, 0), worker=5)
    numbers = [i for i in range(1, n + 1) if i % 3 != 0]
    first = next((i for i in range(1, n, 2) if i % 5 == 0), -1)
    assert found[1:].tolist() == [sum(numbers), sum(range(n + 1)), first]


@region
def _floats(context: int, worker: int) -> None:
    it = pointer(context, float64)
    a, b = it[0], it[1]
    it[2] = -a / b + 2 * a - 1
    it[3] = math.sqrt(a * a) + worker / 4
    it[4] = float64(float32(a)) + (1 if a != a else 0)
    it[5] = (1 if a < b else 0) + (2 if a == b else 0) + (4 if a >= b else 0)


@pytest.mark.parametrize("b", [0.1, -2.5, math.nan, math.inf])
@pytest.mark.parametrize("a", [0.1, -3.0, math.nan])
def test_floats(a, b):
    expected = [
        -a / b + 2 * a - 1,
        math.sqrt(a * a) + 0.75,
        float(np.float32(a)) + (a != a),
        (a < b) + 2 * (a == b) + 4 * (a >= b),
    ]
    found = run(_floats, np.array([a, b, 0, 0, 0, 0]), worker=3)
    np.testing.assert_array_equal(found[2:], expected)


@jit
def _swapped(pair):
    return Pair(int64(pair.second), float64(pair.first))


@region
def _tuples(context: int, worker: int) -> None:
    it = pointer(context, int64)
    pair = Pair(it[0], 2.0)
    for _ in range(it[1]):
        pair = _swapped(pair)
    number, factor = pair
    it[2] = number
    it[3] = int64(factor) + (number, SEVEN)[1]


def test_named_tuples_are_passed_returned_and_changed():
    assert run(_tuples, words(5, 0, 0, 0))[2:].tolist() == [5, 2 + SEVEN]
    assert run(_tuples, words(5, 3, 0, 0))[2:].tolist() == [2, 5 + SEVEN]


def _scaling(factor, wants_more):
    """A helper that knows two things when it is compiled."""

    @jit
    def scaled(x, dtype):
        if wants_more:
            x = x + splat(factor, dtype)
        return x * splat(factor, dtype)

    return scaled


_twice, _more = _scaling(2, False), _scaling(3, True)


@region
def _vectors(context: int, worker: int) -> None:
    it = pointer(context, float32)
    for j in range(0, 2 * lanes_of(float32), lanes_of(float32)):
        x = load(it, j, float32)
        store(it, j, _more(_twice(x, float32), float32))


def test_vectors_and_what_closures_know():
    x = np.arange(128, dtype=np.float32)
    found = run(_vectors, x.copy())
    count = 2 * machine.VECTOR_BITS // 32
    np.testing.assert_array_equal(found[count:], x[count:])
    np.testing.assert_array_equal(found[:count], (2 * x[:count] + 3) * 3)


@region
def _unknown(context: int, worker: int) -> None:
    it = pointer(context, int64)
    it[0] = sum(i for i in range(3))


def test_what_is_not_translated_is_told_by_its_line():
    with pytest.raises(NotImplementedError, match=r"test_translate\.py:\d+: GeneratorExp"):
        _unknown.prepare()


@region
def _changing(context: int, worker: int) -> None:
    it = pointer(context, int64)
    total = 0
    for i in range(3):
        total = i * 0.5
    it[0] = int64(total)


def test_a_variable_may_not_lose_its_fraction():
    with pytest.raises(TypeError, match="total is int64 first, and then float64"):
        _changing.prepare()


def _kernel_from(text: str, name: str):
    """A region whose source is ``text``, or is not there."""
    space = {"region": region, "pointer": pointer, "int64": int64, "jit": jit, "__name__": __name__}
    exec(compile(text, name, "exec"), space)
    return space["kernel"]


_TEXT = """
@jit
def plus(a, b):
    return a + b

@region
def kernel(context, worker):
    it = pointer(context, int64)
    it[0] = plus(it[0], 1)
"""


def test_without_a_source_numba_compiles():
    kernel = _kernel_from(_TEXT, "<no file>")
    assert run(kernel, words(41)).tolist() == [42]


def test_a_source_that_has_changed_is_not_taken(tmp_path):
    path = tmp_path / "kernels.py"
    path.write_text(_TEXT.replace("a + b", "a - b"))
    kernel = _kernel_from(_TEXT, str(path))
    assert run(kernel, words(41)).tolist() == [42]
    with pytest.raises(OSError, match="not what plus was compiled from"):
        operands.source_of(kernel._function.__globals__["plus"].py_func)
