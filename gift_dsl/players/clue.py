"""A player of Who's the Spy that needs no model: it speaks and votes by the shipped clues."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import ClassVar

from gift_dsl.errors import UsageError
from gift_dsl.players.answer import tagged
from gift_dsl.seat import Turn


@dataclass(frozen=True, slots=True)
class CluePlayer:
    """Describes its word by a shipped clue and votes for the player whose clues fit it least.

    Attributes:
        specific: probability of a clue that fits its own word only, in [0, 1].
        random_vote: probability of a uniformly random vote, in [0, 1].
    """

    name: str
    specific: float
    random_vote: float
    waits: bool = False
    reads_messages: ClassVar[bool] = False

    async def act(self, turn: Turn, rng: random.Random) -> str:
        """A description or a vote.

        Raises:
            UsageError: it does not sit at Who's the Spy.
        """
        from gift_dsl.games.clues import describe, vote
        from gift_dsl.games.spy_rules import SpyObservation

        seen = turn.observation
        if not isinstance(seen, SpyObservation):
            raise UsageError(f"`{self.name}` plays Who's the Spy only, and `{turn.game}` is another game")
        clues, seat = [clue for one_round in seen.clues for clue in one_round], turn.seat + 1
        if seen.phase == "describe":
            return tagged(turn.tag, describe(seen.word, clues, seat, rng, self.specific))
        if rng.random() < self.random_vote:
            return tagged(turn.tag, rng.choice(seen.legal))
        return tagged(turn.tag, vote(seen.word, clues, seat, seen.legal, rng))
