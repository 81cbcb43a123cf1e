from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gift_dsl.play.reward import (
    AGGREGATORS,
    PartResult,
    SuccessRates,
    by_difficulty,
    composite_return,
    success_rate,
    weighted,
)
from gift_dsl.records import PartRecord, Trajectory
from tests.play.scripted import leaf
from tests.play.test_deal import A, B, C, D, all_of, weighing

rewards = st.lists(st.floats(0, 1), min_size=1, max_size=6)


def worth(*values, finished=True):
    """Results of the parts a, b, c, …"""
    return {name: PartResult(value, finished) for name, value in zip("abcd", values, strict=False)}


@pytest.mark.parametrize(
    ("values", "mean", "product", "smallest", "weighing_2_1", "geometric"),
    [
        ((1, 1), 1, 1, 1, 1, 1),
        ((1, 0), 0.5, 0, 0, 0.666667, 0),
        ((0, 1), 0.5, 0, 0, 0.333333, 0),
        ((0, 0), 0, 0, 0, 0, 0),
        ((1, 0.5), 0.75, 0.5, 0.5, 0.833333, 0.707107),
        ((0.5, 0.5), 0.5, 0.25, 0.5, 0.5, 0.5),
        ((1, 1, 0, 0.5), 0.625, 0, 0, 0.7, 0),
        ((1, 1, 1, 0), 0.75, 0, 0, 0.8, 0),
    ],
)
def test_the_vectors_of_the_reference(values, mean, product, smallest, weighing_2_1, geometric):
    parts = (weighing(A, 2), B, C, D)[: len(values)]
    wanted = {"mean": mean, "product": product, "min": smallest, "weighted": weighing_2_1, "geometric": geometric}
    for reward, value in {**wanted, "sum": sum(values)}.items():
        assert composite_return(all_of(*parts, reward=reward), worth(*values)) == pytest.approx(value, abs=1e-6)


@given(values=rewards, shuffled=st.randoms())
def test_the_order_of_the_parts_does_not_change_the_return(values, shuffled):
    other = list(values)
    shuffled.shuffle(other)
    for aggregate in AGGREGATORS.values():
        assert aggregate(values) == pytest.approx(aggregate(other), abs=1e-12)


@given(values=rewards)
def test_a_return_lies_in_the_range_of_its_rewards(values):
    for name, aggregate in AGGREGATORS.items():
        low, high = (0, len(values)) if name == "sum" else (0, 1)
        assert low - 1e-12 <= aggregate(values) <= high + 1e-12


@given(values=rewards, place=st.integers(0, 5))
def test_a_strict_conjunction_is_lost_with_any_part(values, place):
    values[place % len(values)] = 0.0
    assert AGGREGATORS["product"](values) == AGGREGATORS["min"](values) == AGGREGATORS["geometric"](values) == 0


@given(value=st.floats(0, 1))
@pytest.mark.parametrize("reward", ["mean", "sum", "weighted", "product", "min", "geometric", "difficulty"])
def test_the_return_of_one_part_is_its_reward(reward, value):
    tree = all_of(weighing(A, 3), reward=reward)
    assert composite_return(tree, worth(value)) == pytest.approx(value, abs=1e-12)
    assert composite_return(A, worth(value)) == value


def test_weights_of_zero_leave_the_plain_mean():
    assert weighted([1.0, 0.0], [0.0, 0.0]) == 0.5


@pytest.mark.parametrize(
    ("values", "expected"),
    [((1, 1), 0.625), ((1, 0), 0.125), ((0, 1), 0.5), ((1, 0.5), 0.375), ((0.5, 1), 0.5625), ((0, 0), 0)],
)
def test_difficulty_scales_every_positive_reward(values, expected):
    """Success rates 0.8 and 0.2. The reference leaves draws as they are: 0.75 for the last but one."""
    assert by_difficulty(values, [0.8, 0.2]) == pytest.approx(expected)
    tree = all_of(A, B, reward="difficulty")
    assert composite_return(tree, worth(*values), rates={"a": 0.8, "b": 0.2}) == pytest.approx(expected)


def test_no_part_is_scaled_below_a_tenth():
    assert by_difficulty([1, 0], [0.999, 0.0]) == pytest.approx(0.05)
    assert by_difficulty([1, 1], [1.0, 1.0]) == 1.0


def test_the_difficulty_of_a_composition_is_the_mean_of_its_games():
    tree = all_of(all_of(A, B), C, reward="difficulty")
    assert composite_return(tree, worth(1, 1, 0), rates={"a": 0.9, "b": 0.7, "c": 0.2}) == pytest.approx(0.125)


def test_parts_without_a_rate_are_equally_hard():
    assert composite_return(all_of(A, B, reward="difficulty"), worth(1, 0)) == 0.5


def test_compositions_are_aggregated_from_the_inside():
    tree = all_of(all_of(A, B, reward="product"), C)
    assert composite_return(tree, worth(1, 0, 1)) == 0.5
    assert composite_return(tree, worth(1, 1, 0)) == 0.5


def test_the_gate_pays_only_when_the_last_part_was_finished():
    tree = all_of(A, B, gate="complete")
    results = {"a": PartResult(1.0, True), "b": PartResult(0.0, False)}
    assert composite_return(tree, results) == 0.0
    assert composite_return(all_of(A, B), results) == 0.5
    assert composite_return(tree, {"a": PartResult(1.0, False), "b": PartResult(0.0, True)}) == 0.5
    assert composite_return(all_of(C, all_of(A, B), gate="complete"), {**results, "c": PartResult(1.0, True)}) == 0.0


def test_weights_are_those_of_the_step():
    tree = all_of(weighing(A, (0, 1.0), (10, 3.0)), B, reward="weighted")
    assert composite_return(tree, worth(1, 0), step=10) == 0.75


@pytest.mark.parametrize(
    ("played", "won", "rate"),
    [(0, 0, 0.5), (4, 3, 0.666667), (4, 4, 0.833333), (8, 2, 0.3), (10, 10, 0.916667), (500, 450, 0.898406)],
)
def test_a_rate_counts_one_more_win_and_one_more_loss(played, won, rate):
    assert success_rate(played, won) == pytest.approx(rate, abs=1e-6)


def trajectory(*outcomes):
    parts = tuple(PartRecord("a", "a", "key", 0, "", outcome, 0.0) for outcome in outcomes)
    return Trajectory("e", "g", 0, "a", (), parts, (), 0.0, 0.0)


def test_rates_follow_the_latest_500_plays():
    rates = SuccessRates().updated([trajectory("success", "loss", "draw", "bad_format")])
    assert rates.rates == {"a": pytest.approx(2 / 6)}
    late = rates.updated([trajectory(*["success"] * 499)])
    assert late.rates == {"a": pytest.approx(500 / 502)}
    assert math.isclose(SuccessRates(late.latest).rates["a"], late.rates["a"])


def test_plays_without_a_result_do_not_change_a_rate():
    rates = SuccessRates().updated([trajectory("success", "void", "unplayed")])
    assert rates.rates == {"a": pytest.approx(2 / 3)}
    assert leaf("a").label in rates.latest
