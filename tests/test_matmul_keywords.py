"""Keywords, subclasses and dtypes without a kernel: ``fastbp.matmul`` beside `numpy.matmul`."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

import fastbp
from tests.keywords import COMMON
from tests.test_elementwise_keywords import Plain, outcome
from tests.test_matmul import DTYPES, assert_product, random_matrix

A, B = random_matrix(5, 7, "float32", seed=1), random_matrix(7, 4, "float32", seed=2)
STACK = np.stack([B, B + 1, B - 1])

OPERANDS = {
    "C": (A, B),
    "fortran": (np.asfortranarray(A), np.asfortranarray(B)),
    "mixed": (np.asfortranarray(A), B),
    "stacks": (A, STACK),
    "vectors": (A[0], B[:, 0]),
    "row": (A[0], B),
    "column": (A, B[:, 0]),
    "float64": (A.astype(np.float64), B.astype(np.float64)),
    "both": (A.astype(np.float64), B),
    "float16": (A.astype(np.float16), B.astype(np.float16)),
    "bytes": ((A * 9).astype(np.uint8), B),
    "integers": ((A * 9).astype(np.int64), (B * 9).astype(np.int8)),
    "bools": (A > 0, B > 0),
    "complex": (A, B + 1j),
    "long double": (A.astype(np.longdouble), B),
    "objects": (A.astype(object), B.astype(object)),
    "strings": (A.astype(str), B),
    "times": (A.astype("m8[s]"), B),
    "dates": (A.astype("M8[s]"), B),
    "lists": (A.tolist(), B.tolist()),
    "subclass": (A.view(Plain), B),
    "scalar": (np.float32(2), B),
    "shapes": (A, A),
    "no depth": (A[:, :0], B[:0]),
}
KEYWORDS = {
    **COMMON,
    "object": {"dtype": object},
    "two entries": {"out": (A, A)},
    "axes": {"axes": [(0, 1), (-2, -1), (1, 0)]},
    "axes of stacks": {"axes": [(0, 1), (-2, -1), (0, 2)]},
    "vectors' axes": {"axes": [0, 0]},
    "column's axes": {"axes": [(0, 1), 0, 0]},
    "a tuple of axes": {"axes": ((0, 1), (0, 1), (0, 1))},
    "too few axes": {"axes": [(0, 1), (0, 1)]},
    "too many axes": {"axes": [(0, 1)] * 4},
    "no such axis": {"axes": [(0, 1), (0, 5), (0, 1)]},
    "an axis twice": {"axes": [(0, 1), (0, 0), (0, 1)]},
    "no axes": {"axes": 3},
}


def outcome_of(function, operands, keywords):
    """What comes out, or the class of the error."""
    return outcome(lambda pair, **rest: function(*pair, **rest), operands, keywords)


@pytest.mark.filterwarnings("ignore::numpy.exceptions.ComplexWarning")
@pytest.mark.parametrize("keywords", KEYWORDS.values(), ids=KEYWORDS)
@pytest.mark.parametrize("operands", OPERANDS.values(), ids=OPERANDS)
def test_keywords_do_what_numpy_makes_of_them(operands, keywords):
    expected = outcome_of(np.matmul, operands, keywords)
    found = outcome_of(fastbp.matmul, operands, keywords)
    if isinstance(expected, type):
        assert found is expected
        return
    assert type(found) is type(expected)
    if not isinstance(expected, np.generic | np.ndarray):
        assert found == expected
        return
    assert (found.dtype, found.shape) == (expected.dtype, expected.shape)
    if "order" in keywords:
        assert found.flags.c_contiguous == expected.flags.c_contiguous
        assert found.flags.f_contiguous == expected.flags.f_contiguous
    if found.dtype.kind in "fc":
        # Sums of 7 products, below 100 in all: each rounded seven times and put together so often.
        atol = 14 * 100 * float(np.finfo(found.dtype).eps)
        np.testing.assert_allclose(found, expected, rtol=0, atol=atol)
    else:
        np.testing.assert_array_equal(found, expected)


OUTS = {
    "a tuple": lambda shape: (np.full(shape, 7, np.float32),),
    "fortran": lambda shape: np.full(shape, 7, np.float32, order="F"),
    "float64": lambda shape: np.full(shape, 7.0),
    "float16": lambda shape: np.full(shape, 7, np.float16),
    "complex": lambda shape: np.full(shape, 7, np.complex64),
    "integers": lambda shape: np.full(shape, 7),
    "wider": lambda shape: np.full((2, *shape), 7, np.float32),
    "one more": lambda shape: np.full((*shape[:-1], shape[-1] + 1), 7, np.float32),
    "fewer dimensions": lambda shape: np.full(shape[1:], 7, np.float32),
}


@pytest.mark.filterwarnings("ignore::numpy.exceptions.ComplexWarning")
@pytest.mark.parametrize("casting", ["safe", "same_kind", "unsafe"])
@pytest.mark.parametrize("make", OUTS.values(), ids=OUTS)
@pytest.mark.parametrize("case", ["C", "stacks", "row", "column", "float64", "bytes", "integers"])
def test_out(case, make, casting):
    left, right = OPERANDS[case]
    shape = np.matmul(left, right).shape
    theirs, ours = make(shape), make(shape)
    expected = outcome_of(np.matmul, (left, right), {"out": theirs, "casting": casting})
    found = outcome_of(fastbp.matmul, (left, right), {"out": ours, "casting": casting})
    theirs, ours = (x[0] if isinstance(x, tuple) else x for x in (theirs, ours))
    if isinstance(expected, type):
        assert found is expected
        assert (ours == 7).all()
        return
    assert found is ours
    eps = float(np.finfo(np.float16 if ours.dtype == np.float16 else np.float32).eps)
    size = np.abs(theirs).max()
    atol = 1 if ours.dtype.kind == "i" else 14 * eps * max(size, 100)
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=float(atol))


@pytest.mark.parametrize("dtype", DTYPES)
def test_axes_and_out(dtype):
    a = np.random.default_rng(0).normal(size=(3, 4, 5)).astype(dtype)
    b = np.random.default_rng(1).normal(size=(5, 3, 6)).astype(dtype)
    axes = [(1, 2), (0, 2), (2, 0)]
    out = np.full((6, 3, 4), np.nan, dtype)
    assert fastbp.matmul(a, b, out, axes=axes) is out
    for i in range(3):
        assert_product(out[:, i].T, a[i], b[:, i])
    np.testing.assert_array_equal(fastbp.matmul(a, b, axes=axes), out)
    in_place = np.ascontiguousarray(a[:, :, :4])
    expected = fastbp.matmul(in_place, in_place, axes=[(2, 1), (1, 2), (1, 2)])
    fastbp.matmul(in_place, in_place, in_place, axes=[(2, 1), (1, 2), (1, 2)])
    np.testing.assert_array_equal(in_place, expected)


def test_objects_keep_their_arithmetic():
    halves = np.array([[Fraction(1, 2), Fraction(1, 3)]])
    assert fastbp.matmul(halves, halves.T)[0, 0] == Fraction(13, 36)


class Priority(np.ndarray):
    __array_priority__ = 7.0


class Own(np.ndarray):
    def __array_ufunc__(self, ufunc, method, *inputs, **keywords):
        return ufunc, method, sorted(keywords)


class NoArithmetic:
    __array_ufunc__ = None


def test_classes_of_their_own():
    assert type(fastbp.matmul(A.view(Plain), B.view(Priority))) is Priority
    assert type(fastbp.matmul(A.view(Plain), B)) is Plain
    assert type(fastbp.matmul(A.view(Plain), B, subok=False)) is np.ndarray
    for pair in [(A.view(Own), B), (A, B.view(Own))]:
        assert fastbp.matmul(*pair)[:2] == (np.matmul, "__call__")
    assert fastbp.matmul(A, B, out=np.empty((5, 4)).view(Own))[0] is np.matmul
    with pytest.raises(TypeError, match="'NoArithmetic' does not support ufuncs"):
        fastbp.matmul(A, NoArithmetic())


def test_kernels_are_used_where_there_are_any(monkeypatch):
    def refuse(*args, **keywords):
        raise AssertionError("left to NumPy")

    refuse.resolve_dtypes = np.matmul.resolve_dtypes
    monkeypatch.setattr("fastbp.arrays.products._numpy_matmul", refuse)
    for case in ("C", "fortran", "stacks", "row", "both", "float16", "bytes", "subclass"):
        fastbp.matmul(*OPERANDS[case])
    fastbp.matmul(*OPERANDS["C"], dtype=np.float64, order="F")
    with pytest.raises(AssertionError):
        fastbp.matmul(*OPERANDS["integers"])
