from __future__ import annotations

import math
import statistics
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gift_dsl.train.baseline import RoleBaselines
from gift_dsl.train.credit import credit_groups
from gift_dsl.train.select import (
    best_starts,
    is_viable,
    missing_groups,
    num_kept,
    ranked,
    return_std,
    select,
    starts_of,
    uncertainty,
)
from tests.play.scripted import CountGame, counting, leaf, play, table_of
from tests.train.made import algorithm, group_of, made, returning

EIGHT = [
    (1, 0, 0, 1),
    (1, 1, 1, 1),
    (1, 0, 0, 0),
    (0, 0, 0, 0),
    (1, 0.5, 0.5, 0),
    (0.9, -0.1, 0, 1),
    (0, 0, 0, 1),
    (1, 1, 0, 0),
]
"""The groups of the reference, section 3.4."""


def groups_of(rows, labels="a" * 20):
    return [returning(*row, number=number, label=labels[number]) for number, row in enumerate(rows)]


def numbers(groups):
    return [int(group.id.split("/")[2]) for group in groups]


STDS = tuple(return_std(group) for group in groups_of(EIGHT))
TWO_TASKS = ((1, 0), (0.9, 0), (0.8, 0), (0.7, 0), (0.3, 0), (0.2, 0), (0.1, 0), (0, 0))


class TestVectorsOfTheReference:
    def test_the_std_of_a_group(self):
        assert list(STDS) == pytest.approx([0.577350, 0, 0.5, 0, 0.408248, 0.580230, 0.5, 0.577350], abs=1e-6)

    def test_the_order_is_stable(self):
        assert ranked(STDS, drop_zero=False) == [5, 0, 7, 2, 6, 4, 1, 3]
        assert ranked(STDS, drop_zero=True) == [5, 0, 7, 2, 6, 4]

    def test_a_quarter_is_kept(self):
        assert best_starts(STDS, [""] * 8, keep=0.25, drop_zero=True, most=8) == [5, 0]

    def test_the_number_kept(self):
        assert [num_kept(0.25, played) for played in (1, 2, 3, 4, 6, 8, 12, 16)] == [1, 1, 1, 1, 1, 2, 3, 4]

    def test_sixteen_members_with_k_successes(self):
        stds = [return_std(returning(*[1] * k, *[0] * (16 - k))) for k in range(1, 9)]
        assert stds == pytest.approx([0.25, 0.341565, 0.403113, 0.447214, 0.478714, 0.5, 0.512348, 0.516398], abs=1e-6)

    def test_groups_whose_parts_succeed_together_differ_more(self):
        together, apart = [1] * 8 + [0] * 8, [1] * 4 + [0.5] * 8 + [0] * 4
        assert return_std(returning(*together)) == pytest.approx(0.516398, abs=1e-6)
        assert return_std(returning(*apart)) == pytest.approx(0.365148, abs=1e-6)


def test_selection_keeps_the_order_of_play():
    found = select(groups_of(EIGHT), algorithm("starpo_s"), most=2)
    assert numbers(found.kept) == [0, 5]


def test_returns_are_raw_and_penalties_count():
    calm = group_of(made([1.0]), made([0.5]), number=0)
    fined = group_of(made([1.0], penalties=[[-0.1]]), made([0.0]), number=1)
    guilty = group_of(made([1.0]), made([0.0], penalties=[[-0.1]]), number=2)
    assert return_std(guilty) > return_std(fined)
    found = select([calm, fined, guilty], algorithm("starpo_s"), most=2)
    assert numbers(found.kept) == [2]


def test_equal_returns_are_kept_only_where_nothing_forbids_it():
    tied = groups_of([(1, 1), (0, 0)])
    assert numbers(select(tied, algorithm("gift_v1"), most=1).kept) == [0]
    assert numbers(select(tied, algorithm("dr_grpo"), most=2).kept) == [0, 1]
    assert select(tied, algorithm("starpo_s"), most=1).kept == ()
    assert select(tied, algorithm("dapo"), most=2).kept == ()


def test_beside_a_running_mean_equal_returns_teach_and_are_not_dropped():
    """SPIRAL drops advantages of 0: beside a mean of another number those of equal returns are none."""
    tied = groups_of([(1, 1), (0, 0)])
    rule = algorithm("starpo_s", baseline="role", keep=1.0)
    found = select(tied, rule, most=2)
    assert numbers(found.kept) == [0, 1]
    seen = RoleBaselines(0.95, {"a/seat 0": 0.5})
    credited = credit_groups(found.kept, {}, rule, seen)
    assert [max(one.advantages[0], key=abs) for one in credited] == [0.5, 0.5, -0.5, -0.5]
    assert select(tied, algorithm("dapo", baseline="role"), most=2).kept == (), "it asks for unequal ones by name"


class TestScope:
    groups = tuple(groups_of(TWO_TASKS, "aaaabbbb"))

    def test_globally_one_task_may_take_everything(self):
        found = select(self.groups, algorithm("starpo_s"), most=2)
        assert numbers(found.kept) == [0, 1]
        assert found.num_kept == {"a": 2}

    def test_per_task_each_keeps_its_share(self):
        found = select(self.groups, algorithm("gift"), most=2)
        assert numbers(found.kept) == [0, 4]
        assert found.num_kept == {"a": 1, "b": 1}
        assert found.num_played == {"a": 4, "b": 4}
        assert found.num_tied == {"b": 1}

    def test_too_many_tasks_for_the_rows_keep_the_best_of_each_first(self):
        rows = [(1, 0), (0.9, 0), (0.8, 0), (0.7, 0), (0.1, 0)]
        found = select(groups_of(rows, "aaaab"), algorithm("gift", keep=0.5), most=2)
        assert numbers(found.kept) == [0, 4]


def test_a_group_with_fewer_than_half_its_members_goes():
    groups = groups_of([(1, 0, None, None, None), (1, 0, 0.5, None, None), (None, None), (1, None)])
    assert [is_viable(group) for group in groups] == [False, True, False, True]
    found = select(groups, algorithm("dr_grpo"), most=4)
    assert numbers(found.kept) == [1, 3]
    assert (found.num_void, found.num_tied) == ({"a": 2}, {"a": 1})


def test_a_void_group_still_counts_as_played():
    groups = groups_of([(1, 0), (None, None), (None, None), (None, None), (0.5, 0), (1, 0.1), (0, 0), (0.2, 0)])
    assert len(select(groups, algorithm("starpo_s"), most=2).kept) == 2


def test_a_nested_group_counts_for_each_of_its_games():
    found = select([group_of(made((1, 0)), made((0, 0)))], algorithm("starpo_s"), most=1)
    assert found.num_kept == {"a": 1, "b": 1}


@given(
    rows=st.lists(st.lists(st.sampled_from([0, 0.5, 1, 0.1 + 0.2, 0.3, None]), min_size=2, max_size=5), max_size=10),
    preset=st.sampled_from(["gift", "gift_v1", "starpo_s", "dapo", "dr_grpo"]),
    labels=st.text("abc", min_size=10, max_size=10),
    most=st.integers(1, 10),
)
def test_what_is_kept_is_viable_in_order_and_fits(rows, preset, labels, most):
    rule, groups = algorithm(preset), groups_of(rows, labels)
    found = select(groups, rule, most)
    assert numbers(found.kept) == sorted(set(numbers(found.kept)))
    assert len(found.kept) <= most
    assert all(is_viable(group) for group in found.kept)
    if rule.drop_zero:
        assert all(return_std(group) > 1e-6 for group in found.kept)
    if groups and all(map(is_viable, groups)) and not rule.drop_zero:
        assert found.kept


def test_two_ways_of_summing_one_return_tie():
    stds = [return_std(returning(0.3, 0)), return_std(returning(0.1 + 0.2, 0))]
    assert stds[0] != stds[1]
    assert ranked(stds, drop_zero=True) == [0, 1]


class TestDynamicSampling:
    dapo = algorithm("dapo", groups_per_step=8, max_refills=3)

    def test_of_three_groups_the_one_that_differs_is_kept(self):
        groups = groups_of([(1, 1), (1, 0), (0, 0)])
        assert numbers(select(groups, self.dapo, most=3).kept) == [1]

    def test_enough_is_enough(self):
        assert missing_groups(groups_of([(1, 0)] * 8), self.dapo, most=8, refills=0) == 0

    def test_the_gap_is_played_at_the_rate_seen_so_far(self):
        assert missing_groups(groups_of([(1, 0)] * 5 + [(1, 1)] * 3), self.dapo, most=8, refills=0) == 5

    def test_a_refill_is_at_most_one_step(self):
        assert missing_groups(groups_of([(1, 1)] * 8), self.dapo, most=8, refills=0) == 8

    def test_refills_are_bounded_and_then_what_there_is_is_trained_on(self):
        groups = groups_of([(1, 0), (1, 1)])
        assert missing_groups(groups, self.dapo, most=8, refills=2) > 0
        assert missing_groups(groups, self.dapo, most=8, refills=3) == 0
        assert numbers(select(groups, self.dapo, most=8).kept) == [0]

    def test_a_surplus_goes_in_the_order_of_play_not_by_rank(self):
        assert numbers(select(groups_of([(0.1, 0), (1, 1), (0.2, 0), (1, 0)]), self.dapo, most=2).kept) == [0, 2]

    def test_without_it_nothing_is_played_again(self):
        assert missing_groups(groups_of([(1, 1)] * 8), algorithm("gift"), most=8, refills=0) == 0

    @given(useful=st.integers(0, 8), tied=st.integers(0, 8))
    def test_as_long_as_some_are_missing_some_are_played(self, useful, tied):
        groups = groups_of([(1, 0)] * useful + [(1, 1)] * tied)
        more = missing_groups(groups, self.dapo, most=8, refills=0)
        assert (more == 0) == (useful >= 8)
        assert more >= min(8, 8 - useful)


class TestSeveralTrainedSeats:
    def by_role(self, goal=5):
        duel = counting("duel", CountGame(goal=goal), trainee_seat="all", opponents={})
        return play(table_of(duel), leaf("duel"), groups=3, members=4)

    def test_the_groups_of_all_roles_of_one_start_stand_together(self):
        groups = self.by_role()
        assert len(groups) == 6
        assert starts_of(groups) == [tuple(groups[:2]), tuple(groups[2:4]), tuple(groups[4:])]

    def test_single_groups_are_starts_of_their_own(self):
        groups = play(table_of(counting("solo", CountGame(seats=1))), leaf("solo"), groups=3, members=2)
        assert starts_of(groups) == [(group,) for group in groups]

    def test_a_start_is_kept_whole(self):
        rule = algorithm("dr_grpo", groups_per_step=3)
        assert len(select(self.by_role(), rule, most=2).kept) == 4

    def test_roles_are_pooled_and_what_lies_between_them_does_not_count(self):
        winners, losers = returning(1, 1, 1, 0.5), returning(0, 0, 0, 0.5, 0.5, 0.5)
        pooled = math.sqrt(
            (4 * statistics.variance([1, 1, 1, 0.5]) + 6 * statistics.variance([0] * 3 + [0.5] * 3)) / 10
        )
        assert uncertainty((winners, losers)) == pytest.approx(pooled)
        assert uncertainty((returning(1, 1), returning(0, 0))) == 0.0

    def test_a_role_whose_members_are_void_does_not_count(self):
        fine, void = returning(1, 0), returning(None, None)
        assert uncertainty((fine, void)) == return_std(fine)
        assert uncertainty((void,)) is None
        start = (replace(fine, id="s/0/0/x"), replace(void, id="s/0/0/y"))
        named = [
            replace(
                group,
                trajectories=tuple(
                    replace(one, episode=f"s/0/0/{index}/{seat}") for index, one in enumerate(group.trajectories)
                ),
            )
            for seat, group in enumerate(start)
        ]
        assert select(named, algorithm("starpo_s"), most=1).kept == (named[0],)
