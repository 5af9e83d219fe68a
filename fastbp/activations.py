"""The activation functions that the hidden layers of a network may have, by name.

That of the output layer goes with the loss, see `fastbp.losses`. Kernels and codes are in
``fastbp.kernels.functions.activations``.
"""

from __future__ import annotations

from collections.abc import Iterable

__all__ = ["ACTIVATIONS", "RELU_LIKE", "Activations", "check_activation", "spread"]

Activations = str | tuple[str, ...]
"""One name for all hidden layers, or one for each."""

ACTIVATIONS: dict[str, str] = {
    "identity": "x",
    "sigmoid": "1 / (1 + exp(-x))",
    "tanh": "tanh(x)",
    "relu": "max(x, 0)",
    "leaky_relu": "x where x > 0, else 0.01 x",
    "elu": "x where x > 0, else exp(x) - 1",
    "softplus": "log(1 + exp(x))",
    "gelu": "x (1 + erf(x / sqrt(2))) / 2",
    "silu": "x / (1 + exp(-x))",
}
"""Names accepted by ``Network(activation=...)``, and what they stand for."""

RELU_LIKE = frozenset({"relu", "leaky_relu", "elu", "softplus", "gelu", "silu"})
"""Those for which He's initialisation is meant: about half of the input passes."""

_OTHER_NAMES = {"logistic": "sigmoid"}


def check_activation(names: object) -> Activations:
    """The name of an activation, or a tuple of names: one for each hidden layer.

    Parameters
    ----------
    names : str or sequence of str
        Of `ACTIVATIONS`, in lower case; "logistic" is "sigmoid".

    Raises
    ------
    TypeError
        If it is neither a string nor a sequence of such.
    ValueError
        If no activation is called so.
    """
    if isinstance(names, str):
        return _check_name(names)
    if isinstance(names, bytes) or not isinstance(names, Iterable):
        raise TypeError(f"activation must be a str or a sequence of str, got {names!r}")
    return tuple(map(_check_name, names))


def _check_name(name: object) -> str:
    accepted = ", ".join(map(repr, ACTIVATIONS))
    if not isinstance(name, str):
        raise TypeError(f"activation must be a str (one of: {accepted}), got {name!r}")
    known = _OTHER_NAMES.get(name, name)
    if known not in ACTIVATIONS:
        raise ValueError(f"activation must be one of: {accepted}, got {name!r}")
    return known


def spread(activation: Activations, hidden: int) -> tuple[str, ...]:
    """The activation of each of so many hidden layers.

    Raises
    ------
    ValueError
        If there is a name for each of another number of layers.
    """
    if isinstance(activation, str):
        return (activation,) * hidden
    if len(activation) != hidden:
        raise ValueError(
            f"activation has {len(activation)} names, but the network has {hidden} hidden layers"
        )
    return activation
