"""The solver: exact on small boards, and never blind to a win or a loss in one on larger ones."""

from __future__ import annotations

import random
from functools import cache

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gift_dsl.games.board import BoardParams
from gift_dsl.games.board_rules import BoardGame, BoardState
from gift_dsl.games.minimax import _Search, best_actions, value  # pyright: ignore[reportPrivateUsage]  # its undo is worth a law

TICTACTOE = BoardParams()
CONNECT_FOUR = BoardParams(height=6, width=7, connect=4, gravity=True)
GOMOKU = BoardParams(height=9, width=9, connect=5)
LINES = ("012", "345", "678", "036", "147", "258", "048", "246")


def start(params: BoardParams) -> BoardState:
    return BoardGame(params).start(random.Random(0))


def play(params: BoardParams, *actions: str) -> BoardState:
    state = start(params)
    for action in actions:
        state = state.apply(action)
    return state


@cache
def plain_value(cells: str) -> int:
    """The value of a TicTacToe position for X, straight from the definition and without the rules under test."""
    for mark, won in (("X", 1), ("O", -1)):
        if any(all(cells[int(cell)] == mark for cell in line) for line in LINES):
            return won
    if "." not in cells:
        return 0
    mark = "X" if cells.count("X") == cells.count("O") else "O"
    values = [plain_value(cells[:i] + mark + cells[i + 1 :]) for i in range(9) if cells[i] == "."]
    return max(values) if mark == "X" else min(values)


@cache
def open_positions() -> list[BoardState]:
    frontier, found = [start(TICTACTOE)], dict[str, BoardState]()
    while frontier:
        state = frontier.pop()
        if not state.is_terminal and state.cells not in found:
            found[state.cells] = state
            frontier += [state.apply(action) for action in state.legal_actions()]
    return list(found.values())


def plain_search(state: BoardState, depth: int) -> int | None:
    """1, 0 or -1 for the player to move where `depth` plies decide it, else None; no pruning, no evaluation."""
    values = list[int | None]()
    for action in state.legal_actions():
        following = state.apply(action)
        if following.winner is not None:
            values.append(1)
        elif following.is_terminal:
            values.append(0)
        elif depth == 1:
            values.append(None)
        else:
            reply = plain_search(following, depth - 1)
            values.append(None if reply is None else -reply)
    if 1 in values:
        return 1
    return None if None in values else max(found for found in values if found is not None)


def test_every_best_action_attains_the_value_of_each_of_the_4520_open_tictactoe_positions():
    positions = open_positions()
    assert len(positions) == 4520
    for state in positions:
        assert value(state) == plain_value(state.cells)
        for action in best_actions(state):
            assert plain_value(state.apply(action).cells) == plain_value(state.cells)


def test_where_nobody_can_win_every_action_that_keeps_the_draw_is_a_best_action():
    for state in open_positions():
        if plain_value(state.cells) == 0:
            keeping = [a for a in state.legal_actions() if plain_value(state.apply(a).cells) == 0]
            assert list(best_actions(state)) == keeping


def test_final_positions_have_the_value_of_their_outcome():
    assert value(play(TICTACTOE, *"14253")) == 1
    assert value(play(TICTACTOE, *"132547")) == -1
    assert value(play(TICTACTOE, *"123546879")) == 0


def test_a_win_now_is_better_than_a_win_later():
    assert best_actions(play(TICTACTOE, *"1425")) == ("3",)


def test_a_lost_position_is_held_as_long_as_it_can_be():
    """X wins by force, but the block of the diagonal makes it take two stones more."""
    lost = play(TICTACTOE, *"125")
    assert value(lost) == 1
    assert best_actions(lost) == ("9",)


@given(index=st.integers(0, 4519))
def test_a_search_to_the_end_of_the_game_is_exact(index):
    state = open_positions()[index]
    assert best_actions(state, depth=9) == best_actions(state)


@given(seed=st.integers(0, 2**32), num_stones=st.integers(0, 12))
def test_alpha_beta_loses_nothing_that_a_plain_search_of_the_same_depth_sees(seed, num_stones):
    state, rng = start(BoardParams(4, 4, 3, gravity=True)), random.Random(seed)
    for _ in range(num_stones):
        following = state.apply(rng.choice(state.legal_actions()))
        state = state if following.is_terminal else following
    decided = plain_search(state, 3)
    if decided is not None:
        for action in best_actions(state, depth=3):
            following = state.apply(action)
            kept = (1 if following.winner is not None else 0) if following.is_terminal else plain_search(following, 2)
            assert kept == (decided if following.is_terminal else -decided)


@st.composite
def crowded_positions(draw: st.DrawFn, params: BoardParams) -> BoardState:
    """An open position whose stones lie close together, so that threats are frequent."""
    state, middle = start(params), params.width // 2
    near = {str(column + 1) for column in range(middle - 2, middle + 3)}
    for _ in range(draw(st.integers(4, 24))):
        actions = [a for a in state.legal_actions() if set(a.split(",")) <= near and not state.apply(a).is_terminal]
        if not actions:
            break
        state = state.apply(draw(st.sampled_from(actions)))
    return state


def wins_at_once(state: BoardState) -> set[str]:
    return {action for action in state.legal_actions() if state.apply(action).winner is not None}


@pytest.mark.parametrize(("params", "depths"), [(CONNECT_FOUR, (1, 2, 3, 4)), (GOMOKU, (1, 2))])
@given(data=st.data())
def test_a_win_in_one_is_taken_and_nothing_else(params, depths, data):
    state = data.draw(crowded_positions(params))
    winning = wins_at_once(state)
    for depth in depths if winning else ():
        assert set(best_actions(state, depth)) == winning


@pytest.mark.parametrize(("params", "depths"), [(CONNECT_FOUR, (2, 3, 4)), (GOMOKU, (2, 3))])
@given(data=st.data())
def test_a_loss_in_one_is_avoided_wherever_it_can_be(params, depths, data):
    state = data.draw(crowded_positions(params))
    safe = {action for action in state.legal_actions() if not wins_at_once(state.apply(action))}
    for depth in depths if safe and not wins_at_once(state) else ():
        assert set(best_actions(state, depth)) <= safe


@pytest.mark.parametrize(
    ("actions", "best"),
    [("121215", "1"), ("172737", "4"), ("11223", "4"), ("41414", "4"), ("1223343446", "4")],
)
def test_connect_four_at_its_default_depth_wins_and_blocks_in_one(actions, best):
    assert best_actions(play(CONNECT_FOUR, *actions)) == (best,)


def test_an_open_two_between_two_free_sides_is_blocked_at_depth_four():
    """X threatens three with both ends free, which only depth 4 sees as lost."""
    state = play(CONNECT_FOUR, "3", "3", "4")
    assert set(best_actions(state, depth=4)) <= {"2", "5"}


@given(params=st.sampled_from([TICTACTOE, CONNECT_FOUR, GOMOKU]), seed=st.integers(0, 2**32))
def test_a_search_keeps_its_count_of_stones_and_windows_when_it_takes_stones_back(params, seed):
    rng, state = random.Random(seed), start(params)
    search, fresh = _Search(state.geometry, list(state.cells)), _Search(state.geometry, list(state.cells))
    stones = [(cell, rng.randrange(2)) for cell in rng.sample(range(len(state.cells)), 8)]
    for cell, player in stones:
        search.put(cell, player)
    for cell, player in reversed(stones):
        search.take(cell, player)
    assert search == fresh


def test_the_first_stone_goes_to_the_centre():
    assert best_actions(start(CONNECT_FOUR), depth=1) == ("4",)
    assert best_actions(start(GOMOKU), depth=1) == ("5,5",)


def test_a_finished_game_and_a_depth_of_nothing_are_refused():
    with pytest.raises(ValueError, match="the game is over"):
        best_actions(play(TICTACTOE, *"14253"))
    with pytest.raises(ValueError, match="`depth` is 0"):
        best_actions(start(TICTACTOE), depth=0)
    with pytest.raises(ValueError, match="a board of 42 cells is not solved exactly"):
        value(start(CONNECT_FOUR))
