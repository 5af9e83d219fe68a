"""``fastbp.softmax`` against the oracle, and SciPy's where rows are not finite.

With u = eps / 2: x minus the largest is rounded by u abs(x - largest), which exp turns into a
relative error; exp adds 2 u, the sum of n positive terms n u at most, the inverse and the product
u each. What the sum's error does to the result is the same again for each of its terms.
"""

from __future__ import annotations

import fractions
import threading

import numpy as np
import pytest

import fastbp
from fastbp.kernels.compile import machine
from fastbp.kernels.functions.softmax import BLOCK
from tests import oracle
from tests.layouts import LAYOUTS
from tests.test_elementwise import around, normals
from tests.tolerance import assert_within

DTYPES = ["float32", "float64"]

each_dtype = pytest.mark.parametrize("dtype", DTYPES)


def assert_softmax(actual, x, axis=-1):
    wide = np.moveaxis(np.asarray(x, np.float64), axis, -1)
    actual = np.moveaxis(actual, axis, -1)
    expected = oracle.softmax(wide)
    distance = wide.max(axis=-1, keepdims=True) - wide
    # The oracle rounds float64 as often: twice, not to depend on how NumPy adds up.
    terms = wide.shape[-1] + 10
    u = float(np.finfo(actual.dtype).eps) / 2
    mean = (expected * distance).sum(axis=-1, keepdims=True)
    bound = 2 * u * (terms + distance + mean) * expected
    assert_within(actual, expected, bound + np.finfo(actual.dtype).smallest_subnormal, "softmax")


@pytest.mark.machine
@each_dtype
def test_every_edge_of_vectors_and_blocks(dtype):
    lanes = machine.tiles(np.dtype(dtype).itemsize).lanes
    for columns in [*range(1, 12), *around(lanes, 2 * lanes, 5 * lanes)]:
        for rows in (1, 2, 3, *around(BLOCK // columns)):
            x = normals(rows * columns, dtype).reshape(rows, columns)
            buffer = np.full(x.size + 2, 7, dtype)
            out = buffer[1:-1].reshape(x.shape)
            assert fastbp.softmax(x, out=out) is out
            assert_softmax(out, x)
            assert buffer[0] == buffer[-1] == 7
    for columns in around(BLOCK, 2 * BLOCK):
        x = normals(3 * columns, dtype).reshape(3, columns)
        assert_softmax(fastbp.softmax(x), x)


@each_dtype
@pytest.mark.parametrize("axis", [0, 1, 2, 3, -1, -2, -4])
def test_any_axis(dtype, axis):
    x = normals(3 * 4 * 5 * 6, dtype).reshape(3, 4, 5, 6)
    before = x.copy()
    result = fastbp.softmax(x, axis)
    assert result.shape == x.shape
    assert_softmax(result, x, axis)
    np.testing.assert_array_equal(x, before)
    in_place = x.copy()
    assert fastbp.softmax(in_place, axis=axis, out=in_place) is in_place
    np.testing.assert_array_equal(in_place, result)
    tuple_of_one = np.empty_like(x)
    fastbp.softmax(x, axis, (tuple_of_one,))
    np.testing.assert_array_equal(tuple_of_one, result)


def test_axes_that_there_are_not():
    for x, axis in [(np.ones((2, 3)), 2), (np.ones((2, 3)), -3), (np.float64(1), -1)]:
        with pytest.raises(np.exceptions.AxisError):
            fastbp.softmax(x, axis)
    with pytest.raises(TypeError):
        fastbp.softmax(np.ones(3), 1.5)


@each_dtype
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("axis", [0, 1])
def test_layout_does_not_matter(dtype, layout, axis):
    x = normals(35 * 21, dtype).reshape(35, 21)
    expected = fastbp.softmax(x, axis)
    np.testing.assert_array_equal(fastbp.softmax(LAYOUTS[layout](x), axis), expected)
    if layout != "read-only":
        out = LAYOUTS[layout](np.full(x.shape, np.nan, dtype))
        assert fastbp.softmax(x, axis, out=out) is out
        np.testing.assert_array_equal(out, expected)


@each_dtype
@pytest.mark.parametrize("shift", [1, 7, 21])
def test_shifted_views_of_one_array(dtype, shift):
    values = normals(35 * 21 + shift, dtype)
    expected = fastbp.softmax(values[:-shift].reshape(35, 21))
    buffer = values.copy()
    fastbp.softmax(buffer[:-shift].reshape(35, 21), out=buffer[shift:].reshape(35, 21))
    np.testing.assert_array_equal(buffer[shift:].reshape(35, 21), expected)


@pytest.mark.parametrize("dtype", ["?", "u1", "i1", "i2", "i4", "i8", "f2", ">f4", ">f8"])
def test_the_dtype_is_that_of_numpy_exp(dtype):
    x = np.array([[0, 1, 1, 0], [1, 1, 1, 0]], dtype)
    result = fastbp.softmax(x)
    assert result.dtype == np.exp(x).dtype
    assert_softmax(result, x)
    single = fastbp.softmax(x, dtype=np.float32)
    assert single.dtype == np.float32
    assert_softmax(single, x)


@each_dtype
@pytest.mark.parametrize("shape", [(0,), (3, 0), (0, 3), (2, 0, 2)])
def test_empty(dtype, shape):
    x = np.empty(shape, dtype)
    result = fastbp.softmax(x)
    assert (result.shape, result.dtype) == (shape, x.dtype)


@each_dtype
def test_finite_for_every_finite_input(dtype):
    info = np.finfo(dtype)
    for row in ([info.max, -info.max, 0], [info.max, info.max, 1], [-info.max, -info.max, -1e30]):
        x = np.array([row * 7], dtype)
        with np.errstate(all="raise"):
            result = fastbp.softmax(x)
        most = x == x.max()
        np.testing.assert_array_equal(result, np.where(most, np.array(1 / most.sum(), dtype), 0))


@each_dtype
@pytest.mark.parametrize("columns", [3, 16, 40])
def test_rows_that_are_not_finite_are_as_scipy_has_them(dtype, columns):
    special = pytest.importorskip("scipy.special")
    rows = []
    for values in [(np.nan,), (np.inf,), (-np.inf,), (np.inf, -np.inf), (np.inf, np.inf, np.nan)]:
        for place in (0, (columns - len(values)) // 2, columns - len(values)):
            row = normals(columns, dtype)
            row[place : place + len(values)] = values
            rows.append(row)
    rows += [np.full(columns, value, dtype) for value in (np.inf, -np.inf, np.nan)]
    rows.append(np.where(np.arange(columns) == 1, np.array(3, dtype), np.array(-np.inf, dtype)))
    x = np.array(rows, dtype)
    with np.errstate(all="ignore"):
        expected = special.softmax(x, axis=-1)
    result = fastbp.softmax(x)
    np.testing.assert_array_equal(np.isnan(result), np.isnan(expected))
    np.testing.assert_array_equal(result == 0, expected == 0)
    rest = np.isfinite(expected)
    np.testing.assert_allclose(result[rest], expected[rest], rtol=100 * np.finfo(dtype).eps)


@each_dtype
@pytest.mark.parametrize("shape", [(40_000, 10), (7, 50_000)])
def test_the_same_bits_with_any_number_of_threads(dtype, shape, set_num_threads):
    x = normals(shape[0] * shape[1], dtype).reshape(shape)
    results = []
    for threads in (1, 2):
        set_num_threads(threads)
        results.append(fastbp.softmax(x))
    np.testing.assert_array_equal(*results)


def test_a_row_does_not_depend_on_its_neighbours():
    x = normals(1000 * 13, "float32").reshape(1000, 13)
    whole = fastbp.softmax(x)
    np.testing.assert_array_equal(fastbp.softmax(x[17]), whole[17])


def test_several_python_threads_at_once():
    x = normals(300 * 300, "float32").reshape(300, 300)
    expected, found = fastbp.softmax(x), []
    workers = [threading.Thread(target=lambda: found.append(fastbp.softmax(x))) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert len(found) == 4
    assert all(np.array_equal(result, expected) for result in found)


def test_what_has_no_kernel():
    x = normals(30, "float64").reshape(5, 6)
    result = fastbp.softmax(x.astype(np.longdouble), 0)
    assert result.dtype == np.longdouble
    assert_softmax(result.astype(np.float64), x, 0)
    with pytest.raises(TypeError, match="complex"):
        fastbp.softmax(x.astype(complex))
    with pytest.raises(TypeError, match="softmax"):
        fastbp.softmax(np.array(["a"]))
    with pytest.raises(TypeError):  # as of numpy.exp: fractions have no method of that name
        fastbp.softmax(np.array([fractions.Fraction(1, 2)]))


class Subclass(np.ndarray):
    pass


def test_subclasses():
    x = np.ones((2, 2))
    assert type(fastbp.softmax(x.view(Subclass))) is Subclass
    assert type(fastbp.softmax(x.view(Subclass), subok=False)) is np.ndarray
    with pytest.raises(ValueError, match="masked values"):
        fastbp.softmax(np.ma.masked_equal(x, 1))


@pytest.mark.parametrize(
    ("out", "error"),
    [
        (np.ones(4, "f4"), ValueError),
        (np.ones((1, 3), "f4"), ValueError),
        (np.ones(3, "i4"), TypeError),
        (np.broadcast_to(np.ones(1, "f4"), 3), ValueError),
        ([1.0, 1.0, 1.0], TypeError),
        ((np.ones(3, "f4"), np.ones(3, "f4")), ValueError),
    ],
)
def test_out_that_cannot_take_the_result(out, error):
    with pytest.raises(error, match="out"):
        fastbp.softmax(np.full(3, 5, np.float32), out=out)
    assert (np.asarray(out) == 1).all()


def test_out_of_another_dtype():
    x = normals(12, "float32").reshape(3, 4)
    for target in ("f8", "f2", "c8"):
        out = np.empty(x.shape, target)
        fastbp.softmax(x, out=out)
        np.testing.assert_array_equal(out, fastbp.softmax(x).astype(target))
    out = np.zeros(x.shape, int)
    fastbp.softmax(x, out=out, casting="unsafe")
    np.testing.assert_array_equal(out, fastbp.softmax(x).astype(int))
