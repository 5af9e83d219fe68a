"""`fastbp evaluate`, `fastbp predict` and `fastbp info MODEL`."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fastbp.cli.console import (
    compiling,
    print_table,
    report_error,
    say,
    say_fields,
)
from fastbp.cli.pictures import (
    COMPILED_FOR,
    UnreadableError,
    as_user_errors,
    load_model,
    load_picture,
    load_pictures,
)
from fastbp.cli.streams import check_output
from fastbp.evaluation import most_likely

__all__ = ["run_evaluate", "run_info", "run_predict"]

_SETTINGS = (
    "optimizer",
    "momentum",
    "nesterov",
    "learning_rate",
    "weight_decay",
    "batch_size",
    "dropout",
)  # of the last training
_MOST_COLUMNS = 12  # of a table that has one for each class
_AT_ONCE = 256  # pictures: some megabytes, and a line for each appears before the next are read


def run_evaluate(model_path: Path, folder: Path, *, max_pixels: int | None = None) -> None:
    """Print loss, accuracy and confusion of a model on a folder of labelled pictures."""
    model = load_model(model_path)
    loaded = load_pictures(folder, size=model.size, max_pixels=max_pixels)
    pictures = model.in_its_order(loaded, folder, model_path)
    with as_user_errors(model_path):
        with compiling():
            model.network.predict_proba(pictures.X[:COMPILED_FOR])
        predicted = model.network.predict(pictures.X)
        loss = model.network.loss(pictures.X, pictures.y)
    accuracy = np.mean(predicted == pictures.y)
    say(f"{len(pictures.y)} pictures: loss {loss:.4f}, accuracy {accuracy:.4f}")
    classes = len(model.class_names)
    counts = np.zeros((classes, classes), np.int64)  # what it is, what it is taken for
    np.add.at(counts, (pictures.y, predicted), 1)
    if classes <= _MOST_COLUMNS:
        _print_all(counts, model.class_names)
    else:
        _print_most(counts, model.class_names)


def _print_all(counts: NDArray[np.int64], names: Sequence[str]) -> None:
    """Print how often each class is taken for each."""
    print_table(
        ["it is", *(f"taken for {name}" for name in names)],
        [[name, *map(str, row)] for name, row in zip(names, counts.tolist(), strict=True)],
        whole=True,
    )


def _print_most(counts: NDArray[np.int64], names: Sequence[str]) -> None:
    """Print for each class how often it is right, and what else it is taken for most."""
    rows = []
    for label, name in enumerate(names):
        total, right = counts[label].sum(), counts[label, label]
        others = counts[label].copy()
        others[label] = 0
        guess = int(others.argmax())
        rows.append(
            [
                name,
                str(total),
                str(right),
                f"{right / total:.4f}" if total else "",
                f"{names[guess]} ({others[guess]})" if others[guess] else "",
            ]
        )
    print_table(["it is", "pictures", "right", "accuracy", "taken for most"], rows, whole=True)


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
            with as_user_errors(model_path), nullcontext() if compiled else compiling():
                probabilities = model.network.predict_proba(np.stack(rows))
            compiled = True
            for file, label, certainty in zip(read, *most_likely(probabilities), strict=True):
                say_fields(str(file), model.class_names[label], f"{certainty:.4f}")
        check_output()
    return unreadable


def run_info(model_path: Path) -> None:
    """Print what there is to know of a model: a name and its value in a line."""
    model = load_model(model_path)
    network, state = model.network, model.network.training_state
    activation = network.activation
    height, width = model.size
    facts = {
        "network": f"{'-'.join(map(str, network.layer_sizes))}, {network.dtype}",
        "parameters": f"{network.parameter_count:,}",
        "activation": activation if isinstance(activation, str) else ", ".join(activation),
        "loss": network.loss_function,
        "classes": ", ".join(model.class_names),
        "pictures": f"{height}x{width} RGB",
        "epochs": "unknown" if state is None else str(state.epochs),
        **{
            name.replace("_", " "): str(network.training_settings[name])
            for name in _SETTINGS
            if name in network.training_settings
        },
    }
    width_of_names = max(map(len, facts))
    for name, value in facts.items():
        say(f"{name:{width_of_names}}  {value}")
