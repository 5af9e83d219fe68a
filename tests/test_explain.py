"""`Network.explain`: that it tells what is done, and the machine's limit by the formulas."""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np
import pytest

import fastbp
from fastbp import Network
from fastbp.engine import peaks
from fastbp.engine.plan import NetworkPlan
from fastbp.kernels import plan as w
from fastbp.kernels.compile import machine
from fastbp.optimizers import Optimizer

LIMITS = {"gflops": 100.0, "gbytes": 10.0}
SIZES = [
    (2000, 3, 2, 1), (1023, 3, 1), (40, 16, 1), (40, 17, 1), (40, 17), (784, 128, 10),
    (40, 16, 60, 30), (12_288, 128, 1), (40_000, 3, 1),
]  # fmt: skip


def plan_for(network, batch_size, dtype, rows):
    X = np.zeros((rows, network.layer_sizes[0]), dtype)
    y = None if batch_size is None else np.zeros((rows, network.layer_sizes[-1]), network.dtype)
    return NetworkPlan(network, X, y, batch_size=batch_size)


def started(plan, operation, steps):
    """Make the plan ready for a call as training and predictions do."""
    plan._prepare(operation, steps, 0, fastbp.get_num_threads())
    return plan._started


@pytest.mark.parametrize("sizes", SIZES, ids=str)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_step_is_explained_as_it_is_planned(sizes, dtype):
    network = Network(sizes, init="zeros", dtype=dtype, input_scale=0.5)
    rows = min(200, 4_000_000 // sizes[0])
    for batch, data in itertools.product(
        (1, 2, 3, 4, 5, 16, 17, 64, 128, 129, 200), ("float32", "float64", "uint8")
    ):
        found = network.explain(batch_size=batch, rows=rows, dtype=data, **LIMITS)
        plan = plan_for(network, batch, data, rows)
        assert (found.method, found.group) == (plan.method.value, plan.group)
        assert (found.batch_size, found.scratch_bytes) == (plan.batch_size, plan._bytes)
        steps = min(-(-rows // plan.batch_size), plan.steps_at_once)
        assert found.threads == started(plan, w.TRAIN, steps)
        if found.method in {"narrow columns", "narrow shards"}:
            assert found.tile_rows == plan.words[w.TILE]


def test_a_single_step_that_is_too_little_for_two_threads(set_num_threads):
    set_num_threads(2)
    network = Network((3000, 3, 1), init="zeros")
    found = network.explain(batch_size=4, rows=4, dtype="uint8", **LIMITS)
    assert found.threads == started(plan_for(network, 4, "uint8", 4), w.TRAIN, 1) == 1
    assert network.explain(batch_size=4, rows=400, dtype="uint8", **LIMITS).threads == 2


def test_a_prediction_of_many_rows_takes_no_more_memory():
    network = Network((40, 17, 1), init="zeros")
    many, most = (
        network.explain(batch_size=rows, training=False, **LIMITS) for rows in (3000, 1024)
    )
    assert many.scratch_bytes == most.scratch_bytes == plan_for(network, None, "u1", 3000)._bytes
    assert many.flops * 1024 == most.flops * 3000


@pytest.mark.parametrize("sizes", SIZES, ids=str)
def test_a_prediction_is_explained_as_it_is_planned(sizes):
    network = Network(sizes, init="zeros")
    for rows, data in itertools.product((1, 16, 17, 64), ("float32", "uint8")):
        found = network.explain(batch_size=rows, dtype=data, training=False, **LIMITS)
        plan = plan_for(network, None, data, rows)
        assert (found.method, found.group) == (plan.method.value, 1)
        assert found.threads == started(plan, w.FORWARD, 1)


def test_work_of_a_step_whose_weights_stay_in_the_caches():
    found = Network((10, 4, 2), init="zeros").explain(batch_size=3, dtype="uint8", **LIMITS)
    # 48 weights, of which 40 in layer 1: forward and gradients 4 * 3 * 48, deltas 2 * 3 * 8.
    assert (found.flops, found.data_bytes, found.weight_bytes) == (624, 30, 0)
    assert found.seconds_of_flops == pytest.approx(6.24e-9)
    assert found.seconds_of_bytes == pytest.approx(3e-9)
    assert found.seconds == found.seconds_of_flops
    assert found.bound == "arithmetic"


@pytest.mark.machine
@pytest.mark.parametrize(("dtype", "itemsize"), [("float32", 4), ("float64", 8)])
def test_bytes_of_weights_that_leave_the_caches(dtype, itemsize):
    n0 = machine.CACHES.l2 * fastbp.get_num_threads() // (100 * itemsize) + 1
    network = Network((n0, 100, 5), init="zeros", dtype=dtype)
    first, above = 100 * n0, 500
    dense = network.explain(batch_size=128, dtype="float32", **LIMITS)
    assert dense.method == "dense"
    assert dense.data_bytes == 128 * n0 * 4
    assert dense.weight_bytes == 2 * itemsize * (first + above)
    delayed = network.explain(batch_size=2, **LIMITS)
    assert delayed.method == "delayed"
    assert delayed.weight_bytes == 2 * itemsize * (first // delayed.group + above)
    call = network.explain(batch_size=2, training=False, **LIMITS)
    assert (call.flops, call.weight_bytes) == (4 * (first + above), itemsize * (first + above))
    assert call.bound == "memory"
    assert call.seconds == pytest.approx(call.nbytes / 1e10)


def test_all_rows_at_once():
    found = Network((40, 17, 1), init="zeros").explain(batch_size=None, rows=70, **LIMITS)
    assert (found.batch_size, found.method) == (70, "small")


def test_a_small_network_goes_by_tiles_of_rows():
    found = Network((40, 17, 1), init="zeros").explain(batch_size=200, **LIMITS)
    assert found.tile_rows in range(1, 200)
    assert found.mr is found.nr is found.kc is None
    assert f"{found.tile_rows} rows of X" in str(found)


def test_data_are_those_that_are_read():
    network = Network((40, 3, 1), init="zeros")
    assert network.explain(dtype="int16", **LIMITS).data_dtype == "float32"
    network.input_mean = 5.0  # to be subtracted exactly
    assert network.explain(dtype="int32", **LIMITS).data_dtype == "float64"
    assert network.explain(dtype="uint8", **LIMITS).data_dtype == "uint8"


def test_the_table_shows_what_the_attributes_hold():
    text = str(Network((2000, 3, 2, 1)).explain(batch_size=1, dtype="uint8", **LIMITS))
    for words in (
        "2000-3-2-1, float32", "1 row of uint8", "narrow delayed", "read once", "4 rows of X",
        "4 steps for each pass", "24,048 operations: 240 ns at 100 GFLOP/s",
        "2,000 bytes of X, 0 of weights: 200 ns at 10 GB/s", "240 ns, by arithmetic",
    ):  # fmt: skip
        assert words in " ".join(text.split())
    assert max(map(len, text.splitlines())) <= 100


def test_an_explanation_does_not_change():
    with pytest.raises(dataclasses.FrozenInstanceError):
        Network((4, 1)).explain(**LIMITS).method = "mine"


def test_the_machine_is_measured_once(monkeypatch):
    measured = []

    def peak(dtype, workers, seconds):
        measured.append((dtype, seconds))
        return 2e11, 1.0

    monkeypatch.setattr(peaks, "peak_flops", peak)
    monkeypatch.setattr(peaks, "bandwidth", lambda *_: 3e10)
    peaks.measured_flops.cache_clear()
    peaks.measured_bandwidth.cache_clear()
    try:
        found = [Network((40, 3, 1)).explain() for _ in range(2)]
    finally:
        peaks.measured_flops.cache_clear()
        peaks.measured_bandwidth.cache_clear()
    assert [(one.gflops, one.gbytes) for one in found] == [(200.0, 30.0)] * 2
    assert measured == [("float32", peaks._SECONDS)]


def test_what_is_measured_is_what_a_machine_can_do():
    found = Network((40, 17, 1)).explain()
    assert 0.1 < found.gflops < 1e5
    assert 0.1 < found.gbytes < 1e4


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"batch_size": 0}, ValueError, "batch_size must be at least 1, got 0"),
        ({"batch_size": 1.5}, TypeError, "batch_size must be an integer, got 1.5"),
        ({"batch_size": None}, ValueError, "give their number as rows"),
        ({"rows": 0}, ValueError, "rows must be at least 1, got 0"),
        ({"dtype": "complex64"}, TypeError, "X must hold real numbers"),
        ({"gflops": 0}, ValueError, "gflops must be greater than 0, got 0"),
        ({"gbytes": "many"}, TypeError, "gbytes must be a real number, got 'many'"),
    ],
)
def test_what_cannot_be_explained(settings, error, message):
    with pytest.raises(error, match=message):
        Network((40, 3, 1)).explain(**{**LIMITS, **settings})


@pytest.mark.parametrize(("optimizer", "kept"), [("momentum", 1), ("nesterov", 1), ("adam", 2)])
def test_what_optimizers_keep_counts_as_bytes_and_decides_the_method(optimizer, kept):
    sizes = (12_288, 128, 64, 5)
    network = Network(sizes, activation="gelu", loss="cross_entropy", init="zeros")
    assert network.explain(batch_size=8, **LIMITS).method == "delayed"

    found = network.explain(batch_size=8, optimizer=optimizer, **LIMITS)

    weights = sum(a * b for a, b in itertools.pairwise(sizes))
    assert found.method == "sweep"
    assert found.weight_bytes == 2 * 4 * (1 + kept) * weights
    recipe = Optimizer(optimizer, momentum=0.9).to_recipe(
        [[np.zeros_like(p) for p in (*network.weights, *network.biases)]] * kept
    )
    X, y = np.zeros((80, sizes[0]), np.float32), np.zeros((80, sizes[-1]), np.float32)
    plan = NetworkPlan(network, X, y, batch_size=8, recipe=recipe)
    explained = network.explain(batch_size=8, rows=80, optimizer=optimizer, **LIMITS)
    assert (explained.method, explained.scratch_bytes) == (plan.method.value, plan._bytes)


def test_an_unknown_optimizer_is_refused_with_the_known_ones():
    with pytest.raises(ValueError, match=r"optimizer must be one of: 'sgd', .* got 'lion'"):
        Network((5, 3, 1)).explain(optimizer="lion", **LIMITS)
