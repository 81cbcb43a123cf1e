"""A scripted player of mixed skill for the trained seat: what a policy learns from before it plays by itself.

Each move is an expert's with a probability, illegal on purpose with another, else random. What it says is written
down as the ids that the policy would have sampled to say it, so that its play has the layout of the policy's own.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from gift_dsl.games.board_rules import BoardState
from gift_dsl.games.clues import describe, know, vote
from gift_dsl.games.free_text import reason_against
from gift_dsl.games.game import Action, FreeText
from gift_dsl.games.matrix_rules import MatrixState
from gift_dsl.games.minimax import best_actions
from gift_dsl.games.params import make_params
from gift_dsl.games.question_rules import QuestionState
from gift_dsl.games.spy import SpyParams, choose_pairs
from gift_dsl.games.spy_rules import SpyObservation
from gift_dsl.play.seats import TableGame, WrittenPlayer
from gift_dsl.play.template import AppendOnly, Ids, NotAppendOnly, check_append_only
from gift_dsl.players.answer import tagged
from gift_dsl.seat import Codec, Completion, Message, PlayerFault, Turn

_NO_MOVE: Final = "no"
"""Said where every move that could be named is legal."""
_SPECIFIC: Final = 0.7
"""How often an expert of Who's the Spy gives a clue that fits its own word only."""
_CACHED: Final = 16_384
_PROBE: Final = (Message("user", "Hello."), Message("assistant", "OK"))


@dataclass(frozen=True, slots=True, eq=False)
class Teacher:
    """Plays every game as well as it is told to; games that it does not know, at random.

    Attributes:
        games: by label of the part.
        skill: probability of an expert's move among those that are not illegal on purpose, in [0, 1].
        illegal: probability of a move that is illegal on purpose, in [0, 1].
    """

    games: Mapping[str, TableGame]
    skill: float
    illegal: float
    name: str = "teacher"
    waits: bool = False

    async def act(self, turn: Turn, rng: random.Random) -> str:
        """One move, in the form that the prompt asks for.

        Raises:
            PlayerFault: any text is legal, and nothing is known of the game.
        """
        game = self.games[turn.game]
        thought = "<think></think>" if game.plan.prompt.think == "required" else ""
        return thought + tagged(turn.tag, self._move(game, turn, rng))

    def _move(self, game: TableGame, turn: Turn, rng: random.Random) -> Action:
        if rng.random() < self.illegal:
            return _illegal_move(turn, rng)
        found = _expert_move(turn, rng) if rng.random() < self.skill else None
        return _random_move(self.name, game, turn, rng) if found is None else found


def _expert_move(turn: Turn, rng: random.Random) -> Action | None:
    """One of the best moves; None in games that are not known."""
    match turn.state:
        case BoardState():
            return rng.choice(best_actions(turn.state))
        case MatrixState() as state:
            best = max(state.grades)
            return rng.choice([a for a, grade in zip(state.own_actions, state.grades, strict=True) if grade == best])
        case QuestionState() as state:
            return state.item.gold
        case _:
            seen = turn.observation
            return _expert_word(seen, turn.seat + 1, rng) if isinstance(seen, SpyObservation) else None


def _expert_word(seen: SpyObservation, seat: int, rng: random.Random) -> Action:
    """A clue to the own word, or a vote for whom the clues speak against; the seat is counted from 1."""
    clues = [clue for one_round in seen.clues for clue in one_round]
    if seen.phase == "describe":
        return describe(seen.word, clues, seat, rng, _SPECIFIC)
    return vote(seen.word, clues, seat, seen.legal, rng)


def _random_move(name: str, game: TableGame, turn: Turn, rng: random.Random) -> Action:
    """A random legal move: the right answer to another question, a clue to any word, or one of those listed."""
    if not isinstance(turn.legal, FreeText):
        return rng.choice(turn.legal)
    if isinstance(turn.state, QuestionState):
        other = game.game.start(rng)
        assert isinstance(other, QuestionState)
        return other.item.gold
    if not isinstance(turn.observation, SpyObservation):
        raise PlayerFault(name, f"nothing is known of what can be said in `{turn.game}`")
    clues = _clues_of(make_params(SpyParams, game.plan.params))
    for clue in rng.sample(clues, len(clues)):
        if reason_against(turn.legal, clue) is None:
            return clue
    return _expert_word(turn.observation, turn.seat + 1, rng)


def _illegal_move(turn: Turn, rng: random.Random) -> Action:
    """What the rules refuse: a taken cell, the own secret word, nothing at all, or no move."""
    if isinstance(turn.legal, FreeText):
        return rng.choice(turn.legal.forbidden) if turn.legal.forbidden else ""
    if isinstance(turn.state, BoardState):
        geometry = turn.state.geometry
        taken = [action for action in (geometry.cell_of or geometry.columns) if action not in turn.legal]
        return rng.choice(taken) if taken else _NO_MOVE
    return _NO_MOVE


@lru_cache(maxsize=64)
def _clues_of(params: SpyParams) -> tuple[str, ...]:
    """Every clue to a word of these pairs, each once."""
    words = [word for pair in choose_pairs(params) for word in pair]
    return tuple(dict.fromkeys(clue for word in words for clue in (*know(word).shared, *know(word).own)))


@dataclass(frozen=True, slots=True, eq=False)
class Scribe:
    """Seats a player so that what it says is written down as a model's ids.

    Attributes:
        codec: of the model that is to learn.
        template: what is known of its chat template.
        end: ids that end a turn.
    """

    codec: Codec
    template: AppendOnly | NotAppendOnly
    end: Ids

    def seat(self, teacher: Teacher) -> WrittenPlayer:
        """The teacher as the table wants it."""
        return WrittenPlayer(teacher, self.codec, self.template, self.write)

    def write(self, text: str) -> Completion:
        """A text and the end of the turn, as if they had been sampled."""
        return _written(self, text)


@lru_cache(maxsize=_CACHED)
def _written(scribe: Scribe, text: str) -> Completion:
    ids = (*scribe.codec.encode(text), *scribe.end)
    return Completion(ids, (0.0,) * len(ids), "stop")


def make_scribe(codec: Codec) -> Scribe:
    """What writes down a scripted player's words for a model with this codec."""
    template = check_append_only(codec)
    if isinstance(template, AppendOnly):
        return Scribe(codec, template, template.end)
    ids = codec.render(_PROBE, open_turn=False)
    ends = [token for token in ids if token in codec.end_of_turn_ids] or sorted(codec.end_of_turn_ids)
    return Scribe(codec, template, (ends[-1],))
