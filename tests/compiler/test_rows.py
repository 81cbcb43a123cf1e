"""The rows of a trajectory that a plan reserves are the conversations that play makes."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gift_dsl.compiler.batch import rows_per_trajectory
from gift_dsl.plan import AllOf, AnyOf, Leaf, RolloutPlan
from gift_dsl.play.compose import plan_walks
from gift_dsl.play.keys import Keys

ONE = ((0, 1.0),)
ROLLOUT = RolloutPlan(20, 1.0, "off", "end", "independent", 0, "forfeit", 0.2, 0, 60.0)
KEYS = Keys(1, "train", "main", 0)


def leaf(name="a"):
    return Leaf(name, name, ONE, 1, ROLLOUT)


def all_of(context, *parts):
    return AllOf(parts, ONE, "mean", "fixed", context, "none", "none")


def any_of(*parts):
    return AnyOf(parts, ONE, "balanced")


def choices(node):
    """Every composition that the draws of a composition can leave."""
    if isinstance(node, Leaf):
        return [node]
    if isinstance(node, AnyOf):
        return [chosen for part in node.parts for chosen in choices(part)]
    return [replace(node, parts=parts) for parts in product(*map(choices, node.parts))]


def conversations(node):
    """Of the walk of a composition without draws."""
    (walk,) = plan_walks(node, KEYS, [0])
    return len({part.context for part in walk.parts})


def labelled(node, count):
    """The same composition with a label of its own for each leaf."""
    if isinstance(node, Leaf):
        count[0] += 1
        return leaf(f"g{count[0]}")
    return replace(node, parts=tuple(labelled(part, count) for part in node.parts))


def compositions():
    def deeper(inner):
        parts = st.lists(inner, min_size=2, max_size=3)
        together = st.builds(
            lambda context, parts: all_of(context, *parts), st.sampled_from(["shared", "fresh"]), parts
        )
        return together | parts.map(lambda parts: any_of(*parts))

    return st.recursive(st.builds(leaf), deeper, max_leaves=7).map(lambda node: labelled(node, [0]))


@given(compositions())
def test_a_plan_has_as_many_rows_as_play_has_conversations_at_most(node):
    assert rows_per_trajectory(node) == max(conversations(chosen) for chosen in choices(node))


@pytest.mark.parametrize(
    ("node", "rows"),
    [
        (leaf(), 1),
        (all_of("shared", leaf("a"), leaf("b")), 1),
        (all_of("fresh", leaf("a"), leaf("b")), 2),
        (all_of("shared", leaf("a"), all_of("fresh", leaf("b"), leaf("c"))), 3),
        (all_of("shared", all_of("fresh", leaf("a"), leaf("b")), all_of("fresh", leaf("c"), leaf("d"))), 4),
        (all_of("fresh", leaf("a"), all_of("shared", leaf("b"), leaf("c"))), 2),
        (all_of("shared", leaf("a"), any_of(leaf("b"), all_of("fresh", leaf("c"), leaf("d")))), 3),
    ],
)
def test_rows_counted_by_hand(node, rows):
    assert rows_per_trajectory(node) == rows
