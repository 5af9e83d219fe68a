"""The state of a training: all that is needed to go on with it, besides the parameters."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from fastbp.checks import check_integer
from fastbp.engine import memory
from fastbp.optimizers import Optimizer

__all__ = ["TrainingState", "state_shapes"]

Array = npt.NDArray[Any]

_KINDS_OF_ARRAYS = "weights", "biases"
_NAMES = "first", "second"


@dataclass
class TrainingState:
    """How far a training is, and what its optimizer keeps.

    `Network.fit` begins one, or goes on with that of the network, see there.

    Parameters
    ----------
    optimizer : Optimizer
        That of the last `fit`.
    seed : int
        Of shuffling, dropout and the split of validation rows.
    steps : int, default 0
        Made so far: from here schedules and dropout go on.
    epochs : int, default 0
        Begun so far: the order of rows in an epoch follows from its number.
    kept_since : int, default 0
        Step before which `kept` was all zeros.
    kept : tuple of list of ndarray
        What the optimizer keeps, velocities or moments: none, one or two lists, each with an array
        of the shape of every weight and then of every bias, in the network's dtype.
    """

    optimizer: Optimizer
    seed: int
    steps: int = 0
    epochs: int = 0
    kept_since: int = 0
    kept: tuple[list[Array], ...] = ()

    @classmethod
    def begin(
        cls, optimizer: Optimizer, seed: int, layer_sizes: Sequence[int], dtype: npt.DTypeLike
    ) -> TrainingState:
        """That of a training that has made no step."""
        state = cls(optimizer, seed)
        state.kept = _zeros(optimizer, layer_sizes, np.dtype(dtype))
        return state

    def fits(self, optimizer: Optimizer, layer_sizes: Sequence[int], dtype: npt.DTypeLike) -> bool:
        """Whether a training of this kind can go on with it."""
        return optimizer.kind == self.optimizer.kind and self._holds(layer_sizes, dtype)

    def _holds(self, layer_sizes: Sequence[int], dtype: npt.DTypeLike) -> bool:
        if not self.kept:
            return True
        shapes = [*_shapes(layer_sizes).values()]
        return all(
            [(array.shape, array.dtype, array.flags.carray) for array in arrays]
            == [(shape, np.dtype(dtype), True) for shape in shapes]
            for arrays in self.kept
        )

    def follow(self, layer_sizes: Sequence[int], dtype: npt.DTypeLike) -> bool:
        """Begin what is kept anew, if the sizes have changed: whether that was so."""
        if self._holds(layer_sizes, dtype):
            return False
        self.kept = _zeros(self.optimizer, layer_sizes, np.dtype(dtype))
        self.kept_since = self.steps
        return True

    @property
    def arrays(self) -> list[Array]:
        """All that is kept."""
        return [array for arrays in self.kept for array in arrays] if self.kept else []

    def as_record(self) -> dict[str, Any]:
        """All but the arrays, as JSON can store it."""
        return {
            "optimizer": self.optimizer.as_dict(),
            "seed": self.seed,
            "steps": self.steps,
            "epochs": self.epochs,
            "kept_since": self.kept_since,
        }

    def as_tensors(self) -> dict[str, Array]:
        """What is kept, by name: "first.weights.0", ..., "first.biases.0", ..., "second..."."""
        return {
            f"{name}.{kind}.{layer}": arrays[layer + which * (len(arrays) // 2)]
            for name, arrays in zip(_NAMES, self.kept, strict=False)
            for which, kind in enumerate(_KINDS_OF_ARRAYS)
            for layer in range(len(arrays) // 2)
        }

    @classmethod
    def from_tensors(
        cls,
        record: Any,
        tensors: Mapping[str, Array],
        layer_sizes: Sequence[int],
        dtype: npt.DTypeLike,
    ) -> TrainingState:
        """Make a state of what `as_record` and `as_tensors` gave.

        Parameters
        ----------
        record : dict
        tensors : mapping of str to ndarray
            As `state_shapes` lists them; copied, into the network's dtype.
        layer_sizes : sequence of int
        dtype : dtype
            The network's.

        Raises
        ------
        TypeError, ValueError
            If something is missing, or not what it has to be.
        """
        state = _checked(record)
        state.kept = _zeros(state.optimizer, layer_sizes, np.dtype(dtype))
        mine = state.as_tensors()
        if mine.keys() != tensors.keys():
            raise ValueError(f"a training state has the arrays {sorted(mine)}, got {[*tensors]}")
        for name, array in mine.items():
            given = np.asarray(tensors[name])
            if given.shape != array.shape:
                raise ValueError(f"{name} must have shape {array.shape}, got {given.shape}")
            if not np.isfinite(given).all():
                raise ValueError(f"{name} holds values that are NaN or infinite")
            array[...] = given
        return state

    def copy(self) -> TrainingState:
        """Another one with arrays of its own."""
        return replace(self, kept=tuple([array.copy() for array in a] for a in self.kept))


def state_shapes(record: Any, layer_sizes: Sequence[int]) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Name and shape of each tensor that belongs to a record, in the order of `as_tensors`.

    Raises
    ------
    TypeError, ValueError
        If the record is none that `TrainingState.as_record` gives.
    """
    kept = _checked(record).optimizer.about.kept
    for name in _NAMES[:kept]:
        for key, shape in _shapes(layer_sizes).items():
            yield f"{name}.{key}", shape


def _checked(record: Any) -> TrainingState:
    """A state without its arrays, of what a file says."""
    keys = {"optimizer", "seed", "steps", "epochs", "kept_since"}
    if not isinstance(record, Mapping) or record.keys() != keys:
        raise ValueError(f"a training state is described by {sorted(keys)}")
    seed, steps, epochs, since = (
        check_integer(record[key], key, 0) for key in ("seed", "steps", "epochs", "kept_since")
    )
    if since > steps:
        raise ValueError(f"kept_since must be at most steps, got {since} > {steps}")
    return TrainingState(Optimizer.from_dict(record["optimizer"]), seed, steps, epochs, since)


def _shapes(layer_sizes: Sequence[int]) -> dict[str, tuple[int, ...]]:
    """Shapes of the weights and then of the biases, by name."""
    shapes: dict[str, tuple[int, ...]] = {}
    for layer, (below, size) in enumerate(pairwise(layer_sizes)):
        shapes[f"weights.{layer}"] = size, below
    for layer, size in enumerate(layer_sizes[1:]):
        shapes[f"biases.{layer}"] = (size,)
    return shapes


def _zeros(
    optimizer: Optimizer, layer_sizes: Sequence[int], dtype: np.dtype[Any]
) -> tuple[list[Array], ...]:
    kept = []
    for _ in range(optimizer.about.kept):
        arrays = [memory.empty(shape, dtype) for shape in _shapes(layer_sizes).values()]
        for array in arrays:
            array.fill(0)
        kept.append(arrays)
    return tuple(kept)
