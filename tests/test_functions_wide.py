"""Every activation, loss and optimizer in networks with a wide first layer, by every method.

What `wide.functions`, `output`, `optimize` and `gather` add to the passes over layers.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from fastbp.engine import layout, method
from fastbp.engine.evaluation import evaluate
from fastbp.kernels.functions.activations import ACTIVATION_CODES
from fastbp.kernels.functions.losses import LOSS_CODES
from tests import oracle, rules
from tests.oracle import Model, Rule
from tests.problems import make_problem
from tests.recipes import Training
from tests.tolerance import assert_within
from tests.training import bits

pytestmark = pytest.mark.usefixtures("no_network_is_small")

SIZES = (40, 20, 7, 3)
METHODS = {"dense": (22, 1), "sweep": (7, 1), "delayed": (5, 3)}  # rows of a batch, of a group
KINDS = [
    ("float32", "float32", "mean"),
    ("float64", "float64", "none"),
    ("float32", "uint8", "feature"),
    ("float64", "uint8", "scalar"),
]
OPTIMIZERS = {
    "momentum": Rule(momentum=0.8),
    "nesterov": Rule(momentum=0.8, nesterov=True),
    "adam": Rule("adam", epsilon=0.3),
    "adamw": Rule("adamw", beta_1=0.8, beta_2=0.95, epsilon=0.3),
}

by_kind = pytest.mark.parametrize(("dtype", "data_dtype", "fold"), KINDS)
by_method = pytest.mark.parametrize("name", METHODS)


@pytest.fixture
def steps_of(monkeypatch):
    """Make steps by a method, whatever the shapes: returns the rows of a batch."""

    def choose(name):
        batch, group = METHODS[name]
        monkeypatch.setattr(method, "wide_group", lambda n0, n1, batch, itemsize: group)
        return batch

    return choose


def problem_of(kind, sizes=SIZES, rows=47, **model):
    dtype, data_dtype, fold = kind
    return make_problem(
        sizes, rows, dtype=dtype, data_dtype=data_dtype, fold=fold, model=Model(**model)
    )


def row_weights(rows):
    weights = np.random.default_rng(3).uniform(0.25, 2, size=rows).astype(np.float32)
    weights[::5] = 0
    return weights.astype(np.float64)


# ------------------------------------------------------------------ against the oracle


@by_kind
@by_method
@pytest.mark.parametrize("activation", ACTIVATION_CODES)
def test_every_activation(activation, name, dtype, data_dtype, fold, steps_of):
    problem = problem_of((dtype, data_dtype, fold), activation=activation)
    Training(problem, steps_of(name), weight_decay=0.1).assert_follows_the_oracle(name)


@by_kind
@by_method
def test_each_layer_has_its_own_activation(name, dtype, data_dtype, fold, steps_of):
    problem = problem_of(
        (dtype, data_dtype, fold), (40, 20, 9, 6, 2), activation=("tanh", "silu", "identity")
    )
    Training(problem, steps_of(name)).assert_follows_the_oracle(name)


@by_kind
@by_method
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("loss", LOSS_CODES)
def test_every_loss(loss, weighted, name, dtype, data_dtype, fold, steps_of):
    problem = problem_of((dtype, data_dtype, fold), loss=loss)
    weights = row_weights(47) if weighted else None
    training = Training(problem, steps_of(name), sample_weight=weights)
    training.assert_follows_the_oracle(name)


@by_method
@pytest.mark.parametrize("sizes", [(40, 20, 37), (40, 37)])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_more_outputs_than_lanes(dtype, sizes, name, steps_of):
    problem = problem_of((dtype, dtype, "none"), sizes, loss="cross_entropy")
    Training(problem, steps_of(name)).assert_follows_the_oracle(name)


@by_kind
@pytest.mark.parametrize("name", ["dense", "sweep"])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_every_optimizer(optimizer, name, dtype, data_dtype, fold, steps_of):
    problem = problem_of((dtype, data_dtype, fold), activation="tanh", loss="squared_error")
    Training(
        problem, steps_of(name), learning_rate=0.02, weight_decay=0.1, rule=OPTIMIZERS[optimizer],
        epochs=2,
    ).assert_follows_the_oracle(name)  # fmt: skip


@pytest.mark.parametrize("optimizer", ["sgd", *OPTIMIZERS])
@pytest.mark.parametrize("name", ["dense", "sweep"])
def test_each_step_has_its_own_numbers(name, optimizer, steps_of):
    problem = problem_of(KINDS[0], activation="relu")
    Training(
        problem, steps_of(name), learning_rate=lambda step: 0.05 / (1 + step), weight_decay=0.2,
        rule=OPTIMIZERS.get(optimizer, oracle.SGD), sample_weight=row_weights(47), epochs=2,
    ).assert_follows_the_oracle(name)  # fmt: skip


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("sizes", [(1100, 20, 3), (600, 530, 2)])
@pytest.mark.parametrize("name", ["dense", "sweep"])
def test_gradients_in_several_parts(name, sizes, dtype, steps_of, monkeypatch):
    monkeypatch.setattr(layout.machine, "CACHES", layout.machine.CACHES.__class__(1, 1, 1))
    layout._scratch.cache_clear()
    problem = problem_of((dtype, "uint8", "feature"), sizes, 30, activation="relu")
    Training(
        problem, steps_of(name), learning_rate=0.01, rule=OPTIMIZERS["adam"]
    ).assert_follows_the_oracle(name)
    layout._scratch.cache_clear()


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_a_batch_deeper_than_a_block(optimizer, steps_of):
    steps_of("dense")
    rows = rules.tiles("float32").kc + 33
    problem = problem_of(KINDS[2], (40, 20, 3), rows, activation="gelu", loss="cross_entropy")
    Training(
        problem, rows, rule=OPTIMIZERS.get(optimizer, oracle.SGD), epochs=2, learning_rate=0.01
    ).assert_follows_the_oracle("dense")


# ------------------------------------------------------------------ clipping


@pytest.mark.parametrize(("dtype", "data_dtype", "fold"), [KINDS[0], KINDS[3]])
@pytest.mark.parametrize("sizes", [SIZES, (70, 4, 2), (1, 1), (300, 250, 3)])
@pytest.mark.parametrize("norm", [0.05, 100.0])
@pytest.mark.parametrize("optimizer", ["sgd", *OPTIMIZERS])
def test_clipping(optimizer, norm, sizes, dtype, data_dtype, fold, steps_of):
    steps_of("sweep")
    problem = problem_of((dtype, data_dtype, fold), sizes, loss="squared_error")
    rule = OPTIMIZERS.get(optimizer, oracle.SGD)._replace(clip_norm=norm)
    training = Training(problem, 16, learning_rate=0.05, weight_decay=0.3, rule=rule, epochs=2)
    training.assert_follows_the_oracle("dense")


# ------------------------------------------------------------------ dropout


@by_kind
@by_method
@pytest.mark.parametrize("activation", ["sigmoid", "identity", "relu", "gelu"])
def test_dropout_of_hidden_layers(activation, name, dtype, data_dtype, fold, steps_of):
    problem = problem_of((dtype, data_dtype, fold), activation=activation)
    Training(
        problem, steps_of(name), dropout=(0, 0.5, 0.2), seed=77, epochs=2
    ).assert_follows_the_oracle(name)


@by_kind
@pytest.mark.parametrize("batch", [5, 22])
@pytest.mark.parametrize("sizes", [SIZES, (70, 4, 2), (530, 3)])
def test_dropout_of_the_input(sizes, batch, dtype, data_dtype, fold):
    problem = problem_of((dtype, data_dtype, fold), sizes)
    shares = (0.3, *[0.25, 0.0][: len(sizes) - 2])
    Training(problem, batch, dropout=shares, seed=2**62 + 5, epochs=2).assert_follows_the_oracle(
        "dense"
    )


def test_everything_at_once(steps_of):
    problem = problem_of(KINDS[2], activation=("elu", "gelu"), loss="cross_entropy")
    rule = Rule("adamw", epsilon=1e-3, clip_norm=0.1)
    Training(
        problem, 9, learning_rate=lambda step: 0.01 / (1 + step), weight_decay=0.1, rule=rule,
        sample_weight=row_weights(47), dropout=(0.1, 0.3, 0.2), seed=4, epochs=2,
    ).assert_follows_the_oracle("dense")  # fmt: skip


# ------------------------------------------------------------------ the same bits


def various(name, problem, batch):
    """Trainings that go through all of the code of a method."""
    yield Training(problem, batch, dropout=(0, 0.3, 0.1), seed=3, sample_weight=row_weights(150))
    if name != "delayed":
        yield Training(problem, batch, 0.01, rule=OPTIMIZERS["adam"], dropout=(0, 0.3, 0.1))
    if name == "dense":
        rule = OPTIMIZERS["momentum"]._replace(clip_norm=0.1)
        yield Training(problem, batch, 0.01, rule=rule, dropout=(0.1, 0.3, 0.1), weight_decay=0.1)


@by_method
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_same_bits_with_any_number_of_threads(dtype, name, steps_of, set_num_threads):
    batch = steps_of(name)
    problem = problem_of(
        (dtype, "uint8", "feature"), (1030, 140, 20, 11), 150, activation=("silu", "tanh"),
        loss="cross_entropy",
    )  # fmt: skip
    for training in various(name, problem, batch):
        results = []
        for count in (1, 2, 1):
            set_num_threads(count)
            network, plan = training.run()
            results.append((bits(network), plan.totals.tobytes()))
        assert results[0] == results[1] == results[2]


@by_method
def test_the_same_bits_however_an_epoch_is_divided(name, steps_of):
    batch = steps_of(name)
    problem = problem_of(KINDS[2], (130, 40, 20, 3), 150, activation="gelu", loss="huber")
    for training in various(name, problem, batch):
        results = set()
        for groups in (1, 2, 3, 1000):
            network, plan = training.run(groups)
            results.add((bits(network), plan.totals.tobytes()))
        assert len(results) == 1


# ------------------------------------------------------------------ outputs


@by_kind
@pytest.mark.parametrize("rows", [3, 16, 40])
@pytest.mark.parametrize("activation", ACTIVATION_CODES)
def test_outputs_of_every_activation(activation, rows, dtype, data_dtype, fold):
    problem = problem_of((dtype, data_dtype, fold), rows=rows, activation=activation)
    z = evaluate(problem.network(), problem.X, sigmoid_out=False)
    assert_within(z, problem.forward().Z[-1], problem.bounds().Z[-1], "Z")


def test_each_plan_drops_what_it_is_told():
    # Addresses of regions are kept for the next plan of the same method and types.
    problem = problem_of(KINDS[0])
    for dropout in (None, (0.5, 0, 0), None, (0, 0.5, 0), (0.5, 0.5, 0)):
        rule = Rule(clip_norm=1.0)
        training = Training(problem, 22, rule=rule, dropout=dropout)
        training.assert_follows_the_oracle("dense")


def test_a_plan_follows_a_network_whose_functions_change():
    problem = problem_of(KINDS[1], activation="tanh")
    network = problem.network()
    training = Training(problem, 23)
    plan = training.plan(network)
    network.activation, network.loss_function = "relu", "huber"
    plan.follow(network)
    plan.train(None, 0, 3, training.numbers())

    changed = dataclasses.replace(problem, model=Model("relu", "huber"))
    other = changed.network()
    Training(changed, 23).plan(other).train(None, 0, 3, training.numbers())
    assert bits(network) == bits(other)
