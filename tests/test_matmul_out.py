"""``fastbp.matmul`` with ``out=``, and bad input: refused before anything is written."""

from __future__ import annotations

import re

import numpy as np
import pytest

import fastbp
from fastbp.kernels.compile import machine
from tests.layouts import LAYOUTS
from tests.test_matmul import DTYPES, assert_product, random_matrix

M, N, K = 37, 29, 43


def factors(dtype: str) -> tuple[np.ndarray, np.ndarray]:
    return random_matrix(M, K, dtype, seed=1), random_matrix(K, N, dtype, seed=2)


# ------------------------------------------------------------------ where the result goes


@pytest.mark.parametrize("layout", [name for name in LAYOUTS if name != "read-only"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_out_may_have_any_layout(layout, dtype):
    a, b = factors(dtype)
    out = LAYOUTS[layout](np.full((M, N), np.nan, dtype))
    assert fastbp.matmul(a, b, out=out) is out
    np.testing.assert_array_equal(out, fastbp.matmul(a, b))


@pytest.mark.machine
@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_nothing_beside_out_is_written(dtype, order):
    shape = machine.tiles(np.dtype(dtype).itemsize)
    for m in (1, shape.mr - 1, shape.mr + 1):
        for n in (1, shape.lanes - 1, shape.lanes + 1, shape.nr + 1):
            buffer = np.full((m + 4, n + 4), 7, dtype, order=order)
            a, b = random_matrix(m, 5, dtype), random_matrix(5, n, dtype)
            fastbp.matmul(a, b, out=buffer[2:-2, 2:-2])
            assert_product(buffer[2:-2, 2:-2], a, b)
            buffer[2:-2, 2:-2] = 7
            assert (buffer == 7).all()


@pytest.mark.parametrize("size", [(M, N, K), (M, N, 0), (N, M, 1)], ids=str)
@pytest.mark.parametrize("dtype", DTYPES)
def test_nan_in_out_does_not_leak(dtype, size):
    m, n, k = size
    a, b = random_matrix(m, k, dtype), random_matrix(k, n, dtype)
    out = np.full((m, n), np.nan, dtype)
    fastbp.matmul(a, b, out=out)
    assert_product(out, a, b)


@pytest.mark.parametrize(
    ("left", "right", "target"),
    [
        ("f4", "f4", "f8"),
        ("f8", "f8", "f4"),
        ("f8", "f4", "f2"),
        ("f2", "f2", "f4"),
        ("u1", "f4", "f2"),
        ("f4", "f4", "c8"),
        ("i4", "i4", "f8"),
        ("u1", "u1", "i8"),
        ("f8", "f8", ">f8"),
    ],
)
def test_out_of_another_dtype_of_the_same_kind(left, right, target):
    a, b = np.arange(12).reshape(3, 4).astype(left), np.arange(8).reshape(4, 2).astype(right)
    out = np.empty((3, 2), target)
    assert fastbp.matmul(a, b, out=out) is out
    np.testing.assert_array_equal(out, np.matmul(a, b, out=np.empty((3, 2), target)))


@pytest.mark.parametrize("dtype", DTYPES)
def test_out_of_vectors_and_stacks(dtype):
    a = np.random.default_rng(0).normal(size=(3, 4, 5)).astype(dtype)
    b = np.random.default_rng(1).normal(size=(3, 5, 2)).astype(dtype)
    for left, right in [(a, b), (a, b[0]), (a[0], b), (a[0, 0], b), (a, b[0, :, 0])]:
        expected = fastbp.matmul(left, right)
        buffer = np.full((2, *expected.shape), np.nan, dtype)
        assert fastbp.matmul(left, right, out=buffer[1]).base is buffer
        np.testing.assert_array_equal(buffer[1], expected)
        assert np.isnan(buffer[0]).all()
    scalar = np.empty((), dtype)
    assert fastbp.matmul(a[0, 0], b[0, :, 0], out=scalar) is scalar
    assert scalar == fastbp.matmul(a[0, 0], b[0, :, 0])


# ------------------------------------------------------------------ out overlaps what is read


@pytest.mark.parametrize("dtype", DTYPES)
def test_out_may_be_an_input(dtype):
    a, b = random_matrix(N, N, dtype, seed=1), random_matrix(N, N, dtype, seed=2)
    expected = fastbp.matmul(a, b)
    left, right, both = a.copy(), b.copy(), a.copy()
    np.testing.assert_array_equal(fastbp.matmul(left, b, out=left), expected)
    np.testing.assert_array_equal(fastbp.matmul(a, right, out=right), expected)
    squared = fastbp.matmul(a, a)
    np.testing.assert_array_equal(fastbp.matmul(both, both, out=both), squared)
    transposed = a.copy()
    np.testing.assert_array_equal(fastbp.matmul(transposed, b, out=transposed.T), expected)


@pytest.mark.parametrize("many", [N, 20 * N])  # so many that the input is read strip by strip
@pytest.mark.parametrize("shift", [-5 * N, -N, -3, 3, N, 5 * N])
@pytest.mark.parametrize("dtype", DTYPES)
def test_out_may_overlap_an_input_in_part(dtype, shift, many):
    start, size = 5 * N, many * N
    values = random_matrix(1, size + 10 * N, dtype)[0]
    b = random_matrix(N, N, dtype)

    def windows(*shape):
        buffer = values.copy()
        source = buffer[start : start + size].reshape(shape)
        return source, buffer[start + shift : start + shift + size].reshape(shape)

    source, out = windows(many, N)
    expected = fastbp.matmul(source, b)
    np.testing.assert_array_equal(fastbp.matmul(source, b, out=out), expected)
    source, out = windows(N, many)
    expected = fastbp.matmul(b, source)
    np.testing.assert_array_equal(fastbp.matmul(b, source, out=out), expected)


def test_a_product_of_a_stack_may_not_spoil_the_next():
    a = np.random.default_rng(0).normal(size=(4, 6, 6))
    b = np.random.default_rng(1).normal(size=(6, 6))
    expected = fastbp.matmul(a, b)
    overlapping = a.copy()
    np.testing.assert_array_equal(fastbp.matmul(overlapping, b, out=overlapping[::-1]), expected)
    expected = fastbp.matmul(a, a[0])
    reused = a.copy()
    np.testing.assert_array_equal(fastbp.matmul(reused, reused[0], out=reused), expected)


# ------------------------------------------------------------------ refused, with nothing written


@pytest.mark.parametrize(
    ("shape", "dtype", "error"),
    [
        ((M, N + 1), "f4", ValueError),
        ((N, M), "f4", ValueError),
        ((M, 1, N), "f4", ValueError),
        ((M * N,), "f4", ValueError),
        ((M, N), "i8", TypeError),
        ((M, N), "?", TypeError),
    ],
)
def test_out_that_cannot_take_the_result(shape, dtype, error):
    a, b = factors("float32")
    out = np.ones(shape, dtype)
    with pytest.raises(error, match="out"):
        fastbp.matmul(a, b, out=out)
    assert (out == 1).all()


def test_the_message_has_both_shapes():
    a, b = factors("float32")
    with pytest.raises(ValueError, match=re.escape(f"{(M, N)}, got {(N, M)}")):
        fastbp.matmul(a, b, out=np.empty((N, M), np.float32))
    with pytest.raises(ValueError, match=re.escape(f"{(M, K)} and {(N, K)}")):
        fastbp.matmul(a, b.T)


@pytest.mark.parametrize("dtype", ["f4", "i4"])
def test_read_only_out(dtype):
    a, b = np.ones((2, 3), dtype), np.ones((3, 2), dtype)
    out = np.zeros((2, 2), dtype)
    out.flags.writeable = False
    with pytest.raises(ValueError, match="read-only"):
        fastbp.matmul(a, b, out=out)
    assert not out.any()


@pytest.mark.parametrize("out", [[[0.0, 0.0], [0.0, 0.0]], 3.0, "out"])
def test_out_must_be_an_array(out):
    with pytest.raises(TypeError):
        fastbp.matmul(np.ones((2, 3)), np.ones((3, 2)), out=out)


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ((3, 4), (3, 4)),
        ((3,), (4,)),
        ((3,), (4, 3)),
        ((3, 4), (3,)),
        ((2, 3, 4), (3, 4, 5)),
        ((3, 1), (0, 4)),
        ((2, 3, 4, 5), (4, 1, 5, 2)),
    ],
    ids=str,
)
def test_shapes_that_do_not_fit(left, right):
    with pytest.raises(ValueError, match=r"columns|broadcast"):
        fastbp.matmul(np.ones(left), np.ones(right))
    # As NumPy does, so that the list above is right.
    with pytest.raises(ValueError, match=r"mismatch|broadcast"):
        np.matmul(np.ones(left), np.ones(right))


@pytest.mark.parametrize(("left", "right"), [(2.0, [[1.0]]), ([[1.0]], 2.0), (1, 2)])
def test_scalars_are_refused(left, right):
    with pytest.raises(ValueError, match=r"at least one dimension|not have enough dimensions"):
        fastbp.matmul(left, right)


@pytest.mark.parametrize("dtype", ["U1", "S1", "M8[s]", "m8[s]", "V4"])
def test_dtypes_that_are_refused(dtype):
    bad, good = np.zeros((2, 2), dtype), np.ones((2, 2))
    for pair in [(bad, good), (good, bad)]:
        with pytest.raises(TypeError, match="ufunc 'matmul'"):
            fastbp.matmul(*pair)


@pytest.mark.parametrize("shape", [(1, M, N), (3, M, N)])
def test_the_result_is_repeated_in_an_out_of_more_dimensions(shape):
    a, b = factors("float32")
    out = np.empty(shape, np.float32)
    assert fastbp.matmul(a, b, out=out) is out
    np.testing.assert_array_equal(out, np.broadcast_to(fastbp.matmul(a, b), shape))
