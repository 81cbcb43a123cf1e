from __future__ import annotations

import random
import statistics
from collections import Counter
from dataclasses import replace
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gift_dsl.play.reward import composite_return
from gift_dsl.train.control import controlled
from gift_dsl.train.outcomes import part_shares, part_values
from tests.play.test_deal import A, B, all_of
from tests.train.made import group_of, made

TREE = all_of(A, B)
MEAN = partial(composite_return, TREE)


def arm(group, reward, seed=0, aggregate=MEAN):
    return controlled(group, reward, aggregate, random.Random(seed))


def ending(trajectory, *ends):
    turns = tuple(replace(turn, end=end) for turn, end in zip(trajectory.turns, ends, strict=True))
    return replace(trajectory, turns=turns)


def returns(group):
    return [one.raw_return for one in group.trajectories]


class TestFormatOnly:
    def test_a_lost_game_with_readable_answers_is_worth_all(self):
        (one,) = arm(group_of(made((0.0, 0.0))), "format_only").trajectories
        assert (one.raw_return, [part.reward for part in one.parts]) == (1.0, [1.0, 1.0])

    def test_a_won_part_is_worth_the_share_of_readable_turns(self):
        won = ending(made((1.0, 1.0), turns=[[1, 1], [1, 1]]), "bad_format", "action", "illegal_action", "truncated")
        (one,) = arm(group_of(won), "format_only").trajectories
        assert [part.reward for part in one.parts] == [0.5, 0.5]

    def test_a_part_in_which_the_policy_had_no_turn_is_worth_one(self):
        assert returns(arm(group_of(made((0.0, 0.0), turns=[[1], []])), "format_only")) == [1.0]

    def test_penalties_are_left_out(self):
        fined = made((1.0, 1.0), penalties=[[-0.1], [0.0]])
        (one,) = arm(group_of(fined), "format_only").trajectories
        assert (one.penalty, one.raw_return) == (0.0, 0.75 - 0.25)
        assert {turn.penalty for turn in one.turns} == {0.0}

    def test_the_composition_still_decides(self):
        tree = all_of(A, B, reward="product")
        group = group_of(ending(made((1.0, 1.0)), "bad_format", "action"))
        assert returns(arm(group, "format_only", aggregate=partial(composite_return, tree))) == [0.0]


class TestRandom:
    group = group_of(*[made((1.0, 1.0))] * 200)

    def test_every_part_of_every_member_tosses_its_own_coin(self):
        found = arm(self.group, "random")
        tosses = [part.reward for one in found.trajectories for part in one.parts]
        assert set(tosses) == {0.0, 1.0}
        assert statistics.fmean(tosses) == pytest.approx(0.5, abs=0.1)
        assert set(returns(found)) == {0.0, 0.5, 1.0}

    def test_one_stream_tosses_alike(self):
        assert arm(self.group, "random", seed=1) == arm(self.group, "random", seed=1)
        assert arm(self.group, "random", seed=1) != arm(self.group, "random", seed=2)


class TestShuffled:
    members = (
        made((1.0, 0.0)),
        made((0.0, 0.0), penalties=[[-0.1], [0.0]]),
        made((1.0, 1.0)),
        made((0.0, 0.5), is_void=True),
    )

    @given(seed=st.integers(0, 1000))
    def test_the_returns_are_the_same_ones(self, seed):
        group = group_of(*self.members)
        found = arm(group, "shuffled", seed)
        assert Counter(returns(found)) == Counter(returns(group))
        assert found.trajectories[3] == group.trajectories[3]

    @given(seed=st.integers(0, 1000))
    def test_what_a_return_consists_of_goes_with_it(self, seed):
        for one in arm(group_of(*self.members), "shuffled", seed).trajectories[:3]:
            assert sum(part_values(one, part_shares(TREE))) == pytest.approx(one.raw_return)

    def test_tokens_and_turns_stay_where_they_are(self):
        group = group_of(*self.members)
        found = [arm(group, "shuffled", seed) for seed in range(10)]
        for other in found:
            for one, two in zip(other.trajectories, group.trajectories, strict=True):
                assert (one.sequences, one.member, one.episode) == (two.sequences, two.member, two.episode)
        assert len({tuple(returns(other)) for other in found}) > 1


@pytest.mark.parametrize("reward", ["format_only", "random", "shuffled"])
def test_a_void_member_stays_void(reward):
    found = arm(group_of(made((1.0, 0.0)), made((1.0, 0.0), is_void=True)), reward)
    assert [one.is_void for one in found.trajectories] == [False, True]


@pytest.mark.parametrize("reward", ["format_only", "random", "shuffled"])
def test_what_happened_is_not_rewritten(reward):
    group = group_of(made((1.0, 0.0)), made((0.0, 0.0)))
    for one, two in zip(arm(group, reward).trajectories, group.trajectories, strict=True):
        assert [part.outcome for part in one.parts] == [part.outcome for part in two.parts]
