"""What is played when: the parts of each step, as pure functions of the step and the plan."""

from __future__ import annotations

import math
from collections.abc import Mapping
from fractions import Fraction

from gift_dsl.plan import AllOf, AnyOf, InTurn, Leaf, Node, Play, weight_at, weights_at


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
    """Mean plays of each leaf in one step, over a stage of `steps` steps."""
    found: dict[str, float] = {}
    moments = sorted({0, steps // 4, steps // 2, 3 * steps // 4, max(steps - 1, 0)}) if _changes(play) else [0]
    for node, share in nodes_of(play):
        for step in moments:
            for label, plays in leaf_plays(node, episodes, step).items():
                found[label] = found.get(label, 0.0) + share * plays / len(moments)
    return found


def step_without_weight(node: Node, steps: int) -> int | None:
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


def _changes(play: Play) -> bool:
    """Whether any weight depends on the step."""
    if isinstance(play, Leaf):
        return len(play.weight) > 1
    own = not isinstance(play, InTurn) and len(play.weight) > 1
    return own or any(_changes(part) for part in play.parts)
