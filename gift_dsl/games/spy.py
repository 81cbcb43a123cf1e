"""Who's the Spy: describe a secret word, then vote for the player whose word differs (GIFT, section 3.1)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Final, Literal

from annotated_types import Ge, Le, MinLen
from typing_extensions import Doc

from gift_dsl.games.game import Family, Game, GameFacts, Rows


@dataclass(frozen=True, slots=True)
class WordPair:
    """Two related words; which of them the spy gets is drawn."""

    first: Annotated[str, MinLen(1), Doc("One word of the pair.")]
    second: Annotated[str, MinLen(1), Doc("The other word.")]


@dataclass(frozen=True, slots=True)
class SpyParams:
    """Parameters of `whos_the_spy`."""

    players: Annotated[
        int, Ge(3), Le(12), Doc("Number of players; one of them is the spy.")
    ] = 4
    rounds: Annotated[
        int, Ge(1), Le(6), Doc("Rounds of descriptions before the one vote.")
    ] = 2
    secret_word: Annotated[
        Literal["forbid", "allow"],
        Doc("Whether a description may contain the speaker's own word."),
    ] = "forbid"
    pairs: Annotated[
        tuple[WordPair, ...] | None,
        MinLen(1),
        Doc("Own word pairs instead of the shipped ones."),
    ] = None
    categories: Annotated[
        tuple[str, ...] | None,
        MinLen(1),
        Doc("Only shipped pairs of these categories."),
    ] = None
    closeness: Annotated[
        tuple[Annotated[int, Ge(1), Le(3)], ...],
        MinLen(1),
        Doc("Shipped pairs of this closeness: 1 far, 3 near."),
    ] = (1, 2, 3)
    max_description_chars: Annotated[
        int, Ge(10), Le(2000), Doc("A longer description is refused.")
    ] = 600


def facts(params: SpyParams) -> GameFacts:
    """`rounds` descriptions and one vote for every seat."""
    turns = params.rounds + 1
    return GameFacts(
        seats=params.players,
        max_turns=(turns,) * params.players,
        graded=False,
        can_draw=False,
        zero_sum=False,
        roles=("spy", "civilian"),
        perfect_information=False,
        actions="free_text",
        abilities=("language understanding", "theory of mind", "communication"),
        prompt_tokens=(300, 60 + 40 * params.players),
        players=("random", "scripted", "human", "clue"),
    )


def build(params: SpyParams, rows: Rows) -> Game:
    from gift_dsl.games.spy_rules import SpyGame

    return SpyGame(params)


FAMILY: Final = Family(
    name="whos_the_spy",
    description="Describe your word without saying it, then vote for the player whose word differs.",
    params=SpyParams,
    facts=facts,
    build=build,
)
