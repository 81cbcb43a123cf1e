"""Control arms: rewards that know nothing of the task, so that what they teach is not the task.

The records of what happened stay as they are (outcomes, turns, tokens); rewards and penalties, and with them the
return, are those of the arm. Statistics and adaptive state are to be taken from the groups before this.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Literal, assert_never

from gift_dsl.play.reward import PartResult
from gift_dsl.records import Group, PartRecord, Trajectory, TurnRecord

Control = Literal["format_only", "shuffled", "random"]
Aggregate = Callable[[Mapping[str, PartResult]], float]
"""From the results of the parts by label to the return: `composite_return` of what the group played."""


def controlled(group: Group, reward: Control, aggregate: Aggregate, rng: random.Random) -> Group:
    """The group as the arm rewards it; void members stay void.

    `format_only`: each part is worth the share of the policy's turns in it that could be read, legal or not.
    `random`: each part is worth 0 or 1, by a fair coin.
    `shuffled`: the returns of the group, with all that they consist of, change hands at random.
    Penalties are left out of the first two, because they tell right from wrong.

    Args:
        group: as played.
        reward: the arm.
        aggregate: of what the group played.
        rng: a stream of the group's own.
    """
    if reward == "shuffled":
        return _shuffled(group, rng)
    trajectories = [_rewarded(one, _rewards(one, reward, rng), aggregate) for one in group.trajectories]
    return replace(group, trajectories=tuple(trajectories))


def _rewards(trajectory: Trajectory, reward: Literal["format_only", "random"], rng: random.Random) -> list[float]:
    """Of each part, in the order played."""
    match reward:
        case "format_only":
            return [_readable_share(trajectory, part) for part in trajectory.parts]
        case "random":
            return [float(rng.getrandbits(1)) for _ in trajectory.parts]
        case _:
            assert_never(reward)


def _readable_share(trajectory: Trajectory, part: PartRecord) -> float:
    """Of the policy's turns in a part; 1 where it had none."""
    ends = [turn.end for turn in trajectory.turns if turn.part == part.label and turn.sequence is not None]
    return sum(end in ("action", "illegal_action") for end in ends) / len(ends) if ends else 1.0


def _rewarded(trajectory: Trajectory, rewards: list[float], aggregate: Aggregate) -> Trajectory:
    """The trajectory with other rewards and without penalties."""
    if trajectory.is_void:
        return trajectory
    pairs = list(zip(trajectory.parts, rewards, strict=True))
    results = {part.label: PartResult(reward, part.outcome != "bad_format") for part, reward in pairs}
    return replace(
        trajectory,
        parts=tuple(replace(part, reward=reward, penalty=0.0) for part, reward in pairs),
        turns=tuple(_without_penalty(turn) for turn in trajectory.turns),
        outcome_return=aggregate(results),
        penalty=0.0,
    )


def _shuffled(group: Group, rng: random.Random) -> Group:
    """Rewards and penalties of each member with a return go to another one, or by chance to itself."""
    members = [index for index, one in enumerate(group.trajectories) if not one.is_void]
    givers = list(members)
    rng.shuffle(givers)
    trajectories = list(group.trajectories)
    for member, giver in zip(members, givers, strict=True):
        trajectories[member] = _as_rewarded(group.trajectories[member], group.trajectories[giver])
    return replace(group, trajectories=tuple(trajectories))


def _as_rewarded(trajectory: Trajectory, giver: Trajectory) -> Trajectory:
    given = {part.label: part for part in giver.parts}
    parts = [
        replace(part, reward=given[part.label].reward, penalty=given[part.label].penalty) for part in trajectory.parts
    ]
    return replace(
        trajectory,
        parts=tuple(parts),
        turns=tuple(_without_penalty(turn) for turn in trajectory.turns),
        outcome_return=giver.outcome_return,
        penalty=math.fsum(part.penalty for part in parts),
    )


def _without_penalty(turn: TurnRecord) -> TurnRecord:
    return replace(turn, penalty=0.0) if turn.penalty else turn
