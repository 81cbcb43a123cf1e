"""OpenSpiel behind our states: actions, chance that is drawn by us, and what each seat is shown."""

from __future__ import annotations

import subprocess
import sys
from types import SimpleNamespace

import pytest

from gift_dsl.errors import MachineError, UsageError
from gift_dsl.games.families import get_family
from gift_dsl.games.laws import check_game
from gift_dsl.games.params import make_params
from gift_dsl.play.parse import read_action
from gift_dsl.rng import stream

FAMILY = get_family("open_spiel")


@pytest.fixture
def _installed():
    """A test without the package cannot say anything about it."""
    pytest.importorskip("pyspiel", reason="the extra `open_spiel` is not installed")


def game_of(name, **params):
    return FAMILY.build(make_params(FAMILY.params, {"game": name, **params}), ())


def start(game, seed=0):
    return game.start(stream(seed, "test"))


def play(game, *actions, seed=0):
    state = start(game, seed)
    for action in actions:
        state = state.apply(action)
    return state


def table_game(payoffs, rows, columns):
    """A game in which both are paid the same, with these names of actions."""
    import pyspiel

    from gift_dsl.games.open_spiel_rules import OpenSpielGame

    rules = pyspiel.create_matrix_game("table", "Table", rows, columns, payoffs, payoffs)
    return OpenSpielGame(FAMILY.params("table"), pyspiel.convert_to_turn_based(rules))


def test_without_the_package_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "pyspiel", None)
    with pytest.raises(MachineError, match=r"pip install 'gift-dsl\[open_spiel\]'"):
        game_of("tic_tac_toe")


def test_facts_read_no_package():
    code = (
        "import sys; from gift_dsl.games.open_spiel import FAMILY as f; facts = f.facts(f.params('tic_tac_toe'));"
        "assert facts.seats == 2 and facts.max_turns == (30, 30) and facts.family_size == 1;"
        "assert not {'pyspiel', 'numpy'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.usefixtures("_installed")
class TestWithThePackage:
    @pytest.mark.parametrize(
        "name",
        [
            "tic_tac_toe",
            "kuhn_poker",
            "leduc_poker",
            "connect_four",
            "nim",
            "pig",
            "liars_dice",
            "matrix_rps",
            "goofspiel",
        ],
    )
    def test_a_game_keeps_the_laws(self, name):
        problems = {found.law: found.problem for found in check_game(game_of(name), range(3))}
        assert set(problems.values()) == {None}

    @pytest.mark.parametrize("name", ["tic_tac_toe", "nim", "liars_dice", "blotto", "goofspiel", "breakthrough"])
    def test_every_action_is_read_as_itself(self, name):
        legal = start(game_of(name)).legal_actions()
        assert [read_action(action, legal) for action in legal] == list(legal)

    def test_a_play_of_tictactoe_ends_with_all_and_nothing(self):
        end = play(game_of("tic_tac_toe"), "x(0,0)", "o(1,0)", "x(0,1)", "o(1,1)", "x(0,2)")
        assert (end.is_terminal, end.current_player, end.legal_actions()) == (True, -1, ())
        assert end.outcome() == (1.0, 0.0)
        with pytest.raises(ValueError, match="illegal"):
            end.apply("o(2,2)")

    def test_before_the_end_there_is_no_outcome(self):
        with pytest.raises(ValueError, match="seat 0 is to act"):
            start(game_of("tic_tac_toe")).outcome()

    def test_where_nothing_is_hidden_the_board_is_shown_and_the_actions_to_who_acts(self):
        state = play(game_of("tic_tac_toe"), "x(1,1)")
        assert state.observation(1).text.splitlines() == [
            "Tic Tac Toe. You are player 1 of 2, counted from 0.",
            "...",
            ".x.",
            "...",
            "Your legal actions: o(0,0)  o(0,1)  o(0,2)  o(1,0)  o(1,2)  o(2,0)  o(2,1)  o(2,2)",
        ]
        assert state.observation(1).legal == state.legal_actions()
        assert state.observation(0).legal == ()
        assert "legal" not in state.observation(0).text

    def test_a_card_is_shown_to_its_owner_alone(self):
        game = game_of("kuhn_poker")
        states = [start(game, seed) for seed in range(60)]
        shown = {tuple(state.observation(seat).text.splitlines()[1] for seat in (0, 1)) for state in states}
        assert shown == {(one, other) for one in "012" for other in "012" if one != other}
        assert len({game.instance_key(state) for state in states}) == 6

    def test_returns_are_mapped_from_the_range_of_the_game(self):
        state = start(game_of("kuhn_poker"))
        end = state.apply("Bet").apply("Pass")
        assert end.outcome() == (0.75, 0.25)

    def test_a_game_that_pays_the_same_whatever_is_done_is_worth_a_half(self):
        end = play(table_game([[1, 1]], ["up"], ["left", "right"]), "up", "left")
        assert end.outcome() == (0.5, 0.5)

    def test_actions_of_the_same_text_are_told_apart_by_their_number(self):
        game = table_game([[1, 2, 3]], [""], ["left", "left", "right"])
        assert start(game).legal_actions() == ("0",)
        assert play(game, "0").legal_actions() == ("left (0)", "left (1)", "right (2)")
        assert play(game, "0", "left (1)").history == (0, 1)

    def test_a_game_without_any_text_cannot_be_played(self):
        import pyspiel

        from gift_dsl.games.open_spiel_rules import _problem

        kinds = pyspiel.GameType
        kind = SimpleNamespace(
            dynamics=kinds.Dynamics.SEQUENTIAL,
            chance_mode=kinds.ChanceMode.DETERMINISTIC,
            provides_information_state_string=False,
            provides_observation_string=False,
        )
        assert (
            _problem(SimpleNamespace(get_type=lambda: kind), FAMILY.params("mute")) == "has no text to show to a player"
        )

    def test_who_moves_second_is_not_shown_what_the_first_did(self):
        game = game_of("matrix_rps")
        shown = {play(game, action).observation(1) for action in ("Rock", "Paper", "Scissors")}
        assert len(shown) == 1
        assert play(game, "Rock", "Scissors").outcome() == (1.0, 0.0)

    def test_the_dice_depend_on_the_seed_alone(self):
        game = game_of("pig")
        assert play(game, *["roll"] * 5, seed=1) == play(game, *["roll"] * 5, seed=1)
        assert len({play(game, "roll", seed=seed).observation(0) for seed in range(60)}) == 6

    def test_members_who_do_the_same_draw_the_same_and_chance_is_fair(self):
        game = game_of("pig")
        faces = [play(game, "roll", seed=seed).history[-1] for seed in range(1200)]
        assert all(140 < faces.count(face) < 265 for face in set(faces))

    def test_a_play_of_too_many_turns_ends_with_the_returns_so_far(self):
        end = play(game_of("pig", horizon=1), "stop", "stop")
        assert end.is_terminal
        assert end.outcome() == (0.5, 0.5)

    def test_options_and_seats_reach_the_game(self):
        state = start(game_of("kuhn_poker", seats=3, options={"players": 3}))
        assert "You are player 2 of 3" in state.observation(2).text

    def test_nobody_has_a_role(self):
        game = game_of("nim")
        assert game.role(start(game), 0) == ""

    @pytest.mark.parametrize(
        ("name", "params", "message"),
        [
            ("tic_tac_tow", {}, "no game `tic_tac_tow`; did you mean `tic_tac_toe`"),
            ("zxq", {}, "no game `zxq`$"),
            ("kuhn_poker", {"seats": 3}, "has 2 seats with these options; `seats` says 3"),
            ("tic_tac_toe", {"options": {"size": 9}}, "these options: Unknown parameter 'size'"),
            ("mfg_garnet", {}, "no players who take turns"),
            ("stones_and_gems", {"seats": 1}, "draws its chance where no seed reaches it"),
        ],
    )
    def test_what_cannot_be_played_is_named(self, name, params, message):
        with pytest.raises(UsageError, match=message):
            game_of(name, **params)
