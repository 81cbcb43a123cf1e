from __future__ import annotations

import math
import statistics
from itertools import pairwise

import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st

from gift_dsl.train.advantage import (
    batch_std,
    centred,
    group_relative_advantages,
    group_std,
    pooled_std,
    ties,
)

returns = st.floats(-2, 2)
groups = st.lists(returns, min_size=2, max_size=16)
NAN = math.nan


def advantages(values, **options):
    return group_relative_advantages(torch.tensor([values], dtype=torch.float64), **options)[0].tolist()


def less_mean(values):
    return centred(torch.tensor([values], dtype=torch.float64))[0].tolist()


class TestVectorsOfTheReference:
    @pytest.mark.parametrize(
        ("values", "ours", "with_eps_of_trl", "no_std"),
        [
            ([1, 0, 0, 1], [0.866024, -0.866024, -0.866024, 0.866024], [0.865875, -0.865875], [0.5, -0.5, -0.5, 0.5]),
            ([1, 0.5, 0.5, 0], [1.224742, 0, 0, -1.224742], [1.224445, 0], [0.5, 0, 0, -0.5]),
            ([1, 0, 0, 0], [1.499997, -0.499999, -0.499999, -0.499999], [1.4997, -0.4999], [0.75, -0.25, -0.25, -0.25]),
            ([1, 1, 1, 1], [0, 0, 0, 0], [0, 0], [0, 0, 0, 0]),
            (
                [0.9, -0.1, 0, 1],
                [0.775553, -0.947899, -0.775553, 0.947899],
                [0.775421, -0.947737],
                [0.45, -0.55, -0.45, 0.55],
            ),
            ([1, *[0] * 15], [3.749985, *[-0.249999] * 15], [3.748501, -0.249900], [0.9375, *[-0.0625] * 15]),
        ],
    )
    def test_of_section_1_2(self, values, ours, with_eps_of_trl, no_std):
        assert advantages(values) == pytest.approx(ours, abs=1e-6)
        assert advantages(values, eps=1e-4)[:2] == pytest.approx(with_eps_of_trl, abs=1e-6)
        assert less_mean(values) == pytest.approx(no_std, abs=1e-6)

    def test_of_leave_one_out(self):
        ours = [4 / 3 * value for value in less_mean([1, 0, 0, 1])]
        assert ours == pytest.approx([0.666667, -0.666667, -0.666667, 0.666667], abs=1e-6)

    def test_of_nested_groups(self):
        both, one, other, none = (1, 1), (1, 0), (0, 1), (0, 0)
        means = [sum(pair) / 2 for pair in (both, one, other, none)]
        products = [math.prod(pair) for pair in (both, one, other, none)]
        assert advantages(means) == pytest.approx([1.224742, 0, 0, -1.224742], abs=1e-6)
        assert advantages(products) == pytest.approx([1.499997, -0.499999, -0.499999, -0.499999], abs=1e-6)

    def test_of_a_baseline_over_the_batch_by_role(self):
        assert less_mean([1, 1, 0, 1]) == pytest.approx([0.25, 0.25, -0.75, 0.25])


@given(values=groups)
def test_without_a_std_advantages_are_those_of_leave_one_out_up_to_a_factor(values):
    size = len(values)
    for index, ours in enumerate(less_mean(values)):
        others = [*values[:index], *values[index + 1 :]]
        assert ours * size / (size - 1) == pytest.approx(values[index] - statistics.fmean(others), abs=1e-9)


@given(value=returns, size=st.integers(1, 32), width=st.sampled_from([torch.float32, torch.float64]))
def test_a_group_whose_episodes_tie_teaches_nothing(value, size, width):
    tied = torch.full((1, size), value, dtype=width)
    assert torch.equal(group_relative_advantages(tied), torch.zeros(1, size, dtype=width))
    assert group_std(tied).item() == 0.0


def test_what_single_precision_would_have_said_of_a_tie():
    tied = torch.full((1, 16), 0.7)
    assert (tied - tied.mean()).abs().max() > 0
    assert torch.equal(group_relative_advantages(tied), torch.zeros(1, 16))


@given(values=groups)
def test_advantages_add_up_to_nothing_and_keep_the_order(values):
    ours = advantages(values)
    assert sum(ours) == pytest.approx(0, abs=1e-6)
    for (one, mine), (other, yours) in pairwise(zip(values, ours, strict=True)):
        assert mine <= yours if one < other else mine >= yours


@given(values=groups, shift=st.floats(-1, 1), factor=st.floats(0.5, 2))
def test_advantages_do_not_know_where_returns_begin_and_in_what_unit_they_are(values, shift, factor):
    assume(statistics.stdev(values) > 0.01)
    moved = [shift + factor * value for value in values]
    assert advantages(moved) == pytest.approx(advantages(values), abs=1e-3)


@given(values=groups, voids=st.lists(st.integers(0, 16), max_size=6), data=st.data())
def test_void_members_leave_mean_and_std_and_get_nothing(values, voids, data):
    mixed, places = list(values), []
    for place in voids:
        mixed.insert(min(place, len(mixed)), NAN)
    places = [index for index, value in enumerate(mixed) if not math.isnan(value)]
    ours = advantages(mixed)
    assert [ours[index] for index in places] == pytest.approx(advantages(values), abs=1e-12)
    assert all(ours[index] == 0.0 for index in range(len(mixed)) if index not in places)


@pytest.mark.parametrize("values", [[NAN, 0.3], [0.3], [NAN, NAN], [NAN]])
def test_fewer_than_two_returns_are_a_tie(values):
    assert advantages(values) == [0.0] * len(values)
    assert ties(torch.tensor([values])).item()


@given(values=groups)
def test_the_std_is_that_of_a_sample(values):
    table = torch.tensor([values], dtype=torch.float64)
    spread = statistics.stdev(values)
    for ours in (group_std(table), pooled_std(table), batch_std(table)):
        assert ours.item() == pytest.approx(spread, abs=1e-9)


def test_several_groups_are_compared_each_for_itself():
    table = torch.tensor([[1, 0, 0, 1], [1, 1, 1, 1], [1, 0.5, 0.5, 0]], dtype=torch.float64)
    assert group_relative_advantages(table).tolist() == [advantages(row) for row in table.tolist()]


def test_a_pooled_std_is_the_root_of_the_mean_variance_of_the_groups_that_have_returns():
    table = torch.tensor([[1, 0], [1, 1], [NAN, NAN]], dtype=torch.float64)
    assert pooled_std(table).item() == pytest.approx(math.sqrt((0.5 + 0) / 2))
    assert pooled_std(torch.full((1, 3), NAN)).item() == 0.0


def test_the_std_of_a_batch_looks_across_groups():
    table = torch.tensor([[1, 1], [0, NAN]], dtype=torch.float64)
    assert batch_std(table).item() == pytest.approx(statistics.stdev([1, 1, 0]))
