from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gift_dsl.train.outcomes import part_values, turn_values
from gift_dsl.train.overlong import is_cut, soft_penalty, with_soft_penalty
from tests.train.made import made

LIMITS = {"a": 100, "b": 100}


@pytest.mark.parametrize(
    ("tokens", "limit", "cache", "penalty"),
    [
        (80, 100, 20, 0),
        (85, 100, 20, -0.25),
        (90, 100, 20, -0.5),
        (100, 100, 20, -1),
        (101, 100, 20, -1),
        (16384, 20480, 4096, 0),
        (17408, 20480, 4096, -0.25),
        (18432, 20480, 4096, -0.5),
        (20480, 20480, 4096, -1),
    ],
)
def test_the_vectors_of_section_2(tokens, limit, cache, penalty):
    assert soft_penalty(tokens, limit, cache) == pytest.approx(penalty)


@given(tokens=st.integers(0, 300), limit=st.integers(1, 200), cache=st.integers(1, 400))
def test_it_grows_with_length_from_nothing_to_one(tokens, limit, cache):
    assert -1 <= soft_penalty(tokens + 1, limit, cache) <= soft_penalty(tokens, limit, cache) <= 0
    assert soft_penalty(0, limit, cache) == 0
    assert soft_penalty(limit, limit, cache) == -1


def cut(trajectory, number):
    turns = list(trajectory.turns)
    turns[number] = replace(turns[number], end="truncated")
    parts = list(trajectory.parts)
    index = next(place for place, part in enumerate(parts) if part.label == turns[number].part)
    parts[index] = replace(parts[index], truncated=1)
    return replace(trajectory, turns=tuple(turns), parts=tuple(parts))


def test_one_turn_costs_what_dapo_says():
    assert with_soft_penalty(made([1.0], turns=[[90]]), LIMITS, 20).raw_return == pytest.approx(0.5)


def test_a_part_costs_as_its_longest_turn_and_the_return_their_mean():
    one = with_soft_penalty(made([1.0, 1.0], turns=[[85, 90, 1], [2]]), LIMITS, 20)
    assert one.penalty == pytest.approx(-0.25)
    assert part_values(one, {"a": 0.5, "b": 0.5}) == pytest.approx((0.25, 0.5))
    assert turn_values(one, {"a": 0.5, "b": 0.5}) == pytest.approx((0, -0.25, 0.5, 0.5))


def test_it_comes_on_top_of_other_penalties():
    one = with_soft_penalty(made([1.0], turns=[[90]], penalties=[[-0.1]]), LIMITS, 20)
    assert (one.penalty, one.parts[0].penalty, one.turns[0].penalty) == pytest.approx((-0.6, -0.6, -0.6))


def test_a_turn_that_was_cut_counts_as_one_at_its_limit():
    one = cut(made([1.0], turns=[[3]]), 0)
    assert with_soft_penalty(one, LIMITS, 20).raw_return == pytest.approx(0.0)


@pytest.mark.parametrize("one", [made([1.0], turns=[[3]]), made([1.0], turns=[[]]), made([1.0, 0.0], is_void=True)])
def test_where_nothing_is_long_or_nothing_counts_all_stays_as_it_was(one):
    assert with_soft_penalty(one, LIMITS, 20) == one


def test_what_an_opponent_says_may_be_long():
    one = made([1.0])
    loud = replace(one.turns[0], seat=1, tokens=100, sequence=None, span=None)
    heard = replace(one, turns=(*one.turns, loud))
    assert with_soft_penalty(heard, LIMITS, 20) == heard


def test_cut_is_a_trajectory_with_a_cut_turn_in_any_part():
    assert not is_cut(made([1.0, 1.0]))
    assert is_cut(cut(made([1.0, 1.0]), 1))
