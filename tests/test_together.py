"""Networks that make their steps together (fastbp.engine.together, fastbp.kernels.narrow.many).

Each ends with the bits that its own plan gives it; what those are is told by `test_shards`.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

import fastbp
from fastbp.engine.plan import NetworkPlan
from fastbp.engine.together import joined, joins, passes_of
from fastbp.optimizers import Optimizer
from fastbp.parameters import Parameters

# The data's dtype beside the network's.
_KINDS = [("float32", "float32"), ("float32", "uint8"), ("float64", "float64")]
_OPTIMIZERS = [
    Optimizer("sgd"),
    Optimizer("nesterov", momentum=0.9),
    Optimizer("adam", weight_decay=0.01),
]


def _rows(n, columns, data_dtype, seed=0):
    rng = np.random.default_rng(seed)
    if data_dtype == "uint8":
        return rng.integers(0, 256, (n, columns)).astype(np.uint8)
    return rng.standard_normal((n, columns)).astype(data_dtype)


class _Model:
    """A network with all that its training needs, made anew from a seed."""

    def __init__(self, number, sizes, X, optimizer, dtype, batch, **changes):
        rng = np.random.default_rng(number)
        weights = [rng.uniform(-1, 1, (b, a)).astype(dtype) / 2**8 for a, b in pairwise(sizes)]
        biases = [rng.uniform(-1, 1, n).astype(dtype) for n in sizes[1:]]
        self.parameters = Parameters(sizes, weights, biases, activation="relu", dtype=dtype)
        y = self.y = rng.integers(0, 2, (len(X), sizes[-1])).astype(dtype)
        kept = [
            [np.zeros_like(array) for array in weights + biases]
            for _ in range(optimizer.about.kept)
        ]
        self.given = changes.pop("row_weights", None)
        recipe = optimizer.to_recipe(
            kept, row_weights=self.given, is_constant=False, **changes
        )._replace(squares=sizes[0] >= 1024 or optimizer.kind != "sgd")
        self.plan = NetworkPlan(self.parameters, X, y, batch_size=batch, recipe=recipe)
        self._optimizer, self._batch, self._rate = optimizer, batch, 0.01 * (1 + number)

    def numbers(self, order, steps):
        shares = None
        if self.given is not None:
            ordered = self.given if order is None else self.given[order]
            shares = 1 / np.add.reduceat(ordered, np.arange(0, len(ordered), self._batch))
        table = self._optimizer.numbers(0, np.full(steps, self._rate), shares)
        return np.ascontiguousarray(table)

    @property
    def results(self):
        recipe = self.plan.recipe
        kept = [array for arrays in recipe.state for array in arrays]
        totals = self.plan.totals, np.array(self.plan.squares)
        return [*self.plan.arrays, *kept, *totals]


def _assert_same_bits(alone, together):
    for one, other in zip(alone, together, strict=True):
        for mine, theirs in zip(one.results, other.results, strict=True):
            assert np.isfinite(mine).all()
            np.testing.assert_array_equal(mine, theirs)


def _train(make, count, order, steps, epochs=2):
    """As many networks alone and together; both."""
    alone, together = ([make(seed) for seed in range(count)] for _ in range(2))
    numbers = [model.numbers(order, steps) for model in alone]
    company = joined([model.plan for model in together])
    for _ in range(epochs):
        for model, table in zip(alone, numbers, strict=True):
            model.plan.train(order, 0, steps, table)
        company.train(order, 0, steps, numbers, [0] * count)
    return alone, together


@pytest.mark.parametrize("optimizer", _OPTIMIZERS, ids=lambda one: one.kind)
@pytest.mark.parametrize(("dtype", "data_dtype"), _KINDS)
@pytest.mark.parametrize("batch", [1, 7, 33, 200])
@pytest.mark.parametrize("sizes", [(5, 1), (67, 3, 2, 1), (2100, 5, 2)], ids=str)
def test_each_gets_the_bits_that_it_gets_alone(sizes, batch, dtype, data_dtype, optimizer):
    n = 2 * batch + (batch + 1) // 2  # the last step has fewer rows
    X = _rows(n, sizes[0], data_dtype)
    order = np.random.default_rng(1).permutation(n)
    count = min(4, 16 // sizes[1])

    def make(seed):
        return _Model(seed, sizes, X, optimizer, dtype, batch)

    assert joins(make(0).plan)
    _assert_same_bits(*_train(make, count, order, -(-n // batch)))


def test_a_few_rows_that_are_left_are_one_tile_without_a_gradient():
    sizes, batch = (12288, 3, 2, 1), 140
    X = _rows(batch + 7, sizes[0], "float32")

    def make(seed):
        model = _Model(seed, sizes, X, _OPTIMIZERS[0], "float32", batch)
        model.plan = NetworkPlan(model.parameters, X, model.y, batch_size=batch)
        return model

    assert joins(make(0).plan)
    _assert_same_bits(*_train(make, 4, None, 2))


@pytest.mark.parametrize("threads", [1, 2])
def test_the_bits_do_not_depend_on_threads(threads):
    X = _rows(500, 300, "float32")

    def make(seed):
        return _Model(seed, (300, 3, 2, 1), X, _OPTIMIZERS[2], "float32", 200)

    alone, together = _train(make, 5, None, 3)
    before = fastbp.get_num_threads()
    fastbp.set_num_threads(min(threads, before))
    try:
        _, others = _train(make, 5, None, 3)
    finally:
        fastbp.set_num_threads(before)
    _assert_same_bits(alone, together)
    _assert_same_bits(together, others)


def test_weights_of_rows_and_dropout_are_each_networks_own():
    X = _rows(300, 40, "float64")
    rng = np.random.default_rng(5)
    weights = [rng.integers(0, 2, 300).astype(np.float64) for _ in range(3)]

    def make(seed):
        return _Model(
            seed, (40, 4, 3, 1), X, _OPTIMIZERS[2], "float64", 50,
            row_weights=weights[seed], dropout=(0.0, 0.2 * (seed + 1), 0.1), seed=seed,
        )  # fmt: skip

    models = [make(seed) for seed in range(3)]
    others = [make(seed) for seed in range(3)]
    numbers = [model.numbers(None, 6) for model in models]
    for model, table in zip(models, numbers, strict=True):
        model.plan.train(None, 0, 6, table)
    joined([model.plan for model in others]).train(None, 0, 6, numbers, [0] * 3)
    _assert_same_bits(models, others)
    assert not np.array_equal(models[0].plan.arrays[0], models[1].plan.arrays[0])


def test_a_network_that_overflows_leaves_the_others_alone():
    X = _rows(200, 40, "float32")

    def make(seed):
        return _Model(seed, (40, 3, 1), X, _OPTIMIZERS[0], "float32", 50)

    alone, together = ([make(seed) for seed in range(3)] for _ in range(2))
    numbers = [model.numbers(None, 4) for model in alone]
    for model in (alone[1], together[1]):
        model.plan.arrays[0][:] = np.inf
    for model, table in zip(alone, numbers, strict=True):
        model.plan.train(None, 0, 4, table)
    joined([model.plan for model in together]).train(None, 0, 4, numbers, [0] * 3)
    assert np.isnan(together[1].plan.arrays[0]).any()
    _assert_same_bits([alone[0], alone[2]], [together[0], together[2]])


def test_plans_can_be_used_alone_again():
    X = _rows(300, 50, "float32")

    def make(seed):
        return _Model(seed, (50, 3, 1), X, _OPTIMIZERS[2], "float32", 100)

    alone, together = _train(make, 3, None, 3)
    for models in (alone, together):
        for model in models:
            model.plan.train(None, 0, 3, model.numbers(None, 3))
    _assert_same_bits(alone, together)


def test_networks_that_do_not_go_together_are_refused():
    X = _rows(300, 50, "float32")
    other_rows = X.copy()

    def plan(sizes, X=X, batch=100):
        return _Model(0, sizes, X, _OPTIMIZERS[2], "float32", batch).plan

    first = plan((50, 3, 1))
    for other in (plan((50, 4, 1)), plan((50, 3, 1), batch=50), plan((50, 3, 1), other_rows)):
        with pytest.raises(ValueError, match="trained together must have the same"):
            joined([first, other])
    wide = plan((50, 20, 1))
    assert not joins(wide)
    with pytest.raises(ValueError, match="trained together must have"):
        joined([wide])


@pytest.mark.parametrize(("outputs", "expected"), [(1, 16), (3, 5), (16, 1)])
def test_as_many_go_together_as_have_sixteen_outputs(outputs, expected):
    X = _rows(30, 20, "float32")
    plan = _Model(0, (20, outputs, 1), X, _OPTIMIZERS[0], "float32", 30).plan
    for models in (1, expected, expected + 1, 99):
        assert passes_of(plan, models, workers=2) == (-(-models // expected), 1)


@pytest.mark.parametrize(
    ("models", "workers", "expected"),
    [(1, 2, (1, 1)), (4, 1, (1, 1)), (4, 2, (2, 2)), (5, 2, (2, 2)), (16, 1, (4, 1)),
     (16, 2, (4, 2)), (11, 2, (4, 2)), (11, 8, (8, 8)), (4, 8, (4, 4)), (17, 8, (8, 8)),
     (99, 8, (24, 8))],
)  # fmt: skip
def test_of_bytes_each_thread_has_networks_of_its_own(models, workers, expected):
    X = _rows(30, 20, "uint8")
    plan = _Model(0, (20, 3, 1), X, _OPTIMIZERS[0], "float32", 30).plan
    assert passes_of(plan, models, workers) == expected
