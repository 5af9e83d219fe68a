"""Pictures of a training: learning curves, first-layer weights, sample predictions.

Drawn with matplotlib's objects on the Agg canvas: no window, no global state, any thread.
"""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastbp.evaluation import most_likely
from fastbp.history import History, draw_curve

if TYPE_CHECKING:
    from matplotlib.figure import Figure, SubFigure

    from fastbp.network import Network

__all__ = ["Run", "draw_report", "first_layer_pictures", "save_report"]

_COLUMNS = 12
_NEURONS = 2 * _COLUMNS  # of each network, in two rows at most
_SAMPLES = 2 * _COLUMNS


@dataclass(frozen=True)
class Run:
    """A trained network and how it got there.

    Attributes
    ----------
    name : str
        What to call it in the picture; may be empty.
    network : Network
        Its state after training.
    history : History
        What its `fit` returned.
    """

    name: str
    network: Network
    history: History


def save_report(
    path: str | os.PathLike[str] | BinaryIO,
    runs: Sequence[Run],
    X: ArrayLike,
    y: ArrayLike,
    *,
    class_names: Sequence[str],
    size: tuple[int, int],
) -> None:
    """Draw a report and write it as a PNG, to a path or an open file; see `draw_report`.

    Raises
    ------
    ImportError
        If matplotlib is missing.
    OSError
        If the file cannot be written.
    """
    figure = draw_report(runs, X, y, class_names=class_names, size=size)
    figure.savefig(path, format="png", dpi=120)


def draw_report(
    runs: Sequence[Run],
    X: ArrayLike,
    y: ArrayLike,
    *,
    class_names: Sequence[str],
    size: tuple[int, int],
) -> Figure:
    """Draw what some trainings came to.

    Parameters
    ----------
    runs : sequence of Run
        One or several; of each, the curves and the first layer are drawn.
    X : array_like of uint8, shape (n, height * width * 3)
        Pictures, some of which are shown with what the last run's network says of them.
    y : array_like of int, shape (n,)
        Numbers of their classes.
    class_names : sequence of str
        Names of the classes 0, 1, ...
    size : (int, int)
        Height and width of a picture, in pixels.

    Returns
    -------
    matplotlib.figure.Figure
        On an Agg canvas.

    Raises
    ------
    ImportError
        If matplotlib is missing.
    ValueError
        If there is no run, or a network's input is no picture of `size`.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError("fastbp.report needs matplotlib: pip install 'fastbp[cli]'") from error
    if not runs:
        raise ValueError("runs must hold at least one run, got none")
    weights = [
        first_layer_pictures(run.network, size)[_neurons_that_count(run.network)] for run in runs
    ]
    pictures, labels = np.asarray(X), np.asarray(y)
    # Folders come sorted by class: samples from everywhere show all.
    samples = np.linspace(0, len(labels) - 1, min(len(labels), _SAMPLES)).astype(int)
    pictures, labels = pictures[samples], labels[samples]

    # One band a run's curves, one a run's weights, one the predictions; heights in inches.
    rows = [_rows(len(w)) for w in weights]
    heights = [2.6] * len(runs) + [0.4 + 1.1 * r for r in rows] + [0.4 + 1.3 * _rows(len(labels))]
    figure = Figure(figsize=(13, sum(heights)), layout="constrained")
    FigureCanvasAgg(figure)
    bands = list(figure.subfigures(len(heights), 1, height_ratios=heights, squeeze=False)[:, 0])
    for band, run in zip(bands, runs, strict=False):
        _draw_curves(band, run)
    for band, run, run_weights in zip(bands[len(runs) :], runs, weights, strict=False):
        _draw_weights(band, run, run_weights)
    guesses = most_likely(runs[-1].network.predict_proba(pictures))
    _draw_predictions(bands[-1], pictures.reshape(-1, *size, 3), labels, guesses, class_names)
    return figure


def first_layer_pictures(network: Network, size: tuple[int, int]) -> NDArray[np.float64]:
    """Return the first layer's weights as RGB pictures, one a neuron.

    Parameters
    ----------
    network : Network
        Its input is a picture of `size`, row by row, pixel by pixel, red, green, blue.
    size : (int, int)
        Height and width, in pixels.

    Returns
    -------
    ndarray, shape (n_1, height, width, 3)
        Values in [0, 1]: 0.5 is a weight of 0, and the neuron's largest weight in size is 0 or 1.

    Raises
    ------
    ValueError
        If the network's input is no picture of `size`.
    """
    height, width = size
    inputs = network.layer_sizes[0]
    if inputs != height * width * 3:
        raise ValueError(
            f"the network expects {inputs} features, "
            f"but a picture of {height}x{width} RGB pixels has {height * width * 3}"
        )
    weight = np.asarray(network.weights[0], dtype=np.float64)
    largest = np.abs(weight).max(axis=1, keepdims=True)
    scaled = np.divide(weight, 2 * largest, out=np.zeros_like(weight), where=largest > 0)
    pictures: NDArray[np.float64] = (0.5 + scaled).reshape(-1, height, width, 3)
    return pictures


def _neurons_that_count(network: Network) -> NDArray[np.intp]:
    """Return which `_NEURONS` of the first layer have the largest weights going out, in order."""
    count = network.layer_sizes[1]
    if count <= _NEURONS or len(network.weights) < 2:
        return np.arange(min(count, _NEURONS))
    outgoing = np.abs(network.weights[1]).sum(axis=0)
    return np.argsort(-outgoing, kind="stable")[:_NEURONS]


def _rows(count: int) -> int:
    return max(1, math.ceil(count / _COLUMNS))


def _draw_curves(band: SubFigure, run: Run) -> None:
    shape = "-".join(map(str, run.network.layer_sizes))
    band.suptitle(f"{run.name} {shape}".strip())
    loss, accuracy = band.subplots(1, 2)
    history = run.history
    name = run.network.loss_function.replace("_", " ")
    draw_curve(loss, name, history.loss, history.val_loss, "test")
    draw_curve(accuracy, "accuracy", history.accuracy, history.val_accuracy, "test")
    loss.set_ylim(bottom=0)
    accuracy.set_ylim(min(0.5, *history.accuracy, *history.val_accuracy), 1)


def _draw_weights(band: SubFigure, run: Run, weights: NDArray[np.float64]) -> None:
    total = run.network.layer_sizes[1]
    name = f"{run.name}: " if run.name else ""
    if len(weights) < total:
        shown = f"the {len(weights)} of {total} neurons that count most"
    else:
        shown = f"all {total} neurons"
    band.suptitle(f"{name}first-layer weights of {shown} (grey is 0)")
    axes = band.subplots(_rows(len(weights)), _COLUMNS, squeeze=False).ravel()
    for cell in axes:
        cell.set_axis_off()
    for cell, weight in zip(axes, weights, strict=False):
        cell.imshow(weight)


def _draw_predictions(
    band: SubFigure,
    pictures: NDArray[Any],
    labels: NDArray[Any],
    guesses: tuple[Sequence[int], Sequence[float]],
    class_names: Sequence[str],
) -> None:
    band.suptitle("predictions (class and its probability; red: wrong)")
    axes = band.subplots(_rows(len(labels)), _COLUMNS, squeeze=False).ravel()
    for cell in axes:
        cell.set_axis_off()
    for cell, picture, label, guess, p in zip(axes, pictures, labels, *guesses, strict=False):
        cell.imshow(picture)
        cell.set_title(
            f"{class_names[guess]} {p:.2f}",
            color="black" if guess == label else "red",
            fontsize=8,
            parse_math=False,  # a dollar in a name is one
        )
