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


def scheduled(label: str, *points: tuple[int, float]) -> Leaf:
    return Leaf(label, label, points, 1, ROLLOUT)


def summed(node: object, episodes: int, steps: int) -> dict[str, float]:
    """Mean plays of each leaf, step by step."""
    each = [leaf_plays(node, episodes, step) for step in range(steps)]  # type: ignore[arg-type]
    return {label: sum(plays[label] for plays in each) / steps for label in each[0]}


@pytest.mark.parametrize(
    ("points", "steps"),
    [
        (((0, 1), (10, 0)), 1000),
        (((0, 0), (100, 0), (101, 1), (240, 1), (241, 0)), 1000),
        (((0, 0), (100, 2)), 101),
        (((5, 0), (50, 3)), 20),
        (((0, 0), (900, 7), (901, 0)), 900),
        (((500, 0), (501, 1)), 100),
    ],
)
def test_a_changing_weight_is_averaged_over_all_steps_of_the_stage(points, steps):
    for play in (mixed(scheduled("a", *points), leaf("b")), nested(mixed(scheduled("a", *points), leaf("b")))):  # type: ignore[arg-type]
        plays = average_plays(play, 12, steps)  # type: ignore[arg-type]
        assert plays == pytest.approx(summed(play, 12, steps), abs=1e-9)
        assert sum(plays.values()) == pytest.approx(12)


def test_the_shares_of_a_draw_within_a_draw_change_together():
    inner = AnyOf((scheduled("a", (0, 0), (30, 1)), leaf("b")), ((0, 1.0), (20, 0.0), (60, 2.0)), "balanced")
    play = mixed(inner, scheduled("c", (10, 1), (50, 0), (70, 1)))
    assert average_plays(play, 8, 90) == pytest.approx(summed(play, 8, 90))


def test_weights_that_change_for_very_long_are_averaged_closely():
    play = mixed(scheduled("a", (0, 0), (60_000, 1)), leaf("b"))
    assert average_plays(play, 8, 60_000) == pytest.approx(summed(play, 8, 60_000), rel=1e-4)


def test_parts_that_take_turns_are_counted_at_their_own_steps():
    play = InTurn((mixed(scheduled("a", (0, 0), (2, 0), (3, 1)), leaf("b")), leaf("c")), (2, 3), "fixed")
    # steps 0 and 1 play b, 2 to 4 and 7 play c, 5 and 6 half of a and half of b
    assert average_plays(play, 8, 8) == pytest.approx({"a": 8 / 8, "b": 24 / 8, "c": 32 / 8})


def test_in_a_random_order_each_part_has_its_share_of_the_steps():
    play = InTurn((leaf("a"), leaf("b")), (3, 1), "random")
    assert average_plays(play, 8, 6) == {"a": 6, "b": 2}


def test_the_average_of_no_steps_is_that_of_the_first():
    assert average_plays(mixed(scheduled("a", (0, 3), (9, 0)), leaf("b")), 8, 0) == {"a": 6, "b": 2}


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
