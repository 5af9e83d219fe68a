"""Training by steps on batches: epochs, batches, schedules, and what is noted of them."""

from __future__ import annotations

import functools
import math
import time
import warnings
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import train_test_split
from sklearn.neural_network import _base

from fastbp.estimators.callbacks import Hooks
from fastbp.estimators.company import seated
from fastbp.estimators.continuing import Course
from fastbp.estimators.options import dropout_of, penalty_of
from fastbp.estimators.rows import Rows, rows_of
from fastbp.estimators.state import OptimizerState
from fastbp.estimators.steps import RowWeights, StepNumbers
from fastbp.estimators.stopping import Stopping, ValidationStopping, begin_curves
from fastbp.estimators.validation import Validation
from fastbp.estimators.verbose import say
from fastbp.estimators.weights import trainable_network
from fastbp.parameters import Parameters

__all__ = ["Call", "Data", "fit_stochastic", "loss_cap", "loss_share"]

Array = npt.NDArray[Any]


class Data(NamedTuple):
    """Validated rows."""

    X: Any  # ndarray, or one of SciPy's sparse matrices
    y: Array  # (n, n_outputs)
    weights: Array | None  # (n,)

    def take(self, chosen: Array) -> Data:
        """Some of the rows."""
        weights = None if self.weights is None else self.weights[chosen]
        return Data(self.X[chosen], self.y[chosen], weights)


def loss_cap(network: Parameters) -> float:
    """How much a probability may cost at most: scikit-learn clips them in the loss."""
    if network.loss_function in ("log_loss", "cross_entropy"):
        return -math.log(np.finfo(network.dtype).eps)
    return math.inf


@functools.cache
def _is_mean_over_outputs() -> bool:
    """Whether the squared error of the installed scikit-learn is one, or a sum over outputs."""
    squared_error = _base.LOSS_FUNCTIONS["squared_error"]
    return bool(squared_error(np.zeros((1, 2)), np.ones((1, 2))) < 1)


def loss_share(network: Parameters) -> float:
    """What a row's loss, summed over outputs, is multiplied by.

    scikit-learn's squared error has been a mean over outputs, while its gradient is that of their
    sum (scikit-learn#8349): the loss follows the installed version, and stopping with it.
    """
    is_squared = network.loss_function == "squared_error"
    return 1 / network.layer_sizes[-1] if is_squared and _is_mean_over_outputs() else 1.0


class Call(NamedTuple):
    """What one call of `fit` or `partial_fit` asks for."""

    hooks: Hooks
    is_warm: bool = False  # whether the parameters come from a training before
    incremental: bool = False  # whether the optimizer is as the call before has left it
    epochs: int = 1  # of an incremental call, neither more nor less
    deadline: float = math.inf  # of `time.monotonic`, see `max_seconds`
    validation: Data | None = None  # rows of the user's own


def fit_stochastic(
    estimator: Any, data: Data, random_state: np.random.RandomState, call: Call
) -> None:
    """Train an estimator, whose parameters are there, by sgd, adam or adamw.

    Parameters
    ----------
    estimator : BaseMLP
    data : Data
    random_state : RandomState
        Splits and shuffles.
    call : Call
    """
    if not hasattr(estimator, "loss_curve_"):  # as after solver="lbfgs"
        begin_curves(estimator)
    course = _course(estimator, random_state, call)
    validation = call.validation
    chosen: Array | None = None  # rows that are trained on, without a copy of them; None is all
    if estimator.early_stopping and validation is None:
        chosen, others = _split(estimator, data, course)
        call.hooks.take(chosen)
        validation = data.take(others)
    else:
        course.forget_split()
    count = len(data.y if chosen is None else chosen)
    batch_size = _batch_size(estimator, count)
    network = trainable_network(estimator)
    state = _state(estimator, course, call)
    state.fit_to([*network.weights, *network.biases])
    epochs = call.epochs if call.incremental else estimator.max_iter
    rows, numbers = _ready(estimator, network, data, count, batch_size, state, epochs)
    rows = seated(rows, course.random_state)
    stopping = _stopping(estimator, network, validation, course, is_warm=call.is_warm)
    try:
        _run(estimator, rows, chosen, numbers, state, stopping, course, call)
    except KeyboardInterrupt:
        warnings.warn("Training interrupted by user.", stacklevel=5)
    stopping.end()


def _course(estimator: Any, random_state: np.random.RandomState, call: Call) -> Course:
    """The random numbers of this call: where those of the last one ended, if so asked."""
    goes_on = estimator.continue_training and call.is_warm
    course: Course | None = getattr(estimator, "_course", None) if goes_on else None
    if course is None:
        course = Course(random_state)
    vars(estimator).pop("_course", None)
    if estimator.continue_training:
        estimator._course = course
    return course


def _state(estimator: Any, course: Course, call: Call) -> OptimizerState:
    """The optimizer, which begins anew in each call of `fit` unless it is to go on."""
    before: OptimizerState | None = getattr(estimator, "_optimizer", None)
    if call.incremental and before is not None:
        state = before
    else:
        state = estimator._optimizer = OptimizerState.of(estimator)
        if estimator.continue_training and call.is_warm and before is not None:
            state.go_on_from(before)
    # Without dropout nothing is drawn, so that scikit-learn's random numbers stay what they are.
    if state.dropout_seed is None and dropout_of(estimator, len(estimator.coefs_) - 1):
        state.dropout_seed = int(course.random_state.randint(np.iinfo(np.int64).max))
    return state


def _stopping(
    estimator: Any, network: Parameters, data: Data | None, course: Course, *, is_warm: bool
) -> Stopping:
    if data is None:
        return Stopping(estimator)
    validation = Validation(estimator, network, *data, loss_share(network))
    if not estimator.early_stopping:
        return Stopping(estimator, validation)
    return ValidationStopping(
        estimator,
        network,
        validation,
        is_warm=is_warm,
        course=course if estimator.continue_training else None,
    )


def _split(estimator: Any, data: Data, course: Course) -> tuple[Array, Array]:
    """Row numbers for training and for validation; of one output, classes in their shares."""
    split = course.split_of(len(data.y))
    if split is None:
        y = data.y if estimator._stratifies and data.y.shape[1] == 1 else None
        chosen, others = train_test_split(
            np.arange(len(data.y)),
            random_state=course.random_state,
            test_size=estimator.validation_fraction,
            stratify=y,
        )
        split = course.take_split(chosen, others)
    if len(split[1]) < 2:
        raise ValueError(
            "The validation set is too small. Increase 'validation_fraction' "
            "or the size of your dataset."
        )
    return split


def _batch_size(estimator: Any, rows: int) -> int:
    if estimator.batch_size == "auto":
        return min(200, rows)
    if estimator.batch_size > rows:
        warnings.warn(
            "Got `batch_size` less than 1 or larger than sample size. It is going to be clipped",
            stacklevel=5,
        )
    return int(np.clip(estimator.batch_size, 1, rows))


def _ready(
    estimator: Any,
    network: Parameters,
    data: Data,
    count: int,
    batch_size: int,
    state: OptimizerState,
    epochs: int,
) -> tuple[Rows, StepNumbers]:
    weights = None if data.weights is None else RowWeights(data.weights, network.dtype)
    recipe = state.rule.to_recipe(
        state.kept,
        dropout=dropout_of(estimator, len(network.weights) - 1),
        seed=state.dropout_seed or 0,
        row_weights=None if weights is None else weights.scaled,
        is_constant=state.schedule == "constant",
    )._replace(squares=penalty_of(estimator) > 0, loss_cap=loss_cap(network))
    targets = np.ascontiguousarray(data.y, network.dtype)
    rows = rows_of(network, data.X, targets, count, batch_size, recipe)
    numbers = StepNumbers(
        state,
        count,
        batch_size,
        alpha=penalty_of(estimator),
        loss_share=loss_share(network),
        weights=weights,
        epochs=epochs,
    )
    return rows, numbers


def _run(
    estimator: Any,
    rows: Rows,
    chosen: Array | None,
    numbers: StepNumbers,
    state: OptimizerState,
    stopping: Stopping,
    course: Course,
    call: Call,
) -> None:
    """Train epoch by epoch; ``chosen`` has the rows as they come, if they are not all."""
    order = course.order_of(rows.rows)
    if order is None:
        order = chosen
    estimator.n_iter_ = 0
    for _ in range(call.epochs if call.incremental else estimator.max_iter):
        call.hooks.begin_task("epoch")
        if estimator.shuffle:
            # In the order and the state that `sklearn.utils.shuffle` of the row numbers leaves.
            shuffled = course.random_state.permutation(rows.rows)
            order = course.order = shuffled if order is None else order[shuffled]
        rows.clear()
        try:
            rows.train(order, numbers.of_epoch(order), state.steps)
        finally:
            state.steps += rows.made
        loss = rows.loss / rows.rows
        estimator.n_iter_ += 1
        estimator.loss_ = loss
        estimator.t_ += rows.rows
        estimator.loss_curve_.append(loss)
        if estimator.verbose:  # as the text takes longer to write than all else here
            say(estimator, f"Iteration {estimator.n_iter_:d}, loss = {loss:.8f}")
        is_over = _end_epoch(estimator, state, stopping, loss) and not call.incremental
        if call.hooks.end_task() or is_over:
            return
        if time.monotonic() >= call.deadline:
            break
    if not call.incremental:
        _warn(estimator)


def _end_epoch(estimator: Any, state: OptimizerState, stopping: Stopping, loss: float) -> bool:
    """Look for progress, and do what is to be done without: whether training is over."""
    reason = stopping.end_epoch(loss)
    state.end_epoch(estimator.t_)
    if reason is None:
        return False
    is_over, what = state.stop_or_slow_down()
    say(estimator, f"{reason} {what}")
    if not is_over:
        estimator._no_improvement_count = 0
    return is_over


def _warn(estimator: Any) -> None:
    """Warn that training has ended before it converged."""
    limit = f"Maximum iterations ({estimator.max_iter})"
    if estimator.n_iter_ < estimator.max_iter:
        limit = f"Maximum time (max_seconds={estimator.max_seconds})"
    warnings.warn(
        f"Stochastic Optimizer: {limit} reached and the optimization hasn't converged yet.",
        ConvergenceWarning,
        stacklevel=7,
    )
