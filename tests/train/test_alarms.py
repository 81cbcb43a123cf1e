"""What an alarm is about: each has numbers that trip it and numbers that just do not."""

from __future__ import annotations

import pytest

from gift_dsl import api
from gift_dsl.settings import shipped
from gift_dsl.train.alarms import (
    LEAST_ENTROPY_SHARE,
    MOST_BAD_FORMAT,
    MOST_CLIPPED,
    MOST_ILLEGAL,
    MOST_MISMATCH_KL,
    MOST_TIED,
    MOST_VOID,
    WINDOW,
    find_alarms,
)

HEALTHY = {
    "groups/math/played": 10.0,
    "groups/math/tied": 3.0,
    "game/math/plays": 80,
    "game/math/bad_format": 0.1,
    "game/math/illegal_action": 0.1,
    "entropy": 1.0,
    "update/clip_share": 0.01,
    "mismatch/kl": 1e-5,
}
A_BIT = 0.001


@pytest.fixture(scope="module")
def stages():
    (plan,) = api.compile_spec(str(shipped("specs") / "quickstart.yaml"))
    return {stage.type: stage for stage in plan.stages}


def found(stages, *steps, kind="grpo"):
    """Names of the alarms after these steps, each with what differs from a healthy one."""
    whole = [{**HEALTHY, **one} for one in steps]
    return [alarm.name for alarm in find_alarms(whole[-1], whole[:-1], stages[kind])]


def test_healthy_numbers_raise_nothing(stages):
    assert found(stages, *[{}] * 20) == []


@pytest.mark.parametrize(
    ("name", "metric", "limit"),
    [
        ("tied/math", "groups/math/tied", MOST_TIED * 10),
        ("bad_format/math", "game/math/bad_format", MOST_BAD_FORMAT),
        ("illegal_action/math", "game/math/illegal_action", MOST_ILLEGAL),
        ("clipped", "update/clip_share", MOST_CLIPPED),
        ("void/server", "opponent/server/void", MOST_VOID),
    ],
)
def test_a_rate_above_its_limit_over_a_window_is_told(stages, name, metric, limit):
    assert found(stages, *[{metric: limit + A_BIT}] * WINDOW) == [name]
    assert found(stages, *[{metric: limit - A_BIT}] * WINDOW) == []


@pytest.mark.parametrize("metric", ["groups/math/tied", "game/math/bad_format", "update/clip_share"])
def test_one_unlucky_step_is_no_alarm(stages, metric):
    assert found(stages, *[{}] * (WINDOW - 1), {metric: 1.0}) == []
    assert found(stages, {metric: 9.0}) == [], "nor is the first one"


def test_a_mismatch_is_told_at_once(stages):
    assert found(stages, {"mismatch/kl": MOST_MISMATCH_KL * 1.1}) == ["mismatch"]
    assert found(stages, {"mismatch/kl": MOST_MISMATCH_KL * 0.9}) == []


def test_entropy_collapses_beside_the_first_steps(stages):
    fallen = {"entropy": LEAST_ENTROPY_SHARE * 0.9}
    assert found(stages, *[{}] * WINDOW, *[fallen] * WINDOW) == ["entropy"]
    assert found(stages, *[{}] * WINDOW, *[{"entropy": LEAST_ENTROPY_SHARE * 1.1}] * WINDOW) == []
    assert found(stages, *[fallen] * 2 * WINDOW) == [], "a policy that began so is not collapsing"


def test_a_collapse_within_the_first_steps_is_told_too(stages):
    fallen = {"entropy": LEAST_ENTROPY_SHARE * 0.9}
    assert found(stages, {}, *[fallen] * WINDOW) == ["entropy"]
    assert found(stages, {}, *[fallen] * (WINDOW - 1)) == [], "of which the last steps are a part"


def test_steps_without_an_update_hide_nothing(stages):
    silent = {"update/clip_share": None, "update/entropy": None}
    clipped = {"update/clip_share": MOST_CLIPPED + A_BIT}
    assert found(stages, clipped, clipped, silent, clipped, silent) == ["clipped"]
    assert found(stages, clipped, silent, silent, clipped, silent) == [], "two of five are too few"
    assert found(stages, {}, *[{**silent, "entropy": LEAST_ENTROPY_SHARE * 0.9}] * WINDOW) == ["entropy"]


def test_a_rate_counts_plays_and_not_steps(stages):
    few = {"game/math/plays": 1, "game/math/bad_format": 1.0}
    assert found(stages, *[few] * (WINDOW - 1), {"game/math/plays": 96, "game/math/bad_format": 0.0}) == []


def test_numbers_that_are_missing_or_not_finite_raise_nothing(stages):
    steps = [dict.fromkeys(HEALTHY)] * 12
    assert find_alarms(steps[-1], steps[:-1], stages["grpo"]) == []
    assert find_alarms({}, [], stages["grpo"]) == []


def test_a_supervised_stage_has_none_of_these(stages):
    assert found(stages, *[{"game/math/bad_format": 1.0}] * WINDOW, kind="sft") == []


def test_a_message_says_what_was_measured_and_what_to_do(stages):
    steps = [{**HEALTHY, "game/math/bad_format": 0.75}] * WINDOW
    (alarm,) = find_alarms(steps[-1], steps[:-1], stages["grpo"])
    assert alarm.message.startswith("75% of the plays of math in the last 5 steps ended for a bad format")
