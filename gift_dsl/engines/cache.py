# pyright: basic
"""Keys and values of many rows at once, in which the column of an id is its position.

A row has no holes and no padding to its left: whatever was played before, its n ids stand in columns 0 to n - 1. So
one mask rule serves prompts, later turns and single steps (a query sees the columns up to its own position), rows of
any lengths go together, and a row can be moved, copied or cut without touching the others.

Dimensions: B rows, H heads, C columns, T ids of one forward pass, W columns in use, D numbers of one head.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final, cast

import torch
from torch import Tensor
from transformers.cache_utils import Cache

_STEP: Final = 32
"""Capacities are multiples of this."""
_SLACK: Final = 1.5
"""Room that is left for later turns, so that most of them need no copy."""


@dataclass(frozen=True, slots=True, eq=False)
class Place:
    """Where one forward pass writes.

    Attributes:
        first, last: the rows it is about.
        columns: the column of each id, [B, T]; ids that only fill the matrix have the last column, which nobody reads.
        width: columns that are read.
    """

    first: int
    last: int
    columns: Tensor
    width: int


class RowCache(Cache):
    """A transformers cache for rows of different lengths. Tensors are made when a layer first writes.

    Attributes:
        capacity: columns of each row, the unread last one included.
        lengths: columns in use of each row; whoever writes keeps them.
        place: of the forward pass under way.
    """

    def __init__(self, num_rows: int, capacity: int, dtype: torch.dtype) -> None:
        super().__init__(layers=[])
        self.capacity, self.store = capacity, dtype  # `dtype` would make accelerate take it for a tensor
        self.lengths = [0] * num_rows
        self.place: Place | None = None
        self.tensors: dict[int, tuple[Tensor, Tensor]] = {}

    @property
    def num_rows(self) -> int:
        """Number of rows."""
        return len(self.lengths)

    @property
    def num_bytes(self) -> int:
        """Memory of all tensors."""
        return sum(tensor.nbytes for pair in self.tensors.values() for tensor in pair)

    def update(
        self, key_states: Tensor, value_states: Tensor, layer_idx: int, *_args: object, **_kwargs: object
    ) -> tuple[Tensor, Tensor]:
        """Write what a layer computed, and give it all that its queries may look at."""
        if layer_idx not in self.tensors:
            self.tensors[layer_idx] = (self._room(key_states), self._room(value_states))
        keys, values = self.tensors[layer_idx]
        return self._write(keys, key_states), self._write(values, value_states)

    def get_seq_length(self, layer_idx: int = 0) -> int:
        """The longest row; models that are given positions do not ask."""
        return max(self.lengths, default=0)

    def _room(self, states: Tensor) -> Tensor:
        # Zeros, because a masked column still counts as 0 times what stands in it.
        shape = (self.num_rows, states.shape[1], self.capacity, states.shape[3])
        return torch.zeros(shape, dtype=self.store, device=states.device)

    def _write(self, room: Tensor, states: Tensor) -> Tensor:
        place = cast("Place", self.place)
        rows = room[place.first : place.last]
        index_B1 = torch.arange(len(rows), device=rows.device)[:, None]
        rows[index_B1, :, place.columns] = states.transpose(1, 2).to(self.store)
        return rows[:, :, : place.width]


def capacity_for(num_ids: int, *, has_more_turns: bool = False) -> int:
    """Columns for rows of so many ids, with room for later turns where some may follow."""
    wanted = int(num_ids * _SLACK) if has_more_turns else num_ids
    return (wanted + 1 + _STEP - 1) // _STEP * _STEP


def gather(sources: Sequence[tuple[RowCache, int]], capacity: int) -> RowCache:
    """Copies of rows of any caches as one cache; a row may be taken several times.

    Args:
        sources: a cache and the index of a row in it, for each row; its length is taken over.
        capacity: columns of the new rows, more than any length.
    """
    made = RowCache(len(sources), capacity, sources[0][0].store)
    made.lengths = [cache.lengths[row] for cache, row in sources]
    for cache, rows, taken in _by_cache(sources):
        width = max(cache.lengths[row] for row in taken)
        for layer, pair in cache.tensors.items():
            if layer not in made.tensors:
                made.tensors[layer] = tuple(  # pyright: ignore[reportArgumentType]  # a pair
                    tensor.new_zeros((len(sources), tensor.shape[1], capacity, tensor.shape[3])) for tensor in pair
                )
            for source, target in zip(pair, made.tensors[layer], strict=True):
                _copy(source[:, :, :width], target[:, :, :width], taken, rows)
    return made


def _by_cache(sources: Sequence[tuple[RowCache, int]]) -> Iterator[tuple[RowCache, list[int], list[int]]]:
    """Each cache with the new rows that come from it and the rows that they come from."""
    found: dict[int, tuple[RowCache, list[int], list[int]]] = {}
    for row, (cache, source) in enumerate(sources):
        _, rows, taken = found.setdefault(id(cache), (cache, [], []))
        rows.append(row)
        taken.append(source)
    yield from found.values()


def _copy(source: Tensor, target: Tensor, taken: list[int], rows: list[int]) -> None:
    index = torch.tensor(taken, device=source.device)
    if rows == list(range(len(target))):
        target.copy_(source[index])
    else:
        target[torch.tensor(rows, device=source.device)] = source[index]
