"""The walk through a composition: which games one episode plays, in which order, and what each part sees of others.

Laws (tests/play/test_compose.py): `all_of: [x]` and `any_of: [x]` walk exactly as `x`; orders and draws never
change which instance a game gets, because an instance is named by its game and its occurrence, not by its position.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from gift_dsl.plan import AllOf, Leaf, Node, Play, leaves
from gift_dsl.play.deal import Dealt, deal, in_order
from gift_dsl.play.keys import Keys


@dataclass(frozen=True, slots=True)
class Part:
    """One game of an episode.

    Attributes:
        leaf: what the plan says of it.
        occurrence: how often the game stands before it in the order written: part of the name of its instance.
        context: parts with one number share one conversation.
        tells: the outcome of the part before is told in its first message.
    """

    leaf: Leaf
    occurrence: int
    context: int
    tells: bool


@dataclass(frozen=True, slots=True)
class Walk:
    """What one group plays.

    Attributes:
        group: number of the group within its step, refills counted on.
        tree: the composition with every draw made and every `all_of` in the order played.
        task: labels in alphabetical order: under which selection per task counts the group.
        parts: in the order played.
    """

    group: int
    tree: Dealt
    task: str
    parts: tuple[Part, ...]


def plan_walks(play: Play, keys: Keys, groups: Sequence[int]) -> tuple[Walk, ...]:
    """What each group of a step plays.

    Args:
        play: the stage's composition.
        keys: of the step.
        groups: their numbers; those of a refill go on from the step's last one.
    """
    dealt = deal(play, keys, groups)
    return tuple(walk_of(dealt[group], keys, group) for group in groups)


def walk_of(written: Dealt, keys: Keys, group: int) -> Walk:
    """The walk of one group, from what it was dealt."""
    tree = in_order(written, keys, group)
    occurrences = _occurrences(written)
    contexts = _Contexts()
    parts = tuple(
        Part(leaf, occurrences[leaf.label], context, tells) for leaf, context, tells in contexts.walk(tree, 0, False)
    )
    return Walk(group, tree, task_of(written), _from_zero(parts))


def task_of(node: Node) -> str:
    """The name under which selection per task counts what a group played: a label, or all labels sorted."""
    return " + ".join(sorted(leaf.label for leaf in leaves(node)))


def _occurrences(written: Dealt) -> Mapping[str, int]:
    seen: Counter[str] = Counter()
    found: dict[str, int] = {}
    for leaf in leaves(written):
        found[leaf.label] = seen[leaf.game]
        seen[leaf.game] += 1
    return found


class _Contexts:
    """Numbers conversations: the parts of a fresh composition get new ones, all others that of where they stand."""

    def __init__(self) -> None:
        self.last = 0

    def walk(self, node: Node, context: int, tells: bool) -> Iterator[tuple[Leaf, int, bool]]:
        """Each leaf in the order played, its conversation, and whether the outcome before it is told."""
        if isinstance(node, Leaf):
            yield node, context, tells
            return
        assert isinstance(node, AllOf), "every draw was made"
        for index, part in enumerate(node.parts):
            own = context
            if node.context == "fresh" and len(node.parts) > 1:
                self.last += 1
                own = self.last
            yield from self.walk(part, own, tells if index == 0 else node.feedback == "outcome")


def _from_zero(parts: tuple[Part, ...]) -> tuple[Part, ...]:
    """Conversations renumbered in the order in which they begin."""
    numbers: dict[int, int] = {}
    for part in parts:
        numbers.setdefault(part.context, len(numbers))
    return tuple(Part(part.leaf, part.occurrence, numbers[part.context], part.tells) for part in parts)
