"""pytest-benchmark: fastbp and pure NumPy, step by step, side by side.

    pytest benchmarks --benchmark-group-by=param:hidden,param:batch_size

Each group holds one problem; the two systems of a group start from the same weights and take the
same batches of the same float32 data. NumPy is `fastbp.reference.NumpyNetwork`: outputs allocated
once, updates in place, BLAS for every product.

Threads of one system disturb the other on a machine of few cores: the workers of OpenBLAS spin for
a while after each product, and those of some of Numba's threading layers do as well. So here all
of NumPy's cases run before all of fastbp's, with a pause between, and for a figure to quote, each
system belongs in a process of its own:

    pytest benchmarks -k numpy --benchmark-save=numpy
    pytest benchmarks -k fastbp --benchmark-save=fastbp
    pytest-benchmark compare --group-by=param:hidden,param:batch_size

`fastbp demo` times its one problem in that way by itself.
"""

from __future__ import annotations

import time

import numpy as np
import pytest

import fastbp
from benchmarks.problems import (
    BATCH_SIZES,
    FEATURES,
    HIDDEN,
    LEARNING_RATE,
    WEIGHT_DECAY,
    pictures,
)
from fastbp.reference import NumpyNetwork

ROUNDS = 20
WARMUP_ROUNDS = 3  # compiles or loads kernels, touches memory, wakes threads


@pytest.fixture(scope="module", params=["numpy", "fastbp"])
def system(request):
    """The outermost parameter: pytest runs all cases of one system, then all of the other."""
    time.sleep(0.5)  # OpenBLAS's workers spin for less than that after their last product
    return request.param


def new_network(system, hidden):
    network = fastbp.Network((FEATURES, *HIDDEN[hidden], 1), seed=0)
    return NumpyNetwork(network.weights, network.biases) if system == "numpy" else network


@pytest.mark.parametrize("batch_size", BATCH_SIZES)
@pytest.mark.parametrize("hidden", HIDDEN)
def test_step(benchmark, system, hidden, batch_size):
    """Forward, backward and update with weight decay, one batch."""
    X, y = pictures(batch_size)
    network = new_network(system, hidden)
    first = network.weights[0].copy()

    def step():
        network.fit(
            X,
            y,
            batch_size=batch_size,
            epochs=1,
            learning_rate=LEARNING_RATE,
            weight_decay=WEIGHT_DECAY,
            shuffle=False,
        )

    benchmark.pedantic(step, rounds=ROUNDS, warmup_rounds=WARMUP_ROUNDS)
    assert not np.array_equal(network.weights[0], first)


@pytest.mark.parametrize("batch_size", BATCH_SIZES)
@pytest.mark.parametrize("hidden", HIDDEN)
def test_forward(benchmark, system, hidden, batch_size):
    """Probabilities of one batch."""
    X, _ = pictures(batch_size)
    network = new_network(system, hidden)
    p = benchmark.pedantic(
        network.predict_proba, args=(X,), rounds=ROUNDS, warmup_rounds=WARMUP_ROUNDS
    )
    assert p.shape == (batch_size, 1)
