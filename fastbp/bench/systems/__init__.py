"""The systems that can take part, and what each needs to be installed.

Nothing here imports a system: that happens in its own process.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
from dataclasses import dataclass, field

__all__ = ["REFERENCE", "SYSTEMS", "SystemSpec"]

_DATA = ("bytes", "float32")  # converted for each batch, or once before training


@dataclass(frozen=True)
class SystemSpec:
    """Where a system is, and what it can do.

    Attributes
    ----------
    name : str
        What it is called in tables and on the command line.
    module, class_name : str
        The `fastbp.bench.systems.base.System`.
    packages : tuple of str
        What it imports; each is also the name of the distribution, but for ``sklearn``.
    variants : dict of str to tuple of str
        For each workload, the ways in which the system is tried; the best one counts. A workload
        that is missing is not done.
    extra : str
        The extra of fastbp that installs it.
    """

    name: str
    module: str
    class_name: str
    packages: tuple[str, ...]
    variants: dict[str, tuple[str, ...]] = field(hash=False)
    extra: str = "bench"

    def missing(self) -> list[str]:
        """Those of its packages that are not installed."""
        return [name for name in self.packages if importlib.util.find_spec(name) is None]

    def version(self) -> str:
        """Version of the package that is timed, the last of `packages`."""
        name = {"sklearn": "scikit-learn"}.get(self.packages[-1], self.packages[-1])
        try:
            return importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:  # a source tree on the path
            return str(getattr(importlib.import_module(name), "__version__", "unknown"))


def _spec(
    name: str,
    class_name: str,
    packages: tuple[str, ...],
    *,
    module: str,
    matmul: bool = True,
    step: tuple[str, ...] = ("",),
    epoch: tuple[str, ...] = _DATA,
    extra: str = "bench",
) -> SystemSpec:
    variants = {"step": step, "epoch": epoch, "inference": ("",)}
    if matmul:
        variants["matmul"] = ("",)
    path = f"fastbp.bench.systems.{module}"
    return SystemSpec(name, path, class_name, packages, variants, extra)


_JAX_EPOCHS = tuple(f"{way}, {data}" for way in ("steps", "scan") for data in _DATA)

SYSTEMS = (
    _spec("fastbp", "Fastbp", ("fastbp",), module="with_fastbp", epoch=("",), extra=""),
    _spec("numpy", "Numpy", ("numpy",), module="with_numpy", extra=""),
    _spec("scipy", "Scipy", ("numpy", "scipy"), module="with_scipy"),
    _spec("torch", "Torch", ("torch",), module="with_torch", extra="peers"),
    _spec(
        "torch.compile",
        "CompiledTorch",
        ("torch",),
        module="with_torch",
        matmul=False,  # the same library call
        extra="peers",
    ),
    _spec(
        "jax",
        "Jax",
        ("jax",),
        module="with_jax",
        step=("steps", "scan"),
        epoch=_JAX_EPOCHS,
        extra="peers",
    ),
    _spec("sklearn", "Sklearn", ("sklearn",), module="with_sklearn", matmul=False),
)
"""In the order of the tables: fastbp first, then the peers."""

REFERENCE = _spec("reference", "Reference", ("numpy",), module="reference", epoch=("",), extra="")
"""Plain NumPy in float64: not timed, but what the others' results are compared with."""
