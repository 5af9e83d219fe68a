"""What a network is made of: one record, checked.

It holds sizes, dtype, weights, biases and the preprocessing of the input. The engine and training
take it, and know no network. What comes with further functions,
such as the activation of each layer, belongs here.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from fastbp.activations import Activations, check_activation, spread
from fastbp.labels import check_classes, shown
from fastbp.losses import check_loss
from fastbp.preprocessing import check_folding, scale_and_shift

__all__ = [
    "Parameters",
    "arrays_of",
    "check_class_count",
    "check_dtype",
    "check_parameters",
    "check_seed",
    "check_sizes",
    "folding_of",
    "is_centred",
    "name_of",
]

Array = npt.NDArray[Any]


def check_sizes(layer_sizes: Sequence[int]) -> tuple[int, ...]:
    """`layer_sizes` as a tuple of two or more positive numbers."""
    if isinstance(layer_sizes, str | bytes) or not isinstance(layer_sizes, Iterable):
        raise TypeError(f"layer_sizes must be a sequence of integers, got {layer_sizes!r}")
    sizes = []
    for size in layer_sizes:
        if isinstance(size, bool | np.bool_):
            raise TypeError(f"layer_sizes must hold integers, got {size!r}")
        try:
            sizes.append(operator.index(size))
        except TypeError:
            raise TypeError(f"layer_sizes must hold integers, got {size!r}") from None
    if len(sizes) < 2:
        raise ValueError(f"layer_sizes must have at least two entries, got {tuple(sizes)}")
    if min(sizes) < 1:
        raise ValueError(f"layer_sizes must be at least 1, got {tuple(sizes)}")
    return tuple(sizes)


def check_dtype(dtype: npt.DTypeLike) -> np.dtype[Any]:
    """float32 or float64, in the machine's byte order."""
    checked = np.dtype(dtype)
    if checked not in (np.dtype(np.float32), np.dtype(np.float64)):
        raise ValueError(f"dtype must be float32 or float64, got {checked}")
    return checked.newbyteorder("=")


def check_seed(seed: int | None) -> int | None:
    """A non-negative number, or None."""
    if seed is None:
        return None
    if isinstance(seed, bool):
        raise TypeError("seed must be an integer or None, got a bool")
    try:
        value = operator.index(seed)
    except TypeError:
        raise TypeError(f"seed must be an integer or None, got {seed!r}") from None
    if value < 0:
        raise ValueError(f"seed must not be negative, got {value}")
    return value


@functools.cache
def _shapes(sizes: tuple[int, ...]) -> list[tuple[int, ...]]:
    """Shapes of the weights and then of the biases."""
    weights: list[tuple[int, ...]] = [(b, a) for a, b in pairwise(sizes)]
    return weights + [(n,) for n in sizes[1:]]


def check_parameters(
    weights: Sequence[Array],
    biases: Sequence[Array],
    sizes: tuple[int, ...],
    dtype: np.dtype[Any],
    *,
    in_place: bool = False,
) -> list[Array]:
    """The weights and then the biases, as compiled code reads them; or say what is wrong.

    Users may put other arrays into a network at any time, and freeze, resize or turn those that
    are there. What is returned is what was checked, whatever becomes of the lists meanwhile.

    Parameters
    ----------
    weights, biases : list of ndarray
    sizes : tuple of int
        What their shapes follow from.
    dtype : dtype
        float32 or float64.
    in_place : bool, default False
        Whether compiled code is to change the arrays. Otherwise those that it cannot read where
        they lie, as they are not contiguous, say, are copied.

    Raises
    ------
    TypeError
        If one of them is no NumPy array, or a masked one.
    ValueError
        If their number, a shape or a dtype is wrong, or, `in_place`, one of them is read-only, not
        C-contiguous, not aligned or not in the machine's byte order.
    """
    layers = len(sizes) - 1
    if not (isinstance(weights, list) and isinstance(biases, list)):
        weights, biases = _listed(weights, "weights"), _listed(biases, "biases")
    arrays = [*weights, *biases]
    if len(weights) != layers or len(arrays) != 2 * layers:
        raise ValueError(
            f"weights and biases must have {layers} arrays each, got {len(weights)} and"
            f" {len(biases)}"
        )
    for i, (array, shape) in enumerate(zip(arrays, _shapes(sizes), strict=True)):
        if (
            type(array) is not np.ndarray
            or array.shape != shape
            or array.dtype != dtype
            or not array.flags.carray
        ):
            arrays[i] = _usable(array, name_of(i, layers), shape, dtype, in_place)
    return arrays


def _listed(arrays: Any, kind: str) -> list[Any]:
    if not isinstance(arrays, Iterable):
        raise TypeError(f"{kind} must be a list of arrays, got {type(arrays).__name__}")
    return [*arrays]


def name_of(i: int, layers: int) -> str:
    """What users call the array that `check_parameters` has at ``i``, of so many layers."""
    return f"weights[{i}]" if i < layers else f"biases[{i - layers}]"


def _usable(
    array: Any, name: str, shape: tuple[int, ...], dtype: np.dtype[Any], in_place: bool
) -> Array:
    """``array``, or a copy if compiled code could not read it where it lies; or what is wrong."""
    if not isinstance(array, np.ndarray) or isinstance(array, np.ma.MaskedArray):
        raise TypeError(f"{name} must be a numpy.ndarray, got {type(array).__name__}")
    if array.shape != shape or array.dtype.newbyteorder("=") != dtype:
        raise ValueError(
            f"{name} must be a {dtype} array of shape {shape},"
            f" got {array.dtype} of shape {array.shape}"
        )
    flags = array.flags
    faults = [
        fault
        for fault, found in (
            ("C-contiguous", not flags.c_contiguous),
            ("aligned", not flags.aligned),
            ("in the machine's byte order", array.dtype != dtype),
            ("writable", in_place and not flags.writeable),
        )
        if found
    ]
    if not faults:
        return array
    if in_place:
        raise ValueError(
            f"{name} is not {' or '.join(faults)}, and fit changes it in place: assign a copy,"
            f" such as numpy.array(network.{name}, numpy.{dtype}, order='C')"
        )
    return np.array(array, dtype, order="C")


_PREPROCESSING = {"input_mean", "input_scale"}
_CHECKS: dict[str, Callable[[Any], Any]] = {
    "layer_sizes": check_sizes,
    "dtype": check_dtype,
    "activation": check_activation,
    "loss_function": check_loss,
}


class Parameters:
    """The record of what a network is made of.

    Users may assign to each attribute, and to the entries of the lists, at any time. Sizes, dtype
    and preprocessing are checked when they are assigned, arrays at each use (`check_parameters`).

    Parameters
    ----------
    layer_sizes : sequence of int
        Width of the input and of every layer.
    weights, biases : sequence of ndarray, optional
        Of every layer, (n_{l+1}, n_l) and (n_{l+1},); they may be put in later.
    activation : str or sequence of str, default "sigmoid"
        Of hidden layers, see `fastbp.activations.ACTIVATIONS`: of all, or of each.
    loss_function : str, default "log_loss"
        See `fastbp.losses.LOSSES`. It fixes the activation of the output layer.
    dtype : {"float32", "float64"}, default "float32"
        Of parameters and arithmetic.
    input_mean, input_scale : float or array_like of shape (n_0,), default 0.0 and 1.0
        The preprocessing: layer 1 sees (X - input_mean) * input_scale.
    classes : array_like of shape (K,), optional
        Labels, see `classes_`.

    Attributes
    ----------
    layer_sizes : tuple of int
    activation : str or tuple of str
    loss_function : str
    dtype : dtype
    weights, biases : list of ndarray
    input_mean, input_scale : float or ndarray of shape (n_0,)
    classes_ : ndarray of shape (K,) or None
        Labels, strings or int64, in the order of the outputs: two for log loss with one output, the
        second of which it is 1 for; one for each output for cross entropy. None where labels are
        the numbers 0, 1, ... themselves, and for other losses.

    Raises
    ------
    TypeError, ValueError
        For sizes, a dtype, a preprocessing or labels of a wrong type or out of range.
    """

    # The plan of the last evaluation, which `fastbp.engine.evaluation.evaluate` keeps here. It is
    # of no use to a copy.
    _plan: Any = None

    classes_: Array | None = None

    def __init__(
        self,
        layer_sizes: Sequence[int],
        weights: Sequence[Array] = (),
        biases: Sequence[Array] = (),
        *,
        activation: str | Sequence[str] = "sigmoid",
        loss_function: str = "log_loss",
        dtype: npt.DTypeLike = "float32",
        input_mean: npt.ArrayLike = 0.0,
        input_scale: npt.ArrayLike = 1.0,
        classes: npt.ArrayLike | None = None,
    ) -> None:
        self.layer_sizes = check_sizes(layer_sizes)
        self.activation: Activations = check_activation(activation)
        spread(self.activation, len(self.layer_sizes) - 2)  # to refuse another number of names
        self.loss_function = check_loss(loss_function)
        if self.loss_function == "cross_entropy" and self.layer_sizes[-1] == 1:
            raise ValueError(
                "loss='cross_entropy' needs an output for each class, got layer_sizes"
                f" {self.layer_sizes}: loss='log_loss' tells two classes apart with one output"
            )
        self.dtype = check_dtype(dtype)
        n0 = self.layer_sizes[0]
        self.input_mean = check_folding(input_mean, "input_mean", n0, self.dtype)
        self.input_scale = check_folding(input_scale, "input_scale", n0, self.dtype)
        folding_of(self, self.dtype)  # to refuse what does not fit the dtype
        self.classes_ = check_classes(classes)
        self.weights, self.biases = list(weights), list(biases)

    def __setattr__(self, name: str, value: Any) -> None:
        """Check what is assigned as `__init__` checks what is given; parameters: at each use."""
        if name in _PREPROCESSING:
            value = check_folding(value, name, self.layer_sizes[0], self.dtype)
        elif name in _CHECKS:
            value = _CHECKS[name](value)
        elif name == "classes_":
            value = check_classes(value)
            check_class_count(value, self.loss_function, self.layer_sizes[-1])
        super().__setattr__(name, value)

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_plan"}

    @property
    def layer_activations(self) -> tuple[str, ...]:
        """The name of the activation of each hidden layer."""
        activation, hidden = self.activation, len(self.layer_sizes) - 2
        return (activation,) * hidden if type(activation) is str else spread(activation, hidden)

    @property
    def parameter_count(self) -> int:
        """Number of weights and biases: the sum of n_l (n_{l-1} + 1) over the layers."""
        return sum((a + 1) * b for a, b in pairwise(self.layer_sizes))


def check_class_count(classes: Array | None, loss: str, outputs: int) -> None:
    """That there are as many labels as a loss with so many outputs tells apart.

    Raises
    ------
    ValueError
        If not, or the loss has no labels.
    """
    if classes is None:
        return
    if loss == "cross_entropy":
        expected = outputs
    elif loss == "log_loss" and outputs == 1:
        expected = 2
    else:
        of = f"loss={loss!r}" + (" with several outputs" if loss == "log_loss" else "")
        raise ValueError(f"classes_ must be None for {of}, got {shown(classes)}")
    if len(classes) != expected:
        raise ValueError(
            f"classes_ must have {expected} labels for loss={loss!r} with"
            f" {outputs} {'output' if outputs == 1 else 'outputs'}, got {shown(classes)}"
        )


def arrays_of(parameters: Parameters) -> tuple[list[Array], list[Array]]:
    """Weights and biases as compiled code reads them, and of no subclass."""
    checked = check_parameters(
        parameters.weights, parameters.biases, parameters.layer_sizes, parameters.dtype
    )
    arrays = [*map(np.asarray, checked)]
    layers = len(arrays) // 2
    return arrays[:layers], arrays[layers:]


def folding_of(parameters: Parameters, data_dtype: np.dtype[Any]) -> tuple[Array, Array] | None:
    """Scale and shift of each feature, so that the input is X * scale + shift; or None."""
    return scale_and_shift(
        parameters.input_mean,
        parameters.input_scale,
        parameters.layer_sizes[0],
        parameters.dtype,
        data_dtype,
    )


def is_centred(parameters: Parameters) -> bool:
    """Whether something is subtracted from X, which must be exact then."""
    mean = parameters.input_mean
    return not (isinstance(mean, int | float) and mean == 0)
