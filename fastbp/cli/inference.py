"""`fastbp evaluate` and `fastbp predict`."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastbp.cli.console import (
    UserError,
    compiling,
    print_table,
    report_error,
    say,
    say_fields,
)
from fastbp.cli.pictures import (
    PictureModel,
    UnreadableError,
    load_model,
    load_picture,
    load_pictures,
)
from fastbp.cli.streams import check_output

__all__ = ["run_evaluate", "run_predict"]

_COMPILED_FOR = 1024  # pictures: as many as take the way that any more of them take
_AT_ONCE = 256  # pictures: some megabytes, and a line for each appears before the next are read


def run_evaluate(model_path: Path, folder: Path, *, max_pixels: int | None = None) -> None:
    """Print loss, accuracy and confusion of a model on a folder of labelled pictures."""
    model = load_model(model_path)
    pictures = load_pictures(folder, size=model.size, max_pixels=max_pixels)
    if sorted(pictures.class_names) != sorted(model.class_names):
        raise UserError(
            f"{folder} has the classes {', '.join(pictures.class_names)}, "
            f"but {model_path} was trained on {', '.join(model.class_names)}"
        )
    # The folder's labels count its sorted names; the model's may count in another order.
    to_model = np.array([model.class_names.index(name) for name in pictures.class_names])
    y = to_model[pictures.y]
    with compiling():
        model.network.predict_proba(pictures.X[:_COMPILED_FOR])
    predicted = model.network.predict(pictures.X)
    loss = model.network.loss(pictures.X, y)
    say(f"{len(y)} pictures: loss {loss:.4f}, accuracy {np.mean(predicted == y):.4f}")
    print_table(
        ["it is", *(f"taken for {name}" for name in model.class_names)],
        [
            [
                name,
                *(str(np.count_nonzero((y == label) & (predicted == guess))) for guess in (0, 1)),
            ]
            for label, name in enumerate(model.class_names)
        ],
    )


def run_predict(model_path: Path, files: Sequence[Path], *, max_pixels: int | None = None) -> int:
    """Print file, class and the probability of that class for each picture, between tabs.

    Returns
    -------
    int
        How many files cannot be read; each is told on standard error.
    """
    model = load_model(model_path)
    unreadable, compiled = 0, False
    for start in range(0, len(files), _AT_ONCE):
        read, rows = [], []
        for file in files[start : start + _AT_ONCE]:
            try:
                rows.append(load_picture(file, size=model.size, max_pixels=max_pixels))
                read.append(file)
            except UnreadableError as error:
                report_error(str(error))
                unreadable += 1
        if rows:
            with nullcontext() if compiled else compiling():
                second = model.network.predict_proba(np.stack(rows))[:, 0]
            compiled = True
            _say_classes(model, read, second)
        check_output()
    return unreadable


def _say_classes(
    model: PictureModel, files: Sequence[Path], second: NDArray[np.floating[Any]]
) -> None:
    """Print a line for each file, by its probability of the second class."""
    for file, probability in zip(files, second.tolist(), strict=True):
        label = int(probability >= 0.5)
        certainty = probability if label else 1 - probability
        say_fields(str(file), model.class_names[label], f"{certainty:.4f}")
