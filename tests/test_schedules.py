"""Learning rates as functions of the step."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from fastbp.schedules import (
    Constant,
    CosineDecay,
    InverseScaling,
    StepDecay,
    WarmUp,
    as_schedule,
    from_description,
)

SCHEDULES = {
    "constant": (Constant(0.3), lambda t: 0.3),
    "step": (StepDecay(0.3, 10, 0.5), lambda t: 0.3 * 0.5 ** (t // 10)),
    "cosine": (
        CosineDecay(0.3, 50, 0.1),
        lambda t: 0.1 + 0.2 * (1 + math.cos(math.pi * min(t, 50) / 50)) / 2,
    ),
    "inverse": (InverseScaling(0.3, 0.7), lambda t: 0.3 / (t + 1) ** 0.7),
    "warm up": (
        WarmUp(StepDecay(0.3, 10), 20, 0.1),
        lambda t: 0.1 + 0.2 * (t + 1) / 20 if t < 20 else 0.3 * 0.1 ** ((t - 20) // 10),
    ),
    "warm up of a number": (WarmUp(0.3, 4), lambda t: min(t + 1, 4) / 4 * 0.3),
}
by_schedule = pytest.mark.parametrize(("schedule", "formula"), SCHEDULES.values(), ids=[*SCHEDULES])


@by_schedule
def test_rates_follow_the_formula(schedule, formula):
    rates = schedule.rates(0, 200)
    # A few roundings of each side, and a power with an exponent of up to 20.
    np.testing.assert_allclose(rates, [formula(t) for t in range(200)], rtol=1e-14, atol=1e-16)
    assert rates.max() <= schedule.largest


@by_schedule
def test_rates_are_the_same_however_they_are_asked_for(schedule, formula):
    whole = schedule.rates(0, 200)
    np.testing.assert_array_equal([schedule(t) for t in range(200)], whole)
    for cut in (1, 7, 19, 64):
        parts = [schedule.rates(i, min(i + cut, 200)) for i in range(0, 200, cut)]
        np.testing.assert_array_equal(np.concatenate(parts), whole)


@by_schedule
def test_a_description_gives_the_schedule_back(schedule, formula):
    assert from_description(json.loads(json.dumps(schedule.describe()))) == schedule


def test_a_number_and_a_callable_are_schedules():
    assert as_schedule(0.5) == Constant(0.5)
    asked = []
    schedule = as_schedule(lambda t: asked.append(t) or 0.1)
    np.testing.assert_array_equal(schedule.rates(5, 8), [0.1] * 3)
    assert asked == [5, 6, 7]
    assert schedule.largest == math.inf
    assert as_schedule(schedule) is schedule


@pytest.mark.parametrize("value", [math.nan, math.inf, -0.1, "x", None], ids=str)
def test_a_callable_s_rate_that_is_none_names_the_step(value):
    with pytest.raises((TypeError, ValueError), match=r"learning_rate\(3\)"):
        as_schedule(lambda t: value if t == 3 else 0.1).rates(0, 5)


@pytest.mark.parametrize(
    "make",
    [
        lambda: Constant(0.0),
        lambda: Constant("0.1"),
        lambda: StepDecay(0.1, 0),
        lambda: StepDecay(0.1, 5, 0.0),
        lambda: StepDecay(0.1, 5, 1.5),
        lambda: CosineDecay(0.1, 0),
        lambda: CosineDecay(0.1, 5, 0.2),
        lambda: CosineDecay(0.1, 5, -0.1),
        lambda: InverseScaling(-0.1),
        lambda: InverseScaling(0.1, -1),
        lambda: WarmUp(0.1, 0),
        lambda: WarmUp(0.1, 5, -1),
        lambda: WarmUp("fast", 5),
    ],
)
def test_what_is_out_of_range_is_refused(make):
    with pytest.raises((TypeError, ValueError)):
        make()


@pytest.mark.parametrize(
    "description",
    [None, "<function>", {}, {"schedule": "step"}, {"schedule": "warm_up"},
     {"schedule": "cosine", "learning_rate": 0.1, "steps": 5, "more": 1}],
    ids=str,
)  # fmt: skip
def test_what_describes_no_schedule_is_refused(description):
    with pytest.raises(ValueError, match="schedule"):
        from_description(description)
