"""What `Network.fit` does: checks all that it is given, trains, and keeps what is to be kept."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy.typing as npt

from fastbp.engine import scratch
from fastbp.health import warn_of_dead_layers, warn_of_input
from fastbp.history import Callback, History, Progress
from fastbp.predictor import Predictor
from fastbp.progress import check_progress, shown
from fastbp.row_weights import class_numbers, rounded, weights_of_classes
from fastbp.settings import Settings, check_settings, new_seed
from fastbp.state import TrainingState
from fastbp.targets import as_targets, as_weights, fit_targets
from fastbp.training import Training
from fastbp.validation import split_rows

__all__ = ["Trainable", "fit"]

Array = npt.NDArray[Any]


class Trainable(Predictor):
    """Parameters that can be trained, and know how far they are."""

    seed: int | None = None
    training_settings: dict[str, Any]
    training_state: TrainingState | None = None


class _Rows(NamedTuple):
    """Rows that are ready, their targets, and their weights as users gave them."""

    X: Array
    y: Array
    weights: Array | None

    def take(self, numbers: Array) -> _Rows:
        """Some of them, copied."""
        weights = None if self.weights is None else self.weights[numbers]
        return _Rows(self.X[numbers], self.y[numbers], weights)


class _Task(NamedTuple):
    """All that was checked."""

    settings: Settings
    state: TrainingState
    train: _Rows
    validation: _Rows | None
    weights: Array | None  # of the rows to train on, as compiled code takes them
    classes: Array | None  # labels that `fit` has learned


def fit(
    network: Trainable,
    X: npt.ArrayLike,
    y: npt.ArrayLike,
    settings: dict[str, Any],
    *,
    sample_weight: npt.ArrayLike | None,
    validation_data: Any,
    callbacks: Iterable[Callback],
    progress: bool | Progress,
) -> History:
    """Train a network; see `Network.fit`. ``settings`` are those that `check_settings` takes."""
    task = _check(network, X, y, sample_weight, validation_data, settings)
    hooks = list(callbacks)
    for hook in hooks:
        if not callable(getattr(hook, "on_epoch_end", None)):
            raise TypeError(f"callbacks must have a method on_epoch_end, got {hook!r}")
    check_progress(progress)
    rows, validation = task.train.X, task.validation

    def validate() -> tuple[float, float]:
        assert validation is not None
        return network._measure(validation.X, validation.y, "validation X", validation.weights)

    def after_epoch(epoch: int, history: History) -> bool:
        # Every hook is called, whatever the ones before it have answered.
        answers = [hook.on_epoch_end(epoch, network, history) for hook in hooks]
        return any(answers)

    try:
        with shown(progress) as report:
            training = Training(
                network, rows, task.train.y, task.settings, task.state, task.weights
            )
            warn_of_input(network, rows)
            if task.classes is not network.classes_:
                network.classes_ = task.classes
            network.training_settings = task.settings.as_dict(task.state.seed)
            network.training_state = task.state
            return training.run(
                validate=None if validation is None else validate,
                after_epoch=after_epoch if hooks else None,
                examine=lambda: warn_of_dead_layers(network, rows),
                report=report,
            )
    finally:
        scratch.trim()


def _check(
    network: Trainable,
    X: npt.ArrayLike,
    y: npt.ArrayLike,
    sample_weight: npt.ArrayLike | None,
    validation_data: Any,
    given: dict[str, Any],
) -> _Task:
    """Check all that `fit` is given, and change nothing of the network."""
    rows = _rows(network, X, "X")
    targets, classes = fit_targets(network, y, len(rows))
    data = _Rows(rows, targets, as_weights(sample_weight, len(rows)))
    settings = check_settings(**given)
    state = _state(network, settings)
    numbers = None  # of the class of each row, where it is asked for
    if settings.validation_split > 0 or settings.class_weight is not None:
        numbers = class_numbers(targets, network.loss_function)
    validation = None
    if settings.validation_split > 0:
        if validation_data is not None:
            raise ValueError("give validation_data or validation_split, not both")
        kept, apart = split_rows(len(rows), settings.validation_split, state.seed, numbers)
        data, validation = data.take(kept), data.take(apart)
        numbers = None if numbers is None else numbers[kept]
        if data.weights is not None and not data.weights.any():
            raise ValueError("sample_weight is 0 for all rows but those of validation_split")
    elif validation_data is not None:
        validation = _validation(network, validation_data, classes)
    outputs = network.layer_sizes[-1]
    of_classes = weights_of_classes(
        settings.class_weight, numbers, max(outputs, 2), classes
    )  # fmt: skip
    weights = data.weights
    if of_classes is not None:
        weights = of_classes if weights is None else weights * of_classes
        if not weights.any():
            raise ValueError("class_weight, with sample_weight, makes the weights of all rows 0")
    if weights is not None:
        weights = rounded(weights, network.dtype)
    return _Task(settings, state, data, validation, weights, classes)


def _rows(network: Predictor, X: npt.ArrayLike, name: str) -> Array:
    """X as training takes it."""
    rows = network._ready(X)
    if len(rows) == 0:
        raise ValueError(f"{name} has no rows")
    return rows


def _validation(network: Predictor, data: Any, classes: Array | None) -> _Rows:
    """``validation_data`` as it is measured on."""
    if not isinstance(data, tuple | list) or len(data) not in (2, 3):
        raise ValueError("validation_data must be a tuple (X, y) or (X, y, sample_weight)")
    rows = _rows(network, data[0], "validation X")
    known = network.classes_
    network.classes_ = classes  # those that are about to be learned
    try:
        targets = as_targets(network, data[1], len(rows), "validation y")
    finally:
        network.classes_ = known
    return _Rows(rows, targets, as_weights(data[2] if len(data) == 3 else None, len(rows)))


def _state(network: Trainable, settings: Settings) -> TrainingState:
    """The state to go on with: the network's, if that belongs to such a training; or a new one."""
    state, optimizer = network.training_state, settings.optimizer
    sizes, dtype = network.layer_sizes, network.dtype
    if (
        state is not None
        and settings.seed in (None, state.seed)
        and state.fits(optimizer, sizes, dtype)
    ):
        # A copy of all but the arrays: what is refused later changes nothing.
        return TrainingState(
            optimizer, state.seed, state.steps, state.epochs, state.kept_since, state.kept
        )
    seed = network.seed if settings.seed is None else settings.seed
    return TrainingState.begin(optimizer, new_seed() if seed is None else seed, sizes, dtype)
