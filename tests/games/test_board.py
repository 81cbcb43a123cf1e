"""The rules of m,n,k games: lines, gravity, openings, keys, and the laws that every game keeps."""

from __future__ import annotations

import itertools
import math
import random
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gift_dsl.games.board import FAMILY, BoardParams, check, facts
from gift_dsl.games.board_rules import BoardGame, BoardState
from gift_dsl.games.game import Game
from gift_dsl.games.geometry import Geometry, make_geometry
from gift_dsl.games.params import make_params, plain_params
from gift_dsl.rng import stream
from gift_dsl.settings import shipped

TICTACTOE = BoardParams()
CONNECT_FOUR = BoardParams(height=6, width=7, connect=4, gravity=True)
GOMOKU = BoardParams(height=15, width=15, connect=5)


@st.composite
def board_params(draw: st.DrawFn) -> BoardParams:
    params = BoardParams(
        height=draw(st.integers(1, 6)),
        width=draw(st.integers(1, 6)),
        connect=draw(st.integers(2, 5)),
        gravity=draw(st.booleans()),
        openings=draw(st.sampled_from(["empty", "balanced"])),
        opening_rounds=draw(st.integers(0, 4)),
        win_text=draw(st.sampled_from(["always", "never", "random"])),
    )
    longest = max(params.height, params.width)
    params = replace(params, height=max(params.height, 2), connect=max(2, min(params.connect, longest)))
    return replace(params, opening_rounds=min(params.opening_rounds, (params.height * params.width - 1) // 2))


def start(params: BoardParams, seed: int = 0) -> BoardState:
    return BoardGame(params).start(random.Random(seed))


def play(params: BoardParams, *actions: str) -> BoardState:
    state = start(params)
    for action in actions:
        state = state.apply(action)
    return state


def random_play(state: BoardState, rng: random.Random) -> list[BoardState]:
    """All positions of one random play, the first included."""
    states = [state]
    while not states[-1].is_terminal:
        states.append(states[-1].apply(rng.choice(states[-1].legal_actions())))
    return states


def reachable(params: BoardParams) -> dict[str, BoardState]:
    frontier = [start(params)]
    found = {frontier[0].cells: frontier[0]}
    while frontier:
        state = frontier.pop()
        for action in state.legal_actions():
            following = state.apply(action)
            if following.cells not in found:
                found[following.cells] = following
                frontier.append(following)
    return found


def holds_line(geometry: Geometry, cells: str, mark: str) -> bool:
    """A winner by looking at every line of the board: slow, and independent of the last stone."""
    return any(all(cells[cell] == mark for cell in window) for window in geometry.windows)


def test_tictactoe_has_5478_reachable_positions_of_which_4520_are_open():
    positions = reachable(TICTACTOE)
    assert len(positions) == 5478
    assert sum(not state.is_terminal for state in positions.values()) == 4520


def test_tictactoe_has_958_final_positions_626_of_x_316_of_o_and_16_draws():
    winners = [state.winner for state in reachable(TICTACTOE).values() if state.is_terminal]
    assert [winners.count(winner) for winner in (0, 1, None)] == [626, 316, 16]


def test_connect_four_has_the_known_numbers_of_positions_after_each_stone():
    positions, counts = {start(CONNECT_FOUR).cells: start(CONNECT_FOUR)}, [1]
    for _ in range(5):
        following = [state.apply(action) for state in positions.values() for action in state.legal_actions()]
        positions = {state.cells: state for state in following}
        counts.append(len(positions))
    assert counts == [1, 7, 49, 238, 1120, 4263]


@given(params=board_params(), seed=st.integers(0, 2**32))
def test_the_last_stone_alone_decides_as_a_look_at_the_whole_board_does(params, seed):
    for state in random_play(start(params, seed), random.Random(seed)):
        lines = [holds_line(state.geometry, state.cells, mark) for mark in "XO"]
        assert lines == [state.winner == 0, state.winner == 1]


@given(params=board_params(), seed=st.integers(0, 2**32))
def test_a_play_ends_within_its_horizon_and_pays_out_what_it_takes(params, seed):
    states = random_play(start(params, seed), random.Random(seed))
    turns = [state.current_player for state in states[:-1]]
    horizon = facts(params).max_turns
    assert all(turns.count(seat) <= horizon[seat] for seat in (0, 1))
    assert all(a != b for a, b in itertools.pairwise(turns))
    assert states[-1].outcome() in {("win", "loss"), ("loss", "win"), ("draw", "draw")}


@given(params=board_params(), seed=st.integers(0, 2**32))
def test_the_same_stream_gives_the_same_game(params, seed):
    assert start(params, seed) == start(params, seed)


@given(params=board_params(), seed=st.integers(0, 2**32))
def test_legal_actions_are_shown_to_the_player_who_acts_and_to_nobody_else(params, seed):
    for state in random_play(start(params, seed), random.Random(seed)):
        for player in (0, 1):
            expected = state.legal_actions() if player == state.current_player else ()
            assert state.observation(player).legal == expected


@given(params=board_params(), seed=st.integers(0, 2**32))
def test_a_finished_game_takes_no_action_and_an_open_one_has_no_outcome(params, seed):
    *open_states, final = random_play(start(params, seed), random.Random(seed))
    assert final.legal_actions() == ()
    with pytest.raises(ValueError, match="illegal action"):
        final.apply("1")
    for state in open_states:
        with pytest.raises(ValueError, match="not over"):
            state.outcome()


@given(params=board_params(), seed=st.integers(0, 2**32))
def test_a_balanced_opening_is_open_has_equally_many_stones_and_leaves_x_to_move(params, seed):
    state = start(params, seed)
    num_stones = [state.cells.count(mark) for mark in "XO"]
    assert num_stones[0] == num_stones[1] <= (params.opening_rounds if params.openings == "balanced" else 0)
    assert (state.current_player, state.winner, state.last_action) == (0, None, None)


@given(params=board_params(), seed=st.integers(0, 2**32))
def test_stones_rest_on_stones_under_gravity(params, seed):
    final = random_play(start(replace(params, gravity=True), seed), random.Random(seed))[-1]
    for column in final.geometry.columns.values():
        marks = "".join(final.cells[cell] for cell in column)
        assert "." not in marks.rstrip(".")


def test_stuck_openings_end_early_instead_of_never():
    """On this board no four stones of each side keep apart, so four rounds cannot be drawn."""
    params = BoardParams(connect=2, openings="balanced", opening_rounds=4)
    sizes = {9 - start(params, seed).cells.count(".") for seed in range(200)}
    assert sizes <= {0, 2, 4, 6}
    assert {0, 2} <= sizes


@pytest.mark.parametrize(
    ("params", "texts"),
    [
        (TICTACTOE, ["1", "2", "3", "4", "5", "6", "7", "8", "9"]),
        (CONNECT_FOUR, ["1", "2", "3", "4", "5", "6", "7"]),
        (BoardParams(height=2, width=3, connect=3), ["1", "2", "3", "4", "5", "6"]),
    ],
)
def test_actions_of_small_boards_are_cell_numbers_and_under_gravity_columns(params, texts):
    assert list(start(params).legal_actions()) == texts


def test_actions_of_boards_of_more_than_25_cells_are_rows_and_columns():
    assert start(BoardParams(5, 5, 4)).legal_actions()[-1] == "25"
    large = start(BoardParams(5, 6, 4)).legal_actions()
    assert (large[0], large[6], large[-1]) == ("1,1", "2,1", "5,6")


@pytest.mark.parametrize("text", ["0", "10", " 5", "5 ", "05", "+5", "5.", "2,2", "\u0665", "", "e", "-1"])
def test_only_the_canonical_text_of_an_action_is_accepted(text):
    with pytest.raises(ValueError, match="illegal action"):
        start(TICTACTOE).apply(text)


def test_a_taken_cell_and_a_full_column_are_illegal():
    with pytest.raises(ValueError, match="illegal action '5'"):
        play(TICTACTOE, "5", "5")
    full = play(CONNECT_FOUR, *"111111")
    assert "1" not in full.legal_actions()
    with pytest.raises(ValueError, match="illegal action '1'"):
        full.apply("1")


@pytest.mark.parametrize(
    ("params", "actions", "outcome"),
    [
        (TICTACTOE, "1 4 2 5 3", ("win", "loss")),
        (TICTACTOE, "1 3 2 5 4 7", ("loss", "win")),
        (TICTACTOE, "1 2 3 5 4 6 8 7 9", ("draw", "draw")),
        (CONNECT_FOUR, "1 2 1 2 1 2 1", ("win", "loss")),
        (CONNECT_FOUR, "1 2 2 3 3 4 3 4 4 6 4", ("win", "loss")),
        (GOMOKU, "8,8 1,1 8,9 1,2 8,10 1,3 8,11 1,4 8,12", ("win", "loss")),
    ],
)
def test_known_plays_end_as_they_should(params, actions, outcome):
    assert play(params, *actions.split()).outcome() == outcome


def test_more_than_five_in_a_row_win_in_gomoku():
    six = ["1,1", "3,1", "1,2", "3,2", "1,3", "3,3", "1,5", "5,5", "1,6", "5,7", "1,4"]
    assert play(GOMOKU, *six).outcome() == ("win", "loss")


def test_an_observation_shows_the_board_with_the_marks_of_the_one_who_looks():
    seen = play(BoardParams(2, 3, 3, title="Small"), "2").observation(1)
    assert seen.cells == ((".", "X", "."), (".", ".", "."))
    assert (seen.mark, seen.opponent_mark, seen.last_action, seen.name) == ("O", "X", "2", "Small")
    assert (seen.height, seen.width, seen.connect, seen.gravity) == (2, 3, 3, False)


def test_a_game_without_a_title_is_called_by_its_numbers():
    assert start(CONNECT_FOUR).observation(0).name == "Connect 4 on a 6 x 7 board with gravity"


def test_the_win_condition_is_stated_always_never_or_in_about_half_of_the_groups():
    def stated(win_text):
        return [start(replace(TICTACTOE, win_text=win_text), seed).win_text for seed in range(400)]

    assert all(stated("always"))
    assert not any(stated("never"))
    assert 160 < sum(stated("random")) < 240


@given(params=board_params(), seed=st.integers(0, 2**32), data=st.data())
def test_symmetric_openings_have_one_key(params, seed, data):
    game, state = BoardGame(params), start(params, seed)
    permutation = data.draw(st.sampled_from(state.geometry.symmetries))
    image = replace(state, cells="".join(state.cells[cell] for cell in permutation))
    assert game.instance_key(image) == game.instance_key(state)


@pytest.mark.parametrize(
    ("shape", "count"),
    [
        ((3, 3, 3, False), 8),
        ((2, 3, 3, False), 4),
        ((6, 7, 4, True), 2),
        ((1, 5, 3, False), 2),
        ((5, 1, 3, True), 1),
    ],
)
def test_a_square_has_8_symmetries_a_rectangle_4_and_gravity_leaves_2(shape, count):
    geometry = make_geometry(*shape)
    windows = {frozenset(window) for window in geometry.windows}
    assert len(geometry.symmetries) == len(set(geometry.symmetries)) == count
    assert geometry.symmetries[0] == tuple(range(len(geometry.empty_board)))
    for permutation in geometry.symmetries:
        assert {frozenset(permutation[cell] for cell in window) for window in windows} == windows


def test_openings_of_other_shapes_or_sizes_have_other_keys():
    game, state = BoardGame(TICTACTOE), start(TICTACTOE)
    keys = {game.instance_key(state.apply(action)) for action in state.legal_actions()}
    assert len(keys) == 3  # corner, edge, centre
    assert BoardGame(CONNECT_FOUR).instance_key(start(CONNECT_FOUR)).startswith("6x7x4g:")


@pytest.mark.parametrize("num_rounds", range(5))
def test_the_family_size_of_tictactoe_is_the_number_of_open_balanced_boards_up_to_symmetry(num_rounds):
    geometry = make_geometry(3, 3, 3, False)
    balanced = [
        cells
        for cells, state in reachable(TICTACTOE).items()
        if not state.is_terminal and cells.count("X") == cells.count("O") <= num_rounds
    ]
    params = BoardParams(openings="balanced", opening_rounds=num_rounds)
    assert facts(params).family_size == len({geometry.canonical(cells) for cells in balanced})


def test_random_openings_meet_every_class_of_the_family():
    params = BoardParams(openings="balanced", opening_rounds=1)
    game = BoardGame(params)
    keys = {game.instance_key(game.start(stream(0, "opening", index))) for index in range(1000)}
    assert len(keys) == facts(params).family_size == 13


def test_an_empty_board_is_a_family_of_one_and_a_huge_family_is_not_counted():
    assert facts(GOMOKU).family_size == 1
    assert facts(replace(GOMOKU, openings="balanced", opening_rounds=2)).family_size is None


@pytest.mark.parametrize(
    ("params", "message"),
    [
        (BoardParams(connect=4), "`connect` is 4, which no line of a 3 x 3 board can hold"),
        (BoardParams(openings="balanced", opening_rounds=5), "`opening_rounds` is 5, which fills a 3 x 3 board"),
        (BoardParams(1, 1, 2), "`connect` is 2, which no line of a 1 x 1 board can hold"),
        (BoardParams(1, 2, 2), None),
        (CONNECT_FOUR, None),
    ],
)
def test_contradictions_between_parameters_are_named(params, message):
    assert check(params) == message


@pytest.mark.parametrize(
    ("file", "shape"),
    [
        ("tictactoe", (3, 3, 3, False)),
        ("connect_four", (6, 7, 4, True)),
        ("gomoku", (15, 15, 5, False)),
    ],
)
def test_the_shipped_board_games_are_parameters_of_the_family(file, shape):
    from ruamel.yaml import YAML

    values = YAML(typ="safe").load((shipped("games") / f"{file}.yaml").read_text(encoding="utf-8"))
    assert values.pop("type") == "board"
    params = make_params(BoardParams, values)
    assert (params.height, params.width, params.connect, params.gravity) == shape
    assert check(params) is None
    assert set(values) <= set(plain_params(params))


def test_a_board_game_is_a_game_without_roles():
    game = FAMILY.build(TICTACTOE, ())
    assert isinstance(game, Game)
    assert (game.role(start(TICTACTOE), 0), game.facts.seats) == ("", 2)


def test_half_of_the_one_round_openings_are_empty_and_every_other_board_is_drawn():
    game = BoardGame(BoardParams(openings="balanced", opening_rounds=1))
    drawn = [game.start(stream(1, "opening", index)).cells for index in range(4000)]
    share = drawn.count("." * 9) / len(drawn)
    assert math.isclose(share, 0.5, abs_tol=0.03)
    assert len(set(drawn)) == 1 + 9 * 8
