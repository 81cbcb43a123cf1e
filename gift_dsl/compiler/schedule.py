"""What is played when: the parts of each step, as pure functions of the step and the plan."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction

from gift_dsl.plan import AllOf, AnyOf, InTurn, Leaf, Node, Play, Schedule


def weight_at(schedule: Schedule, step: int) -> float:
    """The weight at a step (counted from 0 within the stage): linear between points, constant outside."""
    before = [point for point in schedule if point[0] <= step]
    after = [point for point in schedule if point[0] > step]
    if not before:
        return after[0][1]
    if not after:
        return before[-1][1]
    (left, low), (right, high) = before[-1], after[0]
    return low + (high - low) * (step - left) / (right - left)


def shares(weights: Sequence[float], total: int) -> tuple[int, ...]:
    """`total` groups dealt by weight, by largest remainder; ties to the earlier part."""
    exact = [Fraction(weight) * total for weight in weights]
    whole = sum(Fraction(weight) for weight in weights)
    quotas = [item / whole for item in exact]
    dealt = [int(quota) for quota in quotas]
    order = sorted(range(len(quotas)), key=lambda index: (dealt[index] - quotas[index], index))
    for index in order[: total - sum(dealt)]:
        dealt[index] += 1
    return tuple(dealt)


def task_of(node: Node) -> str:
    """The name under which selection per task counts what a group played."""
    return node.label if isinstance(node, Leaf) else " + ".join(sorted(leaf_labels(node)))


def leaf_labels(node: Node) -> Iterator[str]:
    """Labels of every leaf below a node, in order."""
    if isinstance(node, Leaf):
        yield node.label
        return
    for part in node.parts:
        yield from leaf_labels(part)


def task_groups(node: Node, groups: int, step: int = 0) -> Mapping[str, float]:
    """Expected number of groups of each task in one step.

    A draw inside an `all_of` does not make tasks: the group is one task.
    """
    if not isinstance(node, AnyOf):
        return {task_of(node): float(groups)}
    weights = [weight_at(part.weight, step) for part in node.parts]
    dealt: Sequence[float]
    if node.draw == "balanced" and groups >= len(node.parts):
        dealt = shares(weights, groups)
    else:
        dealt = [groups * weight / sum(weights) for weight in weights]
    found: dict[str, float] = {}
    for part, count in zip(node.parts, dealt, strict=True):
        for task, number in _inner(part, count, step).items():
            found[task] = found.get(task, 0.0) + number
    return found


def _inner(part: Node, count: float, step: int) -> Mapping[str, float]:
    return task_groups(part, int(count), step) if count == int(count) else {task_of(part): count}


def leaf_plays(node: Node, episodes: float, step: int = 0) -> Mapping[str, float]:
    """Expected plays of each leaf when a composition is played `episodes` times in one step."""
    if isinstance(node, Leaf):
        return {node.label: episodes}
    found: dict[str, float] = {}
    weights = [weight_at(part.weight, step) for part in node.parts]
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


def _changes(play: Play) -> bool:
    """Whether any weight depends on the step."""
    if isinstance(play, Leaf):
        return len(play.weight) > 1
    own = not isinstance(play, InTurn) and len(play.weight) > 1
    return own or any(_changes(part) for part in play.parts)
