"""scikit-learn's checks of any estimator."""

from __future__ import annotations

import pytest

pytest.importorskip("sklearn")

from sklearn.utils.estimator_checks import parametrize_with_checks

import fastbp

ESTIMATORS = [
    fastbp.MLPClassifier(max_iter=100),
    fastbp.MLPRegressor(max_iter=100),
]


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.filterwarnings("ignore:Got `batch_size` less than 1 or larger:UserWarning")
@parametrize_with_checks(ESTIMATORS)
def test_the_conventions_of_scikit_learn_are_kept(estimator, check):
    check(estimator)
