from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gift_dsl.plan import AllOf, AnyOf, InTurn, largest_remainder, leaves, weight_at
from gift_dsl.play.deal import deal, in_order, node_at, phase
from gift_dsl.play.keys import Keys
from tests.play.scripted import CONSTANT, KEYS, leaf

A, B, C, D = (leaf(name) for name in "abcd")


def weighing(part, *points):
    return replace(part, weight=points if isinstance(points[0], tuple) else ((0, float(points[0])),))


def any_of(*parts, draw="balanced"):
    return AnyOf(parts, CONSTANT, draw)


def all_of(*parts, order="fixed", **options):
    chosen = {"reward": "mean", "context": "shared", "feedback": "none", "gate": "none", **options}
    return AllOf(parts, CONSTANT, order=order, **chosen)


def at(step, seed=7):
    return replace(KEYS, step=step, seed=seed)


def counts(play, groups, step=0, seed=7):
    """How many groups play each leaf."""
    dealt = deal(play, at(step, seed), range(groups))
    return Counter(one.label for part in dealt.values() for one in leaves(part))


@pytest.mark.parametrize(
    ("blocks", "phases"),
    [
        ((2, 2), "0011001100"),
        ((4, 4, 4), "0000111122"),
        ((1, 1, 1, 1), "0123012301"),
        ((4, 4), "0000111100"),
        ((3, 1), "0001000100"),
    ],
)
def test_the_schedules_of_gift_v2(blocks, phases):
    """GIFT v2 counts its steps T from 1; before the first one its phase is the last."""
    assert "".join(str(phase(blocks, big_t - 1)) for big_t in range(1, 11)) == phases
    assert phase(blocks, -1) == len(blocks) - 1


def test_in_turn_plays_its_parts_as_written():
    play = InTurn((A, B), (2, 1), "fixed")
    assert [node_at(play, at(step)).label for step in range(7)] == list("aabaaba")


def test_in_turn_draws_an_order_for_each_cycle_and_plays_every_block_whole():
    play = InTurn((A, B, C), (2, 1, 3), "random")
    cycles = ["".join(node_at(play, at(6 * cycle + step)).label for step in range(6)) for cycle in range(30)]
    assert all(sorted(cycle) == sorted("aabccc") for cycle in cycles)
    assert all("aa" in cycle and "ccc" in cycle for cycle in cycles)
    assert len(set(cycles)) == 6


def test_a_weight_is_linear_between_its_points():
    schedule = ((10, 1.0), (20, 0.0), (30, 4.0))
    assert [weight_at(schedule, step) for step in (0, 10, 15, 20, 25, 30, 99)] == [1, 1, 0.5, 0, 2, 4, 4]
    assert weight_at(CONSTANT, 5) == 1.0


def test_twelve_groups_of_three_games_are_dealt_4_4_4():
    assert counts(any_of(A, B, C), 12) == {"a": 4, "b": 4, "c": 4}


def test_balanced_draws_follow_the_weights_by_largest_remainder():
    play = any_of(weighing(A, 3), weighing(B, 2), weighing(C, 1))
    assert counts(play, 10) == {"a": 5, "b": 3, "c": 2}
    assert counts(play, 10, step=5) == {"a": 5, "b": 3, "c": 2}


def test_weights_follow_their_schedule():
    play = any_of(weighing(A, (0, 1.0), (10, 0.0)), weighing(B, (0, 0.0), (10, 1.0)))
    assert counts(play, 8, step=0) == {"a": 8}
    assert counts(play, 8, step=5) == {"a": 4, "b": 4}
    assert counts(play, 8, step=99) == {"b": 8}


@pytest.mark.parametrize("draw", ["balanced", "random"])
def test_parts_share_equally_where_every_schedule_has_come_to_zero(draw):
    play = any_of(weighing(A, (0, 1.0), (9, 0.0)), weighing(B, (0, 1.0), (9, 0.0)), draw=draw)
    assert set(counts(play, 20, step=10)) == {"a", "b"}


def test_equal_remainders_take_turns():
    extras = [
        "".join(sorted(name for name, share in counts(any_of(A, B, C), 4, step).items() if share == 2))
        for step in range(6)
    ]
    assert extras == list("abcabc")


def test_fewer_groups_than_parts_rotate():
    played = ["".join(sorted(counts(any_of(A, B, C, D), 1, step))) for step in range(8)]
    assert sorted(played[:4]) == sorted(played[4:]) == list("abcd")


def test_a_part_with_a_share_below_one_group_gets_it_over_the_steps():
    play = any_of(weighing(A, 10), weighing(B, 1), weighing(C, 1))
    total = Counter[str]()
    for step in range(24):
        total += counts(play, 3, step)
    assert total == {"a": 60, "b": 6, "c": 6}


@given(
    claims=st.lists(st.floats(0, 5), min_size=1, max_size=6).filter(lambda claims: sum(claims) > 0.1),
    total=st.integers(0, 40),
    first=st.integers(0, 9),
)
def test_shares_are_claims_rounded_up_or_down(claims, total, first):
    exact = [claim * total / sum(claims) for claim in claims]
    dealt = largest_remainder(exact, total, first=first)
    assert sum(dealt) == total
    assert all(claim - 1 < share < claim + 1 for claim, share in zip(exact, dealt, strict=True))


def test_shares_of_claims_that_are_partly_negative_still_add_up():
    assert largest_remainder([-0.5, 1.5, 1.0], 2) == (0, 1, 1)
    assert largest_remainder([-1.0, 1.0, 1.0], 1) == (0, 1, 0)


def test_random_draws_follow_the_weights_on_average():
    play = any_of(weighing(A, 3), weighing(B, 1), draw="random")
    total = sum((counts(play, 100, step) for step in range(20)), Counter[str]())
    assert 1400 < total["a"] < 1600
    assert {counts(play, 100, step)["a"] for step in range(20)} != {75}


def test_a_draw_inside_a_draw_is_balanced_too():
    play = any_of(A, any_of(B, C))
    assert counts(play, 8) == {"a": 4, "b": 2, "c": 2}
    assert counts(any_of(A, any_of(B, C, draw="random"), draw="random"), 8).total() == 8
    assert counts(any_of(A, any_of(B, C), draw="random"), 8).total() == 8


def test_draws_inside_one_nested_episode_are_independent_of_each_other():
    play = all_of(any_of(A, B), any_of(C, D))
    pairs = Counter[str]()
    for step in range(40):
        dealt = deal(play, at(step), range(4))
        assert counts(play, 4, step) == {"a": 2, "b": 2, "c": 2, "d": 2}
        pairs += Counter("".join(one.label for one in leaves(part)) for part in dealt.values())
    assert set(pairs) == {"ac", "ad", "bc", "bd"}


def test_a_refill_is_dealt_by_itself_and_changes_nothing_before_it():
    play = any_of(A, B)
    before = deal(play, KEYS, range(4))
    refill = deal(play, KEYS, range(4, 8))
    assert set(refill) == {4, 5, 6, 7}
    assert Counter(part.label for part in refill.values()) == {"a": 2, "b": 2}
    assert deal(play, KEYS, range(4)) == before


def test_a_deal_depends_on_seed_stage_and_step_alone():
    play = any_of(A, B, C)
    assert deal(play, KEYS, range(9)) == deal(play, KEYS, range(9))
    others = [replace(KEYS, seed=8), replace(KEYS, stage="other"), replace(KEYS, step=3)]
    assert all(deal(play, keys, range(9)) != deal(play, KEYS, range(9)) for keys in others)


def labels(play, keys, group):
    return "".join(one.label for one in leaves(in_order(deal(play, keys, [group])[group], keys, group)))


def test_a_fixed_order_is_the_order_written():
    assert {labels(all_of(A, B, C), KEYS, group) for group in range(9)} == {"abc"}


def test_a_rotated_order_starts_with_each_part_equally_often():
    orders = Counter(labels(all_of(A, B, C, order="rotated"), KEYS, group) for group in range(9))
    assert orders == {"abc": 3, "bca": 3, "cab": 3}
    assert labels(all_of(A, B, order="rotated"), at(0), 0) != labels(all_of(A, B, order="rotated"), at(1), 0)


def test_a_shuffled_order_is_drawn_for_each_group():
    play = all_of(A, B, C, order="shuffled")
    orders = {labels(play, KEYS, group) for group in range(60)}
    assert len(orders) == 6
    assert labels(play, KEYS, 5) == labels(play, KEYS, 5)


def test_orders_of_inner_parts_are_drawn_for_themselves():
    inner = all_of(A, B, order="shuffled")
    play = all_of(inner, all_of(C, D, order="shuffled"))
    assert {labels(play, KEYS, group) for group in range(40)} == {"abcd", "abdc", "bacd", "badc"}


def test_keys_name_one_stream_each():
    keys = Keys(1, "dev", "probe", 0, root=("eval",))
    assert keys.name("instance", 3, "math", 0) == ("eval", "instance", "dev", "probe", 0, 3, "math", 0)
    assert keys.stream("instance", 3).random() != keys.stream("instance", 4).random()
    assert keys.place == "eval/probe/0"
