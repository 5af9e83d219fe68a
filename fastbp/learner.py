"""Parameters that learn: `fit`, and all that users can tell it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy.typing as npt

from fastbp import fitting
from fastbp.early_stopping import EarlyStopping
from fastbp.history import Callback, History, Progress
from fastbp.schedules import LearningRate

__all__ = ["Learner"]


class Learner(fitting.Trainable):
    """What `fastbp.Network` can do with training."""

    def fit(
        self,
        X: npt.ArrayLike,
        y: npt.ArrayLike,
        *,
        batch_size: int | None = 32,
        epochs: int = 10,
        learning_rate: LearningRate | None = None,
        weight_decay: float = 0.0,
        optimizer: str = "sgd",
        momentum: float = 0.0,
        nesterov: bool = False,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-8,
        clip_norm: float | None = None,
        dropout: float | Sequence[float] = 0.0,
        sample_weight: npt.ArrayLike | None = None,
        class_weight: str | Mapping[Any, float] | None = None,
        shuffle: bool = True,
        seed: int | None = None,
        validation_data: Sequence[npt.ArrayLike] | None = None,
        validation_split: float = 0.0,
        early_stopping: bool | EarlyStopping | None = None,
        max_seconds: float | None = None,
        callbacks: Iterable[Callback] = (),
        progress: bool | Progress = False,
    ) -> History:
        """Train by gradient descent on the mean of the network's loss, or go on training.

        Whole epochs run in compiled code; X is neither copied nor converted, and no layer's
        gradient is stored, but for `clip_norm`.

        Parameters
        ----------
        X : array_like of shape (n, n_0)
            uint8, float32 and float64 are read as they are. Bytes as large as pixels want a network
            with an input_scale: without, there is a UserWarning.
        y : array_like of shape (n,) or (n, n_L)
            By the loss: "log_loss" takes 0 and 1, probabilities or, with one output, two labels;
            "cross_entropy" labels, or a row of probabilities for each row of X; the others numbers,
            "poisson" such that are not negative. Labels, strings or integers, are learned: see
            `classes_`.
        batch_size : int or None, default 32
            Rows of a step; the last batch of an epoch may be shorter. None is all rows: full-batch
            gradient descent. 1 is stochastic gradient descent.
        epochs : int, default 10
            Passes over the data; 0 or more.
        learning_rate : float, schedule or callable, optional
            alpha > 0; a schedule of `fastbp.schedules`; or any callable that gives the learning
            rate, 0 or more, of a step, which is counted from 0 over the whole training. Default 0.1
            for "sgd", 0.001 for "adam" and "adamw".
        weight_decay : float, default 0.0
            lambda >= 0. Without momentum and with "adamw" W is multiplied by 1 - alpha lambda in
            each step, which must be above 0; with momentum and "adam" lambda W is added to the
            gradient. Biases are not decayed.
        optimizer : {"sgd", "adam", "adamw"}, default "sgd"
            How parameters p follow from gradients g. "sgd": p <- p - alpha g, or with `momentum`
            [1]_. "adam": Algorithm 1 of [2]_, p <- p - alpha m / (sqrt(v) + epsilon), with running
            means m of g and v of g^2, each divided by 1 - beta^t at step t. "adamw": the same with
            decoupled weight decay [3]_.
        momentum : float, default 0.0
            mu in [0, 1), of "sgd": v <- mu v - alpha g, p <- p + v.
        nesterov : bool, default False
            With momentum: p <- p + mu v - alpha g instead, v being the new one.
        beta_1, beta_2 : float, default 0.9 and 0.999
            Of "adam" and "adamw": how much the running means keep in a step; in [0, 1).
        epsilon : float, default 1e-8
            Of "adam" and "adamw": > 0.
        clip_norm : float, optional
            > 0: gradients are scaled down so that the square root of the sum of all their squares,
            over all layers, is at most this [4]_. All gradients of a step are in memory then.
        dropout : float or sequence of float, default 0.0
            Share of the units of each hidden layer, or of the input and of each hidden layer in
            turn, that are 0 in a step, at random; the others are divided by 1 - dropout [5]_. In
            [0, 1). Evaluation drops nothing.
        sample_weight : array_like of shape (n,), optional
            How much each row counts in the mean over its batch: finite, 0 or more, not all 0. A
            batch whose weights are all 0 has gradients of 0: momentum and decay go on.
        class_weight : "balanced" or mapping from label to weight, optional
            For classification: multiplied with `sample_weight`. "balanced" is n / (classes * rows
            of the class); labels that the mapping leaves out weigh 1. Validation goes without.
        shuffle : bool, default True
            Take the rows in a new order each epoch. The order depends on (seed, epoch) alone.
        seed : int, optional
            Of shuffling, dropout and `validation_split`. Without one, that of the training that is
            gone on with; else the network's seed; without either, it differs every time.
        validation_data : tuple (X, y) or (X, y, sample_weight), optional
            Evaluated after each epoch.
        validation_split : float, default 0.0
            Share of the rows that is kept apart for validation, instead of `validation_data`. It is
            drawn by the seed, of each class its share where rows have one label each. The rows are
            copied. In [0, 1).
        early_stopping : bool or EarlyStopping, optional
            True is ``EarlyStopping()``: training stops after 10 epochs in a row that did not lower
            the loss, on the validation data if there are any, and the network goes back to the best
            epoch. See `fastbp.EarlyStopping`.
        max_seconds : float, optional
            Training stops once it has taken so long, with validation and callbacks, within a tenth
            of a second, about: the last epoch may not be whole.
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
            callback leaves parameters behind that could not be trained at the start, or a callable
            gives a learning rate that is none.
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

        Warns
        -----
        UserWarning
            If X is of a scale at which the first layer saturates, looked for before training, or if
            after the first epoch all units of a relu layer are 0 for a sample of the rows.

        Notes
        -----
        `fit` goes on where the last one stopped, shuffling, schedule, dropout and what the
        optimizer keeps included: twice n epochs are once 2 n, to the bit. How far it is lies in
        ``network.training_state``. It begins anew if that was given up by `reset_training`, if the
        optimizer is another one (as it is with and without momentum), if sizes or dtype have
        changed, or if another `seed` is given. What optimizers keep, and the parameters, are as
        large as the parameters: once with momentum, twice with Adam.

        The arrays in ``network.weights`` and ``network.biases`` are changed in place. So they must
        be writable, C-contiguous, aligned and in the machine's byte order, and share no memory with
        each other, X or y; `predict` and the like can do without. Callbacks may change them, put
        other arrays in their place, and set ``input_mean``, ``input_scale`` and the inner of
        ``layer_sizes``: training goes on with what it finds. Where sizes have changed, what the
        optimizer keeps begins at 0 again.

        References
        ----------
        .. [1] I. Sutskever, J. Martens, G. Dahl, G. Hinton, "On the importance of initialization
           and momentum in deep learning", ICML 2013.
        .. [2] D. Kingma, J. Ba, "Adam: A method for stochastic optimization", ICLR 2015.
        .. [3] I. Loshchilov, F. Hutter, "Decoupled weight decay regularization", ICLR 2019.
        .. [4] R. Pascanu, T. Mikolov, Y. Bengio, "On the difficulty of training recurrent neural
           networks", ICML 2013.
        .. [5] N. Srivastava, G. Hinton, A. Krizhevsky, I. Sutskever, R. Salakhutdinov, "Dropout: A
           simple way to prevent neural networks from overfitting", JMLR 15, 2014.
        """
        settings = {
            "batch_size": batch_size,
            "epochs": epochs,
            "learning_rate": learning_rate,
            "dropout": dropout,
            "shuffle": shuffle,
            "seed": seed,
            "class_weight": class_weight,
            "validation_split": validation_split,
            "early_stopping": early_stopping,
            "max_seconds": max_seconds,
            "optimizer": optimizer,
            "weight_decay": weight_decay,
            "momentum": momentum,
            "nesterov": nesterov,
            "beta_1": beta_1,
            "beta_2": beta_2,
            "epsilon": epsilon,
            "clip_norm": clip_norm,
        }
        return fitting.fit(
            self, X, y, settings, sample_weight=sample_weight, validation_data=validation_data,
            callbacks=callbacks, progress=progress,
        )  # fmt: skip

    def reset_training(self) -> None:
        """Forget how far training is: the next `fit` begins anew, with the parameters of now."""
        self.training_state = None
