"""How one region calls another, and what it is told (fastbp.kernels.compile.calls)."""

import struct
from typing import NamedTuple

import numpy as np
import pytest
from numba import float32, int64
from numba.core.errors import TypingError

from fastbp.kernels.compile.calls import (
    call_region,
    count_words,
    struct_format,
    words_at,
    words_of,
    write_words,
)
from fastbp.kernels.compile.jit import jit, region
from fastbp.kernels.simd.vectors import pointer


class Pair(NamedTuple):
    first: int
    second: int


class Job(NamedTuple):
    target: int
    pair: Pair
    factor: float
    flag: int


class Order(NamedTuple):
    callee: int
    target: int
    times: int


@region
def _callee(context: int, worker: int) -> None:
    job = words_at(context, Job)
    sums = pointer(job.target, int64)
    sums[worker] += int64((job.pair.first * 10 + job.pair.second) * job.factor) + 1000 * job.flag


@region
def _caller(context: int, worker: int) -> None:
    order = words_at(context, Order)
    for i in range(order.times):
        # Of other types than words: a bool, a number known when it is compiled, a float32.
        job = Job(order.target, Pair(i, 7), float32(0.5), i > 2)
        call_region(order.callee, words_of(job), worker)


@region
def _writer(context: int, worker: int) -> None:
    write_words(context, Job(1, Pair(-2, worker), 0.25, False))


def address(array):
    return array.ctypes.data


def test_a_region_calls_another_and_tells_it_numbers_of_any_type():
    sums = np.zeros(3, np.int64)
    words = np.array([_callee.address, address(sums), 5], np.int64)

    _caller.serial(address(words), 1)

    expected = sum(int((i * 10 + 7) * 0.5) + 1000 * (i > 2) for i in range(5))
    assert sums.tolist() == [0, expected, 0]


def test_the_stack_does_not_grow_with_the_number_of_calls():
    sums = np.zeros(2, np.int64)
    times = 3_000_000  # of five words each: more than any stack holds
    words = np.array([_callee.address, address(sums), times], np.int64)
    _caller.serial(address(words), 0)
    assert sums[0] > 0


def test_words_that_compiled_code_writes_are_those_that_python_reads():
    words = np.zeros(count_words(Job), np.int64)
    _writer.serial(address(words), 9)
    assert struct.unpack(f"={struct_format(Job)}", words.tobytes()) == (1, -2, 9, 0.25, 0)


def test_tuples_in_tuples_are_laid_out_one_after_another():
    assert count_words(Job) == 5
    assert struct_format(Job) == "qqqdq"


def test_only_named_tuples_are_told():
    @jit
    def tells(number):
        return words_of((number, number))

    with pytest.raises(TypingError, match="named tuple"):
        tells.compile((int64,))
