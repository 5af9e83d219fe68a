"""What every test may use."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator

import pytest

# Tests that compare one thread with two need two, also on a single core. Numba reads this when
# it is first imported, which no plugin does.
if len(getattr(os, "sched_getaffinity", lambda _: range(os.cpu_count() or 1))(0)) < 2:
    os.environ.setdefault("NUMBA_NUM_THREADS", "2")


@pytest.fixture
def set_num_threads() -> Iterator[Callable[[int], None]]:
    """``fastbp.set_num_threads``, undone after the test; for tests that go up to two threads."""
    import numba

    import fastbp

    if numba.config.NUMBA_NUM_THREADS < 2:
        pytest.skip("NUMBA_NUM_THREADS allows only one thread")
    before = fastbp.get_num_threads()
    yield fastbp.set_num_threads
    fastbp.set_num_threads(before)


@pytest.fixture
def no_network_is_small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave networks of any size to the methods that are for larger ones."""
    from fastbp.engine import method

    monkeypatch.setattr(method, "_is_small", lambda case: False)
