"""The facade: a fully connected network with all that users can do with it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy.typing as npt

from fastbp import storage
from fastbp.explanation import Explanation, explain
from fastbp.files import AnyPath
from fastbp.initializers import Init, canonical_init, default_init, initialize
from fastbp.learner import Learner
from fastbp.losses import check_loss
from fastbp.parameters import check_seed

__all__ = ["Network", "from_torch", "load"]

Array = npt.NDArray[Any]


class Network(Learner):
    """A fully connected network.

    Layer l computes A[l] = g(A[l-1] W[l]^T + b[l]), rows being examples; A[0] is
    (X - input_mean) * input_scale, computed in registers and never stored.

    Parameters
    ----------
    layer_sizes : sequence of int
        Width of the input and of every layer: (12288, 3, 2, 1) has two hidden layers and one
        output unit. At least two, each at least 1.
    activation : str or sequence of str, default "sigmoid"
        g of the hidden layers, of all or of each: "identity", "sigmoid" (also "logistic"), "tanh",
        "relu", "leaky_relu", "elu", "softplus", "gelu" or "silu"; `fastbp.activations.ACTIVATIONS`
        has the formulas.
    loss : str, default "log_loss"
        What is minimised; it fixes g of the output layer, and the metric:

        * "log_loss": sigmoid, accuracy; each output tells two classes apart.
        * "cross_entropy": softmax, accuracy; an output for each class, at least two.
        * "squared_error" (half the square), "absolute_error", "huber" (linear beyond an error of
          1): identity, R^2.
        * "poisson" (half the deviance): exp, R^2; for counts and other values that are not
          negative.
    init : {"zeros", "normal", "xavier", "he", "auto"}, float, ("normal", std) or callable
        How the weights start: all 0, N(0, 0.01^2), N(0, 2 / (n_l + n_{l-1})),
        N(0, 2 / n_{l-1}), "he" for layers like relu and "xavier" for the others, all equal to a
        number, N(0, std^2), or ``init(shape, rng)``. Biases start at 0. Default "auto", which the
        network calls "xavier" where no layer is like relu.
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
    training_state : TrainingState or None
        How far training is, see Notes of `fit`.

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

    def __init__(
        self,
        layer_sizes: Sequence[int],
        *,
        activation: str | Sequence[str] = "sigmoid",
        loss: str = "log_loss",
        init: Init | None = None,
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
        names = self.layer_activations
        start = default_init(names) if init is None else init
        self.init = canonical_init(start)
        self.weights, self.biases = initialize(
            self.layer_sizes, start, activations=names, seed=self.seed, dtype=self.dtype
        )
        self.training_settings: dict[str, Any] = {}
        self.metadata: dict[str, Any] = {}

    def __repr__(self) -> str:
        return (
            f"Network({self.layer_sizes}, activation={self.activation!r}, "
            f"loss={self.loss_function!r}, init={self.init!r}, "
            f"dtype={self.dtype.name!r}, seed={self.seed!r})"
        )

    def explain(
        self,
        *,
        batch_size: int | None = 32,
        rows: int | None = None,
        dtype: npt.DTypeLike | None = None,
        training: bool = True,
        optimizer: str = "sgd",
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
        optimizer : {"sgd", "momentum", "nesterov", "adam", "adamw"}, default "sgd"
            Of `fit`: what it keeps of each weight is read and written too, and plain "sgd" alone
            lets steps share a pass over the weights.
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
        * weight_bytes: P - P1 + P1 / group weights, read and written, with once (momentum) or
          twice (Adam) as many numbers that the optimizer keeps; in a prediction P weights,
          read. None, if all weights fit in the level-2 caches of the cores at work.
        * the limit: max(flops / gflops, bytes / gbytes) / 1e9 seconds.
        """
        return explain(
            self,
            batch_size=batch_size,
            rows=rows,
            dtype=dtype,
            training=training,
            optimizer=optimizer,
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


def from_torch(module: Any, *, loss: str, seed: int | None = None) -> Network:
    """Make a network of a ``torch.nn.Sequential``.

    Parameters
    ----------
    module : torch.nn.Sequential
        Of Linear, Dropout and the modules of fastbp's activations: Identity, Sigmoid, Tanh, ReLU,
        LeakyReLU(0.01), ELU(1), Softplus(1), GELU, SiLU; Sequentials of these are taken, too. It
        may end with the activation that goes with the loss, or without.
    loss : str
        As for `Network`: what the network is to be trained by from here, and what its outputs mean.
    seed : int, optional
        As for `Network`; nothing is drawn.

    Returns
    -------
    Network
        In the module's dtype, with copies of its parameters. Shares of Dropout modules are in
        ``metadata["dropout"]``, of the input and of each hidden layer, for ``fit(dropout=...)``.

    Raises
    ------
    ImportError
        If PyTorch is not installed.
    TypeError
        If `module` is no Sequential, or holds another module.
    ValueError
        If modules do not follow each other so, are set to what fastbp does not have, end with
        another loss's activation, or are neither of float32 nor of float64.
    """
    try:
        from fastbp.interop import pytorch
    except ImportError as error:
        raise ImportError("from_torch needs PyTorch: pip install 'fastbp[torch]'") from error
    parts = pytorch.from_torch(module, check_loss(loss))
    sizes = parts.weights[0].shape[1], *(len(bias) for bias in parts.biases)
    network = Network(
        sizes, activation=parts.activation, loss=loss, init="zeros", dtype=parts.dtype, seed=seed
    )
    network.weights, network.biases = parts.weights, parts.biases
    network.init = parts.init
    if any(parts.dropout):
        network.metadata["dropout"] = parts.dropout
    return network
