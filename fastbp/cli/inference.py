"""`fastbp evaluate` and `fastbp predict`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from fastbp.cli.console import UserError, compile_kernels, print_table, say
from fastbp.cli.pictures import load_model, load_picture, load_pictures

__all__ = ["run_evaluate", "run_predict"]


def run_evaluate(model_path: Path, folder: Path) -> None:
    """Print loss, accuracy and confusion of a model on a folder of labelled pictures."""
    model = load_model(model_path)
    pictures = load_pictures(folder, size=model.size)
    if sorted(pictures.class_names) != sorted(model.class_names):
        raise UserError(
            f"{folder} has the classes {', '.join(pictures.class_names)}, "
            f"but {model_path} was trained on {', '.join(model.class_names)}"
        )
    # The folder's labels count its sorted names; the model's may count in another order.
    to_model = np.array([model.class_names.index(name) for name in pictures.class_names])
    y = to_model[pictures.y]
    compile_kernels(model.network.dtype.name, "uint8")
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


def run_predict(model_path: Path, files: Sequence[Path]) -> None:
    """Print file, class and the probability of that class for each picture, between tabs."""
    model = load_model(model_path)
    X = np.stack([load_picture(file, size=model.size) for file in files])
    compile_kernels(model.network.dtype.name, "uint8")
    second = model.network.predict_proba(X)[:, 0]
    for file, probability in zip(files, second.tolist(), strict=True):
        label = int(probability >= 0.5)
        certainty = probability if label else 1 - probability
        print(f"{file}\t{model.class_names[label]}\t{certainty:.4f}")
