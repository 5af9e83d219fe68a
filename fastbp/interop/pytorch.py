"""To and from ``torch.nn.Sequential`` of Linear, activation and Dropout modules."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from fastbp.activations import RELU_LIKE, spread
from fastbp.checks import check_share
from fastbp.interop.preprocessing import folded_arrays
from fastbp.losses import LOSSES
from fastbp.parameters import Parameters, folding_of

__all__ = ["Exp", "TorchParts", "from_torch", "to_torch"]

Array = npt.NDArray[Any]


class Exp(nn.Module):  # type: ignore[misc]
    """The exponential function, which is the output of a Poisson regression."""

    def forward(self, z: Any) -> Any:
        """exp(z), element by element."""
        return torch.exp(z)


_MODULES = {
    "identity": nn.Identity,
    "sigmoid": nn.Sigmoid,
    "tanh": nn.Tanh,
    "relu": nn.ReLU,
    "leaky_relu": nn.LeakyReLU,
    "elu": nn.ELU,
    "softplus": nn.Softplus,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
    "exp": Exp,
}
_NAMES = {module: name for name, module in _MODULES.items()} | {nn.Softmax: "softmax"}

# What of a module has to be as fastbp has it. Softplus is the identity above PyTorch's threshold,
# of which less than exp(-20) is lost.
_SETTINGS: dict[str, dict[str, tuple[Any, ...]]] = {
    "leaky_relu": {"negative_slope": (0.01,)},
    "elu": {"alpha": (1.0,)},
    "softplus": {"beta": (1.0,)},
    "gelu": {"approximate": ("none",)},
    "softmax": {"dim": (1, -1)},
}


def to_torch(
    parameters: Parameters, *, dropout: float | Sequence[float] = 0.0, output: bool = True
) -> nn.Sequential:
    """See `Network.to_torch`."""
    names = parameters.layer_activations
    shares = _shares(dropout, len(names))
    weights, biases = folded_arrays(parameters)
    if shares[0] > 0 and folding_of(parameters, parameters.dtype) is not None:
        raise ValueError(
            "dropout of the input is that of the preprocessed input, which the module does not"
            " have: leave dropout[0] out, or input_mean and input_scale"
        )
    modules: list[Any] = [nn.Dropout(shares[0])] if shares[0] > 0 else []
    for layer, (weight, bias) in enumerate(zip(weights, biases, strict=True)):
        linear = nn.Linear(weight.shape[1], weight.shape[0], dtype=_dtype(weight))
        with torch.no_grad():
            linear.weight.copy_(torch.from_numpy(weight))
            linear.bias.copy_(torch.from_numpy(bias))
        modules.append(linear)
        if layer < len(names):
            modules.append(_MODULES[names[layer]]())
            if shares[layer + 1] > 0:
                modules.append(nn.Dropout(shares[layer + 1]))
    last = LOSSES[parameters.loss_function].output
    if output and last != "identity":
        modules.append(nn.Softmax(dim=1) if last == "softmax" else _MODULES[last]())
    return nn.Sequential(*modules)


def _dtype(array: Array) -> Any:
    return torch.float64 if array.dtype == np.float64 else torch.float32


def _shares(dropout: float | Sequence[float], hidden: int) -> list[float]:
    """Of the input and each hidden layer."""
    if isinstance(dropout, Sequence | np.ndarray):
        given = [check_share(share, "dropout") for share in dropout]
        if len(given) != hidden + 1:
            raise ValueError(
                f"dropout must have shares for the input and {hidden} hidden layers,"
                f" got {len(given)}"
            )
        return given
    return [0.0] + [check_share(dropout, "dropout")] * hidden


# ------------------------------------------------------------------ from PyTorch


class TorchParts(NamedTuple):
    """What a Sequential is made of."""

    weights: list[Array]
    biases: list[Array]
    activation: tuple[str, ...]
    init: str
    dropout: list[float]  # of the input and each hidden layer
    dtype: np.dtype[Any]


def from_torch(module: Any, loss: str) -> TorchParts:
    """See `fastbp.from_torch`."""
    if not isinstance(module, nn.Sequential):
        raise TypeError(f"from_torch takes a torch.nn.Sequential, got {type(module).__name__}")
    linears: list[Any] = []
    functions: list[str | None] = []
    dropout = [0.0]
    for place, part in _flat(module):
        if isinstance(part, nn.Linear):
            linears.append(part)
            functions.append(None)
            dropout.append(0.0)
        elif type(part) is nn.Dropout:
            if functions and functions[-1] is None:
                functions[-1] = "identity"
            # What is kept of two in a row is the product of the shares that are kept.
            dropout[-1] = 1 - (1 - dropout[-1]) * (1 - part.p)
        elif isinstance(part, nn.Identity) and (not functions or functions[-1] is not None):
            continue
        else:
            name = _name_of(place, part)
            if not functions or functions[-1] is not None:
                raise ValueError(f"module {place}, {part}, does not follow a Linear")
            functions[-1] = name
    if not linears:
        raise ValueError("the module has no Linear")
    _check_output(functions.pop(), loss)
    if dropout.pop() > 0:
        raise ValueError("the module drops outputs: a Dropout must come before the last Linear")
    names = ["identity" if name is None else name for name in functions]
    outputs_only = {"softmax", "exp"} & set(names)
    if outputs_only:
        raise ValueError(f"{outputs_only.pop()} is no activation of hidden layers")
    weights, biases = _arrays(linears)
    spread(tuple(names), len(weights) - 1)
    init = "he" if any(name in RELU_LIKE for name in names) else "xavier"
    return TorchParts(weights, biases, tuple(names), init, dropout, weights[0].dtype)


def _flat(module: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Modules of a Sequential and of those in it, with their places."""
    for name, part in module.named_children():
        if isinstance(part, nn.Sequential):
            yield from _flat(part, f"{prefix}{name}.")
        else:
            yield prefix + name, part


def _name_of(place: str, part: Any) -> str:
    name = _NAMES.get(type(part))
    if name is None:
        known = ", ".join(["Linear", "Dropout", *(kind.__name__ for kind in _NAMES)])
        raise TypeError(f"module {place} is {part}; known are {known}")
    for attribute, values in _SETTINGS.get(name, {}).items():
        if getattr(part, attribute) not in values:
            raise ValueError(
                f"module {place} has {attribute}={getattr(part, attribute)!r}, but fastbp's"
                f" {name} has {values[0]!r}"
            )
    return name


def _check_output(name: str | None, loss: str) -> None:
    expected = LOSSES[loss].output
    if name not in (None, "identity", expected):
        fits = [repr(known.name) for known in LOSSES.values() if known.output == name]
        remedy = f": {' or '.join(fits)} would fit" if fits else ""
        raise ValueError(
            f"the module ends with {name}, but the output of loss={loss!r} is {expected}{remedy}"
        )


def _arrays(linears: Sequence[Any]) -> tuple[list[Array], list[Array]]:
    kinds = {linear.weight.dtype for linear in linears}
    if len(kinds) > 1 or not kinds <= {torch.float32, torch.float64}:
        found = ", ".join(sorted(map(str, kinds)))
        raise ValueError(f"weights must all be float32 or all float64, got {found}")
    weights: list[Array] = []
    biases: list[Array] = []
    for linear in linears:
        weight = np.array(linear.weight.detach().cpu().numpy(), order="C")
        if weights and weight.shape[1] != weights[-1].shape[0]:
            raise ValueError(
                f"a Linear of {weight.shape[1]} inputs follows one of"
                f" {weights[-1].shape[0]} outputs"
            )
        bias = np.zeros(len(weight), weight.dtype)
        if linear.bias is not None:
            bias[...] = linear.bias.detach().cpu().numpy()
        weights.append(weight)
        biases.append(bias)
    return weights, biases
