"""Optimizers as records: what compiled code is told, what is refused, how they are kept."""

from __future__ import annotations

import json

import numpy as np
import pytest

from fastbp.engine.recipe import Update
from fastbp.kernels import plan as w
from fastbp.kernels.functions.optimizers import ADAM, MOMENTUM, NESTEROV, OPTIMIZER_CODES, SGD
from fastbp.optimizers import KINDS, OPTIMIZERS, Optimizer, check_optimizer

EPS = np.finfo(float).eps
# Of 1 - beta^t for t up to 1000: a power with such an exponent, less what is nearly the same.
POWER = 2000 * EPS


def test_the_kinds_are_all_that_the_kernels_know():
    assert {kind.code for kind in KINDS.values()} == set(OPTIMIZER_CODES.values())
    assert all(kind.name == name for name, kind in KINDS.items())


@pytest.mark.parametrize(
    ("given", "kind", "code", "kept"),
    [
        ({"name": "sgd"}, "sgd", SGD, 0),
        ({"name": "sgd", "momentum": 0.9}, "momentum", MOMENTUM, 1),
        ({"name": "sgd", "momentum": 0.9, "nesterov": True}, "nesterov", NESTEROV, 1),
        ({"name": "adam"}, "adam", ADAM, 2),
        ({"name": "adamw"}, "adamw", ADAM, 2),
    ],
    ids=str,
)
def test_what_fit_is_told_makes_a_kind(given, kind, code, kept):
    optimizer = check_optimizer(**given)
    assert optimizer.kind == kind
    assert (optimizer.about.code, optimizer.about.kept) == (code, kept)
    assert Optimizer.from_dict(json.loads(json.dumps(optimizer.as_dict()))) == optimizer


def test_numbers_of_plain_descent_have_the_decay_in_keep():
    optimizer = check_optimizer("sgd", weight_decay=0.1)
    numbers = optimizer.numbers(7, [0.5, 0.25])
    np.testing.assert_array_equal(numbers[:, w.RATE], [0.5, 0.25])
    np.testing.assert_array_equal(numbers[:, w.KEEP], [1 - 0.5 * 0.1, 1 - 0.25 * 0.1])
    assert optimizer.to_recipe().penalty == 0
    assert optimizer.to_recipe().update is Update.DIRECT


@pytest.mark.parametrize("nesterov", [False, True])
def test_momentum_has_the_decay_in_the_gradient(nesterov):
    optimizer = check_optimizer("sgd", weight_decay=0.1, momentum=0.8, nesterov=nesterov)
    row = optimizer.numbers(7, [0.5])[0]
    assert (row[w.RATE], row[w.KEEP], row[w.CORRECTION], row[w.SHARE]) == (0.5, 1, 0, 0)
    assert row[w.PENALTY] == 0.1
    recipe = optimizer.to_recipe()
    assert (recipe.penalty, recipe.beta_1) == (0.1, 0.8)
    assert recipe.update is Update.PARTS


@pytest.mark.parametrize("first", [0, 1, 63, 64, 900])
def test_numbers_of_adam_follow_its_algorithm(first):
    optimizer = check_optimizer("adam", weight_decay=0.1, beta_1=0.8, beta_2=0.99)
    numbers = optimizer.numbers(first, np.full(70, 0.01))
    for row, t in zip(numbers, range(first + 1, first + 71), strict=True):
        assert row[w.RATE] == pytest.approx(0.01 / (1 - 0.8**t), rel=POWER)
        assert row[w.CORRECTION] == pytest.approx(1 / np.sqrt(1 - 0.99**t), rel=POWER)
        assert row[w.KEEP] == 1
    assert optimizer.to_recipe().penalty == 0.1


def test_adamw_decays_by_itself():
    optimizer = check_optimizer("adamw", weight_decay=0.1)
    assert optimizer.numbers(3, [0.5])[0, w.KEEP] == 1 - 0.5 * 0.1
    assert optimizer.to_recipe().penalty == 0


@pytest.mark.parametrize("t", [1, 2, 10, 1000])
def test_epsilon_beside_the_bare_root_is_the_other_form(t):
    optimizer = Optimizer("adam", bare_epsilon=True)
    row = optimizer.numbers(t - 1, [0.01])[0]
    expected = 0.01 * np.sqrt(1 - 0.999**t) / (1 - 0.9**t)
    assert row[w.RATE] == pytest.approx(expected, rel=POWER)
    assert row[w.CORRECTION] == 1


@pytest.mark.parametrize("name", ["sgd", "adam"])
def test_numbers_are_the_same_however_steps_are_cut(name):
    optimizer = check_optimizer(name)
    rates = np.linspace(0.1, 0.9, 300)
    whole = optimizer.numbers(5, rates)
    for cut in (1, 7, 64, 100):
        parts = [optimizer.numbers(5 + i, rates[i : i + cut]) for i in range(0, 300, cut)]
        np.testing.assert_array_equal(np.concatenate(parts), whole)


def test_shares_are_told():
    numbers = check_optimizer("adam").numbers(0, [0.1, 0.1], [0.5, 0.0])
    np.testing.assert_array_equal(numbers[:, w.SHARE], [0.5, 0.0])


def test_clipping_needs_all_gradients():
    assert check_optimizer("adam", clip_norm=1.0).to_recipe().update is Update.WHOLE
    assert check_optimizer("sgd", clip_norm=1.0).to_recipe().clip_norm == 1.0


@pytest.mark.parametrize("seed", [0, 5, 2**63 - 1, 2**63, 2**64 + 5, 10**40])
def test_a_seed_of_any_size_is_a_word(seed):
    word = Optimizer().to_recipe(seed=seed).seed
    assert -(2**63) <= word < 2**63
    assert word % 2**64 == seed % 2**64


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ({"name": "adagrad"}, ValueError, "one of: 'sgd', 'adam', 'adamw', got 'adagrad'"),
        ({"name": None}, TypeError, "optimizer must be a str"),
        ({"name": "adam", "momentum": 0.9}, ValueError, "momentum and nesterov are of optimizer"),
        ({"name": "adamw", "nesterov": True}, ValueError, "are of optimizer 'sgd'"),
        ({"name": "sgd", "nesterov": True}, ValueError, "nesterov needs a momentum"),
        ({"name": "sgd", "nesterov": 1}, TypeError, "nesterov must be a bool"),
        ({"name": "sgd", "momentum": 1.0}, ValueError, "momentum must be less than 1"),
        ({"name": "sgd", "momentum": -0.1}, ValueError, "momentum must not be negative"),
        ({"name": "adam", "beta_1": 1.0}, ValueError, "beta_1 must be less than 1"),
        ({"name": "adam", "beta_2": "x"}, TypeError, "beta_2 must be a real number"),
        ({"name": "adam", "epsilon": 0.0}, ValueError, "epsilon must be greater than 0"),
        ({"name": "sgd", "clip_norm": 0.0}, ValueError, "clip_norm must be greater than 0"),
        ({"name": "sgd", "weight_decay": float("nan")}, ValueError, "weight_decay must be finite"),
    ],
    ids=str,
)
def test_what_is_out_of_range_is_refused(given, error, message):
    with pytest.raises(error, match=message):
        check_optimizer(**given)


@pytest.mark.parametrize(
    "record",
    [
        None,
        {},
        {**Optimizer().as_dict(), "more": 1},
        {**Optimizer().as_dict(), "kind": "adagrad"},
        {**Optimizer().as_dict(), "kind": "momentum"},
        {**Optimizer().as_dict(), "bare_epsilon": 1},
        {**Optimizer().as_dict(), "beta_1": -1.0},
    ],
    ids=str,
)
def test_a_record_that_describes_none_is_refused(record):
    with pytest.raises((TypeError, ValueError)):
        Optimizer.from_dict(record)


def test_names_for_fit_are_kinds():
    assert set(OPTIMIZERS) <= set(KINDS)
