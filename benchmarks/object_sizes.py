"""Bytes of object code of every kernel, for fastbp/kernels/compile/recorded.py.

    python benchmarks/object_sizes.py            # prints the table's column for this vector width

They tell how long a kernel compiles (some 15 KB a second), and a test compares them: so that
compile time cannot grow unseen. Another column::

    FASTBP_VECTOR_BITS=256 NUMBA_CPU_NAME=haswell python benchmarks/object_sizes.py
"""

from __future__ import annotations

import importlib
import os
import pkgutil
import tempfile
from typing import Any


def kernels() -> dict[str, Any]:
    """All that is compiled for itself, by the name under which it is prepared."""
    import fastbp.kernels

    found: dict[str, Any] = {}
    for info in pkgutil.walk_packages(fastbp.kernels.__path__, "fastbp.kernels."):
        module = importlib.import_module(info.name)
        for value in vars(module).values():
            if hasattr(value, "is_ready") and not isinstance(value, type):
                found[value.name] = value
    return found


def size(kernel: Any) -> int:
    """Bytes of object code of a kernel; it is compiled for that, or loaded."""
    kernel.prepare()
    if hasattr(kernel, "overloads"):
        (compiled,) = kernel.overloads.values()
        return len(compiled.library._get_compiled_object())
    return len(kernel._compiled._library._get_compiled_object())


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        os.environ["NUMBA_CACHE_DIR"] = folder
        from fastbp.kernels.compile.machine import VECTOR_BITS

        print(f"# {VECTOR_BITS} bits")
        for name, kernel in sorted(kernels().items()):
            print(f'    "{name}": {size(kernel)},', flush=True)


if __name__ == "__main__":
    main()
