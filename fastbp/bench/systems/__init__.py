"""The systems that can take part, and what each needs to be installed.

Nothing here imports a system: that happens in its own process.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
from dataclasses import dataclass, field

__all__ = ["REFERENCE", "SYSTEMS", "SystemSpec", "reference_of"]

_DATA = ("bytes", "float32")  # converted for each batch, or once before training
_ONE, _ALL = "1 thread", "all threads"


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
        that is missing is not done. One that ends with "1 thread" gets one, and one core.
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

    def ways(self, workload: str, threads: int) -> dict[str, int]:
        """The variants for a workload, and how many threads each gets of those there are."""
        found = {}
        for variant in self.variants.get(workload, ()):
            if variant.endswith(_ONE):
                found[variant] = 1
            elif threads > 1 or not variant.endswith(_ALL):  # else it has been named already
                found[variant] = threads
        return found

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
    networks: tuple[str, ...] = (),
    estimators: bool = False,
    extra: str = "bench",
) -> SystemSpec:
    variants = {"step": step, "epoch": epoch, "inference": ("",)}
    if networks:
        variants["networks"] = networks
    if estimators:
        variants["estimators"] = ("",)
    if matmul:
        variants["matmul"] = ("",)
    path = f"fastbp.bench.systems.{module}"
    return SystemSpec(name, path, class_name, packages, variants, extra)


_JAX_EPOCHS = tuple(f"{way}, {data}" for way in ("steps", "scan") for data in _DATA)
_JAX_NETWORKS = tuple(f"{way}, {count}" for way in ("steps", "scan") for count in (_ONE, _ALL))

SYSTEMS = (
    _spec(
        "fastbp",
        "Fastbp",
        ("fastbp",),
        module="with_fastbp",
        epoch=("",),
        networks=("",),  # it chooses how many threads to use by itself
        estimators=True,
        extra="",
    ),
    _spec("numpy", "Numpy", ("numpy",), module="with_numpy", networks=(_ONE, _ALL), extra=""),
    _spec("scipy", "Scipy", ("numpy", "scipy"), module="with_scipy"),
    _spec("torch", "Torch", ("torch",), module="with_torch", networks=(_ONE, _ALL), extra="peers"),
    _spec(
        "torch.compile",
        "CompiledTorch",
        ("torch",),
        module="with_torch",
        matmul=False,  # the same library call
        networks=(_ONE, _ALL),
        extra="peers",
    ),
    _spec(
        "jax",
        "Jax",
        ("jax",),
        module="with_jax",
        step=("steps", "scan"),
        epoch=_JAX_EPOCHS,
        networks=_JAX_NETWORKS,
        extra="peers",
    ),
    _spec("sklearn", "Sklearn", ("sklearn",), module="with_sklearn", matmul=False, estimators=True),
)
"""In the order of the tables: fastbp first, then the peers. scikit-learn's Adam has its epsilon
elsewhere and its batches have another loss, and SciPy's step in place has no Adam: "networks" is
without them."""

REFERENCE = _spec(
    "reference", "Reference", ("numpy",), module="reference", epoch=("",), networks=("",), extra=""
)
"""Plain NumPy in float64: not timed, but what the others' results are compared with."""


def reference_of(workload: str) -> SystemSpec | None:
    """What the results of a workload are compared with, if they are not checked by themselves.

    The estimators are to be scikit-learn's own, so that it is their reference, in another process
    than the one that is timed.
    """
    if workload == "estimators":
        return next(spec for spec in SYSTEMS if spec.name == "sklearn")
    return None if workload == "matmul" else REFERENCE
