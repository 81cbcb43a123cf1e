"""TextArena behind our states: values, chance of their own, and what is said to whom."""

from __future__ import annotations

import random
import subprocess
import sys
from dataclasses import dataclass, replace

import numpy as np
import pytest

from gift_dsl.errors import MachineError, UsageError
from gift_dsl.games.families import get_family
from gift_dsl.games.game import FreeText
from gift_dsl.games.params import make_params
from gift_dsl.play.seats import table_game
from gift_dsl.rng import stream
from tests.play.scripted import (
    COUNT_PROMPT,
    SayingPlayer,
    ScriptedPolicy,
    game_plan,
    leaf,
    table_of,
    tagged,
    trajectories,
)
from tests.play.scripted import play as play_at_table

FAMILY = get_family("textarena")


@pytest.fixture
def _installed():
    """A test without the package cannot say anything about it."""
    pytest.importorskip("textarena", reason="the extra `textarena` is not installed")


def game_of(env, **params):
    return FAMILY.build(make_params(FAMILY.params, {"env": env, **params}), ())


def play(game, *actions, seed=0):
    """The states of a play, the first included."""
    states = [game.start(stream(seed, "test"))]
    for action in actions:
        states.append(states[-1].apply(action))
    return states


def test_without_the_package_the_extra_is_named(monkeypatch):
    for name in ("textarena", "textarena.envs.registration"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(MachineError, match=r"pip install 'gift-dsl\[textarena\]'"):
        game_of("TicTacToe-v0")


def test_facts_read_no_package():
    code = (
        "import sys; from gift_dsl.games.textarena import FAMILY as f; facts = f.facts(f.params('TicTacToe-v0'));"
        "assert facts.seats == 2 and facts.max_turns == (20, 20) and facts.family_size == 1;"
        "assert not {'textarena', 'numpy'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def last(context):
    """The last message for the policy."""
    return context.rpartition("user\n")[2]


@pytest.mark.usefixtures("_installed")
class TestWithThePackage:
    def test_a_play_of_tictactoe_ends_with_a_win_and_a_loss(self):
        *_, end = play(game_of("TicTacToe-v0"), "[0]", "[3]", "[1]", "[4]", "[2]")
        assert (end.is_terminal, end.current_player, end.legal_actions()) == (True, -1, ())
        assert end.outcome() == (1.0, 0.0)
        with pytest.raises(ValueError, match="over"):
            end.apply("[5]")

    def test_before_the_end_there_is_no_outcome_and_any_text_is_legal(self):
        (state,) = play(game_of("TicTacToe-v0"))
        assert isinstance(state.legal_actions(), FreeText)
        with pytest.raises(ValueError, match="seat 0 is to act"):
            state.outcome()
        with pytest.raises(ValueError, match="empty"):
            state.apply(" ")

    def test_a_move_against_the_rules_is_a_turn_and_the_second_one_loses(self):
        first, told, end = play(game_of("TicTacToe-v0"), "no cell", "still none")
        assert told.current_player == first.current_player == 0
        assert "attempted an invalid move" in told.observation(0).text
        assert "attempted an invalid move" not in told.observation(1).text
        assert told.turns == (1, 0)
        assert end.outcome() == (0.0, 1.0)

    def test_a_state_is_not_changed_by_what_is_done_with_it(self):
        (state,) = play(game_of("TicTacToe-v0"))
        shown = state.observation(1)
        corner, centre = state.apply("[0]"), state.apply("[4]")
        assert corner == state.apply("[0]") != centre
        assert state.observation(1) == shown
        assert "[0]" in corner.observation(1).text
        assert "[Player 0] [0]" not in centre.observation(1).text

    def test_an_observation_is_what_was_said_since_the_seat_acted(self):
        game = game_of("KuhnPoker-v0")
        first = play(game)[0]
        opener = first.current_player
        second = first.apply("[check]")
        assert first.observation(opener).text.startswith(f"[GAME] You are Player {opener} in a 3 round game")
        assert second.observation(1 - opener).text.startswith(first.observation(1 - opener).text)
        third = second.apply("[bet]")
        assert "Game Rules" not in third.observation(opener).text
        assert f"[Player {1 - opener}] [bet]" in third.observation(opener).text

    def test_a_card_is_shown_to_its_owner_alone(self):
        game = game_of("KuhnPoker-v0")
        states = [play(game, seed=seed)[0] for seed in range(30)]
        cards = {
            tuple(state.observation(seat).text.partition("card is: '")[2][0] for seat in (0, 1)) for state in states
        }
        assert cards == {(one, other) for one in "JQK" for other in "JQK" if one != other}

    def test_the_dice_depend_on_the_seed_alone(self):
        game, actions = game_of("PigDice-v0"), ("[roll]",) * 6
        alone, other = play(game, *actions, seed=1), play(game, *actions, seed=2)
        first, second = play(game, seed=1), play(game, seed=2)
        random.seed(9)  # noqa: TID251 - somebody else's use of the global generator must not matter
        for action in actions:
            first.append(first[-1].apply(action))
            second.append(second[-1].apply(action))
        assert first == alone
        assert second == other
        assert [state.heard for state in first] != [state.heard for state in second]

    def test_nobody_elses_generator_or_output_is_touched(self, capsys):
        before, before_of_numpy = random.getstate(), np.random.get_state()[1].tolist()  # noqa: TID251, NPY002
        play(game_of("SettlersOfCatan-v0", seats=4), "[0]")
        play(game_of("PigDice-v0"), "[roll]", "[roll]")
        assert random.getstate() == before  # noqa: TID251
        assert np.random.get_state()[1].tolist() == before_of_numpy  # noqa: NPY002
        assert capsys.readouterr().out == ""

    def test_a_play_of_too_many_turns_ends_as_a_draw(self):
        game = game_of("TicTacToe-v0", horizon=1)
        *_, before, end = play(game, "[0]", "[1]")
        assert not before.is_terminal
        assert end.is_terminal
        assert end.outcome() == (0.5, 0.5)

    def test_a_single_player_without_a_result_has_nothing(self):
        (*_, end) = play(game_of("GuessTheNumber-v0", seats=1, horizon=1), "[1]", seed=3)
        assert end.outcome() == (0.0,)

    def test_the_reward_of_a_single_player_is_its_grade(self):
        game = game_of("GuessTheNumber-v0", seats=1)
        ends = [play(game, f"[{number}]", seed=3)[1] for number in range(1, 21)]
        assert [end.outcome() for end in ends if end.is_terminal] == [(1.0,)]

    def test_rewards_beyond_their_range_are_cut_off(self):
        *_, end = play(game_of("TicTacToe-v0"), "[0]", "[3]", "[1]", "[4]", "[2]")
        assert replace(end, rewards=(3.0, -7.0)).outcome() == (1.0, 0.0)

    def test_a_text_that_textarena_fails_on_is_not_legal(self):
        (state,) = play(game_of("TicTacToe-v0"))
        with pytest.raises(ValueError, match="TextArena fails on this text: KeyError: 'piece'"):
            replace(state, env=Failing()).apply("[0]")

    def test_options_reach_the_environment(self):
        (state,) = play(game_of("KuhnPoker-v0", options={"max_rounds": 7}))
        assert "7 round game" in state.observation(0).text

    def test_instances_are_told_apart_by_what_is_hidden_too(self):
        tictactoe, guessing = game_of("TicTacToe-v0"), game_of("GuessTheNumber-v0", seats=1)
        assert len({tictactoe.instance_key(play(tictactoe, seed=seed)[0]) for seed in range(5)}) == 1
        keys = {guessing.instance_key(play(guessing, seed=seed)[0]) for seed in range(200)}
        assert len(keys) == 20

    def test_a_key_does_not_depend_on_the_order_of_sets_and_maps(self):
        from gift_dsl.games.textarena_rules import _plain

        one = {"deck": {"K", "Q"}, 2: (1.5, None), "piece": Failing()}
        other = {"piece": Failing(), 2: (1.5, None), "deck": {"Q", "K"}}
        assert repr(_plain(one)) == repr(_plain(other))
        assert "Failing" in repr(_plain(one))

    def test_a_group_plays_it_at_the_table_and_is_paid_its_grade(self):
        plan = game_plan(
            "kuhn",
            family="textarena",
            params={"env": "KuhnPoker-v0", "options": {"max_rounds": 1}},
            opponents={"1": "other"},
            max_turns=9,
            prompt=replace(COUNT_PROMPT, observations=(FAMILY.prompt,)),
        )
        policy = ScriptedPolicy(lambda _request, context: tagged("[bet]" if "'[bet]'" in last(context) else "[call]"))
        other = SayingPlayer(
            lambda turn, _rng: tagged("[call]" if "[bet]" in turn.messages[-1].content else "[check]"), "other"
        )
        table = table_of(table_game(plan), policy=policy, players=[other])
        (first, *others) = trajectories(play_at_table(table, leaf("kuhn"), members=4))
        assert first.parts[0].outcome in ("success", "loss")
        assert {one.parts[0].outcome for one in others} == {first.parts[0].outcome}

    def test_nobody_has_a_role(self):
        game = game_of("TicTacToe-v0")
        assert game.role(play(game)[0], 0) == ""

    @pytest.mark.parametrize(
        ("env", "params", "message"),
        [
            ("TicTacTow-v0", {}, "no environment `TicTacTow-v0`; did you mean `.*TicTacToe-v0"),
            ("Zxq", {}, "no environment `Zxq`$"),
            ("TicTacToe-v0", {"seats": 3}, "with 3 seats .*: AssertionError: The number of players has to be 2"),
            ("TicTacToe-v0", {"options": {"size": 9}}, "these options: TypeError: .*'size'"),
        ],
    )
    def test_what_the_spec_asks_for_and_there_is_not_is_named(self, env, params, message):
        with pytest.raises(UsageError, match=message):
            game_of(env, **params)

    def test_what_an_environment_lacks_on_this_machine_is_named(self, monkeypatch):
        monkeypatch.delenv("OPENROUTER_API_KEY", raising=False)
        with pytest.raises(MachineError, match=r"cannot make `Debate-v0` here: ValueError: .*OPENROUTER_API_KEY"):
            game_of("Debate-v0")


@dataclass
class Failing:
    def step(self, action):
        raise KeyError("piece")
