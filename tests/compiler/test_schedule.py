from __future__ import annotations

from dataclasses import replace

import pytest

from gift_dsl.compiler.schedule import average_plays, cycle, groups_of_tasks, leaf_plays, num_tasks, step_without_weight
from gift_dsl.plan import AllOf, AnyOf, InTurn, Leaf, RolloutPlan, weight_at

ONE = ((0, 1.0),)
ROLLOUT = RolloutPlan(10, 1.0, "off", "end", "independent", 2, "random_legal", 0.2, 2, 600.0)


def leaf(label: str, weight: float = 1.0) -> Leaf:
    return Leaf(label, label, ((0, weight),), 1, ROLLOUT)


def nested(*parts: Leaf) -> AllOf:
    return AllOf(parts, ONE, "mean", "fixed", "shared", "none", "none")


def mixed(*parts: object, draw: str = "balanced") -> AnyOf:
    return AnyOf(parts, ONE, draw)  # type: ignore[arg-type]


def test_a_weight_is_linear_between_its_points_and_constant_outside():
    schedule = ((10, 1.0), (20, 3.0))
    assert [weight_at(schedule, step) for step in (0, 10, 15, 20, 99)] == [1, 1, 2, 3, 3]


def test_the_mixed_setting_of_three_games_plays_four_groups_of_each():
    assert groups_of_tasks(mixed(leaf("math"), leaf("matrix"), leaf("ttt")), 12) == (4, 4, 4)


def test_a_nested_composition_is_one_task():
    assert num_tasks(nested(leaf("b"), leaf("a"))) == 1
    assert groups_of_tasks(nested(leaf("b"), leaf("a")), 8) == (8,)


def test_a_draw_inside_a_draw_deals_the_share_of_its_part():
    assert groups_of_tasks(mixed(leaf("a"), mixed(leaf("b"), leaf("c"))), 8) == (4, 2, 2)


def test_draws_inside_an_episode_make_a_task_of_each_combination():
    episode = nested(mixed(leaf("a"), leaf("b")), mixed(leaf("c"), leaf("d"), leaf("e")))  # type: ignore[arg-type]
    assert num_tasks(episode) == 6
    assert groups_of_tasks(episode, 12) is None


def test_a_nested_episode_plays_each_part_once_and_a_mixed_one_a_share_of_each():
    assert leaf_plays(nested(leaf("a"), leaf("b")), 10) == {"a": 10, "b": 10}
    assert leaf_plays(mixed(leaf("a", 3), leaf("b")), 12) == {"a": 9, "b": 3}


@pytest.mark.parametrize(
    ("blocks", "phases"), [((2, 2), "0011"), ((4, 4, 4), "000011112222"), ((1, 1, 1, 1), "0123"), ((3, 1), "0001")]
)
def test_a_cycle_of_blocks_is_that_of_the_reference(blocks, phases):
    parts = tuple(leaf(str(index)) for index in range(len(blocks)))
    assert "".join(map(str, cycle(InTurn(parts, blocks, "fixed")))) == phases


def test_taking_turns_plays_each_part_for_its_share_of_the_steps():
    play = InTurn((leaf("a"), leaf("b")), (3, 1), "fixed")
    assert average_plays(play, 8, 100) == {"a": 6, "b": 2}


def test_a_changing_weight_is_averaged_over_the_stage():
    rising = Leaf("a", "a", ((0, 0.0), (100, 2.0)), 1, ROLLOUT)
    plays = average_plays(AnyOf((rising, leaf("b")), ONE, "random"), 12, 101)
    assert 0 < plays["a"] < 12
    assert sum(plays.values()) == pytest.approx(12)


def fading(label: str, *points: tuple[int, float]) -> Leaf:
    return replace(leaf(label), weight=points)


def test_the_first_step_at_which_a_whole_draw_weighs_nothing_is_found_without_looking_at_every_step():
    together = mixed(fading("a", (0, 1.0), (10, 0.0), (20, 0.0), (30, 1.0)), fading("b", (0, 1.0), (5, 0.0)))
    assert step_without_weight(together, 1_000_000) == 10
    assert step_without_weight(together, 10) is None
    assert step_without_weight(nested(leaf("c"), together), 11) == 10  # type: ignore[arg-type]
    assert step_without_weight(mixed(fading("a", (5, 0.0), (9, 1.0)), fading("b", (7, 0.0))), 100) == 0


def test_a_draw_whose_weights_vanish_is_shared_equally_as_the_table_deals_it():
    draw = mixed(fading("a", (0, 5e-324), (3, 0.0)), fading("b", (0, 5e-324), (3, 0.0)))
    assert leaf_plays(draw, 8, 2) == leaf_plays(draw, 8, 9) == {"a": 4, "b": 4}
