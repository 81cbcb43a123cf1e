"""The word pairs of Who's the Spy: the shipped ones, the choice among them, and what must stay in one split."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from types import MappingProxyType
from typing import Any

from gift_dsl.games.free_text import fold
from gift_dsl.settings import shipped


@dataclass(frozen=True, slots=True)
class CluedPair:
    """A shipped pair of related words, with short clues for a player that has no model.

    Attributes:
        closeness: 1 far (desert and ocean) to 3 near (beer and cider).
        shared: clues that fit both words.
        first_clues: clues that fit `first` only.
        second_clues: clues that fit `second` only.
    """

    first: str
    second: str
    category: str
    closeness: int
    shared: tuple[str, ...]
    first_clues: tuple[str, ...]
    second_clues: tuple[str, ...]


@lru_cache(maxsize=1)
def load_pairs() -> tuple[CluedPair, ...]:
    """The shipped pairs, from `games/data/spy_pairs.jsonl`; each word stands in one of them only."""
    lines = (shipped("games") / "data" / "spy_pairs.jsonl").read_text(encoding="utf-8").splitlines()
    return tuple(_make_pair(json.loads(line)) for line in lines)


def _make_pair(row: Mapping[str, Any]) -> CluedPair:
    clues = {name: tuple(row[name]) for name in ("shared", "first_clues", "second_clues")}
    return CluedPair(row["first"], row["second"], row["category"], row["closeness"], **clues)


def pair_keys(pairs: Sequence[tuple[str, str]]) -> Mapping[str, str]:
    """For each folded word a key that it shares with every word it is linked to by pairs.

    Pairs that share a word share a key, so a split by key puts no word in two splits. The key of a pair whose words
    stand in no other pair is its two words in order.
    """
    groups: dict[str, set[str]] = {}
    for first, second in pairs:
        words = {fold(first), fold(second)}
        joined = words.union(*(groups.get(word, set()) for word in words))
        groups.update(dict.fromkeys(joined, joined))
    return MappingProxyType({word: "|".join(sorted(group)[:2]) for word, group in groups.items()})
