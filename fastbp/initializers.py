"""Initial weights and biases of a network.

Biases always start at zero. Weights are drawn in float64, layer by layer from one generator,
and rounded to the network's dtype afterwards: the same seed gives a float32 and a float64
network the same weights, to rounding.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from numbers import Real
from typing import Any, TypeGuard

import numpy as np
import numpy.typing as npt

from fastbp.activations import RELU_LIKE
from fastbp.engine import memory

__all__ = ["AUTO", "INITIALIZERS", "Init", "canonical_init", "default_init", "initialize"]

Array = npt.NDArray[Any]
InitFunction = Callable[[tuple[int, int], np.random.Generator], npt.ArrayLike]
Init = str | float | tuple[str, float] | InitFunction

INITIALIZERS: tuple[str, ...] = ("zeros", "normal", "xavier", "he")
"""Names accepted by ``Network(init=...)``."""

AUTO = "auto"
"""What a network remembers where layers start by their own activations, see `default_init`."""

NORMAL_STD = 0.01
"""Standard deviation of ``init="normal"`` unless another is given."""

_BLOCK_VALUES = 1 << 18
"""Values drawn at once: 2 MB of float64, so that no layer ever exists twice in memory."""


def initialize(
    layer_sizes: Sequence[int],
    init: Init = "xavier",
    *,
    activations: Sequence[str] = (),
    seed: int | None = None,
    dtype: npt.DTypeLike = "float32",
) -> tuple[list[Array], list[Array]]:
    """Make the initial parameters of a dense network.

    Parameters
    ----------
    layer_sizes : sequence of int
        Width of the input and of every layer: (n_0, n_1, ..., n_L).
    init : str, float, tuple or callable, default "xavier"
        How the weights of a layer of shape (n_l, n_{l-1}) start:

        - ``"zeros"``: all 0;
        - a number: all equal to it;
        - ``"normal"``: normal with mean 0 and standard deviation 0.01;
        - ``("normal", std)``: normal with mean 0 and standard deviation `std`;
        - ``"xavier"``: normal, standard deviation sqrt(2 / (n_l + n_{l-1})) [1]_;
        - ``"he"``: normal, standard deviation sqrt(2 / n_{l-1}) [2]_;
        - ``"auto"``: as ``"he"`` where the layer's activation is like relu (relu, leaky_relu, elu,
          softplus, gelu, silu), else as ``"xavier"``;
        - a callable ``init(shape, rng)`` that returns an array of that shape, where `rng` is
          the ``numpy.random.Generator`` that all layers share.
    activations : sequence of str, optional
        Of the hidden layers, for ``"auto"``; other layers count as not like relu.
    seed : int, optional
        Seed of the generator (anything that ``numpy.random.default_rng`` takes). Without one
        the weights differ from call to call.
    dtype : dtype, default float32
        float32 or float64.

    Returns
    -------
    weights : list of ndarray
        One C-contiguous array of shape (n_l, n_{l-1}) and `dtype` for each layer, which begins
        at a cache line.
    biases : list of ndarray
        One array of zeros of shape (n_l,) and `dtype` for each layer.

    Raises
    ------
    TypeError
        If `init` is a bool or of a type not listed above.
    ValueError
        If `init` is an unknown name, a number or standard deviation that is not finite in
        `dtype`, a negative standard deviation, or a callable whose array has another shape or
        holds a value that is not finite in `dtype`.

    References
    ----------
    .. [1] X. Glorot, Y. Bengio, "Understanding the difficulty of training deep feedforward
       neural networks", AISTATS 2010, equation 12.
    .. [2] K. He, X. Zhang, S. Ren, J. Sun, "Delving deep into rectifiers", ICCV 2015,
       equation 10.
    """
    dtype = np.dtype(dtype)
    canonical = canonical_init(init)
    rng = np.random.default_rng(seed)
    weights = []
    for layer, (fan_in, fan_out) in enumerate(pairwise(layer_sizes)):
        shape = (int(fan_out), int(fan_in))
        name = canonical
        if canonical == AUTO:
            name = "he" if _is_relu_like(activations[layer : layer + 1]) else "xavier"
        if callable(init):
            weights.append(_called(init, shape, rng, dtype))
        elif isinstance(name, float):
            weights.append(_constant(name, shape, dtype))
        elif name == "zeros":
            weights.append(_constant(0.0, shape, dtype))
        else:
            weights.append(_normal(_standard_deviation(name, shape), shape, rng, dtype))
    biases = [np.zeros(int(size), dtype) for size in layer_sizes[1:]]
    return weights, biases


def default_init(activations: Sequence[str]) -> str:
    """What weights start by unless `init` is given: "xavier", or "auto" with layers like relu."""
    return AUTO if _is_relu_like(activations) else "xavier"


def _is_relu_like(activations: Sequence[str]) -> bool:
    return not RELU_LIKE.isdisjoint(activations)


def canonical_init(init: object) -> str | float | tuple[str, float]:
    """Check `init` and return the form in which a network remembers and stores it.

    Parameters
    ----------
    init : object
        What was given as ``Network(init=...)``; see `initialize`.

    Returns
    -------
    str, float or tuple of (str, float)
        A name, a number, ``("normal", std)``, or ``"callable"`` for any callable.

    Raises
    ------
    TypeError
        If `init` is a bool or of a type that `initialize` does not take.
    ValueError
        If `init` is an unknown name, or a number or standard deviation out of range.
    """
    if isinstance(init, str):
        if init not in (*INITIALIZERS, AUTO):
            raise ValueError(f"init must be {_accepted()}, got {init!r}")
        return init
    if _is_number(init):
        constant = float(init)
        if not math.isfinite(constant):
            raise ValueError(f"init must be finite when it is a number, got {constant!r}")
        return constant
    if isinstance(init, tuple | list):
        return _named_normal(init)
    if callable(init):
        return "callable"
    raise TypeError(f"init must be {_accepted()}, got {init!r}")


def _is_number(value: object) -> TypeGuard[float]:
    # bool is a Real to Python, and init=True is a slip rather than a weight of 1.
    return isinstance(value, Real) and not isinstance(value, bool)


def _accepted() -> str:
    names = ", ".join(repr(name) for name in (*INITIALIZERS, AUTO))
    return f"one of {names}, a number, ('normal', std) or a callable(shape, rng)"


def _named_normal(init: Sequence[Any]) -> tuple[str, float]:
    if len(init) != 2 or init[0] != "normal":
        raise ValueError(f"init must be {_accepted()}, got {init!r}")
    std = init[1]
    if not _is_number(std):
        raise TypeError(f"the standard deviation in init must be a number, got {init!r}")
    std = float(std)
    if not (math.isfinite(std) and std >= 0):
        raise ValueError(f"the standard deviation in init must be finite and >= 0, got {init!r}")
    return "normal", std


def _standard_deviation(init: str | tuple[str, float], shape: tuple[int, int]) -> float:
    fan_out, fan_in = shape
    if init == "xavier":
        return math.sqrt(2.0 / (fan_out + fan_in))
    if init == "he":
        return math.sqrt(2.0 / fan_in)
    return init[1] if isinstance(init, tuple) else NORMAL_STD


def _constant(value: float, shape: tuple[int, int], dtype: np.dtype[Any]) -> Array:
    if abs(value) > float(np.finfo(dtype).max):
        raise ValueError(f"init is {value!r}, which is not finite as {dtype.name}")
    weight = memory.empty(shape, dtype)
    weight.fill(value)
    return weight


def _normal(
    std: float, shape: tuple[int, int], rng: np.random.Generator, dtype: np.dtype[Any]
) -> Array:
    # Drawing in blocks gives the same values as drawing at once: the generator's stream does
    # not depend on how it is cut.
    weight = memory.empty(shape, dtype)
    flat = weight.reshape(-1)
    for start in range(0, flat.size, _BLOCK_VALUES):
        block = flat[start : start + _BLOCK_VALUES]
        drawn = rng.standard_normal(block.size)
        with np.errstate(over="ignore", under="ignore"):
            drawn *= std
            block[:] = drawn
    if std > 1.0 and not np.isfinite(weight).all():
        raise ValueError(f"init with standard deviation {std!r} overflows {dtype.name}")
    return weight


def _called(
    init: InitFunction,
    shape: tuple[int, int],
    rng: np.random.Generator,
    dtype: np.dtype[Any],
) -> Array:
    made = np.asarray(init(shape, rng))
    if made.shape != shape:
        raise ValueError(f"init returned an array of shape {made.shape}, expected {shape}")
    if made.dtype.kind not in "biuf":
        raise TypeError(f"init returned an array of dtype {made.dtype}, expected real numbers")
    with np.errstate(over="ignore", under="ignore"):
        weight = memory.empty(shape, dtype)
        weight[...] = made  # a copy: the caller may keep its own
    if not np.isfinite(weight).all():
        raise ValueError(f"init returned values that are not finite as {dtype.name}")
    return weight
