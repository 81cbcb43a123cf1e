# pyright: basic
"""What is kept between turns: which ids of which conversation stand in which row of a cache.

An episode may hold several conversations (a model in several seats, contexts that begin anew). One is continued by a
context that agrees with it beyond its opening prompt; what differs after that (a template that rewrites history) is
encoded again.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from gift_dsl.engines.cache import RowCache

Ids = tuple[int, ...]

_MOST: Final = 16
"""Conversations of one episode; the oldest goes."""


@dataclass(frozen=True, slots=True, eq=False)
class Conversation:
    """Ids whose keys and values are kept.

    Attributes:
        ids: those in columns 0, 1, … of the row.
        opening: how many of them the first prompt had.
        cache, row: where they stand.
    """

    ids: Ids
    opening: int
    cache: RowCache
    row: int


class Memory:
    """Conversations by episode; those used last are kept longest."""

    def __init__(self) -> None:
        self._episodes: OrderedDict[str, list[Conversation]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._episodes)

    def take(self, episode: str, context: Ids) -> Conversation | None:
        """The conversation that a context continues, cut to the ids they share; it is no longer kept.

        At least one id of the context is left to encode.
        """
        kept = self._episodes.get(episode, [])
        shared = [(common_length(one.ids, context), index) for index, one in enumerate(kept)]
        length, index = max(shared, default=(0, -1))
        if length == 0 or length < kept[index].opening:
            return None
        one = kept.pop(index)
        length = min(length, len(context) - 1)
        one.cache.lengths[one.row] = length
        return Conversation(one.ids[:length], one.opening, one.cache, one.row)

    def put(self, episode: str, conversation: Conversation) -> None:
        """Keep a conversation."""
        kept = self._episodes.setdefault(episode, [])
        kept.append(conversation)
        del kept[:-_MOST]
        self._episodes.move_to_end(episode)

    def forget(self, episodes: Iterable[str] | None = None) -> None:
        """Release episodes, or all. A cache is freed with the last of its rows."""
        if episodes is None:
            self._episodes.clear()
            return
        for episode in episodes:
            self._episodes.pop(episode, None)

    def trim(self, max_bytes: int) -> None:
        """Forget the episodes that were not used for longest, until what is kept fits."""
        while self._episodes and self.num_bytes > max_bytes:
            self._episodes.popitem(last=False)

    @property
    def num_bytes(self) -> int:
        """Memory of all caches that hold a kept row."""
        caches = {id(one.cache): one.cache for kept in self._episodes.values() for one in kept}
        return sum(cache.num_bytes for cache in caches.values())


def common_length(first: Ids, second: Ids) -> int:
    """How many ids two sequences begin with alike."""
    shortest = min(len(first), len(second))
    if first[:shortest] == second[:shortest]:
        return shortest
    return next(index for index in range(shortest) if first[index] != second[index])
