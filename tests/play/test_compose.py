from __future__ import annotations

from dataclasses import replace

import pytest

from gift_dsl.play.compose import plan_walks, task_of
from tests.play.scripted import KEYS, leaf
from tests.play.test_deal import A, B, C, D, all_of, any_of


def walk(play, group=0, keys=KEYS):
    return plan_walks(play, keys, range(group + 1))[group]


def contexts(play):
    return {part.leaf.label: part.context for part in walk(play).parts}


@pytest.mark.parametrize("options", [{}, {"context": "fresh"}, {"order": "shuffled"}, {"feedback": "outcome"}])
def test_a_composition_of_one_part_walks_as_that_part(options):
    alone = walk(A)
    for play in (all_of(A, **options), any_of(A), any_of(A, draw="random"), all_of(any_of(A))):
        one = walk(play)
        assert (one.parts, one.task) == (alone.parts, alone.task)


def test_parts_share_one_conversation_unless_contexts_are_fresh():
    assert contexts(all_of(A, B, C)) == {"a": 0, "b": 0, "c": 0}
    assert contexts(all_of(A, B, C, context="fresh")) == {"a": 0, "b": 1, "c": 2}


def test_a_fresh_composition_inside_a_shared_one_leaves_the_outer_conversation_alone():
    play = all_of(A, all_of(B, C, context="fresh"), D)
    assert contexts(play) == {"a": 0, "b": 1, "c": 2, "d": 0}


def test_a_shared_composition_inside_a_fresh_one_is_one_conversation():
    assert contexts(all_of(A, all_of(B, C), D, context="fresh")) == {"a": 0, "b": 1, "c": 1, "d": 2}


def test_feedback_is_told_before_every_part_but_the_first():
    told = [part.tells for part in walk(all_of(A, all_of(B, C), D, feedback="outcome")).parts]
    assert told == [False, True, False, True]
    assert not any(part.tells for part in walk(all_of(A, B)).parts)


def test_an_occurrence_counts_a_game_in_the_order_written_and_not_in_the_order_played():
    first, second, other = leaf("math", "math#1"), leaf("math", "math#2"), leaf("ttt")
    for play in (all_of(first, other, second), all_of(first, other, second, order="shuffled")):
        for group in range(12):
            found = {part.leaf.label: part.occurrence for part in walk(play, group).parts}
            assert found == {"math#1": 0, "math#2": 1, "ttt": 0}


def test_an_occurrence_counts_only_what_the_group_plays():
    """So that a mixed and a nested arm meet the same instances."""
    play = any_of(leaf("math", "math#1"), all_of(leaf("math", "math#2"), B))
    for group in range(8):
        assert walk(play, group).parts[0].occurrence == 0


def test_a_task_is_named_by_its_labels_in_any_order():
    assert task_of(all_of(B, A)) == "a + b"
    assert {walk(all_of(A, B, order="shuffled"), group).task for group in range(8)} == {"a + b"}
    assert walk(all_of(any_of(A), C)).task == "a + c"


def test_the_walk_of_a_group_does_not_depend_on_other_steps_or_draws():
    play = all_of(any_of(A, B), any_of(C, D), order="shuffled")
    again = plan_walks(play, KEYS, range(6))
    assert plan_walks(play, KEYS, range(6)) == again
    assert plan_walks(play, replace(KEYS, step=1), range(6)) != again
