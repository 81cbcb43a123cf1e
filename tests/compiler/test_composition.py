from __future__ import annotations

import pytest

from gift_dsl.plan import AllOf, AnyOf, InTurn, Leaf, leaves


def play_of(checked):
    (plan,) = checked.plans()
    return plan.stages[0].play


@pytest.mark.parametrize(
    "text", ["{all_of: [sums]}", "{any_of: [sums]}", "{in_turn: [sums]}", "{all_of: [{any_of: [sums]}]}"]
)
def test_a_composition_of_one_part_is_that_part(check, text):
    play = play_of(check(f"stages[main].play={text}"))
    assert isinstance(play, Leaf)
    assert play.label == "sums"


def test_names_of_compositions_are_inlined(check):
    play = play_of(check())
    assert isinstance(play, AllOf)
    assert [part.label for part in leaves(play)] == ["sums", "matrix", "tictactoe", "spy"]


def test_the_same_game_twice_is_numbered(check):
    play = play_of(check("stages[main].play={all_of: [sums, matrix, sums]}"))
    assert [part.label for part in leaves(play)] == ["sums#1", "matrix", "sums#2"]


def test_and_over_or_and_or_over_and_keep_their_shape(check):
    play = play_of(check("stages[main].play={any_of: [{all_of: [sums, matrix]}, {play: tictactoe, weight: 2}]}"))
    assert isinstance(play, AnyOf)
    assert isinstance(play.parts[0], AllOf)
    assert play.parts[1].weight == ((0, 2.0),)


def test_blocks_are_one_step_each_unless_given(check):
    play = play_of(check("stages[main].play={in_turn: [sums, matrix]}"))
    assert isinstance(play, InTurn)
    assert play.blocks == (1, 1)


def test_every_part_has_its_own_budget(check):
    parts = leaves(play_of(check("stages[main].play={all_of: [sums, {play: spy, max_tokens_per_turn: 7}]}")))
    assert [(part.max_turns, part.max_tokens_per_turn) for part in parts] == [(1, 20), (3, 7)]


def test_a_game_overrides_the_stage_which_overrides_the_spec(check):
    checked = check(
        "rollout.max_tokens_per_turn=10",
        "stages[main].rollout={max_tokens_per_turn: 20, sampling: {temperature: 0.7}}",
        "games.spy.rollout.max_tokens_per_turn=30",
    )
    by_label = {part.label: part for part in leaves(play_of(checked))}
    assert by_label["sums"].max_tokens_per_turn == 20
    assert by_label["spy"].max_tokens_per_turn == 30
    assert by_label["spy"].rollout.temperature == 0.7


@pytest.mark.parametrize(
    ("play", "code"),
    [
        ("{all_of: [sums, {in_turn: [matrix, spy]}]}", "in-turn-nested"),
        ("{in_turn: [{in_turn: [matrix, spy]}, sums]}", "in-turn-nested"),
        ("{in_turn: [sums, matrix], blocks: [1, 2, 3]}", "blocks-length"),
        ("{all_of: [sums, {play: matrix, weight: [[0, 1], [5, 2]]}]}", "weight-schedule"),
        ("{any_of: [sums, {play: matrix, weight: [[5, 1], [0, 2]]}]}", "weight-schedule"),
        ("{any_of: [sums, {play: matrix, weight: [[0, 0], [9, 0]]}]}", "weight-schedule"),
    ],
)
def test_a_composition_that_cannot_be_played_is_refused(codes, play, code):
    assert codes(f"stages[main].play={play}") == [code]


def test_a_named_composition_that_takes_turns_cannot_be_nested_either(codes):
    assert codes("games.turns={in_turn: [sums, matrix]}", "stages[main].play={all_of: [turns, spy]}") == [
        "in-turn-nested"
    ]


def test_a_composition_that_contains_itself_is_shown_with_its_circle(check):
    checked = check("games.a={all_of: [b, sums]}", "games.b={any_of: [a, sums]}", "stages[main].play=a")
    circles = [item.message for item in checked.diagnostics if item.code == "composition-cycle"]
    assert "`a` contains itself: `a` > `b` > `a`" in circles
