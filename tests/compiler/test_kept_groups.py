"""How many groups selection can keep in a step, against what steps really deal."""

from __future__ import annotations

import math
from collections import Counter

import pytest

from gift_dsl import api
from gift_dsl.play.compose import plan_walks
from gift_dsl.play.keys import Keys
from tests.compiler.conftest import BASE

COMPOSITIONS = {
    "equal parts": "{any_of: [sums, matrix, tictactoe]}",
    "weighted parts": "{any_of: [{play: sums, weight: 5}, {play: matrix, weight: 2}, tictactoe]}",
    "parts drawn at random": "{any_of: [sums, matrix, tictactoe], draw: random}",
    "moving weights": "{any_of: [{play: sums, weight: [[0, 9], [20, 0]]}, {play: spy, weight: [[5, 0], [9, 4]]}]}",
    "a draw inside a draw": "{any_of: [{any_of: [sums, matrix]}, tictactoe, spy]}",
    "draws inside an episode": "{all_of: [{any_of: [sums, matrix]}, {any_of: [tictactoe, spy]}]}",
    "parts in turn": "{in_turn: [sums, {any_of: [matrix, tictactoe]}], blocks: [1, 2]}",
}


def planned(play: str, groups: int, keep: float, scope: str = "per_task"):
    sets = [f"algorithm={{groups_per_step: {groups}, keep: {keep}, scope: {scope}, mini_batch_size: all}}"]
    (plan,) = api.check_spec("-", BASE, sets=[f"stages[main].play={play}", *sets]).plans()
    return plan.stages[0]


def kept_in_step(play, step: int, groups: int, keep: float) -> int:
    walks = plan_walks(play, Keys(1, "train", "main", step), range(groups))
    return sum(max(1, math.floor(keep * count)) for count in Counter(walk.task for walk in walks).values())


@pytest.mark.parametrize("keep", [0.1, 0.25, 0.5, 0.9])
@pytest.mark.parametrize("groups", [1, 2, 3, 8, 12, 31])
@pytest.mark.parametrize("play", COMPOSITIONS.values(), ids=COMPOSITIONS)
def test_no_step_keeps_more_groups_than_the_plan_has_rows_for(play, groups, keep):
    stage = planned(play, groups, keep)
    assert stage.batch is not None
    steps = max(kept_in_step(stage.play, step, groups, keep) for step in range(24))
    assert steps <= stage.batch.kept_groups <= groups


@pytest.mark.parametrize(
    ("play", "kept"), [("{any_of: [sums, matrix, tictactoe]}", 6), ("{all_of: [sums, matrix]}", 8)]
)
def test_where_shares_are_fixed_the_plan_has_no_row_too_many(play, kept):
    stage = planned(play, 32, 0.25)
    assert stage.batch is not None
    assert stage.batch.kept_groups == kept_in_step(stage.play, 0, 32, 0.25) == kept


def test_across_tasks_a_share_of_all_groups_is_kept():
    kept = [planned("{any_of: [sums, matrix, tictactoe]}", groups, 0.25, "global").batch for groups in (12, 2)]
    assert [batch.kept_groups for batch in kept if batch is not None] == [3, 1]
