"""The workload "estimators" of `fastbp bench`: its cases, what its check finds, and that it runs.

As everywhere in these tests, nothing looks at how long anything took.
"""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest

from fastbp.bench import estimators, limits, problems
from fastbp.bench.comparison import Settings, _judge, run
from fastbp.bench.systems import SYSTEMS, SystemSpec, reference_of
from fastbp.bench.tables import tables

pytest.importorskip("sklearn")
from sklearn.neural_network import MLPClassifier, MLPRegressor

CLASSES = MLPClassifier, MLPRegressor
CASES = problems.cases_of("estimators", problems.Scale())
QUICK = problems.cases_of("estimators", problems.Scale.quick())
DIGITS = next(case for case in QUICK if case.data == "digits" and case.task == "fit")
BYTES = next(case for case in QUICK if case.dtype == "uint8")
BY_NAME = {spec.name: spec for spec in SYSTEMS}

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


def with_other(**parameters):
    """Both classes with other defaults than their own."""

    def made(kind):
        return lambda **given: kind(**{**given, **parameters})

    return tuple(map(made, CLASSES))


# ------------------------------------------------------------------ the cases


def test_the_cases_are_those_of_the_issue():
    found = [(case.data, case.rows, case.sizes, case.dtype) for case in CASES if case.task == "fit"]
    assert found == [
        ("digits", 1797, (64, 100, 10), "float64"),
        ("breast_cancer", 569, (30, 100, 1), "float64"),
        ("classification", 100_000, (50, 100, 1), "float64"),
        ("regression", 100_000, (50, 100, 1), "float64"),
        ("random", 20_000, (784, 100, 10), "float64"),
        ("random", 4096, (12288, 100, 1), "float64"),
        ("random", 4096, (12288, 100, 1), "uint8"),
    ]
    assert any(case.task == "predict" for case in CASES)


def test_labels_tell_cases_apart():
    labels = [case.label for case in CASES]
    assert len(set(labels)) == len(labels)
    assert labels[0] == "digits, 1797 x 64"
    assert "random, 4096 x 12288 uint8" in labels
    assert "predict one row of digits" in labels


@pytest.mark.parametrize("case", QUICK, ids=lambda case: case.label)
def test_data_are_as_the_case_says_and_the_same_each_time(case):
    X, y = case.examples()
    assert X.shape == (case.rows, case.sizes[0])
    assert X.dtype == case.dtype
    assert len(y) == case.rows
    if case.is_regression:
        assert y.dtype == np.float64
    else:
        assert len(np.unique(y)) == max(case.sizes[-1], 2)
    for one, other in zip((X, y), case.examples(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_sample_is_all_of_a_fit_or_many_predictions():
    assert DIGITS.units == DIGITS.epochs
    assert dataclasses.replace(DIGITS, task="predict").units > 100


def test_the_work_of_an_epoch_has_the_short_last_batch():
    case = dataclasses.replace(DIGITS, rows=450)
    whole = limits.training_work((64, 100, 10), 200, 8, 0, itemsize=8, kept=2)
    rest = limits.training_work((64, 100, 10), 50, 8, 0, itemsize=8, kept=2)
    assert case.work(0).flops == 2 * whole.flops + rest.flops
    assert case.work(0).nbytes == 2 * whole.nbytes + rest.nbytes
    exact = dataclasses.replace(DIGITS, rows=400)
    assert exact.work(0) == limits.Work(2 * whole.flops, 2 * whole.nbytes)


def test_bytes_are_counted_as_bytes_and_computed_with_in_float32():
    assert BYTES.arithmetic == "float32"
    assert BYTES.work(0).nbytes < dataclasses.replace(BYTES, dtype="float64").work(0).nbytes
    predict = dataclasses.replace(DIGITS, task="predict").work(0)
    assert predict == limits.Work(2 * (6400 + 1000), 8 * 64 + 8 * (6400 + 1000))


def test_an_estimator_that_stops_before_is_an_error():
    X, y = DIGITS.examples()
    case = dataclasses.replace(DIGITS, epochs=30)
    with pytest.raises(RuntimeError, match="epochs in place of 30"):
        estimators.fitted(with_other(tol=10.0, n_iter_no_change=2), case, X, y)


def test_predictions_go_on_through_the_rows():
    rows = []

    class Counting:
        def predict(self, X):
            assert X.shape == (1, 3)
            rows.append(int(X[0, 0]))

    run = estimators.one_row_runner(Counting(), np.arange(21).reshape(7, 3))
    run()
    run()
    assert rows == [
        3 * (i % 7) for i in range(2 * dataclasses.replace(DIGITS, task="predict").units)
    ]


# ------------------------------------------------------------------ the check


@pytest.mark.parametrize("case", QUICK, ids=lambda case: case.label)
def test_the_same_model_is_right(case):
    reference = estimators.results(CLASSES, case)
    assert _judge(case, estimators.results(CLASSES, case), reference) is None


@pytest.mark.parametrize("case", QUICK, ids=lambda case: case.label)
def test_another_seed_is_wrong(case):
    reference = estimators.results(CLASSES, case)
    wrong = estimators.results(with_other(random_state=1), case)
    assert "is off by" in _judge(case, wrong, reference)


@pytest.mark.parametrize(
    "case", [case for case in QUICK if case.task == "fit"], ids=lambda case: case.label
)
@pytest.mark.parametrize("wrong", [{"alpha": 1.0}, {"beta_2": 0.9}])
def test_another_rule_is_wrong(case, wrong):
    reference = estimators.results(CLASSES, case)
    assert "is off by" in _judge(case, estimators.results(with_other(**wrong), case), reference)


def test_one_coefficient_and_one_loss_that_are_not_the_same_are_wrong():
    reference = estimators.results(CLASSES, DIGITS)
    for name, index in (("coefs[0]", (3, 5)), ("intercepts[1]", 2), ("loss_curve", 1)):
        arrays = {key: array.copy() for key, array in reference.items()}
        arrays[name][index] += 1e-6
        assert f"{name} is off by 1e-06" in _judge(DIGITS, arrays, reference)
        arrays[name][index] = np.nan
        assert f"{name} is off by nan" in _judge(DIGITS, arrays, reference)
    del arrays["coefs[1]"]
    assert "coefs[1] should have shape (100, 10)" in _judge(DIGITS, arrays, reference)


def test_a_model_from_bytes_that_is_not_trained_is_wrong():
    reference = estimators.results(CLASSES, BYTES)
    untrained = {
        name.removeprefix("start "): reference[name] for name in reference if "start" in name
    }
    assert "coefs[0] is off by" in _judge(BYTES, untrained, reference)


# ------------------------------------------------------------------ the comparison


@pytest.fixture(scope="module")
def result():
    specs = BY_NAME["fastbp"], BY_NAME["sklearn"]
    return run(Settings(("estimators",), specs, threads=1, rounds=1, quick=True))


def test_fastbp_makes_the_models_of_scikit_learn(result):
    assert result["notes"] == []
    assert [case["label"] for case in result["results"]] == [case.label for case in QUICK]
    for case in result["results"]:
        assert set(case["systems"]) == {"fastbp", "sklearn"}
        for found in case["systems"].values():
            assert found["status"] == "ok", found
            assert found["median_seconds"] > 0
    json.dumps(result)


def test_epochs_and_predictions_have_tables_of_their_own(result):
    found = {table.title: table for table in tables(result)}
    epochs = found["estimators at their defaults, an epoch: milliseconds"]
    predictions = found["estimators, a prediction: microseconds"]
    assert [row[0] for row in epochs.rows] == [case.label for case in QUICK if case.task == "fit"]
    assert [row[0] for row in predictions.rows] == ["predict one row of digits"]
    case = result["results"][-1]
    shown = float(predictions.rows[0][predictions.header.index("sklearn")])
    assert shown == pytest.approx(1e6 * case["systems"]["sklearn"]["median_seconds"], rel=0.01)
    summary = [row[:2] for row in found["summary"].rows]
    assert ["estimators: sklearn", "4"] in summary
    assert ["estimators predict: sklearn", "1"] in summary


def test_without_scikit_learn_the_workload_is_left_out(monkeypatch):
    monkeypatch.setattr(SystemSpec, "missing", lambda spec: ["sklearn"] * (spec.name == "sklearn"))
    settings = Settings(("estimators",), (BY_NAME["fastbp"],), threads=1, rounds=1, quick=True)
    found = run(settings)
    assert found["notes"] == ["estimators is left out: sklearn is not installed"]
    assert found["results"] == []


def test_the_reference_of_the_estimators_is_scikit_learn():
    assert reference_of("estimators") == BY_NAME["sklearn"]
    assert reference_of("matmul") is None
    assert reference_of("step").name == "reference"
