"""What the element-wise functions make of keywords, subclasses and dtypes without a kernel.

``fastbp.tanh`` is compared with ``numpy.tanh``, a function of NumPy's own: the same keywords give
arrays of the same dtype, shape, strides and class, written at the same places, or the same error.
The other functions share all of it.
"""

from __future__ import annotations

import fractions
import re
from decimal import Decimal

import numpy as np
import pytest

import fastbp
from fastbp.arrays.formulas import ANALYTIC
from fastbp.kernels.functions.elementwise import CODES
from tests.keywords import COMMON
from tests.test_elementwise import FUNCTIONS, each_function, exact, normals


class Plain(np.ndarray):
    """A subclass that changes nothing."""


X = normals(24, "float32").reshape(4, 6)

INPUTS = {
    "C": X,
    "fortran": np.asfortranarray(X),
    "permuted": X.reshape(2, 3, 4).transpose(1, 2, 0),
    "strided": X[::2, ::-1],
    "read-only": np.broadcast_to(X[0], (3, 6)),
    "float64": X.astype(np.float64),
    "float16": X.astype(np.float16),
    "uint8": np.arange(12, dtype=np.uint8).reshape(3, 4),
    "int64": np.arange(12).reshape(3, 4),
    "big endian": X.astype(">f4"),
    "scalar": np.float32(0.5),
    "number": 3,
    "list": [[0.5, 1.0], [2.0, 3.0]],
    "no elements": X[:0],
    "subclass": X.view(Plain),
    "masked": np.ma.array(X),
    "complex": X + 1j * X[::-1],
    "long double": X.astype(np.longdouble),
}
KEYWORDS = {
    **COMMON,
    "K": {"order": "K"},
    "strings": {"dtype": "U1"},
    "two entries": {"out": (X.copy(), X.copy())},
}


def outcome(function, x, keywords):
    """What comes out, or the class of the error."""
    try:
        return function(x, **keywords)
    except (TypeError, ValueError) as error:
        return next(kind for kind in (TypeError, ValueError) if isinstance(error, kind))


@pytest.mark.filterwarnings("ignore::numpy.exceptions.ComplexWarning")
@pytest.mark.parametrize("keywords", KEYWORDS.values(), ids=KEYWORDS)
@pytest.mark.parametrize("x", INPUTS.values(), ids=INPUTS)
def test_keywords_do_what_numpy_makes_of_them(x, keywords):
    expected = outcome(np.tanh, x, keywords)
    found = outcome(fastbp.tanh, x, keywords)
    if isinstance(expected, type):
        assert found is expected
        return
    assert type(found) is type(expected)
    assert (found.dtype, found.shape) == (expected.dtype, expected.shape)
    if expected.size:
        assert found.strides == expected.strides
    # numpy.tanh is within 4 ULP, by its own tests; fastbp's within 8.
    np.testing.assert_allclose(found, expected, rtol=12 * np.finfo(found.dtype).eps)


OUTS = {
    "itself": lambda x: x.copy(),
    "a tuple": lambda x: (np.full_like(x, 7),),
    "fortran": lambda x: np.full_like(x, 7, order="F"),
    "wider": lambda x: np.full((2, *x.shape), 7, x.dtype),
    "float64": lambda x: np.full(x.shape, 7.0),
    "float16": lambda x: np.full(x.shape, 7, np.float16),
    "complex": lambda x: np.full(x.shape, 7, np.complex64),
    "integers": lambda x: np.full(x.shape, 7, int),
    "bool": lambda x: np.full(x.shape, True),
    "other shape": lambda x: np.full((x.shape[0], x.shape[1] + 1), 7, x.dtype),
    "fewer dimensions": lambda x: np.full(x.shape[1:], 7, x.dtype),
    "objects": lambda x: np.full(x.shape, 7, object),
}
MASKS = {
    "all": True,
    "none": False,
    "some": X > 0,
    "a row": X[0] > 0,
    "a column": X[:, :1] > 0,
    "a list": [True, False, True, False, True, True],
    "more dimensions": np.stack([X > 0, X < 1]),
    "integers": np.ones(X.shape, int),
    "other shape": np.ones(5, bool),
}


@pytest.mark.filterwarnings("ignore::numpy.exceptions.ComplexWarning")
@pytest.mark.parametrize("casting", ["safe", "same_kind", "unsafe"])
@pytest.mark.parametrize("where", MASKS.values(), ids=MASKS)
@pytest.mark.parametrize("make", OUTS.values(), ids=OUTS)
def test_what_is_written_where(make, where, casting):
    keywords = {"where": where, "casting": casting}
    theirs, ours = make(X), make(X)
    expected = outcome(np.tanh, X, {"out": theirs, **keywords})
    found = outcome(fastbp.tanh, X, {"out": ours, **keywords})
    theirs, ours = (x[0] if isinstance(x, tuple) else x for x in (theirs, ours))
    if isinstance(expected, type):
        assert found is expected
        np.testing.assert_array_equal(ours, theirs)
        return
    assert found is ours
    eps = float(np.finfo(np.float16 if theirs.dtype == np.float16 else np.float32).eps)
    np.testing.assert_allclose(ours.astype(complex), theirs.astype(complex), rtol=12 * eps)


@each_function
def test_where_leaves_the_rest_as_it_is(function):
    for x in (X, X.astype(np.longdouble)):
        out = np.full(X.shape, 7, x.dtype)
        function(x, out=out, where=X > 0)
        np.testing.assert_array_equal(out[X > 0], function(x)[X > 0])
        assert (out[X <= 0] == 7).all()


@pytest.mark.filterwarnings("ignore:'where' used without 'out'")
def test_where_without_out():
    result = fastbp.relu(X, where=X > 0)
    np.testing.assert_array_equal(result[X > 0], X[X > 0])
    assert fastbp.relu(X, where=np.stack([X > 0, X > 0])).shape == (2, *X.shape)


@each_function
def test_out_as_a_tuple(function):
    out = np.empty_like(X)
    assert function(X, (out,)) is out
    np.testing.assert_array_equal(out, function(X))
    assert function(X, out=(out,)) is out


@each_function
def test_x_is_broadcast_to_out(function):
    out = np.empty((3, *X.shape), np.float32)
    function(X, out=out)
    np.testing.assert_array_equal(out, np.stack([function(X)] * 3))


@each_function
@pytest.mark.parametrize("target", ["f4", "f8", "g"])
@pytest.mark.parametrize("source", ["f2", "f4", "f8", "i4"])
def test_dtype_is_what_is_computed_in(function, source, target):
    x = X.astype(source)
    found = function(x, dtype=target)
    assert found.dtype == target
    np.testing.assert_array_equal(found, function(x.astype(target)))


@each_function
def test_messages_name_the_function(function):
    name = function.__name__
    with pytest.raises(TypeError, match=re.escape(f"ufunc '{name}' output from dtype('float32')")):
        function(X, out=np.empty(X.shape, int))
    with pytest.raises(ValueError, match=re.escape(f"{name}: non-broadcastable")):
        function(X, out=np.empty(3, np.float32))
    with pytest.raises(TypeError, match=re.escape(f"{name}() got an unexpected")):
        function(X, nonsense=1)


# ------------------------------------------------------------------ without a kernel


@each_function
def test_long_double(function):
    x = normals(500, "float64")
    found = function(x.astype(np.longdouble))
    assert found.dtype == np.longdouble
    value, size = exact(function, x)
    # The oracle's error, which exp(-z^2 / 2) and erfc multiply by z^2.
    assert (np.abs(found - value) <= (8 + x * x) * np.finfo(np.float64).eps * size).all()


@pytest.mark.skipif(np.finfo(np.longdouble).eps > 1e-18, reason="long double is float64 here")
def test_erf_is_as_exact_as_long_double():
    # gelu(x) + gelu(-x) = x erf(x / sqrt(2)); erf by its series, in fractions.
    for x in (fractions.Fraction(n, 8) for n in (1, 5, 12, 20, 28, 35)):
        term = total = x
        for n in range(1, 200):
            term *= -x * x / (2 * n)
            total += term / (2 * n + 1)
        digits = round(total * 10**40)
        series = np.longdouble(str(digits)) / np.longdouble("1e40")
        pi = np.longdouble("3.14159265358979323846264338327950288")
        z = np.longdouble(x.numerator) / x.denominator
        error = fastbp.gelu(z) + fastbp.gelu(-z) - z * series * np.sqrt(2 / pi)
        assert abs(error) < 16 * np.finfo(np.longdouble).eps * z


@pytest.mark.parametrize("name", sorted(ANALYTIC))
@pytest.mark.parametrize("dtype", ["c8", "c16", "G"])
def test_complex_numbers(name, dtype):
    function = getattr(fastbp, name)
    z = (normals(100, "float64") + 1j * normals(101, "float64")[1:]).astype(dtype)
    s = 1 / (1 + np.exp(-z))
    t = np.tanh(z)
    expected = {
        "sigmoid": s,
        "sigmoid_derivative": s * (1 - s),
        "tanh": t,
        "tanh_derivative": 1 - t * t,
        "softplus_derivative": s,
        "silu": z * s,
        "silu_derivative": s + z * s * (1 - s),
    }[name]
    found = function(z)
    assert found.dtype == dtype
    size = np.abs(expected) + (np.abs(s) + np.abs(t)) * (1 + np.abs(z))
    assert (np.abs(found - expected) <= 64 * np.finfo(dtype).eps * size).all()


@pytest.mark.parametrize("name", sorted(set(CODES) - ANALYTIC))
def test_functions_that_complex_numbers_do_not_have(name):
    with pytest.raises(TypeError, match=f"ufunc '{name}' not supported for complex numbers"):
        getattr(fastbp, name)(np.ones(3, complex))


def test_objects_are_asked_for_their_own_arithmetic():
    x = np.array([Decimal("0.5"), Decimal(-2)])
    found = fastbp.sigmoid(x)
    assert all(type(value) is Decimal for value in found)
    np.testing.assert_allclose(found.astype(float), fastbp.sigmoid(x.astype(float)), rtol=1e-15)
    halves = np.array([fractions.Fraction(1, 2), fractions.Fraction(-1, 2)])
    assert fastbp.relu(halves).tolist() == [fractions.Fraction(1, 2), 0]
    with pytest.raises(TypeError):
        fastbp.sigmoid(np.array([object()]))


# ------------------------------------------------------------------ arrays of other packages


class Metres(np.ndarray):
    """A subclass with arithmetic of its own: the functions' formulas go through it."""

    def __array_ufunc__(self, ufunc, method, *inputs, **keywords):
        plain = [x.view(np.ndarray) if isinstance(x, Metres) else x for x in inputs]
        result = getattr(ufunc, method)(*plain, **keywords)
        return result.view(Metres)


class NoArithmetic:
    __array_ufunc__ = None

    def __array__(self, dtype=None, copy=None):
        return np.ones(3)


def test_arithmetic_of_a_class_of_its_own_is_asked():
    found = fastbp.relu(X.view(Metres))
    assert type(found) is Metres
    np.testing.assert_array_equal(found.view(np.ndarray), fastbp.relu(X))


@each_function
def test_what_wants_no_arithmetic_is_refused(function):
    with pytest.raises(TypeError, match="'NoArithmetic' does not support ufuncs"):
        function(NoArithmetic())


def test_a_subclass_stays_what_it_is():
    assert type(fastbp.softplus(X.view(Plain))) is Plain
    assert type(fastbp.softplus(X.view(Plain), subok=False)) is np.ndarray
    masked = np.ma.masked_array([1.0, 2.0])
    assert type(fastbp.relu(masked)) is np.ma.MaskedArray


def test_every_function_has_a_docstring_of_its_own():
    texts = [function.__doc__ for function in FUNCTIONS]
    assert len(set(texts)) == len(texts)
    assert all("where : array_like of bool" in text for text in texts)
    assert all(function.__name__ == function.__qualname__ for function in FUNCTIONS)
