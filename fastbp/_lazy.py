"""Public names that are imported when they are first asked for, after PEP 562 and SPEC 1.

Numba alone takes half a second to import, which whoever wants the version, a picture or the
command's help need not wait for.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

__all__ = ["attach"]


def attach(
    package: str, homes: Mapping[str, str], extras: Mapping[str, str] = MappingProxyType({})
) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """Return the ``__getattr__`` and ``__dir__`` of a package that has an ``__all__``.

    To be used where type checkers do not look (``if not TYPE_CHECKING``), beside the imports that
    they see instead: they would take a module with a ``__getattr__`` to have any name.

    Parameters
    ----------
    package : str
        Its ``__name__``.
    homes : mapping of str to str
        The module that each name comes from. The package's modules are found without.
    extras : mapping of str to str, optional
        The same for public names that need a package which may not be there: they are listed by
        ``dir``, but not in ``__all__``, as a star would import them.
    """
    modules = {**homes, **extras}

    def __getattr__(name: str) -> Any:
        if name in modules:
            value = getattr(importlib.import_module(modules[name]), name)
            setattr(sys.modules[package], name, value)
            return value
        module = f"{package}.{name}"
        if not name.startswith("__"):  # which Python and its tools ask any module for
            try:
                return importlib.import_module(module)
            except ModuleNotFoundError as error:
                if error.name != module:
                    raise
        raise AttributeError(f"module {package!r} has no attribute {name!r}", name=name)

    def __dir__() -> list[str]:
        return sorted([*sys.modules[package].__all__, *extras])

    return __getattr__, __dir__
