"""What a network is made of, as far as its plan points to it."""

from __future__ import annotations

import operator
from typing import Any

import numpy as np
import numpy.typing as npt

from fastbp.engine.memory import address_of
from fastbp.kernels.functions.activations import ACTIVATION_CODES
from fastbp.parameters import Parameters, check_parameters, folding_of

__all__ = ["Parts"]

Array = npt.NDArray[Any]


def _same(one: tuple[Array, ...] | None, other: tuple[Array, ...] | None) -> bool:
    """Whether two foldings are the same in every value."""
    if one is None or other is None:
        return one is other
    return all(map(np.array_equal, one, other))


class Parts:
    """A network's arrays, functions and preprocessing, which are kept alive.

    Parameters
    ----------
    parameters : Parameters
        The network.
    x_dtype : dtype
        Of the rows that it is for.
    in_place : bool
        Whether the arrays are to be changed where they lie; else what does not suit compiled code
        is copied.

    Attributes
    ----------
    sizes : tuple of int
        Of the layers.
    dtype : dtype
        Of the network.
    arrays : list of ndarray
        The weights and then the biases.
    addresses : list of int
        Of these.
    activations, loss : tuple of str, str
        Names of the hidden layers' functions, and of the loss.
    functions : list of int
        The codes of the activations.
    folding : tuple of ndarray, or None
        Scale and shift of the columns of X.
    one_scale : bool
        Whether the scale was given as one number.

    Raises
    ------
    TypeError, ValueError
        If the parameters are not what they have to be, see `check_parameters`.
    """

    def __init__(self, parameters: Parameters, x_dtype: np.dtype[Any], *, in_place: bool) -> None:
        self.sizes, self.dtype = parameters.layer_sizes, parameters.dtype
        self._x_dtype, self._in_place = x_dtype, in_place
        self.arrays = self._arrays_of(parameters)
        self.addresses = [*map(address_of, self.arrays)]
        self.activations, self.loss = parameters.layer_activations, parameters.loss_function
        self.functions = [ACTIVATION_CODES[name] for name in self.activations]
        self.folding = folding_of(parameters, x_dtype)
        self.one_scale = isinstance(parameters.input_scale, float)

    def _arrays_of(self, parameters: Parameters) -> list[Array]:
        return check_parameters(
            parameters.weights, parameters.biases, parameters.layer_sizes, parameters.dtype,
            in_place=self._in_place,
        )  # fmt: skip

    def are_of(self, parameters: Parameters) -> bool:
        """Whether the network is made of the same arrays, in the same places, as far as counts."""
        arrays = self._arrays_of(parameters)
        if parameters.layer_sizes != self.sizes or parameters.dtype != self.dtype:
            return False
        if [*map(address_of, arrays)] != self.addresses:
            return False
        if (self.activations, self.loss) != (
            parameters.layer_activations,
            parameters.loss_function,
        ):
            return False
        folding = folding_of(parameters, self._x_dtype)
        if folding is not self.folding and (
            isinstance(parameters.input_scale, float) != self.one_scale
            or not _same(folding, self.folding)
        ):
            return False
        self.arrays = arrays  # others of the same memory, perhaps: these keep it alive
        return True

    def are_no_copies(self, parameters: Parameters) -> bool:
        """Whether there are no copies among the arrays, which would be old at the next call."""
        return all(map(operator.is_, self.arrays, (*parameters.weights, *parameters.biases)))
