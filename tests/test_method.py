"""The table of methods (fastbp.engine.method): which one a plan takes, and what it says why."""

from __future__ import annotations

import numpy as np
import pytest

import fastbp
from fastbp.engine.method import Case, Method, choose
from fastbp.engine.plan import NetworkPlan
from fastbp.engine.recipe import Update
from fastbp.kernels.compile import machine

of_others = pytest.mark.usefixtures("no_network_is_small")

MANY = 1000  # rows, so that there are steps enough for any group


def plan_for(sizes, batch, data_dtype="float32", order="C", rows=MANY, delays=True):
    """The plan of training, or of an evaluation if there is no batch."""
    network = fastbp.Network(sizes, init="zeros")
    X = np.zeros((rows, sizes[0]), data_dtype, order=order)
    y = None if batch is None else np.zeros((rows, sizes[-1]), np.float32)
    return NetworkPlan(network, X, y, batch_size=batch, delays=delays)


@of_others
@pytest.mark.parametrize(
    ("sizes", "batch", "data_dtype", "expected"),
    [
        ((2000, 3, 2, 1), 1, "float32", "narrow delayed"),
        ((2000, 3, 2, 1), 4, "uint8", "narrow delayed"),  # one step of four rows
        ((2000, 3, 2, 1), 4, "float32", "narrow columns"),
        ((2000, 3, 2, 1), 128, "float32", "narrow columns"),
        ((2000, 3, 2, 1), 129, "float32", "narrow shards"),
        ((1023, 3, 2, 1), 16, "float32", "narrow shards"),  # too few columns
        ((40_000, 3, 1), 64, "float32", "narrow shards"),  # 10 MB of rows
        ((40_000, 3, 1), 64, "uint8", "narrow columns"),
        ((40, 16, 1), 64, "float32", "narrow shards"),
        ((40, 17, 1), 64, "float32", "dense"),
        ((40, 16, 60, 30), 64, "float32", "dense"),  # much above the first layer
        ((40, 17, 1), 16, "float32", "sweep"),
        ((40, 17, 1), 17, "float32", "dense"),
        ((40, 17), 16, "float32", "sweep"),
        ((2000, 3, 2, 1), None, "float32", "narrow"),
        ((40, 17, 1), None, "float32", "dense"),
    ],
)
def test_which_method_a_network_takes(sizes, batch, data_dtype, expected):
    rows = min(MANY, 2_000_000 // sizes[0])
    assert plan_for(sizes, batch, data_dtype, rows=rows).method is Method(expected)


@pytest.mark.machine
def test_wide_weights_that_leave_the_cache_are_delayed():
    n0 = machine.CACHES.l2 // (128 * 4) * 2
    assert plan_for((n0, 128, 1), 1, rows=100).method is Method.DELAYED
    assert plan_for((n0, 128, 1), 1, rows=100, delays=False).method is Method.SWEEP
    assert plan_for((n0, 128, 1), 64, rows=128).method is Method.DENSE
    assert plan_for((n0, 128, 1), 1, rows=1).method is Method.SWEEP  # a single step


@of_others
def test_few_rows_are_evaluated_in_a_sweep_but_by_one_layer():
    assert plan_for((40, 17, 1), None, rows=16).method is Method.SWEEP
    assert plan_for((40, 17), None, rows=16).method is Method.DENSE


@of_others
def test_rows_that_are_not_contiguous_are_left_to_products():
    assert plan_for((40, 3, 1), 32).method is Method.NARROW_SHARDS
    assert plan_for((40, 3, 1), 32, order="F").method is Method.DENSE
    assert plan_for((1, 3, 1), 32, order="F").method is Method.NARROW_SHARDS  # one column


def case(sizes, batch, *, training=True, is_bytes=False, contiguous=True, rows=MANY):
    return Case(sizes, 4, 1 if is_bytes else 4, is_bytes, contiguous, batch, rows, training)


@of_others
@pytest.mark.parametrize(
    ("given", "words"),
    [
        (case((2000, 3, 1), 1), ["3 outputs", "at most 16", "read once", "4 steps share"]),
        (case((2000, 3, 1), 4, is_bytes=True), ["very few rows, 4", "one pass over W1"]),
        (case((2000, 3, 1), 64), ["few rows, 64", "2000 (at least 1024)", "shares of the columns"]),
        (case((2000, 3, 1), 129), ["129 rows (more than 128)", "shards"]),
        (case((1000, 3, 1), 8), ["1000 columns (fewer than 1024)", "shards"]),
        (case((40_000, 3, 1), 64), ["9.8 MiB (more than 4)", "shards"]),
        (case((2000, 3, 1), 64, training=False), ["read once", "shares of the rows"]),
        (case((40, 17, 1), 16), ["17 outputs (more than 16)", "16 (at most 16)", "one sweep"]),
        (case((40, 17, 1), 16, training=False), ["not packed"]),
        (case((40, 17, 1), 64), ["64 rows at a time", "packed"]),
        (case((40, 17), 4, training=False), ["one layer"]),
        (case((40, 16, 60, 30), 64), ["2850 parameters", "more than 2048"]),
        (case((40, 3, 1), 64, contiguous=False), ["not contiguous"]),
        (case((1 << 20, 100, 1), 1), ["4 steps share a pass over W1"]),
    ],
)
def test_the_reason_names_what_decided(given, words):
    why = choose(given).why
    assert [word for word in words if word not in why] == []


# ------------------------------------------------------------------ small networks

ALMOST = machine.CACHES.l2 // 8 // 4  # parameters in float32


@pytest.mark.machine
@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (case((64, 100, 10), 200), "small"),
        (case((64, 100, 10), 1), "small"),
        (case((64, 100, 10), 1024, training=False), "small"),
        (case((64, 100, 10), 1, training=False), "small"),
        (case((64, 100, 10), 64, contiguous=False), "small"),
        (case((64, ALMOST // 66, 1), 64), "small"),
        (case((64, ALMOST // 66 + 1, 1), 64), "dense"),
        (case((257, 20, 1), 16), "sweep"),  # few rows of many inputs
        (case((256, 20, 1), 16), "small"),
        (case((257, 20, 1), 17), "small"),
        (case((128, 8, 1), 16), "small"),  # what would be narrow
        (case((129, 8, 1), 16), "narrow shards"),
        (case((128, 7, 1), 16), "narrow shards"),
        (case((128, 8, 1), 15), "narrow shards"),
        (case((128, 8, 1), 15, training=False), "small"),
        (case((128, 7, 1), 15, contiguous=False), "small"),
    ],
)
def test_which_networks_are_small(given, expected):
    assert choose(given).method is Method(expected)


def test_what_small_networks_leave_to_others():
    given = case((64, 100, 10), 64)
    assert choose(given._replace(drops_input=True)).method is Method.DENSE
    assert choose(given._replace(update=Update.WHOLE)).method is Method.DENSE
    assert choose(given._replace(update=Update.PARTS, squares=True)).method is Method.SMALL


@pytest.mark.parametrize(("training", "word"), [(True, "forward and back"), (False, "go forward ")])
def test_the_reason_for_a_small_network(training, word):
    why = choose(case((64, 100, 10), 64, training=training)).why
    assert "30,040 bytes" in why
    assert word in why
