"""Bytes of object code of every kernel, for fastbp/kernels/compile/recorded.py.

    python benchmarks/object_sizes.py            # prints the table's column for this vector width

They tell how long a kernel compiles (some 18 KB a second), and a test compares them: so that
compile time cannot grow unseen. Another column::

    FASTBP_VECTOR_BITS=256 NUMBA_CPU_NAME=haswell python benchmarks/object_sizes.py
"""

from __future__ import annotations

import importlib
import os
import pickle
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
    """Bytes of object code of a kernel, as it lies in the disk cache; it is compiled if need be.

    What this process has compiled or loaded does not know it any more.
    """
    from fastbp.kernels.compile import cache

    kernel.prepare()
    if hasattr(kernel, "overloads"):
        one, signature, target = kernel, kernel._arguments, kernel.targetctx
    else:
        one = kernel._compiled
        signature, target = one._sig, one._targetdescr.target_context
    name, key = one._cache._place(signature, target.codegen())
    for folder in cache._folders().read:
        payload = cache._read(folder / name, key)
        if payload is not None:
            library = pickle.loads(payload)[0]  # as Numba's `serialize_using_object_code` makes it
            code, _ = library[2]
            return len(code)
    raise FileNotFoundError(f"{name} is not in the cache: can nothing be kept?")


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        os.environ["NUMBA_CACHE_DIR"] = folder
        from fastbp.kernels.compile.machine import VECTOR_BITS

        print(f"# {VECTOR_BITS} bits")
        for name, kernel in sorted(kernels().items()):
            print(f'    "{name}": {size(kernel)},', flush=True)


if __name__ == "__main__":
    main()
