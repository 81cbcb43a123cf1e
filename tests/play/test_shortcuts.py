"""What is kept, or left out because nobody looks at it, changes nothing that is played or recorded."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gift_dsl.games.board import BoardParams
from gift_dsl.games.free_text import reason_against
from gift_dsl.games.game import FreeText
from gift_dsl.games.grading import grade_number
from gift_dsl.games.minimax import best_actions
from gift_dsl.games.spy import SpyParams
from gift_dsl.games.spy_rules import SpyGame
from gift_dsl.play.template import check_append_only
from gift_dsl.players.clue import CluePlayer
from gift_dsl.players.simple import FirstLegalPlayer, RandomPlayer, ScriptedPlayer
from gift_dsl.players.solvers import MinimaxPlayer
from gift_dsl.rng import stream
from gift_dsl.seat import Message
from tests.play.scripted import SayingPlayer, leaf, play, random_policy, table_of, tagged, tictactoe, trajectories
from tests.play.templates import APPENDABLE, codec_of

every_family = pytest.mark.parametrize("family", APPENDABLE)
texts = st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Cs")), min_size=1, max_size=30)


@every_family
@settings(max_examples=20, deadline=None)
@given(text=texts.filter(str.strip), system=st.sampled_from(["", "Rules."]))
def test_an_opening_that_is_kept_is_what_the_codec_renders(family, text, system):
    codec = codec_of(family)
    template = check_append_only(codec)
    messages = [*([Message("system", system)] if system else []), Message("user", text)]
    rendered = codec.render(messages, open_turn=True)
    assert template.open(messages) == template.open(list(messages)) == rendered


@every_family
@settings(max_examples=20, deadline=None)
@given(ids=st.lists(st.integers(0, 376), max_size=90))
def test_a_text_that_is_kept_is_what_the_tokenizer_decodes(family, ids):
    codec = codec_of(family)
    decoded = codec._functions.decode(tuple(ids))
    assert codec.decode(ids) == codec.decode(tuple(ids)) == decoded


class TestWhoReadsNoMessages:
    """Its messages are not written, and its turns are as if they had been."""

    @staticmethod
    def played(player):
        table = table_of(tictactoe(opponents={"1": player.name}), policy=random_policy(), players=[player])
        return trajectories(play(table, leaf("ttt"), groups=4, members=4))

    @pytest.mark.parametrize("kind", [RandomPlayer, FirstLegalPlayer, MinimaxPlayer])
    def test_the_games_are_those_of_one_who_does(self, kind):
        class Reader(kind):
            reads_messages = True

        assert self.played(kind("other")) == self.played(Reader("other"))

    def test_it_is_told_nothing(self):
        told = []

        class Deaf(SayingPlayer):
            reads_messages = False

        def say(turn, rng):
            told.append(turn.messages)
            return tagged(turn.legal[0])

        self.played(Deaf(say, name="other"))
        assert told
        assert set(told) == {()}

    def test_who_does_not_say_so_is_told_everything(self):
        told = []

        def say(turn, rng):
            told.append(len(turn.messages))
            return tagged(turn.legal[0])

        self.played(SayingPlayer(say, name="other"))
        assert set(told) >= {1, 3, 5}

    def test_only_players_that_look_at_no_message_say_so(self):
        silent = [RandomPlayer, FirstLegalPlayer, MinimaxPlayer, CluePlayer]
        assert not any(kind.reads_messages for kind in silent)
        assert getattr(ScriptedPlayer, "reads_messages", True)  # it counts its own


@settings(max_examples=30, deadline=None)
@given(number=st.integers(0, 10_000), players=st.integers(3, 5), rounds=st.integers(1, 2))
def test_what_is_kept_of_a_game_of_spies_belongs_to_its_position(number, players, rounds):
    """The position before and a position elsewhere show what they showed, after and before they are asked again."""
    draws = stream(number, "spies")
    game = SpyGame(SpyParams(players=players, rounds=rounds))
    state = game.start(draws)
    shown = []
    while not state.is_terminal:
        seat = state.current_player
        seen = state.observation(seat)
        shown.append((state, seat, seen, state.legal_actions()))
        assert seen.word == state.words[seat]
        assert [clue for one in seen.clues for _, clue in one] == list(state.clues)
        assert seen.legal == (() if isinstance(state.legal_actions(), FreeText) else state.legal_actions())
        assert str(seat + 1) not in seen.legal
        action = f"thing {draws.randrange(3)}" if seen.phase == "describe" else draws.choice(seen.legal)
        state = state.apply(action)
    assert all(before.observation(seat) == seen for before, seat, seen, _ in shown)
    assert all(before.legal_actions() == legal for before, _, _, legal in shown)


def test_one_gold_answer_does_not_stand_for_another():
    assert [grade_number(gold, "7").correct for gold in ("7", "8", "7.0", "7")] == [True, False, True, True]
    assert [grade_number("100", "101", share).correct for share in (0.0, 0.02, 0.0)] == [False, True, False]


def test_a_text_is_legal_by_the_rule_that_is_asked():
    short, long = FreeText(max_chars=3), FreeText(max_chars=30, forbidden=("lamp",))
    assert [reason_against(rule, "a lamp") is None for rule in (short, long, FreeText(max_chars=30))] == [
        False,
        False,
        True,
    ]


def test_the_best_actions_of_a_position_are_not_those_of_another():
    from gift_dsl.games.board_rules import BoardGame

    start = BoardGame(BoardParams(openings="empty")).start(stream(1, "board"))
    threat = start.apply("1").apply("5").apply("2")
    assert best_actions(threat) == ("3",)
    assert len(best_actions(start)) == 9
    assert best_actions(threat) == ("3",)
