"""Which rows a supervised update reads: fixed before the first one, by the seed alone.

Episodes are shuffled anew for each epoch and cut into updates. The rows of an update go longest first, so that
micro-batches are even, and every update gets as many places as the largest one needs: a trainer wants updates of one
size, and a place without a row costs next to nothing.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from gift_dsl.rng import stream
from gift_dsl.train.rows_sft import Taught, TaughtRow

EMPTY: Final = -1
"""A place without a row."""


@dataclass(frozen=True, slots=True)
class Course:
    """The rows of every update.

    Attributes:
        rows: numbered from 0; the rows of an episode have neighbouring numbers.
        updates: for each update the numbers of its rows, longest first.
        updates_per_epoch: the last one of an epoch may be shorter.
        places: of one update; a multiple of what all processes take at once.
    """

    rows: tuple[TaughtRow, ...]
    updates: tuple[tuple[int, ...], ...]
    updates_per_epoch: int
    places: int

    def read(self, place: int) -> int:
        """The number of the row at a place, counted from 0 through all updates; `EMPTY` where there is none."""
        update, index = divmod(place, self.places)
        numbers = self.updates[update]
        return numbers[index] if index < len(numbers) else EMPTY

    def epoch(self, update: int) -> int:
        """The epoch of an update, both counted from 0."""
        return update // self.updates_per_epoch


def make_course(
    episodes: Sequence[Taught], *, batch_size: int, epochs: int, at_once: int, name: tuple[int, str]
) -> Course:
    """Lay out all updates.

    Args:
        episodes: at least one.
        batch_size: episodes of an update.
        epochs: passes over the episodes.
        at_once: rows that all processes take together in one pass of the model.
        name: seed of the plan, and name of the stage.
    """
    rows = tuple(row for episode in episodes for row in episode)
    numbers = iter(range(len(rows)))
    rows_of = [tuple(next(numbers) for _ in episode) for episode in episodes]
    updates: list[tuple[int, ...]] = []
    for epoch in range(epochs):
        order = list(range(len(episodes)))
        stream(name[0], "supervised", name[1], epoch).shuffle(order)
        for start in range(0, len(order), batch_size):
            chosen = [row for episode in order[start : start + batch_size] for row in rows_of[episode]]
            updates.append(tuple(sorted(chosen, key=lambda row: -len(rows[row].ids))))
    places = math.ceil(max(map(len, updates)) / at_once) * at_once
    return Course(rows, tuple(updates), math.ceil(len(episodes) / batch_size), places)
