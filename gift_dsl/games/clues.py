"""What a player without a model knows of the shipped word pairs: how to describe a word, and whom to suspect.

Pure functions of what a player may see. The knowledge of a word is its pair's clues; nothing here sees another
player's word. A text is judged by the clues that it contains, so sentences of a model are understood in part.
"""

from __future__ import annotations

import random
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from types import MappingProxyType
from typing import Final

from gift_dsl.games.free_text import contains_word, fold
from gift_dsl.games.spy_pairs import CluedPair, load_pairs

Clue = tuple[int, str]
"""(seat, text): one description, the seat counted from 1."""

ODD: Final = -2
"""The standing at which a player takes its own word for the spy's."""

_VAGUE: Final = ("hard to put into words", "everybody knows it", "there are many kinds", "seen now and then")


@dataclass(frozen=True, slots=True)
class WordKnowledge:
    """A word and its partner, as clues.

    Attributes:
        shared: clues that fit the word and its partner.
        own: clues that fit the word only.
        other: clues that fit the partner only.
    """

    shared: tuple[str, ...]
    own: tuple[str, ...]
    other: tuple[str, ...]


_NOTHING: Final = WordKnowledge((), (), ())


def know(word: str) -> WordKnowledge:
    """What is known of a word; nothing of words that are not shipped."""
    return _knowledge().get(fold(word), _NOTHING)


@lru_cache(maxsize=1)
def _knowledge() -> Mapping[str, WordKnowledge]:
    return MappingProxyType({word: known for pair in load_pairs() for word, known in _both_sides(pair)})


def _both_sides(pair: CluedPair) -> tuple[tuple[str, WordKnowledge], ...]:
    return (
        (fold(pair.first), WordKnowledge(pair.shared, pair.first_clues, pair.second_clues)),
        (fold(pair.second), WordKnowledge(pair.shared, pair.second_clues, pair.first_clues)),
    )


@lru_cache(maxsize=4096)
def evidence(word: str, text: str) -> int:
    """1 if a text fits the word and not its partner, -1 if it fits only the partner, 0 if it may be either."""
    known, padded = know(word), f" {fold(text)} "

    def says(clues: Collection[str]) -> bool:
        return any(f" {fold(clue)} " in padded for clue in clues)

    return says(known.own) - says(known.other)


def standing(word: str, clues: Sequence[Clue], seat: int) -> int:
    """Other players who showed the own word less those who showed its partner.

    A player shows a word by the first clue that fits one word only: later ones may be copied. At `ODD` or below, the
    own word is taken for the spy's; at -1 it may as well be the one speaker who differs.
    """
    shown: dict[int, int] = {}
    for speaker, text in clues:
        sign = evidence(word, text)
        if sign and speaker != seat:
            shown.setdefault(speaker, sign)
    return sum(shown.values())


def describe(word: str, clues: Sequence[Clue], seat: int, rng: random.Random, specific: float = 0.85) -> str:
    """A clue for the own word that nobody has given yet, where one is left.

    Args:
        word: the own secret word.
        clues: what was said so far, the own descriptions included.
        seat: the own seat, counted from 1.
        rng: draws the clue.
        specific: probability of a clue that tells the word from its partner; such clues let civilians know each other.

    Returns:
        A shipped clue, which says neither word of the pair. A player whom the others' clues make the spy gives clues
        of its partner word, one in doubt gives clues that fit both. For a word that is not shipped, a phrase that says
        nothing.
    """
    known, heard = know(word), standing(word, clues, seat)
    if heard <= ODD:
        order = (known.other, known.shared)
    elif heard >= 0 and rng.random() < specific:
        order = (known.own, known.shared)
    else:
        order = (known.shared, known.own)
    said = {fold(text) for _speaker, text in clues}
    for choice in order:
        fresh = [clue for clue in choice if fold(clue) not in said]
        if fresh:
            return rng.choice(fresh)
    return rng.choice(order[0] or [phrase for phrase in _VAGUE if not contains_word(phrase, word)])


def suspicion(word: str, clues: Sequence[Clue], seat: int) -> Mapping[int, float]:
    """How badly the descriptions of each other seat fit the word that most seem to have.

    2 for each clue that fits only the other word, less 1 for a player who gave any clue that fits: a careful spy can
    copy what fits, but not take back what did not. A player whom the others' clues make the spy judges by its partner
    word, as the civilians will.
    """
    side = -1 if standing(word, clues, seat) <= ODD else 1
    signs: dict[int, list[int]] = {}
    for speaker, text in clues:
        if speaker != seat:
            signs.setdefault(speaker, []).append(side * evidence(word, text))
    return MappingProxyType({speaker: 2.0 * found.count(-1) - (1 in found) for speaker, found in signs.items()})


def vote(word: str, clues: Sequence[Clue], seat: int, legal: Sequence[str], rng: random.Random) -> str:
    """The legal seat that is suspected most; one of them at random where several are."""
    scores = suspicion(word, clues, seat)
    most = max(scores.get(int(action), 0.0) for action in legal)
    return rng.choice([action for action in legal if scores.get(int(action), 0.0) == most])
