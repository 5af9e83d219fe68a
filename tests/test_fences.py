"""Kernels read and write their arrays and nothing beyond: the next page may not be there."""

from __future__ import annotations

import sys

import pytest

from tests.processes import run_python

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="mprotect is not of this system")

PRODUCTS = """
import sys
import numpy as np
import fastbp
from fastbp.kernels.compile import machine
from tests.fences import fenced

dtype = np.dtype(sys.argv[1])
t = machine.tiles(dtype.itemsize)
random = np.random.default_rng(0)
deep, wide = t.kc + t.lanes, 4 * t.nr + t.lanes  # blocks that end in less than a row of a panel
for m, n, k in (
    (5 * t.nr, t.lanes, deep), (t.lanes, wide, deep), (t.mr + 1, wide + 1, deep + 1),
    (3, 5, 10 * t.kc + 3), (t.lanes, 40, 10 * t.kc + t.lanes), (1, wide, 7), (1, 1, 1),
    (2, 4 * t.lanes + 1, 1030), (70, 5, 1027),  # thin
    (t.mr + t.row_step, t.nr + 5, t.kc - 1),  # A is read where it lies
    (5 * t.nr, 4 * t.lanes, 17 * t.kc + 5),  # both are packed ahead, blocks after blocks
):
    a, b = random.random((m, k)).astype(dtype), random.random((k, n)).astype(dtype)
    expected = a @ b
    for at_end in (True, False):
        for left in (fenced(a, at_end), fenced(a.T.copy(), at_end).T):
            for right in (fenced(b, at_end), fenced(b.T.copy(), at_end).T):
                print(m, n, k, at_end, left.strides, right.strides, flush=True)
                out = fenced(np.zeros((m, n), dtype), at_end)
                np.testing.assert_allclose(fastbp.matmul(left, right, out=out), expected, rtol=1e-4)
print("done")
"""

TRAINING = """
import sys
import numpy as np
import fastbp
from fastbp.engine import method
from fastbp.kernels.compile import machine
from tests.fences import fenced

if sys.argv[1] == "larger":
    method._is_small = lambda case: False
t = machine.tiles(4)
random = np.random.default_rng(0)
many = 3 * t.nr + 1
everything = random.integers(0, 256, (many, 1024 + t.lanes + 1)).astype(np.uint8)
y = (random.random((many, 1)) < 0.5).astype(np.float32)
cases = [(t.kc + t.lanes, hidden) for hidden in ((3, 2), (t.lanes, 8), (2 * t.nr, 8))]
cases += [(1024 + t.lanes + 1, hidden) for hidden in ((3, 2), (5,))]  # cut by columns
cases += [(2 * t.lanes + 3, (20, 9)), (1, (t.lanes,))]  # small
for inputs, hidden in cases:
    pixels = everything[:, :inputs].copy()
    for batch in (1, 2, 4, 5, t.lanes, many):
        for x in (pixels, pixels.astype(np.float32)):
            for at_end in (True, False):
                print(inputs, hidden, batch, x.dtype, at_end, flush=True)
                network = fastbp.Network(
                    (inputs, *hidden, 1), seed=0, input_mean=127.5, input_scale=1 / 127.5
                )
                data, targets = fenced(x, at_end), fenced(y, at_end)
                network.fit(data, targets, epochs=2, batch_size=batch, learning_rate=0.01)
                assert np.isfinite(network.predict_proba(data)).all()
print("done")
"""


@pytest.mark.machine
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_products_touch_nothing_beyond_their_arrays(dtype):
    assert run_python(PRODUCTS, dtype).endswith("done\n")


@pytest.mark.machine
@pytest.mark.parametrize("methods", ["small networks'", "larger"])
def test_training_touches_nothing_beyond_its_arrays(methods):
    assert run_python(TRAINING, methods).endswith("done\n")
