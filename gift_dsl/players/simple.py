"""Players that look at nothing but the legal actions, or not even at those."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Any, ClassVar

from gift_dsl.games.game import FreeText
from gift_dsl.players.answer import tagged, with_tag
from gift_dsl.seat import PlayerFault, Turn


@dataclass(frozen=True, slots=True)
class RandomPlayer:
    """Plays a uniformly random legal action; where a word is to be described, any shipped clue of any word."""

    name: str
    waits: bool = False
    reads_messages: ClassVar[bool] = False

    async def act(self, turn: Turn, rng: random.Random) -> str:
        """A random action.

        Raises:
            PlayerFault: any text is legal, and there is no list to draw from.
        """
        if not isinstance(turn.legal, FreeText):
            return tagged(turn.tag, rng.choice(turn.legal))
        text = _random_text(turn.observation, turn.legal, rng)
        if text is None:
            raise PlayerFault(self.name, f"there is no list of random texts for `{turn.game}`")
        return tagged(turn.tag, text)


@dataclass(frozen=True, slots=True)
class FirstLegalPlayer:
    """Plays the first legal action in the order of the rules."""

    name: str
    waits: bool = False
    reads_messages: ClassVar[bool] = False

    async def act(self, turn: Turn, rng: random.Random) -> str:
        """The first action.

        Raises:
            PlayerFault: any text is legal, so none is the first.
        """
        if isinstance(turn.legal, FreeText):
            raise PlayerFault(self.name, f"the legal actions of `{turn.game}` are free text: none of them is the first")
        return tagged(turn.tag, turn.legal[0])


@dataclass(frozen=True, slots=True)
class ScriptedPlayer:
    """Says given texts in turn, one for each turn that its seat has had in the game.

    A text that does not open the answer tag is put inside it, so that `replies: ["5", "1"]` plays two actions.

    Attributes:
        replies: at least one text.
        cycle: start again after the last text; otherwise repeat it.
    """

    name: str
    replies: tuple[str, ...]
    cycle: bool = True
    waits: bool = False

    async def act(self, turn: Turn, rng: random.Random) -> str:
        """The text of this turn."""
        index = sum(message.role == "assistant" for message in turn.messages)
        last = len(self.replies) - 1
        return with_tag(turn.tag, self.replies[index % len(self.replies) if self.cycle else min(index, last)])


def _random_text(observation: Any, legal: FreeText, rng: random.Random) -> str | None:  # noqa: ANN401  # any game's
    """A clue of a random shipped pair, for players of Who's the Spy; None in other games."""
    from gift_dsl.games.free_text import reason_against
    from gift_dsl.games.spy_pairs import load_pairs
    from gift_dsl.games.spy_rules import SpyObservation

    if not isinstance(observation, SpyObservation):
        return None
    pairs = load_pairs()
    for pair in rng.sample(pairs, len(pairs)):
        clues = [
            clue for clue in (*pair.shared, *pair.first_clues, *pair.second_clues) if not reason_against(legal, clue)
        ]
        if clues:
            return rng.choice(clues)
    return None
