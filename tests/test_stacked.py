"""Networks whose first layers are stacked (fastbp.engine.together, fastbp.kernels.wide.many)."""

from __future__ import annotations

import numpy as np
import pytest

from fastbp.engine import layout, method, together
from fastbp.engine.together import joined, joins, passes_of
from fastbp.kernels import plan as w
from fastbp.kernels.functions.losses import LOSS_CODES
from tests.oracle import Model, Rule
from tests.problems import InputFolding, make_problem
from tests.recipes import Training

pytestmark = pytest.mark.usefixtures("no_network_is_small", "any_network_is_stacked")

SIZES = (40, 20, 7, 3)
KINDS = [("float32", "float32"), ("float32", "uint8"), ("float64", "float64")]
ADAM = Rule("adam", epsilon=0.3)
OPTIMIZERS = {
    "momentum": Rule(momentum=0.8),
    "nesterov": Rule(momentum=0.8, nesterov=True),
    "adam": ADAM,
    "adamw": Rule("adamw", beta_1=0.8, beta_2=0.95, epsilon=0.3),
}

by_kind = pytest.mark.parametrize(("dtype", "data_dtype"), KINDS)


@pytest.fixture
def any_network_is_stacked(monkeypatch):
    monkeypatch.setattr(together, "_LEAST_INPUTS_OF_STACK", 1)
    monkeypatch.setattr(together, "_MOST_SIDE_BY_SIDE", 0)


def trainings_of(
    count=3, sizes=SIZES, rows=53, *, dtype="float32", data_dtype=None, models=None, **settings
):
    """As many trainings, of networks that differ in all that they may differ in."""
    trainings = []
    for i in range(count):
        problem = make_problem(
            sizes, rows, dtype=dtype, data_dtype=data_dtype or dtype, fold="none", seed=i,
            model=Model(**(models[i] if models else {"activation": "tanh"})),
        )  # fmt: skip
        rate = settings.get("learning_rate", 0.02) * (1 + i)
        if data_dtype == "uint8":  # as they are, up to 255
            problem.folding = InputFolding()
            problem.weights[0] /= 128
            rate /= 1024
        given = {"batch_size": 22, "rule": ADAM, "weight_decay": 0.1 * i} | settings
        trainings.append(Training(problem, **given | {"learning_rate": rate}))
    return trainings


def assert_all_follow_the_oracle(trainings, **how):
    results = Training.run_together(trainings, **how)
    for training, result in zip(trainings, results, strict=True):
        training.assert_came_to_what_the_oracle_says(*result)


# ------------------------------------------------------------------ against the oracle


@by_kind
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_every_optimizer(optimizer, dtype, data_dtype):
    assert_all_follow_the_oracle(
        trainings_of(dtype=dtype, data_dtype=data_dtype, rule=OPTIMIZERS[optimizer], epochs=2)
    )


@by_kind
def test_each_has_activations_of_its_own(dtype, data_dtype):
    models = [{"activation": name} for name in ("relu", "gelu", "sigmoid", "identity", "silu")]
    trainings = trainings_of(5, dtype=dtype, data_dtype=data_dtype, models=models)
    assert_all_follow_the_oracle(trainings)


def test_some_have_stored_slopes_and_others_do_not(set_num_threads):
    # Their scratch memory is of other sizes. A team of one thread has no two of them at a time.
    activations = ("relu", "gelu", "relu", "silu", "gelu", "relu")
    results = []
    for threads in (1, 2):
        set_num_threads(threads)
        models = [{"activation": name} for name in activations]
        trainings = trainings_of(6, (300, 100, 90, 3), 4000, models=models, batch_size=1000)
        results.append([Training.bits_of(*one) for one in Training.run_together(trainings)])
    assert results[0] == results[1]


@by_kind
@pytest.mark.parametrize("loss", LOSS_CODES)
def test_every_loss(loss, dtype, data_dtype):
    models = [{"loss": loss, "activation": "tanh"}, {"loss": loss, "activation": "relu"}]
    assert_all_follow_the_oracle(
        trainings_of(2, dtype=dtype, data_dtype=data_dtype, models=models, learning_rate=0.01)
    )


@pytest.mark.machine
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("batch_size", [1, 15, 53, 100])
@pytest.mark.parametrize(
    ("sizes", "count"),
    [((40, 20), 2), ((1, 20, 1), 3), ((67, 33, 5, 2), 4), ((300, 3, 2, 1), 9), ((70, 1), 5),
     ((2100, 20, 2), 3), ((40, 120, 2), 2)],
    ids=str,
)  # fmt: skip
def test_shapes_around_tiles(sizes, count, batch_size, dtype):
    trainings = trainings_of(
        count, sizes, 53, dtype=dtype, batch_size=batch_size, squares_share=0.5
    )  # few rows are swept over, but for the squares
    assert_all_follow_the_oracle(trainings)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_gradients_in_several_parts(dtype, monkeypatch):
    monkeypatch.setattr(layout.machine, "CACHES", layout.machine.CACHES.__class__(1, 1, 1))
    layout._scratch.cache_clear()
    assert_all_follow_the_oracle(trainings_of(3, (1100, 20, 3), dtype=dtype))
    layout._scratch.cache_clear()


def test_weights_of_rows_and_dropout_are_each_networks_own():
    trainings = trainings_of(dtype="float64", epochs=2)
    rng = np.random.default_rng(3)
    for i, training in enumerate(trainings):
        weights = rng.uniform(0.25, 2, 53).astype(np.float32)
        weights[i::4] = 0
        training.sample_weight = weights.astype(np.float64)
        training.dropout, training.seed = (0.0, 0.1 * (i + 1), 0.2), i
    assert_all_follow_the_oracle(trainings)


@pytest.mark.parametrize("sizes", [SIZES, (300, 3, 2, 1)], ids=str)
def test_squares_of_weights_are_added_up(sizes):
    alone, stacked = (
        trainings_of(sizes=sizes, dtype="float64", squares_share=0.5, epochs=2) for _ in range(2)
    )
    results = Training.run_together(stacked, 0.0)
    for training, other, (_, plan) in zip(alone, stacked, results, strict=True):
        training.problem = other.problem
        _, single = training.run()
        assert plan.squares > 0
        # A sum of some thousand squares, each of a weight that is right to 2^-40 or so.
        np.testing.assert_allclose(plan.squares, single.squares, rtol=2.0**-40)
        np.testing.assert_allclose(plan.totals, single.totals, rtol=2.0**-40)
        plan.clear_totals()
        assert plan.squares == 0


@pytest.mark.parametrize("sizes", [SIZES, (300, 3, 2, 1)], ids=str)
def test_without_numbers_for_each_step_they_are_those_of_the_plans(sizes):
    ends = []
    for stacks in (False, True):
        trainings = trainings_of(
            2, sizes, dtype="float64", rule=OPTIMIZERS["momentum"], squares_share=0.5
        )
        networks = [training.problem.network() for training in trainings]
        for training in trainings[1:]:
            training.problem.X = trainings[0].problem.X
        plans = [one.plan(network) for one, network in zip(trainings, networks, strict=True)]
        for i, plan in enumerate(plans):
            plan.settings[w.RATE], plan.settings[w.SQUARES_SHARE] = 0.02 * (i + 1), 0.5
        if stacks:
            joined(plans).train(None, 0, 3, [None, None], [0, 0])
        else:
            for plan in plans:
                plan.train(None, 0, 3)
        ends.append([*plans[0].arrays, *plans[1].arrays, np.array([p.squares for p in plans])])
    start = trainings[0].problem.weights[0]
    assert (ends[1][0] != start).any()
    for one, other in zip(*ends, strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=2.0**-40 * np.abs(one).max())


# ------------------------------------------------------------------ bits


@pytest.mark.machine
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("sizes", [SIZES, (300, 3, 2, 1), (2100, 20, 2)], ids=str)
def test_the_bits_depend_neither_on_threads_nor_on_calls(sizes, dtype, set_num_threads):
    results = []
    for threads, seconds in ((1, np.inf), (2, np.inf), (2, 0.0)):
        set_num_threads(threads)
        trainings = trainings_of(5, sizes, dtype=dtype, epochs=2)
        results.append(
            [Training.bits_of(*one) for one in Training.run_together(trainings, seconds)]
        )
    assert results[0] == results[1] == results[2]
    assert len(set(results[0])) == 5


def test_plans_can_be_used_alone_again():
    trainings = trainings_of(3, epochs=1)
    results = Training.run_together(trainings)
    for training, (network, plan) in zip(trainings, results, strict=True):
        before = [weight.copy() for weight in network.weights]
        steps = -(-53 // training.batch_size)
        plan.train(training.order(1), 0, steps, training.numbers(), steps)
        for old, new in zip(before, network.weights, strict=True):
            assert np.isfinite(new).all()
            assert (old != new).any()


def test_a_network_that_overflows_leaves_the_others_alone():
    alone, mixed = trainings_of(3), trainings_of(3)
    expected = [Training.bits_of(*one) for one in Training.run_together(alone)]
    mixed[1].problem.weights[0][:] = np.inf
    results = Training.run_together(mixed)
    assert np.isnan(results[1][0].weights[0]).any()
    for i in (0, 2):
        assert Training.bits_of(*results[i]) == expected[i]


# ------------------------------------------------------------------ which ones


def plan_of(sizes=SIZES, dtype="float32", fold="none", **settings):
    problem = make_problem(sizes, 53, dtype=dtype, data_dtype=dtype, fold=fold, model=Model())
    return Training(problem, 22, **{"rule": ADAM} | settings).plan(problem.network())


@pytest.mark.parametrize(
    "given",
    [
        {"rule": Rule("adam", clip_norm=1.0)},
        {"dropout": (0.1, 0.0, 0.0)},
        {"fold": "mean"},
        {"sizes": (40, 200, 3)},
    ],
    ids=str,
)
def test_what_is_not_stacked(given):
    assert joins(plan_of())
    plan = plan_of(**given)
    assert not joins(plan)
    with pytest.raises(ValueError, match="trained together must have"):
        joined([plan, plan])


@pytest.mark.parametrize(("outputs", "expected"), [(128, 2), (100, 2), (20, 12)])
def test_so_many_outputs_are_stacked(outputs, expected):
    assert passes_of(plan_of((40, outputs, 3)), 99, workers=2) == (-(-99 // expected), 1)


def test_narrow_layers_are_stacked_if_they_are_not_narrow_together(monkeypatch):
    monkeypatch.undo()
    monkeypatch.setattr(method, "_is_small", lambda case: False)
    plan = plan_of((5000, 3, 2, 1), squares_share=0.5)
    assert passes_of(plan, 5, workers=2) == (1, 1)
    assert type(joined([plan] * 5)).__name__ == "_SideBySide"
    assert passes_of(plan, 86, workers=2) == (2, 1)
    assert type(joined([plan] * 6)).__name__ == "_Stacked"
    few_columns = plan_of((500, 3, 2, 1), squares_share=0.5)
    assert passes_of(few_columns, 6, workers=2) == (2, 1)
