"""The workload "networks" of `fastbp bench`: its cases, its reference, and what its check finds.

As everywhere in these tests, nothing looks at how long anything took.
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest

from fastbp.bench import limits, problems
from fastbp.bench.systems import SYSTEMS
from fastbp.bench.systems import reference as reference_system
from fastbp.bench.systems.reference import Reference
from fastbp.bench.systems.with_numpy import Numpy
from fastbp.bench.tables import tables
from fastbp.bench.verdicts import disagreement
from tests import oracle

SCALE = problems.Scale()
CASES = problems.cases_of("networks", SCALE)
QUICK = problems.cases_of("networks", problems.Scale.quick())
BY_NAME = {spec.name: spec for spec in SYSTEMS}
RULES = {
    "sgd": oracle.SGD,
    "momentum": oracle.Rule(momentum=problems.MOMENTUM),
    "adam": oracle.Rule(optimizer="adam", epsilon=1e-3),
}


def trained(system, problem, start=None):
    """Parameters by name, as a worker writes them, after one run of a system."""
    X, y = problems.examples(problem, problem.rows)
    start = problems.first_parameters(problem.sizes) if start is None else start
    trainer = system(1, "").trainer(problem, start, X, y)
    trainer.run()
    return named(trainer.parameters())


def named(parameters):
    kinds = zip(("weights", "biases"), parameters, strict=True)
    return {f"{kind}[{i}]": np.array(a) for kind, arrays in kinds for i, a in enumerate(arrays)}


def judged(arrays, problem):
    """What the check of a problem says of some parameters."""
    start = named(problems.first_parameters(problem.sizes))
    expected = trained(Reference, problem)
    return disagreement(arrays, expected, start, kinks=problem.has_kinks)


# ------------------------------------------------------------------ the cases


def test_the_networks_are_those_of_the_issue():
    found = [(case.sizes, case.activation, case.loss, case.optimizer, case.batch) for case in CASES]
    classes, wide = (784, 128, 10), (12288, 128, 64, 5)
    assert found == [
        *((classes, "relu", "cross_entropy", "adam", batch) for batch in (32, 128, 1024)),
        ((50, 100, 100, 1), "relu", "squared_error", "adam", 200),
        *(((4, 32, 16, 4), "tanh", "cross_entropy", "adam", batch) for batch in (32, 10000)),
        *((wide, "relu", "cross_entropy", "adam", batch) for batch in (16, 256)),
        *(((12288, 3, 2, 1), "sigmoid", "log_loss", "momentum", batch) for batch in (1, 64)),
    ]


def test_a_case_passes_over_whole_batches_of_data_that_memory_holds():
    for case in CASES:
        assert case.rows == case.steps * case.batch
        assert case.rows * case.sizes[0] * 4 <= 200 << 20
        assert case.units == case.steps * case.passes
    full_batch = next(case for case in CASES if case.batch == 10000)
    assert full_batch.steps == 1
    assert full_batch.passes > 10


def test_labels_fit_the_loss():
    for case in QUICK:
        X, y = problems.examples(case, 16)
        assert (X.shape, X.dtype, len(y)) == ((16, case.sizes[0]), np.float32, 16)
        if case.loss == "cross_entropy":
            assert y.dtype.kind == "i"
            assert set(y) == set(range(case.sizes[-1]))
        elif case.loss == "log_loss":
            assert set(y) == {0, 1}
        else:
            assert len(set(y)) == 16


def test_labels_tell_networks_apart():
    labels = [case.label for case in CASES]
    assert len(set(labels)) == len(labels)
    assert labels[0] == "784-128-10 relu adam, batch 32"


def test_the_check_makes_ten_steps_in_the_order_of_the_rows():
    for case in CASES:
        short = case.for_check()
        assert short.steps * short.passes == 10
        assert short.rows == short.steps * short.batch <= case.rows


def test_peers_are_tried_with_one_thread_and_with_all():
    assert BY_NAME["torch"].ways("networks", 2) == {"1 thread": 1, "all threads": 2}
    assert BY_NAME["torch"].ways("networks", 1) == {"1 thread": 1}
    assert BY_NAME["jax"].ways("networks", 4) == {
        "steps, 1 thread": 1,
        "steps, all threads": 4,
        "scan, 1 thread": 1,
        "scan, all threads": 4,
    }
    assert BY_NAME["fastbp"].ways("networks", 4) == {"": 4}
    assert BY_NAME["scipy"].ways("networks", 4) == {}


# ------------------------------------------------------------------ the check


@pytest.mark.parametrize("optimizer", RULES)
@pytest.mark.parametrize("loss", ["log_loss", "cross_entropy", "squared_error"])
@pytest.mark.parametrize("activation", ["sigmoid", "tanh", "relu"])
def test_the_reference_agrees_with_the_oracle(activation, loss, optimizer):
    case = problems.Training(
        "networks",
        (6, 5, 4, 3 if loss == "cross_entropy" else 1),
        batch=4,
        rows=12,
        steps=3,
        shuffle=False,
        activation=activation,
        loss=loss,
        optimizer=optimizer,
        passes=2,
        epsilon=1e-3,
    )
    start = problems.first_parameters(case.sizes, "float64")
    X, y = problems.examples(case, case.rows)
    expected = oracle.train(
        X,
        np.eye(3)[y] if loss == "cross_entropy" else y[:, None],
        *start,
        [range(first, first + 4) for first in (0, 4, 8, 0, 4, 8)],
        learning_rate=case.learning_rate,
        weight_decay=case.weight_decay,
        model=oracle.Model(activation, loss),
        rule=RULES[optimizer],
    )
    found = trained(Reference, case, start)
    for name, array in named((expected.weights, expected.biases)).items():
        # Both are float64, and differ by the order of sums alone.
        np.testing.assert_allclose(found[name], array, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("case", QUICK, ids=lambda case: case.label)
def test_numpy_is_right(case):
    short = case.for_check()
    assert judged(trained(Numpy, short), short) is None


@pytest.mark.parametrize("case", QUICK, ids=lambda case: case.label)
def test_no_training_at_all_is_wrong(case):
    short = case.for_check()
    assert "is off by" in judged(named(problems.first_parameters(case.sizes)), short)


# The last one has so many weights that the mean of them tells nothing.
@pytest.mark.parametrize(
    "case",
    [*QUICK, dataclasses.replace(QUICK[0], sizes=(400, 128, 5))],
    ids=lambda case: case.label,
)
def test_one_weight_that_is_not_trained_is_wrong(case):
    short = case.for_check()
    arrays = trained(Numpy, short)
    first = problems.first_parameters(case.sizes)[0][0]
    far = np.unravel_index(np.abs(arrays["weights[0]"] - first).argmax(), first.shape)
    arrays["weights[0]"][far] = first[far]
    assert "weights[0] is off by" in judged(arrays, short)


@pytest.mark.parametrize(
    "case", [case for case in QUICK if case.optimizer == "adam"], ids=lambda case: case.label
)
@pytest.mark.parametrize("wrong", ["beta_1", "beta_2", "epsilon", "place of epsilon", "momentum"])
def test_another_adam_is_wrong(case, wrong, monkeypatch):
    short = case.for_check()
    other = short
    if wrong == "beta_1":
        monkeypatch.setattr(reference_system, "ADAM_BETAS", (0.89, 0.999))
    elif wrong == "beta_2":
        monkeypatch.setattr(reference_system, "ADAM_BETAS", (0.9, 0.9))
    elif wrong == "epsilon":
        other = dataclasses.replace(short, epsilon=1e-8)
    elif wrong == "momentum":
        other = dataclasses.replace(short, optimizer="momentum")
    else:  # beside the root of what is not corrected, as scikit-learn has it
        other = dataclasses.replace(short, epsilon=short.epsilon / math.sqrt(1 - 0.999**10))
    arrays = trained(Reference, other)
    monkeypatch.undo()
    assert "is off by" in judged(arrays, short)


def test_a_unit_that_rounding_switches_off_for_a_row_is_right():
    """One row of a batch of 16 is lost to one unit in one of ten steps of Adam."""
    case = dataclasses.replace(QUICK[0], sizes=(40, 128, 5)).for_check()
    assert case.has_kinks
    start = named(problems.first_parameters(case.sizes))
    expected = trained(Reference, case)
    arrays = {name: array.copy() for name, array in expected.items()}
    step = np.abs(expected["weights[0]"] - start["weights[0]"]).max() / 10
    arrays["weights[0]"][3] += step / 16
    assert disagreement(arrays, expected, start, kinks=True) is None
    assert "weights[0]" in disagreement(arrays, expected, start)
    arrays["weights[0]"] += step / 16
    assert "in the mean" in disagreement(arrays, expected, start, kinks=True)


# ------------------------------------------------------------------ limits and tables


def test_what_an_optimizer_keeps_is_read_and_written_where_it_fits_in_no_cache():
    # 10-4-2: 40 + 8 weights, 192 bytes; with Adam's two numbers 576.
    plain = limits.training_work((10, 4, 2), 3, 4, 0)
    data = 4 * 3 * 10
    adam = limits.training_work((10, 4, 2), 3, 4, 575, kept=2)
    assert adam == limits.Work(plain.flops, data + 2 * 576)
    assert limits.training_work((10, 4, 2), 3, 4, 576, kept=2).nbytes == data


def test_the_work_of_a_case_has_what_its_optimizer_keeps():
    case = next(case for case in CASES if case.sizes == (12288, 128, 64, 5) and case.batch == 256)
    weights = 12288 * 128 + 128 * 64 + 64 * 5
    assert case.work(4 << 20).nbytes == 4 * (256 * 12288 + 2 * 3 * weights)


def test_the_table_tells_the_flop_rate_of_a_core():
    found = {"status": "ok", "median_seconds": 0.5, "fraction_of_limit": 0.25}
    peer = {**found, "median_seconds": 2.0}
    case = {
        "workload": "networks",
        "label": "4-32-16-4 tanh adam, batch 10000",
        "case": {"dtype": "float32"},
        "timed_part": 1.0,
        "flops": 20e9,
        "limit_seconds": 0.125,
        "systems": {"fastbp": {**found, "ratio_to_best_peer": 4.0}, "torch": peer},
    }
    result = {
        "limits": {"threads": {}},
        "settings": {"workloads": ["networks"], "threads": 2},
        "systems": {"fastbp": {}, "torch": {}},
        "results": [case],
    }
    table = next(table for table in tables(result) if "networks" in table.title)
    assert table.header[-4:] == ["best peer", "ratio", "of limit", "GFLOP/s a core"]
    assert table.rows[0][-4:] == ["torch", "4.00", "25%", "20.0"]
    case["systems"]["fastbp"] = {"status": "failed"}
    table = next(table for table in tables(result) if "networks" in table.title)
    assert table.rows[0][-1] == "-"
