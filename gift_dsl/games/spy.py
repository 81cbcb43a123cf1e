"""Who's the Spy: describe a secret word, then vote for the player whose word differs (GIFT, section 3.1)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache, partial
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

    players: Annotated[int, Ge(3), Le(12), Doc("Number of players; one of them is the spy.")] = 4
    rounds: Annotated[int, Ge(1), Le(6), Doc("Rounds of descriptions before the one vote.")] = 2
    secret_word: Annotated[
        Literal["forbid", "allow"], Doc("Whether a description may contain the speaker's own word.")
    ] = "forbid"
    pairs: Annotated[tuple[WordPair, ...] | None, MinLen(1), Doc("Own word pairs instead of the shipped ones.")] = None
    categories: Annotated[tuple[str, ...] | None, MinLen(1), Doc("Only shipped pairs of these categories.")] = None
    closeness: Annotated[
        tuple[Annotated[int, Ge(1), Le(3)], ...], MinLen(1), Doc("Shipped pairs of this closeness: 1 far, 3 near.")
    ] = (1, 2, 3)
    max_description_chars: Annotated[int, Ge(40), Le(2000), Doc("A longer description is refused.")] = 600


def check(params: SpyParams) -> str | None:
    """The first contradiction between parameters, or None."""
    if params.pairs is not None:
        return _check_pairs(params.pairs)
    if params.categories is None and params.closeness == (1, 2, 3):
        return None  # every shipped pair is meant, so there is no need to read them to check a spec
    from gift_dsl.games.spy_pairs import load_pairs

    known = {pair.category for pair in load_pairs()}
    unknown = [category for category in params.categories or () if category not in known]
    if unknown:
        return f"`categories` has `{unknown[0]}`, but the shipped pairs have: {', '.join(sorted(known))}"
    if not choose_pairs(params):
        return f"no shipped pair of these categories has closeness {' or '.join(map(str, params.closeness))}"
    return None


def _check_pairs(pairs: tuple[WordPair, ...]) -> str | None:
    from gift_dsl.games.free_text import contains_word, fold

    for pair in pairs:
        if not fold(pair.first) or not fold(pair.second):
            return f"`pairs`: {pair.first!r} and {pair.second!r} must both be words"
        if contains_word(pair.first, pair.second) or contains_word(pair.second, pair.first):
            return f"`pairs`: `{pair.first}` and `{pair.second}`: saying one of them says the other"
    return None


@lru_cache(maxsize=64)
def choose_pairs(params: SpyParams) -> tuple[tuple[str, str], ...]:
    """The pairs that instances are drawn from, in order of the data."""
    if params.pairs is not None:
        return tuple((pair.first, pair.second) for pair in params.pairs)
    from gift_dsl.games.spy_pairs import load_pairs

    return tuple(
        (pair.first, pair.second)
        for pair in load_pairs()
        if pair.closeness in params.closeness and (params.categories is None or pair.category in params.categories)
    )


def _count_keys(params: SpyParams) -> int:
    """Number of pairs that no other pair shares a word with, and of clusters of pairs that do."""
    from gift_dsl.games.spy_pairs import pair_keys

    return len(set(pair_keys(choose_pairs(params)).values()))


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
        count_instances=partial(_count_keys, params),
        prompt_tokens=(300, 60 + 40 * params.players),
        # Who one is, the word, and two words for each clue that is new: of half of the others, then of all of them.
        compact_words=(5 + params.players, 2 * params.players),
        players=("random", "scripted", "human", "clue"),
    )


def build(params: SpyParams, rows: Rows) -> Game:
    """The game with its pairs bound; it needs no rows."""
    from gift_dsl.games.spy_rules import SpyGame

    return SpyGame(params)


FAMILY: Final = Family(
    name="whos_the_spy",
    description="Describe your word without saying it, then vote for the player whose word differs.",
    params=SpyParams,
    facts=facts,
    build=build,
    check=check,
    files=lambda params: () if params.pairs is not None else ("data/spy_pairs.jsonl",),
)
