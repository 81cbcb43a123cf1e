"""A codec made of a chat template and a tokenizer, in which no message can imitate the template.

Whoever speaks at the table (an opponent, a dataset, the policy itself) may write `<|im_end|>`. Tokenized with the
rest of the conversation, that text would become the control token and open a turn that nobody took. Here a message
that contains such text is encoded by itself, as plain text, and put where the template wants it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Final

from jinja2 import TemplateError

from gift_dsl.play.template import Ids
from gift_dsl.seat import Message

_SHORT: Final = 64
"""Ids of a turn whose text is kept: models say the same short things again and again, and no long one twice."""
_KEPT_TEXTS: Final = 16_384


@dataclass(frozen=True, slots=True, eq=False)
class TokenizerFunctions:
    """What is needed of a tokenizer.

    Attributes:
        render: the text of a conversation by the chat template; the flag opens the assistant's next turn.
        encode: ids of a text in which special tokens are recognised; adds none by itself.
        encode_plain: ids of a text in which nothing is special.
        decode: text of ids, special tokens left out.
        special_texts: how special tokens are written.
        end_of_turn_ids: ids that end an assistant's turn when sampled.
    """

    render: Callable[[Sequence[Message], bool], str]
    encode: Callable[[str], Sequence[int]]
    encode_plain: Callable[[str], Sequence[int]]
    decode: Callable[[Sequence[int]], str]
    special_texts: frozenset[str]
    end_of_turn_ids: frozenset[int]


class TemplateCodec:
    """A `Codec` over these functions. Where the template takes no system prompt, it opens the first user's turn."""

    def __init__(self, functions: TokenizerFunctions) -> None:
        self._functions = functions
        self._has_system_role = _shows_system(functions.render)
        self._decode_short = lru_cache(maxsize=_KEPT_TEXTS)(functions.decode)

    @property
    def end_of_turn_ids(self) -> frozenset[int]:
        """Ids that end an assistant's turn when sampled."""
        return self._functions.end_of_turn_ids

    def render(self, messages: Sequence[Message], *, open_turn: bool) -> Ids:
        """Ids of a conversation; with `open_turn` up to where the assistant's next turn begins."""
        shown = tuple(messages) if self._has_system_role else _fold_system(messages)
        if not any(text in message.content for message in shown for text in self._functions.special_texts):
            return tuple(self._functions.encode(self._functions.render(shown, open_turn)))
        return self._render_apart(shown, open_turn)

    def encode(self, text: str) -> Ids:
        """Ids of plain text, special tokens in it read as plain text."""
        return tuple(self._functions.encode_plain(text))

    def decode(self, ids: Sequence[int]) -> str:
        """Text of ids, without special tokens."""
        return self._decode_short(tuple(ids)) if len(ids) <= _SHORT else self._functions.decode(ids)

    def _render_apart(self, messages: Sequence[Message], open_turn: bool) -> Ids:
        """Template and messages encoded apart: the template is rendered with a mark for each message."""
        everything = "".join(message.content for message in messages)
        mark = next(word for word in ("slot" + "q" * size for size in range(1, 1000)) if word not in everything)
        marked = [replace(message, content=f"{mark}{index}{mark}") for index, message in enumerate(messages)]
        ids: list[int] = []
        for place, piece in enumerate(self._functions.render(marked, open_turn).split(mark)):
            is_message = place % 2 == 1
            ids += self.encode(messages[int(piece)].content.strip()) if is_message else self._functions.encode(piece)
        return tuple(ids)


def _shows_system(render: Callable[[Sequence[Message], bool], str]) -> bool:
    probe = (Message("system", "Be brief."), Message("user", "Hello."))
    try:
        return "Be brief." in render(probe, False)
    except TemplateError:
        return False


def _fold_system(messages: Sequence[Message]) -> tuple[Message, ...]:
    """The system prompt at the head of the user's message that follows it."""
    if not messages or messages[0].role != "system":
        return tuple(messages)
    system, first, *others = messages
    return (replace(first, content=f"{system.content}\n\n{first.content}"), *others)
