from __future__ import annotations

import math
import statistics
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gift_dsl.train.baseline import RoleBaselines
from gift_dsl.train.credit import credit_groups, role_returns
from gift_dsl.train.outcomes import part_shares
from tests.play.scripted import (
    CountGame,
    SayingPlayer,
    ScriptedPolicy,
    counting,
    fault,
    leaf,
    legal_listed,
    play,
    table_of,
    tagged,
)
from tests.play.test_deal import all_of
from tests.train.made import algorithm, group_of, made, returning, shares_of

SPREAD = statistics.stdev
WAYS = ["trajectory", "to_go", "segment", "discount"]


def two_parts(*pairs, **options):
    return group_of(*(made(pair, **options) for pair in pairs))


def by_part(credited):
    """The advantage of each part of each trajectory, each the same on all of its tokens."""
    found = []
    for one in credited:
        values = {}
        for sequence, advantages in zip(one.trajectory.sequences, one.advantages, strict=True):
            for bit, part, advantage in zip(sequence.mask, sequence.parts, advantages, strict=True):
                if bit:
                    values.setdefault(part, set()).add(advantage)
        assert all(len(same) == 1 for same in values.values())
        found.append([values[part].pop() for part in sorted(values)])
    return found


def credited(group, **changes):
    return credit_groups([group], shares_of(group), algorithm(**changes))


PAIRS = [(1, 1), (1, 0), (0, 1), (0, 0)]


class TestWhatATokenIsCreditedWith:
    def test_trajectory_gives_every_token_the_return(self):
        found = by_part(credited(two_parts(*PAIRS)))
        assert [value for pair in found for value in pair] == pytest.approx(
            [1.224742, 1.224742, 0, 0, 0, 0, -1.224742, -1.224742], abs=1e-6
        )

    def test_to_go_gives_a_part_what_comes_from_it_on(self):
        found = by_part(credited(two_parts(*PAIRS), credit="to_go", advantage_scale="none"))
        assert found == [pytest.approx(pair) for pair in ([0.5, 0.25], [0, -0.25], [0, 0.25], [-0.5, -0.25])]

    def test_segment_gives_a_part_its_own(self):
        found = by_part(credited(two_parts(*PAIRS), credit="segment", advantage_scale="none"))
        assert found == [pytest.approx(pair) for pair in ([0.25, 0.25], [0.25, -0.25], [-0.25, 0.25], [-0.25, -0.25])]

    def test_discount_gives_a_turn_what_comes_from_it_on_and_less_of_what_is_far(self):
        options = {"turns": [[1, 2], [1]], "context": "turns"}
        group = two_parts((1, 1), (0, 0), **options)
        found = credited(group, credit="discount", discount=0.9, advantage_scale="none")
        # 0.9 * 0.5 + 0.81 * 0.5, 0.5 + 0.9 * 0.5 and 0.5, each less half of itself
        assert found[0].advantages == (
            pytest.approx((0.4275,)),
            pytest.approx((0.475, 0.475)),
            pytest.approx((0.25,)),
        )

    def test_a_penalty_counts_in_its_part_and_for_all_that_led_to_it(self):
        guilty = made((0, 1), penalties=[[0.0], [-0.2]])
        group = group_of(guilty, made((0, 1)))
        for credit, first in (("to_go", -0.1), ("segment", 0.0)):
            found = by_part(credited(group, credit=credit, advantage_scale="none"))
            assert found == [pytest.approx([first, -0.1]), pytest.approx([-first, 0.1])]


class TestScale:
    def test_of_a_group_keeps_the_direction_of_the_return(self):
        plain = by_part(credited(two_parts(*PAIRS), credit="to_go", advantage_scale="none"))
        scaled = by_part(credited(two_parts(*PAIRS), credit="to_go"))
        factors = {
            round(a / b, 9) for one, two in zip(scaled, plain, strict=True) for a, b in zip(one, two, strict=True) if b
        }
        pooled = math.sqrt((SPREAD([1, 0.5, 0.5, 0]) ** 2 + SPREAD([0.5, 0, 0.5, 0]) ** 2) / 2)
        assert factors == {round(1 / (pooled + 1e-6), 9)}

    def test_of_a_group_does_not_blow_up_where_returns_tie_and_parts_do_not(self):
        found = by_part(credited(two_parts((1, 0), (0, 1)), credit="to_go"))
        assert found == [pytest.approx([0, -1], abs=1e-5), pytest.approx([0, 1], abs=1e-5)]

    def test_of_segments_is_the_std_of_each_part(self):
        found = by_part(credited(two_parts((1, 0.5), (0, 0), (0, 0)), credit="segment"))
        assert found[0] == pytest.approx([2 / 3 / SPREAD([1, 0, 0])] * 2, abs=1e-4)

    def test_of_a_batch_is_the_std_over_all_its_returns(self):
        groups = [returning(1, 0, number=0), returning(1, 1, number=1)]
        found = credit_groups(groups, {}, algorithm(advantage_scale="batch"))
        spread = SPREAD([1, 0, 1, 1]) + 1e-6
        assert [one.advantages[0][0] for one in found] == pytest.approx([0.5 / spread, -0.5 / spread, 0, 0])


@pytest.mark.parametrize("credit", WAYS)
@pytest.mark.parametrize("context", ["shared", "fresh", "turns"])
def test_given_tokens_have_no_advantage_and_sampled_ones_have(credit, context):
    group = two_parts((1, 1), (0, 0), turns=[[2, 1], [3]], context=context)
    for one in credited(group, credit=credit):
        for sequence, advantages in zip(one.trajectory.sequences, one.advantages, strict=True):
            assert [value != 0 for value in advantages] == [bit == 1 for bit in sequence.mask]


@pytest.mark.parametrize("credit", WAYS)
def test_where_everything_ties_nothing_is_taught(credit):
    for one in credited(two_parts((0.7, 0.1), (0.7, 0.1), (0.7, 0.1)), credit=credit):
        assert set(one.advantages[0]) == {0.0}


@given(
    rewards=st.lists(st.sampled_from([0, 0.5, 1]), min_size=2, max_size=6),
    scale=st.sampled_from(["group", "none", "batch"]),
)
def test_all_ways_are_one_for_a_single_part_of_a_single_turn(rewards, scale):
    group = group_of(*(made([reward]) for reward in rewards))
    found = [credited(group, credit=credit, advantage_scale=scale) for credit in WAYS]
    for other in found[1:]:
        for one, two in zip(found[0], other, strict=True):
            assert one.advantages[0] == pytest.approx(two.advantages[0], abs=1e-12)


@pytest.mark.parametrize("credit", WAYS)
def test_a_void_member_is_left_out_and_changes_nothing_for_the_others(credit):
    members = [made((1, 0)), made((0, 1)), made((1, 1))]
    whole = credited(group_of(*members), credit=credit)
    holed = credited(group_of(members[0], made((1, 0), is_void=True), *members[1:]), credit=credit)
    assert [one.advantages for one in holed] == [one.advantages for one in whole]


def test_turns_that_a_member_does_not_have_are_not_compared():
    group = group_of(made([1.0], turns=[[1, 1, 1]]), made([0.0], turns=[[1]]), made([0.0], turns=[[1, 1]]))
    found = credited(group, credit="discount", discount=1.0, advantage_scale="none")
    assert [[one.advantages[0][place] for place in range(0, len(one.advantages[0]), 2)] for one in found] == [
        pytest.approx([2 / 3, 0.5, 0.0]),
        pytest.approx([-1 / 3]),
        pytest.approx([-1 / 3, -0.5]),
    ]


class TestRoles:
    def group(self, *returns, role="first", number=0):
        plain = returning(*returns, number=number)
        members = [
            replace(one, parts=tuple(replace(part, role=role) for part in one.parts)) for one in plain.trajectories
        ]
        return replace(plain, trajectories=tuple(members))

    def test_the_baseline_is_that_of_the_step_s_start(self):
        rule = algorithm(baseline="role", advantage_scale="none")
        baselines = RoleBaselines(0.95, {"a/first": 0.25})
        found = credit_groups([self.group(1, 0)], {}, rule, baselines)
        assert [one.advantages[0][0] for one in found] == [0.75, -0.25]

    @pytest.mark.parametrize(("scale", "divisor"), [("none", 1), ("group", 1), ("batch", SPREAD([1, 0, 0.5]) + 1e-6)])
    def test_only_a_batch_divides(self, scale, divisor):
        rule = algorithm(baseline="role", advantage_scale=scale)
        found = credit_groups([self.group(1, 0, None, 0.5)], {}, rule, RoleBaselines(0.95))
        assert [one.advantages[0][0] for one in found] == pytest.approx([1 / divisor, 0, 0.5 / divisor])

    def test_what_a_step_tells_the_baselines_comes_in_order_and_without_voids(self):
        groups = [self.group(1, None, number=0), self.group(0, 0.5, role="second", number=1)]
        assert list(role_returns(groups, {}, algorithm())) == [("a/first", 1.0), ("a/second", 0.0), ("a/second", 0.5)]

    def test_to_go_has_a_baseline_for_what_is_still_to_come(self):
        group = two_parts((1, 0))
        found = list(role_returns([group], shares_of(group), algorithm(credit="to_go")))
        assert found == [("a/seat 0 + b/seat 0", 0.5), ("b/seat 0", 0.0)]

    def test_discounted_turns_have_the_baseline_of_the_parts_to_come(self):
        group = two_parts((1, 0), turns=[[1, 1], [1]])
        found = list(role_returns([group], shares_of(group), algorithm(credit="discount", discount=1.0)))
        assert found == [("a/seat 0 + b/seat 0", 0.5), ("a/seat 0 + b/seat 0", 0.5), ("b/seat 0", 0.0)]


def test_a_batch_of_nothing_has_no_advantages():
    assert credit_groups([], {}, algorithm()) == ()


SOLO = CountGame(goal=3, spread=4, seats=1)


def careless(request, context):
    """Plays by the rules but now and then forgets the answer tag."""
    number = sum(map(ord, repr(request.stream_key)))
    return "what?" if number % 4 == 0 else tagged(legal_listed(context)[number % 2])


@pytest.mark.parametrize("credit", WAYS)
@pytest.mark.parametrize("context", ["shared", "fresh"])
@pytest.mark.parametrize("thinking", ["off", "strip"])
def test_real_play_is_credited_to_its_tokens(credit, context, thinking):
    games = [counting("solo", SOLO, illegal_retries=1), counting("duel", illegal_retries=1)]
    tree = all_of(leaf("duel", thinking=thinking), leaf("solo", thinking=thinking), order="shuffled", context=context)
    groups = play(table_of(*games, policy=ScriptedPolicy(careless)), tree, groups=3, members=4)
    shares = {groups[0].task: part_shares(tree)}
    found = credit_groups(groups, shares, algorithm(credit=credit, advantage_scale="none"))
    assert len(found) == 12
    assert any(value for one in found for row in one.advantages for value in row)
    for group in groups:
        own = [one for one in found if one.trajectory.group == group.id]
        first = [
            next(value for bit, value in zip(one.trajectory.sequences[0].mask, one.advantages[0], strict=True) if bit)
            for one in own
        ]
        assert math.fsum(first) == pytest.approx(0, abs=1e-9)


def test_a_member_that_was_void_in_real_play_is_left_out():
    def fails(turn, rng):
        if rng.random() < 0.3:
            raise fault()
        return tagged(rng.choice(turn.legal))

    duel = counting("duel", opponents={"1": "saying"})
    table = table_of(duel, players=[SayingPlayer(fails)])
    groups = play(table, leaf("duel", max_turn_retries=0), groups=2, members=4)
    alive = [one for group in groups for one in group.trajectories if not one.is_void]
    assert 0 < len(alive) < 8
    assert [one.trajectory for one in credit_groups(groups, {}, algorithm())] == alive
