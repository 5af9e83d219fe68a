"""How a product is cut, among threads and into tiles, must not show in its bits."""

from __future__ import annotations

import numpy as np
import pytest

import fastbp
from fastbp.engine import layout, memory, products, threads
from tests.test_matmul import random_matrix

WORKERS = (1, 2, 3, 5, 8, 16, 48)  # with 48, more tasks than a ticket has bits
DTYPES = ("float32", "float64")
SHAPES = (
    (1, 1, 1),
    (7, 300, 20),  # fewer tiles of rows than threads
    (300, 7, 20),
    (129, 131, 400),  # both edges ragged, k over one block
    (64, 200, 65),
    (40, 33, 5000),  # cut along k
    (33, 40, 5000),  # the same, as its transpose
    (1, 1500, 700),  # thin
    (40, 3, 5000),
    (2, 9000, 600),
)


def cut_among(workers, monkeypatch):
    """Make products as if there were so many threads; those that there are do all the work."""
    monkeypatch.setattr(threads, "get_num_threads", lambda: workers)
    monkeypatch.setattr(products, "_SERIAL_PRODUCT", 0)


def assert_multiplies_alike(a, b, monkeypatch, set_num_threads):
    """Assert that a product has the same bits with one thread, with two, and cut among many."""
    found = []
    for threads_in_use in (1, 2):
        set_num_threads(threads_in_use)
        found.append(fastbp.matmul(a, b).tobytes())
    for workers in WORKERS:
        cut_among(workers, monkeypatch)
        found.append(fastbp.matmul(a, b).tobytes())
    assert found == found[:1] * len(found)


@pytest.mark.parametrize("transposition", ["NN", "NT", "TN", "TT"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("dtype", DTYPES)
def test_products_have_the_same_bits_however_they_are_cut(dtype, shape, transposition, monkeypatch):
    m, n, k = shape
    a, b = random_matrix(m, k, dtype, seed=1), random_matrix(k, n, dtype, seed=2)
    a = np.asfortranarray(a) if transposition[0] == "T" else a
    b = np.asfortranarray(b) if transposition[1] == "T" else b
    found = []
    for workers in WORKERS:
        cut_among(workers, monkeypatch)
        found.append(fastbp.matmul(a, b).tobytes())
    assert found == found[:1] * len(WORKERS)


@pytest.mark.parametrize("dtype", DTYPES)
def test_updates_have_the_same_bits_however_they_are_cut(dtype, monkeypatch):
    x, delta = random_matrix(50, 301, dtype, seed=1), random_matrix(50, 67, dtype, seed=2)
    found = []
    for workers in WORKERS:
        cut_among(workers, monkeypatch)
        weight, bias = random_matrix(67, 301, dtype, seed=3), np.zeros(67, dtype)
        fastbp.linear_update(weight, bias, x, delta, learning_rate=0.3, weight_decay=0.1)
        found.append(weight.tobytes())
    assert found == found[:1] * len(WORKERS)


def trained(problem, batch_size, workers, monkeypatch, run=threads.run):
    """The bits of a network's parameters, and of its history, after two epochs of training."""
    monkeypatch.setattr(threads, "get_num_threads", lambda: workers)
    monkeypatch.setattr(threads, "run", run)
    for limit in ("_SERIAL_WORK", "_SERIAL_WORK_BY_COLUMNS"):  # however little there is to do
        monkeypatch.setattr(layout, limit, 0)
    network = problem.network()
    history = network.fit(
        problem.X, problem.y, batch_size=batch_size, epochs=2, learning_rate=0.01,
        weight_decay=0.01, seed=0,
    )  # fmt: skip
    parameters = [*network.weights, *network.biases]
    return [parameter.tobytes() for parameter in parameters] + [history.loss, history.accuracy]


def assert_trains_alike(problem, batch_size, monkeypatch):
    """Assert that training has the same bits for any number of threads that it is cut among."""
    found = [trained(problem, batch_size, workers, monkeypatch) for workers in WORKERS]
    assert found == found[:1] * len(WORKERS)


@pytest.mark.parametrize("rows_and_columns", [(1, 301), (67, 1), (5, 49), (66, 300)], ids=str)
@pytest.mark.parametrize("dtype", DTYPES)
def test_an_update_of_a_part_has_the_bits_of_the_whole(dtype, rows_and_columns):
    rows, columns = rows_and_columns  # edges of tiles fall elsewhere than in the whole
    x, delta = random_matrix(50, 301, dtype, seed=1), random_matrix(50, 67, dtype, seed=2)
    weight = random_matrix(67, 301, dtype, seed=3)
    part = weight[:rows, :columns].copy()
    settings = {"learning_rate": 0.3, "weight_decay": 0.1}
    fastbp.linear_update(weight, np.zeros(67, dtype), x, delta, **settings)
    fastbp.linear_update(part, np.zeros(rows, dtype), x[:, :columns], delta[:, :rows], **settings)
    np.testing.assert_array_equal(part, weight[:rows, :columns])


@pytest.mark.parametrize("dtype", DTYPES)
def test_large_results_begin_at_a_cache_line(dtype):
    product = fastbp.matmul(np.ones((300, 3), dtype), np.ones((3, 200), dtype))
    assert product.ctypes.data % 64 == 0
    assert product.flags.c_contiguous
    assert product.flags.writeable


@pytest.mark.parametrize("shape", [(0,), (3, 0, 2), (5,), (70, 80), (200, 300)], ids=str)
@pytest.mark.parametrize("make", [memory.empty, memory.empty_result])
def test_empty_arrays_have_the_shape_and_the_dtype_asked_for(make, shape):
    array = make(shape, np.dtype("float64"))
    assert (array.shape, array.dtype) == (shape, np.dtype("float64"))
    array[...] = 1.5  # all of it can be written
