"""Functions of one array, element by element, as NumPy's."""

from __future__ import annotations

import struct
from typing import Any, Protocol, TypeGuard

import numpy as np
import numpy.typing as npt

from fastbp.arrays.common import (
    Casting,
    Order,
    Out,
    broadcasts,
    has_override,
    put,
    single_out,
    wrapper,
)
from fastbp.arrays.formulas import ANALYTIC, FORMULAS
from fastbp.engine import scratch, threads
from fastbp.engine.inputs import as_array, quietly
from fastbp.engine.memory import address_of
from fastbp.kernels.compile.jit import Region
from fastbp.kernels.functions import elementwise
from fastbp.kernels.functions.activations import MOST_ULP
from fastbp.kernels.threads.team import TEAM_WORDS

__all__ = [
    "carry_out",
    "elu",
    "elu_derivative",
    "gelu",
    "gelu_derivative",
    "leaky_relu",
    "leaky_relu_derivative",
    "loop_dtype",
    "relu",
    "relu_derivative",
    "sigmoid",
    "sigmoid_derivative",
    "silu",
    "silu_derivative",
    "softplus",
    "softplus_derivative",
    "tanh",
    "tanh_derivative",
]

Array = npt.NDArray[Any]

# Elements up to which one thread works alone: about 35 us of work, an estimate, not yet swept.
_SERIAL_ELEMENTS = 1 << 16
_LONG_ELEMENTS = 1 << 27  # from which on a call looks out for signals: some 0.1 s

_REGIONS = {np.dtype(name): region for name, region in elementwise.regions.items()}
# The team's words, which pad bytes zero, and the region's; behind them is room for a vector.
_LAYOUT = struct.Struct(f"={8 * TEAM_WORDS}x5q64s")


def carry_out(region: Region, elements: int, words: tuple[int, ...], tail: bytes = b"") -> None:
    """Run a region on so many elements; its context is a team, ``words`` and ``tail``."""
    workers = 1 if elements <= _SERIAL_ELEMENTS else threads.get_num_threads()
    space = scratch.borrow()
    try:
        _, buffer, start, team, context = space.product
        _LAYOUT.pack_into(buffer, start, team, *words, tail)
        long = space if elements > _LONG_ELEMENTS else None
        threads.run(region, context, workers, long=long)
    finally:
        space.give_back()


def _compute(code: int, source: Array, target: Array) -> None:
    """Store function(source) in ``target``: of one dtype that has a kernel, and laid out alike."""
    n = target.size
    if n:
        words = (code, address_of(source), address_of(target), n)
        carry_out(_REGIONS[target.dtype], n, words)


def _is_packed(x: Array) -> bool:
    """Whether a kernel reads it as it lies, if it is of a dtype that has one."""
    return x.flags.forc and x.flags.aligned


def _is_plain(x: npt.ArrayLike) -> TypeGuard[Array]:
    """Whether ``x`` needs none of the rules for anything else."""
    return type(x) is np.ndarray and x.dtype in _REGIONS and _is_packed(x)


def _takes(out: Array, x: Array) -> bool:
    """Whether a kernel may write the function of the packed ``x`` to ``out``."""
    if out is x:
        return x.flags.writeable
    if out.dtype != x.dtype or out.shape != x.shape or not out.flags.behaved:
        return False
    if not (
        (out.flags.c_contiguous and x.flags.c_contiguous)
        or (out.flags.f_contiguous and x.flags.f_contiguous)
    ):
        return False
    distance = address_of(out) - address_of(x)
    return distance == 0 or abs(distance) >= x.nbytes


def loop_dtype(
    name: str, x: Array, out: Array | None, dtype: npt.DTypeLike | None, casting: Casting
) -> np.dtype[Any]:
    """What the function ``name`` is computed in: what ``numpy.exp`` would be.

    Raises
    ------
    TypeError
        If `x`, `dtype` and `out` cannot be cast to each other, or hold no numbers.
    """
    signature = (None, None if dtype is None else np.dtype(dtype))
    operands = (x.dtype, None if out is None else out.dtype)
    try:
        return np.exp.resolve_dtypes(operands, signature=signature, casting=casting)[1]
    except TypeError as error:
        told = str(error).replace("ufunc 'exp'", f"ufunc {name!r}").replace("ufunc exp", name)
        raise TypeError(told) from None


def _values(name: str, source: Array, loop: np.dtype[Any], order: Order) -> Array:
    """The function's values in an array of their own; those of float16 as float32."""
    computed = np.dtype(np.float32) if loop == np.float16 else loop.newbyteorder("=")
    if computed.kind == "c" and name not in ANALYTIC:
        raise TypeError(f"ufunc {name!r} not supported for complex numbers, got {source.dtype}")
    # As NumPy would lay it out: contiguous, but not always by rows or by columns.
    laid_out = np.nditer(
        [source, None], ["zerosize_ok", "refs_ok"],
        [["readonly"], ["writeonly", "allocate", "no_subtype"]], [source.dtype, computed], order,
    )  # fmt: skip
    values: Array = laid_out.operands[1]
    if computed not in _REGIONS:
        with np.errstate(all="ignore"):
            values[...] = FORMULAS[name](source.astype(computed))
    elif computed == source.dtype and _is_packed(source) and _takes(values, source):
        _compute(elementwise.CODES[name], source, values)
    else:
        put(values, source)
        _compute(elementwise.CODES[name], values, values)
    return values


def _like_numpy(
    name: str,
    x: npt.ArrayLike,
    out: Array | None,
    where: Any,
    casting: Casting,
    order: Order,
    dtype: npt.DTypeLike | None,
    subok: bool,
) -> Any:
    """What a function does with anything but a packed array of float32 or float64."""
    if has_override(x, out) and out is None and where is True and dtype is None:
        return quietly(FORMULAS[name])(x)
    source = as_array(x, "x")
    loop = loop_dtype(name, source, out, dtype, casting)
    if where is not True:
        where = np.asarray(where)
        if where.ndim and where.dtype != bool:
            raise TypeError(f"where must hold bools, got dtype {where.dtype}")
    if out is not None:
        shape = np.broadcast_shapes(source.shape, np.shape(where))
        if not broadcasts(shape, out.shape):
            raise ValueError(
                f"{name}: non-broadcastable output: out must have shape {shape}, got {out.shape}"
            )
        if not out.flags.writeable:
            raise ValueError(f"out of {name} is read-only")
        if where is True and loop == source.dtype and _is_plain(source) and _takes(out, source):
            _compute(elementwise.CODES[name], source, out)
        else:
            put(out, _values(name, source, loop, "K"), where)
        return out
    values = _values(name, source, loop, order)
    if values.dtype != loop:
        with np.errstate(under="ignore"):
            values = values.astype(loop)
    if where is not True:
        values = np.positive(values, where=where, order=order)
    wrap = wrapper([x]) if subok else None
    if wrap is not None:
        return wrap(values)
    return values[()] if values.ndim == 0 else values


class Elementwise(Protocol):
    """A function of one array, element by element, that takes what NumPy's take."""

    __name__: str

    def __call__(
        self,
        x: npt.ArrayLike,
        /,
        out: Out = None,
        *,
        where: npt.ArrayLike = True,
        casting: Casting = "same_kind",
        order: Order = "K",
        dtype: npt.DTypeLike | None = None,
        subok: bool = True,
    ) -> Any:
        """Apply it; see `sigmoid`."""


_DOCSTRING = """{summary}

    Parameters
    ----------
    x : array_like
        Numbers, any shape and strides.
    out : ndarray, or tuple of one, optional
        Where to put the result; it may be `x` itself. `x` is broadcast to its shape.
    where : array_like of bool, optional
        Where the result is written; elsewhere `out` is left as it is.
    casting : {{"no", "equiv", "safe", "same_kind", "unsafe"}}, optional
        Which conversions are allowed, from `x` to `dtype` and from there to `out`.
    order : {{"K", "A", "C", "F"}}, optional
        How the result is laid out; "K" is as `x` is, as far as possible.
    dtype : dtype, optional
        What is computed in, and returned.
    subok : bool, optional
        Whether the result is of the class of `x`, if that is one of ndarray's.

    Returns
    -------
    ndarray or scalar
        float32 and float64 stay what they are; other dtypes become what ``numpy.exp`` makes of
        them.

    Raises
    ------
    TypeError
        For dtypes that cannot be cast, or hold no numbers{complex}.
    ValueError
        For an `out` whose shape does not fit, or that is read-only.

    Notes
    -----
    {notes}

    In float32 and float64 the error is at most {ulp:g} ULP{unit} (over all float32, and in
    samples of float64; with fused multiply-add). NaN stays NaN, and no floating-point error is
    raised. What has no kernel (long double, objects{analytic}) is left to NumPy's functions.
    """


def _made(name: str, summary: str, notes: str) -> Elementwise:
    """The public function ``name``."""
    code = elementwise.CODES[name]

    def function(
        x: npt.ArrayLike,
        /,
        out: Out = None,
        *,
        where: Any = True,
        casting: Casting = "same_kind",
        order: Order = "K",
        dtype: npt.DTypeLike | None = None,
        subok: bool = True,
    ) -> Any:
        target = single_out(out)
        asked = where is not True or dtype is not None or order != "K" or casting != "same_kind"
        if _is_plain(x) and not asked:  # in a fraction of the time that it takes below
            if target is None:
                result = np.empty_like(x)
                _compute(code, x, result)
                return result if result.ndim else result[()]
            if _takes(target, x):
                _compute(code, x, target)
                return target
        return _like_numpy(name, x, target, where, casting, order, dtype, subok)

    function.__name__ = function.__qualname__ = name
    crosses = name in {"gelu_derivative", "silu_derivative"}
    function.__doc__ = _DOCSTRING.format(
        summary=summary,
        notes=notes,
        ulp=MOST_ULP[name],
        unit=" of the larger of it and the factor of x" if crosses else "",
        complex="" if name in ANALYTIC else ", or complex ones",
        analytic=", complex numbers" if name in ANALYTIC else "",
    )
    return function


_AT_ZERO = "At 0, where there are two slopes, it is that of x < 0."

sigmoid = _made(
    "sigmoid",
    "The logistic function 1 / (1 + exp(-x)), element by element.",
    """Exactly 0.5 at 0, 0 and 1 far out, no overflow on the way. Computed from exp(-abs(x)) on
    either side of 0. A larger x never gives a smaller result, over all 2^32 float32.""",
)
sigmoid_derivative = _made(
    "sigmoid_derivative",
    "The slope of the logistic function, sigmoid(x) (1 - sigmoid(x)), element by element.",
    """It is computed as e / (1 + e)^2 with e = exp(-abs(x)), which keeps its relative accuracy
    where 1 - sigmoid(x) would lose it.""",
)
tanh = _made(
    "tanh",
    "The hyperbolic tangent, element by element, as ``numpy.tanh``.",
    "Exactly 0 at 0, -1 and 1 far out; a larger x never gives a smaller result.",
)
tanh_derivative = _made(
    "tanh_derivative",
    "The slope of the hyperbolic tangent, 1 - tanh(x)^2, element by element.",
    """It is computed as 4 e / (1 + e)^2 with e = exp(-2 abs(x)), which keeps its relative accuracy
    where 1 - tanh(x)^2 would lose it.""",
)
relu = _made(
    "relu", "The larger of x and 0, element by element.", "It is what ``numpy.maximum`` gives."
)
relu_derivative = _made(
    "relu_derivative",
    "The slope of `relu`, 1 where x > 0 and 0 elsewhere, element by element.",
    _AT_ZERO,
)
leaky_relu = _made(
    "leaky_relu",
    "The value x where x > 0, 0.01 x elsewhere, element by element.",
    """A. L. Maas, A. Y. Hannun and A. Y. Ng, Rectifier nonlinearities improve neural network
    acoustic models, ICML 2013.""",
)
leaky_relu_derivative = _made(
    "leaky_relu_derivative",
    "The slope of `leaky_relu`, 1 where x > 0 and 0.01 elsewhere, element by element.",
    _AT_ZERO,
)
elu = _made(
    "elu",
    "The value x where x > 0, exp(x) - 1 elsewhere, element by element.",
    """D.-A. Clevert, T. Unterthiner and S. Hochreiter, Fast and accurate deep network learning by
    exponential linear units, ICLR 2016, with alpha = 1.""",
)
elu_derivative = _made(
    "elu_derivative",
    "The slope of `elu`, 1 where x > 0 and exp(x) elsewhere, element by element.",
    "It is exactly 1 at 0.",
)
softplus = _made(
    "softplus",
    "The logarithm log(1 + exp(x)), element by element.",
    "Computed as max(x, 0) + log(1 + exp(-abs(x))), which does not overflow.",
)
softplus_derivative = _made(
    "softplus_derivative",
    "The slope of `softplus`, which is the logistic function, element by element.",
    "It is `sigmoid`, bit for bit.",
)
gelu = _made(
    "gelu",
    "The Gaussian error linear unit x (1 + erf(x / sqrt(2))) / 2, element by element.",
    """The exact one, not its approximation by tanh: D. Hendrycks and K. Gimpel, Gaussian error
    linear units, 2016.""",
)
gelu_derivative = _made(
    "gelu_derivative",
    "The slope of `gelu`, (1 + erf(x / sqrt(2))) / 2 + x exp(-x^2 / 2) / sqrt(2 pi).",
    "It is the sum of Phi(x) and x times the density of the standard normal distribution.",
)
silu = _made(
    "silu",
    "The product x sigmoid(x), element by element.",
    "Also called swish; D. Hendrycks and K. Gimpel, Gaussian error linear units, 2016.",
)
silu_derivative = _made(
    "silu_derivative",
    "The slope of `silu`, s (1 + x (1 - s)) with s = sigmoid(x), element by element.",
    "It is the sum of s and x times the slope of s.",
)
