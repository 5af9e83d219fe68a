"""NumPy's own tests of `numpy.matmul`, from the NumPy that is installed, on ``fastbp.matmul``.

They call the function by its name in the module `np`, or as an attribute of the class of tests: in
both places stands ``fastbp.matmul`` while they run. Nothing of them is left out.
"""

from __future__ import annotations

import types

import numpy as np
import pytest

import fastbp

theirs = pytest.importorskip(  # some builds of NumPy come without their tests
    "numpy._core.tests.test_multiarray", exc_type=ImportError
)


@pytest.fixture(autouse=True)
def called(monkeypatch):
    """Put ``fastbp.matmul`` in the place of NumPy's; the list gets an entry for each call."""
    calls = []

    def matmul(*args, **kwargs):
        calls.append(args)
        return fastbp.matmul(*args, **kwargs)

    numpy = types.ModuleType("numpy")
    vars(numpy).update(vars(np), matmul=matmul)
    monkeypatch.setattr(theirs, "np", numpy)
    monkeypatch.setattr(TestMatmul, "matmul", staticmethod(matmul))
    yield calls
    assert calls


class TestMatmul(theirs.TestMatmul):
    pass


def test_axes():
    theirs.test_matmul_axes()
