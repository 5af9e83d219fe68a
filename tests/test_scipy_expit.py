"""SciPy's own tests of ``scipy.special.expit``, from the SciPy installed, on ``fastbp.sigmoid``."""

from __future__ import annotations

import pytest

import fastbp

# Some builds of SciPy come without their tests.
theirs = pytest.importorskip("scipy.special.tests.test_logit", exc_type=ImportError)


@pytest.fixture(autouse=True)
def called(monkeypatch):
    """Put ``fastbp.sigmoid`` in the place of SciPy's; the list gets an entry for each call."""
    calls = []

    def expit(*args, **kwargs):
        calls.append(args)
        return fastbp.sigmoid(*args, **kwargs)

    monkeypatch.setattr(theirs, "expit", expit)
    yield calls
    assert calls


class TestExpit(theirs.TestExpit):
    pass
