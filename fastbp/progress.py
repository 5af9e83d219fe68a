"""Progress of a training, as users ask to see it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

from fastbp.history import Progress

__all__ = ["check_progress", "shown"]

_NOTHING: AbstractContextManager[None] = nullcontext()


def check_progress(progress: object) -> None:
    """That it is a bool or a callable, or say what is wrong."""
    if not isinstance(progress, bool) and not callable(progress):
        raise TypeError(f"progress must be a bool or a callable, got {progress!r}")


def shown(progress: bool | Progress) -> AbstractContextManager[Progress | None]:
    """The callable to report to; for True, one that moves a bar of rich's."""
    if isinstance(progress, bool):
        return _bar() if progress else _NOTHING
    return nullcontext(progress)


@contextmanager
def _bar() -> Iterator[Progress]:
    try:
        from rich.progress import Progress as Bars
    except ImportError as error:
        raise ImportError("progress=True needs rich: pip install 'fastbp[cli]'") from error
    with Bars(transient=True) as bars:
        task = bars.add_task("training", total=None)
        yield lambda done, total: bars.update(task, completed=done, total=total)
