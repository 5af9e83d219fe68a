"""Many networks on the same data (fastbp.estimators.many, jobs and company)."""

from __future__ import annotations

import threading
import warnings

import numpy as np
import pytest

pytest.importorskip("sklearn")

import scipy.sparse
import sklearn
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning

import fastbp
from fastbp import MLPClassifier, MLPRegressor, fit_many
from fastbp.engine import method, together
from fastbp.engine.together import Together
from fastbp.estimators import jobs

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


@pytest.fixture(autouse=True)
def small_data_too(monkeypatch):
    """Networks go in company on data that fit in a cache, too."""
    monkeypatch.setattr(jobs, "_LEAST_BYTES", 0)


@pytest.fixture
def passes(monkeypatch):
    """How many networks went through in each pass over the rows."""
    found = []
    train = Together.train

    def noting(self, order, first, *what):
        if first == 0:  # how an epoch is divided depends on the time that it takes
            found.append(len(self.plans))
        train(self, order, first, *what)

    monkeypatch.setattr(Together, "train", noting)
    return found


def _data(n=120, columns=150, dtype="float64", classes=2):
    rng = np.random.default_rng(0)
    X = rng.standard_normal((n, columns))
    if dtype == "uint8":
        X = np.clip(128 + 50 * X, 0, 255)
    return X.astype(dtype), np.argmax(X[:, :classes], axis=1)


def _assert_same(one, other):
    assert vars(one).keys() == vars(other).keys()
    for name in ("coefs_", "intercepts_"):
        for mine, theirs in zip(getattr(one, name), getattr(other, name), strict=True):
            np.testing.assert_array_equal(mine, theirs)
            assert mine.dtype == theirs.dtype
    for name in ("n_iter_", "t_", "loss_", "n_features_in_", "n_outputs_", "out_activation_"):
        assert getattr(one, name) == getattr(other, name), name
    for name in ("loss_curve_", "best_loss_", "validation_scores_", "best_validation_score_"):
        assert getattr(one, name, None) == getattr(other, name, None), name


def _classifier(**parameters):
    return MLPClassifier(**{"hidden_layer_sizes": (3, 2), "random_state": 0, "max_iter": 4,
                            "batch_size": 32} | parameters)  # fmt: skip


# ------------------------------------------------------------------ the bits of fit


@pytest.mark.parametrize("dtype", ["float64", "float32", "uint8"])
@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize(
    "parameters",
    [
        {},
        {"activation": "tanh", "solver": "sgd"},
        {"solver": "sgd", "momentum": 0, "alpha": 0},
        {"hidden_layer_sizes": ()},
        {"shuffle": False},
        {"batch_size": "auto"},
    ],
    ids=str,
)
def test_networks_of_one_seed_end_as_by_fit(passes, parameters, classes, dtype):
    X, y = _data(dtype=dtype, classes=classes)
    many = [_classifier(learning_rate_init=rate, **parameters) for rate in (0.001, 0.002, 0.004)]
    with fastbp.thread_limit(2):
        assert fit_many(many, X, y) == many
    # Of bytes, each thread has networks of its own: one alone, and two in a pass.
    assert passes == [2 if dtype == "uint8" else 3] * 4
    for network in many:
        _assert_same(clone(network).fit(X, y), network)


@pytest.mark.parametrize("loss", ["squared_error", "poisson"])
def test_regressors_end_as_by_fit(passes, loss):
    X, _ = _data()
    y = np.exp(X[:, :2] / 4)
    grid = {"alpha": [0, 1e-4, 1], "activation": ["relu", "logistic"]}
    base = MLPRegressor(loss, (3,), random_state=1, max_iter=3, learning_rate_init=0.01)
    many = fit_many(base, X, y, param_grid=grid)
    assert not hasattr(base, "coefs_")
    assert len(many) == 6
    assert max(passes) >= 2
    for network in many:
        _assert_same(clone(network).fit(X, y), network)


def test_the_first_of_other_seeds_ends_as_by_fit_and_the_others_go_over_its_order(passes):
    X, y = _data()
    many = fit_many([_classifier(random_state=i) for i in range(3)], X, y)
    assert passes == [3] * 4
    _assert_same(clone(many[0]).fit(X, y), many[0])
    alone = clone(many[2]).fit(X, y)
    assert (alone.coefs_[0] != many[2].coefs_[0]).any()  # in an order of its own
    _assert_same(fit_many([_classifier(), _classifier(random_state=2)], X, y)[1], many[2])


@pytest.fixture
def stacked(monkeypatch):
    """First layers of any networks in company are one product."""
    monkeypatch.setattr(together, "_LEAST_INPUTS_OF_STACK", 1)
    monkeypatch.setattr(together, "_MOST_SIDE_BY_SIDE", 0)
    monkeypatch.setattr(method, "_is_small", lambda case: False)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("hidden", [(20,), (30, 7), (3, 2)])
@pytest.mark.parametrize("solver", ["adam", "sgd"])
def test_stacked_networks_end_as_by_fit_to_rounding(stacked, passes, solver, hidden, dtype):
    X, y = _data(dtype=dtype, classes=3)
    many = [
        _classifier(hidden_layer_sizes=hidden, solver=solver, alpha=10.0**-i, batch_size=40)
        for i in range(5)
    ]
    fit_many(many, X, y)
    assert passes == [5] * 4
    # What parity with scikit-learn has to keep to in float64; in float32 as many digits less.
    most = 1e-7 if dtype == "float64" else 1e-7 * 2.0**29
    for network in many:
        alone = clone(network).fit(X, y)
        for one, other in zip(alone.coefs_, network.coefs_, strict=True):
            np.testing.assert_allclose(one, other, rtol=0, atol=most)
        np.testing.assert_allclose(alone.loss_curve_, network.loss_curve_, rtol=0, atol=most)
        assert alone.n_iter_ == network.n_iter_
        assert alone.t_ == network.t_


@pytest.mark.parametrize(
    "parameters",
    [{"solver": "sgd", "momentum": 0, "alpha": 0}, {"dropout": (0.1, 0.0)},
     {"alpha": 0, "batch_size": 8}, {"hidden_layer_sizes": (200,)}],
    ids=str,
)  # fmt: skip
def test_what_is_not_stacked_is_trained_side_by_side(stacked, monkeypatch, parameters):
    X, y = _data()
    networks = [_classifier(**{"hidden_layer_sizes": (20,)} | parameters) for _ in range(3)]
    companies = []
    monkeypatch.setattr(jobs, "_in_company", lambda *what: companies.append(what))
    fit_many([_classifier(hidden_layer_sizes=(20,)) for _ in range(3)], X, y)
    assert len(companies) == 1
    fit_many(networks, X, y)
    assert len(companies) == 1
    _assert_same(clone(networks[1]).fit(X, y), networks[1])


def test_stacked_networks_leave_and_go_on(stacked, passes):
    X, y = _data()
    many = [_classifier(hidden_layer_sizes=(20,), max_iter=2 + i, warm_start=True) for i in (0, 1)]
    for _ in range(2):
        fit_many(many, X, y)
    assert passes == [2, 2] * 2
    for i, network in enumerate(many):
        alone = clone(network).set_params(max_iter=2 + i)
        alone.fit(X, y).fit(X, y)
        np.testing.assert_allclose(alone.coefs_[0], network.coefs_[0], rtol=0, atol=1e-7)


def test_without_shared_order_all_end_as_by_fit(passes):
    X, y = _data()
    many = [_classifier(random_state=i % 2, alpha=10.0**-i) for i in range(4)]
    fit_many(many, X, y, share_order=False)
    assert passes == [2, 2] * 4
    for network in many:
        _assert_same(clone(network).fit(X, y), network)


def test_networks_leave_when_they_are_done(passes):
    X, y = _data()
    many = fit_many(
        [_classifier(max_iter=3), _classifier(max_iter=6), _classifier(tol=10, max_iter=30,
         n_iter_no_change=3), _classifier(max_iter=8)], X, y,
    )  # fmt: skip
    assert [network.n_iter_ for network in many] == [3, 6, 5, 8]
    assert passes == [4, 4, 4, 3, 3, 2]
    for network in many:
        _assert_same(clone(network).fit(X, y), network)


def test_more_than_sixteen_outputs_take_several_passes(passes):
    X, y = _data()
    many = fit_many([_classifier(max_iter=2, alpha=10.0**-i) for i in range(11)], X, y)
    assert passes == [3, 4, 4] * 2
    for network in many:
        _assert_same(clone(network).fit(X, y), network)


def test_companies_of_many_share_an_order(monkeypatch, passes):
    X, y = _data()
    networks = [_classifier(random_state=i) for i in range(5)]
    expected = fit_many([clone(network) for network in networks], X, y)
    monkeypatch.setattr(jobs, "_MOST_MEMBERS", 2)
    for one, other in zip(expected, fit_many(networks, X, y), strict=True):
        _assert_same(one, other)


def test_folds_by_weights_are_trained_together(passes):
    X, y = _data()
    weights = np.ones((3, len(X)))
    for i, row in enumerate(weights):
        row[40 * i : 40 * (i + 1)] = 0
    many = fit_many([_classifier() for _ in range(3)], X, y, sample_weight=weights)
    assert passes == [3] * 4
    for network, row in zip(many, weights, strict=True):
        _assert_same(_classifier().fit(X, y, row), network)
    both = fit_many([_classifier(), _classifier(alpha=1)], X, y, sample_weight=weights[1])
    _assert_same(_classifier().fit(X, y, weights[1]), both[0])


@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
@pytest.mark.parametrize(
    "parameters", [{"hidden_layer_sizes": (20,)}, {"early_stopping": True}], ids=str
)
def test_others_side_by_side_end_as_by_fit(passes, parameters, solver):
    X, y = _data()
    many = [_classifier(random_state=i, solver=solver, **parameters) for i in range(5)]
    fit_many(many, X, y)
    assert not passes
    for network in many:
        _assert_same(clone(network).fit(X, y), network)


@pytest.mark.parametrize("kind", ["csr_array", "csc_array"])
def test_sparse_rows(passes, kind):
    X, y = _data()
    X = getattr(scipy.sparse, kind)(X * (X > 1))
    many = fit_many([_classifier(random_state=i) for i in range(3)], X, y)
    assert not passes
    for network in many:
        _assert_same(clone(network).fit(X, y), network)


def test_integers_and_lists_are_converted_once_for_all(passes):
    X, y = _data()
    X = (10 * X).astype(np.int64)
    for rows in (X, X.tolist()):
        many = fit_many([_classifier(alpha=i) for i in range(3)], rows, y.tolist())
        _assert_same(clone(many[1]).fit(rows, y), many[1])
    assert passes == [3] * 8


def test_classifiers_and_regressors_may_be_mixed(passes):
    X, y = _data()
    regressor = MLPRegressor(hidden_layer_sizes=(3, 2), random_state=0, max_iter=4, batch_size=32)
    many = fit_many([_classifier(), regressor, _classifier(alpha=1)], X, y)
    assert passes == [2] * 4
    for network in many:
        _assert_same(clone(network).fit(X, y), network)


# ------------------------------------------------------------------ random numbers, warm starts


def test_without_a_seed_numpys_own_decides(passes):
    X, y = _data()
    found = []
    for _ in range(2):
        np.random.seed(3)  # noqa: NPY002 (what None stands for in scikit-learn)
        found.append(fit_many([_classifier(random_state=None) for _ in range(2)], X, y))
    assert passes == [2] * 8
    for one, other in zip(*found, strict=True):
        _assert_same(one, other)
        assert one.random_state is None
    assert (found[0][0].coefs_[0] != found[0][1].coefs_[0]).any()


def test_an_instance_of_random_numbers_is_drawn_from_in_turn():
    X, y = _data()
    numbers, others = np.random.RandomState(5), np.random.RandomState(5)
    many = fit_many([_classifier(random_state=numbers) for _ in range(3)], X, y)
    for network in many:
        _assert_same(_classifier(random_state=others).fit(X, y), network)


def test_warm_starts_go_on():
    X, y = _data()
    many = [_classifier(warm_start=True, random_state=i) for i in range(2)]
    expected = [clone(network).fit(X, y).fit(X, y) for network in many]
    fit_many(many, X, y, share_order=False)
    fit_many(many, X, y, share_order=False)
    for one, other in zip(expected, many, strict=True):
        _assert_same(one, other)


def test_names_of_columns():
    pandas = pytest.importorskip("pandas")
    X, y = _data(columns=3)
    frame = pandas.DataFrame(X, columns=["a", "b", "c"])
    many = [_classifier(warm_start=True) for _ in range(2)]
    for _ in range(2):
        fit_many(many, frame, pandas.Series(y))
        for network in many:
            assert network.feature_names_in_.tolist() == ["a", "b", "c"]
            network.predict(frame)


# ------------------------------------------------------------------ threads, settings, signals


@pytest.mark.parametrize("hidden", [(3, 2), (20,)])
def test_the_bits_do_not_depend_on_threads(hidden):
    X, y = _data()
    found = []
    for count in (1, 2):
        with fastbp.thread_limit(count):
            found.append(
                fit_many([_classifier(hidden_layer_sizes=hidden, alpha=i) for i in range(3)], X, y)
            )
    for one, other in zip(*found, strict=True):
        _assert_same(one, other)


def test_threads_know_limits_and_settings_of_the_caller(monkeypatch):
    X, y = _data()
    seen = []
    fit = MLPClassifier.fit

    def noting(self, *what):
        seen.append((fastbp.get_num_threads(), sklearn.get_config()["enable_metadata_routing"]))
        return fit(self, *what)

    monkeypatch.setattr(MLPClassifier, "fit", noting)
    with fastbp.thread_limit(1), sklearn.config_context(enable_metadata_routing=True):
        fit_many([_classifier() for _ in range(2)], X, y)
        fit_many([_classifier(hidden_layer_sizes=(20,)) for _ in range(2)], X, y)
    assert seen == [(1, True)] * 4
    assert not sklearn.get_config()["assume_finite"]


@pytest.mark.parametrize(
    ("hidden", "company", "dtype"),
    [((3, 2), None, "float64"), ((3, 2), None, "uint8"), ((20,), None, "float64"),
     ((20,), "stacked", "float64")],
)  # fmt: skip
def test_ctrl_c_ends_all(request, hidden, company, dtype):
    if company:
        request.getfixturevalue(company)
    X, y = _data(dtype=dtype)
    networks = [
        _classifier(hidden_layer_sizes=hidden, max_iter=10**6, alpha=i, n_iter_no_change=np.inf)
        for i in range(3)
    ]
    timer = threading.Timer(0.5, lambda: __import__("_thread").interrupt_main())
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        fit_many(networks, X, y)
    timer.join()
    assert not any(thread.name.startswith("fastbp ") for thread in threading.enumerate())
    assert any(network.n_iter_ > 0 for network in networks if hasattr(network, "n_iter_"))


def test_warnings_are_those_of_fit():
    X, y = _data()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        fit_many([_classifier() for _ in range(3)], X, y)
    assert [warning.category for warning in caught] == [ConvergenceWarning] * 3


# ------------------------------------------------------------------ errors


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda e, X, y: ([], X, y), ValueError, "estimators is empty"),
        (lambda e, X, y: (3, X, y), TypeError, "estimators must be MLPClassifiers or"),
        (lambda e, X, y: ({"alpha": [1]}, X, y), TypeError, "estimators must be MLPClassifiers"),
        (lambda e, X, y: ([e, "adam"], X, y), TypeError, "got str as number 1"),
        (lambda e, X, y: ([e, e], X, y), ValueError, "one of them twice"),
        (lambda e, X, y: ([e, _classifier(alpha=-1)], X, y), ValueError, "The 'alpha' parameter"),
        (
            lambda e, X, y: ([e, _classifier(hidden_layer_sizes=(0,))], X, y),
            ValueError,
            "hidden_layer_sizes must be > 0",
        ),
        (lambda e, X, y: ([e], X[:-1], y), ValueError, "inconsistent numbers of samples"),
        (lambda e, X, y: ([e], np.full_like(X, np.nan), y), ValueError, "Input X contains NaN"),
        (lambda e, X, y: ([e], X[0], y), ValueError, "Expected 2D array|inconsistent"),
        (lambda e, X, y: ([e], X, X[:, 0]), ValueError, "Unknown label type"),
    ],
)
def test_what_is_wrong_is_told_before_anything_is_trained(make, error, message):
    X, y = _data()
    good = _classifier()
    given = make(good, X, y)
    with pytest.raises(error, match=message):
        fit_many(*given)
    assert not hasattr(good, "coefs_")


def test_wrong_weights_and_grids_are_refused():
    X, y = _data()
    good = _classifier()
    with pytest.raises(ValueError, match="weights for 3 networks, but there are 1"):
        fit_many([good], X, y, sample_weight=np.ones((3, len(X))))
    with pytest.raises(ValueError, match=r"sample_weight.shape"):
        fit_many([good], X, y, sample_weight=np.ones(3))
    with pytest.raises(TypeError, match="param_grid is for a single"):
        fit_many([good], X, y, param_grid={"alpha": [1]})
    with pytest.raises(ValueError, match="Invalid parameter 'beta'"):
        fit_many(good, X, y, param_grid={"beta": [1]})
    assert not hasattr(good, "coefs_")


@pytest.mark.parametrize(
    ("hidden", "company", "dtype"),
    [((3, 2), None, "float64"), ((3, 2), None, "uint8"), ((20,), None, "float64"),
     ((20,), "stacked", "float64")],
)  # fmt: skip
def test_a_training_that_fails_ends_the_others(request, hidden, company, dtype):
    if company:
        request.getfixturevalue(company)
    X, y = _data(dtype=dtype)
    networks = [
        _classifier(hidden_layer_sizes=hidden, solver="sgd", learning_rate_init=rate, max_iter=n)
        for rate, n in ((0.001, 3000), (1e300, 5), (0.002, 3000))
    ]
    with pytest.raises(ValueError, match="non-finite parameter weights"), np.errstate(all="ignore"):
        fit_many(networks, X, y)
    assert not any(thread.name.startswith("fastbp ") for thread in threading.enumerate())
    assert networks[2].__dict__.get("n_iter_", 0) < 3000
