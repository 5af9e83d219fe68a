"""Training by steps on batches: epochs, batches, schedules, and what is noted of them."""

from __future__ import annotations

import functools
import math
import warnings
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import train_test_split
from sklearn.neural_network import _base

from fastbp.estimators.company import seated
from fastbp.estimators.forward import outputs
from fastbp.estimators.rows import Rows, rows_of
from fastbp.estimators.state import OptimizerState
from fastbp.estimators.steps import RowWeights, StepNumbers
from fastbp.estimators.stopping import Stopping, ValidationStopping
from fastbp.estimators.verbose import say
from fastbp.estimators.weights import trainable_network
from fastbp.parameters import Parameters

__all__ = ["Data", "fit_stochastic", "loss_cap", "loss_share"]

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


def fit_stochastic(
    estimator: Any,
    data: Data,
    random_state: np.random.RandomState,
    *,
    is_warm: bool,
    incremental: bool,
) -> None:
    """Train an estimator, whose parameters are there, by sgd or adam.

    Parameters
    ----------
    estimator : BaseMLP
    data : Data
    random_state : RandomState
        Splits and shuffles.
    is_warm : bool
        Whether the parameters come from a training before.
    incremental : bool
        Whether it is for one epoch, with the optimizer as it is.
    """
    training, validation = data, None
    if estimator.early_stopping:
        training, validation = _split(estimator, data, random_state)
    batch_size = _batch_size(estimator, len(training.y))
    network = trainable_network(estimator)
    if not incremental or not hasattr(estimator, "_optimizer"):
        estimator._optimizer = OptimizerState.of(estimator)
    state: OptimizerState = estimator._optimizer
    state.fit_to([*network.weights, *network.biases])
    epochs = 1 if incremental else estimator.max_iter
    rows, numbers = _ready(estimator, network, training, batch_size, state, epochs)
    rows = seated(rows, random_state)
    stopping = Stopping(estimator)
    if validation is not None:
        score = _scorer(estimator, network, validation)
        stopping = ValidationStopping(estimator, network, score, is_warm=is_warm)
    try:
        _run(estimator, rows, numbers, state, stopping, random_state, incremental=incremental)
    except KeyboardInterrupt:
        warnings.warn("Training interrupted by user.", stacklevel=4)
    stopping.end()


def _split(estimator: Any, data: Data, random_state: np.random.RandomState) -> tuple[Data, Data]:
    """Rows for training and for validation; of one output, classes in the same shares in both."""
    y = data.y if estimator._stratifies and data.y.shape[1] == 1 else None
    chosen, others = train_test_split(
        np.arange(len(data.y)),
        random_state=random_state,
        test_size=estimator.validation_fraction,
        stratify=y,
    )
    if len(others) < 2:
        raise ValueError(
            "The validation set is too small. Increase 'validation_fraction' "
            "or the size of your dataset."
        )
    return data.take(chosen), data.take(others)


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
    batch_size: int,
    state: OptimizerState,
    epochs: int,
) -> tuple[Rows, StepNumbers]:
    weights = None if data.weights is None else RowWeights(data.weights, network.dtype)
    recipe = state.rule.to_recipe(
        state.kept,
        row_weights=None if weights is None else weights.scaled,
        is_constant=state.schedule == "constant",
    )._replace(squares=estimator.alpha > 0, loss_cap=loss_cap(network))
    targets = np.ascontiguousarray(data.y, network.dtype)
    rows = rows_of(network, data.X, targets, batch_size, recipe)
    numbers = StepNumbers(
        state,
        rows.rows,
        batch_size,
        alpha=estimator.alpha,
        loss_share=loss_share(network),
        weights=weights,
        epochs=epochs,
    )
    return rows, numbers


def _scorer(estimator: Any, network: Parameters, data: Data) -> Any:
    return lambda: estimator._score_outputs(outputs(network, data.X), data.y, data.weights)


def _run(
    estimator: Any,
    rows: Rows,
    numbers: StepNumbers,
    state: OptimizerState,
    stopping: Stopping,
    random_state: np.random.RandomState,
    *,
    incremental: bool,
) -> None:
    order: Array | None = None
    estimator.n_iter_ = 0
    for _ in range(estimator.max_iter):
        if estimator.shuffle:
            # In the order and the state that `sklearn.utils.shuffle` of the row numbers leaves.
            shuffled = random_state.permutation(rows.rows)
            order = shuffled if order is None else order[shuffled]
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
        say(estimator, f"Iteration {estimator.n_iter_:d}, loss = {loss:.8f}")
        reason = stopping.end_epoch(loss)
        state.end_epoch(estimator.t_)
        if reason is not None:
            is_over, what = state.stop_or_slow_down()
            say(estimator, f"{reason} {what}")
            if is_over:
                return
            estimator._no_improvement_count = 0
        if incremental:
            return
    warnings.warn(
        f"Stochastic Optimizer: Maximum iterations ({estimator.max_iter}) "
        "reached and the optimization hasn't converged yet.",
        ConvergenceWarning,
        stacklevel=5,
    )
