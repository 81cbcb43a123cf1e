"""The rules of Who's the Spy as frozen states: rounds of descriptions in seat order, then one secret vote."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from gift_dsl.games.free_text import contains_word, fold, reason_against
from gift_dsl.games.game import Action, FreeText, GameFacts, Legal, Outcome, State
from gift_dsl.games.spy import SpyParams, choose_pairs, facts
from gift_dsl.games.spy_pairs import pair_keys

Phase = Literal["describe", "vote"]


@dataclass(frozen=True, slots=True)
class SpyObservation:
    """What one player may see: the own word and what was said aloud. Nobody is told a role.

    Attributes:
        phase: everybody describes, or everybody votes.
        round: the round of descriptions, from 1; in the vote the last one.
        players: all seats, counted from 1, in speaking order.
        word: the player's own secret word.
        clues: for each round that has begun, (seat, text) of each description so far.
        secret_word: whether a description may contain the own word.
        legal: the seats that this player may vote for now; empty at all other times.
    """

    phase: Phase
    round: int
    rounds: int
    players: tuple[int, ...]
    word: str
    clues: tuple[tuple[tuple[int, str], ...], ...]
    secret_word: Literal["forbid", "allow"]
    legal: tuple[Action, ...]


@dataclass(frozen=True, slots=True)
class SpyState:
    """Everything, hidden information included.

    Attributes:
        words: the word of each seat; all but the spy's are equal.
        spy: the seat whose word differs.
        tie_break: all seats; of seats with equally many votes the one that stands first here is voted out.
        clues: descriptions in the order they were made.
        votes: the seat that each voter named, in order of voters.
    """

    words: tuple[str, ...]
    spy: int
    tie_break: tuple[int, ...]
    rounds: int
    secret_word: Literal["forbid", "allow"]
    max_chars: int
    clues: tuple[str, ...] = ()
    votes: tuple[int, ...] = ()

    @property
    def current_player(self) -> int:
        """Seats take their turns in order, in each round and in the vote."""
        num_seats, num_votes = len(self.words), len(self.votes)
        return -1 if num_votes == num_seats else (len(self.clues) + num_votes) % num_seats

    @property
    def is_terminal(self) -> bool:
        """Everybody has voted."""
        return len(self.votes) == len(self.words)

    @property
    def phase(self) -> Phase:
        """Descriptions first, then the vote."""
        return "describe" if len(self.clues) < self.rounds * len(self.words) else "vote"

    def legal_actions(self) -> Legal:
        """One line of text, or the number of another seat, counted from 1."""
        player, num_seats = self.current_player, len(self.words)
        if player < 0:
            return ()
        if len(self.clues) == self.rounds * num_seats:
            return _other_seats(num_seats, player)
        return _any_description(self.max_chars, self.words[player] if self.secret_word == "forbid" else None)

    def apply(self, action: Action) -> SpyState:
        """The position after the current player speaks or votes."""
        legal = self.legal_actions()
        if isinstance(legal, FreeText):
            reason = reason_against(legal, action)
            if reason is not None:
                raise ValueError(f"illegal description {action!r}: {reason}")
            return self._after((*self.clues, action), self.votes)
        if action not in legal:
            raise ValueError(f"illegal vote {action!r}; legal: {legal}")
        return self._after(self.clues, (*self.votes, int(action) - 1))

    def _after(self, clues: tuple[str, ...], votes: tuple[int, ...]) -> SpyState:
        hidden = self.words, self.spy, self.tie_break
        return SpyState(*hidden, self.rounds, self.secret_word, self.max_chars, clues, votes)

    def observation(self, player: int) -> SpyObservation:
        """The own word and the descriptions; votes are never shown."""
        return _observation(self, player)

    @property
    def voted_out(self) -> int:
        """The seat with the most votes; of several the one that the drawn order names.

        Raises:
            ValueError: the vote is not over.
        """
        if not self.is_terminal:
            raise ValueError(f"the game is not over; to act: player {self.current_player + 1}")
        tally = Counter(self.votes)
        most = max(tally.values())
        return next(seat for seat in self.tie_break if tally[seat] == most)

    def outcome(self) -> tuple[Outcome, ...]:
        """The civilians win together if the spy is voted out; else the spy wins."""
        caught = self.voted_out == self.spy
        return tuple("win" if (seat == self.spy) != caught else "loss" for seat in range(len(self.words)))


@lru_cache(maxsize=256)
def _other_seats(num_seats: int, player: int) -> tuple[Action, ...]:
    """Whom a player may vote for, counted from 1."""
    return tuple(str(seat + 1) for seat in range(num_seats) if seat != player)


@lru_cache(maxsize=256)
def _any_description(max_chars: int, own: str | None) -> FreeText:
    return FreeText(max_chars=max_chars, forbidden=() if own is None else (own,), one_line=True)


# Scripted players say the same of the same words, and members of a group hear the same first descriptions.
@lru_cache(maxsize=4096)
def _observation(state: SpyState, player: int) -> SpyObservation:
    num_seats = len(state.words)
    said = [(index % num_seats + 1, text) for index, text in enumerate(state.clues)]
    votes = state.legal_actions() if state.phase == "vote" and player == state.current_player else ()
    return SpyObservation(
        phase=state.phase,
        round=min(len(state.clues) // num_seats + 1, state.rounds),
        rounds=state.rounds,
        players=tuple(range(1, num_seats + 1)),
        word=state.words[player],
        clues=tuple(tuple(said[begin : begin + num_seats]) for begin in range(0, len(said), num_seats)),
        secret_word=state.secret_word,
        legal=() if isinstance(votes, FreeText) else votes,
    )


@dataclass(frozen=True, slots=True)
class SpyGame:
    """Who's the Spy with its parameters bound."""

    params: SpyParams

    @property
    def facts(self) -> GameFacts:
        """What follows from the parameters."""
        return facts(self.params)

    def start(self, rng: random.Random) -> SpyState:
        """Draw the pair, which of its words is the spy's, the spy's seat and the order that breaks ties."""
        params = self.params
        pair = rng.choice(choose_pairs(params))
        civilian_word, spy_word = pair if rng.random() < 0.5 else pair[::-1]
        spy = rng.randrange(params.players)
        return SpyState(
            words=tuple(spy_word if seat == spy else civilian_word for seat in range(params.players)),
            spy=spy,
            tie_break=tuple(rng.sample(range(params.players), params.players)),
            rounds=params.rounds,
            secret_word=params.secret_word,
            max_chars=params.max_description_chars,
        )

    def role(self, state: State, player: int) -> str:
        """`spy` or `civilian`; for records and baselines, never for a prompt."""
        assert isinstance(state, SpyState)
        return "spy" if player == state.spy else "civilian"

    def hidden(self, state: State, player: int) -> tuple[str, ...]:
        """What this player may not see: the other word and every role. A law looks for these texts."""
        assert isinstance(state, SpyState)
        own = state.words[player]
        return tuple(text for text in (*dict.fromkeys(state.words), "spy", "civilian") if not contains_word(own, text))

    def instance_key(self, state: State) -> str:
        """The pair, whichever word is the spy's; pairs that share a word have one key."""
        assert isinstance(state, SpyState)
        return _keys(self.params)[fold(state.words[0])]


@lru_cache(maxsize=64)
def _keys(params: SpyParams) -> dict[str, str]:
    return dict(pair_keys(choose_pairs(params)))
