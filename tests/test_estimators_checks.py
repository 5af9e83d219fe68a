"""scikit-learn's checks of any estimator."""

from __future__ import annotations

import pytest

pytest.importorskip("sklearn")

import sklearn.neural_network
from sklearn.utils import get_tags
from sklearn.utils.estimator_checks import (
    check_dataframe_column_names_consistency,
    parametrize_with_checks,
)

import fastbp

# With scikit-learn's own parameters for its MLP, and by the other way of training.
ESTIMATORS = [
    fastbp.MLPClassifier(max_iter=100),
    fastbp.MLPRegressor(max_iter=100),
    fastbp.MLPClassifier(max_iter=100, solver="lbfgs"),
    fastbp.MLPRegressor(max_iter=100, solver="lbfgs"),
]


# As a list: up to scikit-learn 1.7 it is an iterator, which pytest 9 deprecates.
_checks = parametrize_with_checks(ESTIMATORS)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.filterwarnings("ignore:Got `batch_size` less than 1 or larger:UserWarning")
@pytest.mark.parametrize(_checks.args[0], [*_checks.args[1]], **_checks.kwargs)
def test_the_conventions_of_scikit_learn_are_kept(estimator, check):
    check(estimator)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("early_stopping", [False, True])
@pytest.mark.parametrize("name", ["MLPClassifier", "MLPRegressor"])
def test_names_of_columns_are_kept_in_mind(name, early_stopping):
    # scikit-learn's own MLP fails this check where it stops early, as it validates in `fit`.
    pytest.importorskip("pandas")
    estimator = getattr(fastbp, name)(max_iter=30, n_iter_no_change=1)
    check_dataframe_column_names_consistency(
        name, estimator.set_params(early_stopping=early_stopping)
    )


@pytest.mark.parametrize("name", ["MLPClassifier", "MLPRegressor"])
def test_tags_and_requests_are_scikit_learn_s(name):
    theirs, mine = (getattr(module, name)() for module in (sklearn.neural_network, fastbp))
    assert get_tags(mine) == get_tags(theirs)
    one, other = theirs.get_metadata_routing(), mine.get_metadata_routing()
    for method in ("fit", "partial_fit", "score"):
        assert getattr(one, method).requests == getattr(other, method).requests
