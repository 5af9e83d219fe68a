"""Gradient descent: full-batch, stochastic and mini-batch through one `fit`."""

from __future__ import annotations

import math
import operator
import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt

from fastbp.engine import scratch
from fastbp.engine.plan import NetworkPlan
from fastbp.guard import Guard
from fastbp.losses import check_targets

if TYPE_CHECKING:
    from fastbp.network import Network

__all__ = ["Callback", "History", "Progress", "batch_indices", "fit"]

Array = npt.NDArray[Any]
Progress = Callable[[int, int], None]

_ROWS_OF_SAMPLE = 16
_LARGE_BYTE = 31  # counts and categories may well be bytes; pixels go up to 255
_SECONDS_BETWEEN_SIGNALS = 0.1  # Ctrl-C and progress wait this long for compiled code, about


@dataclass
class History:
    """What `fit` measured: lists with one entry for each epoch that was completed.

    Attributes
    ----------
    loss, accuracy : list of float
        Running means over the epoch's batches, each evaluated before its update; the loss
        without the L2 term.
    val_loss, val_accuracy : list of float
        On the validation data after the epoch; empty without validation data.
    seconds : list of float
        Training time, without validation and callbacks.
    samples_per_second : list of float
    stopped_early : bool
        Whether a callback ended training.
    """

    loss: list[float] = field(default_factory=list)
    accuracy: list[float] = field(default_factory=list)
    val_loss: list[float] = field(default_factory=list)
    val_accuracy: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    samples_per_second: list[float] = field(default_factory=list)
    stopped_early: bool = False

    @property
    def epochs(self) -> int:
        """Number of completed epochs."""
        return len(self.loss)


class Callback(Protocol):
    """Anything with this method may be passed to `fit`."""

    def on_epoch_end(self, epoch: int, network: Network, history: History) -> bool | None:
        """Called after each epoch; ``epoch`` counts from 1. Return True to stop training."""


@dataclass(frozen=True)
class _Settings:
    """Checked hyper-parameters."""

    batch_size: int | None
    epochs: int
    learning_rate: float
    weight_decay: float
    shuffle: bool
    seed: int


def fit(
    network: Network,
    X: npt.ArrayLike,
    y: npt.ArrayLike,
    *,
    batch_size: int | None = 32,
    epochs: int = 10,
    learning_rate: float = 0.1,
    weight_decay: float = 0.0,
    shuffle: bool = True,
    seed: int | None = None,
    validation_data: tuple[npt.ArrayLike, npt.ArrayLike] | None = None,
    callbacks: Iterable[Callback] = (),
    progress: bool | Progress = False,
) -> History:
    """Train a network by gradient descent on the mean log loss.

    Each step does W <- (1 - alpha lambda) W - alpha dW and b <- b - alpha db, with dW and db of
    one batch at the parameters before the step. Whole epochs run in compiled code; X is neither
    copied nor converted, and no layer's gradient is stored.

    Parameters
    ----------
    network : Network
        Changed in place.
    X : array_like of shape (n, n_0)
        uint8, float32 and float64 are read as they are. Bytes as large as pixels want a network
        with an input_scale: without, there is a UserWarning.
    y : array_like of shape (n,) or (n, n_L)
        Targets in [0, 1].
    batch_size : int or None, default 32
        Rows of a step; the last batch of an epoch may be shorter. None is all rows: full-batch
        gradient descent. 1 is stochastic gradient descent.
    epochs : int, default 10
        Passes over the data; 0 or more.
    learning_rate : float, default 0.1
        alpha > 0.
    weight_decay : float, default 0.0
        lambda >= 0, with alpha lambda < 1. Biases are not decayed.
    shuffle : bool, default True
        Take the rows in a new order each epoch. The order depends on (seed, epoch) alone.
    seed : int, optional
        Of the shuffling. Without one, the network's seed; without either, it differs every time.
    validation_data : tuple (X, y), optional
        Evaluated after each epoch.
    callbacks : iterable of Callback
        Their ``on_epoch_end(epoch, network, history)`` is called after each epoch, and stops
        training by returning True.
    progress : bool or callable, default False
        True shows a bar (needs rich). A callable is called some times a second, and at the end
        of each epoch, as ``progress(samples_done, samples_total)``.

    Returns
    -------
    History

    Raises
    ------
    TypeError, ValueError
        For bad arguments, before anything is changed; and before training goes on, if a callback
        leaves parameters behind that could not be trained at the start.
    ValueError
        If a NaN or infinity in X, named by row and column, made the loss or the weights NaN or
        infinite. Data that are fine are not looked at: training runs into what is not, and ends
        with the call of compiled code in which it did (a tenth of a second, about). The network
        then has the parameters from before the step that met it. So too if X of `validation_data`
        makes an output NaN.
    DivergenceError
        If they became so though the data are finite: by too large a learning rate, or parameters
        or data that are. The network has the parameters from before that step.
    KeyboardInterrupt
        On Ctrl-C; the network is then in the state after the last whole step.

    Notes
    -----
    The arrays in ``network.weights`` and ``network.biases`` are changed in place. So they must be
    writable, C-contiguous, aligned and in the machine's byte order, and share no memory with each
    other, X or y; `predict` and the like can do without. Callbacks may change them, put other
    arrays in their place, and set ``input_mean``, ``input_scale`` and the inner of
    ``layer_sizes``: training goes on with what it finds.
    """
    rows, targets = _check_data(network, X, y, "X")
    settings = _check_settings(
        network, batch_size, epochs, learning_rate, weight_decay, shuffle, seed
    )
    validation = None
    if validation_data is not None:
        validation = _check_data(network, *_pair(validation_data), "validation X")
    _warn_of_bytes(network, rows)
    hooks = list(callbacks)
    for hook in hooks:
        if not callable(getattr(hook, "on_epoch_end", None)):
            raise TypeError(f"callbacks must have a method on_epoch_end, got {hook!r}")
    if not isinstance(progress, bool) and not callable(progress):
        raise TypeError(f"progress must be a bool or a callable, got {progress!r}")
    try:
        with _progress(progress) as report:
            return _train(network, rows, targets, settings, validation, hooks, report)
    finally:
        scratch.trim()


def batch_indices(
    n: int,
    batch_size: int | None,
    *,
    shuffle: bool = True,
    seed: int | None = None,
    epoch: int = 0,
) -> list[Array]:
    """The batches that `fit` takes in one epoch.

    Parameters
    ----------
    n : int
        Rows of the data.
    batch_size : int or None
        As for `fit`.
    shuffle : bool, default True
    seed : int, optional
        As for `fit`; needed if `shuffle`.
    epoch : int, default 0
        Which epoch, counted from 0.

    Returns
    -------
    list of ndarray of int64
        Row numbers, batch by batch.
    """
    if shuffle and seed is None:
        raise ValueError("the batches of a shuffled epoch depend on the seed: give one")
    order = _epoch_order(n, epoch, shuffle, seed or 0)
    if order is None:
        order = np.arange(n, dtype=np.int64)
    size = n if batch_size is None else batch_size
    return [order[start : start + size] for start in range(0, n, max(size, 1))]


def _epoch_order(n: int, epoch: int, shuffle: bool, seed: int) -> Array | None:
    if not shuffle:
        return None
    return np.random.default_rng([seed, epoch]).permutation(n)


def _pair(data: Any) -> tuple[npt.ArrayLike, npt.ArrayLike]:
    if not isinstance(data, tuple | list) or len(data) != 2:
        raise ValueError("validation_data must be a tuple (X, y)")
    return data[0], data[1]


def _check_data(
    network: Network, X: npt.ArrayLike, y: npt.ArrayLike, name: str
) -> tuple[Array, Array]:
    rows = network._input(X)
    if len(rows) == 0:
        raise ValueError(f"{name} has no rows")
    return rows, check_targets(y, len(rows), network.layer_sizes[-1], network.dtype)


def _warn_of_bytes(network: Network, X: Array) -> None:
    """Say so if X are bytes as large as pixels are, and nothing makes them smaller."""
    scale = network.input_scale
    if X.dtype != np.uint8 or not isinstance(scale, int | float) or scale != 1:
        return
    largest = int(X[:: -(-len(X) // _ROWS_OF_SAMPLE)].max())
    if largest > _LARGE_BYTE:
        warnings.warn(
            f"X holds bytes up to {largest}, and the network's input_scale is 1: its sigmoids"
            " saturate, and it hardly learns; for pixels give it input_scale=1/255 (and"
            " input_mean)",
            UserWarning,
            stacklevel=4,
        )


def _integer(value: Any, name: str, smallest: int) -> int:
    if isinstance(value, bool | np.bool_):
        raise TypeError(f"{name} must be an integer, got {value!r}")
    try:
        number = operator.index(value)
    except TypeError:
        raise TypeError(f"{name} must be an integer, got {value!r}") from None
    if number < smallest:
        raise ValueError(f"{name} must be at least {smallest}, got {number}")
    return number


def _real(value: Any, name: str) -> float:
    if isinstance(value, bool | np.bool_ | str | bytes | complex):
        raise TypeError(f"{name} must be a real number, got {value!r}")
    try:
        number = float(value)
    except TypeError:
        raise TypeError(f"{name} must be a real number, got {value!r}") from None
    if not math.isfinite(number):
        raise ValueError(f"{name} must be finite, got {number}")
    return number


def _check_settings(
    network: Network,
    batch_size: Any,
    epochs: Any,
    learning_rate: Any,
    weight_decay: Any,
    shuffle: Any,
    seed: Any,
) -> _Settings:
    size = None if batch_size is None else _integer(batch_size, "batch_size", 1)
    rate = _real(learning_rate, "learning_rate")
    if rate <= 0:
        raise ValueError(f"learning_rate must be greater than 0, got {rate}")
    decay = _real(weight_decay, "weight_decay")
    if decay < 0:
        raise ValueError(f"weight_decay must not be negative, got {decay}")
    if rate * decay >= 1:
        raise ValueError(
            "learning_rate * weight_decay must be less than 1, or the decay turns the weights"
            f" around; got {rate} * {decay}"
        )
    if not isinstance(shuffle, bool | np.bool_):
        raise TypeError(f"shuffle must be a bool, got {shuffle!r}")
    if seed is None:
        seed = network.seed
    if seed is None:
        chosen = int(np.random.SeedSequence().generate_state(1)[0])
    else:
        chosen = _integer(seed, "seed", 0)
    return _Settings(size, _integer(epochs, "epochs", 0), rate, decay, bool(shuffle), chosen)


@contextmanager
def _progress(progress: bool | Progress) -> Iterator[Progress | None]:
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


def _train(
    network: Network,
    rows: Array,
    targets: Array,
    settings: _Settings,
    validation: tuple[Array, Array] | None,
    hooks: list[Callback],
    report: Progress | None,
) -> History:
    history = History()
    plan = NetworkPlan(network, rows, targets, batch_size=settings.batch_size or len(rows))
    plan.settings[:2] = settings.learning_rate, settings.weight_decay
    n, total = len(rows), len(rows) * settings.epochs
    watched = bool(hooks) or report is not None  # asking costs as much as a step of a small network

    def order_of(epoch: int) -> Array | None:
        return _epoch_order(n, epoch, settings.shuffle, settings.seed)

    guard = Guard(network, rows, targets, plan, order_of)
    guard.begin()
    network.training_settings = {
        "batch_size": settings.batch_size,
        "epochs": settings.epochs,
        "learning_rate": settings.learning_rate,
        "weight_decay": settings.weight_decay,
        "shuffle": settings.shuffle,
        "seed": settings.seed,
    }
    for epoch in range(settings.epochs):
        guard.plan.settings[2:] = 0.0
        if hooks and epoch > 0:
            guard.follow(epoch, 0)
            guard.renew(epoch)  # callbacks may have changed parameters in place
        seconds = 0.0
        for samples, spent in _chunks(guard, epoch, order_of(epoch), watched=watched):
            seconds += spent
            if report is not None:
                report(epoch * n + samples, total)
        if hooks or epoch + 1 == settings.epochs:
            guard.look(epoch, -(-n // guard.plan.batch_size), last=True)
        history.loss.append(float(guard.plan.settings[2]) / n)
        history.accuracy.append(float(guard.plan.settings[3]) / n)
        history.seconds.append(seconds)
        history.samples_per_second.append(n / max(seconds, 1e-9))
        if validation is not None:
            loss, accuracy = network._evaluate(*validation, "validation X")
            history.val_loss.append(loss)
            history.val_accuracy.append(accuracy)
        # Every hook is called, whatever the ones before it have answered.
        answers = [hook.on_epoch_end(epoch + 1, network, history) for hook in hooks]
        if any(answers):
            history.stopped_early = True
            break
    return history


def _chunks(
    guard: Guard, epoch: int, order: Array | None, *, watched: bool
) -> Iterator[tuple[int, float]]:
    """Run an epoch in a few calls of compiled code, between which Python sees Ctrl-C.

    If ``watched``, each call goes on with the arrays that user code has left in the network.

    Yields the samples done so far and the seconds that the last call took. How the steps are
    divided among the calls changes nothing in the result, as calls are of whole groups.
    """
    plan = guard.plan
    steps = -(-plan.rows // plan.batch_size)
    done = 0
    while done < steps:
        if watched:
            guard.follow(epoch, done)
        last = min(steps, done + plan.steps_at_once)
        start = time.perf_counter()
        plan.train(order, done, last)
        spent = time.perf_counter() - start
        fitting = int((last - done) * _SECONDS_BETWEEN_SIGNALS / max(spent, 1e-9))
        groups = min(4 * plan.steps_at_once, fitting) // plan.group
        plan.steps_at_once = max(1, groups) * plan.group
        done = last
        guard.look(epoch, done)
        plan = guard.plan  # another one, where groups of steps overflowed
        yield min(done * plan.batch_size, plan.rows), spent
