"""Memory while training: the data, the parameters, and at most 64 MiB."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from tests.processes import run_python

PROMISED = 64 << 10  # KiB
CODE = """
import re
from pathlib import Path

import numpy as np

import fastbp


def kibibytes(field):
    return int(re.search(field + r":\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1])


rng = np.random.default_rng(0)
X = rng.integers(0, 256, (3000, 12288), dtype=np.uint8)  # 35 MiB, and 141 as float32
y = rng.integers(0, 2, 3000)
network = fastbp.Network((12288, *{hidden}, 1), seed=0, input_mean=127.5, input_scale=1 / 255)
settings = dict(batch_size={batch_size}, epochs=1, learning_rate=0.01)
network.fit(X[:20], y[:20], **settings)  # compiles
Path("/proc/self/clear_refs").write_text("5")  # the peak counts from here
before = kibibytes("VmRSS")
network.fit(X, y, **settings)
print(kibibytes("VmHWM") - before)
"""


@pytest.mark.parametrize(
    ("hidden", "batch_size"),
    [
        *itertools.product([(3, 2), (128, 64)], [1, 16, 256, 3000]),
        ((2048,), 16),
        ((2048,), 256),
        ((2048,), 3000),
    ],
    ids=str,
)
def test_training_adds_at_most_64_mebibytes(hidden, batch_size):
    if not Path("/proc/self/clear_refs").exists():
        pytest.skip("this system does not tell a process's peak of memory from any moment on")
    # The gradient of 2048 outputs would take 96 MiB, a float copy of the data 141.
    added = int(run_python(CODE.format(hidden=hidden, batch_size=batch_size)))
    assert added <= PROMISED
