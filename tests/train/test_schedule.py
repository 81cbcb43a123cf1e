from __future__ import annotations

import math
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gift_dsl.train.schedule import RateSchedule, rate_factor

kinds = st.sampled_from(["constant", "linear", "cosine"])
schedules = st.builds(RateSchedule, kinds, st.integers(0, 20), st.integers(1, 60), st.floats(0, 1))


def factors(schedule, steps):
    return [rate_factor(schedule, step) for step in range(steps)]


def test_a_warm_up_rises_in_equal_steps_and_wastes_none():
    assert factors(RateSchedule("constant", 4, 10, 0), 6) == [0.25, 0.5, 0.75, 1, 1, 1]


def test_a_linear_schedule_falls_to_its_floor():
    assert factors(RateSchedule("linear", 0, 4, 0.2), 6) == pytest.approx([1, 0.8, 0.6, 0.4, 0.2, 0.2])


def test_a_cosine_is_half_way_down_in_the_middle():
    assert factors(RateSchedule("cosine", 2, 6, 0.0), 7) == pytest.approx(
        [0.5, 1, 1, (1 + math.sqrt(0.5)) / 2, 0.5, (1 - math.sqrt(0.5)) / 2, 0]
    )


def test_without_warm_up_the_first_step_has_the_full_rate():
    for kind in ("constant", "linear", "cosine"):
        assert rate_factor(RateSchedule(kind, 0, 10, 0.1), 0) == 1


@given(schedule=schedules)
def test_it_rises_during_the_warm_up_and_never_after(schedule):
    found = factors(schedule, 100)
    assert all(0 <= factor <= 1 for factor in found)
    assert all(low < high for low, high in pairwise(found[: schedule.warmup]))
    assert all(high >= low for high, low in pairwise(found[schedule.warmup :]))


@given(schedule=schedules)
def test_after_its_horizon_it_stays_at_its_end(schedule):
    end = 1 if schedule.kind == "constant" else schedule.floor
    assert rate_factor(schedule, max(schedule.horizon, schedule.warmup) + 5) == end


@given(schedule=schedules, steps=st.integers(1, 50))
def test_a_constant_schedule_does_not_know_its_horizon(schedule, steps):
    short, long = (RateSchedule("constant", schedule.warmup, horizon, 0) for horizon in (1, 1000))
    assert rate_factor(short, steps) == rate_factor(long, steps)
