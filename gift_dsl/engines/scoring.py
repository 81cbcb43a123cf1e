# pyright: basic
"""How likely given texts are: log-probabilities of continuations, for tasks that compare a few answers.

Contexts that several continuations share (the choices of one question) are encoded once.

Dimensions: B rows, N continuations, K positions, V ids of the vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Final

import torch
from torch import Tensor

from gift_dsl.engines.cache import RowCache, capacity_for, gather
from gift_dsl.engines.forward import Forward, Ids

_MAX_LOGITS: Final = 1 << 26
"""Most numbers of one matrix of logits (a quarter of a GiB)."""
_CPU_TOKENS: Final = 2048
"""Most ids of one pass on a CPU: larger ones leave its caches, and took a fifth longer."""

Score = tuple[float, bool]


def score(
    forward: Forward,
    contexts: Sequence[Ids],
    continuations: Sequence[Ids],
    max_rows: int,
    check: Callable[[], None] = lambda: None,
) -> list[Score]:
    """The sum of the log-probabilities of each continuation, and whether each of its ids is the likeliest.

    Args:
        forward: the model; inside `forward.ready()`.
        contexts: ids before each continuation, at least one.
        continuations: ids; of none the score is (0, True).
        max_rows: most contexts at once.
        check: called before each batch; stops by raising.

    Raises:
        ValueError: a context is empty.
    """
    if not all(contexts):
        raise ValueError("a continuation is scored after at least one id")
    asked: dict[Ids, list[int]] = {}
    for index, context in enumerate(contexts):
        asked.setdefault(context, []).append(index)
    # The longest first: what does not fit into memory fails at once.
    longest_first = sorted(asked, key=len, reverse=True)
    scores: dict[int, Score] = {}
    on_cpu = forward.model.device.type == "cpu"
    for batch in _batches(
        longest_first, max_rows, min(forward.max_tokens, _CPU_TOKENS) if on_cpu else forward.max_tokens
    ):
        check()
        pairs = [(row, index) for row, context in enumerate(batch) for index in asked[context]]
        scores |= _score_batch(forward, batch, pairs, continuations)
    return [scores[index] for index in range(len(contexts))]


def _batches(contexts: Sequence[Ids], max_rows: int, max_tokens: int) -> Iterator[Sequence[Ids]]:
    start = 0
    while start < len(contexts):
        size = max(1, min(max_rows, max_tokens // len(contexts[start])))
        yield contexts[start : start + size]
        start += size


def _score_batch(
    forward: Forward, batch: Sequence[Ids], pairs: Sequence[tuple[int, int]], continuations: Sequence[Ids]
) -> dict[int, Score]:
    """Scores of (row of the context in the batch, index of the continuation) pairs."""
    cache = RowCache(len(batch), capacity_for(len(batch[0])), forward.dtype)
    first_BV = forward.extend(cache, batch)[:, 0].float().log_softmax(dim=-1)
    by_length = sorted(pairs, key=lambda pair: len(continuations[pair[1]]))
    longest = len(continuations[by_length[-1][1]])
    size = max(1, _MAX_LOGITS // (max(1, longest - 1) * first_BV.shape[1]))
    scores: dict[int, Score] = {}
    for start in range(0, len(by_length), size):
        rows, indexes = zip(*by_length[start : start + size], strict=True)
        texts = [continuations[index] for index in indexes]
        rest_NKV = _after_each(forward, cache, rows, texts)
        for place, (row, index) in enumerate(zip(rows, indexes, strict=True)):
            later = len(texts[place]) - 1
            logp_KV = first_BV[row : row + 1]
            if later > 0:
                logp_KV = torch.cat([logp_KV, rest_NKV[place, -later:]])
            scores[index] = _sum(logp_KV, texts[place])
    return scores


def _after_each(forward: Forward, cache: RowCache, rows: Sequence[int], texts: Sequence[Ids]) -> Tensor:
    """Log-probabilities [N, K, V] after each id of a text but its last, at the right; K is 0 where none has two."""
    longest = max(len(text) for text in texts)
    if longest < 2:
        return torch.empty(0)
    capacity = capacity_for(max(cache.lengths) + longest)
    copies = gather([(cache, row) for row in rows], capacity)
    logits_NKV = forward.extend(copies, [text[:-1] for text in texts], keep=longest - 1)
    return logits_NKV.float().log_softmax(dim=-1)


def _sum(logp_KV: Tensor, text: Ids) -> Score:
    if not text:
        return 0.0, True
    ids_K = torch.tensor(text, device=logp_KV.device)
    total = logp_KV.gather(-1, ids_K[:, None]).double().sum().item()
    return total, bool((logp_KV.argmax(dim=-1) == ids_K).all())
