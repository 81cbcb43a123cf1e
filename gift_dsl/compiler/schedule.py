"""What is played when: the parts of each step, as pure functions of the step and the plan."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from fractions import Fraction
from itertools import pairwise
from typing import Final

from gift_dsl.plan import AllOf, AnyOf, InTurn, Leaf, Node, Play, Schedule, weight_at, weights_at

MOST_MOMENTS: Final = 2048
"""Steps between two points of a schedule that are looked at one by one."""


def num_tasks(node: Node) -> int:
    """How many tasks selection can tell apart in one step: each draw inside an `all_of` makes another one."""
    if isinstance(node, Leaf):
        return 1
    inner = [num_tasks(part) for part in node.parts]
    return sum(inner) if isinstance(node, AnyOf) else math.prod(inner)


def groups_of_tasks(node: Node, groups: int) -> tuple[int, ...] | None:
    """Most groups of each task in any step; None where the step decides: by a draw, a moving weight or a rotation."""
    if not isinstance(node, AnyOf):
        return (groups,) if num_tasks(node) == 1 else None
    if node.draw == "random" or any(len(part.weight) > 1 for part in node.parts):
        return None
    weights = [Fraction(part.weight[0][1]) for part in node.parts]
    quotas = [groups * weight / sum(weights) for weight in weights]
    if any(0 < quota < 1 for quota in quotas):
        return None
    found: list[int] = []
    for part, quota in zip(node.parts, quotas, strict=True):
        inner = groups_of_tasks(part, math.ceil(quota)) if quota else ()
        if inner is None or (num_tasks(part) > 1 and quota.denominator > 1):
            return None
        found += inner
    return tuple(found)


def leaf_plays(node: Node, episodes: float, step: int = 0) -> Mapping[str, float]:
    """Expected plays of each leaf when a composition is played `episodes` times in one step."""
    if isinstance(node, Leaf):
        return {node.label: episodes}
    found: dict[str, float] = {}
    weights = weights_at(node.parts, step)
    for part, weight in zip(node.parts, weights, strict=True):
        share = episodes if isinstance(node, AllOf) else episodes * weight / sum(weights)
        for label, plays in leaf_plays(part, share, step).items():
            found[label] = found.get(label, 0.0) + plays
    return found


def cycle(play: InTurn) -> tuple[int, ...]:
    """The index of the part of each step of one cycle, in the order written: blocks [2, 1] give (0, 0, 1)."""
    return tuple(index for index, block in enumerate(play.blocks) for _ in range(block))


def nodes_of(play: Play) -> tuple[tuple[Node, float], ...]:
    """The nodes that whole steps play, each with its share of the steps."""
    if not isinstance(play, InTurn):
        return ((play, 1.0),)
    total = sum(play.blocks)
    return tuple((part, block / total) for part, block in zip(play.parts, play.blocks, strict=True))


def average_plays(play: Play, episodes: int, steps: int) -> Mapping[str, float]:
    """Mean plays of each leaf in one step, over a stage of `steps` steps; of its first step where it has none.

    The sum over all steps: exact, unless weights change for more than `MOST_MOMENTS` steps on end, which are then taken
    a few at a time.
    """
    if not steps:
        return average_plays(play, episodes, 1)
    found: dict[str, float] = {}
    for index, (node, _) in enumerate(nodes_of(play)):
        for first, last in _still_spans(node, steps):
            share = (_turns_before(play, index, last) - _turns_before(play, index, first)) / steps
            for label, plays in leaf_plays(node, episodes, (first + last - 1) // 2).items() if share else ():
                found[label] = found.get(label, 0.0) + share * plays
    return found


def _turns_before(play: Play, index: int, step: int) -> float:
    """How many of the first `step` steps play a part of `in_turn`: expected, where the order is drawn."""
    if not isinstance(play, InTurn):
        return step
    block, length = play.blocks[index], sum(play.blocks)
    if play.order == "random":
        return step * block / length
    cycles, rest = divmod(step, length)
    return cycles * block + min(max(rest - sum(play.blocks[:index]), 0), block)


def _still_spans(node: Node, steps: int) -> Iterator[tuple[int, int]]:
    """The steps of a stage cut into spans [first, last) within which no weight of a draw changes."""
    schedules = list(_schedules_of_draws(node))
    points = {min(point, steps) for schedule in schedules for point, _ in schedule}
    for first, last in pairwise(sorted({0, steps} | points)):
        is_still = all(weight_at(schedule, first) == weight_at(schedule, last) for schedule in schedules)
        width = last - first if is_still else math.ceil((last - first) / MOST_MOMENTS)
        yield from ((start, min(start + width, last)) for start in range(first, last, width))


def _schedules_of_draws(node: Node) -> Iterator[Schedule]:
    """The weights that decide what is drawn, as far as they change."""
    if isinstance(node, Leaf):
        return
    for part in node.parts:
        if isinstance(node, AnyOf) and len(part.weight) > 1:
            yield part.weight
        yield from _schedules_of_draws(part)


def step_without_weight(node: Play, steps: int) -> int | None:
    """The first step of a stage of `steps` at which every part of some draw weighs 0; None where there is none.

    Weights are linear between the points of all schedules, and never below 0: where their sum is 0 between two points,
    it is 0 at both, so that the points and the ends of the stage are all that must be looked at.
    """
    if isinstance(node, Leaf):
        return None
    found = [step for part in node.parts if (step := step_without_weight(part, steps)) is not None]
    if isinstance(node, AnyOf):
        points = {point for part in node.parts for point, _ in part.weight if point < steps}
        moments = sorted({0, max(steps - 1, 0)} | points)
        found += [step for step in moments if not any(weight_at(part.weight, step) for part in node.parts)][:1]
    return min(found, default=None)
