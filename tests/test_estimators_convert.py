"""`from_sklearn` and `to_sklearn`: the same estimator on the other side, which goes on as before.

Both sides compute in float64 unless a test says otherwise, and differ by the order of sums alone.
"""

from __future__ import annotations

import copy
import inspect

import numpy as np
import pytest

import fastbp

neural_network = pytest.importorskip("sklearn.neural_network")
NotFittedError = pytest.importorskip("sklearn.exceptions").NotFittedError

pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    pytest.mark.filterwarnings("ignore:lbfgs failed to converge"),
    pytest.mark.filterwarnings("ignore:scipy.optimize. The `disp`"),  # scikit-learn before 1.8
]

RANDOM = np.random.default_rng(0)
X = RANDOM.normal(size=(120, 6))
Y = {
    "binary": (X[:, 0] > 0).astype(int),
    "strings": np.array(["one", "two", "three"])[np.digitize(X[:, 1], [-0.5, 0.5])],
    "integers": np.digitize(X[:, 1], [-0.5, 0.5]),
    "multilabel": (X[:, :3] > 0).astype(int),
    "regression": X[:, 0] * 2 + X[:, 1],
    "outputs": X[:, :2] * 2,
    "poisson": np.exp(X[:, 0]).round(),
}
NAMES = [
    "classes_", "n_features_in_", "n_layers_", "n_outputs_", "out_activation_", "n_iter_", "t_",
    "loss_", "loss_curve_", "best_loss_", "validation_scores_", "best_validation_score_",
]  # fmt: skip
SOLVERS = [
    {"solver": "adam", "beta_1": 0.8, "beta_2": 0.99, "epsilon": 1e-6},
    {"solver": "sgd", "momentum": 0.8},
    {"solver": "sgd", "nesterovs_momentum": False, "learning_rate": "invscaling", "power_t": 0.3},
    {"solver": "sgd", "momentum": 0.0},
    {"solver": "sgd", "learning_rate": "adaptive", "n_iter_no_change": 1, "tol": 1.0},
]
PACKAGES = {"fastbp": fastbp, "sklearn": neural_network}


def kind_of(target):
    return (
        "MLPClassifier"
        if target in ("binary", "strings", "integers", "multilabel")
        else "MLPRegressor"
    )


def made(package, target, **parameters):
    """An estimator of one of the packages, not yet fitted."""
    if target == "poisson":
        parameters["loss"] = "poisson"
    settings = {"hidden_layer_sizes": (7, 5), "max_iter": 5, "batch_size": 32, "random_state": 3}
    return getattr(PACKAGES[package], kind_of(target))(**{**settings, **parameters})


def converted(estimator):
    if hasattr(estimator, "to_sklearn"):
        return estimator.to_sklearn()
    return getattr(fastbp, type(estimator).__name__).from_sklearn(estimator)


def outputs(estimator, rows=X):
    return getattr(estimator, "predict_proba", estimator.predict)(rows)


def assert_same(one, other, tolerance=1e-12):
    for a, b in zip(
        [*one.coefs_, *one.intercepts_], [*other.coefs_, *other.intercepts_], strict=True
    ):
        assert a.dtype == b.dtype
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance)


both_ways = pytest.mark.parametrize("package", PACKAGES)


# ------------------------------------------------------------------ parameters


@both_ways
@pytest.mark.parametrize("target", ["binary", "poisson"])
def test_every_parameter_of_an_unfitted_estimator_is_carried(package, target):
    others = {
        "activation": "tanh", "alpha": 0.5, "learning_rate": "adaptive", "learning_rate_init": 0.5,
        "power_t": 0.1, "shuffle": False, "tol": 0.5, "verbose": True, "warm_start": True,
        "momentum": 0.5, "nesterovs_momentum": False, "early_stopping": True, "beta_1": 0.5,
        "validation_fraction": 0.5, "beta_2": 0.5, "epsilon": 0.5, "n_iter_no_change": 3,
        "max_fun": 7, "solver": "sgd",
    }  # fmt: skip
    estimator = made(package, target, **others)
    theirs = inspect.signature(getattr(neural_network, kind_of(target))).parameters
    for name, parameter in theirs.items():
        assert getattr(estimator, name) != parameter.default, f"{name} is not tried"

    result = converted(estimator)

    assert type(result).__module__.split(".")[0] == (
        "fastbp" if package == "sklearn" else "sklearn"
    )
    for name in theirs:
        assert result.get_params()[name] == estimator.get_params()[name]
    with pytest.raises(NotFittedError):
        result.predict(X)


@both_ways
def test_a_source_of_random_numbers_is_not_shared(package):
    estimator = made(package, "binary", random_state=np.random.RandomState(5))
    result = converted(estimator)
    expected = copy.deepcopy(estimator).fit(X, Y["binary"])
    assert_same(result.fit(X, Y["binary"]), expected)
    assert_same(estimator.fit(X, Y["binary"]), expected)


# ------------------------------------------------------------------ what was fitted


@both_ways
@pytest.mark.parametrize("target", Y)
def test_attributes_and_predictions_are_the_same(package, target):
    estimator = made(package, target).fit(X, Y[target])
    result = converted(estimator)
    for name in NAMES:
        assert hasattr(result, name) == hasattr(estimator, name), name
        if hasattr(estimator, name):
            np.testing.assert_array_equal(getattr(result, name), getattr(estimator, name), name)
    np.testing.assert_allclose(outputs(result), outputs(estimator), rtol=1e-12, atol=1e-14)
    if kind_of(target) == "MLPClassifier":
        np.testing.assert_array_equal(result.predict(X), estimator.predict(X))
    assert result.score(X, Y[target]) == pytest.approx(estimator.score(X, Y[target]), rel=1e-12)


@both_ways
def test_names_of_features_are_carried(package):
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(X, columns=list("abcdef"))
    result = converted(made(package, "binary").fit(frame, Y["binary"]))
    assert list(result.feature_names_in_) == list("abcdef")
    with pytest.raises(ValueError, match="feature names should match"):
        result.predict(frame.rename(columns={"a": "z"}))


@both_ways
def test_float32_stays_float32(package):
    estimator = made(package, "strings").fit(X.astype(np.float32), Y["strings"])
    result = converted(estimator)
    assert_same(result, estimator, 0)
    close = outputs(estimator, X.astype(np.float32))
    np.testing.assert_allclose(outputs(result, X.astype(np.float32)), close, rtol=1e-4)


@both_ways
def test_the_original_is_left_alone_and_nothing_is_shared(package):
    estimator = made(package, "binary").fit(X, Y["binary"])
    before = copy.deepcopy(estimator)
    result = converted(estimator)
    result.partial_fit(X, Y["binary"])
    result.loss_curve_.append(1.0)
    result.classes_[:] = 7
    assert_same(estimator, before, 0)
    assert estimator.loss_curve_ == before.loss_curve_
    assert list(estimator.classes_) == [0, 1]
    estimator.partial_fit(X, Y["binary"])
    before.partial_fit(X, Y["binary"])
    assert_same(estimator, before, 0)


def test_there_and_back_is_the_same_to_the_bit():
    estimator = made("fastbp", "strings").fit(X, Y["strings"])
    result = fastbp.MLPClassifier.from_sklearn(estimator.to_sklearn())
    assert result.get_params() == estimator.get_params()
    assert outputs(result).tobytes() == outputs(estimator).tobytes()
    for _ in range(3):
        for one in (estimator, result):
            one.partial_fit(X, Y["strings"])
    assert_same(result, estimator, 0)


# ------------------------------------------------------------------ training that goes on


@both_ways
@pytest.mark.parametrize("settings", SOLVERS, ids=str)
def test_partial_fit_goes_on_where_the_original_would(package, settings):
    estimator = made(package, "regression", **settings)
    for _ in range(4):
        estimator.partial_fit(X, Y["regression"])
    result = converted(estimator)
    assert result._optimizer.learning_rate == pytest.approx(estimator._optimizer.learning_rate)
    for _ in range(4):
        for one in (estimator, result):
            one.partial_fit(X, Y["regression"])
    assert_same(result, estimator)
    assert result.t_ == estimator.t_
    assert result._optimizer.learning_rate == pytest.approx(estimator._optimizer.learning_rate)
    np.testing.assert_allclose(result.loss_curve_, estimator.loss_curve_, rtol=1e-12)


@both_ways
@pytest.mark.parametrize("settings", SOLVERS, ids=str)
def test_what_the_optimizer_has_kept_counts(package, settings):
    """The test above would see it: with a new optimizer the training is another one."""
    if settings.get("momentum") == 0.0 and settings["solver"] == "sgd":
        pytest.skip("nothing is kept")
    estimator = made(package, "regression", **settings)
    for _ in range(4):
        estimator.partial_fit(X, Y["regression"])
    result = converted(estimator)
    del result._optimizer
    for one in (estimator, result):
        one.partial_fit(X, Y["regression"])
    assert np.abs(result.coefs_[0] - estimator.coefs_[0]).max() > 1e-6


@both_ways
def test_parameters_changed_after_training_are_of_no_effect_on_its_optimizer(package):
    estimator = made(package, "regression", solver="sgd", momentum=0.5)
    estimator.partial_fit(X, Y["regression"])
    estimator.set_params(momentum=0.9, learning_rate_init=0.5)
    result = converted(estimator)
    for one in (estimator, result):
        one.partial_fit(X, Y["regression"])
    assert_same(result, estimator)


@both_ways
@pytest.mark.parametrize("early", [False, True])
def test_a_warm_start_goes_on_as_the_original_would(package, early):
    estimator = made(package, "integers", warm_start=True, early_stopping=early)
    result = converted(estimator.fit(X, Y["integers"]))
    for one in (estimator, result):
        one.fit(X, Y["integers"])
    assert_same(result, estimator)
    assert result.n_iter_ == estimator.n_iter_
    np.testing.assert_allclose(result.loss_curve_, estimator.loss_curve_, rtol=1e-12)
    assert result.best_validation_score_ == estimator.best_validation_score_


@both_ways
def test_a_warm_start_that_finds_nothing_better_keeps_its_last_weights_on_both_sides(package):
    estimator = made(package, "integers", warm_start=True, early_stopping=True)
    estimator.fit(X, Y["integers"]).best_validation_score_ = 2.0
    result = converted(estimator)
    for one in (estimator, result):
        one.fit(X, Y["integers"])
    assert_same(result, estimator)


@both_ways
def test_lbfgs_has_no_state_to_carry(package):
    estimator = made(package, "regression", solver="lbfgs").fit(X, Y["regression"])
    result = converted(estimator)
    assert not hasattr(result, "_optimizer")
    np.testing.assert_allclose(outputs(result), outputs(estimator), rtol=1e-12)


# ------------------------------------------------------------------ what cannot be


@pytest.mark.parametrize(
    ("target", "other"),
    [
        ("binary", neural_network.MLPRegressor()),
        ("regression", neural_network.MLPClassifier()),
        ("binary", fastbp.MLPClassifier()),
        ("binary", neural_network.MLPClassifier),
        ("regression", None),
    ],
)
def test_only_the_same_kind_of_scikit_learns_is_taken(target, other):
    kind = getattr(fastbp, kind_of(target))
    name = other.__name__ if other is neural_network.MLPClassifier else type(other).__name__
    name = "ABCMeta" if isinstance(other, type) else name
    with pytest.raises(TypeError, match=f"must be a sklearn.*{kind_of(target)}, got {name}$"):
        kind.from_sklearn(other)


class WithDropout(fastbp.MLPClassifier):
    """With a parameter that scikit-learn does not have, and one that changes nothing but speed."""

    def __init__(self, dropout=0.0, threads=None, activation="relu"):
        super().__init__(activation=activation)
        self.dropout = dropout
        self.threads = threads


def test_a_parameter_that_scikit_learn_does_not_have_is_an_error_unless_at_its_default():
    expected = r"^sklearn.MLPClassifier has no parameter 'dropout': it must be 0.0 here, got 0.5$"
    with pytest.raises(ValueError, match=expected):
        WithDropout(dropout=0.5).to_sklearn()
    assert type(WithDropout(threads=1).to_sklearn()) is neural_network.MLPClassifier


@pytest.mark.parametrize("value", [("tanh",), ["tanh", "tanh"]])
def test_one_activation_for_each_layer_is_told_as_one(value):
    assert WithDropout(activation=value).to_sklearn().activation == "tanh"


@pytest.mark.parametrize("value", ["gelu", ("relu", "tanh"), ["gelu", "gelu"], ()])
def test_a_value_that_scikit_learn_does_not_take_is_an_error(value):
    estimator = WithDropout(activation=value)
    with pytest.raises(ValueError, match="'activation' parameter of MLPClassifier must be"):
        estimator.to_sklearn()


class OfTheFuture(neural_network.MLPClassifier):
    """With a parameter that fastbp does not know."""

    def __init__(self, novelty="none", alpha=0.0):
        super().__init__(alpha=alpha)
        self.novelty = novelty


def test_a_parameter_of_a_later_scikit_learn_is_an_error_unless_at_its_default():
    with pytest.raises(ValueError, match="no parameter 'novelty': it must be 'none' here, got 'a'"):
        fastbp.MLPClassifier.from_sklearn(OfTheFuture("a"))
    assert fastbp.MLPClassifier.from_sklearn(OfTheFuture(alpha=2.0)).alpha == 2.0
