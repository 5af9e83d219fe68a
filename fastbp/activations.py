"""The activation functions that a network may use, by name.

One name holds for every layer of a network. A further activation enters here, with its kernel
in ``fastbp.kernels`` and, as an output, with the loss that makes its delta ``A - Y``.
"""

from __future__ import annotations

__all__ = ["ACTIVATIONS", "check_activation"]

ACTIVATIONS: tuple[str, ...] = ("sigmoid",)
"""Names accepted by ``Network(activation=...)``."""


def check_activation(name: object) -> str:
    """Return `name` if it is that of a known activation.

    Parameters
    ----------
    name : str
        One of `ACTIVATIONS`, in lower case.

    Returns
    -------
    str
        `name` itself.

    Raises
    ------
    TypeError
        If `name` is not a string.
    ValueError
        If no activation is called `name`.
    """
    accepted = ", ".join(repr(known) for known in ACTIVATIONS)
    if not isinstance(name, str):
        raise TypeError(f"activation must be a str (one of: {accepted}), got {name!r}")
    if name not in ACTIVATIONS:
        raise ValueError(f"activation must be one of: {accepted}, got {name!r}")
    return name
