"""Learning rates that change from step to step, for ``Network.fit(learning_rate=...)``.

A schedule is called with the number of a step, counted from 0 over the whole training (all calls of
`Network.fit` that go on with each other), and returns its learning rate. Any callable will do;
those of this module are told apart from others in that they can be stored, by `describe`, and give
many rates at a time.
"""

from __future__ import annotations

import functools
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from fastbp.checks import check_integer, check_real

__all__ = [
    "Constant",
    "CosineDecay",
    "InverseScaling",
    "LearningRate",
    "Schedule",
    "StepDecay",
    "WarmUp",
    "as_schedule",
    "from_description",
    "in_blocks",
]

Rates = npt.NDArray[np.float64]

_BLOCK = 64


def in_blocks(function: Callable[[Rates], Rates], first: int, last: int) -> Rates:
    """A function of the numbers ``first`` ... ``last`` - 1, the same bits however they are cut.

    NumPy computes a power or a cosine in vectors, and what is left over perhaps by other code: so
    whole blocks are computed, which begin at the same numbers each time.
    """
    start = first // _BLOCK * _BLOCK
    end = -(-last // _BLOCK) * _BLOCK
    return function(np.arange(start, end, dtype=np.float64))[first - start : last - start]


class Schedule(ABC):
    """A learning rate for each step: what those of this module have in common."""

    name: ClassVar[str]

    @property
    @abstractmethod
    def largest(self) -> float:
        """No rate is greater."""

    @abstractmethod
    def rates(self, first: int, last: int) -> Rates:
        """The learning rates of steps ``first`` ... ``last`` - 1.

        Returns
        -------
        ndarray of shape (last - first,)
            float64.
        """

    def __call__(self, step: int) -> float:
        """The learning rate of a step, counted from 0."""
        return float(self.rates(step, step + 1)[0])

    def describe(self) -> Any:
        """What JSON can store; `from_description` makes the schedule of it again."""
        return {"schedule": self.name, **vars(self)}


class _Formula(Schedule):
    """A schedule that is a function of the step alone."""

    @abstractmethod
    def _rates(self, steps: Rates) -> Rates:
        """The learning rates of steps, given as an array of their numbers."""

    def rates(self, first: int, last: int) -> Rates:
        """The learning rates of steps ``first`` ... ``last`` - 1."""
        return in_blocks(self._rates, first, last)


@dataclass(frozen=True)
class Constant(Schedule):
    """The same learning rate for all steps: what a number stands for.

    Parameters
    ----------
    learning_rate : float
        Greater than 0.
    """

    name: ClassVar[str] = "constant"
    learning_rate: float

    def __post_init__(self) -> None:
        _set(self, learning_rate=check_real(self.learning_rate, "learning_rate", above=0))

    @property
    def largest(self) -> float:
        """No rate is greater."""
        return self.learning_rate

    def rates(self, first: int, last: int) -> Rates:
        """The learning rates of steps ``first`` ... ``last`` - 1."""
        return np.full(last - first, self.learning_rate)

    def __call__(self, step: int) -> float:
        """The learning rate of a step, counted from 0."""
        return self.learning_rate

    def describe(self) -> float:
        """The number."""
        return self.learning_rate


@dataclass(frozen=True)
class StepDecay(_Formula):
    """The learning rate times a factor, again after every so many steps.

    rate(t) = learning_rate * factor^floor(t / every)

    Parameters
    ----------
    learning_rate : float
        Greater than 0: of the first steps.
    every : int
        Steps from one change to the next; 1 or more.
    factor : float, default 0.1
        In (0, 1].
    """

    name: ClassVar[str] = "step"
    learning_rate: float
    every: int
    factor: float = 0.1

    def __post_init__(self) -> None:
        factor = check_real(self.factor, "factor", above=0)
        if factor > 1:
            raise ValueError(f"factor must be at most 1, got {factor}")
        rate = check_real(self.learning_rate, "learning_rate", above=0)
        _set(self, learning_rate=rate, every=check_integer(self.every, "every", 1), factor=factor)

    @property
    def largest(self) -> float:
        """No rate is greater."""
        return self.learning_rate

    def _rates(self, steps: Rates) -> Rates:
        return self.learning_rate * self.factor ** np.floor(steps / self.every)


@dataclass(frozen=True)
class CosineDecay(_Formula):
    """Half a wave of the cosine, from the first learning rate down to the last one [1]_.

    rate(t) = final + (learning_rate - final) (1 + cos(pi min(t, steps) / steps)) / 2

    Parameters
    ----------
    learning_rate : float
        Greater than 0: of step 0.
    steps : int
        From which step on the rate is `final`; 1 or more.
    final : float, default 0.0
        In [0, learning_rate].

    References
    ----------
    .. [1] I. Loshchilov, F. Hutter, "SGDR: Stochastic gradient descent with warm restarts", ICLR
       2017, equation 5, without restarts.
    """

    name: ClassVar[str] = "cosine"
    learning_rate: float
    steps: int
    final: float = 0.0

    def __post_init__(self) -> None:
        rate = check_real(self.learning_rate, "learning_rate", above=0)
        final = check_real(self.final, "final", least=0)
        if final > rate:
            raise ValueError(f"final must be at most learning_rate, got {final} > {rate}")
        _set(self, learning_rate=rate, steps=check_integer(self.steps, "steps", 1), final=final)

    @property
    def largest(self) -> float:
        """No rate is greater."""
        return self.learning_rate

    def _rates(self, steps: Rates) -> Rates:
        wave = 0.5 * (1 + np.cos(np.pi * np.minimum(steps, self.steps) / self.steps))
        return self.final + (self.learning_rate - self.final) * wave


@dataclass(frozen=True)
class InverseScaling(_Formula):
    """The learning rate over a power of the step.

    rate(t) = learning_rate / (t + 1)^power

    as scikit-learn's "invscaling", which counts samples instead of steps.

    Parameters
    ----------
    learning_rate : float
        Greater than 0: of step 0.
    power : float, default 0.5
        0 or more.
    """

    name: ClassVar[str] = "inverse_scaling"
    learning_rate: float
    power: float = 0.5

    def __post_init__(self) -> None:
        rate = check_real(self.learning_rate, "learning_rate", above=0)
        _set(self, learning_rate=rate, power=check_real(self.power, "power", least=0))

    @property
    def largest(self) -> float:
        """No rate is greater."""
        return self.learning_rate

    def _rates(self, steps: Rates) -> Rates:
        return self.learning_rate / (steps + 1) ** self.power


@dataclass(frozen=True)
class WarmUp(Schedule):
    """A straight line up to the first rate of another schedule, which begins after it [1]_.

    rate(t) = start + (schedule(0) - start) (t + 1) / steps for t < steps, then schedule(t - steps)

    Parameters
    ----------
    schedule : Schedule, float or callable
        What comes after.
    steps : int
        Length of the line; 1 or more.
    start : float, default 0.0
        0 or more: where the line begins, at the step before the first one.

    References
    ----------
    .. [1] P. Goyal et al., "Accurate, large minibatch SGD: training ImageNet in 1 hour", 2017,
       section 2.2.
    """

    name: ClassVar[str] = "warm_up"
    schedule: Any
    steps: int
    start: float = 0.0

    def __post_init__(self) -> None:
        steps = check_integer(self.steps, "steps", 1)
        start = check_real(self.start, "start", least=0)
        _set(self, schedule=as_schedule(self.schedule), steps=steps, start=start)

    @property
    def largest(self) -> float:
        """No rate is greater."""
        return max(self.start, float(self.schedule.largest))

    def rates(self, first: int, last: int) -> Rates:
        """The learning rates of steps ``first`` ... ``last`` - 1."""
        ramp = np.empty(0)
        if first < self.steps:
            steps = np.arange(first, min(last, self.steps), dtype=np.float64)
            top = float(self.schedule(0))
            ramp = self.start + (top - self.start) * ((steps + 1) / self.steps)
        if last <= self.steps:
            return ramp
        after = self.schedule.rates(max(first - self.steps, 0), last - self.steps)
        return np.concatenate([ramp, after])

    def describe(self) -> dict[str, Any]:
        """What JSON can store."""
        return {
            "schedule": self.name,
            "after": self.schedule.describe(),
            "steps": self.steps,
            "start": self.start,
        }


class _Called(Schedule):
    """A user's callable, asked for each step when it is made, as it may change its mind."""

    name = "callable"

    def __init__(self, function: Callable[[int], float]) -> None:
        self._function = function

    @property
    def largest(self) -> float:
        """Nobody knows."""
        return math.inf

    def rates(self, first: int, last: int) -> Rates:
        """The learning rates of steps ``first`` ... ``last`` - 1."""
        return np.array([self(step) for step in range(first, last)], dtype=np.float64)

    def __call__(self, step: int) -> float:
        return check_real(self._function(step), f"learning_rate({step})", least=0)

    def describe(self) -> str:
        """Its ``repr``, of which nothing can be made again."""
        return repr(self._function)


LearningRate = float | Callable[[int], float]
"""A number, or a function of the step: one of the schedules here, or any callable."""


@functools.lru_cache(maxsize=64)
def _constant(learning_rate: float) -> Constant:
    return Constant(learning_rate)


def as_schedule(learning_rate: Any) -> Schedule:
    """The schedule that a learning rate stands for.

    Parameters
    ----------
    learning_rate : float, Schedule or callable
        A callable gets the number of a step, and returns its rate: finite, 0 or more.

    Raises
    ------
    TypeError, ValueError
        If it is neither, or a number that is not finite or not greater than 0.
    """
    if isinstance(learning_rate, float):  # as nearly always; to ask an abstract class takes longer
        return _constant(learning_rate)
    if isinstance(learning_rate, Schedule):
        return learning_rate
    if callable(learning_rate):
        return _Called(learning_rate)
    return Constant(learning_rate)


_KINDS: dict[str, Any] = {kind.name: kind for kind in (StepDecay, CosineDecay, InverseScaling)}


def from_description(description: Any) -> Schedule:
    """The schedule that `Schedule.describe` has described, in ``training_settings`` say.

    Raises
    ------
    ValueError
        If it is the ``repr`` of a callable, or nothing that is described so.
    """
    if isinstance(description, Mapping):
        values = dict(description)
        name = values.pop("schedule", None)
        try:
            if name == WarmUp.name:
                return WarmUp(from_description(values.pop("after")), **values)
            if name in _KINDS:
                made: Schedule = _KINDS[name](**values)
                return made
        except (TypeError, KeyError) as error:
            raise ValueError(f"{description!r} describes no schedule: {error}") from error
    elif isinstance(description, int | float):
        return Constant(description)
    known = ", ".join(map(repr, [*_KINDS, WarmUp.name]))
    raise ValueError(
        f"a schedule is described by a number, or a dict with 'schedule' (one of: {known}) and its"
        f" parameters, got {description!r}"
    )


def _set(schedule: Schedule, /, **values: Any) -> None:
    """Put checked values into a frozen schedule."""
    for name, value in values.items():
        object.__setattr__(schedule, name, value)
