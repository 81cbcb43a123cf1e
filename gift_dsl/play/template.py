"""What a chat template writes between two sampled turns, learned once, so that a transcript only ever appends.

A transcript never renders a turn that was sampled: its tokens stay as they are. What the template puts after a turn
and before the next one is found by rendering a probe conversation whose assistant turn is a sentinel, and cutting
where the sentinel ends. The check at the start proves that this cut is possible: that what the template writes there
depends neither on the text of the turn before it nor on anything earlier.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Final

from gift_dsl.errors import GiftError
from gift_dsl.seat import Codec, Message

Ids = tuple[int, ...]

_FIRST: Final = Message("user", "Hello.")
_SECOND: Final = Message("user", "Go on.")
# They end in different characters, so no token at their end is common to all.
_SENTINELS: Final = ("OK", "It is 7.", "<answer>b</answer>", "yes\nno")
_THOUGHT: Final = "hm"
_OPENINGS: Final = 256
_CACHED: Final = 4096


@dataclass(frozen=True, slots=True, eq=False)
class AppendOnly:
    """A template whose pieces were learned.

    Attributes:
        codec: the template and its tokenizer.
        close: ids that it writes after the text of an assistant's turn.
        opening: from the messages before the first sampled id to their ids.
        next_turn: from a user's text to the ids that follow `close`: the user's turn and the opening of the
            assistant's next one.
        rewrites: what the template itself would change in earlier turns, and what here stays as it was sampled; None
            where appending gives exactly what rendering the whole conversation gives.
    """

    codec: Codec
    close: Ids
    opening: Callable[[tuple[Message, ...]], Ids]
    next_turn: Callable[[str], Ids]
    rewrites: str | None

    def open(self, messages: Sequence[Message]) -> Ids:
        """Ids up to the first sampled one."""
        return self.opening(tuple(messages))

    def rest_of_close(self, sampled: Ids, *, is_ended: bool) -> Ids:
        """What of `close` is still to be written after a turn.

        A turn that sampled the template's own end gets what follows that; one that sampled another end, or was cut,
        gets all of it.
        """
        if is_ended and sampled and sampled[-1] in self.close:
            return self.close[self.close.index(sampled[-1]) + 1 :]
        return self.close

    @property
    def end(self) -> Ids:
        """`close` up to its first end-of-turn id: what makes a cut turn a closed one."""
        ends = [index for index, token in enumerate(self.close) if token in self.codec.end_of_turn_ids]
        return self.close[: ends[0] + 1] if ends else self.close


@dataclass(frozen=True, slots=True)
class NotAppendOnly:
    """Why the pieces of a template cannot be learned; every turn is then a sequence of its own."""

    reason: str


def check_append_only(codec: Codec) -> AppendOnly | NotAppendOnly:
    """Learn the pieces of a template, or say why that is impossible."""
    closed = [codec.render((_FIRST, Message("assistant", text)), open_turn=False) for text in _SENTINELS]
    close = _common_end(closed)
    if not close or not all(_ends_with(codec, ids[: -len(close)], text) for ids, text in _named(closed)):
        return NotAppendOnly("the tokens that end an assistant's turn depend on its text")
    reopened = [_probe(codec, text, _SECOND.content) for text in _SENTINELS]
    tail = _common_end(reopened)
    if tail[: len(close)] != close or not all(
        _ends_with(codec, ids[: -len(tail)], text) for ids, text in _named(reopened)
    ):
        return NotAppendOnly("the tokens between two assistant's turns depend on the text of the first")
    if not _ignores_history(codec, tail):
        return NotAppendOnly("the tokens between two assistant's turns depend on what was said before them")
    prefix = reopened[0][: -len(tail)]
    # Members of a group open alike, and a small game has few messages at all.
    opening = lru_cache(maxsize=_OPENINGS)(partial(codec.render, open_turn=True))
    next_turn = lru_cache(maxsize=_CACHED)(partial(_next_turn, codec, prefix, close))
    return AppendOnly(codec, close, opening, next_turn, _rewrites(codec, closed[0], reopened[0]))


def _named(rendered: Sequence[Ids]) -> list[tuple[Ids, str]]:
    return list(zip(rendered, _SENTINELS, strict=True))


def _probe(codec: Codec, assistant: str, user: str) -> Ids:
    return codec.render((_FIRST, Message("assistant", assistant), Message("user", user)), open_turn=True)


def _ends_with(codec: Codec, ids: Ids, text: str) -> bool:
    return codec.decode(ids).endswith(_as_decoded(codec, text))


def _as_decoded(codec: Codec, text: str) -> str:
    """What is left of a text that was encoded: a tokenizer of whole words keeps neither white space nor all words."""
    return codec.decode(codec.encode(text))


def _ignores_history(codec: Codec, tail: Ids) -> bool:
    """Whether the same ids follow a turn after a longer conversation and under a system prompt."""
    system, first, second = Message("system", "Be brief."), Message("assistant", "OK"), Message("assistant", "no")
    longer = (system, _SECOND, first, _FIRST, second, _SECOND)
    return codec.render(longer, open_turn=True)[-len(tail) :] == tail


def _rewrites(codec: Codec, closed: Ids, reopened: Ids) -> str | None:
    opened = codec.render((_FIRST,), open_turn=True)
    if closed[: len(opened)] != opened:
        return "the opening of an assistant's turn"
    if reopened[: len(closed)] != closed:
        return "earlier turns of the assistant"
    thought = _probe(codec, f"<think>\n{_THOUGHT}\n</think>\n\nOK", _SECOND.content)
    return None if _as_decoded(codec, _THOUGHT) in codec.decode(thought) else "thoughts in earlier turns"


def _next_turn(codec: Codec, prefix: Ids, close: Ids, text: str) -> Ids:
    start = len(prefix) + len(close)
    ids = _probe(codec, _SENTINELS[0], text)
    if ids[:start] == prefix + close:
        return ids[start:]
    # Some templates look at the text: they read a user's turn that begins like a tool's reply as one.
    tail = _common_end([ids, *(_probe(codec, sentinel, text) for sentinel in _SENTINELS[1:])])
    if tail[: len(close)] != close:
        raise GiftError(f"the chat template changes what stands before the message {text[:60]!r}")
    return tail[len(close) :]


def _common_end(rendered: Sequence[Ids]) -> Ids:
    shortest = min(rendered, key=len)
    for length in range(1, len(shortest) + 1):
        if any(ids[-length] != shortest[-length] for ids in rendered):
            return shortest[len(shortest) - length + 1 :]
    return shortest
