"""What the estimators take as X and y: dtypes, layouts, sparse matrices, data frames."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

pytest.importorskip("sklearn")

import scipy.sparse
import sklearn
import sklearn.neural_network
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import fastbp
from fastbp.estimators import rows as rows_module
from fastbp.estimators.scoring import accuracy, r2

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

SPARSE = [scipy.sparse.csr_array, scipy.sparse.csc_array, scipy.sparse.csr_matrix]


def _bytes(n=90, features=11):
    rng = np.random.default_rng(0)
    X = rng.integers(0, 256, (n, features)).astype(np.uint8)
    X[rng.random(X.shape) < 0.6] = 0
    return X, X.sum(axis=1) % 3


@pytest.mark.parametrize(
    ("dtype", "expected"),
    [
        ("float64", "float64"),
        ("float32", "float32"),
        ("uint8", "float32"),
        ("int64", "float64"),
        ("uint16", "float64"),
        ("bool", "float64"),
        ("float16", "float64"),
    ],
)
def test_the_dtype_of_x_says_that_of_the_weights(dtype, expected):
    X, y = _bytes()
    X = X.astype(dtype)
    model = fastbp.MLPClassifier(5, max_iter=2, random_state=0).fit(X, y)
    assert {array.dtype.name for array in model.coefs_ + model.intercepts_} == {expected}
    assert model.predict_proba(X).dtype == expected


def test_bytes_give_the_model_of_float32():
    X, y = _bytes()
    one, other = (
        fastbp.MLPClassifier(5, max_iter=5, random_state=0, learning_rate_init=1e-4).fit(rows, y)
        for rows in (X, X.astype(np.float32))
    )
    for a, b in zip(one.coefs_, other.coefs_, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(
        one.predict_proba(X), other.predict_proba(X.astype(np.float32)), rtol=1e-3, atol=1e-5
    )


@pytest.mark.parametrize("early_stopping", [False, True])
def test_bytes_are_not_widened_nor_copied(early_stopping):
    X = np.zeros((2000, 3000), np.uint8)
    X[:, 0] = np.arange(2000) % 2
    y = X[:, 0]
    model = fastbp.MLPClassifier(
        3, max_iter=1, batch_size=100, random_state=0, early_stopping=early_stopping
    )
    model.fit(X, y)
    tracemalloc.start()
    try:
        model.fit(X, y)
        model.predict(X)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < 0.3 * X.nbytes


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_float32_stays_close_to_scikit_learn(dtype):
    X, y = _bytes()
    X = (X / 255).astype(dtype)
    theirs, mine = (
        module.MLPClassifier(random_state=0, max_iter=10).fit(X, y)
        for module in (sklearn.neural_network, fastbp)
    )
    tolerance = 1e-4 if dtype == "float32" else 1e-10
    for a, b in zip(theirs.coefs_, mine.coefs_, strict=True):
        assert a.dtype == b.dtype
        np.testing.assert_allclose(b, a, rtol=tolerance, atol=tolerance)
    np.testing.assert_allclose(mine.loss_curve_, theirs.loss_curve_, rtol=tolerance)


@pytest.mark.parametrize("dtype", ["float32", "float64", "uint8"])
@pytest.mark.parametrize("make", SPARSE, ids=lambda make: make.__name__)
@pytest.mark.parametrize("batches", [1, 3, 1000])
def test_sparse_rows_give_the_model_of_dense_ones(make, dtype, batches, monkeypatch):
    X, y = _bytes()
    X = X.astype(dtype)
    weights = np.random.default_rng(1).uniform(0.5, 2, len(X))
    parameters = {"max_iter": 4, "random_state": 0, "batch_size": 8, "learning_rate_init": 1e-3}
    monkeypatch.setattr(rows_module, "_BLOCK_BYTES", batches * 8 * X.shape[1] * X.itemsize)
    for early_stopping in (False, True):
        dense, sparse = (
            fastbp.MLPClassifier((6,), early_stopping=early_stopping, **parameters).fit(
                rows, y, weights
            )
            for rows in (X, make(X))
        )
        tolerance = 1e-9 if dtype == "float64" else 1e-3
        for a, b in zip(dense.coefs_, sparse.coefs_, strict=True):
            assert a.dtype == b.dtype
            np.testing.assert_allclose(b, a, rtol=tolerance, atol=tolerance)
        np.testing.assert_allclose(sparse.loss_curve_, dense.loss_curve_, rtol=tolerance)
        np.testing.assert_allclose(
            sparse.predict_proba(make(X)), dense.predict_proba(X), rtol=tolerance, atol=tolerance
        )


def test_sparse_rows_are_never_all_dense():
    X = scipy.sparse.random_array((20_000, 2_000), density=1e-3, rng=0, format="csr")
    y = np.asarray(X[:, :1000].sum(axis=1)) > np.asarray(X[:, 1000:].sum(axis=1))
    model = fastbp.MLPClassifier(3, max_iter=1, random_state=0).fit(X, y)
    tracemalloc.start()
    try:
        model.fit(X, y)
        model.predict(X)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < 0.1 * X.shape[0] * X.shape[1] * 8


@pytest.mark.parametrize("layout", ["F", "columns", "rows", "backwards", "swapped"])
def test_any_layout_gives_the_same_model(layout):
    X = np.random.default_rng(0).standard_normal((60, 9))
    y = X[:, 0]
    given = {
        "F": np.asfortranarray(X),
        "columns": np.repeat(X, 2, axis=1)[:, ::2],
        "rows": np.repeat(X, 2, axis=0)[::2],
        "backwards": np.ascontiguousarray(X[::-1])[::-1],
        "swapped": X.astype(X.dtype.newbyteorder()),
    }[layout]
    expected = fastbp.MLPRegressor(random_state=0, max_iter=5).fit(X, y)
    model = fastbp.MLPRegressor(random_state=0, max_iter=5).fit(given, y)
    np.testing.assert_allclose(model.coefs_[0], expected.coefs_[0], rtol=1e-9)
    np.testing.assert_allclose(model.predict(given), expected.predict(X), rtol=1e-9)


def test_many_rows_are_predicted_in_chunks_with_the_same_result(monkeypatch):
    X, y = _bytes(4000)
    model = fastbp.MLPClassifier(5, max_iter=2, random_state=0).fit(X[:90], y[:90])
    expected, probabilities = model.predict(X), model.predict_proba(X)
    monkeypatch.setattr("fastbp.estimators.forward._CHUNK_BYTES", 1)
    np.testing.assert_array_equal(model.predict(X), expected)
    np.testing.assert_allclose(
        model.predict_proba(scipy.sparse.csr_array(X)), probabilities, rtol=1e-5, atol=1e-6
    )


@pytest.mark.parametrize("dtype", ["float64", "int32"])
def test_predict_s_memory_does_not_grow_with_the_rows(dtype):
    X = np.random.default_rng(0).integers(-9, 9, (100_000, 50)).astype(dtype)
    model = fastbp.MLPClassifier(50, max_iter=2, random_state=0).fit(X[:200], np.arange(200) % 50)
    model.predict(X)
    tracemalloc.start()
    try:
        model.predict(X)  # X in float64, outputs and probabilities of all would take 40 MB each
        _, most = tracemalloc.get_traced_memory()
        model.predict_proba(X)
        _, most_of_both = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < 25 << 20
    assert most_of_both < (40 + 25) << 20


def test_sparse_targets_are_taken():
    X, _ = _bytes()
    Y = (X[:, :3] > 20).astype(int)
    models = [
        module.MLPClassifier(4, max_iter=20, random_state=0).fit(X / 255, scipy.sparse.csr_array(Y))
        for module in (sklearn.neural_network, fastbp)
    ]
    theirs, mine = (model.predict(X / 255) for model in models)
    assert type(mine) is type(theirs)
    np.testing.assert_array_equal(mine.toarray(), theirs.toarray())
    one, other = (
        fastbp.MLPRegressor(max_iter=2, random_state=0).fit(X, y)
        for y in (Y, scipy.sparse.csr_array(Y))
    )
    np.testing.assert_array_equal(one.coefs_[0], other.coefs_[0])


def test_data_frames_keep_their_names():
    pandas = pytest.importorskip("pandas")
    X, y = _bytes()
    frame = pandas.DataFrame(X, columns=[f"c{i}" for i in range(X.shape[1])])
    model = fastbp.MLPClassifier(4, max_iter=2, random_state=0).fit(frame, pandas.Series(y))
    assert list(model.feature_names_in_) == list(frame.columns)
    assert model.coefs_[0].dtype == np.float32
    np.testing.assert_array_equal(model.predict(frame), model.predict_proba(frame).argmax(axis=1))
    with pytest.warns(UserWarning, match="does not have valid feature names"):
        model.predict(X)
    with pytest.raises(ValueError, match="feature names should match"):
        model.predict(frame[frame.columns[::-1]])


def test_polars_frames_are_taken():
    polars = pytest.importorskip("polars")
    X, y = _bytes()
    frame = polars.DataFrame({f"c{i}": column for i, column in enumerate(X.T)})
    model = fastbp.MLPClassifier(4, max_iter=2, random_state=0).fit(frame, polars.Series(y))
    assert list(model.feature_names_in_) == frame.columns
    assert model.predict(frame).shape == y.shape


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_rows_to_predict_must_be_finite(value, dtype):
    X = np.ones((4, 2), dtype)
    model = fastbp.MLPRegressor(max_iter=1)
    model.fit(X, X[:, 0])
    X[1, 1] = value
    with pytest.raises(ValueError, match="Input X contains"):
        model.predict(X)


def test_rows_whose_sum_alone_overflows_are_predicted():
    X = np.ones((4, 2))
    model = fastbp.MLPRegressor(max_iter=1).fit(X, X[:, 0])
    assert np.isfinite(model.predict(np.full((4, 2), 1e308) * [1, 0.5])).shape == (4,)


@pytest.mark.parametrize(
    "rows", [np.ones(2), np.ones((3, 5)), np.ones((0, 2)), "text", np.ones((2, 2), complex)]
)
def test_rows_that_do_not_fit_are_refused_as_by_scikit_learn(rows):
    X = np.arange(8.0).reshape(4, 2)
    messages = []
    for module in (sklearn.neural_network, fastbp):
        model = module.MLPRegressor(max_iter=1).fit(X, X[:, 0])
        with pytest.raises(ValueError) as caught:  # noqa: PT011, the messages are compared
            model.predict(rows)
        messages.append(str(caught.value))
    assert messages[0] == messages[1]


def _refuse(*args, **kwargs):
    raise AssertionError("asked scikit-learn")


@pytest.mark.parametrize("kind", ["bool", "int16", "uint8", "U3", "float32", "float64"])
@pytest.mark.parametrize("dtype", ["uint8", "float32", "float64"])
def test_plain_rows_and_targets_are_validated_at_a_glance(dtype, kind, monkeypatch):
    X, y = _bytes()
    X, y = np.asfortranarray(X.astype(dtype)), (y % 2).astype(kind)
    make = fastbp.MLPRegressor if kind.startswith("f") else fastbp.MLPClassifier
    model, expected = (make(hidden_layer_sizes=4, max_iter=1, random_state=0) for _ in range(2))
    expected.fit(X, y.tolist())  # of which scikit-learn makes an array
    model.feature_names_in_ = ["of rows before"]
    monkeypatch.setattr(sklearn.utils.validation, "check_array", _refuse)
    model.fit(X, y)
    assert model.n_features_in_ == X.shape[1]
    assert not hasattr(model, "feature_names_in_")
    np.testing.assert_array_equal(model.coefs_[0], expected.coefs_[0])


@pytest.mark.parametrize("place", [0, 1], ids=["X", "y"])
def test_rows_that_are_assumed_to_be_finite_are_not_looked_at(place, monkeypatch):
    data = np.ones((4, 2)), np.ones(4)
    monkeypatch.setattr("fastbp.estimators.plain._is_finite", _refuse)
    with sklearn.config_context(assume_finite=True):
        model = fastbp.MLPRegressor(max_iter=1).fit(*data)
        assert np.isfinite(model.coefs_[0]).all()
        data[place].flat[0] = np.nan
        with pytest.raises(ValueError, match="non-finite parameter weights"):
            model.fit(*data)


_X, _Y = np.arange(8.0).reshape(4, 2), np.arange(4)


@pytest.mark.parametrize(
    ("X", "y"),
    [
        (np.where(_X == 3, np.nan, _X), _Y),
        (np.where(_X == 3, np.inf, _X), _Y),
        (_X, np.where(_Y == 2, np.nan, _Y)),
        (_X, np.where(_Y == 2, -np.inf, _Y)),
        (_X, _Y[:3]),
        (_X[:0], _Y[:0]),
        (_X[:, :0], _Y),
        (_X[0], _Y),
        (_X[None], _Y),
        (_X, None),
        (_X, _Y + 1j),
        (_X.astype(str) + "a", _Y),
        (_X, _Y[None, None]),
    ],
)
@pytest.mark.parametrize("name", ["MLPClassifier", "MLPRegressor"])
def test_data_that_do_not_fit_are_refused_as_by_scikit_learn(name, X, y):
    messages = []
    for module in (sklearn.neural_network, fastbp):
        with pytest.raises(ValueError) as caught:  # noqa: PT011, the messages are compared
            getattr(module, name)(max_iter=1).fit(X, y)
        messages.append(str(caught.value))
    assert messages[0] == messages[1]


def test_weights_are_routed():
    X, y = _bytes()
    weights = np.random.default_rng(0).uniform(0.1, 5, len(X))
    with sklearn.config_context(enable_metadata_routing=True):
        model = fastbp.MLPClassifier(4, max_iter=3, random_state=0)
        pipeline = make_pipeline(
            StandardScaler().set_fit_request(sample_weight=False),
            model.set_fit_request(sample_weight=True),
        )
        pipeline.fit(X.astype(float), y, sample_weight=weights)
    Z = pipeline[0].transform(X.astype(float))
    plain = fastbp.MLPClassifier(4, max_iter=3, random_state=0)
    np.testing.assert_array_equal(
        pipeline[1].coefs_[0], plain.fit(Z, y, sample_weight=weights).coefs_[0]
    )
    assert (pipeline[1].coefs_[0] != plain.fit(Z, y).coefs_[0]).any()


@pytest.mark.parametrize("seed", range(20))
def test_scores_are_scikit_learn_s(seed):
    from sklearn.metrics import accuracy_score, r2_score

    rng = np.random.default_rng(seed)
    y = rng.integers(0, 3, (30, 2)).astype(float)
    if seed % 3 == 0:
        y[:, 0] = 1
    predicted = y + rng.standard_normal(y.shape)
    if seed % 2 == 0:
        predicted[:, 0] = y[:, 0]
    weights = rng.uniform(0, 1, 30) if seed % 4 < 2 else None
    assert r2(y, predicted, weights) == pytest.approx(
        r2_score(y, predicted, sample_weight=weights), rel=1e-12
    )
    right = np.round(predicted[:, 1]) == y[:, 1]
    assert accuracy(right, weights) == pytest.approx(
        accuracy_score(y[:, 1], np.round(predicted[:, 1]), sample_weight=weights), rel=1e-14
    )
