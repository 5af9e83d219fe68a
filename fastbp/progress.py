"""Progress of a training, as users ask to see it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from fastbp.history import Progress

__all__ = ["check_progress", "shown"]


def check_progress(progress: object) -> None:
    """That it is a bool or a callable, or say what is wrong."""
    if not isinstance(progress, bool) and not callable(progress):
        raise TypeError(f"progress must be a bool or a callable, got {progress!r}")


@contextmanager
def shown(progress: bool | Progress) -> Iterator[Progress | None]:
    """The callable to report to; for True, one that moves a bar of rich's."""
    if not isinstance(progress, bool):
        yield progress
    elif not progress:
        yield None
    else:
        try:
            from rich.progress import Progress as Bars
        except ImportError as error:
            raise ImportError("progress=True needs rich: pip install 'fastbp[cli]'") from error
        with Bars(transient=True) as bars:
            task = bars.add_task("training", total=None)
            yield lambda done, total: bars.update(task, completed=done, total=total)
