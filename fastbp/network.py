"""The facade: a fully connected network with all that users can do with it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy.typing as npt

from fastbp import storage
from fastbp.engine import scratch
from fastbp.explanation import Explanation, explain
from fastbp.files import AnyPath
from fastbp.history import Callback, History, Progress
from fastbp.initializers import Init, canonical_init, initialize
from fastbp.parameters import check_seed
from fastbp.predictor import Predictor
from fastbp.preprocessing import warn_of_pixels
from fastbp.progress import check_progress, shown
from fastbp.settings import check_settings
from fastbp.state import TrainingState
from fastbp.targets import fit_targets
from fastbp.training import Training

__all__ = ["Network", "load"]

Array = npt.NDArray[Any]


class Network(Predictor):
    """A fully connected network of sigmoid units.

    Layer l computes A[l] = g(A[l-1] W[l]^T + b[l]), rows being examples; A[0] is
    (X - input_mean) * input_scale, computed in registers and never stored.

    Parameters
    ----------
    layer_sizes : sequence of int
        Width of the input and of every layer: (12288, 3, 2, 1) has two hidden layers and one
        output unit. At least two, each at least 1.
    activation : {"sigmoid"}, default "sigmoid"
        g, for hidden and output layers.
    init : {"zeros", "normal", "xavier", "he"}, float, ("normal", std) or callable
        How the weights start: all 0, N(0, 0.01^2), N(0, 2 / (n_l + n_{l-1})),
        N(0, 2 / n_{l-1}), all equal to a number, N(0, std^2), or ``init(shape, rng)``. Biases
        start at 0. Default "xavier".
    dtype : {"float32", "float64"}, default "float32"
        Of parameters and arithmetic.
    seed : int, optional
        Makes the initial weights, and `fit` without a seed of its own, repeatable.
    input_mean, input_scale : float or array_like of shape (n_0,), default 0.0 and 1.0
        The preprocessing that is part of the network, in units of X. Arrays are kept in the
        network's dtype if that holds them exactly, else in float64, in which X of float64 is
        shifted and scaled.

    Attributes
    ----------
    layer_sizes : tuple of int
    weights : list of ndarray
        weights[l] has shape (n_{l+1}, n_l). They are the weights of the preprocessed input.
        Arrays of the network's dtype may be put in their place, of any layout, also read-only or
        memory-mapped; those that are not C-contiguous are copied at each call. `fit` changes them
        in place and asks for more, see there.
    biases : list of ndarray
        biases[l] has shape (n_{l+1},). The same holds for them.
    input_mean, input_scale : float or ndarray of shape (n_0,)
        What is assigned is copied and checked as the argument is.
    parameter_count : int
    training_settings : dict
        Settings of the last `fit`; stored with the network.
    metadata : dict
        Whatever else belongs to the network and JSON can hold, such as where its data come from:
        kept by `fit`, and stored with the network.
    classes_ : ndarray of shape (K,) or None
        Labels, if they are not the numbers 0, 1, ... themselves: strings or int64, in the order of
        the outputs; with one output it is the second that this is 1 for. `fit` learns them.

    Raises
    ------
    TypeError, ValueError
        For arguments of a wrong type or out of range.

    Examples
    --------
    >>> import numpy as np
    >>> from fastbp import Network
    >>> network = Network((12288, 3, 2, 1), seed=0)
    >>> network.parameter_count
    36878
    """

    training_state: TrainingState | None = None

    def __init__(
        self,
        layer_sizes: Sequence[int],
        *,
        activation: str | Sequence[str] = "sigmoid",
        loss: str = "log_loss",
        init: Init = "xavier",
        dtype: npt.DTypeLike = "float32",
        seed: int | None = None,
        input_mean: npt.ArrayLike = 0.0,
        input_scale: npt.ArrayLike = 1.0,
    ) -> None:
        super().__init__(
            layer_sizes,
            activation=activation,
            loss_function=loss,
            dtype=dtype,
            input_mean=input_mean,
            input_scale=input_scale,
        )
        self.seed = check_seed(seed)
        self.init = canonical_init(init)
        self.weights, self.biases = initialize(
            self.layer_sizes, init, seed=self.seed, dtype=self.dtype
        )
        self.training_settings: dict[str, Any] = {}
        self.metadata: dict[str, Any] = {}

    def __repr__(self) -> str:
        return (
            f"Network({self.layer_sizes}, activation={self.activation!r}, "
            f"loss={self.loss_function!r}, init={self.init!r}, "
            f"dtype={self.dtype.name!r}, seed={self.seed!r})"
        )

    def fit(
        self,
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
        """Train by gradient descent on the mean log loss.

        Each step does W <- (1 - alpha lambda) W - alpha dW and b <- b - alpha db, with dW and db of
        one batch at the parameters before the step. Whole epochs run in compiled code; X is neither
        copied nor converted, and no layer's gradient is stored.

        Parameters
        ----------
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
            Of the shuffling. Without one, the network's seed; without either, it differs every
            time.
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
            For bad arguments, before anything is changed; and before training goes on, if a
            callback leaves parameters behind that could not be trained at the start.
        ValueError
            If a NaN or infinity in X, named by row and column, made the loss or the weights NaN or
            infinite. Data that are fine are not looked at: training runs into what is not, and ends
            with the call of compiled code in which it did (a tenth of a second, about). The network
            then has the parameters from before the step that met it. So too if X of
            `validation_data` makes an output NaN.
        DivergenceError
            If they became so though the data are finite: by too large a learning rate, or
            parameters or data that are. The network has the parameters from before that step.
        KeyboardInterrupt
            On Ctrl-C; the network is then in the state after the last whole step.

        Notes
        -----
        The arrays in ``network.weights`` and ``network.biases`` are changed in place. So they must
        be writable, C-contiguous, aligned and in the machine's byte order, and share no memory with
        each other, X or y; `predict` and the like can do without. Callbacks may change them, put
        other arrays in their place, and set ``input_mean``, ``input_scale`` and the inner of
        ``layer_sizes``: training goes on with what it finds.
        """
        rows, targets = self._data(X, y, "X")
        settings = check_settings(
            batch_size=batch_size,
            epochs=epochs,
            learning_rate=learning_rate,
            weight_decay=weight_decay,
            shuffle=shuffle,
            seed=self.seed if seed is None else seed,
        )
        validation = None
        if validation_data is not None:
            validation = self._data(*_pair(validation_data), "validation X")
        warn_of_pixels(rows, self.input_scale, stacklevel=2)
        hooks = list(callbacks)
        for hook in hooks:
            if not callable(getattr(hook, "on_epoch_end", None)):
                raise TypeError(f"callbacks must have a method on_epoch_end, got {hook!r}")
        check_progress(progress)

        def validate() -> tuple[float, float]:
            assert validation is not None
            return self._measure(*validation, "validation X")

        def after_epoch(epoch: int, history: History) -> bool:
            # Every hook is called, whatever the ones before it have answered.
            answers = [hook.on_epoch_end(epoch, self, history) for hook in hooks]
            return any(answers)

        try:
            with shown(progress) as report:
                training = Training(self, rows, targets, settings)
                self.training_settings = settings.as_dict()
                return training.run(
                    validate=None if validation is None else validate,
                    after_epoch=after_epoch if hooks else None,
                    report=report,
                )
        finally:
            scratch.trim()

    def _data(self, X: npt.ArrayLike, y: npt.ArrayLike, name: str) -> tuple[Array, Array]:
        """X and y as training takes them."""
        rows = self._ready(X)
        if len(rows) == 0:
            raise ValueError(f"{name} has no rows")
        return rows, fit_targets(self, y, len(rows))[0]

    def explain(
        self,
        *,
        batch_size: int | None = 32,
        rows: int | None = None,
        dtype: npt.DTypeLike | None = None,
        training: bool = True,
        gflops: float | None = None,
        gbytes: float | None = None,
    ) -> Explanation:
        """Tell how a step is made, why so, and how long it takes at the least.

        Parameters
        ----------
        batch_size : int or None, default 32
            Rows of a step of `fit`, or of a call of `predict_proba`. None is all rows.
        rows : int, optional
            Rows of X. Without it there are as many steps as may share a pass over the weights.
        dtype : dtype, optional
            Of X, whose rows are taken to be contiguous. By default the network's.
        training : bool, default True
            Whether to explain `fit` or `predict_proba`.
        gflops, gbytes : float, optional
            What the machine can do in a second: 1e9 operations, and bytes read from memory. What
            is not given is measured, once in a process, in some 0.3 s.

        Returns
        -------
        Explanation
            ``print`` shows it as a table; its attributes have the same.

        Raises
        ------
        TypeError, ValueError
            For arguments of a wrong type or out of range.

        Notes
        -----
        With B rows, n0 inputs, P weights in all and P1 in the first layer, and ``group`` steps that
        share a pass over these (1 in most methods):

        * flops of a step: 2 B P forward, 2 B P for the gradients, and 2 B (P - P1) for the deltas
          of hidden layers; of a prediction 2 B P. Activations and biases are not counted.
        * data_bytes: B n0 values of X, each read once.
        * weight_bytes: P - P1 + P1 / group weights, read and written; in a prediction P weights,
          read. None, if all weights fit in the level-2 caches of the cores at work.
        * the limit: max(flops / gflops, bytes / gbytes) / 1e9 seconds.
        """
        return explain(
            self,
            batch_size=batch_size,
            rows=rows,
            dtype=dtype,
            training=training,
            gflops=gflops,
            gbytes=gbytes,
        )

    def save(self, path: AnyPath, *, training_state: bool = False) -> None:
        """Write the network to a safetensors file.

        The file is written beside `path` and renamed once it is complete and on the disk: `path`
        holds the old file or the new one, never half of one, whatever happens meanwhile. The same
        network gives the same bytes. What is written is a copy, checked as `fastbp.load` checks it,
        so that another thread may train the network meanwhile: its weights are then those of a step
        or of somewhere between two.

        Parameters
        ----------
        path : str, bytes or path-like
            Where to; an existing file is replaced, and its mode kept; a symbolic link is followed.
            By habit the name ends in ``.safetensors``; none is added.
        training_state : bool, default False
            Whether to store what training is to go on with: how far it is, and what the optimizer
            keeps, which for Adam takes twice as much as the parameters.

        Raises
        ------
        OSError
            If the folder does not exist, may not be written to, or is full, or `path` is a folder,
            a FIFO, a socket or a device. It names `path`, which is as it was.
        TypeError, ValueError
            If the network is not one that `fastbp.load` returns: parameters of another shape or
            dtype than `layer_sizes` and `dtype` call for, an `input_mean` that is not finite, and
            so on; or if `training_settings` or `metadata` have values, or keys of a dict, that JSON
            cannot give back. Tuples come back as lists.
        """
        state = self.training_state if training_state else None
        description = storage.Description(
            self.init, self.seed, self.training_settings, self.metadata, state
        )
        storage.save(path, self, description)


def _pair(data: Any) -> tuple[npt.ArrayLike, npt.ArrayLike]:
    if not isinstance(data, tuple | list) or len(data) != 2:
        raise ValueError("validation_data must be a tuple (X, y)")
    return data[0], data[1]


def load(path: AnyPath) -> Network:
    """Read a network that `Network.save` wrote.

    Time and memory are in proportion to the size of the file, whatever it holds.

    Parameters
    ----------
    path : str, bytes or path-like
        The file.

    Returns
    -------
    Network
        With the saved parameters to the bit, and the saved functions, labels, `init`, `seed`,
        `training_settings`, `metadata` and, if it was asked for, `training_state`.

    Raises
    ------
    FileNotFoundError
        If there is no such file. Other failures to read are an OSError as usual, and so are
        folders, FIFOs, sockets and devices.
    ValueError
        If the file is not a safetensors file, is truncated, was not written by fastbp, has an
        unknown format version, contradicts itself, or was changed after it was written. The
        message says which.
    """
    parameters, description = storage.load(path)
    network = Network.__new__(Network)  # its arrays are those of the file
    vars(network).update(vars(parameters))
    vars(network).update(vars(description))
    return network
