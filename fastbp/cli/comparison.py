"""The same training in fastbp and in pure NumPy, timed: each system in a process of its own.

`compare` writes data, first weights and settings to a temporary folder, and starts
``python -m fastbp.cli.comparison SYSTEM FOLDER`` for each system in turn. A process of its own
matters: the workers of OpenBLAS and OpenMP spin for a while after each call, and would take a core
from whichever system is timed next.

The training is the same in each: the same rows in the same batches, without shuffling, from the
same weights, for the same epochs. That the trained weights agree is checked, not assumed.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Comparison", "Timing", "compare"]

_SYSTEMS = ("numpy", "fastbp", "fastbp-uint8")
_ROUNDS = 2  # processes of each system, in turns: a machine that warms up slows all of them
_WARM_UP_EPOCHS = 2
_EPOCHS = 30
_LEARNING_RATE = 0.1
_WEIGHT_DECAY = 0.001

Array = NDArray[Any]


@dataclass(frozen=True)
class Timing:
    """How long a system took: the median epoch of all of its processes.

    Attributes
    ----------
    seconds : float
        Of one epoch.
    samples_per_second : float
    final_loss : float
        Running mean of the last epoch.
    """

    seconds: float
    samples_per_second: float
    final_loss: float


@dataclass(frozen=True)
class Comparison:
    """What `compare` found.

    Attributes
    ----------
    timings : dict of str to Timing
        By system: "numpy" and "fastbp" on the same float32 data, "fastbp-uint8" on the bytes.
    samples, batch_size, epochs : int
        Rows in an epoch, rows in a batch, timed epochs in each process.
    weight_difference : float
        Largest difference between two systems' trained weights, over the largest weight.
    settings : list of str
        Environment variables that change how fast NumPy or fastbp run, as NAME=value.
    """

    timings: dict[str, Timing]
    samples: int
    batch_size: int
    epochs: int
    weight_difference: float
    settings: list[str]

    def ratio(self, system: str) -> float:
        """How many times as fast as NumPy `system` trained."""
        return self.timings["numpy"].seconds / self.timings[system].seconds


def compare(
    X: NDArray[np.uint8], y: Array, hidden: Sequence[int], *, batch_size: int, seed: int
) -> Comparison:
    """Time the same training in pure NumPy and in fastbp.

    Parameters
    ----------
    X : ndarray of uint8, shape (n, n_0)
        Pictures. NumPy and fastbp train on the same float32 array, centred and scaled once before
        the clock starts; "fastbp-uint8" on these bytes, which it centres and scales itself.
    y : ndarray of int, shape (n,)
        Labels, 0 or 1.
    hidden : sequence of int
        Sizes of the hidden layers.
    batch_size : int
        Rows of X beyond the last whole batch are left out.
    seed : int
        Of the first weights.

    Raises
    ------
    RuntimeError
        If one of the processes fails; the message holds what it said.
    """
    import fastbp

    batch_size = min(batch_size, len(y))
    n = len(y) // batch_size * batch_size
    first = fastbp.Network((X.shape[1], *hidden, 1), seed=seed)
    mean = X.mean(axis=0).astype(np.float32)
    outputs: dict[str, list[dict[str, Any]]] = {system: [] for system in _SYSTEMS}
    with tempfile.TemporaryDirectory(prefix="fastbp-") as name:
        folder = Path(name)
        np.save(folder / "uint8.npy", X[:n])
        np.save(folder / "float32.npy", (X[:n] - mean) / np.float32(255))
        np.save(folder / "y.npy", y[:n].astype(np.float32))
        np.save(folder / "mean.npy", mean)
        _save_parameters(folder / "first.npz", first.weights, first.biases)
        (folder / "settings.json").write_text(json.dumps({"batch_size": batch_size}))
        for _ in range(_ROUNDS):
            for system in _SYSTEMS:
                outputs[system].append(_run_process(system, folder))
        difference = _largest_difference([np.load(folder / f"{s}.npz") for s in _SYSTEMS])
    return Comparison(
        timings={system: _summarise(outputs[system], n) for system in _SYSTEMS},
        samples=n,
        batch_size=batch_size,
        epochs=_EPOCHS,
        weight_difference=difference,
        settings=[f"{k}={v}" for k, v in sorted(os.environ.items()) if _matters(k)],
    )


def _matters(variable: str) -> bool:
    return variable.startswith(("OPENBLAS_", "OMP_", "MKL_", "NUMBA_NUM_"))


def _run_process(system: str, folder: Path) -> dict[str, Any]:
    process = subprocess.run(
        [sys.executable, "-m", "fastbp.cli.comparison", system, str(folder)],
        capture_output=True,
        text=True,
        check=False,
    )
    if process.returncode:
        raise RuntimeError(f"timing {system} failed: {process.stderr.strip()}")
    result: dict[str, Any] = json.loads(process.stdout)
    return result


def _summarise(outputs: Sequence[dict[str, Any]], n: int) -> Timing:
    seconds = float(np.median([value for output in outputs for value in output["seconds"]]))
    return Timing(seconds, n / seconds, outputs[0]["final_loss"])


def _largest_difference(parameters: Sequence[Any]) -> float:
    """Largest difference of any system's weights from the first system's, over the largest."""
    reference = parameters[0]
    names = [name for name in reference.files if name.startswith("weight")]
    largest = max(float(np.abs(reference[name]).max()) for name in names)
    return max(
        float(np.abs(other[name] - reference[name]).max()) / largest
        for other in parameters[1:]
        for name in names
    )


# ------------------------------------------------------------------ in the process of a system


def _save_parameters(path: Path, weights: Sequence[Array], biases: Sequence[Array]) -> None:
    arrays = {f"weight{i}": w for i, w in enumerate(weights)}
    arrays.update({f"bias{i}": b for i, b in enumerate(biases)})
    np.savez(path, **arrays)  # type: ignore[arg-type]


def _load_parameters(path: Path) -> tuple[list[Array], list[Array]]:
    with np.load(path) as file:
        layers = len(file.files) // 2
        return [file[f"weight{i}"] for i in range(layers)], [
            file[f"bias{i}"] for i in range(layers)
        ]


def _time_system(system: str, folder: Path) -> dict[str, Any]:
    """Train once to warm up, then from the first weights again with the clock on."""
    batch_size = json.loads((folder / "settings.json").read_text())["batch_size"]
    y = np.load(folder / "y.npy")
    X = np.load(folder / ("uint8.npy" if system == "fastbp-uint8" else "float32.npy"))
    weights, biases = _load_parameters(folder / "first.npz")
    settings = {
        "batch_size": batch_size,
        "learning_rate": _LEARNING_RATE,
        "weight_decay": _WEIGHT_DECAY,
        "shuffle": False,
    }
    network: Any
    for epochs in (_WARM_UP_EPOCHS, _EPOCHS):
        if system == "numpy":
            from fastbp.reference import NumpyNetwork

            network = NumpyNetwork(weights, biases)
            history: Any = network.fit(X, y, epochs=epochs, **settings)
            seconds = history.seconds
        else:
            network = _fastbp_network(weights, biases, folder, pixels=system == "fastbp-uint8")
            clock = _Clock()
            history = network.fit(X, y, epochs=epochs, callbacks=(clock,), **settings)
            seconds = clock.seconds
    _save_parameters(folder / f"{system}.npz", network.weights, network.biases)
    return {"seconds": seconds, "final_loss": history.loss[-1]}


class _Clock:
    """A callback that takes the time of whole epochs, with whatever `fit` does in between."""

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self._last = time.perf_counter()

    def on_epoch_end(self, epoch: int, network: Any, history: Any) -> None:
        """Note how long the epoch took."""
        now = time.perf_counter()
        self.seconds.append(now - self._last)
        self._last = now


def _fastbp_network(
    weights: Sequence[Array], biases: Sequence[Array], folder: Path, *, pixels: bool
) -> Any:
    import fastbp

    sizes = (weights[0].shape[1], *(w.shape[0] for w in weights))
    folding: dict[str, Any] = {}
    if pixels:
        folding = {"input_mean": np.load(folder / "mean.npy"), "input_scale": 1 / 255}
    network = fastbp.Network(sizes, **folding)
    for own, given in zip((*network.weights, *network.biases), (*weights, *biases), strict=True):
        own[...] = given
    return network


if __name__ == "__main__":
    print(json.dumps(_time_system(sys.argv[1], Path(sys.argv[2]))))
