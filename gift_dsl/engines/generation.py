# pyright: basic
"""One batch of turns: encode what is new, then sample id by id until every turn has ended."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

import torch
from torch import Tensor

from gift_dsl.engines.cache import RowCache, capacity_for, gather
from gift_dsl.engines.forward import Forward, Ids
from gift_dsl.engines.memory import Conversation, Memory
from gift_dsl.engines.sampling import sample
from gift_dsl.rng import stream
from gift_dsl.seat import Completion, FinishReason, Request

_COMPACT_BELOW: Final = 0.5
"""Share of rows under way below which the others are left behind."""


@dataclass(slots=True, eq=False)
class Turn:
    """A request while it is answered.

    The n-th id takes the n-th number of the request's own stream, so that what is sampled depends on nothing else
    that happens in the batch.

    Attributes:
        opening: ids of the conversation's first prompt.
        cache, row: where its keys and values stand.
    """

    request: Request
    opening: int
    cache: RowCache
    row: int
    uniforms: random.Random = field(init=False)
    ids: list[int] = field(default_factory=list[int])
    logprobs: list[float] = field(default_factory=list[float])
    finish_reason: FinishReason | None = None

    def __post_init__(self) -> None:
        self.uniforms = stream(self.request.seed, *self.request.stream_key)

    def add(self, token: int, logprob: float, ends: frozenset[int]) -> None:
        """One more sampled id."""
        self.ids.append(token)
        self.logprobs.append(logprob)
        if token in ends:
            self.finish_reason = "stop"
        elif len(self.ids) == self.request.max_tokens:
            self.finish_reason = "length"

    @property
    def completion(self) -> Completion:
        """What was sampled, once it has ended."""
        assert self.finish_reason is not None
        return Completion(tuple(self.ids), tuple(self.logprobs), self.finish_reason)

    @property
    def conversation(self) -> Conversation:
        """What may be continued. The last sampled id was never encoded."""
        return Conversation((*self.request.context, *self.ids[:-1]), self.opening, self.cache, self.row)


def generate(
    forward: Forward, memory: Memory, requests: Sequence[Request], ends: frozenset[int], check: Callable[[], None]
) -> list[Completion]:
    """Answer requests as one batch, and keep their conversations.

    Args:
        forward: the model; inside `forward.ready()`.
        memory: earlier turns.
        requests: at least one.
        ends: ids that end a turn.
        check: called before each id; stops the generation by raising.

    Raises:
        ValueError: a context is empty, or nothing may be sampled.
    """
    if not all(request.context and request.max_tokens > 0 for request in requests):
        raise ValueError("a turn is sampled after at least one id, and has at least one")
    turns = _admit(forward, memory, requests)
    by_row = sorted(turns, key=lambda turn: turn.row)
    cache = by_row[0].cache
    new_ids = [turn.request.context[length:] for turn, length in zip(by_row, cache.lengths, strict=True)]
    logits_BV = forward.extend(cache, new_ids)[:, 0]
    while True:
        check()
        _sample(by_row, logits_BV, ends)
        alive = [turn for turn in by_row if turn.finish_reason is None]
        if not alive:
            break
        if len(alive) < _COMPACT_BELOW * len(by_row):
            by_row = _compact(alive)
        next_ids = [turn.ids[-1] if turn.finish_reason is None else None for turn in by_row]
        logits_BV = forward.step(by_row[0].cache, next_ids)
    for turn in turns:
        memory.put(turn.request.episode, turn.conversation)
    return [turn.completion for turn in turns]


def _sample(by_row: Sequence[Turn], logits_BV: Tensor, ends: frozenset[int]) -> None:
    uniforms = [turn.uniforms.random() if turn.finish_reason is None else 0.0 for turn in by_row]
    temperatures = [turn.request.temperature for turn in by_row]
    numbers = torch.tensor([temperatures, uniforms], dtype=torch.float64, device=logits_BV.device)
    ids_B, logp_B = sample(logits_BV, numbers[0], numbers[1])
    drawn = torch.stack([ids_B.double(), logp_B.double()]).tolist()  # both at once: a GPU is waited for here
    for turn, token, logprob in zip(by_row, *drawn, strict=True):
        if turn.finish_reason is None:
            turn.add(int(token), logprob, ends)


def _compact(alive: Sequence[Turn]) -> list[Turn]:
    """Go on with the rows under way in a cache of their own."""
    cache = gather([(turn.cache, turn.row) for turn in alive], alive[0].cache.capacity)
    for row, turn in enumerate(alive):
        turn.cache, turn.row = cache, row
    return list(alive)


def _admit(forward: Forward, memory: Memory, requests: Sequence[Request]) -> list[Turn]:
    """Give each request a row of one cache, in which what is known of its context is filled in."""
    known = [memory.take(request.episode, request.context) for request in requests]
    return _same_rows(requests, known) or _new_rows(forward, requests, known)


def _same_rows(requests: Sequence[Request], known: Sequence[Conversation | None]) -> list[Turn]:
    """Go on in the rows of the turn before, where they are exactly those of one cache; else nothing."""
    continued = [one for one in known if one is not None]
    caches = {id(one.cache) for one in continued}
    if len(caches) != 1 or not len(continued) == len(known) == continued[0].cache.num_rows:
        return []
    if continued[0].cache.capacity < _capacity(requests, has_more_turns=False):
        return []
    return [Turn(request, one.opening, one.cache, one.row) for request, one in zip(requests, continued, strict=True)]


def _new_rows(forward: Forward, requests: Sequence[Request], known: Sequence[Conversation | None]) -> list[Turn]:
    """A cache made for these requests, rows of like length to encode next to each other."""
    blank = RowCache(1, 1, forward.dtype)
    contexts = [request.context for request, one in zip(requests, known, strict=True) if one is None]
    shared = _encode_shared(forward, contexts)
    sources = [
        (one.cache, one.row) if one else shared.get(request.context, (blank, 0))
        for request, one in zip(requests, known, strict=True)
    ]
    lengths = [cache.lengths[row] for cache, row in sources]
    order = sorted(range(len(requests)), key=lambda index: lengths[index] - len(requests[index].context))
    made = gather([sources[index] for index in order], _capacity(requests, has_more_turns=True))
    row_of = {index: row for row, index in enumerate(order)}
    openings = [one.opening if one else len(request.context) for request, one in zip(requests, known, strict=True)]
    return [Turn(request, openings[index], made, row_of[index]) for index, request in enumerate(requests)]


def _capacity(requests: Sequence[Request], *, has_more_turns: bool) -> int:
    longest = max(len(request.context) + request.max_tokens for request in requests)
    return capacity_for(longest, has_more_turns=has_more_turns)


def _encode_shared(forward: Forward, contexts: Sequence[Ids]) -> dict[Ids, tuple[RowCache, int]]:
    """Contexts that several requests have in common, encoded once each but for their last id."""
    counts: dict[Ids, int] = {}
    for context in contexts:
        counts[context] = counts.get(context, 0) + 1
    shared = sorted((context for context, number in counts.items() if number > 1 and len(context) > 1), key=len)
    if not shared:
        return {}
    cache = RowCache(len(shared), capacity_for(len(shared[-1])), forward.dtype)
    forward.extend(cache, [context[:-1] for context in shared])
    return {context: (cache, row) for row, context in enumerate(shared)}
