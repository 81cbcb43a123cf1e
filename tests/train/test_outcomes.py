from __future__ import annotations

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gift_dsl.plan import leaves
from gift_dsl.play.reward import PartResult, composite_return
from gift_dsl.train.outcomes import part_shares, part_values, returns_to_go, turn_values
from tests.play.scripted import CountGame, ScriptedPolicy, counting, leaf, play, table_of, tagged
from tests.play.test_deal import A, B, C, D, all_of, weighing
from tests.train.made import made

PARTS = [A, B, C, D]
SUMS = ["mean", "sum", "weighted", "difficulty"]


@st.composite
def sums(draw):
    """Compositions, one inside another, whose return is a sum over their parts."""
    count = draw(st.integers(1, 4))
    parts = [weighing(part, draw(st.floats(0, 3))) for part in PARTS[:count]]
    if draw(st.booleans()):
        cut = draw(st.integers(0, count - 1))
        inner = weighing(all_of(*parts[cut:], reward=draw(st.sampled_from(SUMS))), draw(st.floats(0, 3)))
        parts = [*parts[:cut], inner]
    return all_of(*parts, reward=draw(st.sampled_from(SUMS)))


@given(tree=sums(), rewards=st.lists(st.floats(0, 1), min_size=4, max_size=4), rate=st.floats(0, 1))
def test_a_return_is_the_sum_of_what_its_parts_add(tree, rewards, rate):
    labels = [part.label for part in leaves(tree)]
    results = {label: PartResult(reward, True) for label, reward in zip(labels, rewards, strict=False)}
    rates = {labels[0]: rate}
    shares = part_shares(tree, rates=rates)
    whole = math.fsum(shares[label] * results[label].reward for label in labels)
    assert whole == pytest.approx(composite_return(tree, results, rates=rates), abs=1e-9)


def test_shares_by_aggregation():
    assert part_shares(all_of(A, B)) == {"a": 0.5, "b": 0.5}
    assert part_shares(all_of(A, B, reward="sum")) == {"a": 1.0, "b": 1.0}
    assert part_shares(all_of(weighing(A, 3), B, reward="weighted")) == {"a": 0.75, "b": 0.25}
    assert part_shares(all_of(A, B, reward="difficulty"), rates={"a": 0.8, "b": 0.2}) == pytest.approx(
        {"a": 0.125, "b": 0.5}
    )
    assert part_shares(A) == {"a": 1.0}


def test_a_weight_that_changes_is_that_of_the_step():
    tree = all_of(weighing(A, (0, 0.0), (10, 1.0)), B, reward="weighted")
    assert part_shares(tree, step=0) == {"a": 0.0, "b": 1.0}
    assert part_shares(tree, step=10) == {"a": 0.5, "b": 0.5}


@pytest.mark.parametrize(
    "tree",
    [all_of(A, B, reward=reward) for reward in ("product", "min", "geometric")]
    + [all_of(A, B, gate="complete"), all_of(A, all_of(B, C, reward="min"))],
    ids=["product", "min", "geometric", "gate", "inner"],
)
def test_a_conjunction_has_no_shares(tree):
    with pytest.raises(ValueError, match="only under mean, sum, weighted or difficulty"):
        part_shares(tree)


HALVES = {"a": 0.5, "b": 0.5}


def test_a_part_adds_its_share_and_all_of_its_penalties():
    one = made([1.0, 0.5], penalties=[[-0.1], [0.0]])
    assert part_values(one, HALVES) == pytest.approx((0.4, 0.25))


def test_shares_of_something_else_are_a_bug():
    with pytest.raises(ValueError, match="add up to"):
        part_values(made([1.0, 0.5]), {"a": 1.0, "b": 1.0})


def test_a_void_trajectory_has_no_values():
    with pytest.raises(ValueError, match="void"):
        part_values(made([1.0, 0.0], is_void=True), HALVES)


def test_a_turn_earns_its_penalty_and_the_last_of_a_part_what_the_part_is_worth():
    one = made([1.0, 1.0], turns=[[2, 1], [3]], penalties=[[-0.1, 0.0], [0.0]])
    assert turn_values(one, HALVES) == pytest.approx((-0.1, 0.5, 0.5))


def test_a_part_without_a_turn_counts_for_the_turn_before_it_or_the_first():
    assert turn_values(made([1.0, 1.0], turns=[[2, 1], []]), HALVES) == pytest.approx((0.0, 1.0))
    assert turn_values(made([1.0, 1.0], turns=[[], [2, 1]]), HALVES) == pytest.approx((0.5, 0.5))


def test_a_penalty_that_no_turn_is_known_for_counts_at_the_end_of_its_part():
    one = made([1.0], turns=[[2, 2]], penalties=[[-0.1, 0.0]])
    forgotten = replace(one, turns=tuple(replace(turn, penalty=0.0) for turn in one.turns))
    assert turn_values(forgotten, {"a": 1.0}) == pytest.approx((0.0, 0.9))


def test_a_policy_that_never_spoke_has_no_turns():
    assert turn_values(made([1.0], turns=[[]]), {"a": 1.0}) == ()


def test_in_real_play_a_penalty_falls_on_the_turn_that_caused_it():
    said = iter([tagged("1"), "what?", tagged("9"), tagged("2")])
    policy = ScriptedPolicy(lambda request, context: next(said))
    solo = counting("solo", CountGame(goal=3, spread=0, seats=1), illegal_retries=2, illegal_penalty=-0.2)
    (group,) = play(table_of(solo, policy=policy), leaf("solo"), members=1)
    (one,) = group.trajectories
    assert [turn.penalty for turn in one.turns] == [0.0, -0.1, -0.2, 0.0]
    assert one.penalty == pytest.approx(-0.3)
    assert turn_values(one, part_shares(leaf("solo"))) == pytest.approx((0.0, -0.1, -0.2, 1.0))


@given(lengths=st.lists(st.lists(st.integers(1, 3), max_size=3), min_size=2, max_size=2), data=st.data())
def test_turns_share_the_whole_return_among_them(lengths, data):
    fines = [[data.draw(st.sampled_from([0.0, -0.1])) for _ in own] for own in lengths]
    one = made([data.draw(st.sampled_from([0.0, 0.5, 1.0])) for _ in lengths], turns=lengths, penalties=fines)
    earned = turn_values(one, HALVES)
    assert len(earned) == sum(map(len, lengths))
    if earned:
        assert math.fsum(earned) == pytest.approx(one.raw_return)


class TestReturnsToGo:
    @pytest.mark.parametrize(
        ("values", "discount", "wanted"),
        [([0, 0, 1], 0.95, [0.9025, 0.95, 1]), ([-0.1, 0, 1], 1, [0.9, 1, 1]), ([-0.1, 0, 1], 0.9, [0.71, 0.9, 1])],
    )
    def test_the_vectors_of_section_8(self, values, discount, wanted):
        assert returns_to_go(values, discount) == pytest.approx(wanted)

    @given(values=st.lists(st.floats(-1, 1), min_size=1, max_size=8), discount=st.floats(0, 1))
    def test_each_is_its_own_value_and_what_the_next_is_worth(self, values, discount):
        found = returns_to_go(values, discount)
        for here, value, later in zip(found, values, [*found[1:], 0.0], strict=True):
            assert here == value + discount * later
