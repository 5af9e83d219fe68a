"""Activations and gradients inside a fitted network; predictions of many rows in little memory."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

pytest.importorskip("sklearn")

from scipy import sparse
from sklearn.exceptions import NotFittedError

from fastbp import MLPClassifier, MLPRegressor
from fastbp.estimators import forward, inside
from tests import oracle

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


def _features(n=80, dtype=np.float64):
    return np.random.default_rng(8).standard_normal((n, 7)).astype(dtype)


def _targets(kind, X):
    return {
        "two": lambda: np.where(X[:, 0] > 0, "b", "a"),
        "three": lambda: np.digitize(X[:, 0], [-0.5, 0.5]),
        "several": lambda: (X[:, :3] > 0).astype(int),
        "numbers": lambda: X[:, :2] ** 2,
        "counts": lambda: np.floor(np.abs(X[:, 0])),
    }[kind]()


LOSSES = {
    "two": "log_loss", "three": "cross_entropy", "several": "log_loss",
    "numbers": "squared_error", "counts": "poisson",
}  # fmt: skip


def _fitted(kind, X, **parameters):
    settings = {"hidden_layer_sizes": (11, 5), "max_iter": 3, "random_state": 0, **parameters}
    if kind in ("two", "three", "several"):
        return MLPClassifier(**settings).fit(X, _targets(kind, X))
    loss = "poisson" if kind == "counts" else "squared_error"
    return MLPRegressor(loss, **settings).fit(X, _targets(kind, X))


def _arrays(model):
    return [coef.T for coef in model.coefs_], model.intercepts_


# ------------------------------------------------------------------ hidden_activations


@pytest.mark.parametrize("container", [np.asarray, sparse.csr_array, sparse.csc_array])
@pytest.mark.parametrize("activation", ["relu", ("tanh", "gelu")])
def test_hidden_activations(activation, container, monkeypatch):
    monkeypatch.setattr(forward, "_LEAST_ROWS", 32)
    monkeypatch.setattr(forward, "_CHUNK_BYTES", 1)
    X = _features()
    model = _fitted("three", X, activation=activation)
    found = model.hidden_activations(container(X))
    expected = oracle.forward(X, *_arrays(model), oracle.Model(activation, "cross_entropy")).A[1:-1]
    assert [a.shape for a in found] == [(80, 11), (80, 5)]
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-13, atol=1e-14)


def test_hidden_activations_have_the_dtype_of_the_weights():
    X = _features(dtype=np.float32)
    assert {a.dtype for a in _fitted("two", X).hidden_activations(X)} == {np.dtype(np.float32)}


def test_there_may_be_no_hidden_layer():
    X = _features()
    assert _fitted("two", X, hidden_layer_sizes=()).hidden_activations(X) == []


# ------------------------------------------------------------------ input_gradient


@pytest.mark.parametrize("container", [np.asarray, sparse.csr_array])
@pytest.mark.parametrize("kind", LOSSES)
def test_input_gradient(kind, container, monkeypatch):
    monkeypatch.setattr(forward, "_LEAST_ROWS", 32)
    monkeypatch.setattr(forward, "_CHUNK_BYTES", 1)
    X = _features()
    model, y = _fitted(kind, X, activation="tanh"), _targets(kind, X)
    found = model.input_gradient(container(X), y)
    targets = {
        "two": lambda: y == "b",
        "three": lambda: np.eye(3)[y],
    }.get(kind, lambda: y)()
    expected = oracle.input_gradient(
        X, targets, *_arrays(model), oracle.Model("tanh", LOSSES[kind])
    )
    np.testing.assert_allclose(found, expected, rtol=1e-11, atol=1e-14)


@pytest.mark.parametrize(
    ("kind", "y", "message"),
    [
        ("two", ["c"] * 80, r"y has classes \['c'\], but the network was fitted to \['a' 'b'\]"),
        ("two", [[0, 1]] * 80, "y is multilabel-indicator, but the network was"),
        ("two", ["a"] * 79, "inconsistent numbers of samples"),
        ("numbers", np.zeros(80), "y has 1 outputs, but the network has 2"),
    ],
)
def test_targets_that_do_not_fit_are_refused(kind, y, message):
    X = _features()
    with pytest.raises(ValueError, match=message):
        _fitted(kind, X).input_gradient(X, y)


@pytest.mark.parametrize("kind", ["two", "numbers"])
def test_rows_are_checked(kind):
    X = _features()
    model = _fitted(kind, X)
    with pytest.raises(ValueError, match="X has 6 features, but"):
        model.hidden_activations(X[:, :6])
    with pytest.raises(ValueError, match="contains NaN"):
        model.input_gradient(X * np.nan, _targets(kind, X))
    with pytest.raises(NotFittedError):
        MLPClassifier().hidden_activations(X)
    with pytest.raises(NotFittedError):
        MLPRegressor().input_gradient(X, X)


# ------------------------------------------------------------------ many rows


def _peak(call):
    """Bytes that a call has allocated at most, and its result."""
    call()
    tracemalloc.start()
    try:
        result = call()
        return tracemalloc.get_traced_memory()[1], result
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("dtype", [np.float64, np.uint8, np.int16])
@pytest.mark.parametrize(
    ("kind", "method", "times"),
    [
        # Labels come in parts that are joined; of two classes, one column becomes two.
        ("two", "predict", 2),
        ("three", "predict", 2),
        ("several", "predict", 2),
        ("numbers", "predict", 1),
        ("counts", "predict", 1),
        ("two", "predict_proba", 1.5),
        ("three", "predict_proba", 1),
    ],
)
def test_memory_does_not_grow_with_the_rows(kind, method, times, dtype, monkeypatch):
    monkeypatch.setattr(forward, "_CHUNK_BYTES", 1 << 16)
    model = _fitted(kind, _features())
    few = np.abs(10 * np.random.default_rng(0).standard_normal((20_000, 7))).astype(dtype)
    X = np.concatenate([few] * 5)  # 100,000 rows: of each output 400 or 800 kB
    peak, result = _peak(lambda: getattr(model, method)(X))
    assert peak < times * result.nbytes + 8 * forward._CHUNK_BYTES  # of copies of a chunk
    np.testing.assert_array_equal(result[:20_000], result[-20_000:])


@pytest.mark.parametrize("kind", LOSSES)
def test_other_dtypes_are_read_as_float64(kind):
    X = np.random.default_rng(1).integers(-9, 9, (50, 7))
    model = _fitted(kind, _features())
    expected = model.predict(X.astype(np.float64))
    for same in (X, X.astype(np.int8), X.astype(np.float16), sparse.csr_array(X), X.tolist()):
        np.testing.assert_array_equal(model.predict(same), expected)


def test_bytes_are_read_as_they_are():
    X = np.random.default_rng(1).integers(0, 255, (60, 7), dtype=np.uint8)
    y = X[:, 0] > 127
    model = MLPClassifier((5,), max_iter=3, random_state=0).fit(X, y)
    other = MLPClassifier((5,), max_iter=3, random_state=0).fit(X.astype(np.float32), y)
    assert model.coefs_[0].dtype == np.float32
    np.testing.assert_allclose(model.coefs_[0], other.coefs_[0], rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(model.predict_proba(X), other.predict_proba(X), atol=1e-4)
    assert inside.InsideMixin.input_gradient(model, X, y).dtype == np.float32


def test_sparse_labels_come_in_parts_as_well(monkeypatch):
    X = _features(100)
    y = (X[:, :3] > 0).astype(int)
    model = MLPClassifier((5,), max_iter=3, random_state=0).fit(X, sparse.csr_array(y))
    whole = model.predict(X)
    monkeypatch.setattr(forward, "_LEAST_ROWS", 7)
    monkeypatch.setattr(forward, "_CHUNK_BYTES", 1)
    parts = model.predict(X)
    assert sparse.issparse(whole)
    np.testing.assert_array_equal(parts.toarray(), whole.toarray())
